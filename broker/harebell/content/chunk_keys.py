"""The keys of a stream's messages, and chunks without those that a later message of their key replaces.

A key is the routing key, the message id, or the value of a header: text or a number.  A message has no key if
that is missing, empty or anything else.  Keys of up to 15 octets stand for themselves, longer ones by a hash
of 16 octets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, write_i32_be
from mypy_extensions import i32, i64, u8

from harebell.content.chunks import CHUNK_HEAD_SIZE, RECORD_HEAD_SIZE, BadChunk, encode_chunk, valid_chunk
from harebell.content.header_keys import find_header
from harebell.content.properties import MESSAGE_ID, parse_properties
from harebell.content.scanning import FLAGS_AT, HAS_HEADERS, PROPERTIES_AT
from harebell.content.table import decode_valid_table
from harebell.errors import MalformedContent

BY_ROUTING_KEY: Final = "routing-key"
BY_MESSAGE_ID: Final = "message-id"
"""Names of keys that are no headers."""

NO_KEY: Final = b""

_ROUTING_KEY: Final = 0
_MESSAGE_ID: Final = 1
_HEADER: Final = 2

_MESSAGE_ID_FLAG: Final = 0x80
_HASH_OCTETS: Final = 16
_U32: Final = 0xFFFF_FFFF
_hash: Final[Callable[..., hashlib.blake2b]] = hashlib.blake2b


class KeySource:
    """Where the key of a message is.

    Args:
        name: ``routing-key``, ``message-id`` or the name of a header.
    """

    __slots__ = ("_header", "_kind")

    def __init__(self, name: str) -> None:
        self._header = name.encode("utf-8", "surrogateescape")
        self._kind: u8 = _HEADER
        if name == BY_ROUTING_KEY:
            self._kind = _ROUTING_KEY
        elif name == BY_MESSAGE_ID:
            self._kind = _MESSAGE_ID

    def key(self, data: bytes, address: i64, header: i64, body: i64) -> bytes:
        """Give the key of a record, or what stands for it; empty if it has none.

        Args:
            data: octets of a chunk.
            address, header, body: where in them these begin, in this order.
        """
        if self._kind == _ROUTING_KEY:
            at: i64 = address + 1 + data[address] if address < header else header
            return _short(data[at + 1 : header]) if at < header else NO_KEY
        if header + PROPERTIES_AT > body:
            return NO_KEY
        if self._kind == _MESSAGE_ID:
            if data[header + FLAGS_AT + 1] & _MESSAGE_ID_FLAG == 0:
                return NO_KEY
            try:
                return _short(parse_properties(data[header:body]).raw_text(MESSAGE_ID) or NO_KEY)
            except MalformedContent:
                return NO_KEY
        if data[header + FLAGS_AT] & HAS_HEADERS == 0:
            return NO_KEY
        try:
            return self._header_value(data, header, body)
        except MalformedContent:
            return NO_KEY

    def _header_value(self, data: bytes, header: i64, end: i64) -> bytes:
        found, found_end = find_header(data, header, end, self._header)
        if found < 0:
            return NO_KEY
        for key in decode_valid_table(data, found, found_end).values():
            return _value(key)
        return NO_KEY


def _value(value: object) -> bytes:
    """Give what stands for a header's value; numbers are the same in any width."""
    if isinstance(value, str):
        return _short(b"s" + value.encode("utf-8", "surrogateescape")) if value else NO_KEY
    if isinstance(value, bytes):
        return _short(b"s" + value) if value else NO_KEY
    if type(value) is int or type(value) is float:
        return _short(b"n" + repr(value).encode("ascii"))
    return NO_KEY


def _short(key: bytes) -> bytes:
    return key if len(key) < _HASH_OCTETS else _hash(key, digest_size=_HASH_OCTETS).digest()


