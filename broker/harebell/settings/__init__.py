"""The settings of a node: a typed tree, filled from files, environment variables and the command line."""

from harebell.settings.errors import Notice, SettingsError
from harebell.settings.load import Loaded, load
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
    "load",
    "Loaded",
    "Notice",
    "SettingsError",
    "ConfigFiles",
    "find_config",
    "find_data_dir",
    "split_address",
]
