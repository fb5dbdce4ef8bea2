"""What arrives on one connection, in one pass over each chunk read. Compiled.

    octet 0   1        3           7            7 + size
          type channel   size        payload …    0xCE

Deliveries are counted, their time stamps read and their acks written here; confirms go to the
window; every other method is left in ``replies`` for the connection. A body stamped by this run
begins with its key (4 octets) and the time of the publish (8 octets, ns). In an ordered run, whose key is
``ORDERED_KEY`` for publishers and consumers of different runs alike, its number within the block of publishes
that share the time follows (4 octets).
"""

from typing import Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, read_i64_be, write_i64_be
from mypy_extensions import i64

from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.errors import FrameError
from harebell.perf.histogram import Histogram

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
FRAME_END: Final = 0xCE

BASIC_RETURN: Final = 0x003C0032
BASIC_DELIVER: Final = 0x003C003C
BASIC_ACK: Final = 0x003C0050
BASIC_NACK: Final = 0x003C0078

STAMP_OCTETS: Final = 12
"""Octets a stamp takes at the start of a body."""

ORDERED_OCTETS: Final = 16
"""Octets a stamp and a number take."""

ORDERED_KEY: Final = 0x68626C21
"""The key of every ordered run: what one run published, another one may consume."""

_ACK_FRAME_START: Final = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50"
_NACK_FRAME_START: Final = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x78"
_NO_CONTENT: Final = 0
_DELIVERED: Final = 1
_RETURNED: Final = 2


