"""Appending to a stream's log what a restart found in the journal, and the log's files lack."""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64

from harebell.content.chunks import BadChunk, ChunkReader, ChunkWriter, scan_head
from harebell.content.message import Message
from harebell.engine.queues.claims import Claims
from harebell.engine.queues.intake import CHUNK_OCTETS
from harebell.paging import KeptChunk, Page, Pager
from harebell.streaming import StreamLog

SPAN_MS: Final = 1000
"""Messages that came further apart are not put into one chunk."""


class StreamRestore:
    """What the journal holds of one stream, in the order of offsets: messages of their own, and chunks.

    Args:
        log: gets what it lacks.
        pager: reads the journal.
        claims: what the log's files hold may not be synced yet: the journal forgets it when they say so.
        chunks: what the journal has, oldest first.

    Attributes:
        lost: offsets of chunks that recovery found, and that could not be read again.
    """

    def __init__(self, log: StreamLog, pager: Pager, claims: Claims, chunks: list[KeptChunk]) -> None:
        self.lost: i64 = 0
        self._log = log
        self._pager = pager
        self._claims = claims
        self._chunks: deque[KeptChunk] = deque(chunks)
        self._writer = ChunkWriter()
        self._opened_at: i64 = 0
        self._stamp: i64 = 0

    def page(self, page: Page) -> None:
        """Take messages that have records of their own, and the chunks before each of them."""
        log = self._log
        self._chunks_before(page.first)
        for segment, octets in page.claims:
            self._claims.add(segment, octets, page.last + 1)
        if page.last < log.next:
            return
        messages = self._pager.read(page)
        for index, message in enumerate(messages):
            offset: i64 = page.position(index)
            if message is not None and offset >= log.next:
                self._chunks_before(offset)
                self._add(offset, message)

    def finish(self) -> None:
        """Take the chunks that are left, and append all of it."""
        while self._chunks:
            self._chunk(self._chunks.popleft())
        self._append()

    def _chunks_before(self, offset: i64) -> None:
        while self._chunks and self._chunks[0].first < offset:
            self._chunk(self._chunks.popleft())

    def _chunk(self, kept: KeptChunk) -> None:
        log = self._log
        self._claims.add(kept.segment, kept.octets, kept.following)
        if kept.following <= log.next:
            return
        chunk = self._pager.read_chunk(kept)
        head = scan_head(chunk, 0)
        if head is None:
            self.lost += kept.following - max(log.next, i64(kept.first))
            return
        self._append()
        if head.first >= log.next:
            log.append(chunk, head.first, head.next, head.timestamp)
            return
        reader = ChunkReader(head.first)
        try:
            reader.read(chunk, 0)
        except BadChunk:
            self.lost += head.next - log.next
            return
        for index, message in enumerate(reader.messages):
            offset: i64 = reader.offsets[index] if reader.offsets else head.first + index
            if offset >= log.next:
                self._add(offset, message)

    def _add(self, offset: i64, message: Message) -> None:
        writer = self._writer
        if writer.count > 0 and (
            writer.octets >= CHUNK_OCTETS or message.arrived - self._opened_at > SPAN_MS
        ):
            self._append()
        if writer.count == 0:
            self._opened_at = self._stamp = message.arrived
        self._stamp = max(self._stamp, message.arrived)
        writer.add(offset, message)

    def _append(self) -> None:
        """Append the open chunk, for which the journal is durable."""
        writer = self._writer
        if writer.count > 0:
            first: i64 = writer.first
            following: i64 = writer.next
            self._log.append(writer.take(self._stamp), first, following, self._stamp)
