"""When messages are over, by position: an index of 16 octets for each.

Two wheels of buckets.  A deadline within the next seconds lies in a bucket of some milliseconds; a later one
in a bucket of some seconds, which is spread over the fine ones when its time comes near.  Buckets are found
by their number and taken in order from a heap, so nothing is ever searched.  A deadline is reported when
its bucket is over: never early, and late by at most one fine bucket.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

NEVER: Final = 1 << 62
"""A deadline that does not come."""

FINE_BITS: Final = 3
COARSE_BITS: Final = 13
FINE: Final = 1 << FINE_BITS
COARSE: Final = 1 << COARSE_BITS
"""Milliseconds of a bucket."""


class Wheel:
    """Buckets of one width.

    Args:
        bits: a bucket has two to the power of so many milliseconds.
    """

    def __init__(self, bits: i64) -> None:
        self._bits: i64 = bits
        self._buckets: dict[int, BytesWriter] = {}
        self._order: list[int] = []

    def add(self, deadline: i64, position: i64) -> None:
        """Put a deadline into its bucket."""
        number: int = deadline >> self._bits
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = BytesWriter()
            heappush(self._order, number)
        write_i64_be(bucket, deadline)
        write_i64_be(bucket, position)

    def first(self) -> i64:
        """Give the time at which the earliest bucket begins."""
        if not self._order:
            return NEVER
        first: i64 = self._order[0]
        return first << self._bits

    def pop(self) -> bytes:
        """Take the earliest bucket: deadline and position, 8 octets each, of everything in it."""
        return self._buckets.pop(heappop(self._order)).getvalue()

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._order.clear()


class Deadlines:
    """The deadlines of one queue's messages; those of messages that left earlier do no harm.

    Attributes:
        count: deadlines held.
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self._fine = Wheel(FINE_BITS)
        self._coarse = Wheel(COARSE_BITS)
        self._horizon: i64 = 0

    def add(self, deadline: i64, position: i64) -> None:
        """Add a deadline, unix milliseconds."""
        self.count += 1
        if deadline < self._horizon:
            self._fine.add(deadline, position)
        else:
            self._coarse.add(deadline, position)

    def next(self) -> i64:
        """Give the time at which ``due`` has something to do; ``NEVER`` if nothing is held."""
        fine: i64 = self._fine.first()
        if fine != NEVER:
            fine += FINE
        coarse: i64 = self._coarse.first()
        return coarse if coarse < fine else fine

    def due(self, now: i64, most: i64) -> list[int]:
        """Take deadlines that have come, in no order, and give their positions.

        Args:
            now: unix milliseconds.
            most: stop when so many were found; a bucket is always taken as a whole.
        """
        self._spread(now)
        found: list[int] = []
        while len(found) < most and self._fine.first() + FINE <= now:
            bucket = self._fine.pop()
            at: i64 = 8
            while at < len(bucket):
                found.append(read_i64_be(bucket, at))
                at += 16
        self.count -= len(found)
        return found

    def _spread(self, now: i64) -> None:
        """Spread the coarse buckets that begin by now."""
        while self._coarse.first() <= now:
            self._horizon = self._coarse.first() + COARSE
            bucket = self._coarse.pop()
            at: i64 = 0
            while at < len(bucket):
                self._fine.add(read_i64_be(bucket, at), read_i64_be(bucket, at + 8))
                at += 16

    def clear(self) -> None:
        """Forget everything."""
        self.count = 0
        self._fine.clear()
        self._coarse.clear()
