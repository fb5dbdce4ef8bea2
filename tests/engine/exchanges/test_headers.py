"""The headers exchange: the four forms of x-match and what equals what."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from harebell.content.properties import build_header, parse_properties, with_header
from harebell.content.table import Table, Timestamp
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding
from harebell.engine.exchanges.headers import HeadersExchange
from harebell.errors import PRECONDITION_FAILED, BrokerError


def matches(arguments: Table, headers: Table | None) -> bool:
    exchange = HeadersExchange("x", True, False, False, {})
    exchange.check_binding("", arguments)
    exchange.bind(Binding(exchange, Destination("q", True), "", arguments))
    return bool(list(exchange.route("", parse_properties(build_header(0, headers=headers)))))


@pytest.mark.parametrize(
    ("form", "headers", "expected"),
    [
        (None, {"a": 1, "b": 2, "x-c": 3}, True),
        (None, {"a": 1, "b": 2}, True),
        (None, {"a": 1}, False),
        ("all", {"a": 1, "b": 2}, True),
        ("all", {"a": 1, "b": 3}, False),
        ("all", {}, False),
        ("all", None, False),
        ("any", {"a": 1}, True),
        ("any", {"a": 2, "b": 2}, True),
        ("any", {"x-c": 3}, False),
        ("any", {}, False),
        ("any", None, False),
        ("all-with-x", {"a": 1, "b": 2}, False),
        ("all-with-x", {"a": 1, "b": 2, "x-c": 3}, True),
        ("any-with-x", {"x-c": 3}, True),
        ("any-with-x", {"x-c": 4}, False),
    ],
)
def test_forms_of_x_match(form: str | None, headers: Table | None, expected: bool) -> None:
    arguments: Table = {"a": 1, "b": 2, "x-c": 3}
    if form is not None:
        arguments["x-match"] = form
    assert matches(arguments, headers) is expected


@pytest.mark.parametrize(
    ("form", "expected"), [("all", True), ("any", False), ("all-with-x", True), ("any-with-x", False)]
)
@pytest.mark.parametrize("headers", [None, {}, {"a": 1}])
def test_no_criteria_match_as_all_and_never_as_any(form: str, expected: bool, headers: Table | None) -> None:
    assert matches({"x-match": form}, headers) is expected


@pytest.mark.parametrize(
    ("asked", "given", "equal"),
    [
        (1, 1, True),
        (1, 1 << 40, False),
        (1, 1.0, True),
        (1.5, 1.5, True),
        (1, True, False),
        (1, "1", False),
        (0, False, False),
        (True, True, True),
        (True, False, False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", b"a", True),
        (b"\xff", "\udcff", True),
        (Timestamp(7), 7, True),
        (datetime.datetime(1970, 1, 1, 0, 0, 7, tzinfo=datetime.UTC), Timestamp(7), True),
        (Decimal("1.5"), Decimal("1.5"), True),
        (Decimal("1.5"), 1.5, False),
        ([1, "a"], [1.0, "a"], True),
        ([1], [True], False),
        ([1], [1, 2], False),
        ({"k": 1}, {"k": 1.0}, True),
        ({"k": 1}, {"k": True}, False),
        ({"k": 1}, {"l": 1}, False),
        (float("nan"), float("nan"), False),
        ("a", None, False),
        (0, None, False),
        (None, "anything", True),
        (None, None, True),
        (None, False, True),
    ],
)
def test_values_are_equal_by_value_but_not_across_kinds(asked: object, given: object, equal: bool) -> None:
    if isinstance(asked, datetime.datetime):
        asked = Timestamp(asked.timestamp())
    assert matches({"k": asked}, {"k": given}) is equal


def test_a_void_argument_still_wants_the_key_there() -> None:
    assert not matches({"k": None}, {"l": 1})


def test_widths_on_the_wire_do_not_matter() -> None:
    exchange = HeadersExchange("x", True, False, False, {})
    queue = Destination("q", True)
    exchange.bind(Binding(exchange, queue, "", {"n": 7}))
    for raw in (
        b"b\x07",
        b"B\x07",
        b"s\x00\x07",
        b"u\x00\x07",
        b"i\x00\x00\x00\x07",
        b"l" + bytes(7) + b"\x07",
    ):
        payload = with_header(build_header(0), b"n", raw)
        assert list(exchange.route("", parse_properties(payload))) == [queue], raw


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("foo", 'Invalid x-match field value "foo"; expected all, any, all-with-x, or any-with-x'),
        ("", 'Invalid x-match field value ""; expected all, any, all-with-x, or any-with-x'),
        (1, "Invalid x-match field type; expected longstr"),
        (None, "Invalid x-match field type; expected longstr"),
    ],
)
def test_a_bad_x_match_is_refused(form: object, text: str) -> None:
    with pytest.raises(BrokerError) as refused:
        HeadersExchange("x", True, False, False, {}).check_binding("", {"x-match": form})
    assert refused.value.row is PRECONDITION_FAILED
    assert refused.value.text == text
