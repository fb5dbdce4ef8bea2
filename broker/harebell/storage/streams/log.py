"""A stream's log as a list of segments, wherever their chunks are."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import takewhile

from harebell.content.message import Message
from harebell.storage.streams.blocks import BlockCache, CachedBlock
from harebell.storage.streams.compaction import MOST_KEYS, Chunks, Compaction, key_mark
from harebell.storage.streams.segments import Segment
from harebell.streaming import Block, StreamLog


def _first(segment: Segment) -> int:
    return segment.first


def _latest(segment: Segment) -> int:
    return segment.latest


def _finished(segment: Segment) -> bool:
    return segment.finished


class SegmentedLog(StreamLog):
    """A log in segments whose decoded blocks are in a cache.

    The block that still grows does so in place, by the chunks that came since somebody last asked for it.

    Args:
        queue_id: the stream.
        segment_octets: it goes on in a new segment before one has more.
        cache: for the blocks of all logs.
        segments: what there is, oldest first; all but the last one have chunks.
    """

    _most_keys = MOST_KEYS

    def __init__(
        self, queue_id: int, segment_octets: int, cache: BlockCache, segments: list[Segment]
    ) -> None:
        super().__init__()
        self.queue_id = queue_id
        self._segment_octets = segment_octets
        self._cache = cache
        self._segments = segments
        self._key = ""
        self._looked_at = 0
        self._compaction: Compaction | None = None
        self._count()

    def _count(self) -> None:
        segments = self._segments
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
    def _load_now(self, segment: Segment, index: int) -> CachedBlock:
        """Give a block, read at once if need be, as far as it can be read."""

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
            # A gap behind it is known, and shall not look as if a file were gone.
            full.next = first
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

    def since(self, offset: int) -> Iterator[Message]:
        """Go through the messages at an offset and behind it; see ``StreamLog``.

        Blocks read for this do not go into the cache: what readers want soon is at other places, as a rule.
        """
        while offset < self.next and self.octets:
            segment, index = self._find(offset)
            following = self._following(segment, index)
            cached = self._load_now(segment, index)
            cached.complete(following, False)
            yield from cached.block.messages[int(cached.block.index(offset)) :]
            offset = max(following, offset + 1)

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
        """Delete the oldest segments."""
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

    def compact_by(self, key: str) -> None:
        """Compact by another key from the next full segment on."""
        if key == self._key:
            return
        self._key = key
        self._looked_at = 0
        if self._compaction is not None:
            self._compaction.stopped = True
        for segment in self._segments if key else ():
            if segment.keyed != key_mark(key):
                segment.compacted = -1

    def _plan(self, chunks: Chunks, at_once: bool = False) -> Compaction | None:
        """Give a pass if one is due: at least half of the closed segments' octets were in none yet.

        Args:
            at_once: do not wait for so many.
        """
        if not self._key or self._compaction is not None:
            return None
        closed = list(takewhile(_finished, self._segments[:-1]))
        dirty = [segment for segment in closed if segment.compacted < 0]
        octets = sum(segment.size for segment in dirty)
        if not octets or (not at_once and 2 * octets < sum(segment.size for segment in closed)):
            return None
        begin = max(self._looked_at, dirty[0].lowest)
        now = max(0, self._segments[-1].latest)
        self._compaction = Compaction(self._key, closed, begin, now, chunks, self._most_keys)
        return self._compaction

    def _ended(self, compaction: Compaction) -> bool:
        """A pass has ended, and all it made is in its place; True if another one is to go on at once."""
        self._compaction = None
        if compaction.stopped:
            return False
        self._looked_at = compaction.end
        return not compaction.complete

    def _put(self, old: Segment, new: Segment) -> None:
        """Put a segment, which may be empty, in the place of one that has the same messages and more."""
        at = self._segments.index(old)
        self._forget_blocks(old)
        if at > 0:
            self._cache.forget(self.queue_id, self._segments[at - 1].firsts[-1])
        if new.keyed != key_mark(self._key):
            new.compacted = -1
        self._segments[at : at + 1] = [new] if new.firsts else []
        self.octets += new.size - old.size
        old.gone = True
        self.first = self._segments[0].lowest

    def delete(self) -> None:
        """Delete everything."""
        self.reader = None
        if self._compaction is not None:
            self._compaction.stopped = True
        gone, self._segments = self._segments, []
        self.octets = 0
        self.first = self.next
        self._forget(gone)

    def _forget(self, gone: list[Segment]) -> None:
        for segment in gone:
            segment.gone = True
            self._forget_blocks(segment)
        self._dropped(gone)

    def _forget_blocks(self, segment: Segment) -> None:
        for first in segment.firsts:
            self._cache.forget(self.queue_id, first)
