"""The publisher's side of confirms: what is outstanding, and when it was sent. Compiled.

A ring with one slot per sequence number holds the time of the publish, or ``_SETTLED``. Confirms
may come in any order (RabbitMQ promises none), one by one or with ``multiple``; the window moves
when its oldest slot is settled.
"""

from typing import Final

from mypy_extensions import i64

from harebell.perf.errors import FrameError
from harebell.perf.histogram import Histogram

_SETTLED: Final = -1


class ConfirmWindow:
    """At most ``size`` publishes beyond the oldest unconfirmed one.

    ``latency`` takes the time from publish to confirm of every message the server accepted.
    """

    def __init__(self, size: int, latency: Histogram) -> None:
        self.size: i64 = size
        self.latency = latency
        self.confirmed: int = 0
        self.nacked: int = 0
        self.last_settle: i64 = 0
        self._slots: list[int] = [_SETTLED] * size
        self._oldest: i64 = 1
        self._next: i64 = 1

    def room(self) -> int:
        """Return how many messages may be published now."""
        return self.size - (self._next - self._oldest)

    def publish(self, count: i64, now: int) -> None:
        """Note that the next ``count`` sequence numbers, at most ``room()``, left at ``now`` (ns)."""
        size = self.size
        slot: i64 = self._next % size
        slots = self._slots
        for _ in range(count):
            slots[slot] = now
            slot += 1
            if slot == size:
                slot = 0
        self._next += count

    def settle(self, tag: i64, multiple: bool, accepted: bool, now: i64) -> None:
        """Take a basic.ack (``accepted``) or basic.nack received at ``now`` (ns).

        A tag of 0 with ``multiple`` means everything outstanding (AMQP 0-9-1 basic.ack).
        Raises FrameError for a number that was never published.
        """
        if tag == 0 and multiple:
            tag = self._next - 1
        if tag >= self._next or tag < 0:
            raise FrameError("the server confirmed a message that was never published")
        self.last_settle = now
        size = self.size
        slots = self._slots
        first: i64 = self._oldest if multiple else tag
        run: i64 = 0
        run_sent: i64 = _SETTLED
        if first < self._oldest:
            return
        for number in range(first, tag + 1):
            slot: i64 = number % size
            sent: i64 = slots[slot]
            if sent != run_sent:
                self._count(run_sent, run, accepted, now)
                run_sent = sent
                run = 0
            run += 1
            slots[slot] = _SETTLED
        self._count(run_sent, run, accepted, now)
        oldest: i64 = self._oldest
        while oldest < self._next:
            if slots[oldest % size] != _SETTLED:
                break
            oldest += 1
        self._oldest = oldest

    def _count(self, sent: i64, count: i64, accepted: bool, now: i64) -> None:
        if sent == _SETTLED:
            return
        if accepted:
            self.confirmed += count
            self.latency.record(now - sent, count)
        else:
            self.nacked += count
