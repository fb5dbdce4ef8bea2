"""The store of one data directory: recovery at the start, the journal while it runs, reclaim in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from harebell.storage.committer import Committer, Reports
from harebell.storage.data_dir import DataDir, DataDirError
from harebell.storage.files import DiskFiles, Files
from harebell.storage.journal import WriteAheadLog
from harebell.storage.records import (
    GROUP,
    MESSAGE,
    SEGMENT_HEAD_SIZE,
    BadSegment,
    Record,
    decode_message,
    encode_message,
    records_in_group,
    walk,
)
from harebell.storage.recovery import Loss, Recovered, recover
from harebell.storage.segments import SEGMENT_BYTES, Segments, segment_name
from harebell.storage.snapshot import NAME as SNAPSHOT
from harebell.storage.snapshot import BadSnapshot, decode_snapshot, encode_snapshot

SEGMENTS_BEFORE_MOVING: Final = 4
"""Segments the log may have before stragglers are copied forward."""

LIVE_SHARE: Final = 0.5
"""Stragglers are copied forward while less than this share of the log's enqueues is alive."""

RECORDS_A_SLICE: Final = 2000
"""Records of an old segment looked at in one go; the event loop runs in between."""

Alive = Callable[[set[tuple[int, int]]], set[tuple[int, int]]]
"""Gives those of some (queue id, position) pairs that are still alive."""


class Events(NamedTuple):
    """What the store reports, in the event loop.

    Attributes:
        durable: more of the journal is durable.
        full: the disk is full, or has space again.
        failed: the disk cannot be trusted; the node must stop at once.
    """

    durable: Callable[[], None]
    full: Callable[[bool], None]
    failed: Callable[[OSError], None]


class Store:
    """A data directory in use.

    Args:
        path: the data directory.
        strict: refuse to start with a damaged journal.
        progress: told sentences during a long recovery.
        files: the journal's file layer; the real one if None.
        segment_bytes: size of a full segment.

    Attributes:
        journal: what the engine writes to; appends gather until ``begin``.
        recovered: what the log held.
        commands: the metadata to replay, in order.

    Raises:
        DataDirError: the directory cannot be used; the text says why.
    """

    def __init__(
        self,
        path: Path,
        strict: bool,
        progress: Callable[[str], None],
        files: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.data_dir = DataDir(path)
        self.files = files or DiskFiles(self.data_dir.journal)
        try:
            self.recovered: Recovered = recover(self.files, self.data_dir.node, strict, progress)
            self._snapshot_lsn, commands = self._snapshot()
        except (BadSegment, Loss, BadSnapshot) as error:
            self.data_dir.close()
            raise DataDirError(f"{self.data_dir.journal}: {error}") from None
        self.commands = commands + [
            command for lsn, command in self.recovered.commands if lsn >= self._snapshot_lsn
        ]
        end = self.recovered.end
        bases = [*self.recovered.bases, end]
        if len(bases) > 1 and bases[-2] == end:
            bases.pop()
        enqueued = [*self.recovered.enqueued, 0]
        self.segments = Segments(0, bases, enqueued[: len(bases)], segment_bytes)
        self.journal = WriteAheadLog(end, self.segments)
        self._commands_at = end
        self._committer: Committer | None = None
        self._moving: _Move | None = None

    def _snapshot(self) -> tuple[int, list[bytes]]:
        if SNAPSHOT not in self.files.names():
            return 0, []
        return decode_snapshot(self.files.read(SNAPSHOT))

    def count_live(self, queues: Iterable[int]) -> None:
        """Count what recovery found alive in the queues that exist, by segment."""
        for queue_id in queues:
            for message, _ in self.recovered.queues.get(queue_id, {}).values():
                self.segments.add_to(message.segment, 1)

    def begin(self, call_soon: Callable[..., object], events: Events) -> None:
        """Start the committer; ``call_soon`` runs a function in the event loop from any thread."""
        journal = self.journal

        def written(lsn: int, durable: bool) -> None:
            committer.busy = False
            if durable:
                journal.durable = lsn
            journal.flush()
            if durable:
                events.durable()

        def in_loop(function: Callable[..., None]) -> Callable[..., None]:
            def report(*arguments: object) -> None:
                call_soon(function, *arguments)

            return report

        reports = Reports(in_loop(written), in_loop(events.full), in_loop(events.failed))
        committer = Committer(self.files, self.data_dir.node, self.segments.bases[-1], reports)
        self._committer = committer
        committer.start()
        journal.committer = committer
        journal.flush()

    @property
    def idle(self) -> bool:
        """True unless stragglers are being copied forward, which wants to go on soon."""
        return self._moving is None

    def maintain(self, alive: Alive, snapshot: Callable[[], list[bytes]]) -> None:
        """Delete segments that hold nothing alive, and copy stragglers out of the oldest; call it often.

        Args:
            alive: asks the engine.
            snapshot: gives all durable metadata as encoded commands.
        """
        if self._moving is not None:
            if self._moving.step(self.journal, alive):
                self._moving = None
            self.journal.flush()
            return
        gone = self.segments.reclaimable()
        if gone:
            self._delete(gone, snapshot)
        elif self._worth_moving():
            self._moving = _Move(
                self.files.read(segment_name(self.segments.bases[0])), self.segments.bases[0]
            )
        self.segments.emptied = False

    def _worth_moving(self) -> bool:
        segments = self.segments
        if len(segments.bases) <= SEGMENTS_BEFORE_MOVING:
            return False
        return segments.total_live() < LIVE_SHARE * max(1, segments.total_enqueued())

    def _delete(self, gone: list[int], snapshot: Callable[[], list[bytes]]) -> None:
        """Delete segments once what they say is said elsewhere: metadata in the snapshot, settles durable."""
        committer = self._committer
        if committer is None or self.journal.durable < self.segments.bases[len(gone)]:
            return
        data = encode_snapshot(self.journal.appended, snapshot())
        self.segments.forget(len(gone))
        files = self.files

        def chore() -> None:
            files.replace(SNAPSHOT, data)
            for base in gone:
                files.remove(segment_name(base))
            files.sync_folder()

        committer.do(chore)

    def close(self, clean: bool) -> None:
        """Write what is left and give the directory back.

        Args:
            clean: the node stops in order; False after a failure, when nothing more is written.
        """
        committer = self._committer
        if committer is not None:
            if clean:
                self.journal.finish()
                committer.busy = False
                self.journal.flush()
            committer.stop()
            self._committer = None
        self.data_dir.close()


class _Move:
    """Copies what is alive in one old segment to the end of the log, a slice at a time."""

    def __init__(self, data: bytes, base: int) -> None:
        self._records = walk(data, SEGMENT_HEAD_SIZE, base)

    def step(self, journal: WriteAheadLog, alive: Alive) -> bool:
        """Look at the next slice; True when the segment is done."""
        found: list[Record] = []
        done = True
        for record in self._records:
            if isinstance(record, Record):
                found.append(record)
            if len(found) >= RECORDS_A_SLICE:
                done = False
                break
        messages = [decode_message(payload) for kind, payload in _messages(found) if kind == MESSAGE]
        keep = alive({pair for message in messages for pair in message.enqueues})
        for message in messages:
            kept = [pair for pair in message.enqueues if pair in keep]
            if kept:
                journal.move(encode_message(message._replace(enqueues=kept)), kept)
        return done


def _messages(found: list[Record]) -> Iterable[tuple[int, bytes]]:
    for record in found:
        if record.kind == GROUP:
            yield from records_in_group(record.payload)
        else:
            yield record.kind, record.payload
