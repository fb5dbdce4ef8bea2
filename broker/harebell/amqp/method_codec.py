"""Methods that do not run per message: pamqp's classes are the tables, the octets are read strictly here.

pamqp says which arguments a method has and of which type.  Its own decoding cuts strings short instead of
refusing them, recurses into nested tables, and its encoding refuses names that RabbitMQ allows
(``a*b``, ``it's``); so the arguments themselves are read and written by this module and
``content.table``.  Tests hold both against pamqp.
"""

from __future__ import annotations

from typing import Any, Final

from pamqp import base, commands

from harebell.amqp.delivery import shortstr
from harebell.content.table import decode_table, encode_table, validate_table
from harebell.errors import COMMAND_INVALID, FRAME_ERROR, BrokerError, MalformedContent

Spec = tuple[tuple[str, str], ...]


def _spec(method: type[base.Frame]) -> Spec:
    return tuple((name, method.amqp_type(name)) for name in method.__slots__)


METHODS: Final[dict[int, type[base.Frame]]] = dict(commands.INDEX_MAPPING)
SPECS: Final[dict[int, Spec]] = {number: _spec(method) for number, method in METHODS.items()}
_SIZES: Final = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}


def decode(method: int, payload: bytes) -> Any:
    """Decode a method frame's payload into pamqp's object for it.

    Args:
        method: class id << 16 | method id.
        payload: the whole payload, ids included.

    Raises:
        BrokerError: COMMAND_INVALID for an unknown method, FRAME_ERROR for arguments that do not add up
            (RabbitMQ answers both this way).
    """
    method_class = METHODS.get(method)
    if method_class is None:
        raise BrokerError(COMMAND_INVALID, f"unknown method {method >> 16}.{method & 0xFFFF}")
    frame = method_class.__new__(method_class)  # the constructor of a deprecated method warns
    try:
        _read(frame, SPECS[method], payload)
    except (MalformedContent, IndexError) as error:
        raise BrokerError(FRAME_ERROR, f"cannot decode the arguments of {method_class.name}") from error
    return frame


def _read(frame: base.Frame, spec: Spec, payload: bytes) -> None:
    offset, bit, size = 4, 0, len(payload)
    for name, kind in spec:
        if kind == "bit":
            if bit == 8:
                offset, bit = offset + 1, 0
            setattr(frame, name, bool(payload[offset] >> bit & 1))
            bit += 1
            continue
        if bit:
            offset, bit = offset + 1, 0
        width = _SIZES.get(kind)
        if width is not None:
            end = offset + width
            value: object = int.from_bytes(payload[offset:end], "big")
        else:
            prefix = 1 if kind == "shortstr" else 4
            start = offset + prefix
            end = start + int.from_bytes(payload[offset:start], "big")
            if start > size:
                raise IndexError
            if end <= size:
                value = _variable(kind, payload, start, end)
        if end > size:
            raise IndexError
        setattr(frame, name, value)
        offset = end
    if bit:
        offset += 1
    if offset != size:
        raise IndexError


def _variable(kind: str, payload: bytes, start: int, end: int) -> object:
    if kind == "table":
        validate_table(payload, start, end)
        return decode_table(payload, start, end)
    if kind == "longstr":
        return payload[start:end]
    return payload[start:end].decode("utf-8", "surrogateescape")


def encode(method: type[base.Frame], **arguments: object) -> bytes:
    """Encode a method's payload, ids included; what is not given is zero, false or empty.

    Raises:
        ValueError: if a short string is too long; names are bounded when they come in.
    """
    parts = [method.index.to_bytes(4, "big")]
    bits, bit = 0, 0
    for name, kind in SPECS[method.index]:
        value = arguments.get(name)
        if kind == "bit":
            bits |= bool(value) << bit
            bit += 1
            continue
        if bit:
            parts.append(bytes([bits]))
            bits, bit = 0, 0
        parts.append(_encoded(kind, value))
    if bit:
        parts.append(bytes([bits]))
    return b"".join(parts)


def _encoded(kind: str, value: object) -> bytes:
    width = _SIZES.get(kind)
    if width is not None:
        return (value if isinstance(value, int) else 0).to_bytes(width, "big")
    if kind == "table":
        return encode_table(value if isinstance(value, dict) else {})
    if kind == "longstr":
        raw = value if isinstance(value, bytes) else str(value or "").encode()
        return len(raw).to_bytes(4, "big") + raw
    return shortstr(value if isinstance(value, str) else "")
