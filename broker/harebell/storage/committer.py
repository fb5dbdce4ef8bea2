"""The committer: one thread that writes batches, syncs them, and reports how far the log is durable.

It touches nothing but the open segment file and its inbox.  A failed sync is final: the pages that failed are
marked clean and a later sync would lie, so the node stops.  A full disk is not: the batch is cut off again
and tried until there is space, while nothing is confirmed.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, NamedTuple

from harebell.storage.batch import Batch
from harebell.storage.files import Files, LogFile
from harebell.storage.records import SEGMENT_HEAD_SIZE, encode_segment_head
from harebell.storage.segments import segment_name

RETRY_SECONDS: Final = 0.25
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


Chore = Callable[[], None]
"""Something to do in the committer's thread; an OSError it raises stops the node."""


class Reports(NamedTuple):
    """Whom the committer tells; called from its thread.

    Attributes:
        written: a batch is written; the lsn, and whether it is durable.
        full: the disk is full (True), or has space again (False).
        failed: the disk cannot be trusted any more; nothing further is written.
    """

    written: Callable[[int, bool], None]
    full: Callable[[bool], None]
    failed: Callable[[OSError], None]


class Committer:
    """Owns the segment being written.

    Args:
        files: where segments are.
        node: id of the data directory.
        base: lsn of the first record of the segment to begin with; a new file.
        reports: whom to tell.

    Attributes:
        busy: True from ``submit`` until its batch was reported; set and cleared by the event loop.
    """

    def __init__(self, files: Files, node: int, base: int, reports: Reports) -> None:
        self.busy = False
        self._files = files
        self._node = node
        self._reports = reports
        self._inbox: SimpleQueue[Batch | Chore | None] = SimpleQueue()
        self._stop = threading.Event()
        self._file = self._open(base)
        self._size = SEGMENT_HEAD_SIZE
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Hand over the next batch."""
        self.busy = True
        self._inbox.put(batch)

    def do(self, chore: Chore) -> None:
        """Have something done to the files between two batches: snapshots, deletions."""
        self._inbox.put(chore)

    def stop(self) -> None:
        """Finish what was submitted, close the file, end the thread; a full disk is not waited for."""
        self._stop.set()
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (batch := self._inbox.get()) is not None:
                if not isinstance(batch, Batch):
                    batch()
                    continue
                if not self._write(batch.data):
                    break
                if batch.sync:
                    self._file.sync()
                if batch.next_base >= 0:
                    self._rotate(batch)
                self._reports.written(batch.lsn, batch.sync or batch.next_base >= 0)
        except OSError as error:
            self._reports.failed(error)
        finally:
            self._file.close()

    def _rotate(self, batch: Batch) -> None:
        if not batch.sync:
            self._file.sync()
        self._file.close()
        self._file = self._open(batch.next_base)
        self._size = SEGMENT_HEAD_SIZE

    def _open(self, base: int) -> LogFile:
        file = self._files.create(segment_name(base))
        head = encode_segment_head(base, self._node)
        while head:
            head = head[file.write(head) :]
        file.sync()
        self._files.sync_folder()
        return file

    def _write(self, data: bytes) -> bool:
        """Append all of ``data``, waiting for space if need be; False if told to stop meanwhile."""
        waiting = False
        while True:
            try:
                rest = data
                while rest:
                    rest = rest[self._file.write(rest) :]
                break
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._file.truncate(self._size)
                if not waiting:
                    waiting = True
                    self._reports.full(True)
                if self._stop.wait(RETRY_SECONDS):
                    return False
        self._size += len(data)
        if waiting:
            self._reports.full(False)
        return True
