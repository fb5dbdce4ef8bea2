"""What arguments, policies and operator policies come to; each rule observed on RabbitMQ 3.10 unless said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.table import Table
from harebell.engine.arguments import POLICY_KEYS, QUEUE_ARGUMENTS, STREAM, QueueArgument, lower_limit
from harebell.engine.effective import (
    OPTION_NAMES,
    effective_alternate,
    effective_options,
    effective_policy,
    effective_values,
    has_options,
    same_options,
)
from harebell.engine.options import NOTHING_SET, QueueOptions
from harebell.engine.policies import Policy


def policy(name: str = "p", **definition: object) -> Policy:
    keys: Table = {key.replace("_", "-"): value for key, value in definition.items()}
    return Policy(name, "", "all", keys, 0)


def options(
    arguments: Table | None = None,
    by: Policy | None = None,
    operator: Policy | None = None,
    kind: str = "classic",
) -> Any:
    return effective_options(kind, arguments or {}, by, operator)


def origins(
    arguments: Table, by: Policy | None, operator: Policy | None = None, kind: str = "classic"
) -> dict[str, tuple[object, str, str]]:
    found = effective_values(kind, arguments, by, operator)
    return {value.key: (value.value, value.origin, value.name) for value in found}


def test_every_row_feeds_an_option_that_exists_and_every_option_has_a_row() -> None:
    known = [name for name in dir(QueueOptions()) if not name.startswith("_")]
    assert sorted(OPTION_NAMES) == known, "each attribute of QueueOptions is the option of one row"


def test_nothing_set_is_nothing_at_all() -> None:
    found = options()
    assert same_options(found, NOTHING_SET)
    assert (found.max_length, found.expires, found.message_ttl, found.delivery_limit) == (-1, -1, -1, -1)
    assert found.dead_letter_exchange is None and found.overflow == "drop-head"
    assert not found.single_active_consumer


def test_a_quorum_queue_has_a_delivery_limit_unless_it_says_otherwise() -> None:
    assert options(kind="quorum").delivery_limit == 20
    assert options({"x-delivery-limit": 3}, kind="quorum").delivery_limit == 3
    assert options({"x-delivery-limit": -1}, kind="quorum").delivery_limit == -1
    assert options({}, policy(delivery_limit=-1), kind="quorum").delivery_limit == -1
    assert origins({}, None, kind="quorum") == {"delivery-limit": (20, "default", "")}


NUMBERS = ("message-ttl", "expires", "max-length", "max-length-bytes", "consumer-timeout")


@pytest.mark.parametrize("key", NUMBERS)
@given(
    ours=st.none() | st.integers(1, 9),
    theirs=st.none() | st.integers(1, 9),
    ops=st.none() | st.integers(1, 9),
)
def test_of_numbers_the_lowest_counts(
    key: str, ours: int | None, theirs: int | None, ops: int | None
) -> None:
    if not POLICY_KEYS[key].operator:
        ops = None
    arguments: Table = {} if ours is None else {f"x-{key}": ours}
    by = None if theirs is None else Policy("p", "", "all", {key: theirs}, 0)
    operator = None if ops is None else Policy("o", "", "all", {key: ops}, 0)
    given_values = [value for value in (ours, theirs, ops) if value is not None]
    for kind in ("classic", "quorum"):
        found = getattr(options(arguments, by, operator, kind), key.replace("-", "_"))
        assert found == min(given_values, default=-1)


@pytest.mark.parametrize(
    ("ours", "theirs", "counts"), [(5, 2, 2), (2, 5, 2), (-1, 5, 5), (5, -1, 5), (-1, -1, -1), (0, 5, 0)]
)
def test_any_delivery_limit_goes_before_none(ours: int, theirs: int, counts: int) -> None:
    assert (
        options({"x-delivery-limit": ours}, policy(delivery_limit=theirs), kind="quorum").delivery_limit
        == counts
    )
    operator = policy("o", delivery_limit=ours)
    assert options({}, policy(delivery_limit=theirs), operator, "quorum").delivery_limit == counts


@pytest.mark.parametrize(
    ("ours", "theirs", "counts"), [(5, 2, 2), (2, 5, 2), (0, 5, 5), (5, 0, 5), (0, 0, 0)]
)
def test_any_consumer_timeout_goes_before_none(ours: int, theirs: int, counts: int) -> None:
    for kind in ("classic", "quorum"):
        found = options({"x-consumer-timeout": ours}, policy(consumer_timeout=theirs), kind=kind)
        assert found.consumer_timeout == counts


@given(st.integers(-3, 9), st.integers(-3, 9), st.integers(-3, 9))
def test_the_order_in_which_limits_are_merged_does_not_matter(a: int, b: int, c: int) -> None:
    def least(first: int, second: int) -> int:
        return first if lower_limit(first, second, "quorum") else second

    left, right = least(least(a, b), c), least(a, least(b, c))
    assert left == right or (left < 0 and right < 0)


def test_an_argument_goes_before_a_policy_key_by_key() -> None:
    by = policy(dead_letter_exchange="theirs", dead_letter_routing_key="k")
    found = options({"x-dead-letter-exchange": ""}, by)
    assert (found.dead_letter_exchange, found.dead_letter_routing_key) == ("", "k")


def test_a_policy_s_overflow_goes_before_the_argument_in_quorum_queues_only() -> None:
    arguments: Table = {"x-overflow": "drop-head"}
    by = policy(overflow="reject-publish")
    assert options(arguments, by).overflow == "drop-head"
    assert options(arguments, by, kind="quorum").overflow == "reject-publish"


def test_an_operator_s_overflow_goes_before_a_policy_s() -> None:
    found = options({}, policy(overflow="drop-head"), policy("o", overflow="reject-publish"))
    assert found.overflow == "reject-publish"


def test_a_quorum_queue_does_not_dead_letter_what_it_rejects() -> None:
    assert options({}, policy(overflow="reject-publish-dlx"), kind="quorum").overflow == "drop-head"
    assert options({"x-overflow": "reject-publish-dlx"}, kind="quorum").overflow == "drop-head"
    assert options({}, policy(overflow="reject-publish-dlx")).overflow == "reject-publish-dlx"


def test_each_value_says_where_it_comes_from() -> None:
    by = policy("mine", max_length=7, message_ttl=100, dead_letter_exchange="x")
    operator = policy("cap", max_length=6, expires=1000)
    found = origins({"x-max-length": 5, "x-message-ttl": 200, "x-max-priority": 3}, by, operator)
    assert found == {
        "max-length": (5, "argument", ""),
        "message-ttl": (100, "policy", "mine"),
        "expires": (1000, "operator policy", "cap"),
        "dead-letter-exchange": ("x", "policy", "mine"),
        "max-priority": (3, "argument", ""),
    }


def test_the_policy_and_the_operator_policy_are_merged_without_the_arguments() -> None:
    merged = effective_policy(
        policy(max_length=7, message_ttl=9), policy("o", max_length=6, expires=8), "classic"
    )
    assert {key: value.value for key, value in merged.items()} == {
        "max-length": 6,
        "message-ttl": 9,
        "expires": 8,
    }
    assert effective_policy(None, None, "classic") == {}


def test_arguments_without_an_option_set_none() -> None:
    assert not has_options({"x-queue-mode": "lazy", "colour": "red", "x-queue-type": "classic"})
    assert has_options({"x-expires": 5})
    assert same_options(options({"x-queue-mode": "lazy", "x-queue-version": 2}), NOTHING_SET)


def test_options_are_compared_one_by_one() -> None:
    assert same_options(options({"x-max-length": 5}), options({}, policy(max_length=5)))
    assert not same_options(options({"x-max-length": 5}), options({"x-max-length": 6}))
    assert not same_options(options({"x-dead-letter-exchange": ""}), NOTHING_SET)


VALUES: dict[str, st.SearchStrategy[object]] = {
    "x-single-active-consumer": st.booleans(),
    "x-overflow": st.sampled_from(["drop-head", "reject-publish"]),
    "x-dead-letter-strategy": st.sampled_from(["at-most-once", "at-least-once"]),
    "x-delayed-retry-type": st.sampled_from(["disabled", "all", "failed", "returned"]),
    "x-dead-letter-exchange": st.text(max_size=3),
    "x-dead-letter-routing-key": st.text(max_size=3),
}
ROWS = [row for row in QUEUE_ARGUMENTS if row.option and row.types != STREAM]


def values_of(row: QueueArgument) -> st.SearchStrategy[object]:
    """Values of the type that the row's option has, which compiled attributes insist on."""
    if row.key in VALUES:
        return VALUES[row.key]
    default = getattr(QueueOptions(), row.option)
    if isinstance(default, bool):
        return st.booleans()
    return st.integers(1, 255) if isinstance(default, int) else st.text(max_size=3)


