"""The rows of queue and consumer arguments: what each takes, and what a redeclaration must repeat."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.engine.arguments import (
    CONSUMER_ARGUMENTS,
    QUEUE_ARGUMENTS,
    SUPPORTED_TYPES,
    check_consumer_arguments,
    check_queue_arguments,
    different_arguments,
    inequivalent,
    queue_type,
)
from harebell.errors import PRECONDITION_FAILED, BrokerError

TEN_YEARS = 315_360_000_000

ANY_VALUE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.just(Decimal("1.5")),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def refusal(arguments: dict[str, object], kind: str = "classic") -> str | None:
    try:
        check_queue_arguments(arguments, kind, "q", "/")
    except BrokerError as error:
        assert error.row is PRECONDITION_FAILED
        return error.text
    return None


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("x-expires", [1, TEN_YEARS], [0, -1, TEN_YEARS + 1, 1.0, True, "1", None]),
        ("x-message-ttl", [0, TEN_YEARS], [-1, TEN_YEARS + 1, 0.5, False, "0", [1]]),
        ("x-max-length", [0, 1 << 62], [-1, "5", 1.0, True]),
        ("x-max-length-bytes", [0, 1 << 62], [-1, "5", Decimal(1)]),
        ("x-max-priority", [0, 1, 255], [-1, 256, "1", True]),
        ("x-overflow", ["drop-head", "reject-publish", "reject-publish-dlx"], ["", "drop-tail", 1, None]),
        ("x-dead-letter-exchange", ["", "dlx", "é" * 127], ["x" * 256, "é" * 128]),
        ("x-single-active-consumer", [True, False], [1, 0, "true", None]),
        ("x-queue-mode", ["default", "lazy"], ["eager", 1]),
        ("x-queue-version", [1, 2], [0, 3, "2"]),
        ("x-queue-leader-locator", ["client-local", "balanced", "random"], ["nearest", 1]),
        ("x-consumer-timeout", [0, 1, TEN_YEARS], [-1, TEN_YEARS + 1, "1", None]),
    ],
)
def test_each_argument_takes_its_values_and_no_others(
    key: str, good: list[object], bad: list[object]
) -> None:
    for value in good:
        assert refusal({key: value}) is None, f"{key}={value!r} should be fine"
    for value in bad:
        text = refusal({key: value})
        assert text is not None, f"{key}={value!r} should be refused"
        assert text.startswith(f"invalid arg '{key}' for queue 'q' in vhost '/': ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"x-max-length": "5"}, '"expected integer, got longstr"'),
        ({"x-max-length": 5.0}, '"expected integer, got float"'),
        ({"x-max-length": True}, '"expected integer, got bool"'),
        ({"x-max-length": None}, '"expected integer, got void"'),
        ({"x-max-length": [5]}, '"expected integer, got array"'),
        ({"x-max-length": {}}, '"expected integer, got table"'),
        ({"x-max-length": b"5"}, '"expected integer, got binary"'),
        ({"x-max-length": -1}, "{value_negative,-1}"),
        ({"x-expires": 0}, "{value_zero,0}"),
        ({"x-message-ttl": TEN_YEARS + 1}, "{value_too_large,315360000001}"),
        ({"x-max-priority": 256}, "{max_value_exceeded,256}"),
        ({"x-single-active-consumer": 1}, "{unacceptable_type,long}"),
        ({"x-overflow": True}, "{unacceptable_type,bool}"),
        ({"x-overflow": "DROP-HEAD"}, "invalid_overflow"),
        ({"x-queue-leader-locator": "nearest"}, "invalid_queue_locator_arg"),
        ({"x-queue-mode": "odd"}, "\"unsupported queue mode 'odd'\""),
        ({"x-queue-version": 3}, "\"unsupported queue version '3'\""),
        ({"x-dead-letter-routing-key": "k"}, "routing_key_but_no_dlx_defined"),
    ],
)
def test_a_bad_value_is_refused_in_rabbitmq_s_words(arguments: dict[str, object], problem: str) -> None:
    (key,) = arguments
    assert refusal(arguments) == f"invalid arg '{key}' for queue 'q' in vhost '/': {problem}"


def test_a_dead_letter_exchange_of_another_type_is_refused_in_other_words() -> None:
    text = refusal({"x-dead-letter-exchange": 1})
    assert text == "invalid type 'long' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"


def test_an_unknown_strategy_is_refused_in_rabbitmq_s_words() -> None:
    text = refusal({"x-dead-letter-strategy": "sometimes"}, "quorum")
    assert text == "invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/': invalid_dlx_strategy"


def test_arguments_nobody_knows_are_fine() -> None:
    assert refusal({"x-nobody-knows": object(), "plain": None, "": 1}) is None


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_an_argument_of_another_type_is_refused(kind: str) -> None:
    for row in QUEUE_ARGUMENTS:
        if kind not in row.types:
            assert refusal({row.key: 1}, kind) == (
                f"invalid arg '{row.key}' for queue 'q' in vhost '/' of queue type rabbit_{kind}_queue"
            )


def test_a_dead_letter_key_needs_its_exchange() -> None:
    assert refusal({"x-dead-letter-routing-key": "k"}) is not None
    assert refusal({"x-dead-letter-routing-key": "k", "x-dead-letter-exchange": ""}) is None


@given(
    st.dictionaries(st.sampled_from([row.key for row in QUEUE_ARGUMENTS]) | st.text(max_size=4), ANY_VALUE)
)
def test_any_table_is_taken_or_refused_for_any_type(arguments: dict[str, object]) -> None:
    for kind in SUPPORTED_TYPES:
        refusal(arguments, kind)
        different_arguments({}, arguments, kind)
        different_arguments(arguments, arguments, kind)
    try:
        assert queue_type(arguments, "classic", "q", "/") in SUPPORTED_TYPES
    except BrokerError as error:
        assert error.row is PRECONDITION_FAILED


@given(st.dictionaries(st.sampled_from([*CONSUMER_ARGUMENTS, "other"]), ANY_VALUE))
def test_any_consumer_table_is_taken_or_refused(arguments: dict[str, object]) -> None:
    for kind in SUPPORTED_TYPES:
        try:
            assert isinstance(check_consumer_arguments(arguments, kind, "q", "/"), int)
        except BrokerError as error:
            assert error.row is PRECONDITION_FAILED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x-priority": "high"}, " in vhost '/': \"expected integer, got longstr\""),
        ({"x-priority": None}, " in vhost '/': \"expected integer, got void\""),
        ({"x-consumer-timeout": -1}, " in vhost '/': {value_negative,-1}"),
        ({"x-stream-offset": "first"}, " in vhost '/' of queue type rabbit_classic_queue"),
    ],
)
def test_a_bad_consumer_argument_is_refused_in_rabbitmq_s_words(
    arguments: dict[str, object], words: str
) -> None:
    (key,) = arguments
    with pytest.raises(BrokerError) as refused:
        check_consumer_arguments(arguments, "classic", "q", "/")
    assert refused.value.text == f"invalid arg '{key}' for queue 'q'{words}"


def test_a_consumer_may_ask_for_a_timeout_of_its_own_in_classic_and_quorum_queues() -> None:
    for kind in ("classic", "quorum"):
        assert check_consumer_arguments({"x-consumer-timeout": 1000, "x-priority": 3}, kind, "q", "/") == 3


def test_the_default_type_applies_where_none_is_asked_for() -> None:
    assert queue_type({}, "quorum", "q", "/") == "quorum"
    assert queue_type({"x-queue-type": "classic"}, "quorum", "q", "/") == "classic"
    wrong: list[object] = ["nosuch", "", 1, None, ["classic"], {}]
    for asked in wrong:
        with pytest.raises(BrokerError):
            queue_type({"x-queue-type": asked}, "classic", "q", "/")


def test_a_redeclaration_must_repeat_what_matters() -> None:
    current: dict[str, object] = {"x-max-length": 5, "x-queue-mode": "lazy", "colour": "red"}
    assert different_arguments(current, {"x-max-length": 5}, "classic") == []
    assert different_arguments(current, {"x-max-length": 6}, "classic") == [("x-max-length", 6, 5)]
    assert different_arguments(current, {}, "classic") == [("x-max-length", None, 5)]
    assert different_arguments({}, {"x-max-length": 5}, "classic") == [("x-max-length", 5, None)]
    assert different_arguments({"x-max-length": 1}, {"x-max-length": True}, "classic") != []
    assert different_arguments({}, {"x-delivery-limit": 3}, "classic") == []


@pytest.mark.parametrize(
    ("received", "current", "words"),
    [
        (True, False, "received 'true' but current is 'false'"),
        (6, 5, "received '6' but current is '5'"),
        ("a", "b", "received 'a' but current is 'b'"),
        (None, "x", "received none but current is the value 'x' of type 'longstr'"),
        (None, True, "received none but current is the value 'true' of type 'bool'"),
        (1, None, "received the value '1' of type 'long' but current is none"),
    ],
)
def test_the_text_of_a_difference_is_rabbitmq_s(received: object, current: object, words: str) -> None:
    error = inequivalent("durable", "queue", "q", "/", received, current)
    assert error.text == f"inequivalent arg 'durable' for queue 'q' in vhost '/': {words}"


def test_every_row_has_a_key_types_and_help_of_its_own() -> None:
    keys = [row.key for row in QUEUE_ARGUMENTS]
    assert len(set(keys)) == len(keys)
    assert all(row.key.startswith("x-") and row.types and row.help.endswith(".") for row in QUEUE_ARGUMENTS)
