"""Records of the write-ahead log: layout, checksum, and the walk through a segment's bytes.

A segment file::

    +--------+---------+--------+----------+----------+------+----------+-- - -
    | "HBWL" | version | digest | reserved | base lsn | node | head crc | records
    +--------+---------+--------+----------+----------+------+----------+-- - -
      4        u16       u8       u8         u64        u64    u32

``digest`` 1 is CRC-32 (zlib).  ``node`` is the id of the data directory, so that a file of another node is
not taken for ours.  All numbers are big-endian.

A record::

    +-------+------+-------+--------+-----+---------+
    | 0xA7  | kind | marks | length | crc | payload |
    +-------+------+-------+--------+-----+---------+
      u8      u8     u16     u32      u32   length octets

``crc`` covers the payload and starts from ``lsn ^ kind ^ (marks << 16)``: a record is valid only where it was
written and as what it was written.  The lsn of a record is the number of record octets before it in the whole
log; a record's successor follows at once, so file offset = lsn - base lsn + 32.  The only mark is 1: all that
is before this record was on stable storage when it was written.

Payloads (``run`` = queue id u64, first position u64, count u32)::

    MESSAGE   flags u8, address length u16, header length u32, body length u32, queues u32,
              address, header, body, then for each queue: queue id u64, position u64,
              then, if flags has 2: arrived u64, unix milliseconds
    SETTLE    runs: the queue no longer holds these positions
    REQUEUE   runs: delivered and returned; redelivered from now on
    COMMAND   a field table: one change of metadata
    GROUP     records, each with its own head: all of a transaction, or nothing; their crcs start from
              the complement, so that none of them is ever taken for a record of its own
    CLEAN     nothing: the node stopped in order here
    PAD       anything: octets that were damaged, overwritten after they were set aside
    FLAG      nothing: whatever was enqueued before may have been delivered; redelivered from now on
    RETURNS   for each message: queue id u64, position u64, returns u32 (see ``paging.RETURN``): how often
              it came back; what was known before counts no more.  Written of messages copied forward, and
              of those whose first return is not counted
    CHUNK     queue id u64, then messages of that stream, as ``content/chunks.py`` has them; positions are
              their offsets.  The record's crc covers the queue id and the chunk's head, and in that is the
              crc of the rest, so that no octet is summed twice
    HOLDS     for each message: queue id u64, position u64, until u64, unix milliseconds: it came back and
              is not to be delivered before.  Written of what waits for a retry, and of such messages copied
              forward
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

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

from harebell.content.chunks import CHUNK_HEAD_SIZE, valid_chunk
from harebell.content.message import Message
from harebell.paging import journal_location

MAGIC: Final = b"HBWL"
VERSION: Final = 3
"""Version 1 had no CHUNK records, version 2 no HOLDS records."""
DIGEST_CRC32: Final = 1
SEGMENT_HEAD: Final = struct.Struct(">4sHBBQQ")
SEGMENT_HEAD_SIZE: Final = 32
RECORD_HEAD: Final = struct.Struct(">BBHII")
RECORD_HEAD_SIZE: Final = 12
RECORD_MARK: Final = 0xA7

MESSAGE: Final = 1
SETTLE: Final = 2
REQUEUE: Final = 3
COMMAND: Final = 4
GROUP: Final = 5
CLEAN: Final = 6
PAD: Final = 7
FLAG: Final = 8
RETURNS: Final = 9
CHUNK: Final = 10
HOLDS: Final = 11
KINDS: Final = frozenset({MESSAGE, SETTLE, REQUEUE, COMMAND, GROUP, CLEAN, PAD, FLAG, RETURNS, CHUNK, HOLDS})
_FIRST_KIND: Final = 1
_LAST_KIND: Final = 11

SYNCED: Final = 1
"""Mark of a record: everything before it was on stable storage when it was written."""

MESSAGE_HEAD: Final = struct.Struct(">BHIII")
MESSAGE_HEAD_SIZE: Final = 15
ENQUEUE: Final = struct.Struct(">QQ")
ENQUEUE_SIZE: Final = 16
RUN: Final = struct.Struct(">QQI")
RUN_SIZE: Final = 20
HOLD: Final = struct.Struct(">QQQ")
HOLD_SIZE: Final = 24
CHUNK_ID_SIZE: Final = 8
CHUNK_COVERED: Final = CHUNK_ID_SIZE + CHUNK_HEAD_SIZE
"""Octets of a CHUNK payload that the record's own crc covers."""

