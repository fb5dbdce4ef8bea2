"""Chunks: neighbouring messages of a stream in the form in which they are stored and read.

A chunk::

    +--------+---------+-------+----------+--------+-------+-------+------+-----------+-----+---------
    | "HBSC" | version | flags | reserved | length | first | count | span | timestamp | crc | records
    +--------+---------+-------+----------+--------+-------+-------+------+-----------+-----+---------
      4        u8        u8      u16        u32      i64     u32     u32    i64         u32   length octets

``first`` is the offset of its first message, ``first + span`` that of its last, ``count`` says how many there
are: without gaps ``span`` is ``count - 1``.  ``timestamp`` is when the broker took them, unix milliseconds.
``crc`` is the CRC-32 (zlib) of all the rest: the head before it, then the records.  Flags and what is
reserved are 0.  A length or a span is below 2^31.  All numbers are big-endian.

A record::

    +------+-------+----------------+---------------+---------+--------+------+
    | size | delta | address length | header length | address | header | body |
    +------+-------+----------------+---------------+---------+--------+------+
      u32    u32     u16              u32

``size`` counts what follows it, ``delta`` is the message's offset less ``first``, ascending.  ``address`` is
that of ``content/message.py``.  ``header`` is the content header as published, but its header table tells the
offset (``x-stream-offset``, a signed 64-bit ``l``, as RabbitMQ's streams do), so that a delivery copies it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i16_be,
    write_i32_be,
    write_i64_be,
)
from mypy_extensions import i16, i32, i64

from harebell.content.message import Message
from harebell.content.properties import skip_text, without_headers
from harebell.content.scanning import FLAGS_AT, HAS_HEADERS, PROPERTIES_AT
from harebell.content.table import value_end
from harebell.errors import MalformedContent

MARK: Final = b"HBSC"
VERSION: Final = 1
CHUNK_HEAD_SIZE: Final = 40
RECORD_HEAD_SIZE: Final = 14

LONGEST: Final = 0x7FFF_FFFF
"""Octets of records, and offsets, that one chunk may span."""

KEPT_OCTETS: Final = 1 << 20
"""A writer that grew beyond this is replaced, or it would keep the memory of its largest chunk."""

OFFSET_HEADER: Final = b"x-stream-offset"

_MARK: Final = 0x48425343
_KINDS: Final = 0x0100_0000  # version 1, neither flags nor anything reserved
_CRC_AT: Final = 36
_LAST_OFFSET: Final = 0x7FFF_FFFF_0000_0000

_HAS_TEXTS: Final = 0xC0
_HAS_CONTENT_TYPE: Final = 0x80
_HAS_CONTENT_ENCODING: Final = 0x40
_TABLE_FLAG: Final = 0x2000

_KEY_SIZE: Final = 15
_ENTRY: Final = b"\x0fx-stream-offsetl"
_ENTRY_SIZE: Final = 25
_TABLE: Final = b"\x00\x00\x00\x19\x0fx-stream-offsetl"
_TABLE_SIZE: Final = 29

_U32: Final = 0xFFFF_FFFF
_crc32: Final[Callable[[bytes | memoryview, int], int]] = zlib.crc32


class BadChunk(Exception):
    """Octets that are no chunk, or no whole one; the text says why."""


class ChunkHead:
    """What the head of a chunk says, which only its checksum can prove.

    Attributes:
        first, next: offset of its first message, and the one behind its last.
        count: its messages.
        timestamp: when the broker took them, unix milliseconds.
        size: its octets, head included.
    """

    __slots__ = ("count", "first", "next", "size", "timestamp")

    def __init__(self, first: i64, following: i64, count: i64, timestamp: i64, size: i64) -> None:
        self.first: i64 = first
        self.next: i64 = following
        self.count: i64 = count
        self.timestamp: i64 = timestamp
        self.size: i64 = size


def scan_head(data: bytes, at: i64) -> ChunkHead | None:
    """Read the head of a chunk; the chunk itself need not be there as a whole.

    Args:
        data: octets of a segment file.
        at: where in them the chunk begins.

    Returns:
        What it says; None if there are not the octets of a head, or what they say cannot be.
    """
    if at < 0 or at + CHUNK_HEAD_SIZE > len(data):
        return None
    if read_i32_be(data, at) != _MARK or read_i32_be(data, at + 4) != _KINDS:
        return None
    length: i64 = i64(read_i32_be(data, at + 8))
    first: i64 = read_i64_be(data, at + 12)
    count: i64 = i64(read_i32_be(data, at + 20))
    span: i64 = i64(read_i32_be(data, at + 24))
    if first < 0 or first > _LAST_OFFSET or count < 1 or span < count - 1:
        return None
    if length < count * RECORD_HEAD_SIZE:
        return None
    return ChunkHead(first, first + span + 1, count, read_i64_be(data, at + 28), CHUNK_HEAD_SIZE + length)


def valid_chunk(data: bytes, at: i64) -> ChunkHead | None:
    """Give the head of the chunk at an offset if all of it is there and its checksum is right, else None."""
    head = scan_head(data, at)
    if head is None or at + head.size > len(data):
        return None
    found: i64 = _checksum(data, at, at + head.size)
    return head if found == i64(read_i32_be(data, at + _CRC_AT)) & _U32 else None


def _checksum(data: bytes, at: i64, end: i64) -> i64:
    start: i64 = _crc32(data[at : at + _CRC_AT], 0)
    return _crc32(memoryview(data)[at + CHUNK_HEAD_SIZE : end], start)


class ChunkWriter:
    """Gathers messages into a chunk.

    Attributes:
        count: messages gathered.
        octets: what the chunk would have now, head included.
        first, next: offset of the first message, and the one behind the last; equal if there is none.
    """

    __slots__ = ("_records", "count", "first", "next", "octets")

    def __init__(self) -> None:
        self._records = BytesWriter()
        self.count: i64 = 0
        self.octets: i64 = CHUNK_HEAD_SIZE
        self.first: i64 = 0
        self.next: i64 = 0

    def add(self, offset: i64, message: Message) -> None:
        """Add a message; what is stored of it tells its offset.

        Args:
            offset: its offset, beyond that of the message before it.
            message: its header is one that was parsed when it was published.

        Raises:
            MalformedContent: its header is none.
            ValueError: the offset is not beyond the one before it, or the chunk would be too large: take it
                before.
        """
        header = message.header
        at = _table_at(header)
        table_end: i64 = -1
        if header[FLAGS_AT] & HAS_HEADERS:
            table_end = _free_table_end(header, at)
            if table_end < 0:
                header = without_headers(header, [OFFSET_HEADER])
                table_end = _free_table_end(header, at)
        address = message.address
        end: i64 = len(header)
        header_size: i64 = end + (_TABLE_SIZE if table_end < 0 else _ENTRY_SIZE)
        size: i64 = RECORD_HEAD_SIZE + len(address) + header_size + len(message.body)
        first: i64 = self.first if self.count else offset
        if offset < self.next or offset - first > LONGEST:
            raise ValueError("an offset does not fit into the chunk")
        if self.octets + size > LONGEST:
            raise ValueError("a chunk would be too large")
        w = self._records
        write_i32_be(w, i32(size - 4))
        write_i32_be(w, i32(offset - first))
        write_i16_be(w, i16(len(address)))
        write_i32_be(w, i32(header_size))
        w.write(address)
        if table_end < 0:
            write_i64_be(w, read_i64_be(header, 0))
            write_i32_be(w, read_i32_be(header, 8))
            write_i16_be(w, read_i16_be(header, FLAGS_AT) | i16(_TABLE_FLAG))
            _copy(w, header, PROPERTIES_AT, at)
            w.write(_TABLE)
            write_i64_be(w, offset)
            _copy(w, header, at, end)
        else:
            _copy(w, header, 0, at)
            write_i32_be(w, i32(table_end - at - 4 + _ENTRY_SIZE))
            _copy(w, header, at + 4, table_end)
            w.write(_ENTRY)
            write_i64_be(w, offset)
            _copy(w, header, table_end, end)
        w.write(message.body)
        self.count += 1
        self.first = first
        self.next = offset + 1
        self.octets += size

    def take(self, timestamp: i64) -> bytes:
        """Give the chunk, and begin a new one.

        Args:
            timestamp: when its messages came, unix milliseconds.

        Raises:
            ValueError: it has no messages.
        """
        if self.count == 0:
            raise ValueError("a chunk without messages")
        chunk = encode_chunk(self._records.getvalue(), self.first, self.count, self.next - 1, timestamp)
        if self.octets > KEPT_OCTETS:
            self._records = BytesWriter()
        else:
            self._records.truncate(0)
        self.count = 0
        self.octets = CHUNK_HEAD_SIZE
        self.first = self.next
        return chunk


def encode_chunk(records: bytes, first: i64, count: i64, last: i64, timestamp: i64) -> bytes:
    """Put a head before records.

    Args:
        records: each as described above, by ``first``.
        first, last: offset of the first and of the last one.
        count: how many there are.
        timestamp: when the messages came, unix milliseconds.
    """
    head = BytesWriter()
    write_i32_be(head, _MARK)
    write_i32_be(head, _KINDS)
    write_i32_be(head, i32(len(records)))
    write_i64_be(head, first)
    write_i32_be(head, i32(count))
    write_i32_be(head, i32(last - first))
    write_i64_be(head, timestamp)
    crc: i64 = _crc32(records, _crc32(head.getvalue(), 0))
    write_i32_be(head, i32(crc - 0x1_0000_0000 if crc > LONGEST else crc))
    return head.getvalue() + records


def _table_at(header: bytes) -> i64:
    """Give the offset at which the header table stands, or would stand, its length included."""
    end: i64 = len(header)
    if end < PROPERTIES_AT:
        raise MalformedContent("a content header is shorter than its fixed part")
    at: i64 = PROPERTIES_AT
    flags: i64 = header[FLAGS_AT]
    if flags & _HAS_TEXTS:
        if flags & _HAS_CONTENT_TYPE:
            at = skip_text(header, at, end)
        if flags & _HAS_CONTENT_ENCODING:
            at = skip_text(header, at, end)
    return at


def _free_table_end(header: bytes, at: i64) -> i64:
    """Give the end of the header table whose length is at an offset; -1 if it tells an offset already."""
    if len(header) - at < 4:
        raise MalformedContent("a content header ends before a property")
    size: i64 = i64(read_i32_be(header, at))
    pos: i64 = at + 4
    if size < 0 or size > len(header) - pos:
        raise MalformedContent("a content header ends inside its header table")
    end: i64 = pos + size
    while pos < end:
        key_size: i64 = header[pos]
        value: i64 = pos + 1 + key_size
        if key_size == _KEY_SIZE and value <= end and header[pos + 1 : value] == OFFSET_HEADER:
            return -1
        pos = value_end(header, value, end)
    return end


def _copy(w: BytesWriter, data: bytes, start: i64, end: i64) -> None:
    """Write some octets, mostly few: then nothing is cut out of them first."""
    if end - start > 64:
        w.write(data[start:end])
        return
    while end - start >= 8:
        write_i64_be(w, read_i64_be(data, start))
        start += 8
    while start < end:
        w.append(data[start])
        start += 1


class ChunkReader:
    """Decodes neighbouring chunks of a stream, one after the other.

    Args:
        first: the offset they begin with, at the lowest.

    Attributes:
        first: as given.
        next: the offset behind the last message read.
        messages: what was read.
        offsets: of each message; empty if they are ``first``, ``first + 1`` and so on.
        octets: header and body octets of all.
    """

    __slots__ = ("first", "messages", "next", "octets", "offsets")

    def __init__(self, first: i64) -> None:
        self.first: i64 = first
        self.next: i64 = first
        self.messages: list[Message] = []
        self.offsets: list[int] = []
        self.octets: i64 = 0

    def read(self, data: bytes, at: i64) -> i64:
        """Read the chunk at an offset of ``data``.

        Its messages are persistent and came when the chunk did; no journal holds them.

        Returns:
            The offset behind it.

        Raises:
            BadChunk: it is damaged or cut short, or is not behind what was read before; nothing of it was
                taken.
        """
        head = valid_chunk(data, at)
        if head is None:
            raise BadChunk("a chunk is damaged or cut short")
        if head.first < self.next:
            raise BadChunk("a chunk does not follow the one before it")
        end: i64 = at + head.size
        dense = head.next - head.first == head.count
        known = len(self.messages)
        offsets = self.offsets
        octets = self.octets
        try:
            if not dense or offsets or head.first != self.first + known:
                self._read_offsets(data, at + CHUNK_HEAD_SIZE, end, head)
            self._read_records(data, at + CHUNK_HEAD_SIZE, end, head)
        except BadChunk:
            del self.messages[known:]
            if not offsets:
                self.offsets = offsets
            del self.offsets[known:]
            self.octets = octets
            raise
        self.next = head.next
        return end

    def _read_offsets(self, data: bytes, at: i64, end: i64, head: ChunkHead) -> None:
        if not self.offsets:
            self.offsets = list(range(self.first, self.first + len(self.messages)))
        offsets = self.offsets
        for _ in range(head.count):
            if at + RECORD_HEAD_SIZE > end:
                raise BadChunk("a record is cut short")
            size: i64 = i64(read_i32_be(data, at)) & _U32
            delta: i64 = i64(read_i32_be(data, at + 4)) & _U32
            offsets.append(head.first + delta)
            at += 4 + size

    def _read_records(self, data: bytes, at: i64, end: i64, head: ChunkHead) -> None:
        messages = self.messages
        timestamp = head.timestamp
        dense = head.next - head.first == head.count
        address: bytes = messages[len(messages) - 1].address if messages else b""
        octets: i64 = 0
        before: i64 = -1
        left: i64 = head.count
        while left > 0:
            if at + RECORD_HEAD_SIZE > end:
                raise BadChunk("a record is cut short")
            following: i64 = at + 4 + (i64(read_i32_be(data, at)) & _U32)
            delta: i64 = i64(read_i32_be(data, at + 4)) & _U32
            start: i64 = at + RECORD_HEAD_SIZE
            header: i64 = start + (i64(read_i16_be(data, at + 8)) & 0xFFFF)
            body: i64 = header + (i64(read_i32_be(data, at + 10)) & _U32)
            if body > following or following > end:
                raise BadChunk("a record is longer than what holds it")
            if delta <= before or (dense and delta != before + 1):
                raise BadChunk("the offsets of a chunk are not in order")
            if not _same(data, start, header, address):
                address = data[start:header]
            message = Message(address, data[header:body], data[body:following], True)
            message.arrived = timestamp
            messages.append(message)
            octets += following - header
            before = delta
            at = following
            left -= 1
        if at != end or head.first + before + 1 != head.next:
            raise BadChunk("a chunk does not end with its last record")
        self.octets += octets


def _same(data: bytes, start: i64, end: i64, address: bytes) -> bool:
    """Tell whether an address is the one before it, so that neighbours share one object."""
    size: i64 = len(address)
    if end - start != size:
        return False
    at: i64 = 0
    while size - at >= 8:
        if read_i64_be(data, start + at) != read_i64_be(address, at):
            return False
        at += 8
    while at < size:
        if data[start + at] != address[at]:
            return False
        at += 1
    return True
