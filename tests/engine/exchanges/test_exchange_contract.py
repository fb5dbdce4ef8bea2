"""What every exchange type must do, whatever it routes by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.properties import Properties, build_header, parse_properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.exchanges.registry import EXCHANGE_TYPES, create, exchange_class
from harebell.errors import PRECONDITION_FAILED, BrokerError

ALL_TYPES = pytest.mark.parametrize("type_name", sorted(EXCHANGE_TYPES))

# A binding with key "1" and no arguments takes a message with key "1" in every type there is.
KEY = "1"


def message() -> Properties:
    return parse_properties(build_header(0))


def exchange(type_name: str, arguments: Table | None = None) -> Exchange:
    return create(type_name, "x", True, False, False, arguments or {})


def bind(
    source: Exchange, destination: Destination, key: str = KEY, arguments: Table | None = None
) -> Binding:
    source.check_binding(key, arguments or {})
    binding = Binding(source, destination, key, arguments or {})
    source.bind(binding)
    return binding


@ALL_TYPES
def test_what_was_declared_is_kept(type_name: str) -> None:
    made = create(type_name, "logs", True, True, True, {"alternate-exchange": "other"})
    assert (made.name, made.type_name, made.is_queue) == ("logs", type_name, False)
    assert (made.durable, made.auto_delete, made.internal) == (True, True, True)
    assert made.arguments == {"alternate-exchange": "other"}


@ALL_TYPES
def test_an_exchange_without_bindings_routes_nowhere(type_name: str) -> None:
    assert list(exchange(type_name).route(KEY, message())) == []


@ALL_TYPES
def test_a_matching_binding_routes_to_its_destination(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    bind(source, queue)
    assert set(source.route(KEY, message())) == {queue}


@ALL_TYPES
def test_an_exchange_can_be_bound_as_a_queue_is(type_name: str) -> None:
    source, other = exchange(type_name), exchange("fanout")
    bind(source, other)
    assert set(source.route(KEY, message())) == {other}


@ALL_TYPES
def test_an_equal_binding_is_added_once(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    bind(source, queue, arguments={"a": 1, "b": "x"})
    again = Binding(source, queue, KEY, {"b": "x", "a": 1})
    assert not source.bind(again)
    assert len(source.bindings) == 1


@ALL_TYPES
def test_bindings_that_differ_in_arguments_are_two(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    bind(source, queue, arguments={"a": 1})
    bind(source, queue, arguments={"a": 2})
    assert len(source.bindings) == 2
    source.unbind(queue, KEY, {"a": 1})
    assert [binding.arguments for binding in source.bindings.values()] == [{"a": 2}]
    source.unbind(queue, KEY, {"a": 2})
    assert list(source.route(KEY, message())) == []


@ALL_TYPES
def test_unbinding_gives_the_binding_and_stops_its_messages(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    binding = bind(source, queue)
    assert source.unbind(queue, KEY, {}) is binding
    assert list(source.route(KEY, message())) == []
    assert not source.bindings


@ALL_TYPES
def test_unbinding_what_is_not_bound_changes_nothing(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    bind(source, queue)
    assert source.unbind(queue, "2", {}) is None
    assert source.unbind(Destination("q", True), KEY, {}) is None
    assert set(source.route(KEY, message())) == {queue}


@ALL_TYPES
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from(["1", "2", "30"])), max_size=30
    )
)
def test_after_any_changes_it_routes_as_one_freshly_bound(
    type_name: str, steps: list[tuple[bool, int, str]]
) -> None:
    source = exchange(type_name)
    queues = [Destination(f"q{n}", True) for n in range(4)]
    for add, at, key in steps:
        if add:
            source.bind(Binding(source, queues[at], key, {}))
        else:
            source.unbind(queues[at], key, {})
    fresh = exchange(type_name)
    for binding in source.bindings.values():
        fresh.bind(Binding(fresh, binding.destination, binding.routing_key, {}))
    for key in ("1", "2", "30", "4"):
        routed = set(source.route(key, message()))
        if "random" in type_name:
            assert routed <= {binding.destination for binding in source.bindings.values()}
            assert bool(routed) == bool(source.bindings)
        else:
            assert routed == set(fresh.route(key, message()))


@ALL_TYPES
def test_a_static_type_needs_no_properties(type_name: str) -> None:
    source, queue = exchange(type_name), Destination("q", True)
    bind(source, queue)
    if not source.dynamic:
        assert set(source.route(KEY, None)) == {queue}


@ALL_TYPES
def test_keys_that_are_not_utf8_do_no_harm(type_name: str) -> None:
    source = exchange(type_name)
    bind(source, Destination("q\udcff", True))
    list(source.route("\udcff.\udcfe", message()))


@ALL_TYPES
def test_no_arguments_are_fine(type_name: str) -> None:
    exchange_class(type_name).check_arguments({})
    assert exchange(type_name).same_arguments({})


@pytest.mark.parametrize("type_name", ["", "Direct", "x-unknown", "a" * 300])
def test_an_unknown_type_is_a_precondition_failed(type_name: str) -> None:
    for act in (lambda: exchange_class(type_name), lambda: exchange(type_name)):
        with pytest.raises(BrokerError) as refused:
            act()
        assert refused.value.row is PRECONDITION_FAILED
        assert refused.value.text == f"unknown exchange type '{type_name}'"


@pytest.mark.parametrize(
    ("type_name", "dynamic"),
    [
        ("direct", False),
        ("fanout", False),
        ("topic", False),
        ("headers", True),
        ("x-consistent-hash", False),
        ("x-modulus-hash", False),
        ("x-random", True),
        ("x-local-random", True),
        ("x-recent-history", True),
    ],
)
def test_types_that_depend_on_more_than_the_key_say_so(type_name: str, dynamic: bool) -> None:
    assert exchange(type_name).dynamic is dynamic
