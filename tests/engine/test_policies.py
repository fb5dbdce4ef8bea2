"""Policies: what they may say, and which of them applies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.table import Table
from harebell.engine.arguments import POLICY_KEYS
from harebell.engine.name_patterns import BadPattern
from harebell.engine.policies import Policies, Policy, PolicyList
from harebell.engine.policy_checks import (
    check_default_queue_type,
    check_policy,
    check_vhost_limits,
)
from harebell.errors import PRECONDITION_FAILED, BrokerError


def refusal(
    definition: object,
    *,
    pattern: object = "x",
    apply_to: object = "all",
    priority: object = 0,
    name: object = "p",
    operator: bool = False,
) -> str | None:
    try:
        check_policy(name, pattern, apply_to, definition, priority, operator)
    except BrokerError as error:
        assert error.row is PRECONDITION_FAILED
        head, _, reasons = error.text.partition("\n\n")
        assert head == "Validation failed"
        return reasons
    return None


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({}, "no policy provided"),
        ({"no-such": 1}, '[{<<"no-such">>,1}] are not recognised policy settings'),
        (
            {"max-length": 1, "nope": ["a", {"b": None}], "zz": 1.5},
            '[{<<"nope">>,[<<"a">>,#{<<"b">> => null}]},{<<"zz">>,1.5}] are not recognised policy settings',
        ),
        ({"max-length": "1"}, '<<"1">> is not a valid maximum length'),
        ({"max-length": True}, "true is not a valid maximum length"),
        ({"max-length": [1]}, "[1] is not a valid maximum length"),
        ({"max-length": 1.0}, "1.0 is not a valid maximum length"),
        ({"max-length": -1}, "-1 is not a valid maximum length"),
        ({"max-length-bytes": -1}, "-1 is not a valid maximum length in bytes"),
        ({"overflow": "xx"}, '<<"xx">> is not a valid overflow value'),
        ({"dead-letter-exchange": 1}, "1 is not a valid dead letter exchange name"),
        ({"message-ttl": None}, "null is not a valid message TTL"),
        ({"message-ttl": -1}, "-1 is not a valid message TTL"),
        ({"expires": 0}, "0 is not a valid queue expiry"),
        ({"delivery-limit": "a"}, '<<"a">> is not a valid delivery limit'),
        ({"queue-mode": "foo"}, '<<"foo">> is not a valid queue-mode value'),
        ({"queue-version": 3}, "3 is not a valid queue-version value"),
        ({"max-age": "7X"}, '<<"7X">> is not a valid max age'),
        ({"max-age": 7}, "7 is not a valid max age"),
        ({"alternate-exchange": 1}, "1 is not a valid alternate exchange name"),
        ({"queue-leader-locator": "x"}, '<<"x">> is not a valid queue leader locator value'),
        ({"dead-letter-strategy": "x"}, '<<"x">> is not a valid dead letter strategy'),
        ({"max-priority": 5}, '[{<<"max-priority">>,5}] are not recognised policy settings'),
        (
            {"single-active-consumer": True},
            '[{<<"single-active-consumer">>,true}] are not recognised policy settings',
        ),
    ],
)
def test_a_bad_definition_is_refused_in_rabbitmq_s_words(definition: Table, words: str) -> None:
    assert refusal(definition) == words + "\n"


@pytest.mark.parametrize(
    "definition",
    [
        {"max-length": 2**63},
        {"dead-letter-exchange": "\ud800"},
        {"dead-letter-exchange": "x" * 256},
        {"federation-upstream": "\udc00\ud800"},
        {"ha-params": [1]},
        {"ha-params": ["\ud800"]},
        {"expires": 315_360_000_001},
    ],
)
def test_what_the_broker_could_not_keep_is_refused(definition: Table) -> None:
    assert "is not a valid" in (refusal(definition) or "")


@pytest.mark.parametrize(
    "definition",
    [
        {"max-length": 0, "message-ttl": 0, "expires": 1},
        {"dead-letter-exchange": "", "dead-letter-routing-key": "k"},
        {"dead-letter-routing-key": "k"},
        {"delivery-limit": -1},
        {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"},
        {"ha-mode": "nodes", "ha-params": ["a@b"]},
        {"federation-upstream-set": "all"},
        {"initial-cluster-size": 0, "max-age": "7D"},
        {"alternate-exchange": "x"},
        {"delayed-retry-type": "all", "delayed-retry-min": 1000, "delayed-retry-max": 30000},
    ],
)
def test_what_rabbitmq_takes_is_taken(definition: Table) -> None:
    assert refusal(definition) is None


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = refusal({"max-length": "a"}, apply_to="foo", pattern="(", priority="3", name="x" * 256)
    assert text is not None
    lines = text.splitlines()
    assert lines[0] == '<<"a">> is not a valid maximum length'
    assert lines[1].startswith("apply-to 'foo' unrecognised; should be")
    assert lines[2].startswith("pattern should be regular expression but is invalid: ")
    assert lines[3] == 'priority should be a number, actually was <<"3">>'
    assert lines[4].startswith("name should be text")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pattern": 1},
        {"pattern": None},
        {"pattern": "\ud800"},
        {"pattern": "(a+)+"},
        {"apply_to": 1},
        {"apply_to": None},
        {"apply_to": []},
        {"priority": 1.5},
        {"priority": None},
        {"priority": True},
        {"priority": 2**63},
        {"name": None},
        {"name": "\ud800"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(wrong: dict[str, object]) -> None:
    assert refusal({"max-length": 1}, **wrong) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("definition", [None, [], "s", 1])
def test_a_definition_that_is_no_object_is_refused(definition: object) -> None:
    assert "definition should be an object" in (refusal(definition) or "")


@pytest.mark.parametrize("key", sorted(POLICY_KEYS))
def test_operators_may_set_limits_only(key: str) -> None:
    allowed = {
        "expires",
        "message-ttl",
        "max-length",
        "max-length-bytes",
        "max-in-memory-length",
        "max-in-memory-bytes",
        "delivery-limit",
        "overflow",
        "target-group-size",
        "delivery-rate",
        "publish-rate",
        "max-unacked",
        "schema",
        "schema-version",
        "schema-mode",
        "schema-max-bytes",
    }
    text = refusal({key: object()}, operator=True)
    assert text is not None
    assert ("are not recognised policy settings" in text) == (key not in allowed)


@given(
    st.dictionaries(
        st.sampled_from(sorted(POLICY_KEYS)) | st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=3,
    ),
    st.text(max_size=6),
    st.booleans(),
)
def test_anything_is_taken_or_refused(definition: Table, pattern: str, operator: bool) -> None:
    if refusal(definition, pattern=pattern, operator=operator) is None:
        Policies().set(Policy("p", pattern, "all", definition, 0), operator)


# which applies


def policies(*given_policies: Policy) -> PolicyList:
    found = PolicyList()
    for policy in given_policies:
        found.set(policy)
    return found


def policy(
    name: str, priority: int = 0, pattern: str = "", apply_to: str = "all", definition: Table | None = None
) -> Policy:
    return Policy(name, pattern, apply_to, definition or {"max-length": 1}, priority)


def applying(found: PolicyList, name: str = "q", kind: str = "classic") -> str | None:
    one = found.for_queue(name, kind)
    return None if one is None else one.name


def test_the_highest_priority_applies_and_nothing_of_the_others() -> None:
    found = policies(policy("a", -5), policy("b", 7), policy("c", 7 - 1))
    assert applying(found) == "b"
    found.clear("b")
    assert applying(found) == "c"
    found.clear("nosuch")
    assert [one.name for one in found.all()] == ["c", "a"]


def test_of_equals_the_one_whose_name_sorts_first_applies() -> None:
    assert applying(policies(policy("b"), policy("a"), policy("c"))) == "a"
    assert applying(policies(policy("a"), policy("c"), policy("b"))) == "a"


def test_a_policy_takes_the_place_of_the_one_of_its_name() -> None:
    found = policies(policy("a", 1), policy("b", 2), policy("b", 0))
    assert len(found) == 2
    assert applying(found) == "a"
    assert found.get("b") == policy("b", 0)
    assert found.get("c") is None


@pytest.mark.parametrize(
    ("apply_to", "fits"),
    [
        ("all", ["classic", "quorum", "stream", "exchange"]),
        ("queues", ["classic", "quorum", "stream"]),
        ("exchanges", ["exchange"]),
        ("classic_queues", ["classic"]),
        ("quorum_queues", ["quorum"]),
        ("streams", ["stream"]),
    ],
)
def test_a_policy_applies_to_the_kinds_it_says(apply_to: str, fits: list[str]) -> None:
    found = policies(policy("p", apply_to=apply_to, definition={"max-length-bytes": 1}))
    kinds = [kind for kind in ("classic", "quorum", "stream") if applying(found, kind=kind)]
    if found.for_exchange("x") is not None:
        kinds.append("exchange")
    assert kinds == fits


def test_no_policy_applies_to_the_default_exchange() -> None:
    assert policies(policy("p")).for_exchange("") is None


@pytest.mark.parametrize(
    ("key", "value", "kinds"),
    [
        ("queue-mode", "lazy", ["classic"]),
        ("queue-version", 2, ["classic", "quorum", "stream"]),
        ("delivery-limit", 3, ["quorum"]),
        ("max-in-memory-length", 3, ["classic", "quorum"]),
        ("max-age", "7D", ["stream"]),
        ("initial-cluster-size", 1, ["stream"]),
        ("queue-leader-locator", "balanced", ["quorum", "stream"]),
        ("queue-master-locator", "min-masters", ["classic"]),
        ("dead-letter-exchange", "x", ["classic", "quorum"]),
        ("dead-letter-strategy", "at-least-once", ["quorum"]),
        ("max-length", 5, ["classic", "quorum"]),
        ("max-length-bytes", 5, ["classic", "quorum", "stream"]),
        ("overflow", "reject-publish-dlx", ["classic", "quorum"]),
        ("alternate-exchange", "x", ["classic", "quorum", "stream"]),
        ("ha-mode", "all", ["classic"]),
    ],
)
def test_one_key_of_another_type_keeps_the_whole_policy_away(
    key: str, value: object, kinds: list[str]
) -> None:
    found = policies(
        policy("high", 5, definition={key: value, "max-length-bytes": 7}),
        policy("low", 1, definition={"max-length-bytes": 9}),
    )
    assert [kind for kind in ("classic", "quorum", "stream") if applying(found, kind=kind) == "high"] == kinds


def test_a_bad_pattern_changes_nothing() -> None:
    found = policies(policy("p"))
    with pytest.raises(BadPattern):
        found.set(policy("p", pattern="("))
    assert found.get("p") == policy("p")


def test_queues_without_options_of_their_own_share_theirs() -> None:
    both = Policies()
    both.set(policy("p", pattern="^a"), False)
    first, second = both.applied("a1", "classic", {}), both.applied("a2", "classic", {"x-queue-mode": "lazy"})
    assert first.options is second.options
    assert both.applied("a3", "classic", {"x-max-length": 0}).options.max_length == 0
    assert both.applied("a4", "quorum", {}).options.delivery_limit == 20
    both.set(policy("p", pattern="^a", definition={"max-length": 9}), False)
    assert both.applied("a1", "classic", {}).options.max_length == 9
    both.set(policy("p", pattern="^a1$", definition={"max-length": 3}), True)
    applied = both.applied("a1", "classic", {})
    assert applied.options.max_length == 3
    assert applied.policy is not None and applied.operator is not None
    both.clear("p", False)
    assert both.applied("a2", "classic", {}).policy is None
    assert both.applied("a1", "classic", {}).options.max_length == 3


# limits of virtual hosts


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max-queues": "a"}, 'max-queues should be a number, actually was <<"a">>'),
        ({"max-connections": 1.5}, "max-connections should be a number, actually was 1.5"),
        ({"max-queues": True}, "max-queues should be a number, actually was true"),
        ({"max-queues": 2**63}, "max-queues should be a number, actually was 9223372036854775808"),
        ({"nosuch": 1}, 'Unrecognised terms [{<<"nosuch">>,1}] in limits'),
        ([], "limits should be an object, actually was []"),
    ],
)
def test_bad_limits_are_refused_in_rabbitmq_s_words(limits: object, words: str) -> None:
    with pytest.raises(BrokerError) as refused:
        check_vhost_limits(limits)
    assert refused.value.text == f"Validation failed\n\n{words}\n"


def test_good_limits_are_taken() -> None:
    for limits in ({}, {"max-queues": 0}, {"max-queues": -1, "max-connections": 5}):
        check_vhost_limits(limits)


def test_a_default_queue_type_is_one_this_node_offers() -> None:
    for good in ("", "classic", "quorum", "stream"):
        check_default_queue_type(good)
    wrong: list[object] = ["nosuch", "streams", None, 1, []]
    for bad in wrong:
        with pytest.raises(BrokerError):
            check_default_queue_type(bad)
