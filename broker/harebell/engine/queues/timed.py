"""Messages that wait for a time: the near ones in memory, the far ones on disk, in any order of arrival.

A message whose time is far leaves memory as soon as a page's worth of them gathered: its record is in the
journal anyway, and a transient one's is spilled.  What is left of it are a row (``timed_rows.py``) and its
position in the index of times (``time_index.py``), some 32 octets.  It is read back shortly before its time,
with others that are due then.  The store knows nothing of what becomes of messages whose time has come.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

from harebell.content.message import OVERHEAD, Message
from harebell.engine.deadlines import NEVER
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.queues.timed_rows import GONE, IN_MEMORY, TimedRows
from harebell.engine.time_index import POSITION, TimeIndex
from harebell.paging import (
    NOWHERE,
    PAGE_MESSAGES,
    PAGE_OCTETS,
    Moved,
    Page,
    Pager,
    PageTaker,
    PageUnreadable,
    Place,
)
from harebell.ports import Journal

FAR_KEPT: Final = 1024
"""So many far messages may gather in memory before the oldest of them leave it."""

AHEAD_MESSAGES: Final = 8192
AHEAD_OCTETS: Final = 4 * 1024 * 1024
"""Half as many messages as may be in memory for others to be read before their time, or octets of them."""

URGENT: Final = 500
"""Milliseconds before a time at which its messages are read even where more than half of these are here."""

EFFORT: Final = 20_000
"""Positions that one look moves between the wheels."""

LOOK_AGAIN: Final = 500
"""Milliseconds after which the index is told the time."""

_CLAIM_BITS: Final = 32
_LOW_HALF: Final = (1 << 32) - 1


class _Spilled:
    """A page of the spill log, kept until all of its messages are in memory or gone."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.left: i64 = page.count


