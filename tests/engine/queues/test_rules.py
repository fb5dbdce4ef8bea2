"""What a queue's rules say of deadlines and limits, without a queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.content.scanning import expiration_of
from harebell.engine.deadlines import NEVER
from harebell.engine.options import QueueOptions
from harebell.engine.queues.rules import Rules, asks_for_rules, end_of

NOW = 1_700_000_000_000


def options(**values: object) -> QueueOptions:
    made = QueueOptions()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def message(expiration: str | None = None, arrived: int = NOW) -> Message:
    header = build_header(1) if expiration is None else build_header(1, expiration=expiration)
    made = Message(address("", "q"), header, b"x", True)
    made.arrived = arrived
    return made


def rules(chained: bool = True, **values: object) -> Rules:
    made = Rules(chained, True)
    made.apply(options(**values), 1, True)
    return made


@pytest.mark.parametrize(("text", "expected"), [
    ("0", 0), ("60000", 60000), ("+60000", 60000), ("0060000", 60000), ("315360000000", 315_360_000_000),
    (None, -1), ("", -1), ("+", -1), ("soon", -1), ("-5", -1), ("5 ", -1),
])  # fmt: skip
def test_an_expiration_is_read_from_the_header(text: str | None, expected: int) -> None:
    assert expiration_of(message(text).header) == expected


@given(st.binary(max_size=40))
def test_nothing_in_a_header_makes_it_fail(header: bytes) -> None:
    assert expiration_of(header) >= -1


def test_a_time_limit_is_over_when_all_of_it_has_passed_and_no_time_at_once() -> None:
    assert end_of(NOW, 1) == NOW + 2, "the clock stood at NOW for up to a millisecond before"
    assert end_of(NOW, 0) == NOW


def test_the_shorter_of_expiration_and_queue_limit_counts_from_arrival() -> None:
    limited = rules(message_ttl=100)
    assert limited.deadline(message("50"), 1) == end_of(NOW, 50)
    assert limited.deadline(message("500"), 1) == end_of(NOW, 100)
    assert limited.deadline(message(), 1) == end_of(NOW, 100)
    assert rules().deadline(message("50"), 1) == end_of(NOW, 50)
    assert rules().deadline(message(), 1) == NEVER


def test_a_changed_limit_counts_for_what_comes_later() -> None:
    made = rules(message_ttl=100)
    made.apply(options(message_ttl=10), 5, False)
    made.apply(options(message_ttl=10, max_length=3), 7, False)
    made.apply(options(), 9, False)
    assert [made.deadline(message(), position) for position in (4, 5, 8, 9)] == [
        end_of(NOW, 100), end_of(NOW, 10), end_of(NOW, 10), NEVER,
    ]  # fmt: skip
    made.apply(options(message_ttl=7), 20, True)
    assert made.deadline(message(), 3) == end_of(NOW, 7), "an empty queue starts afresh"


def test_growing_deadlines_of_a_queue_in_order_need_no_index() -> None:
    made = rules(message_ttl=100)
    assert made.arrived(NOW, 1, True), "the first one is to be looked at"
    for position in range(2, 50):
        assert not made.arrived(NOW + position, position, False)
    assert made.deadlines.count == 0


def test_an_earlier_deadline_than_that_in_front_goes_into_the_index() -> None:
    made = rules(message_ttl=100)
    made.arrived(NOW + 100, 1, True)
    assert made.arrived(NOW + 10, 2, False)
    assert not made.arrived(NOW + 120, 3, False)
    assert sorted(made.deadlines.due(NOW + 1000, 10)) == [2]


def test_what_comes_behind_a_message_without_a_deadline_goes_into_the_index() -> None:
    made = rules()
    made.arrived(NEVER, 1, True)
    assert made.arrived(NOW + 10, 2, False)
    assert made.arrived(NOW + 20, 3, False)
    assert made.deadlines.count == 2


def test_rules_for_a_queue_that_has_messages_know_nothing_of_them() -> None:
    made = Rules(True, False)
    made.apply(options(message_ttl=100), 9, False)
    assert made.deadline(message(), 8) == NEVER
    assert made.arrived(NOW + 100, 9, False), "those in front have no deadline: it is to be noted"


def test_without_order_every_deadline_is_noted() -> None:
    made = rules(chained=False, message_ttl=100)
    for position in range(1, 4):
        assert made.arrived(NOW + position, position, position == 1)
    assert not made.arrived(NEVER, 4, False)
    assert made.deadlines.count == 3


def test_limits_refuse_or_drop_but_never_both() -> None:
    drop = rules(max_length=3)
    assert not drop.refuses(9, 0, 1)
    assert (drop.over(3, 0), drop.over(4, 0)) == (False, True)
    for overflow in ("reject-publish", "reject-publish-dlx"):
        reject = rules(max_length=3, max_length_bytes=10, overflow=overflow)
        assert not reject.over(99, 99)
        assert (reject.refuses(2, 0, 1), reject.refuses(3, 0, 1)) == (False, True)
        assert (reject.refuses(0, 6, 4), reject.refuses(0, 6, 5)) == (False, True)


def test_bytes_are_counted_exactly_and_zero_is_a_limit() -> None:
    drop = rules(max_length_bytes=10)
    assert (drop.over(1, 10), drop.over(1, 11)) == (False, True)
    assert rules(max_length=0).over(1, 0)
    assert rules(max_length=0, overflow="reject-publish").refuses(0, 0, 0)
    assert not rules(max_length_bytes=0, overflow="reject-publish").refuses(5, 0, 0)


def test_only_what_needs_looking_at_asks_for_rules() -> None:
    assert not asks_for_rules(options())
    assert not asks_for_rules(options(dead_letter_exchange="x", overflow="reject-publish", expires=5))
    for name in ("message_ttl", "max_length", "max_length_bytes", "delivery_limit"):
        assert asks_for_rules(options(**{name: 0})), name
