"""The ready messages of a queue in order of position: both ends in memory, the rest in pages on disk.

Here is what changes them; ``shelves.py`` says where they lie.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import i64

from harebell.content.message import OVERHEAD, Message
from harebell.engine.queues import places
from harebell.engine.queues.places import GONE
from harebell.engine.queues.residency import KEPT_AHEAD
from harebell.engine.queues.shelves import NO_PAGES, NONE_GONE, NOTHING_LOADED, Shelves
from harebell.engine.queues.stock import Entry, Stock
from harebell.paging import NOWHERE, PAGE_MESSAGES, PAGE_OCTETS, Page, PageUnreadable

DEEP_RETURNED: Final = 4 * PAGE_MESSAGES
"""So many messages that came back may be paged."""


class ReadyStore(Shelves):
    """The ready messages of one queue, or of one priority of it; arguments as for ``Shelves``."""

    __slots__ = ()

    def append(self, message: Message, position: i64) -> None:
        """Add a message behind all others."""
        fresh = self._fresh
        positions = self._positions
        if positions is not None:
            positions.append(position)
        elif not fresh:
            self._head = position
        fresh.append(message)
        body: i64 = len(message.body)
        size: i64 = len(message.header) + body
        self.count += 1
        self.octets += size
        self.bodies += body
        self._fresh_octets += size
        self._pager.used += size + OVERHEAD
        if not self.deep and (
            len(fresh) >= self._residency.deep_messages or self._fresh_octets >= self._residency.deep_octets
        ):
            self._residency.add(self)

    def skip(self, position: i64) -> None:
        """Leave a gap, for positions are counted from the head."""
        if self._positions is None and self._fresh:
            self._fresh.append(GONE)
            self._gone += 1

    def put_back(self, message: Message, position: i64, returns: i64) -> None:
        """Take a message back to its place."""
        if not self.by_return:
            heappush(self._returned, (position, message, returns))
        else:
            if self._back is NOTHING_LOADED:
                self._back = deque()
            self._back.append((position, message, returns))
        size: i64 = len(message.header) + len(message.body)
        self.count += 1
        self.octets += size
        self.bodies += len(message.body)
        self._pager.used += size + OVERHEAD
        if not self.deep and len(self._returned) >= DEEP_RETURNED:
            self._residency.add(self)

    def warm(self) -> bool:
        """Tell whether the oldest message is in memory; if it is not, it is being read from now on."""
        if self._gone == 0 and self.count == len(self._fresh):
            return self.count > 0
        if self._returned or self._back or self._loaded:
            return True
        if self._pages:
            self.read_ahead()
            return False
        return len(self._fresh) > 0

    def take(self) -> Message:
        """Take the oldest message, which must be in memory; sets ``position`` and ``returns``."""
        if self._gone == 0 and self.count == len(self._fresh):
            message = self._next_fresh()
        elif self._returned or self._back:
            entry = heappop(self._returned) if self._returned else self._back.popleft()
            self.position = entry[0]
            self.returns = entry[2]
            message = entry[1]
        elif self._loaded:
            position, message, returns = self._loaded.popleft()
            self.position = position
            self.returns = returns
            self._loaded_octets -= len(message.header) + len(message.body)
        else:
            message = self._next_fresh()
        body: i64 = len(message.body)
        size: i64 = len(message.header) + body
        self.count -= 1
        self.octets -= size
        self.bodies -= body
        self._pager.used -= size + OVERHEAD
        if self._gone > 0:
            self._trim()
        return message

    def _next_fresh(self) -> Message:
        message = self._fresh.popleft()
        self._fresh_octets -= len(message.header) + len(message.body)
        self.returns = 0
        positions = self._positions
        if positions is None:
            self.position = self._head
            self._head += 1
        else:
            self.position = positions.popleft()
        return message

    def fronts(self) -> list[Stock]:
        """Give the store itself: its messages are in order of arrival, but for those that came back."""
        return [self]

    def front(self) -> Message | None:
        """Give the oldest message that never came back, if it is in memory; else it is being read."""
        if self._loaded:
            return self._loaded[0][1]
        if self._pages:
            self.read_ahead()
            return None
        return self._fresh[0] if self._fresh else None

    def take_front(self, part: Stock) -> Message:
        """Take the oldest message that never came back; sets ``position``."""
        returned, back = self._returned, self._back
        self._returned, self._back = [], NOTHING_LOADED
        message = self.take()
        self._returned, self._back = returned, back
        return message

    def _trim(self) -> None:
        """Take ``GONE`` from the heads."""
        loaded = self._loaded
        while loaded and loaded[0][1] is GONE:
            loaded.popleft()
            self._gone -= 1
        fresh = self._fresh
        positions = self._positions
        while fresh and fresh[0] is GONE:
            fresh.popleft()
            self._gone -= 1
            if positions is not None:
                positions.popleft()
            else:
                self._head += 1

    def read_now(self) -> bool:
        """Have the oldest message in memory, waiting for the disk; False if it cannot be read now."""
        while not self._returned and not self._back and not self._loaded and self._pages:
            page = self._pages[0]
            try:
                messages = self._pager.read(page)
            except PageUnreadable:
                self.read_ahead()
                return False
            self._take_page(page, messages)
        return True

    def read_ahead(self) -> None:
        """Ask for the pages that consumers will need next."""
        pages = self._pages
        most: i64 = self._residency.ahead_messages()
        most_octets: i64 = self._residency.ahead_octets()
        while self._asked < len(pages):
            waiting: i64 = len(self._loaded) + self._asked * PAGE_MESSAGES
            octets: i64 = self._loaded_octets + self._asked_octets
            if waiting > most - PAGE_MESSAGES or (waiting > 0 and octets >= most_octets):
                return
            page = pages[self._asked]
            self._asked += 1
            self._asked_octets += page.octets
            self._pager.fetch(page, self)

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Take the messages of the oldest page; pages that were purged meanwhile are passed over."""
        if not self._pages or self._pages[0] is not page:
            return
        self._take_page(page, messages)
        self.read_ahead()
        if self._owner is not None:
            self._owner.stocked()

    def _take_page(self, page: Page, messages: list[Message | None]) -> None:
        self._pages.popleft()
        if self._asked > 0:
            self._asked -= 1
            self._asked_octets -= page.octets
        if self._loaded is NOTHING_LOADED:
            self._loaded = deque()
        loaded = self._loaded
        octets: i64 = 0
        bodies: i64 = 0
        count: i64 = 0
        gone = self._gone_from_pages
        gone_count: i64 = 0
        gone_octets: i64 = 0
        gone_bodies: i64 = 0
        for index, message in enumerate(messages):
            if gone and page.position(index) in gone:
                size, body = gone.pop(page.position(index))
                gone_octets += size
                gone_bodies += body
                gone_count += 1
            elif message is not None:
                loaded.append((page.position(index), message, page.returned(index)))
                octets += len(message.header) + len(message.body)
                bodies += len(message.body)
                count += 1
            elif self._owner is not None:
                self._owner.lost(page.position(index))
        self.count -= page.count - count - gone_count
        self.octets -= page.octets - octets - gone_octets
        self.bodies -= page.bodies - bodies - gone_bodies
        self._loaded_octets += octets
        self._pager.used += octets + count * OVERHEAD
        self._pager.taken(page)

    def is_deep(self) -> bool:
        """Tell whether there may be something to page."""
        return self._fresh_deep() or len(self._returned) >= DEEP_RETURNED

    def offer(self) -> None:
        """Be listed for paging if there is anything to page."""
        if not self.deep and self.is_deep():
            self._residency.add(self)

    def _fresh_deep(self) -> bool:
        residency = self._residency
        return len(self._fresh) >= residency.deep_messages or self._fresh_octets >= residency.deep_octets

    def page_out(self, most: i64) -> i64:
        """Write up to ``most`` pages, of what came back last and of the oldest fresh ones; give how many."""
        written: i64 = 0
        if len(self._returned) >= DEEP_RETURNED:
            written = self._page_returned(most)
        if not self._pages and not self._loaded and self._fresh_deep():
            self._keep_head()
        while written < most and self._fresh_deep():
            entries = self._take_fresh(PAGE_MESSAGES)
            if not entries:
                break
            page = self._pager.write(entries, self._durable)
            if page is None:
                self._undo(entries)
                break
            self._add_page(page)
            self._pager.used -= page.octets + page.count * OVERHEAD
            written += 1
        return written

    def _page_returned(self, most: i64) -> i64:
        """Write what came back, the newest first, with what is loaded behind it: pages lie behind both."""
        entries = sorted(self._returned)
        entries.extend(places.present(self._loaded))
        self._gone -= len(self._returned) + len(self._loaded) - len(entries)
        written: i64 = 0
        while written < most and len(entries) > KEPT_AHEAD:
            chunk = places.pop_page(entries, KEPT_AHEAD)
            page = self._pager.write(chunk, self._durable)
            if page is None:
                entries.extend(chunk)
                break
            self._add_page(page)
            self._pages.rotate(1)
            # Pages that were asked for come later than this one now: they are asked for again in their turn.
            self._asked = 0
            self._asked_octets = 0
            self._pager.used -= page.octets + page.count * OVERHEAD
            written += 1
        self._returned = entries
        self._loaded = NOTHING_LOADED
        self._loaded_octets = 0
        return written

    def _add_page(self, page: Page) -> None:
        if self._pages is NO_PAGES:
            self._pages = deque()
        self._pages.append(page)

    def _keep_head(self) -> None:
        kept = self._take_fresh(self._residency.kept_ahead)
        self._loaded = deque(kept)
        self._loaded_octets = places.octets_of(kept)

    def _take_fresh(self, most: i64) -> list[Entry]:
        """Take the oldest that never came back: so many, or a page's octets of them."""
        entries: list[Entry] = []
        octets: i64 = 0
        while len(entries) < most and octets < PAGE_OCTETS and self._fresh:
            entry = self._pop_fresh()
            if entry[1] is GONE:
                self._gone -= 1
                continue
            octets += len(entry[1].header) + len(entry[1].body)
            entries.append(entry)
        return entries

    def _pop_fresh(self) -> Entry:
        message = self._next_fresh()
        return (self.position, message, 0)

    def _undo(self, entries: list[Entry]) -> None:
        positions = self._positions
        for entry in reversed(entries):
            if positions is not None:
                positions.appendleft(entry[0])
            else:
                while self._head > entry[0] + 1:
                    self._fresh.appendleft(GONE)
                    self._gone += 1
                    self._head -= 1
                self._head = entry[0]
            self._fresh.appendleft(entry[1])
            self._fresh_octets += len(entry[1].header) + len(entry[1].body)

    def remove(self, wanted: list[int]) -> list[Entry]:
        """Take messages from wherever they are; those that are not here are passed over.

        Args:
            wanted: positions, ascending.
        """
        found: list[Entry] = []
        if self._returned or self._back:
            positions = set(wanted)
            found = sorted([entry for entry in [*self._returned, *self._back] if entry[0] in positions])
            if found:
                self._returned = [entry for entry in self._returned if entry[0] not in positions]
                heapify(self._returned)
                if self._back:
                    self._back = deque([entry for entry in self._back if entry[0] not in positions])
                for entry in found:
                    self._pager.used -= len(entry[1].header) + len(entry[1].body) + OVERHEAD
        if self._loaded:
            before: i64 = len(found)
            freed = places.remove_loaded(self._loaded, wanted, found)
            self._gone += len(found) - before
            self._loaded_octets -= freed
            self._pager.used -= freed + (len(found) - before) * OVERHEAD
        if self._pages:
            self._remove_paged(wanted, found)
        if self._fresh:
            before = len(found)
            freed = places.remove_fresh(self._fresh, self._positions, self._head, wanted, found)
            self._gone += len(found) - before
            self._fresh_octets -= freed
            self._pager.used -= freed + (len(found) - before) * OVERHEAD
        for entry in found:
            self.count -= 1
            self.octets -= len(entry[1].header) + len(entry[1].body)
            self.bodies -= len(entry[1].body)
        self._trim()
        return found

    def _remove_paged(self, wanted: list[int], found: list[Entry]) -> None:
        if self._gone_from_pages is NONE_GONE:
            self._gone_from_pages = {}
        gone = self._gone_from_pages
        at: i64 = 0
        for page in self._pages:
            end: i64 = at
            while end < len(wanted) and wanted[end] <= page.last:
                end += 1
            slots = places.places_in_page(page, wanted[at:end], gone)
            at = end
            messages = self._peeked(page) if slots else []
            left: list[tuple[int, int]] = []
            for place in slots if messages else []:
                message = messages[place]
                if message is not None:
                    found.append((page.position(place), message, page.returned(place)))
                    gone[page.position(place)] = (message.size(), len(message.body))
                    page.claim(i64(message.segment), -i64(message.share))
                    left.append((place, NOWHERE))
            if left:
                page.relocate(left)
        while self._asked == 0 and self._pages and places.all_gone(self._pages[0], gone):
            nothing: list[Message | None] = [None] * self._pages[0].count
            self._take_page(self._pages[0], nothing)

    def oldest(self) -> Message | None:
        """Give the oldest message if it is in memory; if it is not, it is being read from now on."""
        if not self.warm():
            return None
        if self._returned:
            return self._returned[0][1]
        return self._back[0][1] if self._back else self.front()

    def allow_gaps(self) -> None:
        """From now on positions are given with gaps."""
        if self._positions is None:
            self._positions = deque(range(self._head, self._head + len(self._fresh)))

    def restore(self, pages: list[Page], level: i64) -> None:
        """Take in what recovery found, oldest first."""
        for page in pages:
            self._add_page(page)
            self.count += page.count
            self.octets += page.octets
            self.bodies += page.bodies

    def clear(self) -> list[Page]:
        """Forget everything and give the pages there were."""
        pages = list(self._pages)
        paged_octets: i64 = 0
        paged: i64 = 0
        for page in pages:
            paged_octets += page.octets
            paged += page.count
        for size, _ in self._gone_from_pages.values():
            paged_octets -= size
            paged -= 1
        self._pager.used -= self.octets - paged_octets + (self.count - paged) * OVERHEAD
        self._gone = 0
        self._gone_from_pages = NONE_GONE
        self._returned.clear()
        self._back = NOTHING_LOADED
        self._loaded = NOTHING_LOADED
        self._pages = NO_PAGES
        self._fresh.clear()
        self._fresh_octets = 0
        if self._positions is not None:
            self._positions.clear()
        self._loaded_octets = 0
        self._asked = 0
        self._asked_octets = 0
        self.count = 0
        self.octets = 0
        self.bodies = 0
        return pages

    def close(self) -> list[Page]:
        """Forget everything, the owner too, for good; give the pages there were."""
        self._owner = None
        return self.clear()
