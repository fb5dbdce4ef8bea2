"""The spill log: records of messages that memory has no room for and the journal does not hold.

Files ``<offset of the first record as 16 hex>.spill`` in a folder of their own, without a head: file offset =
offset - offset of the first record.  A record is laid out as a MESSAGE record of the journal without queues,
and its crc is seeded by its offset in the log.  Nothing here is ever synced: the folder is emptied when the
node starts.  A file goes as soon as no page claims any of it, whatever became of older ones.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from harebell.content.message import Message
from harebell.storage.records import (
    MESSAGE,
    MESSAGE_HEAD_SIZE,
    RECORD_HEAD_SIZE,
    message_payload,
    seed,
    write_record,
)

SPILL_BYTES: Final = 64 * 1024 * 1024
"""Record octets after which the log goes on in a new file."""

SPILL_SUFFIX: Final = ".spill"

CHUNK_OCTETS: Final = 1024 * 1024
"""So much is handed over to be written without waiting for the end of the turn."""


def spill_name(base: int) -> str:
    """Give the name of the file whose first record is at ``base``."""
    return f"{base:016x}{SPILL_SUFFIX}"


def spilled_location(offset: i64) -> i64:
    """Give the location of a record of the spill log; see ``paging.journal_location``."""
    return offset * 2 + 1


def spilled_size(message: Message) -> i64:
    """Give the octets of a message's record."""
    octets = len(message.address) + len(message.header) + len(message.body)
    return RECORD_HEAD_SIZE + MESSAGE_HEAD_SIZE + octets + 8


class SpillChunk:
    """Whole records on their way to a file.

    Attributes:
        base: of the file.
        offset: of the first record, in the log.
        data: the records.
    """

    def __init__(self, base: i64, offset: i64, data: bytes) -> None:
        self.base: i64 = base
        self.offset: i64 = offset
        self.data = data


class SpillRemoval:
    """A file to delete, by its base."""

    def __init__(self, base: i64) -> None:
        self.base: i64 = base


class SpillSegment:
    """One file of the log.

    Attributes:
        base, end: offset of its first record, and behind its last.
        live: octets that pages claim.
    """

    def __init__(self, base: i64) -> None:
        self.base: i64 = base
        self.end: i64 = base
        self.live: i64 = 0


class SpillLog:
    """The event loop's side of the log: makes records, counts claims, decides what goes.

    Args:
        inbox: takes ``SpillChunk`` and ``SpillRemoval``, to be done in order.
        limit: octets of a full file.

    Attributes:
        chunks: handed over and not reported as written yet, oldest first.
        pending: octets that are in no file yet.
        full: no space on the disk; nothing should be added.
        closed: nothing can be added any more.
    """

    def __init__(self, inbox: SimpleQueue[object], limit: i64 = SPILL_BYTES) -> None:
        self.chunks: list[SpillChunk] = []
        self.pending: i64 = 0
        self.full: bool = False
        self.closed: bool = False
        self._inbox = inbox
        self._limit: i64 = limit
        self._appended: i64 = 0
        self._segments: list[SpillSegment] = []
        self._current: SpillSegment | None = None
        self._out = BytesWriter()
        self._record = BytesWriter()

    def put(self, message: Message) -> SpillSegment:
        """Append the record of a message and claim it once; its location is that of the segment's old end.

        Returns:
            The segment, whose ``end`` is behind the record: it begins ``spilled_size`` octets before.
        """
        segment = self._current
        if segment is None or segment.end - segment.base >= self._limit:
            segment = self._rotate()
        payload = message_payload(self._record, message, 0, b"")
        write_record(self._out, MESSAGE, payload, seed(self._appended, MESSAGE, 0))
        size: i64 = RECORD_HEAD_SIZE + len(payload)
        self._appended += size
        self.pending += size
        segment.end += size
        segment.live += size
        if size >= CHUNK_OCTETS:
            # A writer keeps the memory of its largest record.
            self._record = BytesWriter()
        if len(self._out) >= CHUNK_OCTETS:
            self.flush()
        return segment

    def find(self, offset: i64) -> SpillSegment | None:
        """Find the segment that holds an offset; None if it was deleted."""
        current = self._current
        if current is not None and current.base <= offset < current.end:
            return current
        segments = self._segments
        low: i64 = 0
        high: i64 = len(segments)
        while low < high:
            middle: i64 = (low + high) // 2
            if segments[middle].base <= offset:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return None
        found = segments[low - 1]
        return found if offset < found.end else None

    def give_up(self, base: i64, octets: i64) -> None:
        """A page claims some octets of the segment with this base no longer."""
        segment = self.find(base)
        if segment is None:
            return
        segment.live -= octets
        if segment.live <= 0 and segment is not self._current:
            self._remove(segment)

    def flush(self) -> None:
        """Hand over what gathered."""
        segment = self._current
        size: i64 = len(self._out)
        if segment is None or size == 0:
            return
        chunk = SpillChunk(segment.base, self._appended - size, self._out.getvalue())
        self._out = BytesWriter()
        self.chunks.append(chunk)
        self._inbox.put(chunk)

    def written(self, chunk: SpillChunk) -> None:
        """A chunk is in its file, or not needed any more."""
        self.pending -= len(chunk.data)
        self.chunks.remove(chunk)

    def close(self) -> None:
        """Add nothing any more; what was added stays readable, and goes when nobody claims it."""
        if self.closed:
            return
        self.flush()
        self.closed = True
        self._current = None
        for segment in self._segments.copy():
            if segment.live <= 0:
                self._remove(segment)

    def _rotate(self) -> SpillSegment:
        self.flush()
        full = self._current
        segment = SpillSegment(self._appended)
        self._segments.append(segment)
        self._current = segment
        if full is not None and full.live <= 0:
            self._remove(full)
        return segment

    def _remove(self, segment: SpillSegment) -> None:
        self._segments.remove(segment)
        self._inbox.put(SpillRemoval(segment.base))
