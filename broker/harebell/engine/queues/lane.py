"""Lanes: first in, first out, for the messages of one key or of one kind; and where lanes wait to be served.

A *lane* with messages waits in one *pool*: that of the consumer its key sticks to, or that of all consumers
who want its first message.  The first lane of each pool is on the agenda of the queue (``lanes.py``), unless
none of those consumers can take a message: such a pool is *dry*, and is not looked at until one of them can.
So a message costs a few steps in heaps, whatever the number of lanes, keys and consumers.

The heaps are written out here because what they hold knows its index in them: it is moved or taken out where
it is, so nothing in a heap is out of date, and compiled they compare machine integers without making objects.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final

from mypy_extensions import i64

from harebell.engine.consumers import Consumer
from harebell.engine.queues.stock import Entry, Stock

NOWHERE: Final = -1


class Tenant:
    """Those whose messages share a turn: all messages with one value of the fair header, else all.

    Attributes:
        key: the value of the header.
        store: messages that are not in lanes; all of them came after those in lanes.
        waiting, octets: messages in lanes, and their header and body octets.
        allowed: messages that may be in lanes; grows while none of them can be delivered.
        frontier: no message in ``store`` has this position or one before it.
        finish: the round that is the next one's turn.
        groups: by key, lanes whose messages go to one consumer at a time; some of them idle.
        idle: how often a lane became idle since they were swept.
        flows: by priority and by who wants them, the lanes of all other messages.
        latest: the one of those that got a message last; None if it may be forgotten.
    """

    __slots__ = (
        "allowed", "finish", "flows", "frontier", "groups", "idle", "key", "latest", "octets", "store",
        "waiting",
    )  # fmt: skip

    def __init__(self, key: bytes, store: Stock, allowed: i64) -> None:
        self.key = key
        self.store = store
        self.waiting: i64 = 0
        self.octets: i64 = 0
        self.allowed: i64 = allowed
        self.frontier: i64 = 0
        self.finish: i64 = 0
        self.idle: i64 = 0
        self.groups: dict[bytes, Lane] = {}
        self.flows: dict[int, Lane] = {}
        self.latest: Lane | None = None

    def lanes(self) -> list[Lane]:
        """List all lanes."""
        return [*self.groups.values(), *self.flows.values()]

    def unused(self) -> bool:
        """Tell whether it has no message, and nobody has a key of it."""
        return (
            self.waiting == 0
            and self.store.count == 0
            and all(lane.held == 0 for lane in self.groups.values())
        )


class Lane:
    """Messages that leave one after the other.

    Attributes:
        tenant: whose turn they share.
        key: of the messages; empty if the lane is no group.
        flow: the lane's place among its tenant's ``flows``.
        group: True if one consumer at a time gets them.
        wanted: bits of the consumers who want the first message.
        held: messages taken and not answered yet.
        owner: who has them; None also after ``basic.get``, or if the consumer may not have more.
        pool: where the lane waits; None if it does not.
        index: where it is in that pool's heap.
        rank: by which it waits there, before its position, which no other lane has.
        position: of its first message.
        turn: the round of its turn; ``NOWHERE`` if it has none yet.
        serial: unlike that of any other lane of the queue.
    """

    __slots__ = (
        "_back", "_fifo", "_last", "flow", "group", "held", "index", "key", "owner", "pool", "position",
        "rank", "serial", "tenant", "turn", "wanted",
    )  # fmt: skip

    def __init__(self, tenant: Tenant, key: bytes, flow: i64, wanted: i64, serial: i64) -> None:
        self.serial: i64 = serial
        self.tenant = tenant
        self.key = key
        self.flow: i64 = flow
        self.group: bool = len(key) > 0
        self.wanted: i64 = wanted
        self.held: i64 = 0
        self.owner: Consumer | None = None
        self.pool: Pool | None = None
        self.index: i64 = NOWHERE
        self.rank: i64 = 0
        self.position: i64 = NOWHERE
        self.turn: i64 = NOWHERE
        self._fifo: deque[Entry] = deque()
        # The highest position there was in it.
        self._last: i64 = NOWHERE
        self._back: list[Entry] = []

    def __len__(self) -> int:
        return len(self._fifo) + len(self._back)

    def empty(self) -> bool:
        """Tell whether it has no message."""
        return not self._fifo and not self._back

    def head(self) -> Entry:
        """Give the first message of a lane that has some."""
        if self._back and (not self._fifo or self._back[0][0] < self._fifo[0][0]):
            return self._back[0]
        return self._fifo[0]

    def add(self, entry: Entry) -> None:
        """Put a message in its place by position, most often the last."""
        position: i64 = entry[0]
        if position > self._last:
            self._last = position
            self._fifo.append(entry)
        else:
            heappush(self._back, entry)

    def pop(self) -> Entry:
        """Take the first message."""
        if self._back and (not self._fifo or self._back[0][0] < self._fifo[0][0]):
            return heappop(self._back)
        return self._fifo.popleft()

    def entries(self) -> list[Entry]:
        """List the messages, in order of position."""
        if self._back:
            return sorted([*self._back, *self._fifo])
        return list(self._fifo)

    def keep(self, entries: list[Entry]) -> None:
        """Have these messages and no others; in order of position."""
        self._back = []
        self._fifo = deque(entries)
        self._last = entries[-1][0] if entries else NOWHERE


class Pool:
    """Lanes that wait for the same consumers.

    Args:
        wanted: bits of those consumers, if the lanes may go to any of them.
        consumer: the one they stick to.

    Attributes:
        dry: True while none of the consumers can take a message.
        index: where it is on the agenda; ``NOWHERE`` if it is not there.
        rank, position: of the lane for which it is there.
    """

    __slots__ = ("_heap", "consumer", "dry", "index", "position", "rank", "wanted")

    def __init__(self, wanted: i64, consumer: Consumer | None) -> None:
        self.wanted: i64 = wanted
        self.consumer = consumer
        self.dry: bool = False
        self.index: i64 = NOWHERE
        self.rank: i64 = 0
        self.position: i64 = 0
        self._heap: list[Lane] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, lane: Lane) -> bool:
        """Let a lane wait here, by its rank and position; True if it is the first."""
        lane.pool = self
        self._heap.append(lane)
        self._rise(lane, len(self._heap) - 1)
        return lane.index == 0

    def first(self) -> Lane | None:
        """Give the lane that is served next."""
        return self._heap[0] if self._heap else None

    def drop(self, lane: Lane) -> None:
        """A lane waits here no longer."""
        lane.pool = None
        index: i64 = lane.index
        lane.index = NOWHERE
        last = self._heap.pop()
        if last is not lane:
            self._sink(last, index)
            if last.index == index:
                self._rise(last, index)

    def _rise(self, lane: Lane, index: i64) -> None:
        """Put a lane in its place, which is here or farther up."""
        heap = self._heap
        rank: i64 = lane.rank
        position: i64 = lane.position
        while index > 0:
            above: i64 = (index - 1) >> 1
            other = heap[above]
            if other.rank < rank or (other.rank == rank and other.position < position):
                break
            heap[index] = other
            other.index = index
            index = above
        heap[index] = lane
        lane.index = index

    def _sink(self, lane: Lane, index: i64) -> None:
        """Put a lane in its place, which is here or farther down."""
        heap = self._heap
        size: i64 = len(heap)
        rank: i64 = lane.rank
        position: i64 = lane.position
        below: i64 = 2 * index + 1
        while below < size:
            other = heap[below]
            if below + 1 < size:
                beside = heap[below + 1]
                if beside.rank < other.rank or (
                    beside.rank == other.rank and beside.position < other.position
                ):
                    other = beside
                    below += 1
            if rank < other.rank or (rank == other.rank and position < other.position):
                break
            heap[index] = other
            other.index = index
            index = below
            below = 2 * index + 1
        heap[index] = lane
        lane.index = index

    def lanes(self) -> list[Lane]:
        """List the lanes that wait here."""
        return list(self._heap)


class Agenda:
    """Pools that have lanes and are not dry, by the first lane of each."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[Pool] = []

    def first(self) -> Pool | None:
        """Give the pool with the lane that is served next of all."""
        return self._heap[0] if self._heap else None

    def note(self, pool: Pool) -> None:
        """What a pool serves first, or whether it is dry, may have changed."""
        heap = self._heap
        lane = None if pool.dry else pool.first()
        if lane is None:
            if pool.index >= 0:
                self._remove(pool)
            return
        if pool.index < 0:
            heap.append(pool)
            pool.index = len(heap) - 1
        elif pool.rank == lane.rank and pool.position == lane.position:
            return
        pool.rank = lane.rank
        pool.position = lane.position
        self._settle(pool)

    def _remove(self, pool: Pool) -> None:
        index: i64 = pool.index
        pool.index = NOWHERE
        last = self._heap.pop()
        if last is not pool:
            self._heap[index] = last
            last.index = index
            self._settle(last)

    def _settle(self, pool: Pool) -> None:
        """Put a pool in its place, farther up or down."""
        heap = self._heap
        size: i64 = len(heap)
        if size == 1:
            return
        index: i64 = pool.index
        while index > 0:
            above: i64 = (index - 1) >> 1
            if not _before(pool, heap[above]):
                break
            heap[index] = heap[above]
            heap[index].index = index
            index = above
        below: i64 = 2 * index + 1
        while below < size:
            if below + 1 < size and _before(heap[below + 1], heap[below]):
                below += 1
            if _before(pool, heap[below]):
                break
            heap[index] = heap[below]
            heap[index].index = index
            index = below
            below = 2 * index + 1
        heap[index] = pool
        pool.index = index


def _before(one: Pool, other: Pool) -> bool:
    return one.rank < other.rank or (one.rank == other.rank and one.position < other.position)
