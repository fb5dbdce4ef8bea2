"""What a stream waits for the journal with, and what it keeps alive there until its own files hold it."""

from __future__ import annotations

from collections import deque

from mypy_extensions import i64

from harebell.engine.deadlines import NEVER
from harebell.ports import Journal


class ClosedChunk:
    """A chunk that waits for the journal."""

    __slots__ = ("data", "first", "following", "lsn", "timestamp")

    def __init__(self, data: bytes, first: i64, following: i64, timestamp: i64, lsn: i64) -> None:
        self.data = data
        self.first: i64 = first
        self.following: i64 = following
        self.timestamp: i64 = timestamp
        self.lsn: i64 = lsn


class Claims:
    """What a stream's messages count in segments of the journal until the stream's own files hold them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._earlier: deque[tuple[int, int, int]] = deque()
        self._segment: i64 = -1
        self._octets: i64 = 0
        self._following: i64 = 0

    def add(self, segment: i64, octets: i64, following: i64) -> None:
        """Claim octets of a segment for messages before an offset."""
        if octets == 0:
            return
        if segment != self._segment:
            self._close()
            self._segment = segment
        self._octets += octets
        self._following = following

    def _close(self) -> None:
        if self._segment >= 0:
            self._earlier.append((self._segment, self._octets, self._following))
        self._segment = -1
        self._octets = 0

    def release(self, following: i64) -> None:
        """Give up what messages before an offset claim."""
        if self._following <= following:
            self._close()
        earlier = self._earlier
        while earlier and earlier[0][2] <= following:
            segment, octets, _ = earlier.popleft()
            self._journal.release(segment, octets)

    def release_all(self) -> None:
        """Give up everything."""
        self.release(NEVER)

    def oldest(self) -> i64:
        """Give the number of the oldest segment claimed; ``NEVER`` if none is."""
        if self._earlier:
            return self._earlier[0][0]
        return self._segment if self._segment >= 0 else NEVER
