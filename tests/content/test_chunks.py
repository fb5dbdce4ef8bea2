"""Chunks come back as they were written, with their offsets in their headers; what is damaged never does."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harebell.content.chunks import (
    CHUNK_HEAD_SIZE,
    LONGEST,
    BadChunk,
    ChunkReader,
    ChunkWriter,
    scan_head,
    valid_chunk,
)
from harebell.content.message import Message, address
from harebell.content.properties import build_header, parse_properties
from harebell.content.table import Table, set_entry
from harebell.errors import MalformedContent

SHORT = st.text(max_size=20)
TABLES = st.dictionaries(
    st.one_of(st.text(max_size=15), st.just("x-stream-offset")),
    st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.text(max_size=30), st.none(), st.booleans()),
    max_size=5,
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Make a message with any properties."""
    body = draw(st.binary(max_size=300))
    header = build_header(
        len(body),
        content_type=draw(st.none() | SHORT),
        content_encoding=draw(st.none() | SHORT),
        headers=draw(st.none() | TABLES.map(dict[str, object])),
        delivery_mode=draw(st.none() | st.integers(1, 2)),
        priority=draw(st.none() | st.integers(0, 255)),
        correlation_id=draw(st.none() | SHORT),
        message_id=draw(st.none() | st.text(max_size=60)),
        timestamp=draw(st.none() | st.integers(0, (1 << 64) - 1)),
    )
    return Message(address(draw(SHORT), draw(SHORT)), header, body, draw(st.booleans()))


def expected_properties(message: Message, offset: int) -> Table:
    """Give the properties a reader has to see."""
    properties = parse_properties(message.header).as_dict()
    headers = properties.get("headers", {})
    assert isinstance(headers, dict)
    return {**properties, "headers": {**headers, "x-stream-offset": offset}}


def simple(body: bytes = b"body", **properties: object) -> Message:
    """Make a message."""
    return Message(address("", "s"), build_header(len(body), **properties), body, True)  # type: ignore[arg-type]


def chunk_of(*bodies: bytes, first: int = 0, timestamp: int = 7) -> bytes:
    """Make a chunk without gaps."""
    writer = ChunkWriter()
    for offset, body in enumerate(bodies, first):
        writer.add(offset, simple(body))
    return writer.take(timestamp)


def resealed(chunk: bytes) -> bytes:
    """Give a chunk its right checksum after it was changed."""
    crc = zlib.crc32(chunk[CHUNK_HEAD_SIZE:], zlib.crc32(chunk[:36]))
    return chunk[:36] + crc.to_bytes(4, "big") + chunk[CHUNK_HEAD_SIZE:]


@given(
    st.lists(st.tuples(st.integers(0, 3), messages()), min_size=1, max_size=8),
    st.integers(0, 1 << 60),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.binary(max_size=50),
)
def test_messages_come_back_with_their_offset_in_the_header(
    given: list[tuple[int, Message]], first: int, timestamp: int, before: bytes
) -> None:
    writer = ChunkWriter()
    offset = first
    offsets: list[int] = []
    for gap, message in given:
        offset += gap if offsets else 0
        writer.add(offset, message)
        offsets.append(offset)
        offset += 1
    assert (writer.count, writer.first, writer.next) == (len(given), first, offset)
    octets = writer.octets
    chunk = writer.take(timestamp)
    assert (len(chunk), writer.count, writer.octets) == (octets, 0, CHUNK_HEAD_SIZE)
    head = scan_head(before + chunk, len(before))
    assert head is not None
    assert (head.first, head.next, head.count) == (first, offset, len(given))
    assert (head.timestamp, head.size) == (timestamp, len(chunk))
    reader = ChunkReader(first)
    assert reader.read(before + chunk + b"behind", len(before)) == len(before) + len(chunk)
    assert (reader.offsets or list(range(first, first + len(given)))) == offsets
    assert reader.next == offset
    assert reader.octets == sum(message.size() for message in reader.messages)
    for (_, message), found, at in zip(given, reader.messages, offsets, strict=True):
        assert (found.address, found.body) == (message.address, message.body)
        assert parse_properties(found.header).as_dict() == expected_properties(message, at)
        assert (found.persistent, found.arrived, found.segment) == (True, timestamp, 0)


def test_an_offset_that_a_publisher_put_there_is_replaced_however_often_it_is_there() -> None:
    entry = b"\x0fx-stream-offsetS\0\0\0\x03lie"
    table = set_entry(entry + entry, b"other", b"V")
    header = build_header(4, headers={}, delivery_mode=1)
    header = header[:14] + len(table).to_bytes(4, "big") + table + header[18:]
    writer = ChunkWriter()
    writer.add(77, Message(address("", "s"), header, b"body", False))
    reader = ChunkReader(77)
    reader.read(writer.take(1), 0)
    (message,) = reader.messages
    assert message.header.count(b"x-stream-offset") == 1
    assert parse_properties(message.header).headers() == {"other": None, "x-stream-offset": 77}


