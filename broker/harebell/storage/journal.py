"""The write-ahead log's hot side: records gather in a buffer, one batch at a time goes to the disk.

The engine appends during a turn; at its end ``flush`` hands what gathered to the committer, unless that is
busy with the batch before and this one is small: then it grows on.  So batches form by themselves and no
timer is involved (group commit).  Settles and requeues of neighbouring positions are merged into runs and
written at the end of their batch; nothing waits for them.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

from harebell.content.message import Message
from harebell.paging import FLAGGED, journal_location
from harebell.ports import ChunkSource, Journal
from harebell.storage.batch import Batch
from harebell.storage.records import (
    CHUNK,
    CHUNK_ID_SIZE,
    CLEAN,
    COMMAND,
    FLAG,
    GROUP,
    HOLDS,
    IN_GROUP,
    MESSAGE,
    RECORD_HEAD_SIZE,
    REQUEUE,
    RETURNS,
    SETTLE,
    SYNCED,
    chunk_covered,
    encode_holds,
    encode_returns,
    message_payload,
    seed,
    write_chunk_record,
    write_record,
)
from harebell.storage.segments import Segments

if TYPE_CHECKING:
    from harebell.storage.committer import Committer

AHEAD_OCTETS: Final = 32 * 1024
"""So much is handed over even while the committer is at work, which goes on with it without asking."""

LONGEST_RUN: Final = 0x7FFFFFFF


class Runs:
    """Positions gathered into runs of neighbours, per queue one open run."""

    def __init__(self) -> None:
        self.out = BytesWriter()
        self._queue: i64 = 0
        self._first: i64 = 0
        self._count: i64 = 0

    def add(self, queue_id: i64, position: i64) -> None:
        """Add one position."""
        if self._count > 0 and queue_id == self._queue and position == self._first + self._count:
            self._count += 1
            return
        self.close()
        self._queue = queue_id
        self._first = position
        self._count = 1

    def add_run(self, queue_id: i64, first: i64, count: i64) -> None:
        """Add neighbouring positions."""
        self.close()
        while count > 0:
            some: i64 = min(count, LONGEST_RUN)
            self._queue = queue_id
            self._first = first
            self._count = some
            self.close()
            first += some
            count -= some

    def close(self) -> None:
        """Write the open run."""
        if self._count > 0:
            write_i64_be(self.out, self._queue)
            write_i64_be(self.out, self._first)
            write_i32_be(self.out, i32(self._count))
            self._count = 0

    def take(self) -> bytes:
        """Give all runs gathered, and start afresh."""
        self.close()
        data = self.out.getvalue()
        self.out.truncate(0)
        return data


class WriteAheadLog(Journal):
    """The journal of a node with a data directory.

    Args:
        start: lsn of the first record to come.
        segments: counts what each segment still holds.

    Attributes:
        durable: the highest lsn on stable storage.
        written: the highest lsn that can be read from the files.
        appended: the lsn of the next record.
        commands: how many changes of metadata were appended.
        bound: the lsn behind the last record whose effect reaches beyond one queue: a command, a
            transaction, a message copied forward.  Nothing it makes superfluous goes before it is durable.
        ahead: octets that are handed over even while the committer is at work.
    """

    def __init__(self, start: i64, segments: Segments) -> None:
        super().__init__()
        self.durable = start
        self.written: i64 = start
        self.appended = start
        self.bound: i64 = start
        self.committer: Committer | None = None
        self._segments = segments
        self._out = BytesWriter()
        self._settles = Runs()
        self._flags = Runs()
        self._requeues = Runs()
        self._holds = BytesWriter()
        self._record = BytesWriter()
        self._enqueues = BytesWriter()
        self._message: Message | None = None
        self._count: i64 = 0
        self._group: BytesWriter | None = None
        self._depth: i64 = 0
        self.commands: i64 = 0
        self._urgent: bool = False
        self._finished: bool = False
        self.ahead: i64 = AHEAD_OCTETS
        self._batch: i64 = start
        self._first: bytes = b""
        self._first_kind: i64 = 0
        self.keeps_chunks = True
        self.segment = segments.current
        self._chunks: dict[int, ChunkSource] = {}

    def begin_message(self, message: Message) -> None:
        """Start the record of one persistent message; its enqueues follow."""
        self._message = message
        self._count = 0
        self._enqueues.truncate(0)

    def enqueue(self, queue_id: i64, position: i64) -> None:
        """Add an enqueue to the open record."""
        if self._chunks and queue_id in self._chunks:
            # What the queue took before has lower positions.
            self._chunks[queue_id].close_chunk()
        w = self._enqueues
        write_i64_be(w, queue_id)
        write_i64_be(w, position)
        self._count += 1

    def end_message(self) -> i64:
        """Close the open record and return the lsn behind it."""
        message = self._message
        assert message is not None
        self._message = None
        payload = message_payload(self._record, message, self._count, self._enqueues.getvalue())
        count: i64 = self._count
        if count > 0:
            share: i64 = (RECORD_HEAD_SIZE + len(payload)) // count
            segments = self._segments
            message.segment = i32(segments.current)
            message.share = i32(share)
            segments.add(segments.current, share * count)
            message.location = journal_location(self._next_lsn())
        return self._append(MESSAGE, payload)

    def open_chunk(self, queue_id: i64, source: ChunkSource) -> None:
        """Have a chunk asked for before what must not come before it."""
        self._chunks[queue_id] = source

    def chunk(self, queue_id: i64, chunk: bytes) -> i64:
        """Append messages of a stream; gives the octets that the segment holds alive for it."""
        assert self._group is None, "a chunk inside a transaction"
        self._chunks.pop(queue_id, None)
        covered = chunk_covered(queue_id, chunk)
        if len(self._out) == 0:
            self._first = covered
            self._first_kind = CHUNK
        write_chunk_record(self._out, covered, chunk, seed(self.appended, CHUNK, 0))
        size: i64 = RECORD_HEAD_SIZE + CHUNK_ID_SIZE + len(chunk)
        self._segments.add(self.segment, size)
        self.appended += size
        self._urgent = True
        return size

    def _close_chunks(self) -> None:
        """Ask for open chunks, in the order in which they were opened."""
        if self._chunks:
            chunks = self._chunks
            self._chunks = {}
            for source in chunks.values():
                source.close_chunk()

    def settle(self, queue_id: i64, position: i64, message: Message) -> None:
        """Note that a queue no longer holds a message; written with this batch, waited for by nobody."""
        self._settles.add(queue_id, position)
        self._segments.settle(i64(message.segment), i64(message.share))

    def forget(self, queue_id: i64, position: i64, message: Message) -> None:
        """A deleted queue lets go of a message: its segment holds one less."""
        self._segments.settle(i64(message.segment), i64(message.share))

    def release(self, segment: i64, octets: i64) -> None:
        """A stream's own files hold messages: a segment of the log need not."""
        self._segments.settle(segment, octets)

    def requeue(self, queue_id: i64, position: i64) -> None:
        """Note that a message was returned."""
        self._requeues.add(queue_id, position)

    def hold(self, queue_id: i64, position: i64, until: i64) -> None:
        """Note that a message waits for its retry."""
        w = self._holds
        write_i64_be(w, queue_id)
        write_i64_be(w, position)
        write_i64_be(w, until)

    def flag(self, queue_id: i64, position: i64) -> None:
        """Note that a message never flagged was returned, which is not counted.

        An entry of a RETURNS record looks like a run, but is never one with its neighbours.
        """
        self._flags.add_run(queue_id, position, FLAGGED)

    def settle_run(self, queue_id: i64, first: i64, count: i64) -> None:
        """Note that a queue no longer holds neighbouring positions, whose claims it gives up elsewhere."""
        self._settles.add_run(queue_id, first, count)

    def flag_all(self) -> None:
        """Note that whatever the log holds may have been delivered: the node did not stop in order."""
        self._append(FLAG, b"")

    def command(self, command: bytes) -> i64:
        """Append a change of metadata, encoded."""
        self.commands += 1
        self.bound = self._append(COMMAND, command)
        return self.bound

    def copy(
        self,
        message: Message,
        enqueues: list[tuple[int, int]],
        returned: list[tuple[int, int, int]],
        held: list[tuple[int, int, int]],
    ) -> None:
        """Write a message again, at the end of the log.

        Args:
            message: takes the new location; what it counted in its old segment is the caller's business.
            enqueues: queue id and position where it is alive.
            returned: queue id, position and ``paging.RETURN`` value of those that came back before.
            held: queue id, position and time of those that wait for a retry.
        """
        self.begin_message(message)
        for queue_id, position in enqueues:
            self.enqueue(queue_id, position)
        self.bound = self.end_message()
        if returned:
            # Returns noted before count already: replayed after this record they would count twice.
            self._write_runs()
            self.bound = self._append(RETURNS, encode_returns(returned))
        if held:
            self.bound = self._append(HOLDS, encode_holds(held))

    def hasten(self) -> None:
        """Make durable with the next batch what nobody would wait for."""
        self._urgent = True

    def finish(self) -> None:
        """The node stops in order: say so in the log, at its very end."""
        self._close_chunks()
        self._write_runs()
        self._append(CLEAN, b"")
        self._finished = True

    def begin_transaction(self) -> None:
        """What follows is one record, so valid as a whole or not at all; one inside another belongs to it."""
        self._depth += 1
        if self._depth == 1:
            self._close_chunks()
            self._write_runs()
            self._group = BytesWriter()
            self.in_transaction = True

    def end_transaction(self) -> i64:
        """Close the record of the transaction."""
        self._depth -= 1
        group = self._group
        if group is None or self._depth > 0:
            return self.appended
        self._write_runs()
        self._group = None
        self.in_transaction = False
        payload = group.getvalue()
        if not payload:
            return 0
        self.bound = self._append(GROUP, payload)
        return self.bound

    def flush(self) -> None:
        """End of a turn: hand over what gathered if the committer is free, or if it is much."""
        committer = self.committer
        if committer is None:
            return
        if committer.busy and len(self._out) + self.open_octets < self.ahead:
            return
        self._close_chunks()
        self._write_runs()
        if len(self._out) == 0 and (not self._urgent or self.durable >= self.appended):
            return
        data = self._out.getvalue()
        head = self._synced_head() if data else b""
        self._out = BytesWriter()
        self._batch = self.appended
        self._first = b""
        sync = self._urgent
        self._urgent = False
        next_base = -1
        if self._segments.full(self.appended) and not self._finished:
            next_base = self.appended
            self._segments.rotate(self.appended)
            self.segment = self._segments.current
        committer.submit(Batch(data, self.appended, sync, next_base, head))

    def backlog(self) -> i64:
        """Octets appended and not written yet."""
        return self.appended - self.written + self.open_octets

    def _write_runs(self) -> None:
        urgent = self._urgent
        settles = self._settles.take()
        if settles:
            self._append(SETTLE, settles)
        if len(self._flags.out) > 0:
            # Before the requeues: what is flagged was never returned before, but may have been since.
            self._append(RETURNS, self._flags.take())
        requeues = self._requeues.take()
        if requeues:
            self._append(REQUEUE, requeues)
        if len(self._holds) > 0:
            holds = self._holds.getvalue()
            self._holds.truncate(0)
            self._append(HOLDS, holds)
        if self._group is None:
            self._urgent = urgent

    def _synced_head(self) -> bytes:
        """Give the head of the batch's first record with the mark that all before it is on stable storage.

        Recovery needs it to tell damage from octets that a power cut kept from the disk.
        """
        crc: i64 = zlib.crc32(self._first, seed(self._batch, self._first_kind, SYNCED))
        w = self._out
        head = BytesWriter()
        for at in range(RECORD_HEAD_SIZE - 4):
            head.append(w[at])
        head[3] = u8(SYNCED)
        write_i32_be(head, i32(crc - 0x100000000 if crc > 0x7FFFFFFF else crc))
        return head.getvalue()

    def _next_lsn(self) -> i64:
        group = self._group
        if group is None:
            return self.appended
        return self.appended + RECORD_HEAD_SIZE + len(group)

    def _append(self, kind: i64, payload: bytes) -> i64:
        group = self._group
        w = self._out
        start: i64 = seed(self._next_lsn(), kind, 0)
        if group is not None:
            w = group
            start ^= IN_GROUP
        elif len(w) == 0:
            self._first = payload
            self._first_kind = kind
        write_record(w, kind, payload, start)
        if group is None:
            self.appended += RECORD_HEAD_SIZE + len(payload)
            self._urgent = True
        return self.appended
