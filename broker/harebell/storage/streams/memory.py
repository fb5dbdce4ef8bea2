"""Logs of streams in memory: for a node without a data directory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final

from harebell.content.chunks import scan_head
from harebell.storage.streams.blocks import CACHE_OCTETS, BlockCache, CachedBlock
from harebell.storage.streams.compaction import Chunks, Compaction, Outcome, Rewriting
from harebell.storage.streams.log import SegmentedLog
from harebell.storage.streams.segments import Segment
from harebell.streaming import StreamLog, StreamLogs

WORK: Final = 4
"""Compaction looks at so many octets for each that is appended."""

LEAST_WORK: Final = 4096
"""What it looks at for the smallest chunk."""

STEP: Final = 64
"""What a step counts at least."""


class MemoryRewriting(Rewriting):
    """Chunks that belong in the place of a segment.

    Attributes:
        chunks: of each block.
    """

    def __init__(self, old: Segment, latest: int) -> None:
        self.segment = Segment(old.queue_id, old.first, latest)
        self.chunks: dict[int, list[bytes]] = {}

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        head = scan_head(chunk, 0)
        assert head is not None, "only valid chunks are kept"
        segment = self.segment
        if segment.add(len(chunk), int(head.first), int(head.next), int(head.timestamp)):
            self.chunks[segment.firsts[-1]] = []
        self.chunks[segment.firsts[-1]].append(chunk)

    def complete(self) -> None:
        """Nothing is to be done."""
        self.segment.finished = True

    def abandon(self) -> None:
        """Nothing is to be done."""


class MemoryChunks(Chunks):
    """Gives compaction what a log has.

    Args:
        chunks: by the first offset of their block.
    """

    def __init__(self, chunks: dict[int, list[bytes]]) -> None:
        self._chunks = chunks

    def read(self, segment: Segment) -> Generator[bytes, None, None]:
        """Give the chunks of a segment; one that is gone has none."""
        for first in segment.firsts:
            yield from self._chunks.get(first, ())

    def rewrite(self, segment: Segment, latest: int, octets: int) -> Rewriting:
        """Begin with the first chunks of a segment."""
        made = MemoryRewriting(segment, latest)
        with closing(self.read(segment)) as chunks:
            while made.segment.size < octets:
                made.add(next(chunks))
        return made


class MemoryStreamLog(SegmentedLog):
    """A log whose chunks are in memory, by the first offset of their block.

    Args:
        queue_id, segment_octets, cache: see ``SegmentedLog``.
    """

    def __init__(self, queue_id: int, segment_octets: int, cache: BlockCache) -> None:
        super().__init__(queue_id, segment_octets, cache, [])
        self._chunks: dict[int, list[bytes]] = {}
        self._steps: Generator[int, None, None] | None = None

    def sync(self) -> None:
        """All is as durable as it gets: ``stored`` is told at once."""
        if self.reader is not None:
            self.reader.stored(self.next)

    def _rolled(self, segment: Segment) -> None:
        segment.finished = True
        self._compact(at_once=False)

    def _compact(self, at_once: bool) -> None:
        compaction = self._plan(MemoryChunks(self._chunks), at_once)
        if compaction is not None:
            self._steps = compaction.steps()

    def _work(self, octets: int) -> None:
        """Go on compacting, so that each chunk that comes waits for little of it."""
        compaction, steps = self._compaction, self._steps
        if compaction is None or steps is None:
            return
        left = max(LEAST_WORK, WORK * octets)
        while left > 0:
            looked = next(steps, -1)
            for outcome in compaction.outcomes:
                self._take(compaction, outcome)
            compaction.outcomes.clear()
            if looked < 0:
                self._steps = None
                self._compact(at_once=self._ended(compaction))
                return
            left -= max(STEP, looked)

    def _take(self, compaction: Compaction, outcome: Outcome) -> None:
        old, made = outcome.segment, outcome.rewriting
        if old.gone:
            return
        if not isinstance(made, MemoryRewriting):
            compaction.mark(old, outcome.compacted)
            return
        compaction.mark(made.segment, outcome.compacted)
        for first in old.firsts:
            del self._chunks[first]
        self._chunks.update(made.chunks)
        self._put(old, made.segment)

    def _keep(self, segment: Segment, chunk: bytes, begins: bool) -> None:
        if begins:
            self._chunks[segment.firsts[-1]] = [chunk]
        else:
            self._chunks[segment.firsts[-1]].append(chunk)
        self._work(len(chunk))

    def _load(self, segment: Segment, index: int) -> CachedBlock | None:
        return self._load_now(segment, index)

    def _load_now(self, segment: Segment, index: int) -> CachedBlock:
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

    in_memory = True

    def __init__(self, cache_octets: int = CACHE_OCTETS) -> None:
        self._cache = BlockCache(cache_octets)

    def open(self, queue_id: int, segment_octets: int) -> StreamLog:
        """Give an empty log."""
        return MemoryStreamLog(queue_id, segment_octets, self._cache)
