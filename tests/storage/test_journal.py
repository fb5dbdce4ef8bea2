"""The journal's hot side: what it appends is what recovery reads."""

from __future__ import annotations

import pytest

from harebell.content.chunks import ChunkWriter
from harebell.content.properties import build_header
from harebell.paging import FLAGGED
from harebell.ports import ChunkSource
from harebell.storage.batch import Batch
from harebell.storage.committer import Committer, Reports
from harebell.storage.journal import WriteAheadLog
from harebell.storage.records import (
    CHUNK,
    CLEAN,
    COMMAND,
    GROUP,
    MESSAGE,
    REQUEUE,
    RETURNS,
    SETTLE,
    SYNCED,
    Record,
    StoredMessage,
    decode_message,
    decode_returns,
    decode_runs,
    records_in_group,
    walk,
)
from harebell.storage.segments import Segments
from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import NODE, message


class Inbox(Committer):
    """A committer that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(FakeDisk(), NODE, 0, Reports(lambda *_: None, lambda _: None, lambda _: None))
        self.batches: list[Batch] = []

    def submit(self, batch: Batch) -> None:
        self.busy = True
        self.batches.append(batch)


class Source(ChunkSource):
    """A stream with an open chunk.

    Args:
        journal: asks for it.
        queue_id: the stream.
        bodies: of its messages.
    """

    def __init__(self, journal: WriteAheadLog, queue_id: int, *bodies: bytes) -> None:
        self._journal = journal
        self._queue_id = queue_id
        writer = ChunkWriter()
        for offset, body in enumerate(bodies):
            writer.add(offset, message(body, build_header(len(body))))
        self.chunk = writer.take(1)
        self.counted = 0
        journal.open_chunk(queue_id, self)

    @property
    def payload(self) -> bytes:
        """What its record has to say."""
        return self._queue_id.to_bytes(8, "big") + self.chunk

    def close_chunk(self) -> None:
        assert self.counted == 0, "the journal asks for one chunk twice"
        self.counted = int(self._journal.chunk(self._queue_id, self.chunk))


class Written:
    """A journal and what it handed over."""

    def __init__(self, start: int = 0, limit: int = 1 << 30) -> None:
        self.segments = Segments([start], limit)
        self.journal = WriteAheadLog(start, self.segments)
        self.start = start
        self.inbox = Inbox()
        self.journal.committer = self.inbox

    def publish(self, body: bytes, *enqueues: tuple[int, int]) -> int:
        """Append a message."""
        self.journal.begin_message(message(body))
        for queue_id, position in enqueues:
            self.journal.enqueue(queue_id, position)
        return int(self.journal.end_message())

    def records(self) -> list[Record]:
        """Give all records handed over; each must be valid where it stands."""
        self.inbox.busy = False
        self.journal.flush()
        found = list(walk(b"".join(batch.data for batch in self.inbox.batches), 0, self.start))
        records = [record for record in found if isinstance(record, Record)]
        assert len(records) == len(found), f"something invalid was written: {found}"
        return records


def test_a_message_is_written_once_with_every_queue_that_took_it() -> None:
    written = Written(1000)
    lsn = written.publish(b"hello", (3, 9), (2**40, 2**41))
    (record,) = written.records()
    assert (record.lsn, record.kind, record.end) == (1000, MESSAGE, lsn)
    sample = message(b"hello")
    expected = StoredMessage(True, sample.address, sample.header, b"hello", [(3, 9), (2**40, 2**41)])
    assert decode_message(record.payload) == expected


def test_lsns_grow_by_the_octets_written() -> None:
    written = Written()
    lsns = [written.publish(b"x" * size, (1, size + 1)) for size in (0, 1, 70_000)]
    lsns.append(int(written.journal.command(b"declare")))
    assert [record.end for record in written.records()] == lsns
    assert written.inbox.batches[-1].lsn == lsns[-1]


def test_neighbouring_settles_become_one_run_behind_what_came_before() -> None:
    written = Written()
    some = message()
    for position in (1, 2, 3, 5, 6, 4):
        written.journal.settle(8, position, some)
    written.journal.settle(9, 7, some)
    written.journal.requeue(8, 10)
    written.publish(b"late", (1, 1))
    kinds = [(record.kind, record.payload) for record in written.records()]
    assert [kind for kind, _ in kinds] == [MESSAGE, SETTLE, REQUEUE]
    assert decode_runs(kinds[1][1]) == [(8, 1, 3), (8, 5, 2), (8, 4, 1), (9, 7, 1)]
    assert decode_runs(kinds[2][1]) == [(8, 10, 1)]


def test_flags_are_written_one_by_one_before_the_requeues_that_followed_them() -> None:
    written = Written()
    for position in (1, 2, 3):
        written.journal.flag(8, position)
    written.journal.requeue(8, 2)
    kinds = [(record.kind, record.payload) for record in written.records()]
    assert [kind for kind, _ in kinds] == [RETURNS, REQUEUE]
    assert decode_returns(kinds[0][1]) == [(8, 1, FLAGGED), (8, 2, FLAGGED), (8, 3, FLAGGED)]
    assert decode_runs(kinds[1][1]) == [(8, 2, 1)]
    assert len(written.records()) == 2, "each is written once"


def test_nobody_waits_for_settles_but_for_all_else() -> None:
    written = Written()
    written.journal.settle(1, 1, message())
    written.journal.flush()
    assert [batch.sync for batch in written.inbox.batches] == [False]
    written.inbox.busy = False
    written.journal.settle(1, 2, message())
    written.journal.command(b"declare")
    written.journal.flush()
    assert [batch.sync for batch in written.inbox.batches] == [False, True]


def test_what_comes_while_the_committer_is_busy_is_one_batch() -> None:
    written = Written()
    for n in range(10):
        written.publish(b"%d" % n, (1, n + 1))
        written.journal.flush()
    assert len(written.inbox.batches) == 1
    assert written.journal.backlog() > 0
    assert len(written.records()) == 10
    assert len(written.inbox.batches) == 2
    written.journal.written = written.inbox.batches[-1].lsn
    assert written.journal.backlog() == 0


def test_much_is_handed_over_while_the_committer_is_busy() -> None:
    written = Written()
    written.journal.ahead = 1000
    written.publish(b"first", (1, 1))
    written.journal.flush()
    written.publish(bytes(500), (1, 2))
    written.journal.flush()
    assert len(written.inbox.batches) == 1
    written.publish(bytes(500), (1, 3))
    written.journal.flush()
    assert len(written.inbox.batches) == 2
    assert written.inbox.batches[-1].lsn == written.journal.appended
    assert len(written.records()) == 3


def test_a_transaction_is_one_record_and_takes_nothing_in_from_before() -> None:
    written = Written()
    journal = written.journal
    journal.settle(1, 1, message())
    journal.begin_transaction()
    written.publish(b"one", (1, 2))
    written.publish(b"two", (2, 1))
    journal.settle(1, 5, message())
    journal.requeue(1, 6)
    lsn = journal.end_transaction()
    before, group = written.records()
    assert (before.kind, decode_runs(before.payload)) == (SETTLE, [(1, 1, 1)])
    assert (group.kind, group.end) == (GROUP, lsn)
    assert [kind for kind, _ in records_in_group(group.payload)] == [MESSAGE, MESSAGE, SETTLE, REQUEUE]
    assert written.inbox.batches[-1].sync, "commit-ok waits for a transaction of nothing but acknowledgements"


def test_an_empty_transaction_writes_nothing_and_waits_for_nothing() -> None:
    written = Written()
    written.journal.begin_transaction()
    assert written.journal.end_transaction() == 0
    assert written.records() == []


def test_a_full_segment_is_left_behind_a_batch() -> None:
    written = Written(0, 100)
    written.publish(b"x" * 200, (1, 1))
    written.journal.flush()
    (batch,) = written.inbox.batches
    assert batch.next_base == batch.lsn == written.journal.appended
    assert written.segments.bases == [0, batch.lsn]


def test_an_orderly_stop_is_the_last_record_and_opens_no_segment() -> None:
    written = Written(0, 100)
    written.publish(b"x" * 200, (1, 1))
    written.journal.settle(1, 1, message())
    written.journal.finish()
    assert [record.kind for record in written.records()] == [MESSAGE, SETTLE, CLEAN]
    assert written.inbox.batches[-1].sync
    assert written.inbox.batches[-1].next_base == -1


def test_hastened_octets_are_synced_although_nobody_waits() -> None:
    written = Written()
    written.journal.settle(1, 1, message())
    written.journal.flush()
    written.inbox.busy = False
    written.journal.hasten()
    written.journal.flush()
    assert written.inbox.batches[-1] == Batch(b"", int(written.journal.appended), True, -1)


def test_commands_are_kept_octet_for_octet() -> None:
    written = Written()
    written.journal.command(bytes(range(256)))
    assert [(r.kind, r.payload) for r in written.records()] == [(COMMAND, bytes(range(256)))]


def test_open_chunks_are_written_before_a_batch_ends_and_once() -> None:
    written = Written(1000)
    sources = [Source(written.journal, queue_id, b"a", b"b") for queue_id in (5, 3)]
    promised = int(written.journal.appended) + 1
    written.publish(b"late", (1, 1))
    written.journal.settle(1, 1, message())
    kinds = [(record.kind, record.payload) for record in written.records()]
    assert [kind for kind, _ in kinds] == [MESSAGE, CHUNK, CHUNK, SETTLE]
    assert [payload for kind, payload in kinds if kind == CHUNK] == [source.payload for source in sources]
    (batch,) = written.inbox.batches
    assert batch.sync and batch.lsn >= promised, "who waits for the chunk is not told"
    assert len(written.records()) == 4


def test_a_chunk_comes_before_another_message_of_its_queue_and_waits_for_those_of_others() -> None:
    written = Written()
    mine = Source(written.journal, 5, b"a")
    written.publish(b"other", (1, 1))
    assert mine.counted == 0
    written.publish(b"both", (1, 2), (5, 1))
    assert mine.counted > 0
    assert [record.kind for record in written.records()] == [MESSAGE, CHUNK, MESSAGE]


def test_a_transaction_begins_behind_open_chunks() -> None:
    written = Written()
    journal = written.journal
    Source(journal, 5, b"a")
    journal.begin_transaction()
    journal.begin_transaction()
    written.publish(b"part", (5, 1))
    journal.end_transaction()
    inside = journal.in_transaction
    journal.end_transaction()
    assert (inside, journal.in_transaction) == (True, False)
    records = written.records()
    assert [record.kind for record in records] == [CHUNK, GROUP]
    assert [kind for kind, _ in records_in_group(records[1].payload)] == [MESSAGE]


def test_a_node_that_stops_writes_its_open_chunks_first() -> None:
    written = Written()
    Source(written.journal, 5, b"a")
    written.journal.finish()
    assert [record.kind for record in written.records()] == [CHUNK, CLEAN]


def test_a_segment_holds_a_chunk_alive_until_it_is_given_up() -> None:
    written = Written(limit=100)
    source = Source(written.journal, 5, b"a" * 200)
    (record,) = written.records()
    assert source.counted == record.end - record.lsn
    written.publish(b"next segment", (1, 1))
    (first, _) = written.segments.bases[:2]
    assert written.journal.segment == written.segments.current == 1
    assert written.segments.reclaimable(1 << 40) == []
    written.journal.release(0, source.counted)
    assert written.segments.reclaimable(1 << 40) == [first]


@pytest.mark.parametrize("octets", [10, 10_000])
def test_a_chunk_at_the_beginning_of_a_batch_can_say_what_is_synced(octets: int) -> None:
    written = Written()
    source = Source(written.journal, 5, bytes(octets))
    written.journal.flush()
    (batch,) = written.inbox.batches
    marked = batch.synced_head + batch.data[len(batch.synced_head) :]
    assert marked[3] == SYNCED
    (found,) = walk(marked, 0, 0)
    assert isinstance(found, Record) and found.payload == source.payload
    assert [record.kind for record in written.records()] == [CHUNK]


def test_open_chunks_count_as_what_waits() -> None:
    written = Written()
    written.journal.open_octets += 500
    assert written.journal.backlog() == 500
