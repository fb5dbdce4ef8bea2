"""Positions by the time that comes for them, however far away: 16 octets each, most of them on disk.

Wheels.  The buckets of the finest are milliseconds, so what it gives is never early and in order; those of
the others are about a second, a minute, an hour, three days, half a year and more wide.  A bucket is opened,
its positions going to the wheels below, some time before the first of them can be due; no position of this
millennium is moved more than six times.  A bucket is blocks of scratch and an end in memory.
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

from harebell.engine.deadlines import NEVER
from harebell.engine.queues.timed_rows import TimedRows
from harebell.scratch import BLOCK_OCTETS, Scratch

BITS: Final = (0, 10, 16, 22, 28, 34, 40, 46, 52, 58)
"""A bucket has two to the power of so many milliseconds, so no wheel has many buckets, whatever times are."""

LEADS: Final = (0, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000)
"""Milliseconds before its beginning at which a bucket is opened."""

FARTHEST: Final = LEADS[1] + (2 << BITS[1])
"""Milliseconds ahead up to which the finest wheel has all, at most."""

ENTRY: Final = 16
"""Octets of an entry: a time, and the position that was to come at it when it was made."""

ENTRY_POSITION: Final = 8
"""Where the position is in an entry."""

BLOCK: Final = BLOCK_OCTETS // ENTRY * ENTRY
"""Octets of a full block."""

BLOCKS_KEPT: Final = 32
"""So many full blocks stay in memory, those that came first."""


class Block:
    """Entries of a bucket.

    Attributes:
        data: the entries; empty if scratch keeps them.
        handle: of scratch, -1 if the data are here.
    """

    __slots__ = ("data", "handle")

    def __init__(self, data: bytes, handle: i64) -> None:
        self.data = data
        self.handle: i64 = handle


class Blocks:
    """Where the blocks of one index are.

    Args:
        scratch: keeps those that memory has no room for.
        size, most: see ``BLOCK`` and ``BLOCKS_KEPT``.

    Attributes:
        size: octets of a full block.
    """

    def __init__(self, scratch: Scratch, size: i64, most: i64) -> None:
        self.size: i64 = size
        self._most: i64 = most
        self._scratch = scratch
        self._kept: i64 = 0

    def keep(self, data: bytes) -> Block:
        """Make a block."""
        if self._kept >= self._most:
            handle = self._scratch.put(data)
            if handle >= 0:
                return Block(b"", handle)
        return self.keep_here(data)

    def keep_here(self, data: bytes) -> Block:
        """Make a block that stays in memory, for one of few entries would waste a slot of scratch."""
        self._kept += 1
        return Block(data, -1)

    def read(self, block: Block) -> bytes:
        """Give the entries of a block."""
        return block.data if block.handle < 0 else self._scratch.get(block.handle)

    def drop(self, block: Block) -> None:
        """A block is needed no longer."""
        if block.handle < 0:
            self._kept -= 1
        else:
            self._scratch.drop(block.handle)


class Bucket:
    """Entries in the order in which they came."""

    def __init__(self, blocks: Blocks) -> None:
        self._all = blocks
        self._blocks: list[Block] = []
        self._tail = BytesWriter()

    def add(self, due: i64, position: i64) -> None:
        """Append an entry."""
        tail = self._tail
        write_i64_be(tail, due)
        write_i64_be(tail, position)
        if len(tail) >= self._all.size:
            self._blocks.append(self._all.keep(tail.getvalue()))
            self._tail = BytesWriter()

    def close(self) -> list[Block]:
        """Give the blocks; nothing can be added any more."""
        if len(self._tail) > 0:
            self._blocks.append(self._all.keep_here(self._tail.getvalue()))
        return self._blocks

    def entries(self) -> i64:
        """Count the entries."""
        return (len(self._blocks) * self._all.size + len(self._tail)) // ENTRY

    def count(self) -> int:
        """Give how many pieces there are to ``read``."""
        return len(self._blocks) + (1 if len(self._tail) > 0 else 0)

    def read(self, number: int) -> bytes:
        """Give the entries of one piece."""
        return self._all.read(self._blocks[number]) if number < len(self._blocks) else self._tail.getvalue()

    def drop(self) -> None:
        """Forget everything."""
        for block in self._blocks:
            self._all.drop(block)


class Level:
    """Buckets of one width.

    Args:
        bits, lead: see ``BITS`` and ``LEADS``.
        blocks: where theirs are.

    Attributes:
        opened: whatever is due before this belongs into a level below.
        first: when the earliest bucket begins; ``NEVER`` if there is none.
        opening: blocks of a bucket that is being opened, the last one first.
    """

    def __init__(self, bits: i64, lead: i64, blocks: Blocks) -> None:
        self.opened: i64 = 0
        self.first: i64 = NEVER
        self.opening: list[Block] = []
        self.buckets: dict[int, Bucket] = {}
        self.bits: i64 = bits
        self.lead: i64 = lead
        self._blocks = blocks
        self._order: list[int] = []

    def add(self, due: i64, position: i64) -> None:
        """Put a position into its bucket."""
        number: int = due >> self.bits
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = Bucket(self._blocks)
            heappush(self._order, number)
            self._note_first()
        bucket.add(due, position)

    def entries(self) -> i64:
        """Count the entries of the earliest bucket."""
        return self.buckets[self._order[0]].entries()

    def pop(self) -> list[Block]:
        """Take the earliest bucket; each of its blocks is to be dropped when it was read."""
        bucket = self.buckets.pop(heappop(self._order))
        self._note_first()
        return bucket.close()

    def _note_first(self) -> None:
        if self._order:
            first: i64 = self._order[0]
            self.first = first << self.bits
        else:
            self.first = NEVER

    def clear(self) -> None:
        """Forget everything."""
        for block in self.opening:
            self._blocks.drop(block)
        for bucket in self.buckets.values():
            bucket.drop()
        self.first = NEVER
        self.opening = []
        self.buckets.clear()
        self._order.clear()


class TimeIndex:
    """Positions by their time.

    Args:
        rows: knows the time of each; entries that say otherwise are of no meaning.
        scratch: keeps what memory has no room for.
        block, kept: see ``BLOCK`` and ``BLOCKS_KEPT``.

    Attributes:
        fine: the finest wheel, whose buckets are numbered by their millisecond.
        blocks: where the blocks of buckets are.
    """

    def __init__(
        self, rows: TimedRows, scratch: Scratch, block: i64 = BLOCK, kept: i64 = BLOCKS_KEPT
    ) -> None:
        self._rows = rows
        self.blocks = Blocks(scratch, block, kept)
        self._levels: list[Level] = [
            Level(bits, lead, self.blocks) for bits, lead in zip(BITS, LEADS, strict=True)
        ]
        self.fine: Level = self._levels[0]

    def horizon(self, now: i64) -> i64:
        """Give the time before which all is in the finest wheel, or due.

        It follows a clock that goes back, although what was opened is not closed again.
        """
        return min(self._levels[1].opened, now + FARTHEST)

    def add(self, due: i64, position: i64) -> None:
        """Add a position, of a message that is in the rows."""
        levels = self._levels
        number: i64 = 0
        while number + 1 < len(levels) and due >= levels[number + 1].opened:
            number += 1
        levels[number].add(due, position)

    def open(self, now: i64, effort: i64) -> None:
        """Open what comes near, some ``effort`` positions; ``next`` says whether something is left."""
        levels = self._levels
        number: i64 = len(levels) - 1
        while number > 0:
            level = levels[number]
            number -= 1
            until: i64 = (((now + level.lead) >> level.bits) + 1) << level.bits
            if until > level.opened:
                level.opened = until
            while level.opening or level.first < level.opened:
                if effort <= 0:
                    return
                if not level.opening:
                    level.opening = level.pop()
                    level.opening.reverse()
                effort -= self._spread(level.opening[-1])
                self.blocks.drop(level.opening.pop())

    def _spread(self, block: Block) -> i64:
        data = self.blocks.read(block)
        at: i64 = 0
        while at < len(data):
            self.add(read_i64_be(data, at), read_i64_be(data, at + ENTRY_POSITION))
            at += ENTRY
        return at // ENTRY

    def next(self) -> i64:
        """Give the time at which there is something to open or to take; ``NEVER`` if nothing is held."""
        nearest: i64 = self.fine.first
        for level in self._levels:
            if level.opening:
                return 0
            if level.first != NEVER and level.first - level.lead < nearest:
                nearest = level.first - level.lead
        return nearest

    def sorted(self, after: tuple[int, int], most: int) -> list[tuple[int, int]]:
        """List times and positions, the nearest first.

        Every entry of the buckets that reach up to the last time of the list is looked at.

        Args:
            after: time and position behind which to begin.
            most: how many.
        """
        found = _Nearest(self._rows, after[0], after[1], most)
        for level in self._levels:
            for block in level.opening:
                found.look(self.blocks.read(block))
            for number in sorted(level.buckets):
                if found.beyond(number << int(level.bits)):
                    break
                if (number + 1) << int(level.bits) > after[0]:
                    bucket = level.buckets[number]
                    for piece in range(bucket.count()):
                        found.look(bucket.read(piece))
        return found.listed()

    def clear(self) -> None:
        """Forget everything."""
        for level in self._levels:
            level.clear()


class _Nearest:
    """The nearest of the entries that were looked at, so many at most."""

    def __init__(self, rows: TimedRows, after: i64, behind: i64, most: i64) -> None:
        self._rows = rows
        self._after: i64 = after
        self._behind: i64 = behind
        self._most: i64 = most
        # Both negative, so that the farthest comes first.
        self._heap: list[tuple[int, int]] = []
        self._positions: set[int] = set()
        self._last: i64 = NEVER

    def beyond(self, time: i64) -> bool:
        """Tell whether nothing of this time or later can be among the nearest."""
        return len(self._heap) >= self._most and time > self._last

    def look(self, data: bytes) -> None:
        """Look at entries."""
        at: i64 = 0
        while at < len(data):
            due = read_i64_be(data, at)
            if self._after <= due <= self._last:
                self._consider(due, read_i64_be(data, at + ENTRY_POSITION))
            at += ENTRY

    def _consider(self, due: i64, position: i64) -> None:
        if due == self._after and position <= self._behind:
            return
        # An entry counts if its message still has this time; there may be two of it.
        if int(position) in self._positions:
            return
        entry = (int(-due), int(-position))
        full: bool = len(self._heap) >= self._most
        if (full and (self._most == 0 or entry <= self._heap[0])) or self._rows.due(position) != due:
            return
        if full:
            self._positions.discard(-heapreplace(self._heap, entry)[1])
        else:
            heappush(self._heap, entry)
        self._positions.add(position)
        if len(self._heap) >= self._most:
            last: i64 = self._heap[0][0]
            self._last = -last

    def listed(self) -> list[tuple[int, int]]:
        """Give times and positions, the nearest first."""
        return sorted([(-due, -position) for due, position in self._heap])
