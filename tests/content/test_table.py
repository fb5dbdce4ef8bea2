"""Field tables: our codec against pamqp, hostile bytes, and edits that touch one entry only."""

from __future__ import annotations

import datetime
import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import decode as pamqp_decode
from pamqp import encode as pamqp_encode

from harebell.content.table import (
    MAX_DEPTH,
    Table,
    Timestamp,
    decode_table,
    encode_table,
    encode_value,
    find_entry,
    remove_entry,
    set_entry,
    validate_table,
    value_end,
)
from harebell.errors import MalformedContent

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-40_000, 70_000)
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.none(),
    INTEGERS,
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.integers(0, (1 << 64) - 1).map(Timestamp),
    st.builds(lambda n, s: Decimal(n).scaleb(-s), st.integers(0, (1 << 32) - 1), st.integers(0, 20)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)


def content(table: Table) -> bytes:
    return encode_table(table)[4:]


def decode(data: bytes) -> Table:
    return decode_table(data, 0, len(data))


def nested_tables(depth: int) -> bytes:
    data = b""
    for _ in range(depth - 1):
        data = b"\x00F" + struct.pack(">I", len(data)) + data
    return data


def nested_arrays(depth: int) -> bytes:
    data = b""
    for _ in range(depth - 1):
        data = b"A" + struct.pack(">I", len(data)) + data
    return b"\x00" + data


WIRE_SCALARS = st.one_of(
    st.just(b"V"),
    st.builds(lambda k, v: k + v, st.sampled_from([b"t", b"b", b"B"]), st.binary(min_size=1, max_size=1)),
    st.builds(lambda k, v: k + v, st.sampled_from([b"s", b"u"]), st.binary(min_size=2, max_size=2)),
    st.builds(lambda k, v: k + v, st.sampled_from([b"I", b"i", b"f"]), st.binary(min_size=4, max_size=4)),
    st.builds(lambda v: b"D" + v, st.binary(min_size=5, max_size=5)),
    st.builds(
        lambda k, v: k + v, st.sampled_from([b"l", b"L", b"d", b"T"]), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda k, v: k + struct.pack(">I", len(v)) + v, st.sampled_from([b"S", b"x"]), st.binary(max_size=12)
    ),
)


