"""The value of one header of a message, as a key: found in the raw content header without decoding it.

Text and numbers are keys; a number is the same in any width on the wire.  A message has no key if the header
is missing, empty or anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from harebell.content.scanning import FLAGS_AT, HAS_HEADERS, PROPERTIES_AT
from harebell.content.table import decode_valid_table, find_in_table
from harebell.errors import MalformedContent

NO_KEY: Final = b""

LONGEST_KEY: Final = 256
"""Octets of keys that stand for themselves; longer ones are told apart by a hash."""

_TEXT: Final = 0x53
_TEXT_HEAD: Final = 5
_HASHED: Final = b"#"
_hash: Final[Callable[..., hashlib.blake2b]] = hashlib.blake2b


class HeaderKey:
    """Where a key is.

    Args:
        name: of the header.
    """

    __slots__ = ("_wanted", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._wanted = name.encode("utf-8", "surrogateescape")

    def of(self, header: bytes) -> bytes:
        """Give the key of a message by its content header; empty if it has none.

        It is text as it stands in the header, type and length first, or ``n`` and a number.
        """
        if len(header) < PROPERTIES_AT + 4 or not header[FLAGS_AT] & HAS_HEADERS:
            return NO_KEY
        try:
            found, found_end = find_header(header, 0, len(header), self._wanted)
            return NO_KEY if found < 0 else self._key(header, found, found_end)
        except MalformedContent:
            return NO_KEY

    def _key(self, header: bytes, found: i64, found_end: i64) -> bytes:
        value: i64 = found + 1 + len(self._wanted)
        if header[value] == _TEXT and found_end - value <= LONGEST_KEY:
            return header[value:found_end] if found_end - value > _TEXT_HEAD else NO_KEY
        for decoded in decode_valid_table(header, found, found_end).values():
            if isinstance(decoded, (str, bytes)):
                return _of_text(
                    decoded.encode("utf-8", "surrogateescape") if isinstance(decoded, str) else decoded
                )
            if type(decoded) is int or type(decoded) is float:
                whole = int(decoded) if type(decoded) is float and decoded.is_integer() else decoded
                return b"n" + repr(whole).encode("ascii")
        return NO_KEY


def find_header(data: bytes, header: i64, end: i64, wanted: bytes) -> tuple[i64, i64]:
    """Find an entry of the header table in a content header that has one, without a slice.

    Of a key that comes twice the last one is given, as ``table.find_entry`` does.

    Args:
        data: has the content header from ``header`` up to ``end``.
        wanted: the key.

    Returns:
        Where the entry, its key first, begins and ends; -1 twice if there is none.

    Raises:
        MalformedContent: the table is cut short, or of an unknown type on its top level.
    """
    at: i64 = header + PROPERTIES_AT
    flags: i64 = data[header + FLAGS_AT]
    if flags & 0x80:
        at += 1 + data[at] if at < end else 1
    if flags & 0x40:
        at += 1 + data[at] if at < end else 1
    if at + 4 > end:
        return -1, -1
    size: i64 = i64(read_i32_be(data, at))
    at += 4
    if size < 0 or size > end - at:
        return -1, -1
    return find_in_table(data, at, at + size, wanted)


def _of_text(text: bytes) -> bytes:
    if not text:
        return NO_KEY
    if len(text) + _TEXT_HEAD <= LONGEST_KEY:
        return b"S" + len(text).to_bytes(4, "big") + text
    return _HASHED + _hash(text, digest_size=16).digest()


def shown_key(key: bytes) -> str:
    """Give a key for people to read."""
    if key[:1] == _HASHED:
        return "(hash) " + key[1:].hex()
    return key[_TEXT_HEAD if key[:1] == b"S" else 1 :].decode("utf-8", "replace")
