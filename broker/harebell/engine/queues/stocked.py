"""A queue whose messages are in a stock (``stock.py``): what may be asked of them as they lie there."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.dispatch import Dispatcher
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.retries import Retries, Waiting
from harebell.engine.queues.stock import Stock
from harebell.paging import FLAGGED, Moved, Place

QUORUM_HIGHEST: Final = 31
QUORUM_PRIORITY: Final = 4
"""The highest of a quorum queue's levels, and that of messages without a priority (RabbitMQ 4.3)."""


class StockedQueue(Queue):
    """Base of queues that give each message to one consumer.

    Args:
        dispatcher: knows where messages go that do not fit in memory.
        max_priority: the highest priority a classic queue tells apart; -1 for none.
    """

    def __init__(
        self,
        queue_id: i64,
        name: str,
        type_name: str,
        durable: bool,
        owner: i64,
        auto_delete: bool,
        arguments: Table,
        dispatcher: Dispatcher,
        max_priority: i64,
    ) -> None:
        super().__init__(queue_id, name, type_name, durable, owner, auto_delete, arguments)
        self._residency = dispatcher.residency
        self._pager = dispatcher.residency.pager
        self._quorum: bool = type_name == "quorum"
        self.journals_all = self._quorum
        self._store: Stock = (
            PriorityStore(self, self._residency, max_priority, 0, False)
            if max_priority >= 0
            else ReadyStore(self, self._residency, True, self._quorum)
        )
        self._retries: Retries | None = None
        self.ordered = max_priority < 0
        self.highest_level: i64 = QUORUM_HIGHEST if self._quorum else max(max_priority, 0)
        self.absent_level: i64 = QUORUM_PRIORITY if self._quorum else 0

    def ready_count(self) -> i64:
        """Messages that wait for a consumer."""
        return self._store.count

    def ready_octets(self) -> i64:
        """Header and body octets of what waits."""
        return self._store.octets

    def ready_bodies(self) -> i64:
        """Body octets of what waits."""
        return self._store.bodies

    def paged_count(self) -> i64:
        """Messages that wait and are on disk only; some that expired there may be counted still."""
        count: i64 = 0
        for page in self._store.pages():
            count += page.count
        return min(count, self._store.count)

    def paged_bodies(self) -> i64:
        """Body octets of those."""
        bodies: i64 = 0
        for page in self._store.pages():
            bodies += page.bodies
        return min(bodies, self._store.bodies)

    def delayed_count(self) -> i64:
        """Messages that wait for their retry."""
        return 0 if self._retries is None else self._retries.rows.count

    def waits_until(self, position: i64) -> i64:
        """Give until when a message waits for its retry, unix milliseconds; 0 if it does not."""
        return 0 if self._retries is None else self._retries.until(position)

    def browse_waiting(self, position: i64, most: i64) -> list[Waiting]:
        """List messages that wait for their retry from a position on."""
        return [] if self._retries is None else self._retries.browse_from(position, most)

    def glance(self) -> Message | None:
        """Give the next message if it is in memory; reads nothing."""
        return self._store.glance() if self._store.count > 0 else None

    def peek(self, count: i64) -> list[tuple[Message, bool]]:
        """List the first ready messages and whether each was delivered before; they stay as they are."""
        return [(message, returns & FLAGGED != 0) for _, message, returns in self._store.peek(count)]

    def offer(self) -> None:
        """Memory is short: be listed for paging if there is anything to page; what waits long goes now."""
        self._store.offer()
        if self._retries is not None:
            self._retries.page_out(0)

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position, ascending, whether ready or waiting for their retry."""
        found = self._store.locate(wanted)
        if self._retries is not None:
            found.extend(self._retries.locate(wanted))
        return found

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that the records of messages that are on disk only were copied forward."""
        found = self._store.relocate(moved, segment, to_segment)
        if self._retries is not None:
            found.extend(self._retries.relocate(moved, segment, to_segment))
        return found
