"""Priority and expiration of a message, found in its raw content header without parsing it.

Queues with priorities or time limits ask for each message, and so does recovery.  Only what stands before
the property is stepped over (AMQP 0-9-1 section 4.2.6.1), and nothing is checked but that it ends within the
header: a header was parsed when it was published.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

FLAGS_AT: Final = 12
PROPERTIES_AT: Final = 14
"""Offsets of the flag word in a content header, and of the first property."""

HAS_HEADERS: Final = 0x20
HAS_PRIORITY: Final = 0x08
HAS_EXPIRATION: Final = 0x01
"""Flags in the first octet of the flag word."""

PLUS: Final = 0x2B
ZERO: Final = 0x30

LONGEST: Final = 1 << 50
"""Milliseconds beyond which an expiration is as good as none; clients cannot ask for so many."""


def priority_of(header: bytes) -> i64:
    """Give the priority property of a content header; -1 if there is none."""
    if len(header) < PROPERTIES_AT or not header[FLAGS_AT] & HAS_PRIORITY:
        return -1
    at = _octets_at(header)
    if header[FLAGS_AT] & 0x10:
        at += 1
    return header[at] if at < len(header) else -1


def expiration_of(header: bytes) -> i64:
    """Give the expiration property in milliseconds; -1 if there is none that is a number."""
    if len(header) < PROPERTIES_AT or not header[FLAGS_AT] & HAS_EXPIRATION:
        return -1
    flags: i64 = header[FLAGS_AT]
    at = _octets_at(header)
    if flags & 0x10:
        at += 1
    if flags & 0x08:
        at += 1
    if flags & 0x04:
        at = _text_end(header, at)
    if flags & 0x02:
        at = _text_end(header, at)
    end = _text_end(header, at)
    if end <= at or end != at + 1 + header[at]:
        return -1
    at += 1
    while at < end and header[at] == PLUS:
        at += 1
    if at == end:
        return -1
    number: i64 = 0
    while at < end:
        digit: i64 = header[at] - ZERO
        if digit < 0 or digit > 9:
            return -1
        if number < LONGEST:
            number = number * 10 + digit
        at += 1
    return number


def _octets_at(header: bytes) -> i64:
    """Give the offset at which delivery mode and priority stand, or would stand, in a content header.

    The result is the header's length if it ends too early.
    """
    flags: i64 = header[FLAGS_AT]
    at: i64 = PROPERTIES_AT
    end: i64 = len(header)
    if flags & 0x80:
        at = _text_end(header, at)
    if flags & 0x40:
        at = _text_end(header, at)
    if flags & HAS_HEADERS:
        if at + 4 > end:
            return end
        size = i64(read_i32_be(header, at))
        if size < 0:
            return end
        at += 4 + size
    return at if at < end else end


def _text_end(header: bytes, at: i64) -> i64:
    """Give the offset behind a short string; the header's length if it ends too early."""
    end: i64 = len(header)
    if at >= end:
        return end
    at += 1 + header[at]
    return at if at < end else end
