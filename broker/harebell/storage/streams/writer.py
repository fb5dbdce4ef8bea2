"""The thread that writes streams: chunks in the order in which they came, now and then a sync.

A segment is synced before anything is written to the next one, so what is found after a power cut is the
beginning of what was written.  A full disk loses nothing: chunks wait in memory, where they can be read, and
are tried again; deletions go on meanwhile, since they make the space.  After any other error, and after a
failed sync (it tells nothing of what was written), nothing is written any more, and the node has to stop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from harebell.storage.files import FULL, SHORTAGE, Files, LogFile
from harebell.storage.streams.segment_files import INDEX, STREAM, file_name
from harebell.storage.streams.segments import Segment

RETRY_SECONDS: Final = 0.25

SYNC_OCTETS: Final = 32 * 1024 * 1024
"""All that was written is synced after so much."""

GATHER_SECONDS: Final = 0.005
"""How long chunks gather before they are written: nobody waits for them, and waking up costs others time."""

BATCH_OCTETS: Final = 1024 * 1024
"""Neighbouring chunks are written together up to so much."""

OPEN_FILES: Final = 64
"""Files kept open to be written."""


class Write(NamedTuple):
    """A chunk for a segment, at a position; ``following`` is the offset behind it."""

    segment: Segment
    position: int
    data: bytes
    following: int


class Finish(NamedTuple):
    """A segment is complete, or the node stops: sync it and write its index; ``size`` are its octets."""

    segment: Segment
    size: int
    entries: bytes


class Replace(NamedTuple):
    """A segment goes in the place of another one, or the other one gets a new index.

    Attributes:
        old, new: the two; the same one for an index.
        temporary: name of the file that becomes that of the segment; empty for an index.
        entries: the index.
    """

    old: Segment
    new: Segment
    temporary: str
    entries: bytes


class Sync(NamedTuple):
    """Make a stream's log durable.

    Attributes:
        queue_id: the stream.
        segment: its last one that has chunks; None if there is none.
        size: octets of it that were handed over before.
        following: the offset behind what was handed over before.
    """

    queue_id: int
    segment: Segment | None
    size: int
    following: int


class Remove(NamedTuple):
    """Segments whose files are to be deleted, oldest first.

    Attributes:
        oldest: the first one of their log that stays; its name says where the log goes on, so it must be on
            disk before.  None if the log was deleted.
    """

    segments: list[Segment]
    oldest: Segment | None


class WriterEars(NamedTuple):
    """Whom the thread tells; called in the event loop.

    Attributes:
        written: the octets of a segment up to a position are in its file.
        stored: a stream is durable up to an offset.
        full: there is no space, or no file can be opened, for this reason; None: that is over.
        failed: nothing is written any more.
        finished: a segment is complete and durable.
        replaced: a ``Replace`` is done, or there was nothing left to replace.
    """

    written: Callable[[Segment, int], None]
    stored: Callable[[int, int], None]
    full: Callable[[OSError | None], None]
    failed: Callable[[Exception], None]
    finished: Callable[[Segment], None]
    replaced: Callable[[Segment, Segment], None]


Job = Write | Finish | Replace | Sync | Remove


class _Stop:
    """The last thing in the inbox."""


class _Untrustworthy(Exception):
    """Nothing can be said any more of what was written; the cause says why."""


class _Open:
    """A segment that is being written.

    Attributes:
        file: open, or None.
        size: octets written.
        following: the offset behind them; -1 if they are from before the node started.
        dirty: some of it was not synced.
    """

    def __init__(self, size: int) -> None:
        self.file: LogFile | None = None
        self.size = size
        self.following = -1
        self.dirty = size > 0


class StreamWriter:
    """Owns the files of all streams as far as they are written.

    Args:
        files: where they are.
        retry_seconds: how long to wait on a full disk between two attempts.
        sync_octets: after how many octets all is synced.

    Attributes:
        handled: octets of chunks written, or dropped with their segments.
        inbox: ``Write``, ``Finish``, ``Replace``, ``Sync`` and ``Remove``, done in order; but ``Replace``
            and ``Remove`` earlier on a full disk.
    """

    def __init__(self, files: Files, retry_seconds: float, sync_octets: int) -> None:
        self.inbox: SimpleQueue[object] = SimpleQueue()
        self._files = files
        self._retry_seconds = retry_seconds
        self._sync_octets = sync_octets
        self._call_soon: Callable[..., object] | None = None
        self._ears: WriterEars | None = None
        self._jobs: deque[Job] = deque()
        self._open: dict[Segment, _Open] = {}
        self.handled = 0
        self._unsynced = 0
        self._folder_dirty = True
        self._full = False
        self._retry_at = 0.0
        self._broken = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="stream writer", daemon=True)

    def start(self, call_soon: Callable[..., object], ears: WriterEars, threaded: bool) -> None:
        """Begin; without a thread if ``work`` will be called instead."""
        self._call_soon = call_soon
        self._ears = ears
        if threaded:
            self._thread.start()

    def give_up(self) -> None:
        """Write nothing any more."""
        self._broken = True

    def stop(self) -> None:
        """Write and sync what can be, and end the thread."""
        self.inbox.put(_Stop())
        if self._thread.ident is None:
            self._run()
        else:
            self._thread.join()

    def work(self) -> None:
        """Without the thread: do what was asked so far, in the caller's."""
        self._retry_at = 0.0
        if not self._stopped:
            self._guarded(self._step)

    def _run(self) -> None:
        while not self._stopped:
            self._guarded(self._wait)
        self._guarded(self._end)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except _Untrustworthy as error:
            cause = error.__cause__
            self._fail(cause if isinstance(cause, Exception) else error)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._broken:
            self._broken = True
            self._jobs.clear()
            if self._ears is not None:
                self._tell(self._ears.failed, error)

    def _tell(self, ear: Callable[..., None], *what: object) -> None:
        # A loop that is closed already cannot be told, and need not be.
        with suppress(RuntimeError):
            if self._call_soon is not None:
                self._call_soon(ear, *what)

    def _wait(self) -> None:
        if self._jobs:
            with suppress(Empty):
                self._take(self.inbox.get(timeout=self._retry_seconds))
        else:
            item = self.inbox.get()
            self._take(item)
            if isinstance(item, Write):
                time.sleep(GATHER_SECONDS)
        self._step()

    def _step(self) -> None:
        with suppress(Empty):
            while True:
                self._take(self.inbox.get_nowait())
        if self._stopped:
            self._retry_at = 0.0
        if self._jobs and time.monotonic() >= self._retry_at:
            self._advance()

    def _take(self, item: object) -> None:
        if isinstance(item, _Stop):
            self._stopped = True
        elif self._broken:
            pass
        elif isinstance(item, Job):
            self._jobs.append(item)

    def _advance(self) -> None:
        try:
            while self._jobs:
                job = self._jobs[0]
                if isinstance(job, Write):
                    self._write(job)
                    continue
                if isinstance(job, Finish):
                    self._finish(job)
                elif isinstance(job, Sync):
                    self._sync(job)
                elif isinstance(job, Replace):
                    self._replace(job)
                else:
                    self._remove(job)
                self._jobs.popleft()
        except OSError as error:
            if error.errno not in FULL and error.errno not in SHORTAGE:
                raise
            self._retry_at = time.monotonic() + self._retry_seconds
            if not self._full:
                self._full = True
                self._tell_full(error)
            self._make_space()
            return
        if self._full:
            self._full = False
            self._tell_full(None)

    def _tell_full(self, error: OSError | None) -> None:
        if self._ears is not None:
            self._tell(self._ears.full, error)

    def _write(self, job: Write) -> None:
        """Write a chunk and those behind it that are for the same segment."""
        segment = job.segment
        batch: list[bytes] = []
        octets = 0
        following = -1
        for each in self._jobs:
            if not isinstance(each, Write) or each.segment is not segment:
                break
            if batch and octets + len(each.data) > BATCH_OCTETS:
                break
            batch.append(each.data)
            octets += len(each.data)
            following = each.following
        if not segment.dropped:
            state = self._opened(segment, job.position)
            self._append(state, batch[0] if len(batch) == 1 else b"".join(batch))
            state.following = following
            self._unsynced += octets
            if self._ears is not None:
                self._tell(self._ears.written, segment, state.size)
        for _ in batch:
            self._jobs.popleft()
        self.handled += octets
        if self._unsynced >= self._sync_octets:
            self._sync_all()

    def _append(self, state: _Open, data: bytes) -> None:
        assert state.file is not None
        state.dirty = True
        rest = data
        try:
            while rest:
                rest = rest[state.file.write(rest) :]
        except OSError as error:
            if error.errno not in FULL and error.errno not in SHORTAGE:
                raise _Untrustworthy from error
            try:
                state.file.truncate(state.size)
            except OSError as failure:
                raise _Untrustworthy from failure
            raise
        state.size += len(data)

    def _opened(self, segment: Segment, size: int) -> _Open:
        """Give the file of a segment, open.

        Args:
            size: what it has if it was not written since the node started.
        """
        state = self._open.pop(segment, None) or _Open(size)
        if state.file is None:
            self._close_some()
            name = file_name(segment.queue_id, segment.first)
            if state.size == 0:
                state.file = self._files.create(name)
                segment.made = True
                self._folder_dirty = True
            else:
                state.file = self._files.append(name)
        self._open[segment] = state
        return state

    def _close_some(self) -> None:
        """Keep few files open; one whose last writes fail may not say so to whoever opens it again."""
        opened = [state for state in self._open.values() if state.file is not None]
        if len(opened) >= OPEN_FILES:
            for state in opened[: OPEN_FILES // 2]:
                self._sync_file(state)
                if state.file is not None:
                    state.file.close()
                    state.file = None

    def _sync_file(self, state: _Open) -> None:
        if not state.dirty:
            return
        assert state.file is not None, "a file was closed before it was synced"
        try:
            state.file.sync()
        except OSError as error:
            raise _Untrustworthy from error
        state.dirty = False

    def _sync_folder(self) -> None:
        if not self._folder_dirty:
            return
        try:
            self._files.sync_folder()
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            raise _Untrustworthy from error
        self._folder_dirty = False

    def _sync_all(self) -> None:
        self._unsynced = 0
        dirty = [(segment, state) for segment, state in self._open.items() if state.dirty]
        for _, state in dirty:
            self._sync_file(state)
        self._sync_folder()
        for segment, state in dirty:
            self._stored(segment.queue_id, state.following)

    def _stored(self, queue_id: int, following: int) -> None:
        if following >= 0 and self._ears is not None:
            self._tell(self._ears.stored, queue_id, following)

    def _sync(self, job: Sync) -> None:
        segment = job.segment
        if segment is not None and not segment.dropped:
            self._sync_file(self._opened(segment, job.size))
        self._sync_folder()
        self._stored(job.queue_id, job.following)

    def _finish(self, job: Finish) -> None:
        segment = job.segment
        if segment.dropped:
            return
        state = self._opened(segment, job.size)
        self._sync_file(state)
        self._sync_folder()
        self._stored(segment.queue_id, state.following)
        self._close(segment)
        self._write_index(segment, job.entries)
        segment.finished = True
        if self._ears is not None:
            self._tell(self._ears.finished, segment)

    def _write_index(self, segment: Segment, entries: bytes) -> None:
        try:
            self._files.replace(file_name(segment.queue_id, segment.first, INDEX), entries)
        except OSError as error:
            # Without it the segment is read when the node starts.
            if error.errno not in FULL and error.errno not in SHORTAGE:
                raise _Untrustworthy from error

    def _replace(self, job: Replace) -> None:
        old = job.old
        if old.dropped:
            if job.temporary:
                with suppress(OSError):
                    self._files.remove(job.temporary)
        else:
            if job.temporary:
                # Before: from now on nobody knows which file a reader finds.
                old.replaced = True
                try:
                    self._files.rename(job.temporary, file_name(old.queue_id, old.first))
                except OSError:
                    old.replaced = False
                    raise
                self._folder_dirty = True
            self._write_index(job.new, job.entries)
        if self._ears is not None:
            self._tell(self._ears.replaced, old, job.new)

    def _close(self, segment: Segment) -> None:
        state = self._open.pop(segment, None)
        if state is not None and state.file is not None:
            state.file.close()

    def _remove(self, job: Remove) -> None:
        if job.oldest is not None:
            # What a power cut brings back without those behind it shall not say that these followed.
            for segment in job.segments:
                self._delete_file(segment, INDEX)
            self._folder_dirty = True
            self._sync_folder()
            if not job.oldest.made:
                self._opened(job.oldest, 0)
                self._sync_folder()
        self._delete(job.segments)

    def _make_space(self) -> None:
        """Delete on a full disk what is to be deleted, before what cannot be written now."""
        left: deque[Job] = deque()
        for job in self._jobs:
            try:
                if isinstance(job, Remove):
                    self._remove(job)
                    continue
                if isinstance(job, Replace):
                    self._replace(job)
                    continue
            except OSError as error:
                if error.errno not in FULL and error.errno not in SHORTAGE:
                    raise
                if isinstance(job, Remove):
                    # The last one says where the log goes on as long as no other one does.
                    self._delete(job.segments[:-1])
            left.append(job)
        self._jobs = left

    def _delete(self, segments: list[Segment]) -> None:
        for segment in segments:
            segment.dropped = True
            self._close(segment)
            for kind in (STREAM, INDEX):
                self._delete_file(segment, kind)

    def _delete_file(self, segment: Segment, kind: str) -> None:
        # One that cannot be deleted now is found when the node starts again.
        with suppress(OSError):
            self._files.remove(file_name(segment.queue_id, segment.first, kind))

    def _end(self) -> None:
        try:
            if not self._broken:
                self._sync_all()
        finally:
            for segment in list(self._open):
                self._close(segment)
