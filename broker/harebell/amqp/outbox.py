"""Bytes on their way to one client: frames gather here and leave in one write a turn.

A frame (AMQP 0-9-1 section 4.2.3)::

    0      1         3             7                  size+7
    +------+---------+-------------+  +------------+  +-----------+
    | type | channel |     size    |  |  payload   |  | end 0xCE  |
    +------+---------+-------------+  +------------+  +-----------+
     octet    short       long         size octets        octet
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i16_be, write_i32_be
from mypy_extensions import i16, i32, i64

from harebell.amqp.constants import FRAME_END, FRAME_OVERHEAD
from harebell.engine.consumers import Outlet

HIGH_WATER: Final = 1024 * 1024
"""Bytes gathered in one turn after which no more is delivered until they are written."""

LARGE_BODY: Final = 16 * 1024
"""Body frames from this size on are passed on as they are instead of being copied into the writer."""

UNLIMITED: Final = 0x7FFFFFF0


class OutboxSet:
    """The outboxes that gathered something this turn."""

    def __init__(self) -> None:
        self.dirty: list[Outbox] = []


class Outbox(Outlet):
    """The frames for one client.

    Attributes:
        writer: frames not yet taken; hot code writes here and then calls ``written``.
        body_max: largest body payload of one frame towards this client, bytes.
        full: True if the turn's high-water mark was hit; deliveries stop until the next turn.
        owner: what writes the frames to a socket; not used here.
        writable: False while the socket's own buffer is above its mark.
        sent_octets, sent_chunks: taken so far, and in how many goes.
    """

    def __init__(self, outboxes: OutboxSet, owner: object = None) -> None:
        super().__init__()
        self.owner = owner
        self.writer = BytesWriter()
        self.body_max: i64 = 4096 - FRAME_OVERHEAD
        self.full: bool = False
        self.writable: bool = True
        self.sent_octets: i64 = 0
        self.sent_chunks: i64 = 0
        self._outboxes = outboxes
        self._chunks: list[bytes] = []
        self._chunk_bytes: i64 = 0
        self._dirty: bool = False

    def set_frame_max(self, frame_max: i64) -> None:
        """Apply the negotiated maximum frame size; 0 is unlimited."""
        self.body_max = (frame_max if frame_max > 0 else UNLIMITED) - FRAME_OVERHEAD

    def written(self) -> None:
        """Note that something was written, and stop deliveries if it is much."""
        if not self._dirty:
            self._dirty = True
            self._outboxes.dirty.append(self)
        if len(self.writer) + self._chunk_bytes > HIGH_WATER:
            self.full = True
            self.open = False

    def raw(self, data: bytes) -> None:
        """Send bytes that are no frame (the protocol header) or a frame already built."""
        self.writer.write(data)
        self.written()

    def method(self, channel: i16, payload: bytes) -> None:
        """Send one method frame; ``payload`` starts with class and method id."""
        w = self.writer
        w.append(1)
        write_i16_be(w, channel)
        write_i32_be(w, i32(len(payload)))
        w.write(payload)
        w.append(FRAME_END)
        self.written()

    def content(self, channel: i16, header: bytes, body: bytes) -> None:
        """Send a content header and a body in as many frames as the peer's maximum asks for."""
        w = self.writer
        w.append(2)
        write_i16_be(w, channel)
        write_i32_be(w, i32(len(header)))
        w.write(header)
        w.append(FRAME_END)
        size: i64 = len(body)
        if size == 0:
            return
        if size <= self.body_max and size < LARGE_BODY:
            w.append(3)
            write_i16_be(w, channel)
            write_i32_be(w, i32(size))
            w.write(body)
            w.append(FRAME_END)
            return
        start: i64 = 0
        limit: i64 = self.body_max
        while start < size:
            end: i64 = min(size, start + limit)
            w = self.writer
            w.append(3)
            write_i16_be(w, channel)
            write_i32_be(w, i32(end - start))
            piece = body if start == 0 and end == size else body[start:end]
            if end - start >= LARGE_BODY:
                self._cut()
                self._chunks.append(piece)
                self._chunk_bytes += end - start
                w = self.writer
            else:
                w.write(piece)
            w.append(FRAME_END)
            start = end

    def _cut(self) -> None:
        data = self.writer.getvalue()
        self._chunks.append(data)
        self._chunk_bytes += len(data)
        self.writer.truncate(0)

    def pending(self) -> i64:
        """Bytes gathered and not yet taken."""
        return len(self.writer) + self._chunk_bytes

    def take(self) -> list[bytes]:
        """Give what was gathered, in order, and start afresh."""
        self._dirty = False
        self.sent_octets += len(self.writer) + self._chunk_bytes
        self.sent_chunks += 1
        chunks = self._chunks
        if len(self.writer) > 0:
            chunks.append(self.writer.getvalue())
            self.writer.truncate(0)
        if self._chunk_bytes > 0:
            self._chunk_bytes = 0
        self._chunks = []
        return chunks

    def reopen(self) -> bool:
        """Allow deliveries again if the socket takes them; True if they had been stopped."""
        if self.open or not self.writable:
            return False
        self.full = False
        self.open = True
        return True

    def pause(self) -> None:
        """The socket's buffer is full: no deliveries until ``reopen``."""
        self.writable = False
        self.open = False
