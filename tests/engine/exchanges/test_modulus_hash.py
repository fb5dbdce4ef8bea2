"""The modulus-hash exchange: one destination per key, evenly."""

from __future__ import annotations

from collections import Counter

from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding
from harebell.engine.exchanges.modulus_hash import ModulusHashExchange


def test_keys_spread_evenly_over_distinct_destinations() -> None:
    exchange = ModulusHashExchange("x", True, False, False, {})
    for name in "abc":
        exchange.bind(Binding(exchange, Destination(name, True), "", {}))
    again = next(iter(exchange.bindings.values())).destination
    exchange.bind(Binding(exchange, again, "bound twice", {}))
    counts: Counter[str] = Counter()
    for n in range(3000):
        (destination,) = exchange.route(f"key-{n}", None)
        assert exchange.route(f"key-{n}", None) == (destination,)
        counts[destination.name] += 1
    assert all(850 < count < 1150 for count in counts.values()), counts


def test_the_order_of_binding_does_not_matter() -> None:
    queues = [Destination(name, True) for name in "abcd"]
    one = ModulusHashExchange("x", True, False, False, {})
    other = ModulusHashExchange("y", True, False, False, {})
    for queue in queues:
        one.bind(Binding(one, queue, "", {}))
    for queue in reversed(queues):
        other.bind(Binding(other, queue, "", {}))
    for n in range(50):
        assert one.route(str(n), None) == other.route(str(n), None)
