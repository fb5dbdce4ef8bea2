"""Message properties in their wire form: the payload of a content header, parsed once and never rewritten.

A content header (AMQP 0-9-1 section 4.2.6.1) is::

    | class-id u16 = 60 | weight u16 = 0 | body size u64 | flags u16 | property | property | ...

Each set flag, from the highest bit down, says that one property follows::

    15 content-type      11 priority u8        7 message-id       3 app-id
    14 content-encoding  10 correlation-id     6 timestamp u64    2 cluster-id
    13 headers (table)    9 reply-to           5 type             1 reserved, must be 0
    12 delivery-mode u8   8 expiration         4 user-id          0 more flags follow: refused

The others are short strings: length u8 and that many octets.  The payload travels unchanged from
publisher to consumer, so what the broker changes it changes in the bytes, one property at a time.
"""

from __future__ import annotations

from typing import Final

from librt.strings import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_i32_be,
)
from mypy_extensions import i32, i64, u8

from harebell.content.table import (
    Table,
    decode_valid_table,
    decode_value,
    encode_table,
    find_in_table,
    remove_entry,
    set_entry,
    validate_table,
)
from harebell.errors import MalformedContent

CLASS_BASIC: Final = 60

CONTENT_TYPE: Final = 1 << 15
CONTENT_ENCODING: Final = 1 << 14
HEADERS: Final = 1 << 13
DELIVERY_MODE: Final = 1 << 12
PRIORITY: Final = 1 << 11
CORRELATION_ID: Final = 1 << 10
REPLY_TO: Final = 1 << 9
EXPIRATION: Final = 1 << 8
MESSAGE_ID: Final = 1 << 7
TIMESTAMP: Final = 1 << 6
TYPE: Final = 1 << 5
USER_ID: Final = 1 << 4
APP_ID: Final = 1 << 3
CLUSTER_ID: Final = 1 << 2

SHORT_STRINGS: Final[dict[str, int]] = {
    "content_type": CONTENT_TYPE,
    "content_encoding": CONTENT_ENCODING,
    "correlation_id": CORRELATION_ID,
    "reply_to": REPLY_TO,
    "expiration": EXPIRATION,
    "message_id": MESSAGE_ID,
    "type": TYPE,
    "user_id": USER_ID,
    "app_id": APP_ID,
    "cluster_id": CLUSTER_ID,
}

MOST_SEARCHES: Final = 4
"""Headers that are looked for one by one before the table is decoded."""

_BODY_SIZE: Final = 4
_FLAGS: Final = 12
_FIRST: Final = 14


class Properties:
    """What :func:`parse_properties` found in one content header.

    Attributes:
        payload: the content header's payload, as it came.
        body_size: octets of the body that follows.
        flags: the property flags; compare with ``REPLY_TO`` and its like to see what is present.
        delivery_mode: as given, 0 if absent.
        priority: as given, -1 if absent.
        headers_start, headers_end: where the header table's content lies in ``payload``; -1 if absent.
        expiration_at, reply_to_at, user_id_at: offset of that short string's length octet; -1 if absent.
        timestamp_at: offset of the timestamp; -1 if absent.
    """

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.body_size: i64 = 0
        self.flags: i64 = 0
        self.delivery_mode: i64 = 0
        self.priority: i64 = -1
        self.headers_start: i64 = -1
        self.headers_end: i64 = -1
        self.expiration_at: i64 = -1
        self.reply_to_at: i64 = -1
        self.user_id_at: i64 = -1
        self.timestamp_at: i64 = -1
        self._headers: Table | None = None
        self._searches: i64 = 0

    def header(self, name: str, raw_name: bytes) -> object:
        """Give the value of one header, None if it is absent.

        A condition asks for one or two, so those are looked for without decoding the whole table; after
        some it is decoded, for the work must not grow with the table and the condition multiplied.

        Args:
            name, raw_name: of the header, as text and as octets.
        """
        if self._headers is None and self.headers_start >= 0 and self._searches < MOST_SEARCHES:
            self._searches += 1
            found, found_end = find_in_table(self.payload, self.headers_start, self.headers_end, raw_name)
            return decode_value(self.payload, found + 1 + len(raw_name)) if found_end > 0 else None
        return self.headers().get(name)

    def headers(self) -> Table:
        """Give the header table, decoded on the first call; empty if absent.  Not to be changed."""
        table = self._headers
        if table is None:
            if self.headers_start < 0:
                table = {}
            else:
                table = decode_valid_table(self.payload, self.headers_start, self.headers_end)
            self._headers = table
        return table

    def raw_headers(self) -> bytes:
        """Give the header table's content as it came, without its length; empty if absent."""
        if self.headers_start < 0:
            return b""
        return self.payload[self.headers_start : self.headers_end]

    def raw_text(self, flag: i64) -> bytes | None:
        """Give the octets of the short string with this flag, None if absent."""
        if self.flags & flag == 0:
            return None
        at: i64 = _locate(self.payload, self.flags, flag)
        return self.payload[at + 1 : at + 1 + self.payload[at]]

    def text(self, name: str) -> str | None:
        """Give a short string property by its name with underscores, such as ``reply_to``; None if absent.

        Raises:
            KeyError: there is no such short string property.
        """
        raw = self.raw_text(SHORT_STRINGS[name])
        return None if raw is None else raw.decode("utf-8", "surrogateescape")

    def timestamp(self) -> int | None:
        """Give the timestamp in seconds since 1970, None if absent."""
        if self.timestamp_at < 0:
            return None
        value: int = read_i64_be(self.payload, self.timestamp_at)
        return value if value >= 0 else value + (1 << 64)

    def as_dict(self) -> Table:
        """Give every property that is present by its name with underscores, decoded."""
        found: Table = {}
        for name, flag in SHORT_STRINGS.items():
            if self.flags & flag:
                found[name] = self.text(name)
        if self.flags & HEADERS:
            found["headers"] = self.headers()
        if self.flags & DELIVERY_MODE:
            found["delivery_mode"] = int(self.delivery_mode)
        if self.flags & PRIORITY:
            found["priority"] = int(self.priority)
        if self.flags & TIMESTAMP:
            found["timestamp"] = self.timestamp()
        return found


