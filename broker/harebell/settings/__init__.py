"""The settings of a node: a typed tree, filled from files, environment variables and the command line.

What is named here is imported when it is used: most commands need to know where things are, and not the tree
with what checks it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harebell.settings.errors import Notice, SettingsError
    from harebell.settings.loading import Loaded, load
    from harebell.settings.places import ConfigFiles, find_config, find_data_dir
    from harebell.settings.tree import (
        Amqp,
        Auth,
        Compat,
        Limits,
        Log,
        Queue,
        Server,
        Settings,
        Storage,
        Tls,
        split_address,
    )

__all__ = [
    "Settings",
    "Server",
    "Amqp",
    "Limits",
    "Auth",
    "Queue",
    "Storage",
    "Log",
    "Compat",
    "Tls",
    "load",
    "Loaded",
    "Notice",
    "SettingsError",
    "ConfigFiles",
    "find_config",
    "find_data_dir",
    "split_address",
]

_ELSEWHERE = {
    "Notice": "errors",
    "SettingsError": "errors",
    "Loaded": "loading",
    "load": "loading",
    "ConfigFiles": "places",
    "find_config": "places",
    "find_data_dir": "places",
}
"""In which module a name is, if it is not in that of the tree."""


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__``."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'tree')}"), name)
