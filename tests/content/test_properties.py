"""Content headers: one-pass parsing held against pamqp, hostile bytes, and edits of single properties."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp import header as pamqp_header

from harebell.content import properties as wire
from harebell.content.properties import (
    SHORT_STRINGS,
    build_header,
    parse_properties,
    with_entry,
    with_header,
    with_property,
    with_reply_to,
    without_expiration,
    without_headers,
    without_property,
)
from harebell.content.table import Table, decode_table, encode_table, encode_value
from harebell.errors import MalformedContent

SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HEADERS = st.dictionaries(
    SHORT.filter(lambda key: len(key.encode()) <= 128),
    st.one_of(
        SHORT, st.booleans(), st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.lists(SHORT, max_size=3)
    ),
    max_size=5,
)


@st.composite
def properties(draw: st.DrawFn) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in SHORT_STRINGS:
        if draw(st.booleans()):
            values[name] = draw(SHORT)
    if draw(st.booleans()):
        values["headers"] = draw(HEADERS)
    if draw(st.booleans()):
        values["delivery_mode"] = draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        values["priority"] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        values["timestamp"] = draw(st.integers(0, 0xFFFFFFFF))
    return values


def build(body_size: int, values: dict[str, object]) -> bytes:
    return build_header(body_size, **values)  # type: ignore[arg-type]


def for_pamqp(values: dict[str, object]) -> commands.Basic.Properties:
    changed: dict[str, object] = {
        "message_type" if name == "type" else name: value for name, value in values.items()
    }
    stamp = changed.get("timestamp")
    if isinstance(stamp, int):
        changed["timestamp"] = datetime.datetime.fromtimestamp(stamp, tz=datetime.UTC)
    return commands.Basic.Properties(**changed)  # type: ignore[arg-type]


SMALL_SIZES = st.integers(0, (1 << 63) - 1)


@given(SMALL_SIZES, properties())
def test_what_was_built_is_parsed(body_size: int, values: dict[str, object]) -> None:
    parsed = parse_properties(build(body_size, values))
    assert parsed.body_size == body_size
    assert parsed.as_dict() == values
    assert parsed.delivery_mode == values.get("delivery_mode", 0)
    assert parsed.priority == values.get("priority", -1)
    assert parsed.timestamp() == values.get("timestamp")
    assert parsed.headers() == values.get("headers", {})
    assert decode_table(parsed.raw_headers(), 0, len(parsed.raw_headers())) == values.get("headers", {})
    for name in SHORT_STRINGS:
        assert parsed.text(name) == values.get(name)
    for name, at in (
        ("expiration", parsed.expiration_at),
        ("reply_to", parsed.reply_to_at),
        ("user_id", parsed.user_id_at),
    ):
        if name in values:
            raw = parsed.payload[at + 1 : at + 1 + parsed.payload[at]]
            assert raw.decode() == values[name]
        else:
            assert at == -1


@given(SMALL_SIZES, properties())
def test_what_pamqp_encodes_we_parse(body_size: int, values: dict[str, object]) -> None:
    values.pop("cluster_id", None)  # pamqp insists that it is empty
    raw = pamqp_header.ContentHeader(0, body_size, for_pamqp(values)).marshal()
    parsed = parse_properties(raw)
    assert parsed.body_size == body_size
    expected = {name: value for name, value in values.items() if name not in ("headers",) or value}
    found = parsed.as_dict()
    if not found.get("headers"):
        found.pop("headers", None)
    # pamqp leaves out what is empty, whether or not it was set.
    empty = [name for name in expected if name not in found]
    assert all(not expected[name] for name in empty)
    for name in empty:
        del expected[name]
    assert found == expected


@given(SMALL_SIZES, properties())
def test_what_we_build_pamqp_parses(body_size: int, values: dict[str, object]) -> None:
    values.pop("cluster_id", None)
    frame = pamqp_header.ContentHeader()
    frame.unmarshal(build(body_size, values))
    assert frame.body_size == body_size
    for name, value in values.items():
        shown = getattr(frame.properties, "message_type" if name == "type" else name)
        if name == "timestamp":
            assert isinstance(value, int)
            assert shown == datetime.datetime.fromtimestamp(value, tz=datetime.UTC)
        else:
            assert shown == value


FULL = build_header(
    7,
    content_type="text/plain",
    content_encoding="utf-8",
    headers={"a": 1, "b": {"c": [True, None]}},
    delivery_mode=2,
    priority=9,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=(1 << 64) - 1,
    type="t",
    user_id="guest",
    app_id="app",
    cluster_id="cluster",
)


def test_all_properties_at_once() -> None:
    parsed = parse_properties(FULL)
    assert parsed.flags == 0xFFFC
    assert parsed.as_dict() == {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"a": 1, "b": {"c": [True, None]}},
        "delivery_mode": 2,
        "priority": 9,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": (1 << 64) - 1,
        "type": "t",
        "user_id": "guest",
        "app_id": "app",
        "cluster_id": "cluster",
    }


def test_a_header_cut_anywhere_is_refused() -> None:
    for cut in range(len(FULL)):
        with pytest.raises(MalformedContent):
            parse_properties(FULL[:cut])


@given(properties(), st.binary(min_size=1, max_size=4))
def test_anything_after_the_last_property_is_refused(values: dict[str, object], tail: bytes) -> None:
    payload = build(0, values)
    with pytest.raises(MalformedContent):
        parse_properties(payload + tail)
    for cut in range(len(payload)):
        with pytest.raises(MalformedContent):
            parse_properties(payload[:cut])


@pytest.mark.parametrize(
    "start",
    [
        b"\x00\x3d\x00\x00" + bytes(10),
        b"\x00\x3c\x00\x01" + bytes(10),
        b"\x00\x3c\x00\x00\x80" + bytes(9),
        b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x01",
        b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x01\x00\x00",
        b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x02",
    ],
    ids=["class", "weight", "body size", "continued", "continued with a word", "reserved"],
)
def test_a_wrong_fixed_part_is_refused(start: bytes) -> None:
    with pytest.raises(MalformedContent):
        parse_properties(start)


@pytest.mark.parametrize("depth", [65, 580])
def test_headers_nested_too_deep_are_refused(depth: int) -> None:
    table = b""
    for _ in range(depth - 1):
        table = b"\x00F" + len(table).to_bytes(4, "big") + table
    payload = with_property(build_header(0), wire.HEADERS, len(table).to_bytes(4, "big") + table)
    with pytest.raises(MalformedContent, match="deep"):
        parse_properties(payload)


@settings(max_examples=500)
@given(st.integers(0, 0xFFFF), st.binary(max_size=120))
def test_random_properties_parse_or_are_refused(flags: int, rest: bytes) -> None:
    payload = b"\x00\x3c\x00\x00" + bytes(8) + flags.to_bytes(2, "big") + rest
    try:
        parsed = parse_properties(payload)
    except MalformedContent:
        return
    parsed.as_dict()


@given(properties(), st.data())
def test_a_changed_octet_parses_or_is_refused(values: dict[str, object], draw: st.DataObject) -> None:
    payload = bytearray(build(3, values))
    payload[draw.draw(st.integers(0, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    changed = bytes(payload)
    with contextlib.suppress(MalformedContent):
        parse_properties(changed).as_dict()
    for edit in (
        lambda raw: with_reply_to(raw, b"r"),
        lambda raw: with_header(raw, b"k", b"V"),
        lambda raw: with_entry(raw, b"\x01kV"),
        lambda raw: without_headers(raw, [b"k"]),
        without_expiration,
    ):
        try:
            edit(changed)
        except MalformedContent:
            continue


def test_text_that_is_not_utf8_is_kept() -> None:
    payload = with_property(build_header(0), wire.MESSAGE_ID, b"\x02\xff\x61")
    assert parse_properties(payload).raw_text(wire.MESSAGE_ID) == b"\xffa"
    text = parse_properties(payload).text("message_id")
    assert text == "\udcffa"
    assert build_header(0, message_id=text) == payload


def test_an_unknown_short_string_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        parse_properties(FULL).text("headers")


def test_headers_are_decoded_once() -> None:
    parsed = parse_properties(FULL)
    assert parsed.headers() is parsed.headers()


@given(properties(), st.binary(max_size=255))
def test_reply_to_is_set_and_nothing_else(values: dict[str, object], value: bytes) -> None:
    changed = with_reply_to(build(5, values), value)
    assert parse_properties(changed).raw_text(wire.REPLY_TO) == value
    values["reply_to"] = value.decode("utf-8", "surrogateescape")
    assert changed == build(5, values)


@given(properties())
def test_expiration_is_removed_and_nothing_else(values: dict[str, object]) -> None:
    payload = build(5, values)
    changed = without_expiration(payload)
    if values.pop("expiration", None) is None:
        assert changed is payload
    assert changed == build(5, values)


@pytest.mark.parametrize("name", [*SHORT_STRINGS, "headers", "delivery_mode", "priority", "timestamp"])
def test_any_property_can_be_removed_and_put_back(name: str) -> None:
    values = parse_properties(FULL).as_dict()
    value = values.pop(name)
    flag = getattr(wire, name.upper())
    changed = without_property(FULL, flag)
    assert changed == build(7, values)
    assert without_property(changed, flag) is changed
    if isinstance(value, str):
        raw = bytes([len(value)]) + value.encode()
    elif isinstance(value, dict):
        raw = encode_table(value)
    else:
        assert isinstance(value, int)
        raw = value.to_bytes(8 if name == "timestamp" else 1, "big")
    assert with_property(changed, flag, raw) == FULL
    assert with_property(FULL, flag, raw) == FULL


@given(
    properties(), st.text("abc", max_size=2), st.one_of(SHORT, st.integers(0, 9), st.lists(SHORT, max_size=2))
)
def test_a_header_is_set_and_nothing_else(values: dict[str, object], key: str, value: object) -> None:
    changed = with_header(build(5, values), key.encode(), encode_value(value))
    headers = values.setdefault("headers", {})
    assert isinstance(headers, dict)
    headers[key] = value
    assert changed == build(5, values)


@given(properties(), st.one_of(SHORT, st.integers(0, 9)))
def test_an_entry_is_put_behind_the_headers_and_nothing_else_changes(
    values: dict[str, object], value: object
) -> None:
    changed = with_entry(build(5, values), b"\x04last" + encode_value(value))
    headers = values.setdefault("headers", {})
    assert isinstance(headers, dict)
    headers["last"] = value
    assert changed == build(5, values)


@given(properties(), st.lists(st.text("abcx-", max_size=3), max_size=3))
def test_headers_are_removed_and_nothing_else(values: dict[str, object], names: list[str]) -> None:
    headers: Table = {"a": 1, "b": "x", "BCC": ["q"]}
    values["headers"] = dict(headers)
    payload = build(5, values)
    changed = without_headers(payload, [name.encode() for name in names])
    values["headers"] = {key: value for key, value in headers.items() if key not in names}
    assert changed == build(5, values)
    if values["headers"] == headers:
        assert changed is payload


def test_removing_headers_from_a_message_without_any_changes_nothing() -> None:
    payload = build_header(0, type="t")
    assert without_headers(payload, [b"CC"]) is payload


def test_removing_one_header_of_thousands_of_equal_name_takes_one_pass() -> None:
    table = b"\x03BCCV" * 25_000
    payload = with_property(build_header(0), wire.HEADERS, len(table).to_bytes(4, "big") + table)
    assert without_headers(payload, [b"BCC"]) == build_header(0, headers={})


@pytest.mark.parametrize(
    "values",
    [
        {"type": "t" * 256},
        {"type": "\ud800"},
        {"priority": 256},
        {"priority": -1},
        {"timestamp": -1},
        {"timestamp": 1 << 64},
        {"headers": {"k": object()}},
    ],
)
def test_a_property_without_a_wire_form_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(MalformedContent):
        build(0, values)


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_an_impossible_body_size_is_refused(size: int) -> None:
    with pytest.raises(MalformedContent):
        build_header(size)


def test_a_reply_to_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MalformedContent):
        with_reply_to(build_header(0), b"r" * 256)
