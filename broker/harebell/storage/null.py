"""The journal of a memory-only broker: nothing is written, so everything is as durable as it gets."""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.ports import ChunkSource, Journal


class NullJournal(Journal):
    """Keeps nothing; every lsn is 0, which counts as durable."""

    def begin_message(self, message: Message) -> None:
        """Write nothing."""

    def enqueue(self, queue_id: i64, position: i64) -> None:
        """Write nothing."""

    def end_message(self) -> i64:
        """Write nothing."""
        return 0

    def open_chunk(self, queue_id: i64, source: ChunkSource) -> None:
        """Write nothing."""

    def chunk(self, queue_id: i64, chunk: bytes) -> i64:
        """Write nothing."""
        return 0

    def settle(self, queue_id: i64, position: i64, message: Message) -> None:
        """Write nothing."""

    def forget(self, queue_id: i64, position: i64, message: Message) -> None:
        """Write nothing."""

    def release(self, segment: i64, octets: i64) -> None:
        """Write nothing."""

    def settle_run(self, queue_id: i64, first: i64, count: i64) -> None:
        """Write nothing."""

    def requeue(self, queue_id: i64, position: i64) -> None:
        """Write nothing."""

    def hold(self, queue_id: i64, position: i64, until: i64) -> None:
        """Write nothing."""

    def flag(self, queue_id: i64, position: i64) -> None:
        """Write nothing."""

    def command(self, command: bytes) -> i64:
        """Write nothing."""
        return 0

    def begin_transaction(self) -> None:
        """Write nothing."""

    def end_transaction(self) -> i64:
        """Write nothing."""
        return 0

    def flush(self) -> None:
        """Write nothing."""

    def backlog(self) -> i64:
        """Nothing waits."""
        return 0
