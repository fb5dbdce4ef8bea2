"""Which segments the log has, what each still holds, and so which can go.

Segments go strictly oldest first: a settle lies in a later segment than its enqueue, and must outlive it, or
settled messages would come back.  When little of the log is alive, what is alive in its oldest segment is
copied forward, so that one old message cannot pin the disk.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""Record octets after which the log goes on in a new file."""

NAME_SUFFIX: Final = ".wal"


def segment_name(base: int) -> str:
    """Give the file name of the segment whose first record has lsn ``base``; names sort like lsns."""
    return f"{base:016x}{NAME_SUFFIX}"


class Segments:
    """Live octets by segment; a segment is named by a number that grows by one.

    A message's record counts for each queue that holds the message with its share: the record's octets
    divided by the queues that took it.

    Args:
        bases: lsn of the first record of each segment, oldest first; the last is being written.
        limit: record octets of a full segment.

    Attributes:
        first: number of the oldest segment.
        current: number of the segment being written.
        live_octets: what is alive in the whole log.
    """

    def __init__(self, bases: list[int], limit: i64 = SEGMENT_BYTES) -> None:
        self.first: i64 = 0
        self.current: i64 = len(bases) - 1
        self.bases = bases
        self.limit: i64 = limit
        self.live_octets: i64 = 0
        self._live: list[int] = [0] * len(bases)

    def add(self, segment: i64, octets: i64) -> None:
        """Some queue holds a message of a segment."""
        index: i64 = segment - self.first
        self._live[index] = self._live[index] + octets
        self.live_octets += octets

    def settle(self, segment: i64, octets: i64) -> None:
        """Some queue no longer holds a message of a segment."""
        index: i64 = segment - self.first
        if index < 0:
            return
        self._live[index] = self._live[index] - octets
        self.live_octets -= octets

    def index_of(self, lsn: i64) -> i64:
        """Give the place in ``bases`` of the segment that holds an lsn; -1 if it was deleted."""
        bases = self.bases
        low: i64 = 0
        high: i64 = len(bases)
        while low < high:
            middle: i64 = (low + high) // 2
            base: i64 = bases[middle]
            if base <= lsn:
                low = middle + 1
            else:
                high = middle
        return low - 1

    def rotate(self, base: i64) -> None:
        """The next record, at ``base``, opens a new segment."""
        self.bases.append(base)
        self._live.append(0)
        self.current += 1

    def full(self, appended: i64) -> bool:
        """Tell whether the current segment has its size."""
        base: i64 = self.bases[-1]
        return appended - base >= self.limit

    def reclaimable(self, durable: i64) -> list[int]:
        """Give the bases of the segments at the old end that hold nothing alive and are wholly on disk."""
        gone: list[int] = []
        for index in range(len(self.bases) - 1):
            if self._live[index] > 0 or self.bases[index + 1] > durable:
                break
            gone.append(self.bases[index])
        return gone

    def forget(self, count: i64) -> None:
        """The oldest ``count`` segments are deleted."""
        del self.bases[:count]
        del self._live[:count]
        self.first += count
