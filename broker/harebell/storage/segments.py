"""What each segment of the log still holds, and so which can go.

Segments go strictly oldest first: a settle lies in a later segment than its enqueue, and must outlive it, or
settled messages would come back.  When the oldest holds little that is alive, its stragglers are copied
forward, so that one old message cannot pin the disk.
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
    """Counts of live enqueues by segment; a segment is named by a number that grows by one.

    Args:
        first: number of the oldest segment.
        bases: lsn of the first record of each segment, oldest first; the last is being written.
        enqueued: enqueues recorded in each, alive or not.
        limit: record octets of a full segment.

    Attributes:
        current: number of the segment being written.
        emptied: True if a settle left some segment without live enqueues since last looked at.
    """

    def __init__(self, first: i64, bases: list[int], enqueued: list[int], limit: i64 = SEGMENT_BYTES) -> None:
        self.first: i64 = first
        self.current: i64 = first + len(bases) - 1
        self.bases = bases
        self.limit: i64 = limit
        self.emptied: bool = False
        self._live: list[int] = [0] * len(bases)
        self._enqueued = enqueued
        self._moved: dict[tuple[int, int], int] = {}

    def add(self, count: i64) -> None:
        """Count enqueues appended to the current segment."""
        index: i64 = self.current - self.first
        self._live[index] = self._live[index] + count
        self._enqueued[index] = self._enqueued[index] + count

    def add_to(self, segment: i64, count: i64) -> None:
        """Count live enqueues that recovery found in a segment."""
        index: i64 = segment - self.first
        self._live[index] = self._live[index] + count

    def settle(self, segment: i64, queue_id: i64, position: i64) -> None:
        """An enqueue is alive no more."""
        if segment < self.first:
            moved = self._moved.pop((queue_id, position), -1)
            if moved < self.first:
                return
            segment = moved
        index: i64 = segment - self.first
        left: i64 = self._live[index] - 1
        self._live[index] = left
        if left == 0 and index == 0:
            self.emptied = True

    def moved(self, queue_id: i64, position: i64) -> None:
        """An enqueue was copied forward into the current segment."""
        self._moved[(queue_id, position)] = self.current
        self.add(1)

    def rotate(self, base: i64) -> None:
        """The next record, at ``base``, opens a new segment."""
        self.bases.append(base)
        self._live.append(0)
        self._enqueued.append(0)
        self.current += 1
        if self._live[0] == 0:
            self.emptied = True

    def full(self, appended: i64) -> bool:
        """Tell whether the current segment has its size."""
        base: i64 = self.bases[-1]
        return appended - base >= self.limit

    def reclaimable(self) -> list[int]:
        """Give the bases of the segments at the old end that hold nothing alive."""
        gone: list[int] = []
        for index in range(len(self.bases) - 1):
            if self._live[index] > 0:
                break
            gone.append(self.bases[index])
        return gone

    def forget(self, count: i64) -> None:
        """The oldest ``count`` segments are deleted."""
        del self.bases[:count]
        del self._live[:count]
        del self._enqueued[:count]
        self.first += count

    def total_enqueued(self) -> int:
        """Give the enqueues the log's segments say, alive or not."""
        return sum(self._enqueued)

    def total_live(self) -> int:
        """Give the live enqueues of the whole log."""
        return sum(self._live)