class ChunkKeys:
    """Looks at the messages of one chunk, some at a time.

    Args:
        chunk: its octets, and nothing else.
        source: where keys are.

    Attributes:
        next: the offset behind the last message looked at.
        kept, removed: messages.

    Raises:
        BadChunk: it is damaged.
    """

    __slots__ = (
        "_at",
        "_chunk",
        "_end",
        "_first",
        "_source",
        "_starts",
        "_timestamp",
        "kept",
        "next",
        "removed",
    )

    def __init__(self, chunk: bytes, source: KeySource) -> None:
        head = valid_chunk(chunk, 0)
        if head is None or head.size != len(chunk):
            raise BadChunk("a chunk is damaged or cut short")
        self._chunk = chunk
        self._source = source
        self._first: i64 = head.first
        self._timestamp: i64 = head.timestamp
        self._end: i64 = head.size
        self._at: i64 = CHUNK_HEAD_SIZE
        self._starts: list[int] = []
        self.next: i64 = head.first
        self.kept: i64 = 0
        self.removed: i64 = 0

    def note(self, latest: dict[bytes, int], since: i64, most: i64, limit: i64) -> bool:
        """Note for each key the offset of its last message.

        Args:
            latest: noted in.
            since: messages before this offset are passed over.
            most: keys it may have; the first message beyond is not looked at.
            limit: messages to look at now.

        Returns:
            True if there may be more to look at.

        Raises:
            BadChunk: a record is longer than the chunk.
        """
        chunk = self._chunk
        source = self._source
        at: i64 = self._at
        while at < self._end and limit > 0:
            following, header, body = self._record(at)
            offset: i64 = self._first + (i64(read_i32_be(chunk, at + 4)) & _U32)
            key = NO_KEY
            if offset >= since:
                key = source.key(chunk, at + RECORD_HEAD_SIZE, header, body)
            if len(key) > 0:
                if i64(len(latest)) >= most and key not in latest:
                    break
                latest[key] = offset
            self.next = offset + 1
            at = following
            limit -= 1
        self._at = at
        return at < self._end and limit == 0

    def choose(self, latest: dict[bytes, int], tombstones: bool, limit: i64) -> bool:
        """Choose what is kept.

        Args:
            latest: of keys, the offset of a message; those before it are not kept.
            tombstones: whether messages with a key and an empty body are kept, too.
            limit: messages to look at now.

        Returns:
            True if there are more to look at.

        Raises:
            BadChunk: a record is longer than the chunk.
        """
        chunk = self._chunk
        source = self._source
        at: i64 = self._at
        while at < self._end and limit > 0:
            following, header, body = self._record(at)
            key = source.key(chunk, at + RECORD_HEAD_SIZE, header, body)
            offset: i64 = self._first + (i64(read_i32_be(chunk, at + 4)) & _U32)
            keep = True
            if len(key) > 0:
                later = latest.get(key)
                keep = (tombstones or body < following) and (later is None or later <= offset)
            if keep:
                self._starts.append(at)
                self.kept += 1
            else:
                self.removed += 1
            self.next = offset + 1
            at = following
            limit -= 1
        self._at = at
        return at < self._end

    def take(self) -> bytes:
        """Give the chunk with what was kept: the same one if that is all; empty if that is nothing."""
        if self.removed == 0:
            return self._chunk
        if self.kept == 0:
            return b""
        chunk = self._chunk
        w = BytesWriter()
        base: i64 = -1
        offset: i64 = 0
        for start in self._starts:
            at: i64 = start
            size: i64 = i64(read_i32_be(chunk, at)) & _U32
            offset = self._first + (i64(read_i32_be(chunk, at + 4)) & _U32)
            if base < 0:
                base = offset
            write_i32_be(w, read_i32_be(chunk, at))
            write_i32_be(w, i32(offset - base))
            w.write(chunk[at + 8 : at + 4 + size])
        return encode_chunk(w.getvalue(), base, self.kept, offset, self._timestamp)

    def _record(self, at: i64) -> tuple[i64, i64, i64]:
        """Give where a record ends, and where its header and its body begin."""
        if at + RECORD_HEAD_SIZE > self._end:
            raise BadChunk("a record is cut short")
        chunk = self._chunk
        following: i64 = at + 4 + (i64(read_i32_be(chunk, at)) & _U32)
        header: i64 = at + RECORD_HEAD_SIZE + (i64(read_i16_be(chunk, at + 8)) & 0xFFFF)
        body: i64 = header + (i64(read_i32_be(chunk, at + 10)) & _U32)
        if body > following or following > self._end:
            raise BadChunk("a record is longer than what holds it")
        return following, header, body
