"""Decoded blocks of all streams: each at most once, the least recently used go first."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from harebell.content.chunks import MARK, BadChunk, ChunkReader, scan_head, valid_chunk
from harebell.content.message import OVERHEAD
from harebell.streaming import Block

CACHE_OCTETS: Final = 64 * 1024 * 1024
"""Header and body octets, and what messages cost beside them, that decoded blocks may hold by default."""

SEARCHES: Final = 16
"""So many times the octets of a block are looked at to find what is valid behind damage."""


class CachedBlock:
    """A block and what it takes to let it grow.

    Args:
        first: the offset it begins with.
        rest: chunks that belong to it and are not decoded yet.

    Attributes:
        block: what readers share; its lists grow in place.
    """

    def __init__(self, first: int, rest: list[bytes]) -> None:
        self._reader = ChunkReader(first)
        self.block = Block(first, first, self._reader.offsets, self._reader.messages, 0)
        self.block.growing = True
        self.rest = rest

    @property
    def cost(self) -> int:
        """Octets of memory it takes."""
        return int(self.block.octets) + OVERHEAD * len(self.block.messages)

    def decode(self, data: bytes, highest: int) -> list[tuple[int, int]]:
        """Take the chunks of some octets, all but what is damaged.

        Args:
            data: octets of a segment.
            highest: the offset all their messages are before.

        Returns:
            Where the damaged octets begin and end.
        """
        damaged: list[tuple[int, int]] = []
        at = 0
        while at < len(data):
            try:
                at = int(self._reader.read(data, at))
            except BadChunk:
                end = behind_damage(data, at, int(self._reader.next), highest)
                damaged.append((at, end))
                at = end
        return damaged

    def complete(self, following: int, growing: bool) -> None:
        """Decode what came meanwhile.

        Args:
            following: the offset behind the block as it is now.
            growing: more may come.
        """
        for chunk in self.rest:
            # What damage left in the file may claim its offsets.
            with suppress(BadChunk):
                self._reader.read(chunk, 0)
        self.rest.clear()
        block, reader = self.block, self._reader
        block.offsets = reader.offsets
        block.octets = reader.octets
        block.next = following
        block.growing = growing


def behind_damage(data: bytes, at: int, lowest: int, highest: int) -> int:
    """Find the next whole chunk behind a damaged one.

    Where the damaged one's own head says it ends is looked at first: what follows its head may look like
    chunks, too, if a publisher made its messages so.

    Args:
        data: octets of a segment.
        at: where the damaged one begins.
        lowest, highest: the offset its messages have at least, and the one they are before.

    Returns:
        Where the next one begins; the end of ``data`` if there is none.
    """
    head = scan_head(data, at)
    if head is not None:
        end = at + int(head.size)
        if end == len(data):
            return end
        follower = valid_chunk(data, end)
        if follower is not None and lowest <= follower.first and follower.next <= highest:
            return end
    budget = SEARCHES * len(data)
    while True:
        at = data.find(MARK, at + 1)
        if at < 0:
            return len(data)
        head = scan_head(data, at)
        if head is None or head.first < lowest or head.next > highest or at + head.size > len(data):
            continue
        budget -= int(head.size)
        if budget < 0:
            return len(data)
        if valid_chunk(data, at) is not None:
            return at


class BlockCache:
    """Decoded blocks by queue id and first offset.

    Args:
        limit: octets they may take together; one is kept however large it is.
    """

    def __init__(self, limit: int = CACHE_OCTETS) -> None:
        self._limit = limit
        self._blocks: dict[tuple[int, int], tuple[CachedBlock, int]] = {}
        self.octets = 0

    def get(self, queue_id: int, first: int) -> CachedBlock | None:
        """Give a block and count that as a use of it."""
        key = (queue_id, first)
        found = self._blocks.pop(key, None)
        if found is None:
            return None
        self._blocks[key] = found
        return found[0]

    def peek(self, queue_id: int, first: int) -> CachedBlock | None:
        """Give a block; that is no use of it."""
        found = self._blocks.get((queue_id, first))
        return None if found is None else found[0]

    def put(self, queue_id: int, first: int, block: CachedBlock) -> None:
        """Take a block, or note that it has grown."""
        known = self.peek(queue_id, first)
        if known is block:
            self.octets -= self._blocks.pop((queue_id, first))[1]
        elif known is not None:
            self.forget(queue_id, first)
        block.block.cached = True
        cost = block.cost
        self._blocks[queue_id, first] = (block, cost)
        self.octets += cost
        while self.octets > self._limit and len(self._blocks) > 1:
            self.forget(*next(iter(self._blocks)))

    def forget(self, queue_id: int, first: int) -> None:
        """Drop a block if it is here; those who need it now keep it."""
        found = self._blocks.pop((queue_id, first), None)
        if found is not None:
            self.octets -= found[1]
            found[0].block.evict()
