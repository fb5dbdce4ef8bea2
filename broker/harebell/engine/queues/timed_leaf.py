"""Rows of timed messages that are neighbours: in memory, or a block of scratch."""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from librt.vecs import append, vec
from mypy_extensions import i64

LEAF_ROWS: Final = 204
"""So many fill a block."""

OPEN: Final = -1
"""In place of the handle of a leaf that is in memory."""

POSITION: Final = 0
LOCATION: Final = 1
CLAIM: Final = 2
DUE: Final = 3
RETURNS: Final = 4
WORDS: Final = 5
"""A row is five words; the first ones are where these are in it."""


class Leaf:
    """Neighbouring far rows, ascending: in memory while it is open, else a block, which is never changed.

    Attributes:
        first: no position here is lower.
        count: rows held.
        slots: rows in the block, or in memory.
        handle: of the block.
        gone: a bit for each slot of the block whose row is not held any more.
        rows: five words for each row, while the leaf is open; there may be more room.
    """

    __slots__ = ("count", "first", "gone", "handle", "rows", "slots")

    def __init__(self, first: i64) -> None:
        self.first: i64 = first
        self.count: i64 = 0
        self.slots: i64 = 0
        self.handle: i64 = OPEN
        self.gone: int = 0
        self.rows: vec[i64] = vec[i64]()

    def holds(self, slot: i64) -> bool:
        """Tell whether the row of a slot is held."""
        return self.gone == 0 or not self.gone >> int(slot) & 1

    def takes(self, position: i64, most: i64) -> bool:
        """Tell whether a position can be appended, where so many rows are a full leaf."""
        slots: i64 = self.slots
        return self.handle == OPEN and 0 < slots < most and position > self.rows[(slots - 1) * WORDS]

    def slot_of(self, position: i64) -> i64:
        """Give the first slot of an open leaf whose position is not lower; ``slots`` if there is none."""
        rows = self.rows
        low: i64 = 0
        high: i64 = self.slots
        while low < high:
            middle: i64 = (low + high) >> 1
            if rows[middle * WORDS] < position:
                low = middle + 1
            else:
                high = middle
        return low

    def slot_in(self, block: bytes, position: i64) -> i64:
        """Do as ``slot_of`` does for a leaf whose block this is."""
        low: i64 = 0
        high: i64 = self.slots
        while low < high:
            middle: i64 = (low + high) >> 1
            if read_i64_be(block, middle * 8 * WORDS) < position:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Append a row to an open leaf."""
        at: i64 = self.slots * WORDS
        rows = self.rows
        if at < len(rows):
            self.set(self.slots, position, location, claim, due, returns)
        else:
            rows = append(rows, position)
            rows = append(rows, location)
            rows = append(rows, claim)
            rows = append(rows, due)
            self.rows = append(rows, returns)
        self.slots += 1
        self.count += 1

    def insert(self, slot: i64, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Put a row in front of a slot of an open leaf."""
        self.add(position, location, claim, due, returns)
        rows = self.rows
        at: i64 = self.slots * WORDS - 1
        while at >= (slot + 1) * WORDS:
            rows[at] = rows[at - WORDS]
            at -= 1
        self.set(slot, position, location, claim, due, returns)

    def set(self, slot: i64, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Put a row in place of another of an open leaf."""
        rows = self.rows
        at: i64 = slot * WORDS
        rows[at] = position
        rows[at + LOCATION] = location
        rows[at + CLAIM] = claim
        rows[at + DUE] = due
        rows[at + RETURNS] = returns

    def remove(self, slot: i64) -> None:
        """Take a row out of an open leaf."""
        rows = self.rows
        at: i64 = slot * WORDS
        end: i64 = (self.slots - 1) * WORDS
        while at < end:
            rows[at] = rows[at + WORDS]
            at += 1
        self.slots -= 1
        self.count -= 1

    def take(self, other: Leaf, slot: i64) -> None:
        """Append what another open leaf has from a slot on, which it has no longer."""
        rows = other.rows
        at: i64 = slot * WORDS
        end: i64 = other.slots * WORDS
        while at < end:
            self.add(rows[at], rows[at + LOCATION], rows[at + CLAIM], rows[at + DUE], rows[at + RETURNS])
            at += WORDS
        other.slots = slot
        other.count = slot

    def encode(self) -> bytes:
        """Give the block of an open leaf."""
        writer = BytesWriter()
        rows = self.rows
        at: i64 = 0
        end: i64 = self.slots * WORDS
        while at < end:
            write_i64_be(writer, rows[at])
            at += 1
        return writer.getvalue()

    def decode(self, block: bytes) -> None:
        """Open it: take in the rows of its block that are held."""
        slots: i64 = self.slots
        gone = self.gone
        self.handle = OPEN
        self.gone = 0
        self.slots = 0
        self.count = 0
        slot: i64 = 0
        while slot < slots:
            if gone == 0 or not gone >> int(slot) & 1:
                at: i64 = slot * 8 * WORDS
                self.add(
                    read_i64_be(block, at),
                    read_i64_be(block, at + 8 * LOCATION),
                    read_i64_be(block, at + 8 * CLAIM),
                    read_i64_be(block, at + 8 * DUE),
                    read_i64_be(block, at + 8 * RETURNS),
                )
            slot += 1
