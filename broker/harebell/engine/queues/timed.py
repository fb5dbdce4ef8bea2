"""Messages that wait for a time: the near ones in memory, the far ones on disk, in any order of arrival.

A message whose time is far leaves memory as soon as a page's worth of them gathered: its record is in the
journal anyway, and a transient one's is spilled.  What is left of it are a row (``timed_rows.py``) and an
entry in the index of times (``time_index.py``), which go to scratch as well when they are many.  It is read
back shortly before its time, with others that are due then.  The store knows nothing of what becomes of
messages whose time has come.
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
from harebell.engine.time_index import ENTRY, ENTRY_POSITION, Block, TimeIndex
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

AT_HAND: Final = 4 * PAGE_MESSAGES
"""So many entries whose time has come are taken from the index at once, and the rest of a millisecond."""

URGENT: Final = 500
"""Milliseconds before a time at which its messages are read even where more than half of these are here."""

EFFORT: Final = 20_000
"""Positions that one look moves between the wheels."""

LOOK_AGAIN: Final = 500
"""Milliseconds after which the index is told the time."""

SPILLED_ESTIMATE: Final = 32 * 1024
"""Octets that a message of the spill log counts where several are read at once."""

_CLAIM_BITS: Final = 32
_LOW_HALF: Final = (1 << 32) - 1


class _Spilled:
    """A page of the spill log, kept until all of its messages are in memory or gone."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.left: i64 = page.count
        # Rows know where each message is; what the page still has to say is what it claims.
        page.positions = b""
        page.locations = b""
        page.returns = b""


