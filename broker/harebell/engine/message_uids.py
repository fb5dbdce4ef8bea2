"""Ids that the broker gives messages (``x-message-uid``): unique, and in the order in which they were given.

They have the form of UUIDs of version 7 (RFC 9562): 48 bits of unix milliseconds, 30 bits that count within a
millisecond, 44 bits drawn when the node started.  The clock is the engine's, so no message asks the system
for the time; if that goes back the ids go on from where they were.
"""

from __future__ import annotations

import secrets
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from harebell.content.properties import Properties, with_entry
from harebell.content.table import find_entry
from harebell.engine.arguments import MESSAGE_UID
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import Route

UID_KEY: Final = MESSAGE_UID.encode()

HEX: Final = b"0123456789abcdef"
DASH: Final = 45
LAST_COUNT: Final = (1 << 30) - 1
ENTRY_HEAD: Final = bytes([len(UID_KEY)]) + UID_KEY + b"S\x00\x00\x00\x24"
"""What an entry of a field table begins with: the key, then type and length of a text of 36 octets."""


class MessageUids:
    """Gives the ids of one node."""

    def __init__(self) -> None:
        self._wall: i64 = -1
        self._count: i64 = 0
        self._head: bytes = b""
        self._tail: bytes = secrets.token_hex(6)[:11].encode()

    def next(self, wall: i64) -> bytes:
        """Give an id as an entry of a header table.

        Args:
            wall: unix milliseconds.
        """
        if wall > self._wall or self._count == LAST_COUNT:
            self._wall = max(wall, self._wall + 1)
            self._count = 0
            digits = f"{int(self._wall) & 0xFFFF_FFFF_FFFF:012x}"
            self._head = ENTRY_HEAD + f"{digits[:8]}-{digits[8:]}-7".encode()
        else:
            self._count += 1
        count: i64 = self._count
        w = BytesWriter()
        w.write(self._head)
        w.append(HEX[(count >> 26) & 15])
        w.append(HEX[(count >> 22) & 15])
        w.append(HEX[(count >> 18) & 15])
        w.append(DASH)
        w.append(HEX[8 | (count >> 16) & 3])
        w.append(HEX[(count >> 12) & 15])
        w.append(HEX[(count >> 8) & 15])
        w.append(HEX[(count >> 4) & 15])
        w.append(DASH)
        w.append(HEX[count & 15])
        w.write(self._tail)
        return w.getvalue()


def asks_for_uid(route: Route, queues: list[Queue]) -> bool:
    """Tell whether messages of a route to some queues are to have an id (``x-message-uid``)."""
    exchange = route.exchange
    if exchange is not None and exchange.options is not None and exchange.options.message_uid:
        return True
    for queue in queues:  # noqa: SIM110 - a generator costs more, compiled
        if queue.options.message_uid:
            return True
    return False


def with_uid(properties: Properties, header: bytes, uids: MessageUids, wall: i64) -> bytes:
    """Give a message an id unless it has one.

    Args:
        properties: of the message.
        header: its content header as it is to be now.
        wall: unix milliseconds.
    """
    if properties.headers_start >= 0 and find_entry(properties.raw_headers(), UID_KEY) is not None:
        return header
    return with_entry(header, uids.next(wall))
