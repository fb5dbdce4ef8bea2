"""What a store of timed messages keeps of each, by position: in memory of the near ones, on disk of the rest.

Far rows lie in leaves of 204 neighbours at most, sorted by position.  A leaf that was not opened lately is a
block of scratch, and some hundred octets of memory stand for it.  Most rows come in the order of their
positions, so most leaves are full, wherever the positions have gaps; what is left of two leaves that get
empty becomes one.
"""

from __future__ import annotations

from collections import deque
from heapq import nsmallest
from typing import Final

from librt.strings import read_i64_be
from librt.vecs import vec
from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.queues.timed_leaf import (
    CLAIM,
    DUE,
    LEAF_ROWS,
    LOCATION,
    OPEN,
    POSITION,
    RETURNS,
    WORDS,
    Leaf,
)
from harebell.scratch import Scratch

LEAVES_OPEN: Final = 32
"""So many leaves are in memory as a whole, those opened last."""

GONE: Final = -1
IN_MEMORY: Final = -3
"""Locations of a message that is held no longer, and of one whose body is in memory."""

_CLOSES: Final = 64
"""Leaves that one change closes, if many stayed open since there was no room for them."""

_CLAIM_BITS: Final = 32
_LOW_HALF: Final = (1 << 32) - 1


class Row:
    """What is kept of a near message: one in memory, or one that is being read.

    Attributes:
        location, claim, due, returns: see ``TimedRows.put``.
        message: the message, if it is in memory.
    """

    __slots__ = ("claim", "due", "location", "message", "returns")

    def __init__(self, location: i64, claim: i64, due: i64, returns: i64) -> None:
        self.location: i64 = location
        self.claim: i64 = claim
        self.due: i64 = due
        self.returns: i64 = returns
        self.message: Message | None = None


