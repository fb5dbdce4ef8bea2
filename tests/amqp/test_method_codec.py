"""Our codec for methods against pamqp's, both ways, for every method it knows."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import base, commands

from harebell.amqp.method_codec import METHODS, SPECS, decode, encode
from harebell.content.table import Table
from harebell.errors import COMMAND_INVALID, FRAME_ERROR, BrokerError

EVERY_METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)

NAMES = st.text("abc.-_:09", max_size=20)
SCALARS = st.one_of(st.booleans(), st.integers(-(1 << 31), (1 << 31) - 1), st.text(max_size=10), st.none())
TABLES: st.SearchStrategy[Any] = st.dictionaries(
    st.text("abcxyz-", max_size=8),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3)),
    max_size=4,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": st.integers(0, 255),
    "short": st.integers(0, 65535),
    "long": st.integers(0, (1 << 32) - 1),
    "longlong": st.integers(0, (1 << 63) - 1),
    "shortstr": NAMES,
    "longstr": st.text(max_size=40),
    "table": TABLES,
    "timestamp": st.integers(0, 1 << 40),
}


def draw(method: type[base.Frame], data: st.DataObject) -> dict[str, Any]:
    """Draw a value for each argument of a method."""
    return {name: data.draw(VALUES[kind], label=name) for name, kind in SPECS[method.index]}


def by_pamqp(method: type[base.Frame], arguments: dict[str, Any]) -> bytes:
    """Encode with pamqp, past its own ideas of what a name or a reserved argument may be."""
    unchecked: Any = type(
        method.__name__, (method,), {"__slots__": method.__slots__, "validate": lambda self: None}
    )
    frame = unchecked.__new__(unchecked)
    for name, value in arguments.items():
        setattr(frame, name, value)
    encoded: bytes = frame.marshal()
    return struct.pack(">I", method.index) + encoded


def as_text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


@EVERY_METHOD
@settings(max_examples=15)
@given(data=st.data())
def test_what_pamqp_encodes_we_decode(method: type[base.Frame], data: st.DataObject) -> None:
    arguments = draw(method, data)
    frame = decode(method.index, by_pamqp(method, arguments))
    assert type(frame) is method
    assert {name: as_text(getattr(frame, name)) for name in arguments} == arguments


@EVERY_METHOD
@settings(max_examples=15)
@given(data=st.data())
def test_what_we_encode_pamqp_decodes(method: type[base.Frame], data: st.DataObject) -> None:
    arguments = draw(method, data)
    encoded = encode(method, **arguments)
    assert struct.unpack(">I", encoded[:4]) == (method.index,)
    frame = method.__new__(method)
    frame.unmarshal(encoded[4:])
    for name, kind in SPECS[method.index]:
        expected = arguments[name]
        if kind == "timestamp":
            continue
        assert as_text(getattr(frame, name)) == expected, name
    assert decode(method.index, encoded) is not None


@EVERY_METHOD
@settings(max_examples=10)
@given(data=st.data())
def test_a_shorter_or_longer_payload_is_refused(method: type[base.Frame], data: st.DataObject) -> None:
    encoded = encode(method, **draw(method, data))
    if len(encoded) > 4:
        with pytest.raises(BrokerError) as refused:
            decode(method.index, encoded[: data.draw(st.integers(4, len(encoded) - 1))])
        assert refused.value.row is FRAME_ERROR
    with pytest.raises(BrokerError) as refused:
        decode(method.index, encoded + data.draw(st.binary(min_size=1, max_size=4)))
    assert refused.value.row is FRAME_ERROR


def test_decoding_a_deprecated_method_does_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    decode(commands.Basic.RecoverAsync.index, struct.pack(">I", commands.Basic.RecoverAsync.index) + b"\x01")
    assert not list(recwarn)


@EVERY_METHOD
@settings(max_examples=25)
@given(payload=st.binary(max_size=60))
def test_random_octets_are_decoded_or_refused(method: type[base.Frame], payload: bytes) -> None:
    try:
        frame = decode(method.index, struct.pack(">I", method.index) + payload)
    except BrokerError as refused:
        assert refused.row is FRAME_ERROR
    else:
        assert type(frame) is method


@pytest.mark.parametrize("index", [0, 0x000A0001, 0x003C00FF, -1, -(1 << 31), 0xFFFFFFFF])
def test_an_unknown_method_is_refused(index: int) -> None:
    with pytest.raises(BrokerError) as refused:
        decode(index, b"\x00" * 8)
    assert refused.value.row is COMMAND_INVALID


def test_what_is_not_given_is_zero_false_or_empty() -> None:
    assert encode(commands.Queue.DeclareOk) == b"\x00\x32\x00\x0b" + b"\x00" * 9
    assert encode(commands.Queue.Declare) == b"\x00\x32\x00\x0a" + b"\x00" * 8
    assert encode(commands.Connection.Blocked, reason=None) == b"\x00\x0a\x00\x3c\x00"


def test_bits_are_packed_into_octets_and_unpacked() -> None:
    encoded = encode(commands.Queue.Declare, queue="q", durable=True, nowait=True)
    assert encoded[8] == 0b10010
    frame = decode(commands.Queue.Declare.index, encoded)
    flags = (frame.passive, frame.durable, frame.exclusive, frame.auto_delete, frame.nowait)
    assert flags == (False, True, False, False, True)


def test_names_of_any_octets_survive_a_round_trip() -> None:
    raw = bytes(range(255))
    encoded = struct.pack(">I", commands.Queue.Purge.index) + b"\x00\x00\xff" + raw + b"\x00"
    frame = decode(commands.Queue.Purge.index, encoded)
    assert encode(commands.Queue.Purge, queue=frame.queue) == encoded


def test_a_short_string_over_255_octets_cannot_be_encoded() -> None:
    with pytest.raises(ValueError):
        encode(commands.Connection.Blocked, reason="x" * 256)


def test_a_table_keeps_its_values() -> None:
    table: Table = {"a": 1, "b": True, "c": "text", "d": None, "e": [1, "x"], "f": {"g": 1.5}}
    encoded = encode(commands.Queue.Declare, arguments=table)
    assert decode(commands.Queue.Declare.index, encoded).arguments == table