class TimedStore(PageTaker):
    """The messages of one queue that wait for a time.

    Args:
        owner: told of messages that come from the disk, or are lost there.
        pager: reads and writes them.
        journal: told when a segment holds less that is alive.
        durable: whether persistent messages are in the journal.

    Attributes:
        octets: header and body octets of what is in memory.
        rows: what is kept of each message.
    """

    __slots__ = (
        "_ahead_octets", "_asked", "_cursor", "_due", "_due_at", "_durable", "_far", "_index", "_journal",
        "_looked", "_memory", "_next_page", "_owner", "_page_at", "_pager", "_reading", "_spilled", "octets",
        "rows",
    )  # fmt: skip

    def __init__(self, owner: Queue, pager: Pager, journal: Journal, durable: bool) -> None:
        self.rows = TimedRows()
        self.octets: i64 = 0
        self._owner = owner
        self._pager = pager
        self._journal = journal
        self._durable: bool = durable
        self._index = TimeIndex(self.rows)
        self._looked: i64 = 0
        self._memory: dict[int, Message] = {}
        self._far: deque[int] = deque()
        self._page_at: i64 = FAR_KEPT
        self._spilled: dict[int, _Spilled] = {}
        self._next_page: i64 = 1
        self._asked: set[int] = set()
        self._ahead_octets: i64 = 0
        self._reading: list[Page] = []
        self._due: deque[bytes] = deque()
        self._due_at: i64 = 0
        self._cursor: i64 = 0

    def add(self, message: Message, position: i64, due: i64, returns: i64, now: i64) -> None:
        """Take a message.

        Args:
            position: its own among those here.
            due, now: unix milliseconds; a time that is over is as good as now.
            returns: how often it came back (``paging.RETURN``).
        """
        if now >= self._looked + LOOK_AGAIN or now < self._looked:
            self._looked = now
            self._index.open(now, 0)
        self.rows.put(position, IN_MEMORY, 0, due, returns)
        self._keep(message, position)
        self._index.add(due, position)
        if due >= self._index.horizon():
            self._far.append(position)
            if len(self._far) >= self._page_at:
                self.page_out(FAR_KEPT // 2)

    def add_stored(self, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Take a message that recovery found.

        Args:
            location: of its record in the journal.
            claim: see ``claim_of``.
        """
        self.rows.put(position, location, claim, due, returns)
        self._index.add(due, position)

    def begin(self, now: i64) -> None:
        """Tell the time before messages are taken with ``add_stored``."""
        self._looked = now
        self._index.open(now, 0)

    def _keep(self, message: Message, position: i64) -> None:
        self._memory[position] = message
        size: i64 = len(message.header) + len(message.body)
        self.octets += size
        self._pager.used += size + OVERHEAD

    def _release(self, position: i64) -> Message:
        message = self._memory.pop(position)
        size: i64 = len(message.header) + len(message.body)
        self.octets -= size
        self._pager.used -= size + OVERHEAD
        return message

    def page_out(self, keep: i64) -> None:
        """Let far messages go to the disk until so many are left, those that came last."""
        far = self._far
        horizon: i64 = self._index.horizon()
        while len(far) > keep:
            batch: list[int] = []
            octets: i64 = 0
            while far and len(batch) < PAGE_MESSAGES and octets < PAGE_OCTETS:
                position: i64 = far.popleft()
                message = self._memory.get(position)
                if message is not None and self.rows.due(position) >= horizon:
                    batch.append(position)
                    octets += len(message.header) + len(message.body)
            if batch and not self._write(batch):
                far.extendleft(reversed(batch))
                # It is tried again when as many more are here.
                self._page_at = len(far) + PAGE_MESSAGES
                return
        self._page_at = FAR_KEPT

    def _write(self, batch: list[int]) -> bool:
        """Have pages made of messages; False if some have to stay for now."""
        batch.sort()
        kept: list[Entry] = []
        spilled: list[Entry] = []
        for position in batch:
            message = self._memory[position]
            entry = (position, message, 0)
            if self._durable and message.share > 0:
                kept.append(entry)
            else:
                spilled.append(entry)
        if kept:
            page = self._pager.write(kept, True)
            if page is None:
                return False
            for index, entry in enumerate(kept):
                message = self._release(entry[0])
                claim = claim_of(i64(message.segment), i64(message.share))
                self.rows.move(entry[0], page.location(index), claim)
        if spilled:
            page = self._pager.write(spilled, self._durable)
            if page is None:
                return False
            number: i64 = self._next_page
            self._next_page += 1
            self._spilled[number] = _Spilled(page)
            for index, entry in enumerate(spilled):
                self._release(entry[0])
                self.rows.move(entry[0], page.location(index), -number)
        return True

    def next(self) -> i64:
        """Give the time at which ``take_due`` has something to do; ``NEVER`` if the disk is to say so."""
        if not self._due:
            return self._index.next()
        on_disk = self.rows.location(read_i64_be(self._due[0], self._due_at)) >= 0
        return NEVER if on_disk and self._reading else 0

    def take_due(self, now: i64, most: i64, most_octets: i64) -> list[Entry]:
        """Take messages whose time has come, in the order of their times.

        Args:
            now: unix milliseconds.
            most, most_octets: so many at most, or so many octets of header and body and one more message.
        """
        self._looked = now
        index = self._index
        index.open(now, EFFORT)
        due = self._due
        while index.fine.first <= now:
            due.extend(index.fine.pop())
        found: list[Entry] = []
        octets: i64 = 0
        while due and len(found) < most and octets < most_octets:
            block = due[0]
            position: i64 = read_i64_be(block, self._due_at)
            location = self.rows.location(position)
            if location >= 0:
                self._demand(position)
                break
            self._due_at += POSITION
            if self._due_at >= len(block):
                due.popleft()
                self._due_at = 0
            if location == GONE:
                continue
            if self.rows.due(position) > now:
                # The clock went back after its bucket was taken.
                index.add(self.rows.due(position), position)
                continue
            returns = self.rows.returns(position)
            self.rows.drop(position)
            message = self._release(position)
            octets += message.size()
            found.append((position, message, returns))
        self._read_ahead(now)
        if len(self._far) > FAR_KEPT:
            self.page_out(FAR_KEPT // 2)
        return found

    def _demand(self, position: i64) -> None:
        """Have the next messages read whose time has come, the first of them with this position."""
        if int(position) in self._asked:
            return
        wanted: list[int] = []
        at: i64 = self._due_at
        for block in self._due:
            while at < len(block) and len(wanted) < PAGE_MESSAGES:
                self._want(read_i64_be(block, at), wanted)
                at += POSITION
            at = 0
            if len(wanted) >= PAGE_MESSAGES:
                break
        self._fetch(wanted)

    def _want(self, position: i64, wanted: list[int]) -> None:
        if self.rows.location(position) >= 0 and int(position) not in self._asked:
            self._asked.add(position)
            wanted.append(position)

    def _read_ahead(self, now: i64) -> None:
        """Have messages read whose time is near, unless enough of them are in memory."""
        fine = self._index.fine
        horizon: i64 = self._index.horizon()
        if fine.first == NEVER:
            self._cursor = max(self._cursor, horizon)
            return
        if self._cursor < fine.first:
            self._cursor = fine.first
        enough: bool = len(self._memory) >= AHEAD_MESSAGES or self.octets >= AHEAD_OCTETS
        if enough and self._cursor > now + URGENT:
            # Soon many can be read in one go.
            return
        wanted: list[int] = []
        room: i64 = AHEAD_MESSAGES - len(self._asked)
        while self._cursor < horizon and len(wanted) < room and len(self._memory) < 2 * AHEAD_MESSAGES:
            if self.octets >= 2 * AHEAD_OCTETS:
                break
            bucket = fine.buckets.get(int(self._cursor))
            self._cursor += 1
            if bucket is None:
                continue
            for block in bucket.all():
                at: i64 = 0
                while at < len(block):
                    self._want(read_i64_be(block, at), wanted)
                    at += POSITION
                if len(wanted) >= room:
                    break
        self._fetch(wanted)

    def _fetch(self, wanted: list[int]) -> None:
        wanted.sort()
        at: i64 = 0
        while at < len(wanted):
            page = self._page(wanted[at : at + PAGE_MESSAGES])
            at += PAGE_MESSAGES
            self._reading.append(page)
            self._pager.fetch(page, self)

    def _page(self, positions: list[int]) -> Page:
        """Make a page of messages that are on disk, to read them; it claims nothing."""
        writer = BytesWriter()
        locations = BytesWriter()
        octets: i64 = 0
        for position in positions:
            write_i64_be(writer, position)
            write_i64_be(locations, self.rows.location(position))
            claim = self.rows.claim(position)
            octets += claim & _LOW_HALF if claim > 0 else 256
        count: i64 = len(positions)
        first: i64 = positions[0]
        last: i64 = positions[count - 1]
        return Page(first, last, count, writer.getvalue(), locations.getvalue(), b"", octets, octets, [], [])

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Take messages that were asked for."""
        self._reading.remove(page)
        for index, message in enumerate(messages):
            position = page.position(index)
            self._asked.discard(int(position))
            if self.rows.location(position) < 0:
                continue
            if message is None:
                self._lose(position)
                continue
            self._unspill(self.rows.claim(position))
            self.rows.move(position, IN_MEMORY, 0)
            self._keep(message, position)
        self._owner.stocked()

    def _lose(self, position: i64) -> None:
        self._forget_row(position)
        self._owner.lost(position)

    def _unspill(self, claim: i64) -> None:
        """A message of a page of the spill log is there no more."""
        if claim < 0:
            spilled = self._spilled[-claim]
            spilled.left -= 1
            if spilled.left == 0:
                del self._spilled[-claim]
                self._pager.taken(spilled.page)

    def _forget_row(self, position: i64) -> None:
        """Forget a message that is on disk, with what it claims there."""
        claim = self.rows.claim(position)
        if claim > 0:
            self._journal.release(claim >> _CLAIM_BITS, claim & _LOW_HALF)
        self._unspill(claim)
        self.rows.drop(position)
        if int(position) in self._asked:
            self._asked.discard(int(position))
            for page in self._reading:
                index = page.index(position)
                if index >= 0:
                    page.relocate([(int(index), NOWHERE)])

    def remove(self, position: i64) -> bool:
        """Let go of a message; its claim on the disk is given up.  False if it is not here."""
        location = self.rows.location(position)
        if location == GONE:
            return False
        if location >= 0:
            self._forget_row(position)
            return True
        self.rows.drop(position)
        message = self._release(position)
        if self._durable and message.share > 0:
            self._journal.release(i64(message.segment), i64(message.share))
        return True

    def hasten(self, position: i64, due: i64) -> bool:
        """Have a message due at an earlier time; False if it is not here."""
        location = self.rows.location(position)
        if location == GONE:
            return False
        claim: i64 = self.rows.claim(position)
        self.rows.put(position, location, claim, due, self.rows.returns(position))
        self._index.add(due, position)
        return True

    def sorted(self, after: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """List times and positions of what is not due yet, the nearest first (see ``TimeIndex.sorted``)."""
        return self._index.sorted(after, most)

    def read(self, positions: list[int]) -> list[Message | None]:
        """Look at messages that are here, waiting for the disk; None for one that cannot be read now."""
        found: dict[int, Message | None] = {}
        on_disk: list[int] = []
        for position in positions:
            found[position] = self._memory.get(position)
            if self.rows.location(position) >= 0:
                on_disk.append(position)
        on_disk.sort()
        if on_disk:
            try:
                messages = self._pager.read(self._page(on_disk))
            except PageUnreadable:
                messages = []
            for index, message in enumerate(messages):
                found[on_disk[index]] = message
        return [found[position] for position in positions]

    def clear(self) -> list[int]:
        """Forget everything with its claims on the disk, and give the positions, ascending."""
        positions = self.rows.positions()
        released: dict[int, int] = {}
        for position in positions:
            claim: i64 = 0
            if self.rows.location(position) == IN_MEMORY:
                message = self._release(position)
                if self._durable and message.share > 0:
                    claim = claim_of(i64(message.segment), i64(message.share))
            else:
                claim = self.rows.claim(position)
            if claim > 0:
                segment: int = claim >> _CLAIM_BITS
                released[segment] = released.get(segment, 0) + int(claim & _LOW_HALF)
        for segment, octets in released.items():
            self._journal.release(segment, octets)
        for spilled in self._spilled.values():
            self._pager.taken(spilled.page)
        for page in self._reading:
            # Nobody waits for it any more; its files may go.
            self._pager.taken(page)
        self._spilled.clear()
        self._asked.clear()
        self._far.clear()
        self._due.clear()
        self._due_at = 0
        self._index.clear()
        self.rows.clear()
        return positions

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position."""
        found: list[tuple[int, Place]] = []
        for position in wanted:
            location = self.rows.location(position)
            if location == IN_MEMORY:
                message = self._memory[position]
                found.append((position, Place(message, message.location, self.rows.returns(position))))
            elif location != GONE:
                found.append((position, Place(None, location, self.rows.returns(position))))
        return found

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that records of messages that are on disk only were copied; give the positions changed."""
        found: list[int] = []
        for one in moved:
            if self.rows.location(one.position) < 0:
                continue
            self.rows.move(one.position, one.location, claim_of(to_segment, one.to_share))
            found.append(one.position)
        for page in self._reading:
            changes: list[tuple[int, int]] = []
            for position in found:
                index = page.index(position)
                if index >= 0 and page.location(index) != NOWHERE:
                    changes.append((int(index), self.rows.location(position)))
            if changes:
                page.relocate(changes)
        return found

    @property
    def on_disk(self) -> i64:
        """How many messages are on disk only."""
        return self.rows.count - len(self._memory)


def claim_of(segment: i64, share: i64) -> i64:
    """Give the claim of a message on the journal: so many octets of a segment."""
    return segment << _CLAIM_BITS | share
