"""The store of one data directory: recovery at the start, the journal while it runs, reclaim in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from harebell.paging import NO_LIMIT, KeptChunk, Page
from harebell.storage.committer import Committer, Reports
from harebell.storage.damage import Lost, remember
from harebell.storage.data_dir import DataDir, DataDirError
from harebell.storage.files import CANNOT_OPEN, FULL, NO_DESCRIPTORS, DiskFiles, Files
from harebell.storage.journal import WriteAheadLog
from harebell.storage.moving import Engine, Move
from harebell.storage.page_thread import Damage, PagerReports
from harebell.storage.pager import DiskPager
from harebell.storage.records import BadSegment
from harebell.storage.recovery import Loss, Recovered, recover
from harebell.storage.segments import SEGMENT_BYTES, Segments, segment_name
from harebell.storage.snapshot import BadSnapshot, Snapshot, read_snapshot, write_snapshot
from harebell.storage.streams.files import FileStreamLogs, StreamReports

SEGMENTS_BEFORE_MOVING: Final = 4
"""Segments the log may have before what is alive in the oldest is copied forward."""

STREAM_SEGMENTS: Final = 2
"""Segments before the current one that may hold what streams' files do not."""

FAR_AHEAD: Final = 1024 * 1024
"""Octets from which on somebody may wait for the journal to be written."""

MOVES_AHEAD: Final = 8 * 1024 * 1024
"""Octets that may wait for the disk while messages are copied forward."""

LIVE_SHARE: Final = 0.5
"""It is copied forward while less than this share of the log is alive."""

SPILL: Final = "spill"
"""Folder, beside the journal's, of messages that need not outlive the node."""

STREAMS: Final = "streams"
"""Folder, beside the journal's, of what streams keep."""


def _ignore(*arguments: object) -> None:
    """A report that nobody asked for."""


