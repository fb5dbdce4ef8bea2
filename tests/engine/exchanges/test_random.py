"""The random exchanges: one destination each time, by the numbers drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding
from harebell.engine.exchanges.random import LocalRandomExchange, RandomExchange

BOTH = pytest.mark.parametrize("kind", [RandomExchange, LocalRandomExchange])


@BOTH
def test_the_number_drawn_picks_the_destination(kind: type[RandomExchange]) -> None:
    numbers = iter([0.0, 0.34, 0.67, 0.999_999_999_999])
    exchange = kind("x", True, False, False, {}, numbers.__next__)
    for name in "abc":
        exchange.bind(Binding(exchange, Destination(name, True), "", {}))
    assert [destination.name for _ in range(4) for destination in exchange.route("", None)] == [
        "a",
        "b",
        "c",
        "c",
    ]


@BOTH
def test_all_destinations_get_their_share(kind: type[RandomExchange]) -> None:
    exchange = kind("x", True, False, False, {}, random.Random(7).random)
    for name in "abc":
        exchange.bind(Binding(exchange, Destination(name, True), "", {}))
    counts = Counter(destination.name for _ in range(3000) for destination in exchange.route("", None))
    assert all(850 < count < 1150 for count in counts.values()), counts
