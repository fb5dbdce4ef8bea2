"""The consistent-hash exchange: shares follow the weights, and few keys move."""

from __future__ import annotations

from collections import Counter

import pytest

from harebell.content.properties import build_header, parse_properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.consistent_hash import ConsistentHashExchange
from harebell.engine.exchanges.exchange import Binding
from harebell.errors import PRECONDITION_FAILED, BrokerError

KEYS = [f"key-{n}" for n in range(4000)]


def hashing(weights: dict[str, str], arguments: Table | None = None) -> ConsistentHashExchange:
    exchange = ConsistentHashExchange("x", True, False, False, arguments or {})
    for name, weight in weights.items():
        exchange.bind(Binding(exchange, Destination(name, True), weight, {}))
    return exchange


def target(exchange: ConsistentHashExchange, key: str, **properties: object) -> str:
    header = parse_properties(build_header(0, **properties))  # type: ignore[arg-type]
    (destination,) = exchange.route(key, header if exchange.dynamic else None)
    return destination.name


def test_every_message_goes_to_exactly_one_destination_and_always_the_same() -> None:
    first = hashing({"a": "1", "b": "1", "c": "1"})
    second = hashing({"c": "1", "a": "1", "b": "1"})
    assert [target(first, key) for key in KEYS] == [target(second, key) for key in KEYS]


def test_where_keys_go_does_not_change_between_releases() -> None:
    exchange = hashing({"a": "1", "b": "2", "c": "3"})
    assert "".join(target(exchange, key) for key in KEYS[:24]) == "ccbbcaabbcbbaacccacbbcaa"


@pytest.mark.parametrize(
    "weights", [{"a": "1", "b": "1"}, {"a": "1", "b": "3"}, {"a": "10", "b": "20", "c": "70"}]
)
def test_shares_follow_the_weights(weights: dict[str, str]) -> None:
    exchange = hashing(weights)
    counts = Counter(target(exchange, key) for key in KEYS)
    total = sum(int(weight) for weight in weights.values())
    for name, weight in weights.items():
        expected = len(KEYS) * int(weight) / total
        assert abs(counts[name] - expected) < 0.15 * expected, counts


def test_a_removed_binding_moves_only_its_own_keys() -> None:
    exchange = hashing({"a": "1", "b": "2", "c": "1"})
    before = {key: target(exchange, key) for key in KEYS}
    (gone,) = [binding for binding in exchange.bindings.values() if binding.destination.name == "b"]
    exchange.unbind(gone.destination, gone.routing_key, {})
    for key, name in before.items():
        assert target(exchange, key) == name or name == "b"
    exchange.bind(gone)
    assert before == {key: target(exchange, key) for key in KEYS}


@pytest.mark.parametrize("argument", ["hash-header", "x-hash-on"])
def test_a_header_can_be_hashed(argument: str) -> None:
    by_key = hashing({"a": "1", "b": "1", "c": "1"})
    by_header = hashing({"a": "1", "b": "1", "c": "1"}, {argument: "id"})
    assert by_header.dynamic
    for key in KEYS[:50]:
        assert target(by_header, "ignored", headers={"id": key}) == target(by_key, key)
    assert target(by_header, "ignored", headers={"id": 7}) == target(by_key, "7")
    assert target(by_header, "ignored", headers={"id": b"7"}) == target(by_key, "7")
    assert target(by_header, "ignored") == target(by_key, "")


@pytest.mark.parametrize("name", ["message_id", "correlation_id", "app_id"])
def test_a_property_can_be_hashed(name: str) -> None:
    by_key = hashing({"a": "1", "b": "1", "c": "1"})
    by_property = hashing({"a": "1", "b": "1", "c": "1"}, {"hash-property": name})
    assert by_property.dynamic
    for key in KEYS[:50]:
        assert target(by_property, "ignored", **{name: key}) == target(by_key, key)
    assert target(by_property, "ignored") == target(by_key, "")


def test_the_timestamp_can_be_hashed() -> None:
    by_key = hashing({"a": "1", "b": "1"})
    by_timestamp = hashing({"a": "1", "b": "1"}, {"hash-property": "timestamp"})
    assert [target(by_timestamp, "", timestamp=n) for n in range(20)] == [
        target(by_key, str(n)) for n in range(20)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"hash-header": "a", "hash-property": "message_id"},
        {"x-hash-on": "a", "hash-property": "message_id"},
        {"hash-property": "headers"},
        {"hash-property": "priority"},
        {"hash-header": 1},
        {"hash-header": ""},
        {"hash-property": ["message_id"]},
    ],
)
def test_bad_arguments_are_refused(arguments: Table) -> None:
    with pytest.raises(BrokerError) as refused:
        ConsistentHashExchange.check_arguments(arguments)
    assert refused.value.row is PRECONDITION_FAILED


@pytest.mark.parametrize("key", ["", "a", "1.5", "-", "0", "-1", "00", "1_0", " 1", "٣", "1" * 10])
def test_a_binding_key_that_is_no_weight_is_refused(key: str) -> None:
    with pytest.raises(BrokerError, match="binding key") as refused:
        hashing({}).check_binding(key, {})
    assert refused.value.row is PRECONDITION_FAILED


def test_the_largest_weight_costs_no_more_than_the_smallest() -> None:
    exchange = hashing({"a": "999999999", "b": "1"})
    assert Counter(target(exchange, key) for key in KEYS)["b"] <= 1
