"""Selectors: what they mean, what is refused and where, and that they are bounded."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.properties import HEADERS as HEADERS_FLAG
from harebell.content.properties import MOST_SEARCHES, build_header, parse_properties, with_property
from harebell.engine.filters import BadFilter, make_filter
from harebell.engine.selector_words import BadSelector
from harebell.engine.selectors import (
    DEEPEST,
    FALSE,
    MOST_CHARACTERS,
    MOST_PATTERN,
    MOST_TEXT,
    TRUE,
    UNKNOWN,
    fits,
    parse_selector,
)

HEADERS: dict[str, object] = {
    "colour": "red",
    "size": 7,
    "weight": 2.5,
    "urgent": True,
    "x-tenant": "acme",
    "raw": b"octets",
    "empty": None,
    "properties.type": "odd",
}


def told(selector: str) -> int:
    header = build_header(0, headers=HEADERS, priority=5, type="order", message_id="m-1", delivery_mode=2)
    return int(parse_selector(selector).test(parse_properties(header)))


@pytest.mark.parametrize(
    "selector",
    [
        "colour = 'red'",
        "'red' = colour",
        "size > 6 AND size >= 7 and size < 8 AND size <= 7",
        "size <> 8 AND size != 8",
        "weight BETWEEN 2 AND 3",
        "size NOT BETWEEN 8 AND 9",
        "colour IN ('green', 'red')",
        "size IN (1, 7.0)",
        "colour NOT IN ('green')",
        "colour LIKE 'r%' AND colour LIKE '_e_' AND colour LIKE '%'",
        "colour NOT LIKE 'e%'",
        "missing IS NULL AND empty IS NULL",
        "colour IS NOT NULL",
        "urgent",
        "urgent = TRUE AND urgent <> FALSE",
        "NOT NOT urgent",
        "x-tenant = 'acme'",
        "\"x-tenant\" = 'acme'",
        "raw = 'octets'",
        "properties.priority > 4",
        "properties.type = 'order' AND properties.message_id = 'm-1' AND properties.message-id LIKE 'm-_'",
        "properties.delivery_mode = 2",
        "properties.reply_to IS NULL AND properties.timestamp IS NULL",
        "headers.colour = 'red'",
        "\"properties.type\" = 'odd' AND headers.properties.type = 'odd'",
        "missing = 1 OR colour = 'red'",
        "(colour = 'blue' OR size = 7) AND weight < 3",
        "colour = 'blue' AND size = 1 OR weight > 1",
        "colour > 'blue'",
        "weight > -1e3",
        "TRUE",
    ],
)
def test_true(selector: str) -> None:
    assert told(selector) == TRUE


@pytest.mark.parametrize(
    "selector",
    [
        "colour = 'RED'",
        "NOT urgent",
        "missing = 1 AND colour = 'blue'",
        "colour LIKE 'r'",
        "size IN ('x', 8)",
        "FALSE",
    ],
)
def test_false(selector: str) -> None:
    assert told(selector) == FALSE


@pytest.mark.parametrize(
    "selector",
    [
        "missing = 1",
        "NOT missing = 1",
        "missing <> 1",
        "colour = 7",
        "colour <> 7",
        "urgent = 'TRUE'",
        "urgent > FALSE",
        "missing LIKE '%'",
        "missing IN ('a')",
        "missing NOT IN ('a')",
        "missing BETWEEN 1 AND 2",
        "missing = 1 OR colour = 'blue'",
        "missing = 1 AND colour = 'red'",
        "colour",
        "size LIKE '7'",
    ],
)
def test_unknown_wants_nothing(selector: str) -> None:
    assert told(selector) == UNKNOWN


def test_a_header_is_the_same_however_many_are_asked_for() -> None:
    named = ["colour = 'red'", "raw = 'octets'", "empty IS NULL", "missing IS NULL", "size = 7"]
    assert told(" AND ".join(named * (MOST_SEARCHES + 1))) == TRUE
    twice = b"\x01kS\x00\x00\x00\x01a\x01kS\x00\x00\x00\x01b"
    header = with_property(build_header(0, headers={}), HEADERS_FLAG, len(twice).to_bytes(4, "big") + twice)
    assert parse_selector("k = 'b'").test(parse_properties(header)) == TRUE, "the last one counts"


def test_quotes_are_doubled_in_text() -> None:
    header = build_header(0, headers={"a": "it's"})
    assert parse_selector("a = 'it''s'").test(parse_properties(header)) == TRUE


@pytest.mark.parametrize(("text", "good"), [("a%b", True), ("a_b", False), ("aXb", False)])
def test_wildcards_are_escaped(text: str, good: bool) -> None:
    properties = parse_properties(build_header(0, headers={"a": text}))
    assert parse_selector("a LIKE 'a!%b' ESCAPE '!'").test(properties) == (TRUE if good else FALSE)


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("", "expected a name or a value at position 1, before the end"),
        ("a =", "expected a name or a value at position 4, before the end"),
        ("a = 1 b", "expected AND, OR or the end at position 7, before 'b'"),
        ("(a = 1", "expected ) at position 7, before the end"),
        ("a IN 1", "expected ( at position 6"),
        ("a IN (b)", "expected a name or a value at position 7"),
        ("a NOT = 1", "expected IN, LIKE or BETWEEN at position 7"),
        ("a LIKE 7", "expected text at position 8"),
        ("a LIKE 'x' ESCAPE 'yz'", "ESCAPE takes one character"),
        (f"a LIKE '{'x' * 257}'", "a pattern of more than 256 characters"),
        ("a LIKE 'x!' ESCAPE '!'", "nothing after the escape character"),
        ("a = 'x", "unexpected character at position 5"),
        ("a + 1 = 2", "unexpected character at position 3"),
        ("properties.colour = 1", "there is no property 'colour' at position 1"),
        ("a IS 1", "expected NULL at position 6"),
        ("AND", "expected a name or a value at position 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(selector: str, problem: str) -> None:
    with pytest.raises(BadSelector) as refused:
        parse_selector(selector)
    assert problem in str(refused.value)


@pytest.mark.parametrize("opening", ["(", "NOT ", "NOT("])
def test_depth_is_bounded(opening: str) -> None:
    with pytest.raises(BadSelector, match="within each other"):
        parse_selector(opening * (DEEPEST + 1) + "a = 1")


def test_length_is_bounded() -> None:
    with pytest.raises(BadSelector, match="characters"):
        parse_selector("a = '" + "x" * MOST_CHARACTERS + "'")
    parse_selector(" OR ".join(["a = 1"] * (MOST_CHARACTERS // 10)))


def test_patterns_take_no_time_out_of_proportion() -> None:
    pattern = ["%%", *"a" * (MOST_PATTERN - 2), "b"]
    began = time.process_time()
    assert not fits("a" * MOST_TEXT, pattern)
    assert time.process_time() - began < 5


@given(st.text(st.sampled_from("ab'\"()=<>,.- %_1NOTANDIslike\x00"), max_size=60))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        node = parse_selector(text)
    except BadSelector:
        return
    assert node.test(parse_properties(build_header(0, headers=HEADERS))) in (TRUE, FALSE, UNKNOWN)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"colour": "red", "size": 7}, True),
        ({"colour": "red", "size": 8}, False),
        ({"x-match": "any", "colour": "red", "size": 8}, True),
        ({"colour": None}, True),
        ({"missing": None}, False),
        ({"x-tenant": "other"}, True),
        ({"x-match": "all-with-x", "x-tenant": "other"}, False),
        ({"x-match": "any-with-x", "x-tenant": "acme"}, True),
        ({}, True),
        ({"x-match": "any"}, False),
    ],
)
def test_tables_match_as_bindings_of_a_headers_exchange_do(asked: dict[str, object], wanted: bool) -> None:
    properties = parse_properties(build_header(0, headers=HEADERS))
    assert make_filter(asked).matches(properties) is wanted


def test_tables_that_ask_for_the_same_are_the_same() -> None:
    assert make_filter({"a": 1, "b": 2}).source == make_filter({"b": 2, "a": 1}).source
    assert make_filter({"a": 1}).source != make_filter({"a": 2}).source


def test_tables_are_bounded() -> None:
    with pytest.raises(BadFilter, match="256"):
        make_filter({str(number): 1 for number in range(300)})
