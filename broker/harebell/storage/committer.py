"""The committer: one thread that writes batches, syncs them, and reports how far the log is durable.

It touches nothing but the open segment file and its inbox.  A failed sync is final: the pages that failed are
marked clean and a later sync would lie, so the node stops.  A full disk is not: the batch is cut off again
and tried until there is space, while nothing is confirmed; deletions go on, since they make the space.  Nor
is it final when a segment cannot be opened for want of file descriptors or memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Final, NamedTuple

from harebell.histograms import Commits
from harebell.storage.batch import Batch
from harebell.storage.files import CANNOT_OPEN, FULL, NO_DESCRIPTORS, Files, LogFile
from harebell.storage.records import SEGMENT_HEAD_SIZE, encode_segment_head
from harebell.storage.segments import segment_name

RETRY_SECONDS: Final = 0.25

MOST_OCTETS: Final = 8 * 1024 * 1024
"""Batches that wait are written and synced together, up to so much."""

Chore = Callable[[], None]
"""Something to do in the committer's thread; an OSError it raises stops the node."""


class Reports(NamedTuple):
    """Whom the committer tells; called from its thread.

    Attributes:
        written: a batch is written; the lsn, and whether it is durable.
        full: the disk is full, or no segment can be opened, for this reason; None: that is over.
        failed: the disk cannot be trusted any more; nothing further is written.
    """

    written: Callable[[int, bool], None]
    full: Callable[[OSError | None], None]
    failed: Callable[[OSError], None]


