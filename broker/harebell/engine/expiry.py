"""Which queues have messages whose time comes, and when to look at them."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import i64

from harebell.engine.deadlines import NEVER
from harebell.engine.queues.queue import Queue
from harebell.ports import Clock

FORGOTTEN_KEPT: Final = 1000
"""Deleted queues that may stay listed."""


class Expiry:
    """Queues by the time they want to be looked at.

    A queue may be listed several times; only the entry that says what the queue says itself counts.

    Args:
        clock: its wall time is what deadlines are in.

    Attributes:
        next: when to call ``run``; ``NEVER`` if no queue waits.
    """

    def __init__(self, clock: Clock) -> None:
        self.next: i64 = NEVER
        self._clock = clock
        self._waiting: list[tuple[int, int, Queue]] = []
        self._entries: i64 = 0
        self._forgotten: i64 = 0

    def wake(self, queue: Queue, at: i64) -> None:
        """Have a queue looked at, at a time that is earlier than what it asked for before."""
        if at >= queue.wakes_at:
            return
        queue.wakes_at = at
        self._entries += 1
        heappush(self._waiting, (at, self._entries, queue))
        if at < self.next:
            self.next = at

    def forget(self, queue: Queue) -> None:
        """A queue is deleted; what is listed of it goes with the next of many."""
        queue.wakes_at = NEVER
        self._forgotten += 1
        if self._forgotten > FORGOTTEN_KEPT and self._forgotten * 2 > len(self._waiting):
            self._forgotten = 0
            self._waiting = [entry for entry in self._waiting if entry[2].wakes_at == entry[0]]
            heapify(self._waiting)

    def run(self) -> None:
        """Let queues whose time has come give up messages; called when ``next`` has come."""
        now: i64 = self._clock.wall
        waiting = self._waiting
        due: list[Queue] = []
        while waiting and waiting[0][0] <= now:
            at, _, queue = heappop(waiting)
            if queue.wakes_at == at:
                queue.wakes_at = NEVER
                due.append(queue)
        for queue in due:
            if not queue.deleted:
                self.wake(queue, queue.expire_messages())
        self.next = waiting[0][0] if waiting else NEVER