class TimedRows:
    """What is kept of each message, by position.

    Args:
        scratch: keeps what memory has no room for.
        leaf_rows, leaves_open: see ``LEAF_ROWS`` and ``LEAVES_OPEN``.

    Attributes:
        near: the rows that are in memory, of messages that are in memory or being read.
        far: how many others there are.
    """

    def __init__(self, scratch: Scratch, leaf_rows: i64 = LEAF_ROWS, leaves_open: i64 = LEAVES_OPEN) -> None:
        self.near: dict[int, Row] = {}
        self.far: i64 = 0
        self._scratch = scratch
        self._leaf_rows: i64 = leaf_rows
        self._leaves_open: i64 = leaves_open
        # A leaf with less than the first joins a neighbour if both together have no more than the second.
        self._few: i64 = leaf_rows // 4
        self._joined: i64 = leaf_rows * 3 // 4
        self._leaves: list[Leaf] = []
        self._open: deque[Leaf] = deque()
        # The block that was read last, and its handle.
        self._block: bytes = b""
        self._block_of: i64 = OPEN
        # What ``_seek`` found.
        self._at: i64 = 0
        self._slot: i64 = 0

    @property
    def count(self) -> i64:
        """Messages held."""
        return len(self.near) + self.far

    def put(self, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Set all that is kept of a message.

        Args:
            location: where it is: see ``paging.Page``, or ``IN_MEMORY``.
            claim: what it holds alive on disk; of no meaning here but for ``clear``.
            due: its time.
            returns: how often it came back (``paging.RETURN``).
        """
        row = self.near.get(int(position))
        if row is not None:
            if location == IN_MEMORY or row.location >= 0:
                row.location = location
                row.claim = claim
                row.due = due
                row.returns = returns
                return
            del self.near[int(position)]
        elif location == IN_MEMORY:
            if self.far > 0 and self._seek(position):
                self._remove()
            self.near[position] = Row(location, claim, due, returns)
            return
        self._put_far(position, location, claim, due, returns)

    def add(self, message: Message, position: i64, due: i64, returns: i64) -> None:
        """Take a message in memory that is not held."""
        row = Row(IN_MEMORY, 0, due, returns)
        row.message = message
        self.near[position] = row

    def move(self, position: i64, location: i64, claim: i64) -> None:
        """A message that is held is elsewhere now."""
        row = self.near.get(int(position))
        if row is not None:
            self.put(position, location, claim, row.due, row.returns)
        elif self._seek(position):
            self.put(position, location, claim, self._word(DUE), self._word(RETURNS))

    def approach(self, position: i64) -> Row | None:
        """Have the row of a far message in memory, since it is going to be read; None if it is not far."""
        if self.far == 0 or not self._seek(position):
            return None
        row = Row(self._word(LOCATION), self._word(CLAIM), self._word(DUE), self._word(RETURNS))
        self._remove()
        self.near[position] = row
        return row

    def drop(self, position: i64) -> bool:
        """Forget a message; False if it was not held."""
        if self.near.pop(int(position), None) is not None:
            return True
        if not self._seek(position):
            return False
        self._remove()
        return True

    def location(self, position: i64) -> i64:
        """Give where a message is; ``GONE`` if it is not held."""
        row = self.near.get(int(position))
        if row is not None:
            return row.location
        return self._word(LOCATION) if self._seek(position) else GONE

    def claim(self, position: i64) -> i64:
        """Give the claim of a message that is held."""
        row = self.near.get(int(position))
        if row is not None:
            return row.claim
        return self._word(CLAIM) if self._seek(position) else 0

    def due(self, position: i64) -> i64:
        """Give the time of a message that is held; ``GONE`` if it is not."""
        row = self.near.get(int(position))
        if row is not None:
            return row.due
        return self._word(DUE) if self._seek(position) else GONE

    def returns(self, position: i64) -> i64:
        """Give how often a message came back that is held."""
        row = self.near.get(int(position))
        if row is not None:
            return row.returns
        return self._word(RETURNS) if self._seek(position) else 0

    def positions_from(self, position: i64, most: i64) -> list[int]:
        """List positions from one on, ascending, so many at most."""
        found = nsmallest(most, [at for at in self.near if at >= position])
        leaves = self._leaves
        if leaves:
            self._seek(position)
            at: i64 = self._at if leaves[0].first <= position else 0
            slot: i64 = self._slot if leaves[0].first <= position else 0
            limit: i64 = len(found) + most
            while at < len(leaves) and len(found) < limit:
                leaf = leaves[at]
                self._at = at
                self._slot = slot
                while self._slot < leaf.slots and len(found) < limit:
                    if leaf.holds(self._slot):
                        found.append(int(self._word(POSITION)))
                    self._slot += 1
                at += 1
                slot = 0
            found.sort()
        return found[:most]

    def positions(self) -> list[int]:
        """List all positions, ascending; there may be millions."""
        return self.positions_from(0, self.count)

    def runs(self) -> list[tuple[int, int]]:
        """List first position and count of neighbours, ascending."""
        return self._walk({})

    def clear(self, claims: dict[int, int]) -> list[tuple[int, int]]:
        """Forget everything; give ``runs``.

        Args:
            claims: what rows claim of the journal (see ``timed.claim_of``) is added here, by segment.
        """
        found = self._walk(claims)
        for leaf in self._leaves:
            if leaf.handle != OPEN:
                self._scratch.drop(leaf.handle)
        self._leaves.clear()
        self._open.clear()
        self._block = b""
        self._block_of = OPEN
        self.near.clear()
        self.far = 0
        return found

    def _walk(self, claims: dict[int, int]) -> list[tuple[int, int]]:
        runs: list[tuple[int, int]] = []
        for position, row in self.near.items():
            _add_claim(claims, row.claim)
            runs.append((position, 1))
        first: i64 = 0
        count: i64 = 0
        for at in range(len(self._leaves)):
            leaf = self._leaves[at]
            self._at = at
            slot: i64 = 0
            while slot < leaf.slots:
                if leaf.holds(slot):
                    self._slot = slot
                    here: i64 = self._word(POSITION)
                    _add_claim(claims, self._word(CLAIM))
                    if count > 0 and here == first + count:
                        count += 1
                    else:
                        if count > 0:
                            runs.append((int(first), int(count)))
                        first = here
                        count = 1
                slot += 1
        if count > 0:
            runs.append((int(first), int(count)))
        runs.sort()
        return _joined(runs)

    def _seek(self, position: i64) -> bool:
        """Find a far row."""
        leaves = self._leaves
        low: i64 = 0
        high: i64 = len(leaves)
        while low < high:
            middle: i64 = (low + high) >> 1
            if leaves[middle].first <= position:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return False
        self._at = low - 1
        leaf = leaves[low - 1]
        self._slot = (
            leaf.slot_of(position) if leaf.handle == OPEN else leaf.slot_in(self._read(leaf), position)
        )
        return self._slot < leaf.slots and leaf.holds(self._slot) and self._word(POSITION) == position

    def _word(self, word: i64) -> i64:
        """Give a word of the row that was found."""
        leaf = self._leaves[self._at]
        if leaf.handle == OPEN:
            return leaf.rows[self._slot * WORDS + word]
        return read_i64_be(self._read(leaf), (self._slot * WORDS + word) * 8)

    def _read(self, leaf: Leaf) -> bytes:
        if self._block_of != leaf.handle:
            self._block = self._scratch.get(leaf.handle)
            self._block_of = leaf.handle
        return self._block

    def _put_far(self, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        leaves = self._leaves
        if leaves:
            last = leaves[-1]
            if last.takes(position, self._leaf_rows):
                self.far += 1
                last.add(position, location, claim, due, returns)
                return
        else:
            leaves.append(Leaf(position))
            self._opened(leaves[0])
        if position < leaves[0].first:
            leaves[0].first = position
        found: bool = self._seek(position)
        at: i64 = self._at
        leaf = leaves[at]
        if leaf.handle != OPEN:
            self._thaw(leaf)
            self._opened(leaf)
            self._seek(position)
        slot: i64 = self._slot
        if found:
            leaf.set(slot, position, location, claim, due, returns)
            return
        self.far += 1
        behind: Leaf | None = None
        if leaf.slots == self._leaf_rows:
            # Behind the last there is a new leaf, so that those before stay full.
            half: i64 = slot if slot == leaf.slots else leaf.slots // 2
            behind = Leaf(position if slot == half else leaf.rows[half * WORDS])
            behind.take(leaf, half)
            leaves.insert(at + 1, behind)
            if slot >= half:
                leaf = behind
                slot -= half
        if slot == leaf.slots:
            leaf.add(position, location, claim, due, returns)
        else:
            leaf.insert(slot, position, location, claim, due, returns)
        if behind is not None:
            self._opened(behind)

    def _opened(self, leaf: Leaf) -> None:
        """A leaf is in memory now: another one may have to leave it."""
        self._open.append(leaf)
        closes: i64 = _CLOSES
        while len(self._open) > self._leaves_open and closes > 0:
            closes -= 1
            oldest = self._open[0]
            handle = self._scratch.put(oldest.encode())
            if handle < 0:
                return
            self._open.popleft()
            oldest.handle = handle
            oldest.rows = vec[i64]()

    def _thaw(self, leaf: Leaf) -> None:
        """Open a leaf, which counts as open only when ``_opened`` was told."""
        block = self._read(leaf)
        handle: i64 = leaf.handle
        leaf.decode(block)
        self._discard(handle)

    def _discard(self, handle: i64) -> None:
        self._scratch.drop(handle)
        if self._block_of == handle:
            self._block = b""
            self._block_of = OPEN

    def _remove(self) -> None:
        """Forget the row that was found."""
        at: i64 = self._at
        leaf = self._leaves[at]
        self.far -= 1
        if leaf.handle == OPEN:
            leaf.remove(self._slot)
        else:
            leaf.gone |= 1 << int(self._slot)
            leaf.count -= 1
        if leaf.count == 0:
            self._give_up(at)
        elif leaf.count < self._few:
            if at + 1 < len(self._leaves) and leaf.count + self._leaves[at + 1].count <= self._joined:
                self._join(at)
            elif at > 0 and leaf.count + self._leaves[at - 1].count <= self._joined:
                self._join(at - 1)

    def _give_up(self, at: i64) -> None:
        """Forget a leaf that holds nothing."""
        leaf = self._leaves[at]
        del self._leaves[at]
        if leaf.handle == OPEN:
            self._open.remove(leaf)
        else:
            self._discard(leaf.handle)

    def _join(self, at: i64) -> None:
        """Make one leaf of two."""
        leaf = self._leaves[at]
        behind = self._leaves[at + 1]
        closed: bool = leaf.handle != OPEN
        if behind.handle == OPEN:
            self._open.remove(behind)
        else:
            self._thaw(behind)
        if closed:
            self._thaw(leaf)
        leaf.take(behind, 0)
        del self._leaves[at + 1]
        if closed:
            self._opened(leaf)


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make one run of those that follow each other."""
    found: list[tuple[int, int]] = []
    for first, count in runs:
        if found and found[-1][0] + found[-1][1] == first:
            found[-1] = (found[-1][0], found[-1][1] + count)
        else:
            found.append((first, count))
    return found


def _add_claim(claims: dict[int, int], claim: i64) -> None:
    if claim > 0:
        segment: int = claim >> _CLAIM_BITS
        claims[segment] = claims.get(segment, 0) + int(claim & _LOW_HALF)