class Inbound:
    """Counts and answers the frames of one connection whose traffic is on channel 1.

    Args:
        frame_max: largest frame the server may send, in octets.
        run_key: the first four octets, as a signed number, of the bodies stamped by this run.
        ack_every: 0 to acknowledge nothing, 1 for each delivery on its own, n for every n-th with multiple.
        latency: takes the time from publish to receipt of stamped deliveries.
        window: the outstanding publishes of this connection, None without confirms.
        ordered: count the deliveries that are not younger than the one before, in ``out_of_order``.
        reject: answer with basic.nack, without requeue, in place of an ack.
    """

    def __init__(
        self,
        frame_max: int,
        run_key: int,
        ack_every: int,
        latency: Histogram,
        window: ConfirmWindow | None,
        ordered: bool = False,
        reject: bool = False,
    ) -> None:
        self.replies: list[tuple[int, bytes]] = []
        self.latency = latency
        self.window = window
        self.frame_max: i64 = frame_max
        self.received: i64 = 0
        self.received_octets: i64 = 0
        self.returned: i64 = 0
        self.out_of_order: i64 = 0
        self.last_delivery: i64 = 0
        self._run_key: i64 = run_key
        self._ack_every: i64 = ack_every
        self._ordered: bool = ordered
        self._answer: bytes = _NACK_FRAME_START if reject else _ACK_FRAME_START
        self._latest_sent: i64 = 0
        self._latest_number: i64 = -1
        self._unacked: i64 = 0
        self._acks = BytesWriter()
        self._tail: bytes = b""
        self._content: i64 = _NO_CONTENT
        self._awaits_header: bool = False
        self._at_start: bool = False
        self._left: i64 = 0
        self._delivery_tag: i64 = 0
        self._run_sent: i64 = 0
        self._run_length: i64 = 0

    def feed(self, data: bytes, now: i64) -> bytes:
        """Take what the socket gave at ``now`` (ns) and return the acks to write, often none.

        Raises FrameError when the bytes are not frames, or a frame is longer than ``frame_max``.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        offset: i64 = 0
        length: i64 = len(data)
        before: i64 = self.received
        while length - offset >= 8:
            size: i64 = i64(read_i32_be(data, offset + 3))
            if size < 0 or size > self.frame_max - 8:
                raise FrameError("the server sent a frame that is too large, or no AMQP 0-9-1 frame at all")
            start: i64 = offset + 7
            end: i64 = start + size
            if end >= length:
                break
            if data[end] != FRAME_END:
                raise FrameError("the server sent a frame without its end octet")
            frame_type: i64 = data[offset]
            if frame_type == FRAME_BODY:
                self._body(data, start, size, now)
            elif frame_type == FRAME_HEADER:
                self._header(data, start, size)
            elif frame_type == FRAME_METHOD:
                self._method(data, offset, start, size, now)
            elif frame_type != FRAME_HEARTBEAT:
                raise FrameError("the server sent a frame of unknown type")
            offset = end + 1
        if offset < length:
            self._tail = data[offset:]
        if self.received != before:
            self.last_delivery = now
            self._record_run(now)
        if len(self._acks) == 0:
            return b""
        acks = self._acks.getvalue()
        self._acks = BytesWriter()
        return acks

    def take_last_ack(self) -> bytes:
        """Return one ack for everything delivered and not yet acknowledged, empty when nothing is."""
        if self._unacked == 0:
            return b""
        self._write_ack(1)
        acks = self._acks.getvalue()
        self._acks = BytesWriter()
        return acks

    def _method(self, data: bytes, offset: i64, start: i64, size: i64, now: i64) -> None:
        if size < 4:
            raise FrameError("the server sent a method frame without a method")
        method: i64 = i64(read_i32_be(data, start))
        if method == BASIC_DELIVER:
            tag_at: i64 = start + 5 + i64(data[start + 4])
            if tag_at + 8 > start + size:
                raise FrameError("the server sent a basic.deliver that is too short")
            self._delivery_tag = read_i64_be(data, tag_at)
            self._begin(_DELIVERED)
        elif method in (BASIC_ACK, BASIC_NACK):
            window = self.window
            if size < 13 or window is None:
                raise FrameError("the server sent a confirm that is too short or was not asked for")
            tag: i64 = read_i64_be(data, start + 4)
            window.settle(tag, (data[start + 12] & 1) == 1, method == BASIC_ACK, now)
        elif method == BASIC_RETURN:
            self._begin(_RETURNED)
        else:
            channel: i64 = i64(read_i16_be(data, offset + 1)) & 0xFFFF
            self.replies.append((channel, data[start : start + size]))

    def _begin(self, content: i64) -> None:
        if self._content != _NO_CONTENT:
            raise FrameError("the server began a message inside another one")
        self._content = content
        self._awaits_header = True

    def _header(self, data: bytes, start: i64, size: i64) -> None:
        if size < 14 or not self._awaits_header:
            raise FrameError("the server sent a content header that is too short or was not due")
        self._awaits_header = False
        self._at_start = True
        self._left = read_i64_be(data, start + 4)
        if self._left < 0:
            raise FrameError("the server sent a content header with an impossible size")
        if self._left == 0:
            if self._ordered and self._content == _DELIVERED:
                self.out_of_order += 1
            self._complete()

    def _body(self, data: bytes, start: i64, size: i64, now: i64) -> None:
        if self._awaits_header or self._content == _NO_CONTENT or size > self._left:
            raise FrameError("the server sent a body frame that was not due")
        if self._at_start:
            self._at_start = False
            stampable = size >= STAMP_OCTETS and self._content == _DELIVERED
            if stampable and i64(read_i32_be(data, start)) == self._run_key:
                self._stamp(read_i64_be(data, start + 4), now)
            if self._ordered and self._content == _DELIVERED:
                self._check_order(data, start, size)
        self._left -= size
        if self._content == _DELIVERED:
            self.received_octets += size
        if self._left == 0:
            self._complete()

    def _complete(self) -> None:
        if self._content == _RETURNED:
            self.returned += 1
        else:
            self.received += 1
            if self._ack_every:
                self._unacked += 1
                if self._unacked >= self._ack_every:
                    self._write_ack(0 if self._ack_every == 1 else 1)
        self._content = _NO_CONTENT

    def _write_ack(self, multiple: i64) -> None:
        acks = self._acks
        acks.write(self._answer)
        write_i64_be(acks, self._delivery_tag)
        acks.append(multiple)
        acks.append(FRAME_END)
        self._unacked = 0

    def _stamp(self, sent: i64, now: i64) -> None:
        if sent <= 0 or sent > now:
            return
        if sent != self._run_sent:
            self._record_run(now)
            self._run_sent = sent
        self._run_length += 1

    def _check_order(self, data: bytes, start: i64, size: i64) -> None:
        """Count what no ordered run published, a repeated message, and one that was overtaken."""
        if size < ORDERED_OCTETS or i64(read_i32_be(data, start)) != self._run_key:
            self.out_of_order += 1
            return
        sent: i64 = read_i64_be(data, start + 4)
        number: i64 = i64(read_i32_be(data, start + 12))
        if sent > self._latest_sent or (sent == self._latest_sent and number > self._latest_number):
            self._latest_sent = sent
            self._latest_number = number
        else:
            self.out_of_order += 1

    def _record_run(self, now: i64) -> None:
        """Record neighbours with one stamp, as a block of publishes has, as one entry."""
        if self._run_length:
            self.latency.record(now - self._run_sent, self._run_length)
            self._run_length = 0
