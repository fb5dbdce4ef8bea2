"""The thread that reads blocks, so that a sync never delays a reader.

A block is damaged only if octets came back, twice, and are wrong, or if the disk refused them several times;
then all its good chunks are delivered.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from harebell.storage.files import SHORTAGE, Files, Reader
from harebell.storage.streams.blocks import CachedBlock
from harebell.storage.streams.segment_files import file_name
from harebell.storage.streams.segments import Segment

OPEN_FILES: Final = 16
"""Files kept open to be read."""

ATTEMPTS: Final = 20
"""So often the disk is asked for a block; a process short of descriptors or memory asks for longer."""

PIECE_OCTETS: Final = 4096
"""What is asked for at once where the disk fails."""


class BlockReading:
    """A block to be read.

    Attributes:
        segment: where it is.
        index: its number there.
        first: the offset it begins with.
        following: the offset it ends before, or may so far.
        position, size: of its octets that are in the file.
        rest: chunks that belong behind them; the event loop adds what comes meanwhile.
        block: what was read.
        damaged: where damaged octets begin and end in the file.
        attempts: how often the disk failed.
    """

    def __init__(self, segment: Segment, index: int, following: int, size: int, rest: list[bytes]) -> None:
        self.segment = segment
        self.index = index
        self.first = segment.firsts[index]
        self.following = following
        self.position = segment.positions[index]
        self.size = size
        self.rest = rest
        self.block: CachedBlock | None = None
        self.damaged: list[tuple[int, int]] = []
        self.attempts = 0


class Forget(NamedTuple):
    """Segments that are gone: an open file would keep their space."""

    segments: list[Segment]


class _Stop:
    """The last thing in the inbox."""


class BlockReader:
    """Reads blocks in the order in which they were asked for.

    Args:
        files: where the segments are.
        retry_seconds: how long to wait before a disk that failed is asked again.

    Attributes:
        inbox: ``BlockReading`` and ``Forget``.
    """

    def __init__(self, files: Files, retry_seconds: float) -> None:
        self.inbox: SimpleQueue[object] = SimpleQueue()
        self._files = files
        self._retry_seconds = retry_seconds
        self._call_soon: Callable[..., object] | None = None
        self._arrived: Callable[[BlockReading], None] | None = None
        self._failed: Callable[[Exception], None] | None = None
        self._readers: dict[str, Reader] = {}
        self._later: deque[BlockReading] = deque()
        self._retry_at = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="stream reader", daemon=True)

    def start(
        self,
        call_soon: Callable[..., object],
        arrived: Callable[[BlockReading], None],
        failed: Callable[[Exception], None],
        threaded: bool,
    ) -> None:
        """Begin; without a thread if ``work`` will be called instead.

        Args:
            arrived: told of each reading.
            failed: told of what nobody foresaw; nothing is read any more.
        """
        self._call_soon = call_soon
        self._arrived = arrived
        self._failed = failed
        if threaded:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not read is not any more."""
        self._stopped = True
        self.inbox.put(_Stop())
        if self._thread.ident is None:
            self._close_all()
        else:
            self._thread.join()

    def work(self) -> None:
        """Without the thread: read what was asked for so far, in the caller's."""
        self._retry_at = 0.0
        self._guarded(self._again)
        while not self._stopped and not self.inbox.empty():
            self._guarded(lambda: self._do(self.inbox.get()))

    def _run(self) -> None:
        while not self._stopped:
            self._guarded(self._wait)
        self._close_all()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._stopped = True
            self._tell(self._failed, error)

    def _tell(self, ear: Callable[..., None] | None, what: object) -> None:
        # A loop that is closed already cannot be told, and need not be.
        with suppress(RuntimeError):
            if self._call_soon is not None and ear is not None:
                self._call_soon(ear, what)

    def _wait(self) -> None:
        if self._later:
            with suppress(Empty):
                self._do(self.inbox.get(timeout=self._retry_seconds))
            if time.monotonic() >= self._retry_at:
                self._again()
        else:
            self._do(self.inbox.get())

    def _again(self) -> None:
        for _ in range(len(self._later)):
            self._read(self._later.popleft())

    def _do(self, item: object) -> None:
        if isinstance(item, BlockReading):
            self._read(item)
        elif isinstance(item, Forget):
            for segment in item.segments:
                self._close(file_name(segment.queue_id, segment.first))

    def _read(self, reading: BlockReading) -> None:
        if self._stopped:
            return
        if not reading.segment.gone:
            try:
                self._decode(reading, self._octets(reading))
                if reading.damaged:
                    self._decode(reading, self._octets(reading))
            except FileNotFoundError:
                self._decode(reading, b"")
            except OSError as error:
                if error.errno not in SHORTAGE:
                    reading.attempts += 1
                self._close(file_name(reading.segment.queue_id, reading.segment.first))
                self._later.append(reading)
                self._retry_at = time.monotonic() + self._retry_seconds
                return
        self._tell(self._arrived, reading)

    def _decode(self, reading: BlockReading, data: bytes) -> None:
        block = CachedBlock(reading.first, reading.rest)
        damaged = block.decode(data, reading.following)
        if len(data) < reading.size:
            damaged.append((len(data), reading.size))
        at = reading.position
        reading.damaged = [(at + start, at + end) for start, end in damaged]
        reading.block = block

    def _octets(self, reading: BlockReading) -> bytes:
        reader = self._reader(file_name(reading.segment.queue_id, reading.segment.first))
        if reading.attempts < ATTEMPTS:
            return reader.read(reading.position, reading.size)
        pieces: list[bytes] = []
        for start in range(0, reading.size, PIECE_OCTETS):
            size = min(PIECE_OCTETS, reading.size - start)
            try:
                pieces.append(reader.read(reading.position + start, size))
            except OSError:
                pieces.append(bytes(size))
        return b"".join(pieces)

    def _reader(self, name: str) -> Reader:
        reader = self._readers.pop(name, None)
        if reader is None:
            if len(self._readers) >= OPEN_FILES:
                self._close(next(iter(self._readers)))
            reader = self._files.reader(name)
        self._readers[name] = reader
        return reader

    def _close(self, name: str) -> None:
        reader = self._readers.pop(name, None)
        if reader is not None:
            reader.close()

    def _close_all(self) -> None:
        for name in list(self._readers):
            self._close(name)
