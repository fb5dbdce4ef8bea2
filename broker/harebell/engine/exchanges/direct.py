"""The direct exchange: a binding matches if its key equals the routing key."""

from __future__ import annotations

from collections.abc import Iterable

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange


class DirectExchange(Exchange):
    """Routes to every destination bound with exactly the routing key (AMQP 0-9-1 section 3.1.3.1)."""

    type_name = "direct"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._by_key: dict[str, dict[Binding, None]] = {}

    def binding_added(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.routing_key, {})[binding] = None

    def binding_removed(self, binding: Binding) -> None:
        same_key = self._by_key[binding.routing_key]
        del same_key[binding]
        if not same_key:
            del self._by_key[binding.routing_key]

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        same_key = self._by_key.get(routing_key)
        if same_key is None:
            return ()
        return [binding.destination for binding in same_key]
