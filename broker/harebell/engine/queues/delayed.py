"""The hidden queue of one exchange's delayed messages: each waits until its time, then goes to be routed.

``Message.arrived`` of what waits here is the time at which it is to arrive at its exchange; the journal keeps
it with the message, so that a restart changes nothing.  The queue is durable and stands in no listing; a
command makes it when its exchange delays its first message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.engine.expiry import Expiry
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.queues.timed import TimedStore, claim_of
from harebell.paging import Moved, Page, Pager, Place
from harebell.ports import Clock, Journal

if TYPE_CHECKING:
    from harebell.engine.consumers import Consumer

DELAYED: Final = "delayed"
"""The type of these queues, which nobody can declare."""

MOST: Final = 1000
MOST_OCTETS: Final = 1024 * 1024
"""Messages, and octets of them, that are routed in one go, and in one transaction."""

FAR_AHEAD: Final = 64 * 1024 * 1024
"""Octets that may wait for the disk before no more is routed."""

AGAIN: Final = 20
"""Milliseconds until the disk is looked at again."""


@mypyc_attr(allow_interpreted_subclasses=True)
class DueSink(ABC):
    """Where messages go whose time has come."""

    @abstractmethod
    def due(self, queue: DelayedQueue, entries: list[Entry]) -> None:
        """Route messages and settle them where they waited, all in one step of the journal."""


class DelayedQueue(Queue):
    """The messages that one exchange delays.

    Args:
        queue_id: number of the queue in the journal.
        exchange: the exchange's name; it may be gone.
        pager, journal, clock, expiry: see the classes.
        sink: takes what is due.

    Attributes:
        cancelled: messages taken out before their time.
    """

    def __init__(
        self,
        queue_id: i64,
        exchange: str,
        pager: Pager,
        journal: Journal,
        clock: Clock,
        expiry: Expiry,
        sink: DueSink,
    ) -> None:
        super().__init__(queue_id, exchange, DELAYED, True, 0, False, {})
        self.cancelled: i64 = 0
        self._journal = journal
        self._clock = clock
        self._expiry = expiry
        self._sink = sink
        self.store = TimedStore(self, pager, journal, True)
        self._taking: bool = False

    def ready_count(self) -> i64:
        """Messages that wait for their time."""
        return self.store.rows.count

    def ready_octets(self) -> i64:
        """Header and body octets of what is in memory."""
        return self.store.octets

    def paged_count(self) -> i64:
        """Messages that are on disk only."""
        return self.store.on_disk

    def consumer_count(self) -> i64:
        """Nobody can consume from it."""
        return 0

    def consumers(self) -> list[Consumer]:
        """Nobody can consume from it."""
        return []

    def can_deliver_now(self) -> bool:
        """Nothing goes straight to a consumer."""
        return False

    def push(self, message: Message) -> bool:
        """Take a message that is to be routed at its ``arrived``."""
        self.published += 1
        if not message.persistent:
            self.transient += 1
        position: i64 = self.next_position
        self.next_position = position + 1
        self.store.add(message, position, message.arrived, 0, self._clock.wall)
        self._wake()
        return True

    def _wake(self) -> None:
        if not self._taking:
            at = self.store.next()
            if at < self.wakes_at:
                self._expiry.wake(self, at)

    def expire_messages(self) -> i64:
        """Have messages routed whose time has come, and return when to look again."""
        if self._journal.backlog() >= FAR_AHEAD:
            return self._clock.wall + AGAIN
        now: i64 = self._clock.wall
        self._taking = True
        try:
            entries = self.store.take_due(now, MOST, MOST_OCTETS)
            if entries:
                self._sink.due(self, entries)
        finally:
            self._taking = False
        return self.store.next()

    def stocked(self) -> None:
        """Messages were read from the disk."""
        if not self.deleted:
            self._wake()

    def dispatch(self, budget: i64) -> bool:
        """There is nobody to deliver to."""
        return False

    def settle_dead(self, message: Message, position: i64) -> None:
        """The journal is to forget a message that was routed."""
        if message.persistent:
            self._journal.settle(self.id, position, message)

    def cancel(self, position: i64) -> bool:
        """Drop a message before its time; False if it is not here any more."""
        if not self.store.remove(position):
            return False
        self.cancelled += 1
        self._journal.settle_run(self.id, position, 1)
        return True

    def hasten(self, position: i64) -> bool:
        """Have a message routed at once; False if it is not here any more."""
        found = self.store.hasten(position, self._clock.wall)
        self._wake()
        return found

    def purge(self) -> i64:
        """Drop every message, and return how many there were."""
        dropped: i64 = 0
        for first, count in self.store.clear_runs():
            self._journal.settle_run(self.id, first, count)
            dropped += count
        self.cancelled += dropped
        return dropped

    def drop_all(self) -> None:
        """Let go of everything; the command that deletes it says so to the journal."""
        self.deleted = True
        self.store.clear_runs()
        self._expiry.forget(self)

    def offer(self) -> None:
        """Memory is short: let far messages go to the disk."""
        self.store.page_out(0)

    def restore(self, levels: dict[int, list[Page]], next_position: i64) -> None:
        """Go on behind what recovery found (see ``restore_timed``)."""
        self.next_position = next_position
        if self.store.rows.count > 0:
            # Targets may not be restored yet, so it happens soon, not now.
            self._expiry.wake(self, 0)

    def restore_timed(self, rows: Iterable[tuple[int, int, int, int, int]]) -> None:
        """Take in what recovery found.

        Args:
            rows: position, location, segment, share and time of each.
        """
        store = self.store
        store.begin(self._clock.wall)
        for position, location, segment, share, due in rows:
            store.add_stored(position, location, claim_of(segment, share), due, 0)

    def lost(self, position: i64) -> None:
        """A message is gone because its record is damaged; the journal shall not count on it."""
        self._journal.settle_run(self.id, position, 1)

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position, ascending."""
        return self.store.locate(wanted)

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that the records of messages that are on disk only were copied forward."""
        return self.store.relocate(moved, segment, to_segment)
