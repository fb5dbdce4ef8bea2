"""The log of a stream: what the engine appends to it and reads from it, and who keeps it.

A message published to a stream goes through the journal as any other, with its offset as position.  Once it
is durable there, the engine hands it to the stream's log in a chunk (see ``content/chunks.py``), where
readers find it.  The log's files are synced later, and only then the journal may forget it: so a publisher
waits for one sync, transactions and dead letters stay one record, and the log's tail may be lost in a power
cut and is restored from the journal.

Readers take blocks: neighbouring chunks as they lie in a file, some hundred kilobytes, decoded once for all
readers that are there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import OVERHEAD, Message
from harebell.errors import NOT_IMPLEMENTED, BrokerError

DEFAULT_SEGMENT_OCTETS: Final = 64 * 1024 * 1024
"""Octets after which a stream goes on in a new segment."""

LEAST_SEGMENT_OCTETS: Final = 4096
"""The smallest segment anybody gets."""


class BlockHolder(ABC):
    """Somebody who has a block and may not need it for long."""

    __slots__ = ()

    @abstractmethod
    def evicted(self, block: Block) -> None:
        """The log has no longer room for a block: let go of it if it is not needed now."""


class Block:
    """Neighbouring messages of a stream, as all its readers share them.

    Attributes:
        first: the offset it begins with.
        next: the offset behind it, where the following block begins.
        offsets: of each message, ascending; empty if they are ``first``, ``first + 1`` and so on.
        messages: their headers tell their offset (``x-stream-offset``) already.
        octets: header and body octets of all.
        growing: True if more may come behind it: then ask the log again at ``next``.
        cached: True while the log has it in memory: then it costs nothing to keep it, too.
        holders: who keep it as long as that is so, and are told when it is not any more.
    """

    __slots__ = ("cached", "first", "growing", "holders", "messages", "next", "octets", "offsets")

    def __init__(
        self, first: i64, following: i64, offsets: list[int], messages: list[Message], octets: i64
    ) -> None:
        self.first: i64 = first
        self.next: i64 = following
        self.offsets = offsets
        self.messages = messages
        self.octets: i64 = octets
        self.growing: bool = False
        self.cached: bool = False
        self.holders: set[BlockHolder] = set()

    def evict(self) -> None:
        """The log has it no longer in memory."""
        self.cached = False
        holders = self.holders
        self.holders = set()
        for holder in holders:
            holder.evicted(self)

    def offset(self, index: i64) -> i64:
        """Give the offset of a message by its place in the block."""
        if not self.offsets:
            return self.first + index
        return self.offsets[index]

    def index(self, offset: i64) -> i64:
        """Give the place of the first message at an offset or behind it; as many as there are if none is."""
        count: i64 = len(self.messages)
        if not self.offsets:
            return min(max(offset - self.first, 0), count)
        low: i64 = 0
        high: i64 = count
        while low < high:
            middle: i64 = (low + high) // 2
            if self.offsets[middle] < offset:
                low = middle + 1
            else:
                high = middle
        return low

    def part(self, index: i64, octets: i64) -> Block | None:
        """Give some of the messages from a place on in a block of their own, which keeps no others in memory.

        Args:
            index: place of the first one.
            octets: what they may take in memory together.

        Returns:
            The block; None if not even the first one is that small.
        """
        end: i64 = index
        count: i64 = len(self.messages)
        size: i64 = 0
        while end < count:
            more: i64 = self.messages[end].size()
            if size + more + OVERHEAD * (end + 1 - index) > octets:
                break
            size += more
            end += 1
        if end == index:
            return None
        offsets = self.offsets[index:end] if self.offsets else []
        part = Block(self.offset(index), self.offset(end - 1) + 1, offsets, self.messages[index:end], size)
        part.growing = True
        return part


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamReader(ABC):
    """Whom the log tells, in the event loop."""

    __slots__ = ()

    @abstractmethod
    def block_arrived(self) -> None:
        """A block that was asked for and had to be read is there; ask again."""

    @abstractmethod
    def stored(self, following: i64) -> None:
        """All before an offset is on stable storage in the log's own files."""


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamLog(ABC):
    """One stream's log.  Nothing here waits for the disk but ``since``.

    Attributes:
        first: the lowest offset kept; ``next`` if there is none.
        next: the offset behind the last message appended.
        octets: what its segments hold.
        gaps: where files were gone when it was opened: the first offset of each gap, and the one behind it.
        reader: whom to tell; None at first.
    """

    def __init__(self) -> None:
        self.first: i64 = 0
        self.next: i64 = 0
        self.octets: i64 = 0
        self.gaps: list[tuple[int, int]] = []
        self.reader: StreamReader | None = None

    @abstractmethod
    def append(self, chunk: bytes, first: i64, following: i64, timestamp: i64) -> None:
        """Append a chunk; it can be read at once.

        Args:
            chunk: as ``content/chunks.py`` has it.
            first, following: its first offset, and the one behind its last; ``first`` may be above ``next``.
            timestamp: unix milliseconds of its messages' arrival.
        """

    @abstractmethod
    def block(self, offset: i64) -> Block | None:
        """Give the block with the first message at an offset or behind it.

        Returns:
            The block, perhaps one without any such message (then go on at its ``next``, unless it is
            ``growing``); None if it has to be read first: ``block_arrived`` is called later.
        """

    @abstractmethod
    def ahead(self, offset: i64) -> None:
        """Somebody will ask for the block at an offset soon: read it if it is not in memory."""

    @abstractmethod
    def offset_at(self, timestamp: i64) -> i64:
        """Give the first offset of the first chunk that came at a time or later, or a lower one.

        It is ``next`` if none did, and at the lowest the first of that chunk's block.

        Args:
            timestamp: unix milliseconds.
        """

    @abstractmethod
    def last_chunk(self) -> i64:
        """Give the first offset of the last chunk; ``next`` if there is none."""

    @abstractmethod
    def since(self, offset: i64) -> Iterator[Message]:
        """Go through the messages at an offset and behind it.

        Waits for the disk, so only when the node starts, or for a few messages.  What cannot be read is
        passed over: readers will meet it, and report it.
        """

    @abstractmethod
    def retain(self, most_octets: i64, oldest: i64) -> None:
        """Delete the oldest segments, but never the one being written.

        Args:
            most_octets: while the others hold no less, the oldest segment goes; negative: no limit.
            oldest: segments go whose last chunk is from before this, unix milliseconds; negative: no limit.
        """

    @abstractmethod
    def compact_by(self, key: str) -> None:
        """Keep of the messages with a key at least the last one of each, and of earlier ones ever fewer.

        Messages without a key stay, and so do offsets.  One with an empty body has the earlier ones of its
        key deleted, and goes itself a day later.  It happens beside other work, in segments that are full.

        Args:
            key: ``routing-key``, ``message-id`` or the name of a header; empty: no more.
        """

    def settle_end(self, stored: i64) -> None:  # noqa: B027 - most logs have nothing to settle
        """At a start, cut what a crash left at the end, but nothing that had been stable.

        Args:
            stored: all before this offset had been on stable storage.

        Raises:
            OSError: the disk fails.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make all that was appended durable in the log's files soon; ``reader.stored`` tells."""

    @abstractmethod
    def delete(self) -> None:
        """The stream is deleted: delete its files; nothing is called any more."""


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamLogs(ABC):
    """Keeps the logs of all streams.

    Attributes:
        in_memory: True if what the logs hold is nowhere else.
    """

    in_memory: bool = False

    @abstractmethod
    def open(self, queue_id: i64, segment_octets: i64) -> StreamLog:
        """Give the log of a stream: an empty one, or what is on disk of it.

        Raises:
            OSError: the disk fails.
        """

    @property
    def backlog(self) -> i64:
        """Octets appended that are on their way to a file: whoever adds to them should wait for the disk."""
        return 0


class NoStreams(StreamLogs):
    """Of an engine that was given no place for streams."""

    def open(self, queue_id: i64, segment_octets: i64) -> StreamLog:
        """Refuse.

        Raises:
            BrokerError: NOT_IMPLEMENTED.
        """
        raise BrokerError(NOT_IMPLEMENTED, "this broker keeps no streams")
