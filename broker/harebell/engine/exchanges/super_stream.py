"""The super-stream exchange: the routing key's hash picks one of the partitions of a super stream.

The hash is MurmurHash3 (32 bit, x86) with RabbitMQ's seed, and partitions are in the order of their
``x-stream-partition-order``: a key lies in the same partition as with RabbitMQ's stream clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.arguments import QUEUE_ROWS
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.errors import PRECONDITION_FAILED, BrokerError

PARTITIONS: Final = "x-partitions"
"""Argument of the exchange: have it made with so many streams, called after it and numbered from 0."""

PARTITION_ORDER: Final = "x-stream-partition-order"
"""Argument of a binding: the partition's place."""

MOST_PARTITIONS: Final = 1000
SEED: Final = 104729
MASK: Final = 0xFFFFFFFF


def murmur3(data: bytes, seed: int) -> int:
    """Give the 32-bit MurmurHash3 of some octets (Austin Appleby's x86 variant)."""
    size: int = len(data)
    value: int = seed
    at: int = 0
    while at + 4 <= size:
        word: int = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)
        value = _turn(value ^ _mixed(word), 13)
        value = (value * 5 + 0xE6546B64) & MASK
        at += 4
    tail: int = 0
    shift: int = 0
    while at < size:
        tail |= data[at] << shift
        shift += 8
        at += 1
    value ^= _mixed(tail)
    value ^= size
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & MASK
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & MASK
    return value ^ (value >> 16)


def _mixed(word: int) -> int:
    return (_turn((word * 0xCC9E2D51) & MASK, 15) * 0x1B873593) & MASK


def _turn(value: int, bits: int) -> int:
    return ((value << bits) & MASK) | (value >> (32 - bits))


class SuperStreamExchange(Exchange):
    """Routes all messages of one key to one partition."""

    type_name = "x-super-stream"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._partitions: list[Destination] | None = None

    def own_arguments(self) -> Table:
        """Give those that it does not hand to its streams."""
        if PARTITIONS not in self.arguments:
            return self.arguments
        return {key: value for key, value in self.arguments.items() if key not in QUEUE_ROWS}

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """Check the number of partitions.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        count = arguments.get(PARTITIONS)
        if PARTITIONS in arguments and (type(count) is not int or not 1 <= count <= MOST_PARTITIONS):
            raise BrokerError(
                PRECONDITION_FAILED,
                f"invalid arg '{PARTITIONS}': not a whole number from 1 to {MOST_PARTITIONS}",
            )

    def same_arguments(self, arguments: Table) -> bool:
        """Tell whether a redeclaration asks for as many partitions."""
        return self.arguments.get(PARTITIONS) == arguments.get(PARTITIONS)

    def binding_added(self, binding: Binding) -> None:
        self._partitions = None

    def binding_removed(self, binding: Binding) -> None:
        self._partitions = None

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        if not self.bindings:
            return ()
        partitions = self._partitions
        if partitions is None:
            ordered = sorted(self.bindings.values(), key=_order)
            partitions = self._partitions = [binding.destination for binding in ordered]
        key = routing_key.encode("utf-8", "surrogateescape")
        return (partitions[murmur3(key, SEED) % len(partitions)],)


def _order(binding: Binding) -> tuple[int, str]:
    order = binding.arguments.get(PARTITION_ORDER)
    return (order if type(order) is int else MOST_PARTITIONS, binding.routing_key)