def test_all_other_octets_of_a_header_stay() -> None:
    message = simple(content_type="text/plain", headers={"a": 1}, message_id="m" * 100)
    writer = ChunkWriter()
    writer.add(5, message)
    reader = ChunkReader(5)
    reader.read(writer.take(1), 0)
    entry = b"\x0fx-stream-offsetl" + (5).to_bytes(8, "big")
    header = reader.messages[0].header
    at = header.index(entry)
    length = at - 4 - len(b"\x01aI\0\0\0\x01")
    assert (
        header[:at].replace(header[length : length + 4], message.header[length : length + 4])
        == (message.header[:at])
    )
    assert header[at + len(entry) :] == message.header[at:]


def test_neighbours_share_their_address() -> None:
    reader = ChunkReader(0)
    reader.read(chunk_of(b"1", b"2"), 0)
    assert reader.messages[0].address is reader.messages[1].address


def test_chunks_are_read_one_after_the_other_and_gaps_between_them_are_told() -> None:
    reader = ChunkReader(10)
    reader.read(chunk_of(b"a", b"b", first=10), 0)
    assert reader.offsets == []
    reader.read(chunk_of(b"c", first=15), 0)
    assert reader.offsets == [10, 11, 15]
    reader.read(chunk_of(b"d", first=16), 0)
    assert reader.offsets == [10, 11, 15, 16]
    assert [message.body for message in reader.messages] == [b"a", b"b", b"c", b"d"]


def test_a_first_chunk_behind_the_expected_offset_is_a_gap() -> None:
    reader = ChunkReader(3)
    reader.read(chunk_of(b"a", first=4), 0)
    assert reader.offsets == [4]


def test_a_chunk_from_before_is_refused() -> None:
    reader = ChunkReader(10)
    with pytest.raises(BadChunk):
        reader.read(chunk_of(b"a", first=9), 0)
    reader.read(chunk_of(b"a", first=10), 0)
    with pytest.raises(BadChunk):
        reader.read(chunk_of(b"a", first=10), 0)
    assert len(reader.messages) == 1


@pytest.mark.parametrize(
    "header", [b"", b"\0" * 13, b"\0" * 12 + b"\x80\0", b"\0" * 12 + b"\x20\0\0\0\0\x09"]
)
def test_what_is_no_header_is_refused_and_leaves_nothing_behind(header: bytes) -> None:
    writer = ChunkWriter()
    with pytest.raises(MalformedContent):
        writer.add(0, Message(address("", "s"), header, b"", True))
    assert (writer.count, writer.octets) == (0, CHUNK_HEAD_SIZE)
    writer.add(0, simple())
    assert valid_chunk(writer.take(1), 0) is not None


def test_offsets_must_ascend_and_fit() -> None:
    writer = ChunkWriter()
    with pytest.raises(ValueError):
        writer.take(1)
    with pytest.raises(ValueError):
        writer.add(-1, simple())
    writer.add(5, simple())
    for offset in (4, 5, 6 + LONGEST):
        with pytest.raises(ValueError):
            writer.add(offset, simple())
    writer.add(5 + LONGEST, simple())
    assert scan_head(writer.take(1), 0) is not None
    with pytest.raises(ValueError):
        writer.add(5, simple())


CHUNK = chunk_of(b"first", b"", b"third" * 30, first=1000)


@given(st.integers(0, len(CHUNK) - 1))
def test_a_chunk_cut_short_is_refused(size: int) -> None:
    reader = ChunkReader(0)
    with pytest.raises(BadChunk):
        reader.read(CHUNK[:size], 0)
    assert (reader.messages, reader.next) == ([], 0)


@given(st.integers(0, len(CHUNK) * 8 - 1))
def test_any_bit_that_is_wrong_is_found(bit: int) -> None:
    damaged = bytearray(CHUNK)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadChunk):
        ChunkReader(0).read(bytes(damaged), 0)


@given(st.lists(st.tuples(st.integers(0, len(CHUNK) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(8, 0xFF)])
@example([(20, 0x7F)])
@example([(40, 0xFF)])
@example([(44, 0xFF)])
def test_a_chunk_whose_checksum_vouches_for_nonsense_is_refused_or_whole(
    changes: list[tuple[int, int]],
) -> None:
    forged = bytearray(CHUNK)
    for at, value in changes:
        forged[at] = value
    chunk = resealed(bytes(forged))
    reader = ChunkReader(0)
    reader.read(chunk_of(b"before"), 0)
    octets = reader.octets
    try:
        reader.read(chunk, 0)
    except BadChunk:
        assert (len(reader.messages), len(reader.offsets), reader.next) == (1, 0, 1)
        assert reader.octets == octets
        return
    assert len(reader.messages) == len(reader.offsets)
    assert reader.offsets == sorted(set(reader.offsets))
    assert reader.next == reader.offsets[-1] + 1


@given(st.binary(max_size=200), st.integers(-5, 300))
def test_any_octets_at_any_place_are_refused(data: bytes, at: int) -> None:
    assume(not data.startswith(b"HBSC"))
    assert valid_chunk(data, at) is None
    with pytest.raises(BadChunk):
        ChunkReader(0).read(data, at)


def test_a_writer_goes_on_after_a_large_chunk() -> None:
    writer = ChunkWriter()
    writer.add(0, simple(bytes(2 << 20)))
    large = writer.take(1)
    writer.add(1, simple(b"small"))
    reader = ChunkReader(0)
    reader.read(large, 0)
    reader.read(writer.take(2), 0)
    assert [len(message.body) for message in reader.messages] == [2 << 20, 5]