LSN_MASK: Final = 0xFFFFFFFF
IN_GROUP: Final = 0xFFFFFFFF
"""What the start of a crc is combined with inside a GROUP."""

PERSISTENT: Final = 1
ARRIVED: Final = 2
"""Flags of a MESSAGE payload."""

SEARCHES: Final = 64
"""So many times the octets of a segment are looked at to find what is valid behind damage."""

VIEW_OCTETS: Final = 4096
"""From this size on a view for the crc costs less than a copy."""

_U64: Final = struct.Struct(">Q")
_MARK: Final = b"\xa7"
_crc32: Final[Callable[[bytes | memoryview, int], int]] = zlib.crc32


class BadSegment(Exception):
    """A file that is no segment of this log; the text says why."""


class ForeignSegment(BadSegment):
    """A whole segment that is not for us: of another node or of a newer format."""


class Record(NamedTuple):
    """One valid record: where it starts, what it is, its payload."""

    lsn: int
    kind: int
    payload: bytes

    @property
    def end(self) -> int:
        """The lsn behind the record."""
        return self.lsn + RECORD_HEAD_SIZE + len(self.payload)


class Gap(NamedTuple):
    """Octets that are no valid record: from ``lsn`` up to ``end``; ``tail`` if nothing valid follows."""

    lsn: int
    end: int
    tail: bool


def seed(lsn: i64, kind: i64, marks: i64) -> i64:
    """Give what the crc of a record starts from; inside a GROUP, with marks 0, it is that ``^ IN_GROUP``."""
    return (lsn & LSN_MASK) ^ kind ^ (marks << 16)


def encode_record(lsn: int, kind: int, payload: bytes, marks: int = 0, start: int = 0) -> bytes:
    """Encode one record that starts at ``lsn``.

    Args:
        lsn: where it is going to be.
        kind: ``MESSAGE`` and its like.
        payload: what it says.
        marks: ``SYNCED`` or 0.
        start: ``IN_GROUP`` for a record inside a GROUP.
    """
    covered = payload[:CHUNK_COVERED] if kind == CHUNK else payload
    crc = zlib.crc32(covered, int(seed(lsn, kind, marks)) ^ start)
    return RECORD_HEAD.pack(RECORD_MARK, kind, marks, len(payload), crc) + payload


def write_record(w: BytesWriter, kind: i64, payload: bytes, start: i64) -> None:
    """Write one record without marks.

    Args:
        start: what its crc starts from, see ``seed``.
    """
    crc: i64 = _crc32(payload, start)
    write_i16_be(w, i16((RECORD_MARK << 8 | kind) - 0x10000))
    write_i16_be(w, 0)
    write_i32_be(w, i32(len(payload)))
    write_i32_be(w, i32(crc - 0x100000000 if crc > 0x7FFFFFFF else crc))
    w.write(payload)


def write_chunk_record(w: BytesWriter, covered: bytes, chunk: bytes, start: i64) -> None:
    """Write a CHUNK record without marks.

    Args:
        covered: what ``chunk_covered`` gave.
        chunk: of the stream.
        start: what its crc starts from, see ``seed``.
    """
    crc: i64 = _crc32(covered, start)
    write_i16_be(w, i16((RECORD_MARK << 8 | CHUNK) - 0x10000))
    write_i16_be(w, 0)
    write_i32_be(w, i32(CHUNK_ID_SIZE + len(chunk)))
    write_i32_be(w, i32(crc - 0x100000000 if crc > 0x7FFFFFFF else crc))
    write_i64_be(w, read_i64_be(covered, 0))
    w.write(chunk)


