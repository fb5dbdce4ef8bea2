"""Numbers of AMQP 0-9-1: frame types, and ids of the methods our own code reads or writes.

Class and method ids are combined as ``class << 16 | method``, the first four octets of a method frame.
Methods that do not run per message are decoded and encoded by pamqp.
"""

from __future__ import annotations

from typing import Final

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
OLD_PROTOCOL_HEADER: Final = b"AMQP\x01\x01\x00\x09"

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_END: Final = 0xCE
FRAME_OVERHEAD: Final = 8
"""Octets of a frame around its payload: type, channel, size, end."""

FRAME_MIN: Final = 4096
"""The smallest maximum a peer may ask for (AMQP 0-9-1 section 4.2.3)."""

HANDSHAKE_FRAME_MAX: Final = 8192
"""The largest frame taken before tuning; room for a token in ``start-ok``."""

FRAME_TOLERANCE: Final = 8
"""A frame may exceed the negotiated maximum by this much, as RabbitMQ allows."""

HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

BASIC_CONSUME_OK: Final = 0x003C0015
BASIC_CANCEL: Final = 0x003C001E
BASIC_CANCEL_OK: Final = 0x003C001F
BASIC_PUBLISH: Final = 0x003C0028
BASIC_RETURN: Final = 0x003C0032
BASIC_DELIVER: Final = 0x003C003C
BASIC_GET_OK: Final = 0x003C0047
BASIC_ACK: Final = 0x003C0050
BASIC_REJECT: Final = 0x003C005A
BASIC_NACK: Final = 0x003C0078
QUEUE_DECLARE_OK: Final = 0x0032000B
CHANNEL_CLOSE: Final = 0x00140028
CHANNEL_CLOSE_OK: Final = 0x00140029
CONNECTION_CLOSE: Final = 0x000A0032
CONNECTION_CLOSE_OK: Final = 0x000A0033

CLASS_CONNECTION: Final = 10
CLASS_BASIC: Final = 60
