"""Histograms of what happens often: a few comparisons and additions each, exact, of constant size.

Buckets are attributes, not a list: compiled, counting costs two or three nanoseconds, so nothing is sampled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from mypy_extensions import i64

DURATION_BOUNDS: Final[tuple[float, ...]] = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    5.0,
    30.0,
    300.0,
    3600.0,
)
"""Seconds that the buckets of ``Durations`` end at; a last one has no end."""

SIZE_BOUNDS: Final[tuple[int, ...]] = (
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
)
"""Octets that the buckets of ``Sizes`` end at, as RabbitMQ's; a last one has no end."""

ABSURD: Final = 1_000_000_000_000
"""Milliseconds."""


class Durations:
    """How long something took, in milliseconds of the engine's clock.

    Attributes:
        total: milliseconds altogether.
    """

    __slots__ = (
        "_b0", "_b1", "_b2", "_b3", "_b4", "_b5", "_b6", "_b7", "_b8", "_b9", "_b10", "_b11", "_b12",
        "_b13", "_b14", "total",
    )  # fmt: skip

    def __init__(self) -> None:
        self.total: i64 = 0
        self._b0: i64 = 0
        self._b1: i64 = 0
        self._b2: i64 = 0
        self._b3: i64 = 0
        self._b4: i64 = 0
        self._b5: i64 = 0
        self._b6: i64 = 0
        self._b7: i64 = 0
        self._b8: i64 = 0
        self._b9: i64 = 0
        self._b10: i64 = 0
        self._b11: i64 = 0
        self._b12: i64 = 0
        self._b13: i64 = 0
        self._b14: i64 = 0

    def add(self, elapsed: i64, times: i64) -> None:
        """Count one duration, or several equal ones; below zero, which a clock that was set may give, as 0.

        The clock stands still within a turn, so less than a millisecond mostly reads as none.  Decades mean
        that the beginning was not noted, and are not counted.
        """
        if elapsed < 1:
            self._b0 += times
            return
        self.total += elapsed * times
        if elapsed < 20:
            if elapsed < 2:
                self._b1 += times
            elif elapsed < 5:
                self._b2 += times
            elif elapsed < 10:
                self._b3 += times
            else:
                self._b4 += times
        elif elapsed < 500:
            if elapsed < 50:
                self._b5 += times
            elif elapsed < 100:
                self._b6 += times
            elif elapsed < 200:
                self._b7 += times
            else:
                self._b8 += times
        else:
            self._add_long(elapsed, times)

    def _add_long(self, elapsed: i64, times: i64) -> None:
        if elapsed < 1000:
            self._b9 += times
        elif elapsed < 5000:
            self._b10 += times
        elif elapsed < 30_000:
            self._b11 += times
        elif elapsed < 300_000:
            self._b12 += times
        elif elapsed < 3_600_000:
            self._b13 += times
        elif elapsed < ABSURD:
            self._b14 += times
        else:
            self.total -= elapsed * times

    def merge(self, other: Durations) -> None:
        """Add what another one counted."""
        self.total += other.total
        self._b0 += other._b0
        self._b1 += other._b1
        self._b2 += other._b2
        self._b3 += other._b3
        self._b4 += other._b4
        self._b5 += other._b5
        self._b6 += other._b6
        self._b7 += other._b7
        self._b8 += other._b8
        self._b9 += other._b9
        self._b10 += other._b10
        self._b11 += other._b11
        self._b12 += other._b12
        self._b13 += other._b13
        self._b14 += other._b14

    def counts(self) -> list[int]:
        """Give how many fell into each bucket; one more than there are ``DURATION_BOUNDS``."""
        return [
            self._b0,
            self._b1,
            self._b2,
            self._b3,
            self._b4,
            self._b5,
            self._b6,
            self._b7,
            self._b8,
            self._b9,
            self._b10,
            self._b11,
            self._b12,
            self._b13,
            self._b14,
        ]


class Sizes:
    """How large message bodies are.

    Attributes:
        total: octets altogether.
    """

    __slots__ = ("_b0", "_b1", "_b2", "_b3", "_b4", "_b5", "_b6", "_b7", "_b8", "total")

    def __init__(self) -> None:
        self.total: i64 = 0
        self._b0: i64 = 0
        self._b1: i64 = 0
        self._b2: i64 = 0
        self._b3: i64 = 0
        self._b4: i64 = 0
        self._b5: i64 = 0
        self._b6: i64 = 0
        self._b7: i64 = 0
        self._b8: i64 = 0

    def add(self, octets: i64) -> None:
        """Count one body."""
        self.total += octets
        if octets <= 100:
            self._b0 += 1
        elif octets <= 1000:
            self._b1 += 1
        elif octets <= 10_000:
            self._b2 += 1
        else:
            self._add_large(octets)

    def _add_large(self, octets: i64) -> None:
        if octets <= 100_000:
            self._b3 += 1
        elif octets <= 1_000_000:
            self._b4 += 1
        elif octets <= 10_000_000:
            self._b5 += 1
        elif octets <= 50_000_000:
            self._b6 += 1
        elif octets <= 100_000_000:
            self._b7 += 1
        else:
            self._b8 += 1

    def counts(self) -> list[int]:
        """Give how many fell into each bucket; one more than there are ``SIZE_BOUNDS``."""
        return [
            self._b0, self._b1, self._b2, self._b3, self._b4, self._b5, self._b6, self._b7, self._b8,
        ]  # fmt: skip


class Spread:
    """A histogram with bounds of its own, for what happens hundreds of times a second at most.

    One thread adds, any may read.

    Args:
        bounds: where buckets end, ascending; a last one has no end.

    Attributes:
        total: the sum of what was added.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.total: float = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def counts(self) -> list[int]:
        """Give how many fell into each bucket; one more than there are bounds."""
        return list(self._counts)


SYNC_BOUNDS: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
"""Seconds."""

BATCH_BOUNDS: Final[tuple[float, ...]] = (
    256,
    1024,
    4096,
    16_384,
    65_536,
    262_144,
    1_048_576,
    4_194_304,
    16_777_216,
)
"""Octets."""


class Commits:
    """The work of the thread that writes the journal.

    Attributes:
        syncs: seconds each fsync took.
        batches: octets written before each of them, or without one.
    """

    def __init__(self) -> None:
        self.syncs = Spread(SYNC_BOUNDS)
        self.batches = Spread(BATCH_BOUNDS)
