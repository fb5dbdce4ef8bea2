"""What is known of a segment: how far it goes and where its blocks begin.

A block is a group of neighbouring chunks: it ends before the chunk that would make it larger than
``BLOCK_OCTETS``, and with its segment.  So its bounds depend on nothing but the chunks, and readers wherever
they begin share it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

UNKNOWN_KEY: Final = 0xFFFF_FFFF
"""What ``keyed`` is if nobody knows whether the segment was compacted."""

BLOCK_OCTETS: Final = 256 * 1024
"""Octets of the chunks in one block, unless a single chunk has more."""


class Segment:
    """One segment of a stream's log.

    Args:
        queue_id: the stream.
        first: the lowest offset it may hold; in its file's name.
        latest: the highest timestamp before it.

    Attributes:
        next: the offset behind its last message; ``first`` if there is none.  If a segment follows it and
            never was compacted, that begins there.
        size: its octets.
        last: the first offset of its last chunk; -1 if there is none.
        latest: the highest timestamp of its chunks and those before it, unix milliseconds.
        firsts: of each block, the first offset.
        latests: of each block, the highest timestamp so far, so that they ascend even if the clock did not.
        positions: of each block, its place in the segment.
        gone: it is no longer part of its log.
        made: it has a file, or had one.
        dropped: nothing of it is written any more.
        finished: it is complete and durable.
        replaced: its file is another one's now, and it is about to go.
        compacted: when compaction had seen all its keys, unix milliseconds; negative: never.
        keyed: what these keys were, see ``compaction.py``; 0 if it never was compacted.
    """

    def __init__(self, queue_id: int, first: int, latest: int) -> None:
        self.queue_id = queue_id
        self.first = first
        self.next = first
        self.size = 0
        self.last = -1
        self.latest = latest
        self.firsts = array("q")
        self.latests = array("q")
        self.positions = array("q")
        self.gone = False
        self.made = False
        self.dropped = False
        self.finished = False
        self.replaced = False
        self.compacted = -1
        self.keyed = 0

    @property
    def lowest(self) -> int:
        """The lowest offset it holds; ``next`` if there is none."""
        return self.firsts[0] if self.firsts else self.next

    def add(self, octets: int, first: int, following: int, timestamp: int) -> bool:
        """Note a chunk at the end.

        Args:
            octets: of the chunk.
            first, following: its first offset, and the one behind its last.
            timestamp: of the chunk.

        Returns:
            True if a block begins with it.
        """
        self.latest = max(self.latest, timestamp)
        begins = not self.positions or self.size - self.positions[-1] + octets > BLOCK_OCTETS
        if begins:
            self.firsts.append(first)
            self.latests.append(self.latest)
            self.positions.append(self.size)
        else:
            self.latests[-1] = self.latest
        self.size += octets
        self.next = following
        self.last = first
        return begins

    def block_with(self, offset: int) -> int:
        """Give the number of the block with an offset, or that before it in a gap; the first one at least."""
        return max(0, bisect_right(self.firsts, offset) - 1)

    def block_since(self, timestamp: int) -> int:
        """Give the number of the first block that has a chunk from a time or later."""
        return bisect_left(self.latests, timestamp)

    def end(self, index: int) -> int:
        """Give the place in the segment behind a block."""
        return self.positions[index + 1] if index + 1 < len(self.positions) else self.size
