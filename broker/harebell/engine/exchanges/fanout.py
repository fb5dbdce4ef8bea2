"""The fanout exchange: every binding matches."""

from __future__ import annotations

from collections.abc import Iterable

from harebell.content.properties import Properties
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Exchange


class FanoutExchange(Exchange):
    """Routes to every destination bound to it, whatever the keys (AMQP 0-9-1 section 3.1.3.2)."""

    type_name = "fanout"
    ignores_key = True

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings.values()]
