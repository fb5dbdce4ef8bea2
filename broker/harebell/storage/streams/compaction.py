"""Compaction: a stream keeps the last message of each key, and goes without the earlier ones.

A pass reads the closed segments that no pass has read yet, and notes the last offset of each key, as far as
memory allows; then it goes through all segments up to there, oldest first, and rewrites those that have
something to lose.  Offsets stay, so gaps appear.  A message with a key and an empty body is a tombstone: it
is kept for ``TOMBSTONE_MS`` once all before it of its key is gone, so that readers that are behind see it.
(These are the rules of Kafka's log cleaner.)

A pass only adds files; whoever keeps the log puts them in the place of the old ones.  A segment with damage
is left as it is, and all tombstones behind it stay.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from harebell.content.chunk_keys import ChunkKeys, KeySource
from harebell.content.chunks import BadChunk, scan_head
from harebell.storage.streams.segments import Segment

TOMBSTONE_MS: Final = 24 * 60 * 60 * 1000
"""Milliseconds for which a tombstone stays in a segment whose keys were all looked at."""

MOST_KEYS: Final = 1 << 18
"""Keys that one pass notes, some 40 MB of memory; the next one goes on behind them."""

KEEP_TOMBSTONES: Final = 1 << 62
"""When a segment was compacted if nobody knows what damage before it holds."""

SLICE: Final = 256
"""Messages looked at in one step."""

SLICE_OCTETS: Final = 64 * SLICE
"""What they count if their chunk has more."""


def key_mark(name: str) -> int:
    """Give the number by which segments remember by which key they were compacted; never 0."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) or 1


class Rewriting(ABC):
    """A segment that is made from another one's chunks.

    Attributes:
        segment: what it has so far.
    """

    segment: Segment

    @abstractmethod
    def add(self, chunk: bytes) -> None:
        """Append a chunk."""

    @abstractmethod
    def complete(self) -> None:
        """All is there: have it on stable storage."""

    @abstractmethod
    def abandon(self) -> None:
        """It is not wanted."""


class Chunks(ABC):
    """Where a pass reads and writes; everything may raise OSError."""

    @abstractmethod
    def read(self, segment: Segment) -> Generator[bytes, None, None]:
        """Give the chunks of a segment; empty octets stand for damage."""

    @abstractmethod
    def rewrite(self, segment: Segment, latest: int, octets: int) -> Rewriting:
        """Begin a segment in the place of another one.

        Args:
            latest: the highest timestamp before it.
            octets: so many from the beginning stay as they are; the end of a chunk.
        """


class Outcome(NamedTuple):
    """What became of a segment in a pass.

    Attributes:
        segment: which one.
        rewriting: what is to be in its place; None: it stays as it is.
        compacted: what its attribute of this name is to be.
    """

    segment: Segment
    rewriting: Rewriting | None
    compacted: int


class Compaction:
    """One pass.

    Args:
        key: where keys are; see ``KeySource``.
        segments: all closed ones that are durable, oldest first.
        begin: the keys before this offset were looked at in earlier passes.
        now: unix milliseconds.
        chunks: reads and writes.
        most_keys: keys it may note.

    Attributes:
        end: the keys before this offset have been looked at, once ``steps`` has ended.
        complete: there were not too many of them.
        outcomes: to be taken by whoever runs it; in order.
        stopped: set to have it end early; then ``end`` means nothing.
    """

    def __init__(
        self,
        key: str,
        segments: list[Segment],
        begin: int,
        now: int,
        chunks: Chunks,
        most_keys: int = MOST_KEYS,
    ) -> None:
        self._mark = key_mark(key)
        self.end = begin
        self.complete = True
        self.outcomes: list[Outcome] = []
        self.stopped = False
        self._source = KeySource(key)
        self._segments = segments
        self._begin = begin
        self._now = now
        self._chunks = chunks
        self._most_keys = most_keys
        self._latest: dict[bytes, int] = {}
        self._damaged = False

    def steps(self) -> Generator[int, None, None]:
        """Do it, step by step.

        Yields:
            About how many octets were looked at in a step.

        Raises:
            OSError: the disk fails; what ``outcomes`` had is good.
        """
        yield from self._note()
        latest = 0
        for segment in self._segments:
            if self.stopped or segment.lowest >= self.end:
                break
            if not segment.gone:
                yield from self._rewrite(segment, latest)
            latest = segment.latest
        self._latest = {}

    def mark(self, segment: Segment, compacted: int) -> None:
        """Have a segment remember what this pass made of it."""
        segment.keyed = self._mark
        segment.compacted = -1 if self.stopped else compacted

    def _note(self) -> Iterator[int]:
        for segment in self._segments:
            if segment.next <= self._begin or segment.gone:
                continue
            with closing(self._chunks.read(segment)) as chunks:
                for chunk in chunks:
                    if self.stopped:
                        return
                    if 0 < _behind(chunk) <= self._begin:
                        continue
                    try:
                        keys = ChunkKeys(chunk, self._source)
                        while keys.note(self._latest, self._begin, self._most_keys, SLICE):
                            yield SLICE_OCTETS
                    except BadChunk:
                        self._damaged = True
                        continue
                    self.end = max(self.end, int(keys.next))
                    if keys.next < _behind(chunk):
                        self.complete = False
                        return
                    yield len(chunk)
            self.end = max(self.end, segment.next)

    def _rewrite(self, segment: Segment, latest: int) -> Iterator[int]:
        """Look what of a segment is to go, and from there on write another one."""
        stays = self._damaged or segment.compacted < 0
        tombstones = stays or self._now - segment.compacted < TOMBSTONE_MS
        rewriting: Rewriting | None = None
        made: Rewriting | None = None
        same = 0
        try:
            with closing(self._chunks.read(segment)) as chunks:
                for chunk in chunks:
                    if self.stopped or segment.gone:
                        return
                    try:
                        keys = ChunkKeys(chunk, self._source)
                        while keys.choose(self._latest, tombstones, SLICE):
                            yield SLICE_OCTETS
                    except BadChunk:
                        self._damaged = True
                        break
                    if keys.removed and rewriting is None:
                        rewriting = self._chunks.rewrite(segment, latest, same)
                    kept = keys.take()
                    if rewriting is None:
                        same += len(chunk)
                    elif kept:
                        rewriting.add(kept)
                    yield len(chunk)
                else:
                    if rewriting is not None:
                        rewriting.complete()
                        made, rewriting = rewriting, None
            self.outcomes.append(Outcome(segment, made, self._compacted(segment)))
        finally:
            if rewriting is not None:
                rewriting.abandon()
        yield 0

    def _compacted(self, segment: Segment) -> int:
        if segment.compacted < 0 and segment.next <= self.end:
            return KEEP_TOMBSTONES if self._damaged else self._now
        return segment.compacted


def _behind(chunk: bytes) -> int:
    """Give the offset behind a chunk; 0 if its head is damaged."""
    head = scan_head(chunk, 0)
    return 0 if head is None else int(head.next)
