"""The thread that compacts streams in files: one pass at a time, and most of the time it rests.

It reads segments that nobody writes any more and makes new files beside them; the writer renames them in its
turn, so that retention and deletion never meet a file that is on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from harebell.content.chunks import CHUNK_HEAD_SIZE, scan_head
from harebell.storage.files import Files, Reader
from harebell.storage.streams.compaction import Chunks, Compaction, Outcome, Rewriting
from harebell.storage.streams.segment_files import file_name
from harebell.storage.streams.segments import Segment

TEMPORARY: Final = ".tmp"
"""Ends the names of files that no log has yet; they are deleted when the node starts."""

WINDOW_OCTETS: Final = 1024 * 1024
"""One read covers so much, unless a single chunk is larger."""

WORK_SECONDS: Final = 0.001
"""So long it works before it rests: nothing else of the process runs meanwhile."""

REST: Final = 7
"""It rests so many times as long as it worked."""


class FileChunks(Chunks):
    """Reads and writes segments in files.

    Args:
        files: the folder.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self, segment: Segment) -> Generator[bytes, None, None]:
        """Give the chunks of a segment's file; one that is gone has none."""
        try:
            reader = self._files.reader(file_name(segment.queue_id, segment.first))
        except FileNotFoundError:
            if segment.gone or segment.dropped:
                return
            raise
        try:
            yield from _chunks(reader, segment.size)
        finally:
            reader.close()

    def rewrite(self, segment: Segment, latest: int, octets: int) -> Rewriting:
        """Begin a file beside a segment's."""
        made = FileRewriting(self._files, segment, latest)
        reader = self._files.reader(file_name(segment.queue_id, segment.first))
        try:
            for chunk in _chunks(reader, octets):
                made.add(chunk)
        except BaseException:
            made.abandon()
            raise
        finally:
            reader.close()
        return made


def _chunks(reader: Reader, size: int) -> Iterator[bytes]:
    start = at = 0
    data = b""
    while at < size:
        wanted = CHUNK_HEAD_SIZE
        head = scan_head(data, at - start)
        if head is not None:
            wanted = int(head.size)
        if at + wanted > start + len(data):
            start = at
            data = reader.read(at, min(max(wanted, WINDOW_OCTETS), size - at))
            head = scan_head(data, 0)
            if head is not None and head.size > len(data) and at + int(head.size) <= size:
                data = reader.read(at, int(head.size))
        if head is None or at - start + head.size > len(data):
            yield b""
            return
        chunk = data[at - start : at - start + int(head.size)]
        at += int(head.size)
        yield chunk


class FileRewriting(Rewriting):
    """A file beside a segment's.

    Args:
        files: the folder.
        old: the segment.
        latest: the highest timestamp before it.

    Attributes:
        name: of the file.
    """

    def __init__(self, files: Files, old: Segment, latest: int) -> None:
        self.segment = Segment(old.queue_id, old.first, latest)
        self.name = file_name(old.queue_id, old.first) + TEMPORARY
        self._files = files
        self._file = files.create(self.name)
        self._gathered: list[bytes] = []
        self._octets = 0

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        head = scan_head(chunk, 0)
        assert head is not None, "only valid chunks are kept"
        self.segment.add(len(chunk), int(head.first), int(head.next), int(head.timestamp))
        self._gathered.append(chunk)
        self._octets += len(chunk)
        if self._octets >= WINDOW_OCTETS:
            self._write()

    def _write(self) -> None:
        self._file.write_all(b"".join(self._gathered))
        self._gathered.clear()
        self._octets = 0

    def complete(self) -> None:
        """Have all of it on stable storage."""
        self._write()
        self._file.sync()
        self._file.close()
        self.segment.made = self.segment.finished = True

    def abandon(self) -> None:
        """Delete the file."""
        self._file.close()
        with suppress(OSError):
            self._files.remove(self.name)


class Compactor:
    """Runs passes.

    Attributes:
        inbox: passes, done one after the other.
    """

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Compaction | None] = SimpleQueue()
        self._call_soon: Callable[..., object] | None = None
        self._outcome: Callable[[Compaction, Outcome], None] | None = None
        self._ended: Callable[[Compaction, OSError | None], None] | None = None
        self._failed: Callable[[Exception], None] | None = None
        self._stopping = threading.Event()
        self._threaded = False
        self._worked_since = 0.0
        self._thread = threading.Thread(target=self._run, name="stream compaction", daemon=True)

    def start(
        self,
        call_soon: Callable[..., object],
        outcome: Callable[[Compaction, Outcome], None],
        ended: Callable[[Compaction, OSError | None], None],
        failed: Callable[[Exception], None],
        threaded: bool,
    ) -> None:
        """Begin; without a thread if ``work`` will be called instead.

        Args:
            call_soon: has the event loop call a function; from any thread.
            outcome: told what became of each segment.
            ended: told that a pass is over, and why if the disk ended it.
            failed: told of what nobody foresaw; nothing is compacted any more.
        """
        self._call_soon = call_soon
        self._outcome = outcome
        self._ended = ended
        self._failed = failed
        self._threaded = threaded

    def ask(self, compaction: Compaction) -> None:
        """Have a pass done; the first one starts the thread, which most nodes do not need."""
        self.inbox.put(compaction)
        if self._threaded and self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread and leave what it is at."""
        self._stopping.set()
        self.inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def work(self) -> None:
        """Without the thread: do what was asked so far, in the caller's."""
        while not self.inbox.empty():
            self._do(self.inbox.get())

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._do(self.inbox.get())

    def _do(self, compaction: Compaction | None) -> None:
        if compaction is None or self._stopping.is_set():
            return
        problem: OSError | None = None
        self._worked_since = time.monotonic()
        try:
            self._pass(compaction)
        except OSError as error:
            # It is tried again when the log has grown.
            problem = error
        except Exception as error:
            self._stopping.set()
            self._tell(self._failed, error)
            return
        self._tell(self._ended, compaction, problem)

    def _pass(self, compaction: Compaction) -> None:
        steps = compaction.steps()
        try:
            for _ in steps:
                self._hand_over(compaction)
                if self._stopping.is_set():
                    return
                self._rest()
            self._hand_over(compaction)
        finally:
            steps.close()

    def _hand_over(self, compaction: Compaction) -> None:
        for outcome in compaction.outcomes:
            self._tell(self._outcome, compaction, outcome)
        compaction.outcomes.clear()

    def _rest(self) -> None:
        worked = time.monotonic() - self._worked_since
        if self._threaded and worked >= WORK_SECONDS:
            self._stopping.wait(worked * REST)
            self._worked_since = time.monotonic()

    def _tell(self, ear: Callable[..., None] | None, *what: object) -> None:
        # A loop that is closed already cannot be told, and need not be.
        with suppress(RuntimeError):
            if self._call_soon is not None and ear is not None:
                self._call_soon(ear, *what)
