"""Field tables in their wire form: check, decode, encode, and change one entry of one.

A table (AMQP 0-9-1 section 4.2.5.5) is a four-octet length and that many octets of entries::

    | length u32 | entry | entry | ...

    entry   | key length u8 | key, UTF-8 | type u8 | value |

    type  value                          type  value
    t     boolean, one octet             S     length u32, text
    b B   i8, u8                         x     length u32, octets
    s u   i16, u16                       A     length u32, type and value, type and value, ...
    I i   i32, u32                       F     length u32, entries
    l L   i64, i64                       T     seconds since 1970, u64
    f d   float, double                  D     scale u8, digits u32
    V     nothing

All numbers are big-endian.  The letters are read as RabbitMQ reads them (its "AMQP 0-9-1 errata"):
``s`` is a signed 16-bit number and ``l`` a signed 64-bit one, whatever the specification says.

Offsets in this module bound a table's *content*: the entries without the length before them.
Tables nest at most :data:`MAX_DEPTH` deep.  Whatever the bytes, the only error is
:class:`~harebell.errors.MalformedContent`.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Final, cast

from librt.strings import (
    BytesWriter,
    read_f32_be,
    read_f64_be,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_f64_be,
    write_i64_be,
)
from mypy_extensions import i64, mypyc_attr

from harebell.errors import MalformedContent

Table = dict[str, object]

MAX_DEPTH: Final = 64

_ARRAY: Final = 0x41  # A
_DECIMAL: Final = 0x44  # D
_TABLE: Final = 0x46  # F
_INT32: Final = 0x49  # I
_UINT32: Final = 0x69  # i
_INT64: Final = 0x6C  # l
_LONG: Final = 0x4C  # L
_TEXT: Final = 0x53  # S
_TIMESTAMP: Final = 0x54  # T
_VOID: Final = 0x56  # V
_INT8: Final = 0x62  # b
_DOUBLE: Final = 0x64  # d
_FLOAT: Final = 0x66  # f
_INT16: Final = 0x73  # s
_BOOLEAN: Final = 0x74  # t
_UINT16: Final = 0x75  # u
_OCTETS: Final = 0x78  # x

_UNKNOWN: Final = 255
_LENGTH_FIRST: Final = 254
_NESTED: Final = 253

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND: Final = datetime.timedelta(seconds=1)


def _value_sizes() -> bytes:
    """Lay out the number of octets after each type octet, or one of the three marks above."""
    sizes = bytearray([_UNKNOWN]) * 256
    for kinds, size in ((b"V", 0), (b"tbB", 1), (b"su", 2), (b"Iif", 4), (b"D", 5), (b"lLdT", 8)):
        for kind in kinds:
            sizes[kind] = size
    for kind in b"Sx":
        sizes[kind] = _LENGTH_FIRST
    for kind in b"AF":
        sizes[kind] = _NESTED
    return bytes(sizes)


_SIZES: Final = _value_sizes()


@mypyc_attr(native_class=False)
class Timestamp(int):
    """A point in time in whole seconds since 1970, UTC: what a field of type ``T`` decodes to."""


def validate_table(data: bytes, start: i64, end: i64) -> None:
    """Check the structure of the table content ``data[start:end]`` without decoding it.

    Raises:
        MalformedContent: a length leads out of its container, a type is unknown, or tables nest too deep.
    """
    if start < 0 or start > end or end > len(data):
        raise MalformedContent("a field table is longer than what holds it")
    _validate(data, start, end, True, 1)


def _validate(data: bytes, start: i64, end: i64, keyed: bool, depth: i64) -> None:
    if depth > MAX_DEPTH:
        raise MalformedContent("field tables are nested too deep")
    pos: i64 = start
    while pos < end:
        if keyed:
            pos += 1 + data[pos]
            if pos >= end:
                raise MalformedContent("a field table ends inside an entry")
        kind: i64 = data[pos]
        size: i64 = _SIZES[kind]
        pos += 1
        if size >= _NESTED:
            if size == _UNKNOWN:
                raise MalformedContent("unknown type of a field value: " + str(int(kind)))
            if end - pos < 4:
                raise MalformedContent("a field table ends inside a length")
            nested = size == _NESTED
            length: int = read_i32_be(data, pos)
            size = length
            pos += 4
            if size < 0 or size > end - pos:
                raise MalformedContent("a field value is longer than its table")
            if nested:
                _validate(data, pos, pos + size, kind == _TABLE, depth + 1)
        pos += size
    if pos != end:
        raise MalformedContent("a field table ends inside a value")


def value_end(data: bytes, start: i64, end: i64) -> i64:
    """Give the offset after the value whose type octet is at ``start``, looking no deeper.

    Raises:
        MalformedContent: the type is unknown or the value does not end at or before ``end``.
    """
    if start < 0 or start >= end or end > len(data):
        raise MalformedContent("a field table ends inside an entry")
    size: i64 = _SIZES[data[start]]
    pos: i64 = start + 1
    if size >= _NESTED:
        if size == _UNKNOWN:
            raise MalformedContent("unknown type of a field value: " + str(data[start]))
        if end - pos < 4:
            raise MalformedContent("a field table ends inside a length")
        length: int = read_i32_be(data, pos)
        size = length
        pos += 4
    if size < 0 or size > end - pos:
        raise MalformedContent("a field value is longer than its table")
    return pos + size


def decode_table(data: bytes, start: i64, end: i64) -> Table:
    """Decode the table content ``data[start:end]``.

    Of a key that comes twice the last one counts.  Text that is not UTF-8 keeps its octets as
    surrogate escapes, which :func:`encode_table` turns back.

    Raises:
        MalformedContent: as :func:`validate_table`.
    """
    validate_table(data, start, end)
    return decode_valid_table(data, start, end)


def decode_valid_table(data: bytes, start: i64, end: i64) -> Table:
    """Decode table content that :func:`validate_table` has passed already."""
    table: Table = {}
    pos: i64 = start
    while pos < end:
        key_end: i64 = pos + 1 + data[pos]
        key = data[pos + 1 : key_end].decode("utf-8", "surrogateescape")
        table[key] = decode_value(data, key_end)
        pos = value_end(data, key_end, end)
    return table


def _decode_array(data: bytes, start: i64, end: i64) -> list[object]:
    array: list[object] = []
    pos: i64 = start
    while pos < end:
        array.append(decode_value(data, pos))
        pos = value_end(data, pos, end)
    return array


def decode_value(data: bytes, start: i64) -> object:
    """Decode the value whose type octet is at ``start``; :func:`validate_table` has passed it already."""
    kind: i64 = data[start]
    pos: i64 = start + 1
    if kind in (_TEXT, _OCTETS, _TABLE, _ARRAY):
        length: int = read_i32_be(data, pos)
        pos += 4
        end: i64 = pos + length
        if kind == _TEXT:
            return data[pos:end].decode("utf-8", "surrogateescape")
        if kind == _OCTETS:
            return data[pos:end]
        if kind == _TABLE:
            return decode_valid_table(data, pos, end)
        return _decode_array(data, pos, end)
    if kind == _BOOLEAN:
        return data[pos] != 0
    if kind == _VOID:
        return None
    if kind == _FLOAT:
        return read_f32_be(data, pos)
    if kind == _DOUBLE:
        return read_f64_be(data, pos)
    number = _decode_integer(data, pos, kind)
    if kind == _TIMESTAMP:
        return Timestamp(number)
    if kind == _DECIMAL:
        digits = tuple([int(digit) for digit in str(number)])
        return Decimal((0, digits, -data[pos]))
    return number


def _decode_integer(data: bytes, pos: i64, kind: i64) -> int:
    value: int
    if kind in (_INT32, _UINT32):
        value = read_i32_be(data, pos)
        if kind == _UINT32 and value < 0:
            value += 1 << 32
    elif kind in (_INT64, _LONG, _TIMESTAMP):
        value = read_i64_be(data, pos)
        if kind == _TIMESTAMP and value < 0:
            value += 1 << 64
    elif kind in (_INT16, _UINT16):
        value = read_i16_be(data, pos)
        if kind == _UINT16 and value < 0:
            value += 1 << 16
    elif kind == _DECIMAL:
        value = read_i32_be(data, pos + 1)
        if value < 0:
            value += 1 << 32
    else:
        value = data[pos]
        if kind == _INT8 and value > 127:
            value -= 256
    return value


def encode_table(table: Table) -> bytes:
    """Encode a table, the four-octet length included.

    Integers become ``I`` or ``l``, str ``S``, bytes ``x``, bool ``t``, None ``V``, float ``d``, dict
    ``F``, list and tuple ``A``, :class:`Timestamp` and datetime (naive means UTC) ``T``, Decimal ``D``.

    Raises:
        MalformedContent: a value has no wire form, a key is over 255 octets, or tables nest too deep.
    """
    return _with_length(_encode_entries(cast(dict[object, object], table), 1))


def encode_value(value: object) -> bytes:
    """Encode one value as it stands in a table: its type octet, then the value.

    Raises:
        MalformedContent: as :func:`encode_table`.
    """
    out = BytesWriter()
    _encode_value(out, value, 1)
    return out.getvalue()


def _with_length(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _encode_entries(table: dict[object, object], depth: i64) -> bytes:
    if depth > MAX_DEPTH:
        raise MalformedContent("field tables are nested too deep")
    out = BytesWriter()
    for name, value in table.items():
        key = _encode_text(name)
        if len(key) > 255:
            raise MalformedContent("a key of a field table is longer than 255 octets")
        out.append(len(key))
        out.write(key)
        _encode_value(out, value, depth)
    return out.getvalue()


def _encode_text(text: object) -> bytes:
    if not isinstance(text, str):
        raise MalformedContent("a key of a field table is not a string")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise MalformedContent("a string cannot be written in UTF-8") from None


def _encode_value(out: BytesWriter, value: object, depth: i64) -> None:
    if isinstance(value, str):
        out.append(_TEXT)
        out.write(_with_length(_encode_text(value)))
    elif value is None:
        out.append(_VOID)
    elif isinstance(value, bool):
        out.append(_BOOLEAN)
        out.append(1 if value else 0)
    elif isinstance(value, Timestamp):
        _encode_timestamp(out, value)
    elif isinstance(value, int):
        _encode_integer(out, value)
    elif isinstance(value, float):
        out.append(_DOUBLE)
        write_f64_be(out, value)
    elif isinstance(value, (bytes, bytearray)):
        out.append(_OCTETS)
        out.write(_with_length(bytes(value)))
    elif isinstance(value, dict):
        out.append(_TABLE)
        out.write(_with_length(_encode_entries(value, depth + 1)))
    elif isinstance(value, (list, tuple)):
        if depth >= MAX_DEPTH:
            raise MalformedContent("field tables are nested too deep")
        array = BytesWriter()
        for item in value:
            _encode_value(array, item, depth + 1)
        out.append(_ARRAY)
        out.write(_with_length(array.getvalue()))
    elif isinstance(value, Decimal):
        _encode_decimal(out, value)
    elif isinstance(value, datetime.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        _encode_timestamp(out, (aware - _EPOCH) // _SECOND)
    else:
        raise MalformedContent("a field table cannot hold a value of type " + type(value).__name__)


def _encode_integer(out: BytesWriter, value: int) -> None:
    if -0x8000_0000 <= value < 0x8000_0000:
        out.append(_INT32)
        out.write((value & 0xFFFF_FFFF).to_bytes(4, "big"))
    elif -(1 << 63) <= value < 1 << 63:
        out.append(_INT64)
        write_i64_be(out, value)
    else:
        raise MalformedContent("an integer in a field table is wider than 64 bits")


def _encode_timestamp(out: BytesWriter, seconds: int) -> None:
    if not 0 <= seconds < 1 << 64:
        raise MalformedContent("a timestamp in a field table is out of range")
    out.append(_TIMESTAMP)
    out.write(int(seconds).to_bytes(8, "big"))


def _encode_decimal(out: BytesWriter, value: Decimal) -> None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or sign or exponent < -255 or exponent > 9:
        raise MalformedContent("a decimal in a field table is out of range")
    number = 0
    for digit in digits:
        number = number * 10 + digit
        if number >= 1 << 32:
            break
    if exponent > 0:
        number *= 10**exponent
        exponent = 0
    if number >= 1 << 32:
        raise MalformedContent("a decimal in a field table is out of range")
    out.append(_DECIMAL)
    out.append(-exponent)
    out.write(number.to_bytes(4, "big"))


def find_in_table(data: bytes, at: i64, end: i64, key: bytes) -> tuple[i64, i64]:
    """Find a key in the table content ``data[at:end]``, without a slice.

    Of a key that comes twice the last one is given, as :func:`decode_table` has it.

    Returns:
        Where the entry, its key first, begins and ends; -1 twice if there is none.

    Raises:
        MalformedContent: the content is cut short or of an unknown type on its top level.
    """
    found: i64 = -1
    found_end: i64 = -1
    size: i64 = len(key)
    while at < end:
        value: i64 = at + 1 + data[at]
        after = value_end(data, value, end)
        if value - at - 1 == size and data[at + 1 : value] == key:
            found = at
            found_end = after
        at = after
    return found, found_end


def find_entry(table: bytes, key: bytes) -> tuple[int, int] | None:
    """Find a key in table content and give the offsets of its value, type octet included.

    Raises:
        MalformedContent: as :func:`find_in_table`.
    """
    found, found_end = find_in_table(table, 0, len(table), key)
    if found < 0:
        return None
    return found + 1 + len(key), found_end


def set_entry(table: bytes, key: bytes, raw_value: bytes) -> bytes:
    """Put an entry into table content; every other entry stays byte for byte where it was.

    Args:
        table: the content, without the length before it.
        key: the key, at most 255 octets; if it is there its value is replaced, else it goes last.
        raw_value: type octet and value, as :func:`encode_value` makes it.

    Raises:
        MalformedContent: as :func:`find_entry`, or the key is too long.
    """
    if len(key) > 255:
        raise MalformedContent("a key of a field table is longer than 255 octets")
    found = find_entry(table, key)
    if found is None:
        return table + bytes([len(key)]) + key + raw_value
    return table[: found[0]] + raw_value + table[found[1] :]


def remove_entry(table: bytes, key: bytes) -> bytes:
    """Remove every entry of this key from table content; the same object if there is none.

    Raises:
        MalformedContent: as :func:`find_entry`.
    """
    kept: list[bytes] = []
    copied: i64 = 0
    pos: i64 = 0
    end: i64 = len(table)
    size: i64 = len(key)
    while pos < end:
        value: i64 = pos + 1 + table[pos]
        after = value_end(table, value, end)
        if value - pos - 1 == size and table[pos + 1 : value] == key:
            kept.append(table[copied:pos])
            copied = after
        pos = after
    if copied == 0:
        return table
    kept.append(table[copied:])
    return b"".join(kept)
