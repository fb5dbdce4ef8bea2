"""Returned messages that wait before they are delivered again (``x-delayed-retry-*``, RabbitMQ 4.3).

The first retry waits the minimum; how much longer each further one waits, up to the maximum, is the backoff:
linear as in RabbitMQ, exponential or constant.  Jitter takes a part of that away again, so that messages that
failed together do not come back together.  Messages that wait are neither ready nor unacknowledged.  The
journal knows until when, so a restart makes none of them early.

They lie in a store of timed messages (``timed.py``): the near ones in memory, the far ones on disk.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.options import CONSTANT, EXPONENTIAL, QueueOptions
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.queues.timed import TimedStore, claimed_octets
from harebell.engine.queues.timed_rows import GONE
from harebell.paging import PAGE_OCTETS, RETURN, Pager, Place
from harebell.ports import Journal

ALL: Final = "all"
FAILED: Final = "failed"
RETURNED: Final = "returned"

LONGEST_MS: Final = 1 << 45
"""What is doubled no more: a thousand years."""

MIX: Final = 0x5851F42D4C957F2D
"""Multiplier of Knuth's 64-bit linear congruential generator."""

KEPT_OCTETS: Final = 8 * 1024 * 1024
"""Octets in memory from which on far messages leave it, although they are few."""

Waiting = tuple[int, Message, int, int]
"""Position, message, how often it came back (``paging.RETURN``), and until when it waits."""


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


class Retries(TimedStore):
    """The messages of one queue that wait for their retry; arguments as for ``TimedStore``."""

    __slots__ = ("_relief_at",)

    def __init__(self, owner: Queue, pager: Pager, journal: Journal, durable: bool) -> None:
        super().__init__(owner, pager, journal, durable)
        self._relief_at: i64 = KEPT_OCTETS

    def hold(self, entry: Entry, until: i64, now: i64) -> None:
        """Keep a message until a time; both are unix milliseconds."""
        self.add(entry[1], entry[0], until, entry[2], now)
        if self.octets < KEPT_OCTETS:
            self._relief_at = KEPT_OCTETS
        elif self.octets >= self._relief_at:
            self.page_out(0)
            # What is left is near, or the disk does not take it now: it is tried again with some more.
            self._relief_at = self.octets + PAGE_OCTETS

    def until(self, position: i64) -> i64:
        """Give until when a message waits, unix milliseconds; 0 if it is not here."""
        return 0 if self.rows.location(position) == GONE else self.rows.due(position)

    def withdraw(self, position: i64) -> Entry | None:
        """Take a message before its time, waiting for the disk; None if it is not here, or damaged.

        Raises:
            PageUnreadable: it cannot be read at the moment.
        """
        location = self.rows.location(position)
        if location == GONE:
            return None
        returns = self.rows.returns(position)
        message: Message | None
        if location < 0:
            message = self._release(position)
        else:
            message = self._pager.read(self._page([position]))[0]
            if message is None:
                self._lose(position)
                return None
            self._unspill(self.rows.claim(position))
            self.unask(position)
        self.drop(position)
        return (int(position), message, int(returns))

    def browse_from(self, position: i64, most: i64) -> list[Waiting]:
        """List messages from a position on, by position, waiting for the disk.

        Where messages are large there are fewer than ``most``, but none only if there is none.

        Raises:
            PageUnreadable: one of them cannot be read at the moment.
        """
        found: list[Waiting] = []
        while not found:
            wanted = self._next_of(position, most)
            if not wanted:
                break
            position = wanted[len(wanted) - 1] + 1
            self._look_at(wanted, found)
        return found

    def _next_of(self, position: i64, most: i64) -> list[int]:
        """Give the positions that are looked at together."""
        wanted: list[int] = []
        octets: i64 = 0
        for at in self.rows.positions_from(position, most):
            message = self.held(at)
            octets += claimed_octets(self.rows.claim(at)) if message is None else message.size()
            wanted.append(at)
            if octets >= PAGE_OCTETS:
                break
        return wanted

    def _look_at(self, wanted: list[int], found: list[Waiting]) -> None:
        on_disk = [at for at in wanted if self.rows.location(at) >= 0]
        read: dict[int, Message | None] = {}
        if on_disk:
            for index, message in enumerate(self._pager.read(self._page(on_disk))):
                read[on_disk[index]] = message
        for at in wanted:
            one = read[at] if at in read else self.held(at)
            if one is None:
                self._lose(at)
            else:
                found.append((at, one, int(self.rows.returns(at)), int(self.rows.due(at))))

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position."""
        found: list[tuple[int, Place]] = []
        for position, place in super().locate(wanted):
            until: int = self.rows.due(position)
            found.append((position, Place(place.message, place.location, place.returns, until)))
        return found
