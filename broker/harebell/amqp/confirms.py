"""Publisher confirms of one channel: in order, coalesced, nothing before it is durable.

``basic.ack`` and ``basic.nack`` from the broker: delivery tag (long long) and an octet whose lowest bit
is ``multiple``.  A batch is confirmed up to the highest sequence number whose lsn is durable; a refused
message splits the batch.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be
from mypy_extensions import i16, i64

from harebell.amqp.constants import BASIC_ACK, BASIC_NACK, FRAME_END
from harebell.amqp.outbox import Outbox
from harebell.histograms import Durations
from harebell.ports import Clock

REFUSED: Final = -1


class Confirms:
    """The confirms one channel owes.

    Attributes:
        active: True after ``confirm.select``.
        queued: True while the connection has the channel listed for this turn.
        published: messages counted.
        confirmed: messages confirmed, not counting those refused.

    Args:
        clock: the engine's time.
        waits: counts how long publishers waited for confirms.
    """

    def __init__(self, clock: Clock, waits: Durations) -> None:
        self._clock = clock
        self._waits = waits
        self.confirmed: i64 = 0
        self.active: bool = False
        self.queued: bool = False
        self.published: i64 = 0
        self._sent: i64 = 0
        self._lsn: i64 = 0
        self._marked: i64 = 0
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._refused: deque[int] = deque()

    def count(self, lsn: i64) -> None:
        """Give the next sequence number to a message whose confirm waits for ``lsn``.

        A negative lsn means that a queue refused the message.
        """
        self.published += 1
        if lsn > self._lsn:
            self._lsn = lsn
        elif lsn < 0:
            self._refused.append(self.published)

    def owed(self) -> i64:
        """Messages published and not yet confirmed."""
        return self.published - self._sent

    def awaited(self) -> i64:
        """Give the lsn that the confirm of everything published waits for; 0 if it waits for nothing."""
        return self._lsn

    def emit(self, out: Outbox, channel: i16, durable: i64) -> bool:
        """Send what may be confirmed now; True if something still waits for the journal.

        Args:
            out: where to write.
            channel: the channel's number on the wire.
            durable: the highest lsn on stable storage.
        """
        waiting = self._waiting
        now: i64 = self._clock.now
        if self._lsn <= durable:
            counted: i64 = self._sent
            for _, last, since in waiting:
                self._waits.add(now - since, last - counted)
                counted = last
            self._waits.add(0, self.published - counted)
            waiting.clear()
            self._send_up_to(out, channel, self.published)
            return False
        if self.published > self._marked:
            self._marked = self.published
            waiting.append((self._lsn, self.published, now))
        while waiting and waiting[0][0] <= durable:
            batch = waiting.popleft()
            self._waits.add(now - batch[2], batch[1] - self._sent)
            self._send_up_to(out, channel, batch[1])
        return len(waiting) > 0

    def _send_up_to(self, out: Outbox, channel: i16, last: i64) -> None:
        while self._refused and self._refused[0] <= last:
            refused: i64 = self._refused.popleft()
            self._answer(out, channel, BASIC_ACK, refused - 1)
            self._answer(out, channel, BASIC_NACK, refused)
        self._answer(out, channel, BASIC_ACK, last)

    def _answer(self, out: Outbox, channel: i16, method: int, last: i64) -> None:
        covered: i64 = last - self._sent
        if covered <= 0:
            return
        w: BytesWriter = out.writer
        w.append(1)
        write_i16_be(w, channel)
        write_i32_be(w, 13)
        write_i32_be(w, BASIC_NACK if method == BASIC_NACK else BASIC_ACK)
        write_i64_be(w, last)
        w.append(1 if covered > 1 else 0)
        w.append(FRAME_END)
        self._sent = last
        if method == BASIC_ACK:
            self.confirmed += covered
        out.written()
