"""The store of one data directory: recovery at the start, the journal while it runs, reclaim in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from harebell.content.message import Message
from harebell.storage.committer import FULL, Committer, Reports
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
    records_in_group,
    walk,
)
from harebell.storage.recovery import Loss, Recovered, recover
from harebell.storage.segments import SEGMENT_BYTES, Segments, segment_name
from harebell.storage.snapshot import BadSnapshot, Snapshot, read_snapshot, write_snapshot

SEGMENTS_BEFORE_MOVING: Final = 4
"""Segments the log may have before what is alive in the oldest is copied forward."""

LIVE_SHARE: Final = 0.5
"""It is copied forward while less than this share of the log is alive."""

RECORDS_A_SLICE: Final = 2000
"""Records of an old segment looked at in one go; the event loop runs in between."""

Pair = tuple[int, int]
"""A queue id and a position."""

Alive = Callable[[set[Pair]], dict[Pair, tuple[Message, bool]]]
"""Gives those of some pairs that are still alive: the message, and whether it was delivered before."""


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


class _Deletion(NamedTuple):
    """Segments to delete once everything up to an lsn is durable."""

    segments: int
    names: list[str]
    snapshot: Snapshot


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
        committer: writes the journal, once begun.

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
        try:
            self.files = files or DiskFiles(self.data_dir.journal)
            snapshot, complaints = read_snapshot(self.files)
            self.recovered: Recovered = recover(self.files, self.data_dir.node, strict, progress, snapshot)
        except (BadSegment, Loss, BadSnapshot, OSError) as error:
            self.data_dir.close()
            raise DataDirError(f"{self.data_dir.journal}: {error}") from None
        except BaseException:
            self.data_dir.close()
            raise
        self.recovered.missing.extend(complaints)
        later = [command for lsn, command in self.recovered.commands if lsn >= snapshot.lsn]
        self.commands = snapshot.commands + later
        end = self.recovered.end
        bases = list(self.recovered.bases)
        if not bases or bases[-1] != end:
            bases.append(end)
        self.segments = Segments(bases, segment_bytes)
        self.journal = WriteAheadLog(end, self.segments)
        self.committer: Committer | None = None
        self._move: _Move | None = None
        self._moved_base = -1
        self._deletion: _Deletion | None = None
        self._deleting = False
        self._full = False
        self._call_soon: Callable[..., object] = lambda function, *arguments: function(*arguments)

    def count_live(self, queues: Iterable[int]) -> None:
        """Count what recovery found alive in the queues that exist, by segment."""
        for queue_id in queues:
            for message, _ in self.recovered.queues.get(queue_id, {}).values():
                self.segments.add(int(message.segment), int(message.share))

    def begin(self, call_soon: Callable[..., object], events: Events, threaded: bool = True) -> None:
        """Start the committer.

        Args:
            call_soon: runs a function in the event loop, from any thread.
            events: whom to tell.
            threaded: False to write only when the committer is told to work, as tests want it.

        Raises:
            DataDirError: the first segment cannot be made.
        """
        journal = self.journal

        def written(lsn: int, durable: bool) -> None:
            committer.busy = False
            if durable:
                journal.durable = lsn
                self._delete_if_durable()
            journal.flush()
            if durable:
                events.durable()

        def full(is_full: bool) -> None:
            self._full = is_full
            events.full(is_full)

        def in_loop(function: Callable[..., None]) -> Callable[..., None]:
            def report(*arguments: object) -> None:
                call_soon(function, *arguments)

            return report

        reports = Reports(in_loop(written), in_loop(full), in_loop(events.failed))
        try:
            committer = Committer(self.files, self.data_dir.node, self.segments.bases[-1], reports)
        except OSError as error:
            self.data_dir.close()
            raise DataDirError(f"{self.data_dir.journal}: {error}") from None
        self._call_soon = call_soon
        self.committer = committer
        if threaded:
            committer.start()
        journal.committer = committer
        journal.flush()

    @property
    def idle(self) -> bool:
        """True unless messages are being copied forward, which wants to go on soon."""
        return self._move is None

    def maintain(self, alive: Alive, snapshot: Callable[[], list[bytes]]) -> None:
        """Delete segments that hold nothing alive, and copy forward what pins the oldest; call it often.

        Args:
            alive: asks the engine.
            snapshot: gives all durable metadata as encoded commands.
        """
        if self.committer is None or self._deleting:
            return
        if self._move is not None:
            if self._move.step(self.journal, alive):
                self._move = None
            self.journal.flush()
            return
        gone = self.segments.reclaimable(self.journal.durable)
        if gone:
            self._delete(gone, snapshot())
        elif self._worth_moving():
            self._moved_base = self.segments.bases[0]
            data = self.files.read(segment_name(self._moved_base))
            self._move = _Move(data, self._moved_base, int(self.segments.first))

    def _worth_moving(self) -> bool:
        segments = self.segments
        if self._full or len(segments.bases) <= SEGMENTS_BEFORE_MOVING:
            return False
        if segments.bases[0] == self._moved_base or segments.bases[1] > self.journal.durable:
            return False
        octets = int(self.journal.appended) - segments.bases[0]
        return int(segments.live_octets) < LIVE_SHARE * octets

    def _delete(self, gone: list[int], commands: list[bytes]) -> None:
        """Delete segments once what they said is said elsewhere, durably.

        What may have made them superfluous is a transaction's acknowledgements or a copy; what they said of
        metadata goes into the snapshot.  Neither may be on disk only in part, so both wait.
        """
        journal = self.journal
        lsn = journal.durable if journal.bound <= journal.durable else journal.appended
        snapshot = Snapshot(lsn, self.segments.bases[len(gone)], commands)
        self._deletion = _Deletion(len(gone), [segment_name(base) for base in gone], snapshot)
        self._deleting = True
        self._delete_if_durable()
        if self._deletion is not None:
            journal.hasten()
            journal.flush()

    def _delete_if_durable(self) -> None:
        deletion, committer = self._deletion, self.committer
        if deletion is None or committer is None or self.journal.durable < deletion.snapshot.lsn:
            return
        self._deletion = None
        files, call_soon = self.files, self._call_soon

        def chore() -> None:
            try:
                write_snapshot(files, deletion.snapshot)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                call_soon(self._deleted, 0)
                return
            for name in deletion.names:
                files.remove(name)
            files.sync_folder()
            call_soon(self._deleted, deletion.segments)

        committer.do(chore)

    def _deleted(self, count: int) -> None:
        self._deleting = False
        self.segments.forget(count)

    def close(self, clean: bool) -> None:
        """Write what is left and give the directory back.

        Args:
            clean: the node stops in order; False after a failure, when nothing more is written.
        """
        committer = self.committer
        if committer is not None:
            if clean:
                self.journal.finish()
                committer.busy = False
                self.journal.flush()
            committer.stop()
            self.committer = None
            self.journal.committer = None
        self.data_dir.close()


class _Move:
    """Copies what is alive in one old segment to the end of the log, a slice at a time."""

    def __init__(self, data: bytes, base: int, segment: int) -> None:
        self._records = walk(data, SEGMENT_HEAD_SIZE, base)
        self._segment = segment

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
        enqueues = [decode_message(payload).enqueues for kind, payload in _messages(found) if kind == MESSAGE]
        living = alive({pair for pairs in enqueues for pair in pairs})
        for pairs in enqueues:
            self._copy(journal, [pair for pair in pairs if pair in living], living)
        return done

    def _copy(
        self, journal: WriteAheadLog, pairs: list[Pair], living: dict[Pair, tuple[Message, bool]]
    ) -> None:
        """Copy one record's message; one whose record is another by now was copied before a restart."""
        pairs = [pair for pair in pairs if living[pair][0].segment == self._segment]
        if pairs:
            journal.move(living[pairs[0]][0], pairs, [pair for pair in pairs if living[pair][1]])


def _messages(found: list[Record]) -> Iterable[tuple[int, bytes]]:
    for record in found:
        if record.kind == GROUP:
            yield from records_in_group(record.payload)
        else:
            yield record.kind, record.payload