def chunk_covered(queue_id: i64, chunk: bytes) -> bytes:
    """Give the octets of a CHUNK payload that the record's own crc covers."""
    w = BytesWriter()
    write_i64_be(w, queue_id)
    return w.getvalue() + chunk[:CHUNK_HEAD_SIZE]


def message_payload(w: BytesWriter, message: Message, queues: i64, enqueues: bytes) -> bytes:
    """Give the payload of a MESSAGE record.

    Args:
        w: what to write it with; what is in it goes.
        queues: how many took the message.
        enqueues: queue id and position of each.
    """
    w.truncate(0)
    w.append(PERSISTENT | ARRIVED if message.persistent else ARRIVED)
    write_i16_be(w, i16(len(message.address)))
    write_i32_be(w, i32(len(message.header)))
    write_i32_be(w, i32(len(message.body)))
    write_i32_be(w, i32(queues))
    w.write(message.address)
    w.write(message.header)
    w.write(message.body)
    w.write(enqueues)
    write_i64_be(w, message.arrived)
    return w.getvalue()


def encode_segment_head(base: int, node: int) -> bytes:
    """Encode the head of a segment whose first record has lsn ``base``."""
    head = SEGMENT_HEAD.pack(MAGIC, VERSION, DIGEST_CRC32, 0, base, node)
    return head + struct.pack(">I", zlib.crc32(head)) + bytes(SEGMENT_HEAD_SIZE - len(head) - 4)


def decode_segment_head(data: bytes) -> tuple[int, int]:
    """Check a segment's head and give its base lsn and node id.

    Raises:
        BadSegment: it is cut or damaged.
        ForeignSegment: it is of a newer format.
    """
    size = SEGMENT_HEAD.size
    if len(data) < SEGMENT_HEAD_SIZE:
        raise BadSegment("the head is cut short")
    magic, version, digest, _, base, node = SEGMENT_HEAD.unpack_from(data)
    if magic != MAGIC:
        raise BadSegment("this is no harebell segment")
    if zlib.crc32(data[:size]) != struct.unpack_from(">I", data, size)[0]:
        raise BadSegment("the head is damaged")
    if version > VERSION:
        raise ForeignSegment(
            f"written by a newer harebell (format {version}, this one reads up to {VERSION})"
        )
    if digest != DIGEST_CRC32:
        raise ForeignSegment(f"unknown checksum {digest}")
    return base, node


def record_size_at(data: bytes, offset: i64) -> i64:
    """Give the octets of the record at an offset, head included, by what its head says alone.

    Returns:
        The size, which may reach beyond ``data``; ``RECORD_HEAD_SIZE`` if not even the head is there as a
        whole; -1 if there is no head of a record.
    """
    if offset < 0:
        return -1
    if offset + RECORD_HEAD_SIZE > len(data):
        return RECORD_HEAD_SIZE
    # Mark, kind and marks in one number: what is read is signed.
    front: i64 = i64(read_i32_be(data, offset)) & LSN_MASK
    kind: i64 = front >> 16 & 0xFF
    if front >> 24 != RECORD_MARK or kind < _FIRST_KIND or kind > _LAST_KIND or front & 0xFFFE:
        return -1
    return RECORD_HEAD_SIZE + (i64(read_i32_be(data, offset + 4)) & LSN_MASK)


def _valid(data: bytes, offset: i64, size: i64, start: i64) -> bool:
    """Compare the crc of the record of this size, all of which is there."""
    first: i64 = offset + RECORD_HEAD_SIZE
    end: i64 = offset + size
    found: i64
    if data[offset + 1] == CHUNK:
        return _valid_chunk(data, first, end, start, i64(read_i32_be(data, offset + 8)) & LSN_MASK)
    if size < VIEW_OCTETS:
        found = _crc32(data[first:end], start)
    else:
        found = _crc32(memoryview(data)[first:end], start)
    return found == i64(read_i32_be(data, offset + 8)) & LSN_MASK


