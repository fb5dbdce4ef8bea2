"""The modulus-hash exchange: the routing key's hash, modulo the number of destinations, picks one."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange


class ModulusHashExchange(Exchange):
    """Routes all messages of one key to one destination, as long as the bindings stay the same.

    Follows RabbitMQ's ``x-modulus-hash``: keys and arguments of bindings mean nothing, and a new or
    removed binding moves most keys (``x-consistent-hash`` moves few).
    """

    type_name = "x-modulus-hash"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._destinations: list[Destination] | None = None

    def binding_added(self, binding: Binding) -> None:
        self._destinations = None

    def binding_removed(self, binding: Binding) -> None:
        self._destinations = None

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        if not self.bindings:
            return ()
        destinations = self._destinations
        if destinations is None:
            distinct = {binding.destination for binding in self.bindings.values()}
            destinations = sorted(distinct, key=_order)
            self._destinations = destinations
        return (destinations[crc32(routing_key.encode("utf-8", "surrogateescape")) % len(destinations)],)


def _order(destination: Destination) -> tuple[bool, str]:
    return (destination.is_queue, destination.name)