class TimedStore(PageTaker):
    """The messages of one queue that wait for a time.

    Args:
        owner: told of messages that come from the disk, or are lost there.
        pager: reads and writes them; its scratch keeps rows and entries.
        journal: told when a segment holds less that is alive.
        durable: whether persistent messages are in the journal.

    Attributes:
        octets: header and body octets of what is in memory.
        rows: what is kept of each message.
    """

    __slots__ = (
        "_asked", "_cursor", "_due", "_due_at", "_due_left", "_durable", "_far", "_front", "_here", "_index",
        "_journal", "_looked", "_next_page", "_owner", "_page_at", "_pager", "_reading", "_spilled", "octets",
        "rows",
    )  # fmt: skip

    def __init__(self, owner: Queue, pager: Pager, journal: Journal, durable: bool) -> None:
        self.rows = TimedRows(pager.scratch)
        self.octets: i64 = 0
        self._owner = owner
        self._pager = pager
        self._journal = journal
        self._durable: bool = durable
        self._index = TimeIndex(self.rows, pager.scratch)
        self._looked: i64 = 0
        # Messages in memory, and those that are being read.
        self._here: i64 = 0
        self._asked: i64 = 0
        self._far: deque[int] = deque()
        self._page_at: i64 = FAR_KEPT
        self._spilled: dict[int, _Spilled] = {}
        self._next_page: i64 = 1
        self._reading: list[Page] = []
        # Blocks of entries whose time has come, what is in the first once it was read, and where to go on.
        self._due: deque[Block] = deque()
        self._front: bytes = b""
        self._due_at: i64 = 0
        self._due_left: i64 = 0
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
        self.rows.add(message, position, due, returns)
        self._count(message)
        self._index.add(due, position)
        if due >= self._index.horizon(now):
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

    def held(self, position: i64) -> Message | None:
        """Give a message that is in memory."""
        row = self.rows.near.get(int(position))
        return None if row is None else row.message

    def _count(self, message: Message) -> None:
        """A message is in memory now."""
        size: i64 = len(message.header) + len(message.body)
        self.octets += size
        self._here += 1
        self._pager.used += size + OVERHEAD

    def _release(self, position: i64) -> Message:
        """Let a message go from memory; its row stays."""
        row = self.rows.near[position]
        message = row.message
        assert message is not None, "a message is let go of that is not in memory"
        row.message = None
        size: i64 = len(message.header) + len(message.body)
        self.octets -= size
        self._here -= 1
        self._pager.used -= size + OVERHEAD
        return message

    def page_out(self, keep: i64) -> None:
        """Let far messages go to the disk until so many are left, those that came last."""
        far = self._far
        horizon: i64 = self._index.horizon(self._looked)
        while len(far) > keep:
            batch: list[int] = []
            octets: i64 = 0
            while far and len(batch) < PAGE_MESSAGES and octets < PAGE_OCTETS:
                position: i64 = far.popleft()
                row = self.rows.near.get(int(position))
                message = None if row is None else row.message
                if row is not None and message is not None and row.due >= horizon:
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
        before: i64 = -1
        for position in batch:
            if position == before:
                # It was taken out, and came back while it was listed still.
                continue
            before = position
            message = self.rows.near[position].message
            assert message is not None, "a page is made of messages in memory"
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
            for index, entry in enumerate(spilled):
                self._release(entry[0])
                self.rows.move(entry[0], page.location(index), -number)
            self._spilled[number] = _Spilled(page)
        return True

    def next(self) -> i64:
        """Give the time at which ``take_due`` has something to do; ``NEVER`` if the disk is to say so."""
        if not self._due:
            return self._index.next()
        on_disk = self.rows.location(self._first_due()) >= 0
        return NEVER if on_disk and self._reading else 0

    def _first_due(self) -> i64:
        """Give the position in the first entry whose time has come."""
        if not self._front:
            self._front = self._index.blocks.read(self._due[0])
        return read_i64_be(self._front, self._due_at + ENTRY_POSITION)

    def _pass(self) -> None:
        """Be done with the first entry whose time has come."""
        self._due_at += ENTRY
        self._due_left -= 1
        if self._due_at >= len(self._front):
            self._index.blocks.drop(self._due.popleft())
            self._front = b""
            self._due_at = 0

    def take_due(self, now: i64, most: i64, most_octets: i64) -> list[Entry]:
        """Take messages whose time has come, in the order of their times.

        Args:
            now: unix milliseconds.
            most, most_octets: so many at most, or so many octets of header and body and one more message.
        """
        self._looked = now
        index = self._index
        index.open(now, EFFORT)
        found: list[Entry] = []
        octets: i64 = 0
        while len(found) < most and octets < most_octets and self._any_due(now):
            position = self._first_due()
            row = self.rows.near.get(int(position))
            time: i64 = self.rows.due(position) if row is None else row.due
            if time > now:
                # The clock went back after its bucket was taken, or it was taken out and came back.
                self._pass()
                index.add(time, position)
                continue
            if row is None:
                if time != GONE:
                    self._demand()
                    break
                self._pass()
                continue
            if row.message is None:
                # It is being read.
                break
            self._pass()
            message = self._release(position)
            self.rows.drop(position)
            octets += message.size()
            found.append((position, message, int(row.returns)))
        self._read_ahead(now)
        if len(self._far) > FAR_KEPT:
            self.page_out(FAR_KEPT // 2)
        return found

    def _any_due(self, now: i64) -> bool:
        """Tell whether there are entries whose time has come, and have some more at hand to read ahead."""
        fine = self._index.fine
        while fine.first <= now and self._due_left < AT_HAND:
            self._due_left += fine.entries()
            self._due.extend(fine.pop())
        return len(self._due) > 0

    def _demand(self) -> None:
        """Have the next messages read whose time has come."""
        wanted: list[int] = []
        at: i64 = self._due_at
        for block in self._due:
            self._want(self._index.blocks.read(block), at, PAGE_MESSAGES, wanted)
            at = 0
            if len(wanted) >= PAGE_MESSAGES:
                break
        self._fetch(wanted)

    def _want(self, entries: bytes, at: i64, most: i64, wanted: list[int]) -> None:
        """Note the positions of entries from an offset on, of what is not near, until there are so many."""
        near = self.rows.near
        while at < len(entries) and len(wanted) < most:
            position: int = read_i64_be(entries, at + ENTRY_POSITION)
            if position not in near:
                wanted.append(position)
            at += ENTRY

    def _read_ahead(self, now: i64) -> None:
        """Have messages read whose time is near, unless enough of them are in memory."""
        fine = self._index.fine
        horizon: i64 = self._index.horizon(now)
        if fine.first == NEVER:
            self._cursor = max(self._cursor, horizon)
            return
        if self._cursor < fine.first:
            self._cursor = fine.first
        enough: bool = self._here >= AHEAD_MESSAGES or self.octets >= AHEAD_OCTETS
        if enough and self._cursor > now + URGENT:
            # Soon many can be read in one go.
            return
        wanted: list[int] = []
        room: i64 = AHEAD_MESSAGES - self._asked
        while self._cursor < horizon and len(wanted) < room and self._here < 2 * AHEAD_MESSAGES:
            if self.octets >= 2 * AHEAD_OCTETS:
                break
            bucket = fine.buckets.get(int(self._cursor))
            self._cursor += 1
            if bucket is None:
                continue
            for piece in range(bucket.count()):
                self._want(bucket.read(piece), 0, room, wanted)
                if len(wanted) >= room:
                    break
        self._fetch(wanted)

    def _fetch(self, wanted: list[int]) -> None:
        """Have messages read, those of them that are far."""
        wanted.sort()
        batch: list[int] = []
        for position in wanted:
            if self.rows.approach(position) is not None:
                self._asked += 1
                batch.append(position)
                if len(batch) >= PAGE_MESSAGES:
                    self._submit(batch)
                    batch = []
        if batch:
            self._submit(batch)

    def _submit(self, batch: list[int]) -> None:
        page = self._page(batch)
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
            row = self.rows.near.get(int(position))
            if row is None or row.location < 0 or page.location(index) == NOWHERE:
                continue
            if message is None:
                self._lose(position)
                continue
            self._unspill(row.claim)
            self._asked -= 1
            row.location = IN_MEMORY
            row.claim = 0
            row.message = message
            self._count(message)
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
        self.unask(position)
        self.drop(position)

    def unask(self, position: i64) -> None:
        """What is being read of a message is wanted no more; its row is to be dropped next."""
        row = self.rows.near.get(int(position))
        if row is not None and row.location >= 0:
            self._asked -= 1
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
        else:
            message = self._release(position)
            self.drop(position)
            if self._durable and message.share > 0:
                self._journal.release(i64(message.segment), i64(message.share))
        return True

    def drop(self, position: i64) -> None:
        """Forget the row of a message that is taken out before its time."""
        self.rows.drop(position)
        if self.rows.count == 0:
            # Nobody should wait for what is here no longer.
            self._forget_times()

    def _forget_times(self) -> None:
        for block in self._due:
            self._index.blocks.drop(block)
        self._due.clear()
        self._due_left = 0
        self._front = b""
        self._due_at = 0
        self._far.clear()
        self._index.clear()

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
            found[position] = self.held(position)
            if found[position] is None and self.rows.location(position) >= 0:
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
        positions: list[int] = []
        for first, count in self.clear_runs():
            positions.extend(range(first, first + count))
        return positions

    def clear_runs(self) -> list[tuple[int, int]]:
        """Do as ``clear`` does, and give first position and count of neighbours, ascending."""
        released: dict[int, int] = {}
        for position, row in self.rows.near.items():
            if row.message is not None:
                message = self._release(position)
                if self._durable and message.share > 0:
                    row.claim = claim_of(i64(message.segment), i64(message.share))
        runs = self.rows.clear(released)
        for segment, octets in released.items():
            self._journal.release(segment, octets)
        for spilled in self._spilled.values():
            self._pager.taken(spilled.page)
        for page in self._reading:
            # Nobody waits for it any more; its files may go.
            self._pager.taken(page)
        self._spilled.clear()
        self._asked = 0
        self._forget_times()
        return runs

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by position."""
        found: list[tuple[int, Place]] = []
        for position in wanted:
            message = self.held(position)
            location = self.rows.location(position) if message is None else message.location
            if message is not None or location != GONE:
                found.append((position, Place(message, location, self.rows.returns(position))))
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
        return self.rows.count - self._here


def claim_of(segment: i64, share: i64) -> i64:
    """Give the claim of a message on the journal: so many octets of a segment."""
    return segment << _CLAIM_BITS | share


def claimed_octets(claim: i64) -> i64:
    """Give about how many octets a message has that is on disk: nobody knows of one that was spilled."""
    return claim & _LOW_HALF if claim > 0 else SPILLED_ESTIMATE
