"""The consistent-hash exchange: equal hash keys go to the same destination, and keep going there.

Each binding's key is its weight.  A message goes to the binding with the highest score; the score comes
from a hash of the message's key mixed with the binding's own ("weighted rendezvous hashing").  So a new
binding takes over its share of the keys and no others move; when one goes, only its keys move.  Unlike a
ring of buckets this is exact for any weight and needs no memory beyond the bindings.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from typing import Final
from zlib import crc32

from mypy_extensions import i64

from harebell.content.properties import SHORT_STRINGS, Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.errors import PRECONDITION_FAILED, BrokerError

HASH_HEADER: Final = "hash-header"
HASH_ON: Final = "x-hash-on"
HASH_PROPERTY: Final = "hash-property"

LONGEST_WEIGHT: Final = 9

_WORD: Final = 0xFFFF_FFFF
_MIX: Final = 0x045D_9F3B


class HashTarget:
    """One binding as the hash sees it.

    Attributes:
        destination: where its messages go.
        seed: 32-bit hash of what the binding is: the same on every node and after every restart.
        weight: its share, relative to the other bindings' weights.
    """

    def __init__(self, binding: Binding) -> None:
        destination = binding.destination
        kind = b"queue " if destination.is_queue else b"exchange "
        identity = kind + _octets(destination.name) + b" " + _octets(binding.routing_key)
        self.destination = destination
        self.seed: i64 = crc32(identity)
        self.weight: float = float(int(binding.routing_key))

    def score(self, key_hash: i64) -> float:
        """Give this binding's score for a 32-bit hash of a message's key; always negative."""
        mixed: i64 = key_hash ^ self.seed
        for _ in range(3):
            mixed = ((mixed >> 16) ^ mixed) * _MIX & _WORD
        mixed = (mixed >> 16) ^ mixed
        return log((float(mixed) + 0.5) / 4294967296.0) / self.weight


class ConsistentHashExchange(Exchange):
    """Routes each message to one destination by a hash (RabbitMQ's ``x-consistent-hash``).

    The hash is of the routing key, or with the declaration argument ``hash-header`` (or LavinMQ's
    ``x-hash-on``) of that header, or with ``hash-property`` of that property.  What is absent from a
    message counts as empty.
    """

    type_name = "x-consistent-hash"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        header = arguments.get(HASH_HEADER, arguments.get(HASH_ON))
        hash_property = arguments.get(HASH_PROPERTY)
        self._header = header if isinstance(header, str) else ""
        self._property = hash_property if isinstance(hash_property, str) else ""
        self.dynamic = bool(self._header or self._property)
        self._targets: dict[Binding, HashTarget] = {}

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        for key in (HASH_HEADER, HASH_ON, HASH_PROPERTY):
            if key in arguments and (not isinstance(arguments[key], str) or not arguments[key]):
                raise BrokerError(
                    PRECONDITION_FAILED, f"Invalid argument '{key}': must be a non-empty string"
                )
        if HASH_PROPERTY in arguments:
            if HASH_HEADER in arguments or HASH_ON in arguments:
                raise BrokerError(
                    PRECONDITION_FAILED, f"{HASH_HEADER} and {HASH_PROPERTY} are mutually exclusive"
                )
            name = arguments[HASH_PROPERTY]
            if name != "timestamp" and name not in SHORT_STRINGS:
                raise BrokerError(PRECONDITION_FAILED, f"Unsupported property: {name}")

    def check_binding(self, routing_key: str, arguments: Table) -> None:
        digits = routing_key.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise BrokerError(PRECONDITION_FAILED, f"The binding key must be an integer: '{routing_key}'")
        if routing_key.startswith("-") or not digits.strip("0"):
            raise BrokerError(PRECONDITION_FAILED, "The binding key must be greater than 0")
        if len(digits) > LONGEST_WEIGHT:
            raise BrokerError(
                PRECONDITION_FAILED, f"The binding key must have at most {LONGEST_WEIGHT} digits"
            )

    def binding_added(self, binding: Binding) -> None:
        self._targets[binding] = HashTarget(binding)

    def binding_removed(self, binding: Binding) -> None:
        del self._targets[binding]

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        key_hash: i64 = crc32(self._hash_key(routing_key, properties))
        best: HashTarget | None = None
        best_score = 0.0
        for target in self._targets.values():
            score = target.score(key_hash)
            if best is None or score > best_score:
                best = target
                best_score = score
        return () if best is None else (best.destination,)

    def _hash_key(self, routing_key: str, properties: Properties | None) -> bytes:
        if not self.dynamic:
            return _octets(routing_key)
        if properties is None:
            return b""
        if self._header:
            value = properties.headers().get(self._header)
        elif self._property == "timestamp":
            value = properties.timestamp()
        else:
            value = properties.text(self._property)
        if isinstance(value, bytes):
            return value
        return b"" if value is None else _octets(str(value))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