class Events(NamedTuple):
    """What the store reports, in the event loop.

    Attributes:
        durable: more of the journal is durable.
        full: the disk is full, or no file can be opened, for this reason; None: that is over.
        failed: the disk cannot be trusted, or not be read (``JournalUnreadable``): the node must stop.
        paged: messages were read from disk; their queues may deliver.
        no_spill: the disk that transient messages are spilled to failed; they stay in memory from now on.
        damaged: records that were valid are not any more.
        remembered: losses are in the list now.
        unreadable: messages on disk cannot be read now, for this reason; None: that is over.
        no_scratch: what queues know of messages on disk has to stay in memory for now, for this reason.
    """

    durable: Callable[[], None]
    full: Callable[[OSError | None], None]
    failed: Callable[[Exception], None]
    paged: Callable[[], None] = _ignore
    no_spill: Callable[[OSError], None] = _ignore
    damaged: Callable[[list[Damage]], None] = _ignore
    remembered: Callable[[], None] = _ignore
    unreadable: Callable[[OSError | None], None] = _ignore
    no_scratch: Callable[[OSError], None] = _ignore


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
        budget: octets of ready messages that are to stay in memory.
        spill: the file layer of spilled messages; the real one if None.
        streams: the file layer of streams; the real one if None.

    Attributes:
        streams: keeps the logs of streams.
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
        budget: int = NO_LIMIT,
        spill: Files | None = None,
        streams: Files | None = None,
    ) -> None:
        self.data_dir = DataDir(path)
        try:
            self.files = files or DiskFiles(self.data_dir.journal)
            spill = spill or DiskFiles(path / SPILL)
            self.streams = FileStreamLogs(streams or DiskFiles(path / STREAMS))
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
        bases_found = bool(bases)
        if not bases or bases[-1] != end:
            bases.append(end)
        self.segments = Segments(bases, segment_bytes)
        self.journal = WriteAheadLog(end, self.segments)
        if bases_found and not self.recovered.clean:
            self.recovered.flag_all()
            self.journal.flag_all()
        self.pager = DiskPager(self.files, spill, self.segments, self.journal, budget)
        self.committer: Committer | None = None
        self._move: Move | None = None
        self._moved_base = -1
        self._deletion: _Deletion | None = None
        self._deleting = False
        # What no snapshot holds yet should not depend on one record: the next look at the store writes one.
        self._snapshot_due = bool(later) or bool(complaints)
        self._snapshot_commands = 0
        self._snapshot_segment = int(self.segments.current)
        self._full: OSError | None = None
        self._spill_full: OSError | None = None
        self._streams_full: OSError | None = None
        self._losses: deque[Lost] = deque()
        self._call_soon: Callable[..., object] = lambda function, *arguments: function(*arguments)

    def deadlines(self, queue_id: int, limited: bool, ordered: bool) -> Iterable[tuple[int, int, int]]:
        """Give position, arrival and expiration (-1: none) of recovered messages, for their deadlines.

        Args:
            limited: True if messages without an expiration have a deadline, too.
            ordered: True if of neighbours without an expiration only the last matters.
        """
        backlog = self.recovered.queues.get(queue_id)
        return () if backlog is None else backlog.arrivals(limited, ordered)

    def waiting(self, queue_id: int, now: int) -> Iterable[tuple[int, int, int, int, int, int]]:
        """Go through what waits for a retry longer than until now, and count it as live; before ``pages``.

        Gives position, location, segment, share, time and returns of each, oldest first; afterwards the
        backlog does not have them any more.
        """
        backlog = self.recovered.queues.get(queue_id)
        if backlog is None or not backlog.holding:
            return
        for row in backlog.waiting(now):
            self.segments.add(row[2], row[3])
            yield row

    def pages(self, queue_id: int, highest: int, absent: int) -> dict[int, list[Page]]:
        """Give what recovery found alive in a queue, by priority, and count it as live.

        Args:
            highest: the highest priority that is told apart.
            absent: priority of messages that say none.
        """
        backlog = self.recovered.queues.get(queue_id)
        if backlog is None:
            return {}
        levels = backlog.leveled_pages(highest, absent)
        for pages in levels.values():
            for page in pages:
                for segment, octets in page.claims:
                    self.segments.add(segment, octets)
        return levels

    def timed(self, queue_id: int) -> Iterable[tuple[int, int, int, int, int]]:
        """Go through what recovery found alive in a queue of timed messages, and count it as live.

        Gives position, location, segment, share and arrival of each, oldest first; afterwards the backlog
        is empty.
        """
        backlog = self.recovered.queues.get(queue_id)
        if backlog is None:
            return
        for position, location, segment, share, arrived in backlog.timed():
            self.segments.add(segment, share)
            yield position, location, segment, share, arrived

    def chunks(self, queue_id: int) -> list[KeptChunk]:
        """Give the chunks of a stream that recovery found, oldest first, and count them as live."""
        backlog = self.recovered.queues.get(queue_id)
        kept = [] if backlog is None else backlog.kept
        for chunk in kept:
            self.segments.add(chunk.segment, chunk.octets)
        return kept

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
            committer.busy = lsn < committer.submitted
            far_ahead = journal.backlog() >= FAR_AHEAD
            journal.written = lsn
            if durable:
                journal.durable = lsn
                self._delete_if_durable()
            journal.flush()
            if durable:
                events.durable()
            elif far_ahead:
                # Publishers may wait for this, too, although nobody waits for a sync.
                events.paged()

        def full(error: OSError | None) -> None:
            self._full = error
            events.full(self._any_full())

        def spill_full(error: OSError | None) -> None:
            self._spill_full = error
            events.full(self._any_full())

        def streams_full(error: OSError | None) -> None:
            self._streams_full = error
            events.full(self._any_full())

        def damaged(found: list[Damage]) -> None:
            self._remember(found, events.remembered)
            events.damaged(found)

        def in_loop(function: Callable[..., None]) -> Callable[..., None]:
            def report(*arguments: object) -> None:
                call_soon(function, *arguments)

            return report

        reports = Reports(in_loop(written), in_loop(full), in_loop(events.failed))
        try:
            committer = Committer(
                self.files,
                self.data_dir.node,
                self.segments.bases[-1],
                reports,
                commits=self.journal.commits,
            )
        except OSError as error:
            self.data_dir.close()
            raise DataDirError(f"{self.data_dir.journal}: {error}") from None
        self._call_soon = call_soon
        self.committer = committer
        if threaded:
            committer.start()

        def paged(function: Callable[..., None], *arguments: object) -> None:
            function(*arguments)
            events.paged()

        def from_pager(function: Callable[..., None], *arguments: object) -> None:
            call_soon(paged, function, *arguments)

        from_reader = PagerReports(
            spill_full, events.no_spill, damaged, events.unreadable, events.failed, events.no_scratch
        )
        self.pager.begin(from_pager, from_reader, threaded)

        def from_streams(function: Callable[..., None], *arguments: object) -> None:
            call_soon(paged, function, *arguments)

        self.streams.begin(from_streams, StreamReports(streams_full, events.failed, damaged), threaded)
        journal.committer = committer
        journal.flush()

    def _any_full(self) -> OSError | None:
        return self._full or self._spill_full or self._streams_full

    def _remember(self, found: list[Damage], remembered: Callable[[], None]) -> None:
        """List losses in the committer's thread, and so before what they make superfluous is deleted."""
        committer, losses, files, call_soon = self.committer, self._losses, self.files, self._call_soon
        losses.extend(Lost(*each) for each in found)
        if committer is None:
            return

        def chore() -> None:
            gathered: list[Lost] = []
            while losses:
                gathered.append(losses.popleft())
            if not gathered:
                return
            # The log says it, too; a full disk shall not stop the node for it.
            with suppress(OSError):
                remember(files, gathered)
            call_soon(remembered)

        committer.do(chore)

    @property
    def idle(self) -> bool:
        """True unless messages are being copied forward, which wants to go on soon."""
        return self._move is None

    def maintain(self, engine: Engine, snapshot: Callable[[], list[bytes]]) -> None:
        """Delete segments that hold nothing alive, and copy forward what pins the oldest; call it often.

        Args:
            engine: knows what is alive.
            snapshot: gives all durable metadata as encoded commands.
        """
        if self.committer is None or self._deleting:
            return
        if self._move is not None:
            if self.journal.backlog() > MOVES_AHEAD:
                return
            if self._move.step(self.journal, engine):
                if self._move.missed:
                    self._moved_base = -1
                self._move = None
            self.journal.flush()
            return
        waits = engine.sync_streams(int(self.segments.current) - STREAM_SEGMENTS)
        gone = self.segments.reclaimable(self.journal.durable)
        if gone:
            self._delete(gone, snapshot())
        elif self._snapshot_worthwhile():
            self._delete([], snapshot())
        elif self._worth_moving() and not (waits or engine.sync_streams(int(self.segments.first) + 1)):
            base = self.segments.bases[0]
            # Noted once it was read: a disk that cannot be read now is asked again.
            self._move = Move(
                self.files.read(segment_name(base)), base, int(self.segments.first), self.segments
            )
            self._moved_base = base

    def _snapshot_worthwhile(self) -> bool:
        """Tell whether a finished segment holds declarations that are in no snapshot, so could be lost."""
        if self._full:
            return False
        current = int(self.segments.current)
        commands = int(self.journal.commands)
        changed = self._snapshot_commands != commands and self._snapshot_segment != current
        return self._snapshot_due or changed

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
        self._snapshot_due = False
        self._snapshot_commands = int(journal.commands)
        self._snapshot_segment = int(self.segments.current)
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
                # What was not replaced as a whole is there still, and is replaced as a whole next time.
                if error.errno not in FULL and error.errno not in CANNOT_OPEN:
                    raise
                call_soon(self._deleted, 0, True)
                return
            for name in deletion.names:
                files.remove(name)
            try:
                if deletion.names:
                    files.sync_folder()
            except OSError as error:
                # The snapshot says where the log begins: segments that come back count no more.
                if error.errno not in NO_DESCRIPTORS:
                    raise
            call_soon(self._deleted, deletion.segments, False)

        committer.do(chore)

    def _deleted(self, count: int, again: bool) -> None:
        self._deleting = False
        self._snapshot_due = again
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
            self.pager.stop()
            self.streams.close(clean)
            self.committer = None
            self.journal.committer = None
        self.pager.scratch_file.close()
        self.data_dir.close()
