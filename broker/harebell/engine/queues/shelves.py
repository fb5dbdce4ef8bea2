"""Where the ready messages of a queue lie, and how to look at them without taking any.

::

    returned          loaded        pages             fresh
    (heap)            (deque)       (on disk)         (deque)
    came back,   <    read from  <  8 octets for  <   just published
    oldest            pages         each message

Every message in one part is older than every message in the part to its right: what comes back was taken
before.  Positions in ``fresh`` are consecutive, so a message needs no entry of its own there.

A message that leaves from the middle (its time is over) leaves ``GONE`` in its place, never at the head, or
its position and sizes in a dict if it is in a page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.queues import places
from harebell.engine.queues.places import BROWSED_OCTETS, GONE
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.residency import Residency
from harebell.engine.queues.stock import Entry, Stock
from harebell.paging import Moved, Page, PageUnreadable, Place

NOTHING_LOADED: Final[deque[Entry]] = deque()
NO_PAGES: Final[deque[Page]] = deque()
NONE_GONE: Final[dict[int, tuple[int, int]]] = {}
"""Shared by the stores that never paged, for there may be very many of them; never changed."""

FEW: Final = 16
"""Positions that are looked up one by one rather than by going through all messages."""


class Shelves(Stock):
    """The ready messages of one queue, or of one priority of it, as they lie.

    Args:
        owner: told when messages it waited for are in memory.
        residency: told when the store grows deep.
        dense: True if positions are given without gaps.

    Attributes:
        by_return: True to deliver what came back in the order in which it did, as quorum queues do.
        deep: True while listed for paging.
    """

    __slots__ = (
        "_asked", "_asked_octets", "_back", "_durable", "_fresh", "_fresh_octets",
        "_gone", "_gone_from_pages", "_head", "_loaded", "_loaded_octets", "_owner", "_pager",
        "_pages", "_positions", "_residency", "_returned", "by_return", "deep",
    )  # fmt: skip

    def __init__(self, owner: Queue, residency: Residency, dense: bool, by_return: bool = False) -> None:
        super().__init__()
        self.deep: bool = False
        self._owner: Queue | None = owner
        self._durable: bool = owner.durable
        self._residency = residency
        self._pager = residency.pager
        self._returned: list[Entry] = []
        self.by_return: bool = by_return
        self._back: deque[Entry] = NOTHING_LOADED
        self._loaded: deque[Entry] = NOTHING_LOADED
        self._loaded_octets: i64 = 0
        self._pages: deque[Page] = NO_PAGES
        self._asked: i64 = 0
        self._asked_octets: i64 = 0
        self._fresh: deque[Message] = deque()
        self._fresh_octets: i64 = 0
        self._head: i64 = 1
        self._positions: deque[int] | None = None if dense else deque()
        self._gone: i64 = 0
        self._gone_from_pages: dict[int, tuple[int, int]] = NONE_GONE

    def has_front(self) -> bool:
        """Tell whether a message waits that never came back."""
        return len(self._fresh) > 0 or len(self._loaded) > 0 or len(self._pages) > 0

    def front_position(self) -> i64:
        """Give the position of that message, which must be in memory."""
        if self._loaded:
            return self._loaded[0][0]
        if self._positions is not None:
            return self._positions[0]
        return self._head

    def came_back(self) -> bool:
        """Tell whether there are messages in memory that came back."""
        return len(self._returned) > 0 or len(self._back) > 0

    def returned_count(self) -> i64:
        """Count the messages in memory that came back."""
        return len(self._returned) + len(self._back)

    def glance(self) -> Message | None:
        """Give the oldest message if it is in memory; reads nothing."""
        front: Sequence[Entry] = self._returned or self._back or self._loaded
        if front:
            return front[0][1]
        return self._fresh[0] if self._fresh and not self._pages else None

    def next_position(self) -> i64:
        """Give the position of the next message, which must be in memory."""
        if self._returned:
            return self._returned[0][0]
        return self._back[0][0] if self._back else self.front_position()

    def pages(self) -> Iterable[Page]:
        """Give the pages that are on disk only."""
        return self._pages

    def peek(self, most: i64) -> list[Entry]:
        """List the oldest messages without taking them; reads pages if it must."""
        found = nsmallest(most, self._returned)
        found.extend(islice(self._back, max(0, most - len(found))))
        found.extend(islice(places.present(self._loaded), max(0, most - len(found))))
        for page in self._pages:
            if len(found) >= most:
                return found[:most]
            for index, message in enumerate(self._peeked(page)):
                if message is not None and page.position(index) not in self._gone_from_pages:
                    found.append((page.position(index), message, page.returned(index)))
        found.extend(islice(self._fresh_entries(), max(0, most - len(found))))
        return found[:most]

    def _peeked(self, page: Page) -> list[Message | None]:
        """Read a page that stays where it is; nothing if it cannot be read at the moment."""
        try:
            return self._pager.read(page)
        except PageUnreadable:
            return []

    def _fresh_entries(self) -> Iterable[Entry]:
        positions: Iterable[int] | None = self._positions
        if positions is None:
            positions = range(self._head, self._head + len(self._fresh))
        return [
            (position, message, 0)
            for position, message in zip(positions, self._fresh, strict=True)
            if message is not GONE
        ]

    def in_memory(self) -> list[Entry]:
        """List all messages that are in memory, in no order."""
        return [*self._returned, *self._back, *places.present(self._loaded), *self._fresh_entries()]

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position.

        Args:
            wanted: positions, ascending.
        """
        found: list[tuple[int, Place]] = []
        positions = set(wanted)
        if self._returned:
            places.locate_returned(self._returned, wanted, found)
        places.locate_among(self._back, positions, found)
        if self._loaded and self._loaded[0][0] <= wanted[-1]:
            places.locate_loaded(self._loaded, wanted, found)
        if self._pages:
            places.locate_in_pages(self._pages, self._gone_from_pages, wanted, found)
        if self._positions is None:
            head: i64 = self._head
            for position in wanted:
                index: i64 = position - head
                if 0 <= index < len(self._fresh) and self._fresh[index] is not GONE:
                    message = self._fresh[index]
                    found.append((position, Place(message, message.location, 0)))
        elif len(wanted) <= FEW:
            for position in wanted:
                index = places.place_among(self._positions, position)
                if index >= 0 and self._fresh[index] is not GONE:
                    message = self._fresh[index]
                    found.append((position, Place(message, message.location, 0)))
        else:
            places.locate_among(self._fresh_entries(), positions, found)
        return found

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that the records of paged messages were copied forward."""
        return places.relocate_in_pages(self._pages, self._gone_from_pages, moved, segment, to_segment)

    def browse_from(self, position: i64, most: i64) -> list[Entry]:
        """List messages from a position on, by position whatever the order of delivery; reads pages.

        Raises:
            PageUnreadable: one of them cannot be read at the moment.
        """
        ordered: list[Entry] = []
        octets: i64 = 0
        at: i64 = places.first_entry(self._loaded, position)
        while at < len(self._loaded) and len(ordered) < most and octets < BROWSED_OCTETS:
            entry = self._loaded[at]
            if entry[1] is not GONE:
                octets += len(entry[1].header) + len(entry[1].body)
                ordered.append(entry)
            at += 1
        for page in self._pages:
            if len(ordered) >= most or octets >= BROWSED_OCTETS:
                break
            if page.last >= position:
                octets += self._look_into(page, position, ordered)
        if len(ordered) < most and octets < BROWSED_OCTETS and self._fresh:
            self._look_at_fresh(position, most, octets, ordered)
        back = [entry for entry in [*self._returned, *self._back] if entry[0] >= position]
        if not back:
            return ordered[:most] if len(ordered) > most else ordered
        back.sort(key=places.position_of)
        return places.merged([back, ordered], most)

    def _look_into(self, page: Page, position: i64, found: list[Entry]) -> i64:
        """Note what a page has from a position on, and give its octets."""
        octets: i64 = 0
        for index, message in enumerate(self._pager.read(page)):
            at = page.position(index)
            if message is not None and at >= position and at not in self._gone_from_pages:
                octets += message.size()
                found.append((at, message, page.returned(index)))
        return octets

    def _look_at_fresh(self, position: i64, most: i64, octets: i64, found: list[Entry]) -> None:
        """Note what never left memory, by index: there may be very many before it."""
        fresh = self._fresh
        positions = self._positions
        index: i64 = max(0, position - self._head)
        if positions is not None:
            index = places.first_position(positions, position)
        while index < len(fresh) and len(found) < most and octets < BROWSED_OCTETS:
            message = fresh[index]
            if message is not GONE:
                octets += message.size()
                found.append((self._head + index if positions is None else positions[index], message, 0))
            index += 1
