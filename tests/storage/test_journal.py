"""The journal's hot side: what it appends is what recovery reads."""

from __future__ import annotations

from harebell.paging import FLAGGED
from harebell.storage.batch import Batch
from harebell.storage.committer import Committer, Reports
from harebell.storage.journal import WriteAheadLog
from harebell.storage.records import (
    CLEAN,
    COMMAND,
    GROUP,
    MESSAGE,
    REQUEUE,
    RETURNS,
    SETTLE,
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
    assert written.journal.backlog() == 0


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