@given(st.data())
def test_an_option_comes_from_exactly_one_of_the_three(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["classic", "quorum"]))
    arguments: Table = {}
    definitions: tuple[Table, Table] = ({}, {})
    for row in ROWS:
        value = values_of(row)
        key = row.key.removeprefix("x-")
        if kind in row.types and data.draw(st.booleans()):
            arguments[row.key] = data.draw(value)
        if row.policy is not None and data.draw(st.booleans()):
            definitions[0][key] = data.draw(value)
        if row.policy is not None and row.policy.operator and data.draw(st.booleans()):
            definitions[1][key] = data.draw(value)
    by, operator = (Policy("p", "", "all", definition, 0) for definition in definitions)
    found = {value.key: value for value in effective_values(kind, arguments, by, operator)}
    result = effective_options(kind, arguments, by, operator)
    for row in ROWS:
        key = row.key.removeprefix("x-")
        one = found.get(key)
        sources = {
            "argument": arguments.get(row.key),
            "policy": definitions[0].get(key),
            "operator policy": definitions[1].get(key),
            "default": 20,
        }
        if one is None:
            assert row.key not in arguments
            assert getattr(result, row.option) == getattr(NOTHING_SET, row.option)
        else:
            assert one.value == sources[one.origin]
            assert getattr(result, row.option) == one.value


def test_an_alternate_exchange_comes_from_the_argument_or_else_the_policy() -> None:
    by = policy(alternate_exchange="theirs")
    assert effective_alternate({}, None) is None
    assert effective_alternate({"alternate-exchange": "ours"}, by) == (
        "alternate-exchange",
        "ours",
        "argument",
        "",
    )
    assert effective_alternate({}, by) == ("alternate-exchange", "theirs", "policy", "p")
