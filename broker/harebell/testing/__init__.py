"""harebell for tests: a broker in a thread of its own, and a pytest plugin (``harebell.testing.plugin``)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harebell.testing.thread import BrokerThread as BrokerThread

__all__ = ["BrokerThread"]


def __getattr__(name: str) -> object:
    """Import the broker when it is first asked for: pytest loads the plugin in every run."""
    if name == "BrokerThread":
        return import_module("harebell.testing.thread").BrokerThread
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