def join_entries(entries: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(bytes([len(key)]) + key + value for key, value in entries)


def wire_container(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    arrays = st.lists(inner, max_size=4).map(b"".join).map(lambda v: b"A" + struct.pack(">I", len(v)) + v)
    entries = st.lists(st.tuples(st.binary(max_size=5), inner), max_size=4)
    tables = entries.map(join_entries).map(lambda v: b"F" + struct.pack(">I", len(v)) + v)
    return arrays | tables


WIRE_VALUES = st.recursive(WIRE_SCALARS, wire_container, max_leaves=10)
WIRE_ENTRIES = st.lists(st.tuples(st.binary(max_size=4), WIRE_VALUES), max_size=6)


@given(TABLES)
def test_a_table_decodes_to_what_was_encoded(table: Table) -> None:
    assert decode(content(table)) == table


@given(
    st.dictionaries(
        KEYS.filter(lambda key: len(key.encode()) <= 128),
        st.recursive(
            st.one_of(TEXT, st.booleans(), st.none(), INTEGERS, st.floats(width=32, allow_nan=False)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(KEYS.filter(lambda key: len(key.encode()) <= 128), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_what_pamqp_encodes_we_decode(table: Table) -> None:
    raw = pamqp_encode.field_table(table)  # type: ignore[arg-type]
    assert int.from_bytes(raw[:4], "big") == len(raw) - 4
    assert decode(raw[4:]) == table


def as_pamqp_shows(value: object) -> object:
    if isinstance(value, Timestamp):
        seconds = value / 1000.0 if value > 0xFFFFFFFF else value
        return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    if isinstance(value, dict):
        return {key: as_pamqp_shows(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_pamqp_shows(item) for item in value]
    return value


@given(
    st.dictionaries(
        KEYS,
        st.recursive(
            st.one_of(
                TEXT,
                st.booleans(),
                st.none(),
                INTEGERS,
                st.floats(allow_nan=False),
                st.binary(max_size=9),
                st.integers(0, 0xFFFFFFFF).map(Timestamp),
            ),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_what_we_encode_pamqp_decodes(table: Table) -> None:
    raw = encode_table(table)
    consumed, decoded = pamqp_decode.field_table(raw)
    assert consumed == len(raw)
    assert decoded == as_pamqp_shows(table)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"t\x00", False),
        (b"t\x02", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"I\xff\xff\xff\xfd", -3),
        (b"i\xff\xff\xff\xfd", 4294967293),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"T" + b"\xff" * 8, (1 << 64) - 1),
        (b"f\x3f\xc0\x00\x00", 1.5),
        (b"d\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5),
        (b"D\x02\x00\x00\x00\x96", Decimal("1.50")),
        (b"D\xff\xff\xff\xff\xff", Decimal((0, (4, 2, 9, 4, 9, 6, 7, 2, 9, 5), -255))),
        (b"S\x00\x00\x00\x02hi", "hi"),
        (b"x\x00\x00\x00\x02\x00\xff", b"\x00\xff"),
        (b"A\x00\x00\x00\x03Vb\x01", [None, 1]),
        (b"F\x00\x00\x00\x03\x01kV", {"k": None}),
        (b"V", None),
    ],
)
def test_every_type_is_read_as_rabbitmq_reads_it(raw: bytes, value: object) -> None:
    decoded = decode(b"\x01k" + raw)
    assert decoded == {"k": value}
    assert type(decoded["k"]) is (Timestamp if raw[:1] == b"T" else type(value))


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (True, b"t\x01"),
        (0, b"I\x00\x00\x00\x00"),
        (-(1 << 31), b"I\x80\x00\x00\x00"),
        (1 << 31, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
        (-(1 << 31) - 1, b"l\xff\xff\xff\xff\x7f\xff\xff\xff"),
        (Timestamp(7), b"T" + b"\x00" * 7 + b"\x07"),
        (datetime.datetime(1970, 1, 1, 0, 0, 7, 999_999), b"T" + b"\x00" * 7 + b"\x07"),
        (
            datetime.datetime(1970, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            b"T" + b"\x00" * 8,
        ),
        (Decimal("1E+3"), b"D\x00\x00\x00\x03\xe8"),
        (Decimal("0.10"), b"D\x02\x00\x00\x00\x0a"),
        (bytearray(b"ab"), b"x\x00\x00\x00\x02ab"),
        (("a",), b"A\x00\x00\x00\x06S\x00\x00\x00\x01a"),
        ("\udcff", b"S\x00\x00\x00\x01\xff"),
    ],
)
def test_values_encode_to_the_types_rabbitmq_sends(value: object, raw: bytes) -> None:
    assert encode_value(value) == raw


def test_nan_and_infinite_doubles_pass() -> None:
    table = decode(content({"nan": math.nan, "inf": math.inf, "-inf": -math.inf}))
    nan = table.pop("nan")
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert table == {"inf": math.inf, "-inf": -math.inf}


def test_text_that_is_not_utf8_comes_back_octet_for_octet() -> None:
    data = b"\x02\xff\xfeS\x00\x00\x00\x03\x80a\xc3"
    assert content(decode(data)) == data


def test_the_last_of_equal_keys_counts() -> None:
    assert decode(b"\x01kb\x01\x01kb\x02") == {"k": 2}


@pytest.mark.parametrize(
    "value",
    [
        1 << 63,
        -(1 << 63) - 1,
        Timestamp(-1),
        Timestamp(1 << 64),
        Decimal("-1"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("4294967296"),
        Decimal("1E+10"),
        Decimal("1E-256"),
        Decimal("9" * 5000),
        datetime.datetime(1969, 12, 31, tzinfo=datetime.UTC),
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {"k" * 256: 1},
        object(),
        1j,
    ],
)
def test_a_value_without_a_wire_form_is_refused(value: object) -> None:
    with pytest.raises(MalformedContent):
        encode_table({"k": value})


def test_an_endless_table_is_refused() -> None:
    table: Table = {}
    table["self"] = table
    with pytest.raises(MalformedContent, match="deep"):
        encode_table(table)
    array: list[object] = []
    array.append(array)
    with pytest.raises(MalformedContent, match="deep"):
        encode_value(array)


@pytest.mark.parametrize("nest", [nested_tables, nested_arrays])
def test_the_depth_limit_is_the_same_both_ways(nest: object) -> None:
    assert callable(nest)
    data = nest(MAX_DEPTH)
    assert content(decode(data)) == data
    with pytest.raises(MalformedContent, match="deep"):
        decode(nest(MAX_DEPTH + 1))


@pytest.mark.parametrize("depth", [580, 20_000])
@pytest.mark.parametrize("nest", [nested_tables, nested_arrays])
def test_deep_nesting_is_refused_without_recursion(nest: object, depth: int) -> None:
    assert callable(nest)
    with pytest.raises(MalformedContent, match="deep"):
        decode(nest(depth))


@given(WIRE_ENTRIES.map(join_entries))
def test_every_wire_form_is_accepted_and_every_cut_of_it_judged_alike(data: bytes) -> None:
    decode(data)
    for cut in range(len(data)):
        try:
            validate_table(data, 0, cut)
        except MalformedContent:
            with pytest.raises(MalformedContent):
                decode(data[:cut])
        else:
            decode(data[:cut])


def test_a_cut_inside_an_entry_is_refused() -> None:
    data = content({"key": {"a": [1, "text", b"x"], "b": 1.5}})
    for cut in range(1, len(data)):
        with pytest.raises(MalformedContent):
            decode(data[:cut])


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_octets_decode_or_are_refused(data: bytes) -> None:
    try:
        table = decode(data)
    except MalformedContent:
        return
    assert len(table) <= len(data)


@given(WIRE_ENTRIES.map(join_entries).filter(bool), st.data())
def test_a_changed_octet_decodes_or_is_refused(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    for act in (decode, lambda raw: find_entry(raw, b"k"), lambda raw: remove_entry(raw, b"k")):
        try:
            act(changed)
        except MalformedContent:
            continue


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (0, 4), (3, 2), (5, 5)])
def test_offsets_outside_the_data_are_refused(start: int, end: int) -> None:
    with pytest.raises(MalformedContent):
        validate_table(b"\x01kV", start, end)
    with pytest.raises(MalformedContent):
        value_end(b"\x01kV", start, end)


def test_a_table_may_lie_inside_other_bytes() -> None:
    assert decode_table(b"??\x01kV??", 2, 5) == {"k": None}


@pytest.mark.parametrize(
    "length", [b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x01"]
)
@pytest.mark.parametrize("kind", [b"S", b"x", b"A", b"F"])
def test_a_declared_length_beyond_the_data_is_refused(kind: bytes, length: bytes) -> None:
    with pytest.raises(MalformedContent):
        decode(b"\x01k" + kind + length)


@given(WIRE_ENTRIES, st.binary(max_size=4), WIRE_VALUES)
def test_setting_an_entry_leaves_the_others_byte_for_byte(
    entries: list[tuple[bytes, bytes]], key: bytes, value: bytes
) -> None:
    changed = set_entry(join_entries(entries), key, value)
    places = [at for at, entry in enumerate(entries) if entry[0] == key]
    if places:
        entries[places[-1]] = (key, value)
    else:
        entries.append((key, value))
    assert changed == join_entries(entries)
    found = find_entry(changed, key)
    assert found is not None
    assert changed[found[0] : found[1]] == value


@given(WIRE_ENTRIES, st.binary(max_size=2))
def test_removing_a_key_leaves_the_others_byte_for_byte(
    entries: list[tuple[bytes, bytes]], key: bytes
) -> None:
    before = join_entries(entries)
    changed = remove_entry(before, key)
    assert changed == join_entries([entry for entry in entries if entry[0] != key])
    assert find_entry(changed, key) is None
    if all(entry[0] != key for entry in entries):
        assert changed is before


def test_a_key_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MalformedContent):
        set_entry(b"", b"k" * 256, b"V")
    assert find_entry(set_entry(b"", b"k" * 255, b"V"), b"k" * 255) == (256, 257)