def parse_properties(payload: bytes) -> Properties:
    """Parse a content header's payload in one pass, its header table checked but not decoded.

    Raises:
        MalformedContent: another class, a weight, a reserved flag, continued flags, a property cut
            short, a malformed header table, or anything after the last property.
    """
    end: i64 = len(payload)
    if end < _FIRST:
        raise MalformedContent("a content header is shorter than its fixed part")
    if read_i32_be(payload, 0) != CLASS_BASIC << 16:
        raise MalformedContent("a content header is not one of class basic")
    found = Properties(payload)
    found.body_size = read_i64_be(payload, _BODY_SIZE)
    if found.body_size < 0:
        raise MalformedContent("a content header announces an impossible body size")
    flags: i64 = payload[_FLAGS] << 8 | payload[_FLAGS + 1]
    found.flags = flags
    if flags & 3:
        raise MalformedContent("a content header has reserved property flags")
    pos: i64 = _FIRST
    rest: i64 = flags
    if rest & CONTENT_TYPE:
        pos = skip_text(payload, pos, end)
    if rest & CONTENT_ENCODING:
        pos = skip_text(payload, pos, end)
    if rest & HEADERS:
        pos = _parse_headers(found, pos, end)
    if rest & (DELIVERY_MODE | PRIORITY):
        pos = _parse_octets(found, pos, end)
    if rest & CORRELATION_ID:
        pos = skip_text(payload, pos, end)
    if rest & REPLY_TO:
        found.reply_to_at = pos
        pos = skip_text(payload, pos, end)
    if rest & EXPIRATION:
        found.expiration_at = pos
        pos = skip_text(payload, pos, end)
    if rest & (MESSAGE_ID | TIMESTAMP | TYPE | USER_ID | APP_ID | CLUSTER_ID):
        pos = _parse_last(found, pos, end)
    if pos != end:
        raise MalformedContent("a content header does not end with its last property")
    return found


def skip_text(payload: bytes, pos: i64, end: i64) -> i64:
    """Give the offset behind a short string of a content header.

    Raises:
        MalformedContent: the header ends before that.
    """
    if pos >= end:
        raise MalformedContent("a content header ends before a property")
    pos += 1 + payload[pos]
    if pos > end:
        raise MalformedContent("a content header ends inside a property")
    return pos


def _parse_headers(found: Properties, pos: i64, end: i64) -> i64:
    if end - pos < 4:
        raise MalformedContent("a content header ends before a property")
    length: int = read_i32_be(found.payload, pos)
    size: i64 = length
    pos += 4
    if size < 0 or size > end - pos:
        raise MalformedContent("a content header ends inside its header table")
    validate_table(found.payload, pos, pos + size)
    found.headers_start = pos
    found.headers_end = pos + size
    return pos + size