def _valid_chunk(data: bytes, first: i64, end: i64, start: i64, crc: i64) -> bool:
    if end - first < CHUNK_COVERED or _crc32(data[first : first + CHUNK_COVERED], start) != crc:
        return False
    head = valid_chunk(data, first + CHUNK_ID_SIZE)
    return head is not None and head.size == end - first - CHUNK_ID_SIZE


def valid_size_at(data: bytes, offset: i64, lsn: i64) -> i64:
    """Give the octets of the valid record of its own at an offset, head included; -1 if there is none."""
    size = record_size_at(data, offset)
    if size < 0 or offset + size > len(data):
        return -1
    start = seed(lsn, data[offset + 1], i64(read_i16_be(data, offset + 2)))
    return size if _valid(data, offset, size, start) else -1


def record_at(data: bytes, offset: i64, lsn: i64) -> Record | None:
    """Give the valid record of its own at an offset of ``data``, or None."""
    size = valid_size_at(data, offset, lsn)
    if size < 0:
        return None
    return Record(lsn, data[offset + 1], data[offset + RECORD_HEAD_SIZE : offset + size])


def message_at(data: bytes, offset: i64, lsn: i64) -> Message | None:
    """Read one message back by the location of its record, which may lie inside a GROUP.

    Args:
        data: octets of the log.
        offset: where in them the record begins; ``record_size_at`` tells whether they reach far enough.
        lsn: of this very record.

    Returns:
        The message with its location and share, but without its segment; None if the record is damaged,
        cut short, or of another kind.
    """
    size = record_size_at(data, offset)
    if size < RECORD_HEAD_SIZE + MESSAGE_HEAD_SIZE or offset + size > len(data):
        return None
    if data[offset + 1] != MESSAGE:
        return None
    start = seed(lsn, MESSAGE, i64(read_i16_be(data, offset + 2)))
    if not _valid(data, offset, size, start) and not _valid(data, offset, size, start ^ IN_GROUP):
        return None
    first: i64 = offset + RECORD_HEAD_SIZE
    address: i64 = first + MESSAGE_HEAD_SIZE
    header: i64 = address + (i64(read_i16_be(data, first + 1)) & 0xFFFF)
    body: i64 = header + (i64(read_i32_be(data, first + 3)) & LSN_MASK)
    after: i64 = body + (i64(read_i32_be(data, first + 7)) & LSN_MASK)
    queues: i64 = i64(read_i32_be(data, first + 11)) & LSN_MASK
    flags: i64 = data[first]
    end: i64 = after + queues * ENQUEUE_SIZE
    if end + (8 if flags & ARRIVED else 0) != offset + size:
        return None
    message = Message(data[address:header], data[header:body], data[body:after], flags & PERSISTENT != 0)
    if flags & ARRIVED:
        message.arrived = read_i64_be(data, end)
    message.location = journal_location(lsn)
    message.share = i32(size // queues if queues > 1 else size)
    return message


def walk(data: bytes, start: int, lsn: int) -> Iterator[Record | Gap]:
    """Walk through a segment's records, and over damage to the next valid one.

    Args:
        data: the whole file.
        start: offset of the first record.
        lsn: its lsn.
    """
    offset: i64 = start
    behind: i64 = lsn - start
    while offset < len(data):
        record = record_at(data, offset, behind + offset)
        if record is not None:
            yield record
            offset += RECORD_HEAD_SIZE + len(record.payload)
            continue
        resumed = next_valid(data, offset + 1, behind)
        end: i64 = len(data) if resumed < 0 else resumed
        yield Gap(behind + offset, behind + end, resumed < 0)
        offset = end


def next_valid(data: bytes, offset: i64, behind: i64) -> i64:
    """Find the next valid record of its own from an offset on.

    Args:
        data: octets of the log.
        offset: where to begin.
        behind: what is to be added to an offset to get its lsn.

    Returns:
        Its offset, or -1.  Octets made to look like very many long records can hide what follows them: else
        whoever publishes them could make a recovery last forever.
    """
    budget: i64 = len(data) * SEARCHES
    while True:
        offset = data.find(_MARK, offset)
        if offset < 0:
            return -1
        size = record_size_at(data, offset)
        if size >= 0 and offset + size <= len(data):
            budget -= size
            if budget < 0:
                return -1
            if valid_size_at(data, offset, behind + offset) >= 0:
                return offset
        offset += 1


def records_in_group(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Give kind and payload of each record of a GROUP, whose own crc vouches for all of them."""
    offset = 0
    while offset < len(payload):
        _, kind, _, length, _ = RECORD_HEAD.unpack_from(payload, offset)
        offset += RECORD_HEAD_SIZE
        yield kind, payload[offset : offset + length]
        offset += length


class StoredMessage(NamedTuple):
    """A MESSAGE payload, decoded; ``arrived`` in unix milliseconds, 0 if it was not noted."""

    persistent: bool
    address: bytes
    header: bytes
    body: bytes
    enqueues: list[tuple[int, int]]
    arrived: int = 0


def decode_message(payload: bytes) -> StoredMessage:
    """Decode a MESSAGE payload; its crc was checked."""
    flags, address_size, header_size, body_size, queues = MESSAGE_HEAD.unpack_from(payload)
    header_at = MESSAGE_HEAD_SIZE + address_size
    body_at = header_at + header_size
    end = body_at + body_size
    enqueues = [ENQUEUE.unpack_from(payload, end + i * ENQUEUE_SIZE) for i in range(queues)]
    address = payload[MESSAGE_HEAD_SIZE:header_at]
    arrived = 0
    if flags & ARRIVED:
        (arrived,) = _U64.unpack_from(payload, end + queues * ENQUEUE_SIZE)
    return StoredMessage(
        bool(flags & PERSISTENT), address, payload[header_at:body_at], payload[body_at:end], enqueues, arrived
    )


def encode_message(message: StoredMessage) -> bytes:
    """Encode a MESSAGE payload; the journal's hot side writes the same octets without an object."""
    flags = (PERSISTENT if message.persistent else 0) | (ARRIVED if message.arrived else 0)
    head = MESSAGE_HEAD.pack(
        flags, len(message.address), len(message.header), len(message.body), len(message.enqueues)
    )
    enqueues = b"".join(ENQUEUE.pack(*enqueue) for enqueue in message.enqueues)
    arrived = _U64.pack(message.arrived) if message.arrived else b""
    return head + message.address + message.header + message.body + enqueues + arrived


def encode_group(lsn: int, records: list[tuple[int, bytes]]) -> bytes:
    """Encode the payload of a GROUP that starts at ``lsn`` from kinds and payloads."""
    data = b""
    for kind, payload in records:
        data += encode_record(lsn + RECORD_HEAD_SIZE + len(data), kind, payload, 0, IN_GROUP)
    return data


def decode_runs(payload: bytes) -> list[tuple[int, int, int]]:
    """Decode a SETTLE or REQUEUE payload into (queue id, first position, count)."""
    return list(RUN.iter_unpack(payload))


def encode_returns(entries: list[tuple[int, int, int]]) -> bytes:
    """Encode a RETURNS payload of (queue id, position, returns)."""
    return b"".join(RUN.pack(*entry) for entry in entries)


def encode_holds(entries: list[tuple[int, int, int]]) -> bytes:
    """Encode a HOLDS payload of (queue id, position, until)."""
    return b"".join(HOLD.pack(*entry) for entry in entries)


def decode_holds(payload: bytes) -> list[tuple[int, int, int]]:
    """Decode a HOLDS payload into (queue id, position, until)."""
    return list(HOLD.iter_unpack(payload))


def decode_returns(payload: bytes) -> list[tuple[int, int, int]]:
    """Decode a RETURNS payload into (queue id, position, returns)."""
    return list(RUN.iter_unpack(payload))
