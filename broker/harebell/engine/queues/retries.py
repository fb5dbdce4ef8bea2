"""Returned messages that wait before they are delivered again (``x-delayed-retry-*``, RabbitMQ 4.3).

The first retry waits the minimum; how much longer each further one waits, up to the maximum, is the backoff:
linear as in RabbitMQ, exponential or constant.  Jitter takes a part of that away again, so that messages that
failed together do not come back together.  Messages that wait are neither ready nor unacknowledged.  The
journal knows until when, so a restart makes none of them early.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.engine.deadlines import NEVER, Deadlines
from harebell.engine.options import CONSTANT, EXPONENTIAL, QueueOptions
from harebell.engine.queues.stock import Entry
from harebell.paging import RETURN

ALL: Final = "all"
FAILED: Final = "failed"
RETURNED: Final = "returned"

LONGEST_MS: Final = 1 << 45
"""What is doubled no more: a thousand years."""

MIX: Final = 0x5851F42D4C957F2D
"""Multiplier of Knuth's 64-bit linear congruential generator."""


def retry_delay(options: QueueOptions, position: i64, returns: i64, failed: bool) -> i64:
    """Give how many milliseconds a message that comes back must wait; 0 for none.

    Args:
        options: what its queue goes by.
        position: its place in the queue, from which its jitter follows.
        returns: how often it came back, this time included (``paging.RETURN``).
        failed: True if it was rejected or its consumer went, False if it was handed back by ``basic.nack``.
    """
    kind = options.delayed_retry_type
    if kind != ALL and kind != (FAILED if failed else RETURNED):
        return 0
    least = options.delayed_retry_min
    most = options.delayed_retry_max
    if least < 0:
        least = 0 if most < 0 else most
    number: i64 = max(1, returns // RETURN)
    attempt = number
    delay: i64 = least
    if options.delayed_retry_backoff == EXPONENTIAL:
        while attempt > 1 and 0 < delay < LONGEST_MS:
            delay *= 2
            attempt -= 1
    elif options.delayed_retry_backoff != CONSTANT:
        delay = least * attempt
    if 0 <= most < delay:
        delay = most
    if options.delayed_retry_jitter > 0:
        delay -= _part(delay * options.delayed_retry_jitter // 100, position, number)
    return delay


def _part(most: i64, position: i64, attempt: i64) -> i64:
    """Give a number from 0 to ``most`` that looks like chance and is the same every time."""
    mixed: i64 = ((position * 64 + attempt) * MIX >> 20) & 0xFFFFFFFF
    return (most * mixed) >> 32 if most < 1 << 30 else most // 1024 * (mixed >> 22)


class Retries:
    """The messages of one queue that wait for their retry.

    Attributes:
        held: by position, the message.
        until: by position, the time at which it is ready again, unix milliseconds.
    """

    def __init__(self) -> None:
        self.held: dict[int, Entry] = {}
        self.until: dict[int, int] = {}
        self._due = Deadlines()

    def hold(self, entry: Entry, until: i64) -> None:
        """Keep a message until a time, unix milliseconds."""
        self.held[entry[0]] = entry
        self.until[entry[0]] = until
        self._due.add(until, entry[0])

    def next(self) -> i64:
        """Give the time at which ``due`` has something to do; ``NEVER`` if nothing waits."""
        return self._due.next()

    def due(self, now: i64, most: i64) -> list[Entry]:
        """Take messages whose time has come, by position."""
        found: list[Entry] = []
        for position in sorted(self._due.due(now, most)):
            # Who was taken before its time may wait again, for longer.
            if self.until.get(position, NEVER) <= now:
                found.append(self.held.pop(position))
                del self.until[position]
        return found

    def take(self, position: i64) -> Entry | None:
        """Take a message before its time; None if it is not here."""
        entry = self.held.pop(position, None)
        if entry is not None:
            del self.until[position]
        return entry

    def clear(self) -> list[Entry]:
        """Take everything."""
        found = list(self.held.values())
        self.held.clear()
        self.until.clear()
        self._due.clear()
        return found
