"""Latencies in logarithmic buckets. Compiled.

A value below 256 ns has a bucket of its own; above, each power of two is cut into 128 equal
buckets, so a percentile is at most 0.8 % too high and never too low. Only buckets that were hit
exist, which makes an empty histogram free and merging two of them cheap.
"""

from typing import Final

from mypy_extensions import i64

_LINEAR: Final = 256


def bucket_of(value: i64) -> int:
    """Return the key of the bucket that holds ``value`` nanoseconds; keys sort as values do."""
    exponent: i64 = 0
    while value >= _LINEAR:
        value >>= 1
        exponent += 1
    return (exponent << 8) | value


def bucket_top(key: int) -> int:
    """Return the largest value in nanoseconds that falls into the bucket ``key``."""
    exponent = key >> 8
    return int((((key & 255) + 1) << exponent) - 1)


class Histogram:
    """Counts of latencies in nanoseconds, with exact minimum, maximum and mean."""

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count: int = 0
        self.total: int = 0
        self.minimum: int = 0
        self.maximum: int = 0

    def record(self, value: i64, count: i64) -> None:
        """Count ``count`` latencies of ``value`` nanoseconds, which is not negative."""
        key = bucket_of(value)
        self.buckets[key] = self.buckets.get(key, 0) + count
        if self.count == 0 or value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value
        self.count += count
        self.total += value * count

    def merge(self, other: "Histogram") -> None:
        """Add everything ``other`` has counted."""
        if other.count == 0:
            return
        for key, count in other.buckets.items():
            self.buckets[key] = self.buckets.get(key, 0) + count
        if self.count == 0 or other.minimum < self.minimum:
            self.minimum = other.minimum
        if other.maximum > self.maximum:
            self.maximum = other.maximum
        self.count += other.count
        self.total += other.total

    def clear(self) -> None:
        """Forget everything."""
        self.buckets = {}
        self.count = 0
        self.total = 0
        self.minimum = 0
        self.maximum = 0

    def percentile(self, per_hundred_thousand: int) -> int:
        """Return the nearest-rank percentile in nanoseconds, 0 when nothing was counted.

        ``per_hundred_thousand`` is the rank without fractions: 50,000 is the median, 99,900 is p99.9.
        """
        if self.count == 0:
            return 0
        rank = max(1, -(-self.count * per_hundred_thousand // 100_000))
        seen = 0
        for key in sorted(self.buckets):
            seen += self.buckets[key]
            if seen >= rank:
                return max(self.minimum, min(self.maximum, bucket_top(key)))
        return self.maximum

    def mean(self) -> float:
        """Return the mean in nanoseconds, 0 when nothing was counted."""
        return self.total / self.count if self.count else 0.0
