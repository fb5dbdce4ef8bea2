"""Methods that carry names, encoded by hand: pamqp refuses legal ones such as ``a|b`` or ``café``.

Every function returns the payload of a method frame (AMQP 0-9-1, chapter 1.3 of the reference).
"""

import struct
from collections.abc import Mapping

from pamqp import encode
from pamqp.common import FieldValue

from harebell.perf.errors import OptionError


def _name(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > 255:
        raise OptionError(f"the name {text[:40]!r}… is longer than 255 octets")
    return bytes((len(raw),)) + raw


def _table(arguments: Mapping[str, FieldValue]) -> bytes:
    return encode.field_table(dict(arguments))


def exchange_declare(
    exchange: str, exchange_type: str, *, passive: bool = False, durable: bool = False
) -> bytes:
    """Return exchange.declare, auto-delete, internal and no-wait off, without arguments."""
    bits = (1 if passive else 0) | (2 if durable else 0)
    names = _name(exchange) + _name(exchange_type)
    return struct.pack(">HHH", 40, 10, 0) + names + bytes((bits,)) + _table({})


def exchange_delete(exchange: str) -> bytes:
    """Return exchange.delete, unconditional."""
    return struct.pack(">HHH", 40, 20, 0) + _name(exchange) + b"\x00"


def queue_declare(
    queue: str, arguments: Mapping[str, FieldValue], *, passive: bool = False, durable: bool = False
) -> bytes:
    """Return queue.declare, exclusive, auto-delete and no-wait off."""
    bits = (1 if passive else 0) | (2 if durable else 0)
    return struct.pack(">HHH", 50, 10, 0) + _name(queue) + bytes((bits,)) + _table(arguments)


def queue_bind(queue: str, exchange: str, routing_key: str, arguments: Mapping[str, FieldValue]) -> bytes:
    """Return queue.bind."""
    names = _name(queue) + _name(exchange) + _name(routing_key)
    return struct.pack(">HHH", 50, 20, 0) + names + b"\x00" + _table(arguments)


def queue_delete(queue: str) -> bytes:
    """Return queue.delete, unconditional."""
    return struct.pack(">HHH", 50, 40, 0) + _name(queue) + b"\x00"


def basic_consume(queue: str, arguments: Mapping[str, FieldValue], *, no_ack: bool) -> bytes:
    """Return basic.consume with a consumer tag made by the server."""
    names = _name(queue) + _name("")
    return struct.pack(">HHH", 60, 20, 0) + names + bytes((2 if no_ack else 0,)) + _table(arguments)
