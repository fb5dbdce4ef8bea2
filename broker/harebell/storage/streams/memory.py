"""Logs of streams in memory: for a node without a data directory."""

from __future__ import annotations

from harebell.content.chunks import scan_head
from harebell.storage.streams.blocks import CACHE_OCTETS, BlockCache, CachedBlock
from harebell.storage.streams.log import SegmentedLog
from harebell.storage.streams.segments import Segment
from harebell.streaming import StreamLog, StreamLogs


class MemoryStreamLog(SegmentedLog):
    """A log whose chunks are in memory, by the first offset of their block.

    Args:
        queue_id, segment_octets, cache: see ``SegmentedLog``.
    """

    def __init__(self, queue_id: int, segment_octets: int, cache: BlockCache) -> None:
        super().__init__(queue_id, segment_octets, cache, [])
        self._chunks: dict[int, list[bytes]] = {}

    def sync(self) -> None:
        """All is as durable as it gets: ``stored`` is told at once."""
        if self.reader is not None:
            self.reader.stored(self.next)

    def _rolled(self, segment: Segment) -> None:
        pass

    def _keep(self, segment: Segment, chunk: bytes, begins: bool) -> None:
        if begins:
            self._chunks[segment.firsts[-1]] = [chunk]
        else:
            self._chunks[segment.firsts[-1]].append(chunk)

    def _load(self, segment: Segment, index: int) -> CachedBlock | None:
        first = segment.firsts[index]
        return CachedBlock(first, self._chunks[first].copy())

    def _dropped(self, segments: list[Segment]) -> None:
        for segment in segments:
            for first in segment.firsts:
                del self._chunks[first]

    def _within(self, segment: Segment, index: int, timestamp: int) -> int:
        first = segment.firsts[index]
        for chunk in self._chunks[first]:
            head = scan_head(chunk, 0)
            if head is not None and head.timestamp >= timestamp:
                return int(head.first)
        return first


class MemoryStreamLogs(StreamLogs):
    """Keeps logs in memory.

    Args:
        cache_octets: what decoded blocks may take, beside the chunks.
    """

    def __init__(self, cache_octets: int = CACHE_OCTETS) -> None:
        self._cache = BlockCache(cache_octets)

    def open(self, queue_id: int, segment_octets: int) -> StreamLog:
        """Give an empty log."""
        return MemoryStreamLog(queue_id, segment_octets, self._cache)
