"""Scratch: blocks of octets that a node has no memory for, and that need not outlive it.

What is kept here can be made again from the journal by the next start, so nothing is ever synced, and nothing
is found again after a restart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from mypy_extensions import i64, mypyc_attr

BLOCK_OCTETS: Final = 8184
"""A block is no longer; with a head of 8 octets it fills pages of a disk."""

NO_ROOM: Final = -1
"""In place of a handle: the block is not kept, its owner has to."""


class ScratchUnreadable(Exception):
    """A block cannot be read, or is not what was kept; the node must stop, and a start makes it again."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Scratch(ABC):
    """Keeps blocks by handle.

    Attributes:
        blocks: how many it keeps.
    """

    def __init__(self) -> None:
        self.blocks: i64 = 0

    @abstractmethod
    def put(self, block: bytes) -> i64:
        """Keep a block of ``BLOCK_OCTETS`` at most, and give its handle; ``NO_ROOM`` if that cannot be."""

    @abstractmethod
    def get(self, handle: i64) -> bytes:
        """Give a block.

        Raises:
            ScratchUnreadable: it cannot be had any more.
        """

    @abstractmethod
    def drop(self, handle: i64) -> None:
        """Forget a block; its handle will be another one's."""


class MemoryScratch(Scratch):
    """Keeps blocks in memory: there is no disk."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[int, bytes] = {}
        self._next: i64 = 0

    def put(self, block: bytes) -> i64:
        """Keep a block."""
        handle: i64 = self._next
        self._next = handle + 1
        self._kept[handle] = block
        self.blocks += 1
        return handle

    def get(self, handle: i64) -> bytes:
        """Give a block."""
        return self._kept[handle]

    def drop(self, handle: i64) -> None:
        """Forget a block."""
        del self._kept[handle]
        self.blocks -= 1
