"""Records of the write-ahead log: layout, checksum, and the walk through a segment's bytes.

A segment file::

    +--------+---------+--------+----------+----------+------+----------+-- - -
    | "HBWL" | version | digest | reserved | base lsn | node | head crc | records
    +--------+---------+--------+----------+----------+------+----------+-- - -
      4        u16       u8       u8         u64        u64    u32

``digest`` 1 is CRC-32 (zlib).  ``node`` is the id of the data directory, so that a file of another node is
not taken for ours.  All numbers are big-endian.

A record::

    +-------+------+----------+--------+-----+---------+
    | 0xA7  | kind | reserved | length | crc | payload |
    +-------+------+----------+--------+-----+---------+
      u8      u8     u16        u32      u32   length octets

``crc`` covers the payload and starts from ``lsn ^ kind``: a record is valid only where it was written and as
what it was written.  The lsn of a record is the number of record octets before it in the whole log; a
record's successor follows at once, so file offset = lsn - base lsn + 32.

Payloads (``run`` = queue id u64, first position u64, count u32)::

    MESSAGE   flags u8, address length u16, header length u32, body length u32, queues u32,
              address, header, body, then for each queue: queue id u64, position u64
    SETTLE    runs: the queue no longer holds these positions
    REQUEUE   runs: delivered and returned; redelivered from now on
    COMMAND   a field table: one change of metadata
    GROUP     records, each with its own head: all of a transaction, or nothing
    CLEAN     nothing: the node stopped in order here
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

MAGIC: Final = b"HBWL"
VERSION: Final = 1
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
KINDS: Final = frozenset({MESSAGE, SETTLE, REQUEUE, COMMAND, GROUP, CLEAN})

MESSAGE_HEAD: Final = struct.Struct(">BHIII")
ENQUEUE: Final = struct.Struct(">QQ")
RUN: Final = struct.Struct(">QQI")
LSN_MASK: Final = 0xFFFFFFFF


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


def checksum(lsn: int, kind: int, payload: bytes) -> int:
    """Give the crc of a record."""
    return zlib.crc32(payload, (lsn & LSN_MASK) ^ kind)


def encode_record(lsn: int, kind: int, payload: bytes) -> bytes:
    """Encode one record that starts at ``lsn``."""
    return RECORD_HEAD.pack(RECORD_MARK, kind, 0, len(payload), checksum(lsn, kind, payload)) + payload


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


def record_at(data: bytes, offset: int, lsn: int) -> Record | None:
    """Give the valid record at an offset of ``data``, or None."""
    if offset + RECORD_HEAD_SIZE > len(data):
        return None
    mark, kind, reserved, length, crc = RECORD_HEAD.unpack_from(data, offset)
    start = offset + RECORD_HEAD_SIZE
    if mark != RECORD_MARK or kind not in KINDS or reserved or start + length > len(data):
        return None
    payload = data[start : start + length]
    return Record(lsn, kind, payload) if checksum(lsn, kind, payload) == crc else None


def walk(data: bytes, start: int, lsn: int) -> Iterator[Record | Gap]:
    """Walk through a segment's records, and over damage to the next valid one.

    Args:
        data: the whole file.
        start: offset of the first record.
        lsn: its lsn.
    """
    offset = start
    while offset < len(data):
        record = record_at(data, offset, lsn + offset - start)
        if record is not None:
            yield record
            offset += RECORD_HEAD_SIZE + len(record.payload)
            continue
        resumed = _next_valid(data, offset + 1, start, lsn)
        end = len(data) if resumed < 0 else resumed
        yield Gap(lsn + offset - start, lsn + end - start, resumed < 0)
        offset = end


def _next_valid(data: bytes, offset: int, start: int, lsn: int) -> int:
    mark = bytes([RECORD_MARK])
    while (offset := data.find(mark, offset)) >= 0:
        if record_at(data, offset, lsn + offset - start) is not None:
            return offset
        offset += 1
    return -1


def records_in_group(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Give kind and payload of each record of a GROUP, whose own crc vouches for all of them."""
    offset = 0
    while offset < len(payload):
        _, kind, _, length, _ = RECORD_HEAD.unpack_from(payload, offset)
        offset += RECORD_HEAD_SIZE
        yield kind, payload[offset : offset + length]
        offset += length


class StoredMessage(NamedTuple):
    """A MESSAGE payload, decoded."""

    persistent: bool
    address: bytes
    header: bytes
    body: bytes
    enqueues: list[tuple[int, int]]


def decode_message(payload: bytes) -> StoredMessage:
    """Decode a MESSAGE payload; its crc was checked."""
    flags, address_size, header_size, body_size, queues = MESSAGE_HEAD.unpack_from(payload)
    header_at = MESSAGE_HEAD.size + address_size
    body_at = header_at + header_size
    end = body_at + body_size
    enqueues = [ENQUEUE.unpack_from(payload, end + i * ENQUEUE.size) for i in range(queues)]
    address = payload[MESSAGE_HEAD.size : header_at]
    return StoredMessage(bool(flags & 1), address, payload[header_at:body_at], payload[body_at:end], enqueues)


def encode_message(message: StoredMessage) -> bytes:
    """Encode a MESSAGE payload; the journal's hot side writes the same octets without an object."""
    head = MESSAGE_HEAD.pack(
        message.persistent,
        len(message.address),
        len(message.header),
        len(message.body),
        len(message.enqueues),
    )
    enqueues = b"".join(ENQUEUE.pack(*enqueue) for enqueue in message.enqueues)
    return head + message.address + message.header + message.body + enqueues


def decode_runs(payload: bytes) -> list[tuple[int, int, int]]:
    """Decode a SETTLE or REQUEUE payload into (queue id, first position, count)."""
    return list(RUN.iter_unpack(payload))
