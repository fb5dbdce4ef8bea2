"""The pager's thread: writes the spill log and reads pages, in the order in which it was asked.

A full disk loses nothing: what cannot be written stays in memory, is read from there, and is tried again.
So it does after any other error, but then nothing is tried any more.

A disk that cannot be read loses nothing either: pages wait and are tried again.  When the journal cannot be
read for long the node must stop; what is on disk is still there.  What was spilled would not outlive the node
anyway, so it is lost when it cannot be read for as long.
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
from harebell.storage.page_reader import PageReader, PageReading
from harebell.storage.spill import SpillChunk, SpillRemoval, spill_name

RETRY_SECONDS: Final = 0.25

PATIENCE_SECONDS: Final = 30.0
"""For so long a page may not be readable; a process short of descriptors or memory is waited for longer."""


class JournalUnreadable(Exception):
    """The journal cannot be read, so the node must stop: nothing is known of messages that are on disk."""


class Damage(NamedTuple):
    """Neighbouring octets of a file that held messages and do not any more; ``text`` says what it means."""

    file: str
    offset: int
    octets: int
    text: str


class JournalTrim(NamedTuple):
    """The journal's segments before this lsn are deleted."""

    base: int


class PagerReports(NamedTuple):
    """Whom the pager tells, in the event loop.

    Attributes:
        full: there is no space to spill, for this reason; None: there is again.
        stopped: told once: nothing is spilled any more; what was not written yet stays in memory.
        damaged: what is lost of a page; told once for each record.
        unreadable: the disk cannot be read, for this reason, or can again (None).
        failed: pages are not read any more, ``JournalUnreadable`` or a reason nobody foresaw: the node must
            stop.
        scratch_refused: told once: what queues know of messages on disk has to stay in memory for now.
    """

    full: Callable[[OSError | None], None]
    stopped: Callable[[OSError], None]
    damaged: Callable[[list[Damage]], None]
    unreadable: Callable[[OSError | None], None]
    failed: Callable[[Exception], None]
    scratch_refused: Callable[[OSError], None]


class Ears(NamedTuple):
    """Whom the thread tells; called in the event loop.

    Attributes:
        written: a chunk is in its file, or nobody needs it any more.
        arrived: a page was read.
        full: the disk is full, for this reason; None: it has space again.
        stopped: the spill log cannot be written any more; what is not written stays in memory.
        unreadable: pages cannot be read, for this reason, or can again (None).
        failed: the journal cannot be read, or something unforeseen; the thread has ended.
    """

    written: Callable[[SpillChunk], None]
    arrived: Callable[[PageReading], None]
    full: Callable[[OSError | None], None]
    stopped: Callable[[OSError], None]
    unreadable: Callable[[OSError | None], None]
    failed: Callable[[Exception], None]


class _Stop:
    """The last thing in the inbox."""


