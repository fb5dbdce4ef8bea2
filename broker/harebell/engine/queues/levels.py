"""A store with priorities: one store of its own for each, the highest first (RabbitMQ's priority queues)."""

from __future__ import annotations

from collections.abc import Iterable

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.scanning import priority_of
from harebell.engine.queues.places import merged
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.residency import Residency
from harebell.engine.queues.stock import Entry, Stock
from harebell.paging import Moved, Page, Place


class PriorityStore(Stock):
    """Ready messages in levels.

    Args:
        owner, residency: as for ``ReadyStore``.
        highest: the highest level; a higher priority counts as this one.
        absent: level of messages without a priority.
        by_return: True to deliver what came back first, in the order in which it did, whatever its level.
    """

    def __init__(
        self, owner: Queue, residency: Residency, highest: i64, absent: i64, by_return: bool
    ) -> None:
        super().__init__()
        self._owner = owner
        self._residency = residency
        self._highest: i64 = highest
        self._absent: i64 = absent
        self._back: ReadyStore | None = ReadyStore(owner, residency, False, True) if by_return else None
        self._levels: list[ReadyStore | None] = [None] * (highest + 1)
        # Levels that were ever used, the highest first.
        self._used: list[ReadyStore] = []
        # No level above this one has a message.
        self._top: i64 = 0
        self._by_arrival: bool = False

    def level_of(self, header: bytes) -> i64:
        """Give the level of a message."""
        priority = priority_of(header)
        if priority < 0:
            return self._absent
        return priority if priority < self._highest else self._highest

    def _level(self, level: i64) -> ReadyStore:
        """Give a level that is going to have a message."""
        if level > self._top:
            self._top = level
        store = self._levels[level]
        if store is None:
            store = self._levels[level] = ReadyStore(self._owner, self._residency, False)
            self._used = [found for found in reversed(self._levels) if found is not None]
        return store

    def keep_in_place(self, by_arrival: bool) -> None:
        """From now on what comes back goes to its place in its level.

        Args:
            by_arrival: True to give the messages of all levels in order of arrival.
        """
        back = self._back
        self._back = None
        while back is not None and back.count > 0:
            message = back.take()
            self._level(self.level_of(message.header)).put_back(message, back.position, back.returns)
        self._by_arrival = by_arrival
        self._sum()

    def order_again(self, by_return: bool) -> None:
        """Go by levels again after ``keep_in_place``; ``by_return`` as at first."""
        self._by_arrival = False
        if by_return and self._back is None:
            self._back = ReadyStore(self._owner, self._residency, False, True)

    def holds(self, level: i64) -> bool:
        """Tell whether a level has messages."""
        store = self._levels[level]
        return store is not None and store.count > 0

    def _earliest(self) -> ReadyStore | None:
        """Give the level with the oldest message, or one that has to be read before that is known."""
        best: ReadyStore | None = None
        first: i64 = 0
        for store in self._used:
            if store.count > 0:
                if not store.warm():
                    return store
                position = store.next_position()
                if best is None or position < first:
                    best = store
                    first = position
        return best

    def _next(self) -> ReadyStore | None:
        if self._by_arrival:
            return self._earliest()
        back = self._back
        if back is not None and back.count > 0:
            return back
        if self.count == 0:
            return None
        levels = self._levels
        while self._top > 0:
            store = levels[self._top]
            if store is not None and store.count > 0:
                return store
            self._top -= 1
        store = levels[0]
        return store if store is not None and store.count > 0 else None

    def returned_count(self) -> i64:
        """Count the messages in memory that came back."""
        count: i64 = 0
        for store in self._stores():
            count += store.returned_count()
        return count

    def _stores(self) -> list[ReadyStore]:
        return self._used if self._back is None else [self._back, *self._used]

    def _tally(self, store: ReadyStore, count: i64, octets: i64, bodies: i64) -> None:
        """Take over what a store's figures changed by."""
        self.count += store.count - count
        self.octets += store.octets - octets
        self.bodies += store.bodies - bodies

    def _sum(self) -> None:
        """Take over the figures of all stores."""
        self.count = 0
        self.octets = 0
        self.bodies = 0
        self._top = self._highest
        for store in self._stores():
            self._tally(store, 0, 0, 0)

    def append(self, message: Message, position: i64) -> None:
        """Add a message behind those of its level."""
        self._level(self.level_of(message.header)).append(message, position)
        body: i64 = len(message.body)
        self.count += 1
        self.octets += len(message.header) + body
        self.bodies += body

    def put_back(self, message: Message, position: i64, returns: i64) -> None:
        """Take a message back to its place in its level, or in front of all."""
        store = self._back
        if store is None:
            store = self._level(self.level_of(message.header))
        store.put_back(message, position, returns)
        body: i64 = len(message.body)
        self.count += 1
        self.octets += len(message.header) + body
        self.bodies += body

    def warm(self) -> bool:
        """Tell whether the next message is in memory; if it is not, it is being read from now on."""
        store = self._next()
        return store is not None and store.warm()

    def oldest(self) -> Message | None:
        """Give the next message if it is in memory."""
        store = self._next()
        return None if store is None else store.oldest()

    def next_position(self) -> i64:
        """Give the position of the next message, which must be in memory."""
        store = self._next()
        return 0 if store is None else store.next_position()

    def take(self) -> Message:
        """Take the next message, which must be in memory."""
        store = self._next()
        assert store is not None
        message = store.take()
        self.position = store.position
        self.returns = store.returns
        body: i64 = len(message.body)
        self.count -= 1
        self.octets -= len(message.header) + body
        self.bodies -= body
        return message

    def glance(self) -> Message | None:
        """Give the next message if it is in memory; reads nothing."""
        store = self._next()
        return None if store is None else store.glance()

    def pages(self) -> Iterable[Page]:
        """Give the pages that are on disk only."""
        return [page for store in self._stores() for page in store.pages()]

    def fronts(self) -> list[Stock]:
        """Give the levels in use."""
        return list(self._used)

    def take_front(self, part: Stock) -> Message:
        """Take the oldest message of a level that never came back; sets ``position``."""
        message = part.take_front(part)
        self.position = part.position
        self.returns = part.returns
        body: i64 = len(message.body)
        self.count -= 1
        self.octets -= len(message.header) + body
        self.bodies -= body
        return message

    def remove(self, wanted: list[int]) -> list[Entry]:
        """Take messages from wherever they are."""
        found: list[Entry] = []
        for store in self._stores():
            if store.count > 0:
                found.extend(store.remove(wanted))
        self._sum()
        found.sort()
        return found

    def read_now(self) -> bool:
        """Have the next message in memory, waiting for the disk; False if it cannot be read at the moment."""
        if self._by_arrival:
            for level in self._used:
                if level.count > 0 and not level.read_now():
                    return False
            self._sum()
            return True
        while True:
            store = self._next()
            if store is None:
                return True
            readable = store.read_now()
            if not readable or store.count > 0:
                break
        self._sum()
        return readable

    def read_ahead(self) -> None:
        """Ask for what consumers will need next."""
        store = self._next()
        if store is not None:
            store.read_ahead()

    def restore(self, pages: list[Page], level: i64) -> None:
        """Take in what recovery found of one level."""
        self._level(level).restore(pages, 0)
        self._sum()

    def offer(self) -> None:
        """Have the levels listed for paging that have anything to page."""
        for store in self._stores():
            store.offer()

    def refresh(self) -> None:
        """Messages came from the disk: some may have turned out to be damaged."""
        self._sum()

    def adopt(self, store: ReadyStore, level: i64) -> None:
        """Take over a store that had no levels yet."""
        store.allow_gaps()
        back = self._back
        while back is not None and store.came_back():
            message = store.take()
            back.put_back(message, store.position, store.returns)
        self._levels[level] = store
        self._used = [found for found in reversed(self._levels) if found is not None]
        self._sum()

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Its levels ask for pages, not the store itself."""

    def peek(self, most: i64) -> list[Entry]:
        """List the next messages without taking them."""
        found: list[Entry] = []
        for store in self._stores():
            if len(found) < most:
                found.extend(store.peek(most - len(found)))
        return found

    def browse_from(self, position: i64, most: i64) -> list[Entry]:
        """List messages from a position on, by position whatever their level."""
        return merged([store.browse_from(position, most) for store in self._stores() if store.count], most)

    def in_memory(self) -> list[Entry]:
        """List all messages that are in memory, in no order."""
        found: list[Entry] = []
        for store in self._stores():
            found.extend(store.in_memory())
        return found

    def clear(self) -> list[Page]:
        """Forget everything and give the pages there were."""
        pages: list[Page] = []
        for store in self._stores():
            pages.extend(store.clear())
        self._sum()
        return pages

    def close(self) -> list[Page]:
        """Forget everything for good, the queue too."""
        pages: list[Page] = []
        for store in self._stores():
            pages.extend(store.close())
        self._sum()
        self._levels = []
        self._used = []
        self._back = None
        return pages

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by ascending position."""
        found: list[tuple[int, Place]] = []
        for store in self._stores():
            found.extend(store.locate(wanted))
        return found

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that records of paged messages were copied."""
        found: list[int] = []
        for store in self._stores():
            found.extend(store.relocate(moved, segment, to_segment))
        return found
