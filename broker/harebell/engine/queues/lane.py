"""Lanes: first in, first out, for the messages of one key or of one kind; and where lanes wait to be served.

A *lane* with messages waits in one *pool*: that of the consumer its key sticks to, or that of all consumers
who want its first message.  The first lane of each pool is on the agenda of the queue (``lanes.py``), unless
none of those consumers can take a message: such a pool is *dry*, and is not looked at until one of them can.
So a message costs a few steps in heaps, whatever the number of lanes, keys and consumers.

What a heap says may be out of date: an entry counts if its lane, or its pool, still says the same.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final

from mypy_extensions import i64

from harebell.engine.consumers import Consumer
from harebell.engine.queues.stock import Entry, Stock

NOWHERE: Final = -1

STALE_TOLERATED: Final = 64
"""Entries of a heap that count no more before it is swept, beside as many as count."""


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
    """

    __slots__ = (
        "allowed", "finish", "flows", "frontier", "groups", "idle", "key", "octets", "store", "waiting",
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
        place: by which it waits there, unlike that of any other lane.
        position: of its first message.
        turn: the round of its turn; ``NOWHERE`` if it has none yet.
        serial: unlike that of any other lane of the queue.
    """

    __slots__ = (
        "_back", "_fifo", "flow", "group", "held", "key", "owner", "place", "pool", "position", "serial",
        "tenant", "turn", "wanted",
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
        self.place: int = NOWHERE
        self.position: i64 = NOWHERE
        self.turn: i64 = NOWHERE
        self._fifo: deque[Entry] = deque()
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
        fifo = self._fifo
        if not fifo or fifo[-1][0] < entry[0]:
            fifo.append(entry)
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


class Pool:
    """Lanes that wait for the same consumers.

    Args:
        wanted: bits of those consumers, if the lanes may go to any of them.
        consumer: the one they stick to.

    Attributes:
        dry: True while none of the consumers can take a message.
        listed: the place under which it is on the agenda; ``NOWHERE`` if it is not there.
    """

    __slots__ = ("_heap", "_lanes", "consumer", "dry", "listed", "wanted")

    def __init__(self, wanted: i64, consumer: Consumer | None) -> None:
        self.wanted: i64 = wanted
        self.consumer = consumer
        self.dry: bool = False
        self.listed: int = NOWHERE
        self._heap: list[int] = []
        self._lanes: dict[int, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, lane: Lane) -> None:
        """Let a lane wait here, by its place."""
        lane.pool = self
        self._lanes[lane.place] = lane
        heappush(self._heap, lane.place)
        if len(self._heap) > 2 * len(self._lanes) + STALE_TOLERATED:
            self._heap = sorted(self._lanes)

    def first(self) -> Lane | None:
        """Give the lane that is served next."""
        heap = self._heap
        lanes = self._lanes
        while heap:
            lane = lanes.get(heap[0])
            if lane is not None:
                return lane
            heappop(heap)
        return None

    def drop(self, lane: Lane) -> None:
        """A lane waits here no longer."""
        lane.pool = None
        place = lane.place
        del self._lanes[place]
        if self._heap[0] == place:
            heappop(self._heap)

    def lanes(self) -> list[Lane]:
        """List the lanes that wait here."""
        return list(self._lanes.values())
