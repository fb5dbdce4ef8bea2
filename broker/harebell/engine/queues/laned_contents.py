"""What is in a stock with lanes, as a whole: how much, and where; see ``laned_stock.py``."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Final

from mypy_extensions import i64

from harebell.content.header_keys import NO_KEY, HeaderKey
from harebell.content.message import Message
from harebell.content.scanning import priority_of
from harebell.engine.queues.lane import Lane, Tenant
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.places import merged, position_of
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.residency import Residency
from harebell.engine.queues.stock import Entry, Stock
from harebell.paging import Moved, Page, Place

LOOK: Final = 1024
"""Messages that are in lanes at first, where they are not straight (``laned_stock.py``)."""


class LanedContents(Stock):
    """Base of stocks with lanes.

    Args:
        owner, residency: as for ``ReadyStore``.
        behind: the store the queue had, with what it holds.
        group: where the key is that goes to one consumer at a time; None if there is none.
        fair: where the key is whose values have equal shares; None if there is none.

    Attributes:
        behind: messages that are not sorted by tenant yet; without fair share those of the one tenant.
        tenants: by key.
        in_lanes: messages in lanes.
        starved: True if a tenant has none in lanes because its messages are on disk.
    """

    def __init__(
        self,
        owner: Queue,
        residency: Residency,
        behind: Stock,
        group: HeaderKey | None,
        fair: HeaderKey | None,
    ) -> None:
        super().__init__()
        self._owner = owner
        self._residency = residency
        self._pager = residency.pager
        self._group = group
        self._fair = fair
        self.behind = behind
        self.tenants: dict[bytes, Tenant] = {}
        # Without levels the store's order is that of delivery; what is not locked need not come into lanes.
        self._straight: bool = fair is None and isinstance(behind, ReadyStore)
        self._everyone = Tenant(NO_KEY, behind, 0 if self._straight else LOOK)
        if fair is None:
            self.tenants[NO_KEY] = self._everyone
        self._leveled: bool = owner.highest_level > 0
        self.in_lanes: i64 = 0
        self._lane_octets: i64 = 0
        self._lane_bodies: i64 = 0
        self._serial: i64 = 0
        self._idle_tenants: i64 = 0
        # By age, the heads of lanes; None until somebody asks for the oldest.
        self._ages: list[tuple[int, int, Lane]] | None = None
        self.starved: bool = False
        self._keep_in_place()
        self.refresh()

    def _keep_in_place(self) -> None:
        """Have the store put back what comes back by position, whatever the type of the queue."""
        behind = self.behind
        if isinstance(behind, PriorityStore):
            behind.keep_in_place(self._group is not None)
        elif isinstance(behind, ReadyStore):
            back: list[Entry] = []
            while behind.came_back():
                message = behind.take()
                back.append((int(behind.position), message, int(behind.returns)))
            behind.by_return = False
            for position, message, returns in back:
                behind.put_back(message, position, returns)

    def level_of(self, header: bytes) -> i64:
        """Give the priority that counts for a message."""
        priority = priority_of(header)
        owner = self._owner
        if priority < 0:
            return owner.absent_level
        return priority if priority < owner.highest_level else owner.highest_level

    def _tally(self, message: Message, sign: i64) -> None:
        body: i64 = len(message.body)
        self.count += sign
        self.octets += sign * (len(message.header) + body)
        self.bodies += sign * body

    def stores(self) -> list[Stock]:
        """Give all stores behind the lanes."""
        found = [tenant.store for tenant in self.tenants.values()]
        if self._fair is not None:
            found.append(self.behind)
        return found

    def refresh(self) -> None:
        """Add up all there is: messages came from the disk, or went."""
        self.count = self.in_lanes
        self.octets = self._lane_octets
        self.bodies = self._lane_bodies
        for store in self.stores():
            store.refresh()
            self.count += store.count
            self.octets += store.octets
            self.bodies += store.bodies

    def restore(self, pages: list[Page], level: i64) -> None:
        """Take in what recovery found of one priority, oldest first."""
        self.behind.restore(pages, level)
        self.refresh()

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """The stores behind ask for pages, not this one."""

    def pages(self) -> Iterable[Page]:
        """Give the pages that are on disk only."""
        return [page for store in self.stores() for page in store.pages()]

    def peek(self, most: i64) -> list[Entry]:
        """List the oldest messages without taking them; reads pages if it must."""
        found = nsmallest(most, self._entries())
        if self._fair is None and len(found) >= most:
            return found
        for store in self.stores():
            found.extend(store.peek(most))
        return nsmallest(most, found)

    def _entries(self) -> list[Entry]:
        found: list[Entry] = []
        for tenant in self.tenants.values():
            for lane in tenant.lanes():
                found.extend(lane.entries())
        return found

    def browse_from(self, position: i64, most: i64) -> list[Entry]:
        """List messages from a position on, by position whatever lane they are in; reads pages."""
        inside = [entry for entry in self._entries() if entry[0] >= position]
        inside.sort(key=position_of)
        parts = [store.browse_from(position, most) for store in self.stores() if store.count > 0]
        return merged([inside, *parts], most)

    def in_memory(self) -> list[Entry]:
        """List all messages that are in memory, in no order."""
        found = self._entries()
        for store in self.stores():
            found.extend(store.in_memory())
        return found

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by ascending position."""
        positions = set(wanted)
        found: list[tuple[int, Place]] = []
        for position, message, returns in self._entries():
            if position in positions:
                found.append((position, Place(message, message.location, returns)))
        for store in self.stores():
            if store.count > 0:
                found.extend(store.locate(wanted))
        return found

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that records of paged messages were copied; give the positions that are in pages."""
        found: list[int] = []
        for store in self.stores():
            found.extend(store.relocate(moved, segment, to_segment))
        return found
