"""harebell: a message broker for AMQP 0-9-1 that stock RabbitMQ clients use unchanged."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harebell.embedded import Broker as Broker

__version__ = "0.1.0"

__all__ = ["Broker", "__version__"]


def __getattr__(name: str) -> object:
    """Import the embedded broker when it is first asked for, so that importing harebell stays cheap."""
    if name == "Broker":
        return import_module("harebell.embedded").Broker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
