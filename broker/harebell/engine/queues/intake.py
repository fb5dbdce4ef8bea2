"""What a stream took and its log has not got yet: the open chunk, and closed ones that wait for the journal.

A message is encoded into the open chunk as it comes.  One that goes nowhere else has no record of its own in
the journal: there the chunk is the record, appended when it is closed, at the latest when the journal's batch
ends.  One that other queues take too, or that is part of a transaction, was journaled when it came; the chunk
it is in goes to the log only.  No chunk has messages of both kinds, and the journal has them in the order of
their offsets.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64

from harebell.content.chunks import ChunkWriter
from harebell.content.message import Message
from harebell.engine.dispatch import Dispatcher
from harebell.engine.queues.claims import Claims, ClosedChunk
from harebell.engine.queues.queue import Queue
from harebell.ports import ChunkSource, Journal
from harebell.streaming import StreamLog

CHUNK_OCTETS: Final = 1024 * 1024
"""Octets after which a chunk is closed although the journal has not asked for it."""


class Intake(ChunkSource):
    """The messages of one stream on their way to its log.

    Args:
        queue: the stream.

    Attributes:
        claims: what keeps them alive in the journal.
    """

    def __init__(self, queue: Queue, journal: Journal, dispatcher: Dispatcher) -> None:
        self.claims = Claims(journal)
        self._queue = queue
        self._journal = journal
        self._dispatcher = dispatcher
        self._writer = ChunkWriter()
        self._stamp: i64 = 0
        # True if what the open chunk has is in no record.
        self._owing: bool = False
        # True once the lsn behind the journaled messages taken is known.
        self._noted: bool = True
        self._lsn: i64 = 0
        self._closed: deque[ClosedChunk] = deque()

    def append(self, offset: i64, message: Message, now: i64) -> i64:
        """Take a message that nobody journaled.

        Args:
            offset: its offset.
            message: a persistent one.
            now: unix milliseconds.

        Returns:
            The lsn behind which it is durable.
        """
        journal = self._journal
        writer = self._writer
        if not self._owing:
            if writer.count > 0 or not journal.keeps_chunks or journal.in_transaction:
                journal.begin_message(message)
                journal.enqueue(self._queue.id, offset)
                lsn = journal.end_message()
                self.add(offset, message, now)
                return lsn
            self._owing = True
            journal.open_chunk(self._queue.id, self)
        before: i64 = writer.octets if writer.count > 0 else 0
        writer.add(offset, message)
        journal.open_octets += writer.octets - before
        self._stamp = now
        # Nobody knows yet where the chunk's record ends; but batches end with whole records only.
        behind: i64 = journal.appended + 1
        if writer.octets >= CHUNK_OCTETS:
            self.close_chunk()
        return behind

    def add(self, offset: i64, message: Message, now: i64) -> None:
        """Take a message that was journaled.

        Args:
            offset: its offset.
            message: counts octets of the journal's segment.
            now: unix milliseconds.
        """
        self.close_chunk()
        self._writer.add(offset, message)
        self._stamp = now
        self._noted = False
        self.claims.add(i64(message.segment), i64(message.share), offset + 1)
        if not self._queue.scheduled:
            self._dispatcher.schedule(self._queue)

    def close_chunk(self) -> None:
        """Append the open chunk to the journal if that has not got its messages."""
        if not self._owing:
            return
        self._owing = False
        writer = self._writer
        if writer.count == 0:
            return
        journal = self._journal
        journal.open_octets -= writer.octets
        first: i64 = writer.first
        following: i64 = writer.next
        chunk = writer.take(self._stamp)
        octets = journal.chunk(self._queue.id, chunk)
        self.claims.add(journal.segment, octets, following)
        self._lsn = journal.appended
        self._closed.append(ClosedChunk(chunk, first, following, self._stamp, self._lsn))
        self._dispatcher.wait_for_journal(self._queue)

    def behind_all(self) -> i64:
        """Give the lsn behind everything taken; 0 if all of it is durable.

        Not simply all that was appended: its end may be settles, which nobody makes durable soon.
        """
        if self._owing:
            return self._journal.appended + 1
        if not self._noted:
            return self._journal.appended
        return self._lsn if self._writer.count > 0 or self._closed else 0

    def hand_over(self, log: StreamLog) -> bool:
        """Append to the log the chunks behind which the journal is durable; True if there were any."""
        writer = self._writer
        closed = self._closed
        journal = self._journal
        if not self._noted:
            self._noted = True
            self._lsn = journal.appended
        grown = False
        while True:
            if writer.count > 0 and not self._owing and (not closed or writer.octets >= CHUNK_OCTETS):
                first: i64 = writer.first
                following: i64 = writer.next
                chunk = writer.take(self._stamp)
                closed.append(ClosedChunk(chunk, first, following, self._stamp, self._lsn))
            if not closed or closed[0].lsn > journal.durable:
                break
            oldest = closed.popleft()
            log.append(oldest.data, oldest.first, oldest.following, oldest.timestamp)
            grown = True
        if closed:
            self._dispatcher.wait_for_journal(self._queue)
        return grown

    def drop(self) -> None:
        """Forget everything: the stream is deleted."""
        if self._owing:
            self._owing = False
            self._journal.open_octets -= self._writer.octets
        self._writer = ChunkWriter()
        self._closed.clear()
        self.claims.release_all()
