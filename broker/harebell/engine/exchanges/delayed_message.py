"""The ``x-delayed-message`` exchange: delays messages whose header ``x-delay`` asks for it.

It routes by the rules of another type, which the argument ``x-delayed-type`` names: an exchange declared so
is one of that other type that carries this name (``registry.create``).  So RabbitMQ's plugin of that name.
"""

from __future__ import annotations

from typing import Final

from harebell.engine.exchanges.direct import DirectExchange

DELAYED_MESSAGE: Final = "x-delayed-message"


class DelayedMessageExchange(DirectExchange):
    """Stands for the type where types are listed."""

    type_name = DELAYED_MESSAGE
    delays_always = True