def _parse_octets(found: Properties, pos: i64, end: i64) -> i64:
    if found.flags & DELIVERY_MODE:
        if pos >= end:
            raise MalformedContent("a content header ends before a property")
        found.delivery_mode = found.payload[pos]
        pos += 1
    if found.flags & PRIORITY:
        if pos >= end:
            raise MalformedContent("a content header ends before a property")
        found.priority = found.payload[pos]
        pos += 1
    return pos


def _parse_last(found: Properties, pos: i64, end: i64) -> i64:
    payload = found.payload
    flags: i64 = found.flags
    if flags & MESSAGE_ID:
        pos = skip_text(payload, pos, end)
    if flags & TIMESTAMP:
        found.timestamp_at = pos
        pos += 8
        if pos > end:
            raise MalformedContent("a content header ends inside a property")
    if flags & TYPE:
        pos = skip_text(payload, pos, end)
    if flags & USER_ID:
        found.user_id_at = pos
        pos = skip_text(payload, pos, end)
    if flags & APP_ID:
        pos = skip_text(payload, pos, end)
    if flags & CLUSTER_ID:
        pos = skip_text(payload, pos, end)
    return pos


def _property_end(payload: bytes, pos: i64, end: i64, flag: i64) -> i64:
    if flag == HEADERS:
        if end - pos < 4:
            raise MalformedContent("a content header ends before a property")
        length: int = read_i32_be(payload, pos)
        pos += 4
        if length < 0 or length > end - pos:
            raise MalformedContent("a content header ends inside its header table")
        return pos + length
    if flag == TIMESTAMP:
        pos += 8
    elif flag in (DELIVERY_MODE, PRIORITY):
        pos += 1
    else:
        return skip_text(payload, pos, end)
    if pos > end:
        raise MalformedContent("a content header ends inside a property")
    return pos


def _locate(payload: bytes, flags: i64, flag: i64) -> i64:
    """Give the offset where the property of ``flag`` stands, or would stand if it were present."""
    pos: i64 = _FIRST
    end: i64 = len(payload)
    bit: i64 = CONTENT_TYPE
    while bit > flag:
        if flags & bit:
            pos = _property_end(payload, pos, end, bit)
        bit >>= 1
    return pos


def _read_flags(payload: bytes) -> i64:
    if len(payload) < _FIRST:
        raise MalformedContent("a content header is shorter than its fixed part")
    return payload[_FLAGS] << 8 | payload[_FLAGS + 1]


def _join(payload: bytes, flags: i64, start: i64, raw: bytes, end: i64) -> bytes:
    return payload[:_FLAGS] + bytes([flags >> 8, flags & 0xFF]) + payload[_FIRST:start] + raw + payload[end:]


def with_property(payload: bytes, flag: i64, raw: bytes) -> bytes:
    """Set one property; the others stay byte for byte.

    Args:
        payload: a content header's payload that :func:`parse_properties` accepts.
        flag: which property, ``REPLY_TO`` and its like.
        raw: the property's wire form, lengths included.

    Raises:
        MalformedContent: a property before the one to change is cut short.
    """
    flags = _read_flags(payload)
    start = _locate(payload, flags, flag)
    end = _property_end(payload, start, len(payload), flag) if flags & flag else start
    return _join(payload, flags | flag, start, raw, end)


def without_property(payload: bytes, flag: i64) -> bytes:
    """Remove one property; the same object if it is absent.

    Raises:
        MalformedContent: a property up to the one to remove is cut short.
    """
    flags = _read_flags(payload)
    if flags & flag == 0:
        return payload
    start = _locate(payload, flags, flag)
    return _join(payload, flags & ~flag, start, b"", _property_end(payload, start, len(payload), flag))


def without_expiration(payload: bytes) -> bytes:
    """Remove the expiration; the same object if it is absent.  Errors as :func:`without_property`."""
    return without_property(payload, EXPIRATION)


def with_reply_to(payload: bytes, value: bytes) -> bytes:
    """Set reply-to to ``value``, at most 255 octets.  Errors as :func:`with_property`."""
    return with_property(payload, REPLY_TO, _short_string(value))


