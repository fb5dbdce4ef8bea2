"""Positions by the time that comes for them, however far away: 8 octets each.

Six wheels.  The buckets of the finest are milliseconds, so what it gives is never early and in order; those
of the others are about a second, a minute, an hour, three days and half a year wide.  A bucket is opened, its
positions going to the wheels below, some time before the first of them can be due; no position is moved more
than five times.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

from harebell.engine.deadlines import NEVER
from harebell.engine.queues.timed_rows import GONE, TimedRows

BITS: Final = (0, 10, 16, 22, 28, 34)
"""A bucket has two to the power of so many milliseconds."""

LEADS: Final = (0, 2_000, 4_000, 8_000, 16_000, 32_000)
"""Milliseconds before its beginning at which a bucket is opened."""

BLOCK_OCTETS: Final = 32_768
POSITION: Final = 8


class Bucket:
    """Positions in the order in which they came."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self._tail = BytesWriter()

    def add(self, position: i64) -> None:
        """Append a position."""
        write_i64_be(self._tail, position)
        if len(self._tail) >= BLOCK_OCTETS:
            self.blocks.append(self._tail.getvalue())
            self._tail = BytesWriter()

    def all(self) -> list[bytes]:
        """Give the positions, 8 octets each, in blocks."""
        return [*self.blocks, self._tail.getvalue()] if len(self._tail) > 0 else self.blocks.copy()


class Level:
    """Buckets of one width.

    Attributes:
        opened: whatever is due before this belongs into a level below.
        first: when the earliest bucket begins; ``NEVER`` if there is none.
        opening: blocks of a bucket that is being opened, the last one first.
    """

    def __init__(self, bits: i64, lead: i64) -> None:
        self.opened: i64 = 0
        self.first: i64 = NEVER
        self.opening: list[bytes] = []
        self.buckets: dict[int, Bucket] = {}
        self.bits: i64 = bits
        self.lead: i64 = lead
        self._order: list[int] = []

    def add(self, due: i64, position: i64) -> None:
        """Put a position into its bucket."""
        number: int = due >> self.bits
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = Bucket()
            heappush(self._order, number)
            self._note_first()
        bucket.add(position)

    def pop(self) -> list[bytes]:
        """Take the earliest bucket."""
        bucket = self.buckets.pop(heappop(self._order))
        self._note_first()
        return bucket.all()

    def _note_first(self) -> None:
        if self._order:
            first: i64 = self._order[0]
            self.first = first << self.bits
        else:
            self.first = NEVER

    def clear(self) -> None:
        """Forget everything."""
        self.first = NEVER
        self.opening = []
        self.buckets.clear()
        self._order.clear()


class TimeIndex:
    """Positions by their time.

    Args:
        rows: knows the time of each; what it does not hold any more is passed over.

    Attributes:
        fine: the finest wheel, whose buckets are numbered by their millisecond.
    """

    def __init__(self, rows: TimedRows) -> None:
        self._rows = rows
        self._levels: list[Level] = [Level(bits, lead) for bits, lead in zip(BITS, LEADS, strict=True)]
        self.fine: Level = self._levels[0]

    def horizon(self) -> i64:
        """Give the time before which all is in the finest wheel, or due."""
        return self._levels[1].opened

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
                effort -= self._spread(level.opening.pop())

    def _spread(self, block: bytes) -> i64:
        rows = self._rows
        at: i64 = 0
        while at < len(block):
            position = read_i64_be(block, at)
            if rows.location(position) != GONE:
                self.add(rows.due(position), position)
            at += POSITION
        return at // POSITION

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

        Args:
            after: time and position behind which to begin.
            most: how many.
        """
        rows = self._rows
        found: list[tuple[int, int]] = []
        for level in self._levels:
            blocks = level.opening
            for number in [-1, *sorted(level.buckets)]:
                if number >= 0:
                    blocks = level.buckets[number].all()
                    if len(found) >= most:
                        break
                    if ((number + 1) << level.bits) <= after[0]:
                        continue
                pairs: list[tuple[int, int]] = []
                for block in blocks:
                    for at in range(0, len(block), POSITION):
                        position = int(read_i64_be(block, at))
                        if rows.location(position) != GONE:
                            pair = (int(rows.due(position)), position)
                            if pair > after:
                                pairs.append(pair)
                pairs.sort()
                found.extend(pairs[:most])
            if len(found) >= most:
                break
        # One whose time was changed is listed twice, and what is being opened overlaps what is below it.
        return sorted(set(found))[:most]

    def clear(self) -> None:
        """Forget everything."""
        for level in self._levels:
            level.clear()
