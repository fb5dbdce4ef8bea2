"""What a restart appends to a stream's log from chunks of the journal."""

from __future__ import annotations

import pytest

from harebell.content.chunks import ChunkWriter
from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.engine.queues.claims import Claims
from harebell.engine.queues.stream_restore import StreamRestore
from harebell.paging import KeptChunk
from harebell.storage.null import NullJournal
from harebell.storage.streams.memory import MemoryStreamLogs
from harebell.streaming import StreamLog
from tests.support.pager import ShelfPager


class Kept(ShelfPager):
    """A journal with chunks: by the lsn of their record."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: dict[int, bytes] = {}

    def read_chunk(self, chunk: KeptChunk) -> bytes:
        return self.chunks.get(chunk.lsn, b"")

    def keep(self, first: int, count: int) -> KeptChunk:
        """Put a chunk into the journal."""
        data = chunk_of(first, count)
        lsn = len(self.chunks) * 1000
        self.chunks[lsn] = data
        return KeptChunk(first, first + count, lsn, len(data), 0)


def chunk_of(first: int, count: int) -> bytes:
    """Make a chunk whose bodies are its offsets."""
    writer = ChunkWriter()
    for offset in range(first, first + count):
        body = b"%d" % offset
        writer.add(offset, Message(address("", "s"), build_header(len(body)), body, True))
    return writer.take(1000 + first)


def offsets(log: StreamLog) -> list[int]:
    """Give the bodies of all there is."""
    return [int(message.body) for message in log.since(0)]


@pytest.fixture
def log() -> StreamLog:
    """A log with the offsets 0 to 4."""
    made = MemoryStreamLogs().open(1, 1 << 20)
    made.append(chunk_of(0, 5), 0, 5, 1000)
    return made


def restore(log: StreamLog, journal: Kept, *chunks: KeptChunk) -> StreamRestore:
    """Append what the log lacks."""
    found = StreamRestore(log, journal, Claims(NullJournal()), list(chunks))
    found.finish()
    return found


def test_what_the_log_has_is_not_appended_again(log: StreamLog) -> None:
    journal = Kept()
    found = restore(log, journal, journal.keep(0, 5), journal.keep(5, 3))
    assert (offsets(log), log.next, found.lost) == (list(range(8)), 8, 0)


def test_of_a_chunk_that_the_log_has_in_part_only_the_rest_is_appended(log: StreamLog) -> None:
    journal = Kept()
    found = restore(log, journal, journal.keep(3, 4), journal.keep(7, 2))
    assert (offsets(log), log.next, found.lost) == (list(range(9)), 9, 0)
    assert next(iter(log.since(5))).header.count(b"x-stream-offset") == 1


def test_a_chunk_that_cannot_be_read_again_is_counted(log: StreamLog) -> None:
    journal = Kept()
    gone, there = journal.keep(5, 3), journal.keep(8, 2)
    del journal.chunks[gone.lsn]
    found = restore(log, journal, gone, there)
    assert (offsets(log), log.next, found.lost) == ([*range(5), 8, 9], 10, 3)
