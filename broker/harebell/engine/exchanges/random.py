"""Exchanges that pick one binding by chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange


class RandomExchange(Exchange):
    """Routes each message to one of the destinations bound to it, every binding being equally likely.

    Follows RabbitMQ's ``x-random``: keys and arguments of bindings mean nothing.

    Args:
        draw: gives a number from 0 up to, not including, 1.
    """

    type_name = "x-random"
    dynamic = True

    def __init__(
        self,
        name: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._draw = draw
        self._destinations: list[Destination] = []

    def binding_added(self, binding: Binding) -> None:
        self._destinations.append(binding.destination)

    def binding_removed(self, binding: Binding) -> None:
        self._destinations.remove(binding.destination)

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        if not self._destinations:
            return ()
        return (self._destinations[int(self._draw() * len(self._destinations))],)


class LocalRandomExchange(RandomExchange):
    """RabbitMQ's ``x-local-random``: one of the queues of the node published to."""

    type_name = "x-local-random"
