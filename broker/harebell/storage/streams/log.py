"""A stream's log as a list of segments, wherever their chunks are."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right

from harebell.storage.streams.blocks import BlockCache, CachedBlock
from harebell.storage.streams.segments import Segment
from harebell.streaming import Block, StreamLog


def _first(segment: Segment) -> int:
    return segment.first


def _latest(segment: Segment) -> int:
    return segment.latest


class SegmentedLog(StreamLog):
    """A log in segments whose decoded blocks are in a cache.

    The block that still grows does so in place, by the chunks that came since somebody last asked for it.

    Args:
        queue_id: the stream.
        segment_octets: it goes on in a new segment before one has more.
        cache: for the blocks of all logs.
        segments: what there is, oldest first; all but the last one have chunks.
    """

    def __init__(
        self, queue_id: int, segment_octets: int, cache: BlockCache, segments: list[Segment]
    ) -> None:
        super().__init__()
        self.queue_id = queue_id
        self._segment_octets = segment_octets
        self._cache = cache
        self._segments = segments
        if segments:
            self.first = segments[0].lowest
            self.next = segments[-1].next
            self.octets = sum(segment.size for segment in segments)

    @abstractmethod
    def _rolled(self, segment: Segment) -> None:
        """A segment is complete; the next one follows."""

    @abstractmethod
    def _keep(self, segment: Segment, chunk: bytes, begins: bool) -> None:
        """Keep a chunk that was noted in a segment; ``begins``: it is the first of a block."""

    @abstractmethod
    def _load(self, segment: Segment, index: int) -> CachedBlock | None:
        """Give a block that is not in the cache; None if it has to be read first."""

    @abstractmethod
    def _dropped(self, segments: list[Segment]) -> None:
        """Segments are no longer part of the log; without any others it was deleted."""

    def _within(self, segment: Segment, index: int, timestamp: int) -> int:
        """Give the first offset of a block's first chunk from a time or later, or the block's."""
        return segment.firsts[index]

    def append(self, chunk: bytes, first: int, following: int, timestamp: int) -> None:
        """Append a chunk.

        Raises:
            ValueError: its offsets are not behind those of the log.
        """
        if first < self.next or following <= first:
            raise ValueError("a chunk does not follow the one before it")
        segments = self._segments
        if not segments:
            segments.append(Segment(self.queue_id, first, 0))
        segment = segments[-1]
        if segment.size and segment.size + len(chunk) > self._segment_octets:
            full = segment
            segment = Segment(self.queue_id, first, full.latest)
            segments.append(segment)
            self._rolled(full)
        if self.octets == 0:
            self.first = first
        begins = segment.add(len(chunk), first, following, timestamp)
        self.next = following
        self.octets += len(chunk)
        if not begins:
            cached = self._cache.peek(self.queue_id, segment.firsts[-1])
            if cached is not None:
                cached.rest.append(chunk)
        self._keep(segment, chunk, begins)

    def block(self, offset: int) -> Block | None:
        """Give the block with an offset; see ``StreamLog``."""
        if offset >= self.next or self.octets == 0:
            end = max(offset, int(self.next))
            empty = Block(end, end, [], [], 0)
            empty.growing = True
            return empty
        segment, index = self._find(offset)
        first = segment.firsts[index]
        cached = self._cache.get(self.queue_id, first)
        if cached is None:
            cached = self._load(segment, index)
            if cached is None:
                return None
            self._complete(cached, segment, index)
        elif cached.rest or cached.block.growing:
            self._complete(cached, segment, index)
        return cached.block

    def ahead(self, offset: int) -> None:
        """Have the block with an offset read."""
        if offset >= self.next or self.octets == 0:
            return
        segment, index = self._find(offset)
        if self._cache.peek(self.queue_id, segment.firsts[index]) is None:
            cached = self._load(segment, index)
            if cached is not None:
                self._complete(cached, segment, index)

    def _find(self, offset: int) -> tuple[Segment, int]:
        at = max(0, bisect_right(self._segments, offset, key=_first) - 1)
        segment = self._segments[at]
        if not segment.firsts:  # only the last one can be empty, and it is not the only one
            segment = self._segments[at - 1]
        return segment, segment.block_with(offset)

    def _following(self, segment: Segment, index: int) -> int:
        """Give the offset a block ends before."""
        if index + 1 < len(segment.firsts):
            return segment.firsts[index + 1]
        if segment is self._segments[-1]:
            return int(self.next)
        return self._segments[self._segments.index(segment) + 1].lowest

    def _complete(self, cached: CachedBlock, segment: Segment, index: int) -> None:
        growing = segment is self._segments[-1] and index + 1 == len(segment.firsts)
        cached.complete(self._following(segment, index), growing)
        self._cache.put(self.queue_id, segment.firsts[index], cached)

    def offset_at(self, timestamp: int) -> int:
        """Give where to begin for what came at a time or later.

        Where the block is not in memory that is the block's first offset: then what is before that time is
        to be passed over by ``Message.arrived``.
        """
        at = bisect_left(self._segments, timestamp, key=_latest)
        if at == len(self._segments):
            return int(self.next)
        segment = self._segments[at]
        index = segment.block_since(timestamp)
        if index == len(segment.firsts):
            return int(self.next)
        return self._within(segment, index, timestamp)

    def last_chunk(self) -> int:
        """Give the first offset of the last chunk."""
        for segment in reversed(self._segments):
            if segment.last >= 0:
                return segment.last
        return int(self.next)

    def retain(self, most_octets: int, oldest: int) -> None:
        """Delete the oldest segments; ``trimmed`` is told at once."""
        gone: list[Segment] = []
        while len(self._segments) > 1:
            segment = self._segments[0]
            too_large = most_octets >= 0 and self.octets - segment.size >= most_octets
            if not too_large and (oldest < 0 or segment.latest >= oldest):
                break
            self.octets -= segment.size
            gone.append(self._segments.pop(0))
        if not gone:
            return
        self.first = self._segments[0].lowest
        self._forget(gone)
        if self.reader is not None:
            self.reader.trimmed()

    def delete(self) -> None:
        """Delete everything."""
        self.reader = None
        gone, self._segments = self._segments, []
        self.octets = 0
        self.first = self.next
        self._forget(gone)

    def _forget(self, gone: list[Segment]) -> None:
        for segment in gone:
            segment.gone = True
            for first in segment.firsts:
                self._cache.forget(self.queue_id, first)
        self._dropped(gone)
