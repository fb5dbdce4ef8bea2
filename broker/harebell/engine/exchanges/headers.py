"""The headers exchange: bindings match by the message's header table, not by the key.

The binding argument ``x-match`` says how: ``all`` (default) or ``any`` of the other arguments, not counting
those whose key begins with ``x-``; ``all-with-x`` and ``any-with-x`` count these too.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.errors import PRECONDITION_FAILED, BrokerError

X_MATCH = "x-match"

MATCH_FORMS = ("all", "any", "all-with-x", "any-with-x")


class HeaderMatch:
    """What one binding asks of a message's headers.

    Attributes:
        destination: where a matching message goes.
        any_of: one match is enough; else all must match.
        criteria: key and value pairs; a value of None asks only that the key is there.
    """

    def __init__(self, binding: Binding) -> None:
        form = binding.arguments.get(X_MATCH, "all")
        with_x = form in ("all-with-x", "any-with-x")
        self.destination = binding.destination
        self.any_of: bool = form in ("any", "any-with-x")
        self.criteria: list[tuple[str, object]] = []
        for key, value in binding.arguments.items():
            if key != X_MATCH and (with_x or not key.startswith("x-")):
                self.criteria.append((key, value))

    def matches(self, headers: Table) -> bool:
        """Tell whether a message with these headers matches; no criteria match as all, not as any."""
        for key, value in self.criteria:
            if (key in headers and (value is None or same_value(headers[key], value))) == self.any_of:
                return self.any_of
        return not self.any_of


def same_value(one: object, other: object) -> bool:
    """Compare two field values as RabbitMQ does: by value, whatever the width of a number on the wire.

    Numbers are equal across integers, timestamps and floats; text equals the same octets of type ``x``;
    booleans, decimals and void only equal their own kind.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, (str, bytes)) and isinstance(other, (str, bytes)):
        return _octets(one) == _octets(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same_value(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return False
        return all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one == other
    return one is None and other is None


def _octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class HeadersExchange(Exchange):
    """Routes by headers (AMQP 0-9-1 section 3.1.3.4, with RabbitMQ's four forms of ``x-match``)."""

    type_name = "headers"
    ignores_key = True
    dynamic = True

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._matches: dict[Binding, HeaderMatch] = {}

    def check_binding(self, routing_key: str, arguments: Table) -> None:
        form = arguments.get(X_MATCH, "all")
        if not isinstance(form, str):
            raise BrokerError(PRECONDITION_FAILED, "Invalid x-match field type; expected longstr")
        if form not in MATCH_FORMS:
            raise BrokerError(
                PRECONDITION_FAILED,
                f'Invalid x-match field value "{form}"; expected all, any, all-with-x, or any-with-x',
            )

    def binding_added(self, binding: Binding) -> None:
        self._matches[binding] = HeaderMatch(binding)

    def binding_removed(self, binding: Binding) -> None:
        del self._matches[binding]

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        headers: Table = {} if properties is None else properties.headers()
        return [match.destination for match in self._matches.values() if match.matches(headers)]