class _Postponed(Exception):
    """A segment cannot be opened now; ``error`` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Committer:
    """Owns the segment being written.

    Args:
        files: where segments are.
        node: id of the data directory.
        base: lsn of the first record of the segment to begin with; a new file.
        reports: whom to tell.
        retry_seconds: how long to wait for space on a full disk between two attempts.
        commits: counts what is done; None to have an own one.

    Attributes:
        busy: True from ``submit`` until the last batch was reported; set and cleared by the event loop.
        submitted: the lsn behind the last batch.

    Raises:
        OSError: the first segment cannot be made.
    """

    def __init__(
        self,
        files: Files,
        node: int,
        base: int,
        reports: Reports,
        retry_seconds: float = RETRY_SECONDS,
        commits: Commits | None = None,
    ) -> None:
        self.busy = False
        self.submitted = base
        self._commits = commits or Commits()
        self._files = files
        self._node = node
        self._reports = reports
        self._retry_seconds = retry_seconds
        self._inbox: SimpleQueue[Batch | Chore | None] = SimpleQueue()
        self._postponed: deque[Batch] = deque()
        self._waiting = False
        self._stopped = False
        try:
            self._file: LogFile | None = self._open(base)
        except _Postponed as postponed:
            raise postponed.error from None
        self._size = SEGMENT_HEAD_SIZE
        self._written = self._synced = base
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Hand over the next batch."""
        self.busy = True
        self.submitted = batch.lsn
        self._inbox.put(batch)

    def do(self, chore: Chore) -> None:
        """Have something done to the files between two batches: snapshots, deletions."""
        self._inbox.put(chore)

    def stop(self) -> None:
        """Finish what was submitted, close the file, end the thread; a full disk is not waited for."""
        self._inbox.put(None)
        if self._thread.ident is None:
            self._run()
        else:
            self._thread.join()

    def work(self) -> None:
        """Without the thread: do what was submitted so far, in the caller's."""
        while not self._stopped and (self._postponed or not self._inbox.empty()):
            self._guarded(self._step)

    def _run(self) -> None:
        while not self._stopped:
            self._guarded(self._step)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._stopped = True
            # A loop that is closed already cannot be told, and need not be.
            with suppress(RuntimeError):
                self._reports.failed(error if isinstance(error, OSError) else OSError(repr(error)))
        if self._stopped:
            with suppress(OSError):
                self._close()

    def _step(self) -> None:
        item = self._postponed.popleft() if self._postponed else self._inbox.get()
        if item is None:
            self._stopped = True
        elif isinstance(item, Batch):
            self._commit(item)
        else:
            item()

    def _commit(self, batch: Batch) -> None:
        batches = self._with_more(batch)
        last = batches[-1]
        durable = last.next_base >= 0 or any(each.sync for each in batches)
        parts: list[bytes | memoryview] = [each.data for each in batches]
        head = batch.synced_head
        if head and self._written == self._synced:
            parts[:1] = [head, memoryview(batch.data)[len(head) :]]
        if not self._write(batch.data if len(parts) == 1 else b"".join(parts)):
            return
        self._written = last.lsn
        self._commits.batches.add(sum(len(each.data) for each in batches))
        if durable:
            began = perf_counter()
            self._open_file().sync()
            self._commits.syncs.add(perf_counter() - began)
            self._synced = last.lsn
        self._reports.written(last.lsn, durable)
        if last.next_base >= 0:
            self._rotate(last.next_base)

    def _with_more(self, batch: Batch) -> list[Batch]:
        """Give a batch and those that came meanwhile: one sync does for all of them."""
        batches = [batch]
        octets = len(batch.data)
        with suppress(Empty):
            while batches[-1].next_base < 0 and octets < MOST_OCTETS and not self._stopped:
                item = self._postponed.popleft() if self._postponed else self._inbox.get_nowait()
                if item is None:
                    self._stopped = True
                elif isinstance(item, Batch):
                    batches.append(item)
                    octets += len(item.data)
                else:
                    item()
        return batches

    def _rotate(self, base: int) -> None:
        self._close()
        while True:
            try:
                self._file = self._open(base)
                self._size = SEGMENT_HEAD_SIZE
                break
            except _Postponed as postponed:
                if not self._wait(postponed.error):
                    return
            except OSError as error:
                if not self._space_comes(error):
                    return
        self._has_space()

    def _write(self, data: bytes) -> bool:
        """Append all of ``data``, waiting for space if need be; False if told to stop meanwhile."""
        file = self._open_file()
        while True:
            try:
                file.write_all(data)
                break
            except OSError as error:
                if error.errno in FULL:
                    file.truncate(self._size)
                if not self._space_comes(error):
                    return False
        self._size += len(data)
        self._has_space()
        return True

    def _space_comes(self, error: OSError) -> bool:
        """Wait as ``_wait`` does.

        Raises:
            OSError: the error given, unless it says that the disk is full.
        """
        if error.errno not in FULL:
            raise error
        return self._wait(error)

    def _wait(self, error: OSError) -> bool:
        """Wait a little before the next attempt, doing chores; False if told to stop meanwhile."""
        if not self._waiting:
            self._waiting = True
            self._reports.full(error)
        with suppress(Empty):
            item = self._inbox.get(timeout=self._retry_seconds)
            if item is None:
                self._stopped = True
            elif isinstance(item, Batch):
                self._postponed.append(item)
            else:
                item()
        return not self._stopped

    def _has_space(self) -> None:
        if self._waiting:
            self._waiting = False
            self._reports.full(None)

    def _open(self, base: int) -> LogFile:
        """Make a segment.

        Raises:
            _Postponed: the process is short of something; nothing was written.
            OSError: the disk fails or is full.
        """
        try:
            file = self._files.create(segment_name(base))
        except OSError as error:
            if error.errno in CANNOT_OPEN:
                raise _Postponed(error) from None
            raise
        try:
            file.write_all(encode_segment_head(base, self._node))
            file.sync()
        except OSError as error:
            file.close()
            # A file that could not even be begun holds nothing; only a failed write may be tried again.
            raise error
        try:
            self._files.sync_folder()
        except OSError as error:
            file.close()
            # The folder could not be opened; the file is made once more, so nothing is taken for synced.
            if error.errno in NO_DESCRIPTORS:
                raise _Postponed(error) from None
            raise
        return file

    def _open_file(self) -> LogFile:
        assert self._file is not None
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
