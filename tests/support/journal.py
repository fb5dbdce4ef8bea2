"""A journal under the test's thumb: what was written is a list, and it becomes durable when the test says."""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.chunks import scan_head
from harebell.content.message import Message
from harebell.engine.commands import decode
from harebell.ports import ChunkSource, Journal

Record = tuple[object, ...]


class DelayedJournal(Journal):
    """Gives every record an lsn and makes none durable by itself.

    Args:
        keeps_chunks: streams may write chunks, as the real one lets them.

    Attributes:
        forgotten: queue id and position of what deleted queues let go of.
        records: what was appended, in order; record ``n`` has lsn ``n + 1``.
    """

    def __init__(self, keeps_chunks: bool = False) -> None:
        super().__init__()
        self.keeps_chunks = keeps_chunks
        self._sources: dict[int, ChunkSource] = {}
        self.records: list[Record] = []
        self.forgotten: list[tuple[int, int]] = []
        self._open: list[object] | None = None
        self._depth = 0

    @property
    def written(self) -> int:
        """The highest lsn handed out."""
        return len(self.records)

    def kinds(self) -> list[object]:
        """The kinds of the records, in order."""
        return [record[0] for record in self.records]

    def _append(self, *record: object) -> int:
        self.records.append(record)
        self.appended = len(self.records)
        return len(self.records)

    def begin_message(self, message: Message) -> None:
        """Open a message's record."""
        assert self._open is None, "a message record inside another"
        assert message.persistent, "a transient message in the journal"
        self._open = ["message", bytes(message.body)]

    def enqueue(self, queue_id: i64, position: i64) -> None:
        """Note a queue and position in the open record."""
        assert self._open is not None, "an enqueue outside a message record"
        if queue_id in self._sources:
            self._sources[queue_id].close_chunk()
        self._open.append((int(queue_id), int(position)))

    def end_message(self) -> i64:
        """Append the open record."""
        record, self._open = self._open, None
        assert record is not None, "the end of a message record that was not begun"
        return self._append(*record)

    def open_chunk(self, queue_id: i64, source: ChunkSource) -> None:
        """Note who has an open chunk."""
        assert self._depth == 0, "a chunk inside a transaction"
        self._sources[int(queue_id)] = source

    def chunk(self, queue_id: i64, chunk: bytes) -> i64:
        """Append a chunk: its first and last offset, and how many messages it has."""
        head = scan_head(chunk, 0)
        assert head is not None, "no chunk"
        assert self._depth == 0, "a chunk inside a transaction"
        self._sources.pop(int(queue_id), None)
        self._append("chunk", int(queue_id), int(head.first), int(head.next) - 1, int(head.count))
        return len(chunk)

    def _close_chunks(self) -> None:
        sources, self._sources = self._sources, {}
        for source in sources.values():
            source.close_chunk()

    def settle(self, queue_id: i64, position: i64, message: Message) -> None:
        """Append a settle."""
        self._append("settle", int(queue_id), int(position))

    def release(self, segment: i64, octets: i64) -> None:
        """Streams have files of their own."""

    def forget(self, queue_id: i64, position: i64, message: Message) -> None:
        """Note what a deleted queue let go of; that is no record."""
        self.forgotten.append((int(queue_id), int(position)))

    def settle_run(self, queue_id: i64, first: i64, count: i64) -> None:
        """Append a settle for each."""
        for position in range(first, first + count):
            self._append("settle", int(queue_id), int(position))

    def requeue(self, queue_id: i64, position: i64) -> None:
        """Append a requeue."""
        self._append("requeue", int(queue_id), int(position))

    def hold(self, queue_id: i64, position: i64, until: i64) -> None:
        """Append until when a returned message waits."""
        self._append("hold", int(queue_id), int(position), int(until))

    def flag(self, queue_id: i64, position: i64) -> None:
        """Append a flag."""
        self._append("flag", int(queue_id), int(position))

    def command(self, command: bytes) -> i64:
        """Append a command."""
        return self._append("command", decode(command))

    def flush(self) -> None:
        """A turn is over; nothing is under way unless the test says so."""
        self._close_chunks()

    def backlog(self) -> i64:
        """Nothing waits to be written."""
        return 0

    def begin_transaction(self) -> None:
        """Append the start of a transaction."""
        if self._depth == 0:
            self._close_chunks()
            self._append("begin")
        self._depth += 1
        self.in_transaction = True

    def end_transaction(self) -> i64:
        """Append the end of a transaction."""
        assert self._depth > 0, "the end of a transaction that was not begun"
        self._depth -= 1
        self.in_transaction = self._depth > 0
        return self._append("end") if self._depth == 0 else len(self.records)