class PageThread:
    """Owns the spill log's files.

    Args:
        journal: where the journal's segments are; only read.
        spill: where the spill log is.
        inbox: ``SpillChunk``, ``SpillRemoval``, ``PageReading`` and ``JournalTrim``, to be done in order.
        ears: whom to tell.
        retry_seconds: how long to wait after an attempt that may succeed later.
        patience_seconds: how long a page may not be readable.
    """

    def __init__(
        self,
        journal: Files,
        spill: Files,
        inbox: SimpleQueue[object],
        ears: Ears,
        retry_seconds: float = RETRY_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._spill = spill
        self._inbox = inbox
        self._ears = ears
        self._retry_seconds = retry_seconds
        self._patience_seconds = patience_seconds
        self._call_soon: Callable[..., object] | None = None
        self._unwritten: list[SpillChunk] = []
        self._postponed: deque[PageReading] = deque()
        self._reader = PageReader(journal, spill, self._unwritten)
        self._file: LogFile | None = None
        self._base = -1
        self._size = 0
        self._files: set[int] = set()
        self._full = False
        self._broken = False
        self._stopped = False
        self._stopping = False
        self._unreadable = False
        self._unreadable_since = -1.0
        self._read_at = 0.0
        self._thread = threading.Thread(target=self._run, name="pager", daemon=True)

    def start(self, call_soon: Callable[..., object], threaded: bool) -> None:
        """Begin; without a thread if ``work`` will be called instead."""
        self._call_soon = call_soon
        if threaded:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; delete the spill log, and write none of it any more."""
        self._stopping = True
        self._inbox.put(_Stop())
        if self._thread.ident is None:
            self._run()
        else:
            self._thread.join()

    def work(self) -> None:
        """Without the thread: do what was asked so far, in the caller's."""
        if not self._stopped:
            self._guarded(lambda: self._do(None))
        while not self._stopped and not self._inbox.empty():
            self._guarded(lambda: self._do(self._inbox.get()))

    def _run(self) -> None:
        while not self._stopped:
            self._guarded(self._wait)
        self._end()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._stopped = True
            self._tell(self._ears.failed, error)

    def _tell(self, ear: Callable[..., None], what: object) -> None:
        # A loop that is closed already cannot be told, and need not be.
        with suppress(RuntimeError):
            if self._call_soon is not None:
                self._call_soon(ear, what)

    def _wait(self) -> None:
        item: object = None
        if self._postponed or (self._unwritten and not self._broken):
            with suppress(Empty):
                item = self._inbox.get(timeout=self._retry_seconds)
        else:
            item = self._inbox.get()
        self._do(item)

    def _do(self, item: object) -> None:
        """Do one thing, after what was left undone before; None to try that again."""
        if isinstance(item, _Stop):
            self._stopped = True
        if self._stopping:
            return
        self._write_waiting()
        # A disk that fails may take its time for each attempt, and what is to be written must not wait.
        if self._postponed and (item is None or time.monotonic() >= self._read_at):
            self._read_postponed()
        if isinstance(item, SpillChunk):
            self._unwritten.append(item)
            if len(self._unwritten) == 1:
                self._write_waiting()
        elif isinstance(item, PageReading):
            self._postponed.append(item)
            if len(self._postponed) == 1:
                self._read_postponed()
        elif isinstance(item, SpillRemoval):
            self._remove(item.base)
        elif isinstance(item, JournalTrim):
            self._reader.forget_journal(item.base)

    def _read_postponed(self) -> None:
        while self._postponed:
            reading = self._postponed[0]
            if not reading.dropped:
                try:
                    self._reader.read(reading)
                except OSError as error:
                    self._reader.close()
                    self._cannot_read(reading, error)
                    return
            self._postponed.popleft()
            self._tell(self._ears.arrived, reading)
            self._unreadable_since = -1.0
        if self._unreadable:
            self._unreadable = False
            self._tell(self._ears.unreadable, None)

    def _cannot_read(self, reading: PageReading, error: OSError) -> None:
        """Wait with a page.

        Raises:
            JournalUnreadable: it has waited for long enough.
        """
        now = time.monotonic()
        self._read_at = now + self._retry_seconds
        if not self._unreadable:
            self._unreadable = True
            self._tell(self._ears.unreadable, error)
        if error.errno in SHORTAGE:
            self._unreadable_since = -1.0
        elif self._unreadable_since < 0:
            self._unreadable_since = now
        elif now - self._unreadable_since >= self._patience_seconds:
            if not self._reader.spilled:
                raise JournalUnreadable(f"the journal cannot be read: {error}") from error
            reading.given_up = True

    def _write_waiting(self) -> None:
        while self._unwritten and not self._broken:
            chunk = self._unwritten[0]
            try:
                written = self._write(chunk)
            except OSError as error:
                self._trouble(error)
                return
            if not written:
                return
            del self._unwritten[0]
            self._tell(self._ears.written, chunk)
        if self._full and not self._unwritten:
            self._full = False
            self._tell(self._ears.full, None)

    def _trouble(self, error: OSError) -> None:
        if error.errno in SHORTAGE:
            return
        if error.errno not in FULL:
            self._broken = True
            self._tell(self._ears.stopped, error)
        elif not self._full:
            self._full = True
            self._tell(self._ears.full, error)

    def _write(self, chunk: SpillChunk) -> bool:
        """Write a chunk to its file; False if it is about to be deleted instead."""
        if self._file is None or self._base != chunk.base:
            self._close()
            self._file = self._spill.create(spill_name(chunk.base))
            self._base = chunk.base
            self._size = 0
            self._files.add(chunk.base)
        rest = chunk.data
        try:
            while rest:
                if self._stopping:
                    return False
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in FULL or error.errno in SHORTAGE:
                self._file.truncate(self._size)
            raise
        self._size += len(chunk.data)
        return True

    def _remove(self, base: int) -> None:
        dropped = [chunk for chunk in self._unwritten if chunk.base == base]
        for chunk in dropped:
            self._unwritten.remove(chunk)
            self._tell(self._ears.written, chunk)
        self._reader.forget_spilled(base)
        if base == self._base:
            self._close()
        if base in self._files:
            self._files.remove(base)
            # One that cannot be deleted now is when the node starts again.
            with suppress(OSError):
                self._spill.remove(spill_name(base))

    def _end(self) -> None:
        self._reader.close()
        for base in sorted(self._files):
            self._remove(base)

    def _close(self) -> None:
        file, self._file = self._file, None
        self._base = -1
        if file is not None:
            file.close()