def with_header(payload: bytes, key: bytes, raw_value: bytes) -> bytes:
    """Set one header, adding the header table if there is none; all else stays byte for byte.

    Args:
        payload: a content header's payload that :func:`parse_properties` accepts.
        key: at most 255 octets.
        raw_value: type octet and value, as ``encode_value`` makes it.

    Raises:
        MalformedContent: a property up to the headers is cut short, or the key is too long.
    """
    table = set_entry(_raw_headers(payload), key, raw_value)
    return with_property(payload, HEADERS, len(table).to_bytes(4, "big") + table)


def with_entry(payload: bytes, entry: bytes) -> bytes:
    """Put an entry behind the others of the header table, adding the table if there is none, in one go.

    Args:
        payload: a content header's payload that :func:`parse_properties` accepts.
        entry: key and value as they stand in a field table; its key must not be there yet.

    Raises:
        MalformedContent: a property up to the headers is cut short.
    """
    flags = _read_flags(payload)
    start = _locate(payload, flags, HEADERS)
    entries: i64 = start
    end: i64 = start
    if flags & HEADERS != 0:
        entries = start + 4
        end = _property_end(payload, start, len(payload), HEADERS)
    flags |= HEADERS
    w = BytesWriter()
    w.write(payload[:_FLAGS])
    w.append(u8(flags >> 8))
    w.append(u8(flags & 0xFF))
    w.write(payload[_FIRST:start])
    write_i32_be(w, i32(end - entries + len(entry)))
    w.write(payload[entries:end])
    w.write(entry)
    w.write(payload[end:])
    return w.getvalue()


def without_headers(payload: bytes, keys: list[bytes]) -> bytes:
    """Remove headers by key; the same object if none of them is there.  An emptied table stays.

    Raises:
        MalformedContent: a property up to the headers is cut short.
    """
    before = _raw_headers(payload)
    table = before
    for key in keys:
        table = remove_entry(table, key)
    if table is before:
        return payload
    return with_property(payload, HEADERS, len(table).to_bytes(4, "big") + table)


def _raw_headers(payload: bytes) -> bytes:
    flags = _read_flags(payload)
    if flags & HEADERS == 0:
        return b""
    start = _locate(payload, flags, HEADERS)
    return payload[start + 4 : _property_end(payload, start, len(payload), HEADERS)]


def _short_string(value: bytes) -> bytes:
    if len(value) > 255:
        raise MalformedContent("a short string is longer than 255 octets")
    return bytes([len(value)]) + value


def build_header(
    body_size: int,
    *,
    content_type: str | None = None,
    content_encoding: str | None = None,
    headers: Table | None = None,
    delivery_mode: int | None = None,
    priority: int | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    expiration: str | None = None,
    message_id: str | None = None,
    timestamp: int | None = None,
    type: str | None = None,
    user_id: str | None = None,
    app_id: str | None = None,
    cluster_id: str | None = None,
) -> bytes:
    """Build a content header's payload for a message of the broker's own.

    Args:
        body_size: octets of the body.
        timestamp: seconds since 1970.
        headers, content_type and the rest: as named; None means absent.

    Raises:
        MalformedContent: a string over 255 octets, a number out of range, or headers without a wire form.
    """
    flags = 0
    out = BytesWriter()
    for flag, value in (
        (CONTENT_TYPE, content_type),
        (CONTENT_ENCODING, content_encoding),
        (HEADERS, headers),
        (DELIVERY_MODE, delivery_mode),
        (PRIORITY, priority),
        (CORRELATION_ID, correlation_id),
        (REPLY_TO, reply_to),
        (EXPIRATION, expiration),
        (MESSAGE_ID, message_id),
        (TIMESTAMP, timestamp),
        (TYPE, type),
        (USER_ID, user_id),
        (APP_ID, app_id),
        (CLUSTER_ID, cluster_id),
    ):
        if value is not None:
            flags |= flag
            out.write(_encode_property(flag, value))
    if not 0 <= body_size < 1 << 63:
        raise MalformedContent("a body size is out of range")
    start = (CLASS_BASIC << 16).to_bytes(4, "big") + body_size.to_bytes(8, "big") + flags.to_bytes(2, "big")
    return start + out.getvalue()


def _encode_property(flag: int, value: object) -> bytes:
    if isinstance(value, str):
        try:
            return _short_string(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise MalformedContent("a string cannot be written in UTF-8") from None
    if isinstance(value, dict):
        return encode_table(value)
    size = 8 if flag == TIMESTAMP else 1
    if not isinstance(value, int) or not 0 <= value < 1 << (8 * size):
        raise MalformedContent("a property of a message is out of range")
    return value.to_bytes(size, "big")
