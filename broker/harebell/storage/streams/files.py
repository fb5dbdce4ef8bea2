"""Logs of streams in files: all streams' segments lie in one folder; ``segment_files.py`` has their form.

The event loop decides what goes where; one thread writes it, another one reads blocks.  What was handed over
and is not written yet is read from memory.  The files of a log are a little behind the journal: what a power
cut takes from their end, the journal brings back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from harebell.content.chunks import CHUNK_HEAD_SIZE, RECORD_HEAD_SIZE, scan_head, valid_chunk
from harebell.storage.files import Files
from harebell.storage.page_thread import Damage
from harebell.storage.streams.block_reader import BlockReader, BlockReading, Forget
from harebell.storage.streams.blocks import CACHE_OCTETS, BlockCache, CachedBlock
from harebell.storage.streams.compaction import Compaction, Outcome
from harebell.storage.streams.compactor import TEMPORARY, Compactor, FileChunks, FileRewriting
from harebell.storage.streams.log import SegmentedLog
from harebell.storage.streams.segment_files import (
    INDEX,
    STREAM,
    SegmentScan,
    decode_index,
    encode_index,
    file_name,
    parse_name,
)
from harebell.storage.streams.segments import UNKNOWN_KEY, Segment
from harebell.storage.streams.writer import (
    RETRY_SECONDS,
    SYNC_OCTETS,
    Finish,
    Remove,
    Replace,
    StreamWriter,
    Sync,
    Write,
    WriterEars,
)
from harebell.streaming import StreamLog, StreamLogs

ATTEMPTS_NOW: Final = 3
"""So often the disk is asked for a block while the node starts, which waits for it."""


class StreamReports(NamedTuple):
    """Whom the logs tell, in the event loop.

    Attributes:
        full: there is no space for streams, for this reason; None: there is again.
        failed: streams cannot be written or read any more: the node must stop.
        damaged: octets that held messages and do not any more.
    """

    full: Callable[[OSError | None], None]
    failed: Callable[[Exception], None]
    damaged: Callable[[list[Damage]], None]


class FileStreamLog(SegmentedLog):
    """A log in files.

    Args:
        queue_id, segment_octets, segments: see ``SegmentedLog``.
        owner: keeps it.
        indexed: the last segment's index says all there is.
    """

    def __init__(
        self,
        queue_id: int,
        segment_octets: int,
        owner: FileStreamLogs,
        segments: list[Segment],
        indexed: bool,
    ) -> None:
        super().__init__(queue_id, segment_octets, owner.cache, segments)
        self._owner = owner
        self._indexed = indexed
        self._unwritten: dict[int, deque[Write]] = {}
        self._readings: dict[int, BlockReading] = {}
        self._replacing = 0
        self._over = False

    def sync(self) -> None:
        """Have all that was appended synced."""
        segment = self._last_segment()
        size = 0 if segment is None else segment.size
        self._owner.writer.inbox.put(Sync(self.queue_id, segment, size, int(self.next)))

    def settle_end(self, stored: int) -> None:
        """Cut the torn end, if it has one."""
        if self._owner.settle_end(self.queue_id, stored):
            self._count()

    def delete(self) -> None:
        """Delete everything, on disk, too."""
        super().delete()
        self._owner.forget(self)

    def written(self, segment: Segment, end: int) -> None:
        """The octets of a segment up to a position are in its file."""
        while self._unwritten:
            block = next(iter(self._unwritten))
            chunks = self._unwritten[block]
            while chunks and _lies_before(chunks[0], segment, end):
                chunks.popleft()
            if chunks:
                return
            del self._unwritten[block]

    def arrived(self, reading: BlockReading) -> None:
        """A block was read."""
        if self._readings.get(reading.first) is reading:
            del self._readings[reading.first]
        segment = reading.segment
        if reading.block is not None and not segment.gone and not segment.replaced:
            self._complete(reading.block, segment, reading.index)
            if reading.damaged:
                self._owner.report_damage(segment, reading.damaged)
        if self.reader is not None:
            self.reader.block_arrived()

    def compact(self, at_once: bool = False) -> None:
        """Begin to compact if that is due, or ``at_once``."""
        compaction = self._plan(self._owner.chunks, at_once)
        if compaction is not None:
            self._over = False
            self._owner.compact(self, compaction)

    def compacted(self, compaction: Compaction, outcome: Outcome) -> None:
        """A pass is done with a segment."""
        old, made = outcome.segment, outcome.rewriting
        new = old
        name = ""
        if isinstance(made, FileRewriting):
            new, name = made.segment, made.name
        elif old.gone or old.compacted == outcome.compacted:
            return
        compaction.mark(new, outcome.compacted)
        if not new.firsts and not old.gone:
            at = self._segments.index(old)
            self._put(old, new)
            self._owner.remove([old], self._segments[at])
            self._replaced()
        self._replacing += 1
        self._owner.writer.inbox.put(Replace(old, new, name, encode_index(new)))

    def replaced(self, old: Segment, new: Segment) -> None:
        """A segment is in the place of another one on disk."""
        self._replacing -= 1
        if old is not new:
            for first in old.firsts:
                self._readings.pop(first, None)
            if not old.gone:
                self._put(old, new)
                self._owner.forget_file(old)
            self._replaced()
        self._end_compaction()

    def _replaced(self) -> None:
        if self.reader is not None:
            self.reader.block_arrived()

    def compaction_over(self, compaction: Compaction, problem: OSError | None) -> None:
        """A pass has ended, perhaps because the disk failed."""
        self._over = True
        if problem is not None:
            compaction.stopped = True
        self._end_compaction()

    def _end_compaction(self) -> None:
        compaction = self._compaction
        if compaction is None or not self._over or self._replacing:
            return
        failed = compaction.stopped
        at_once = self._ended(compaction)
        if not failed:
            self.compact(at_once)

    def finish(self) -> None:
        """The node stops: make all durable, and have it found quickly."""
        segment = self._last_segment()
        if segment is not None and not self._indexed:
            self._indexed = True
            self._rolled(segment)

    def _last_segment(self) -> Segment | None:
        for segment in reversed(self._segments):
            if segment.size:
                return segment
        return None

    def _rolled(self, segment: Segment) -> None:
        self._owner.writer.inbox.put(Finish(segment, segment.size, encode_index(segment)))

    def _keep(self, segment: Segment, chunk: bytes, begins: bool) -> None:
        self._indexed = False
        first = segment.firsts[-1]
        write = Write(segment, segment.size - len(chunk), chunk, segment.next)
        if begins:
            self._unwritten[first] = deque()
        else:
            reading = self._readings.get(first)
            if reading is not None:
                reading.rest.append(chunk)
        self._unwritten.setdefault(first, deque()).append(write)
        self._owner.handed += len(chunk)
        self._owner.writer.inbox.put(write)

    def _load(self, segment: Segment, index: int) -> CachedBlock | None:
        first = segment.firsts[index]
        if first in self._readings or segment.replaced:
            return None
        size, rest = self._parts(segment, index)
        if size == 0:
            return CachedBlock(first, rest)
        reading = BlockReading(segment, index, self._following(segment, index), size, rest)
        self._readings[first] = reading
        self._owner.read(self, reading)
        return None

    def _load_now(self, segment: Segment, index: int) -> CachedBlock:
        size, rest = self._parts(segment, index)
        block = CachedBlock(segment.firsts[index], rest)
        if size:
            data = self._owner.read_now(segment, segment.positions[index], size)
            block.decode(data, self._following(segment, index))
        return block

    def _parts(self, segment: Segment, index: int) -> tuple[int, list[bytes]]:
        """Give how many octets of a block are in the file, and the chunks behind them that are not."""
        end = segment.end(index)
        rest: list[bytes] = []
        unwritten = self._unwritten.get(segment.firsts[index])
        if unwritten:
            end = unwritten[0].position
            rest = [write.data for write in unwritten]
        return end - segment.positions[index], rest

    def _dropped(self, segments: list[Segment]) -> None:
        for segment in segments:
            for first in segment.firsts:
                self._unwritten.pop(first, None)
        self._owner.remove(segments, self._segments[0] if self._segments else None)


def _lies_before(write: Write, segment: Segment, end: int) -> bool:
    if write.segment is segment:
        return write.position < end
    return write.segment.first < segment.first


class FileStreamLogs(StreamLogs):
    """Keeps logs in files of one folder.

    Logs can be opened, and appended to, before ``begin``; nothing is written until then.

    Args:
        files: the folder, of its own.
        cache_octets: what decoded blocks may take in memory.
        retry_seconds: how long to wait after an attempt that may succeed later.
        sync_octets: all is synced after so many octets were written.

    Attributes:
        cache: decoded blocks.
        chunks: what compaction reads and writes.
        writer: writes.
        handed: octets handed over to be written.

    Raises:
        OSError: the disk fails.
    """

    def __init__(
        self,
        files: Files,
        cache_octets: int = CACHE_OCTETS,
        retry_seconds: float = RETRY_SECONDS,
        sync_octets: int = SYNC_OCTETS,
    ) -> None:
        self.cache = BlockCache(cache_octets)
        self.writer = StreamWriter(files, retry_seconds, sync_octets)
        self.handed = 0
        self._reader = BlockReader(files, retry_seconds)
        self._compactor = Compactor()
        self._compacting: dict[Compaction, FileStreamLog] = {}
        self.chunks = FileChunks(files)
        self._files = files
        self._reports: StreamReports | None = None
        self._logs: dict[int, FileStreamLog] = {}
        self._asked: dict[BlockReading, FileStreamLog] = {}
        self._damage: list[Damage] = []
        self._reported: set[tuple[str, int]] = set()
        self._torn: dict[int, tuple[Segment, int]] = {}
        self._found: dict[int, dict[str, set[int]]] = {}
        for name in files.names():
            parsed = parse_name(name)
            if parsed is not None:
                queue_id, first, kind = parsed
                kinds = self._found.setdefault(queue_id, {STREAM: set(), INDEX: set()})
                kinds[kind].add(first)
            elif name.endswith(TEMPORARY):
                with suppress(OSError):
                    files.remove(name)

    def begin(self, call_soon: Callable[..., object], reports: StreamReports, threaded: bool = True) -> None:
        """Begin to write and to read.

        Args:
            call_soon: has the event loop call a function; from any thread.
            reports: whom to tell.
            threaded: False if ``work`` will be called instead.
        """
        self._reports = reports
        for queue_id in list(self._torn):
            self.settle_end(queue_id, 0)
        ears = WriterEars(
            self._written, self._stored, reports.full, reports.failed, self._finished, self._replaced
        )
        self.writer.start(call_soon, ears, threaded)
        self._reader.start(call_soon, self._arrived, reports.failed, threaded)
        self._compactor.start(call_soon, self._compacted, self._compaction_over, reports.failed, threaded)
        if self._damage:
            reports.damaged(self._damage)
            self._damage = []

    def work(self) -> None:
        """Without threads: write and read what was asked for so far."""
        self.writer.work()
        self._compactor.work()
        self._reader.work()

    def close(self, clean: bool = True) -> None:
        """Write and sync what is left, and close all files; a disk that is full is not waited for.

        Args:
            clean: False after a failure, when nothing more is written.
        """
        self._compactor.stop()
        if clean:
            for log in self._logs.values():
                log.finish()
        else:
            self.writer.give_up()
        self.writer.stop()
        self._reader.stop()

    def open(self, queue_id: int, segment_octets: int) -> StreamLog:
        """Give the log of a stream; its torn end is cut off, and gaps where a file is gone are noted."""
        found = self._found.pop(queue_id, {STREAM: set(), INDEX: set()})
        segments: list[Segment] = []
        indexed = False
        latest = 0
        gaps: list[tuple[int, int]] = []
        known_end = -1
        firsts = sorted(found[STREAM])
        for first in found[INDEX] - found[STREAM]:
            with suppress(OSError):
                self._files.remove(file_name(queue_id, first, INDEX))
        for number, first in enumerate(firsts):
            end = firsts[number + 1] if number + 1 < len(firsts) else None
            name = file_name(queue_id, first)
            if segments and first < segments[-1].next:
                self._damaged(name, [(0, self._size(name))], "it begins before the segment before it ends")
                known_end = -1
                continue
            if 0 <= known_end < first:
                gaps.append((known_end, first))
            segment, indexed = self._segment(queue_id, first, latest, first in found[INDEX], end)
            # Compaction may have emptied what followed it, and scanning does not tell.
            known_end = segment.next if indexed and not segment.keyed else -1
            if end is not None and not segment.firsts:
                continue
            segment.made = True
            segment.finished = indexed and end is not None
            latest = segment.latest
            segments.append(segment)
        log = FileStreamLog(queue_id, segment_octets, self, segments, indexed)
        log.gaps = gaps
        self._logs[queue_id] = log
        return log

    def _size(self, name: str) -> int:
        reader = self._files.reader(name)
        try:
            return reader.size()
        finally:
            reader.close()

    def _segment(
        self, queue_id: int, first: int, latest: int, index: bool, end: int | None
    ) -> tuple[Segment, bool]:
        """Read what a segment is on disk.

        Args:
            index: there is an index.
            end: the first offset of the next one; None if this is the last.

        Returns:
            The segment, and whether its index said so.
        """
        name = file_name(queue_id, first)
        reader = self._files.reader(name)
        try:
            size = reader.size()
            if index:
                data = self._files.read(file_name(queue_id, first, INDEX))
                known = decode_index(data, queue_id, first, size)
                if known is not None:
                    return known, True
            scanned = SegmentScan(reader).scan(Segment(queue_id, first, latest), end)
        finally:
            reader.close()
        segment = scanned.segment
        if end is not None:
            self._damaged(name, scanned.damaged, "its chunks are damaged")
            segment.keyed = UNKNOWN_KEY
            if segment.firsts:
                self.writer.inbox.put(Finish(segment, size, encode_index(segment)))
        elif segment.size < size:
            self._torn[queue_id] = (segment, segment.size)
            if self._reports is not None:
                self.settle_end(queue_id, 0)
        return segment, False

    def settle_end(self, queue_id: int, stored: int) -> bool:
        """Cut the torn end of a stream; of what had been stable, only what is damaged is lost.

        Args:
            queue_id: the stream.
            stored: all before this offset had been on stable storage.

        Returns:
            Whether there was anything to do.
        """
        torn = self._torn.pop(queue_id, None)
        if torn is None:
            return False
        segment, size = torn
        name = file_name(queue_id, segment.first)
        if segment.next < stored:
            reader = self._files.reader(name)
            try:
                scanned = SegmentScan(reader).scan(segment, None, stored)
            finally:
                reader.close()
            self._damaged(name, scanned.damaged, "its chunks are damaged")
            size = segment.size
        file = self._files.append(name)
        try:
            file.truncate(size)
        finally:
            file.close()
        return True

    def unopened(self) -> set[int]:
        """Give the queue ids of which there are segments but no log."""
        return {queue_id for queue_id, kinds in self._found.items() if kinds[STREAM]}

    def of_window(self, queue_id: int) -> bool:
        """Tell whether segments without a log hold ids of a window: then what is in them has no address."""
        name = file_name(queue_id, min(self._found[queue_id][STREAM]))
        reader = self._files.reader(name)
        try:
            head = scan_head(reader.read(0, CHUNK_HEAD_SIZE), 0)
            chunk = b"" if head is None else reader.read(0, int(head.size))
        finally:
            reader.close()
        if valid_chunk(chunk, 0) is None or len(chunk) < CHUNK_HEAD_SIZE + RECORD_HEAD_SIZE:
            return False
        at = CHUNK_HEAD_SIZE + 8
        return chunk[at : at + 2] == b"\0\0"

    @property
    def backlog(self) -> int:
        """Octets that wait to be written."""
        return self.handed - self.writer.handled

    def forget_others(self, ids: set[int]) -> None:
        """Delete the files of streams that do not exist.

        Args:
            ids: the queue ids of all streams there are.
        """
        for queue_id in [queue_id for queue_id in self._found if queue_id not in ids]:
            for kind, firsts in self._found.pop(queue_id).items():
                for first in firsts:
                    # One that cannot be deleted now is found when the node starts again.
                    with suppress(OSError):
                        self._files.remove(file_name(queue_id, first, kind))

    def read(self, log: FileStreamLog, reading: BlockReading) -> None:
        """Have a block read for a log."""
        self._asked[reading] = log
        self._reader.inbox.put(reading)

    def read_now(self, segment: Segment, position: int, size: int) -> bytes:
        """Read octets of a segment in the caller's thread; fewer of them, or none, if the disk fails."""
        for _ in range(ATTEMPTS_NOW):
            with suppress(OSError):
                reader = self._files.reader(file_name(segment.queue_id, segment.first))
                try:
                    return reader.read(position, size)
                finally:
                    reader.close()
        return b""

    def remove(self, segments: list[Segment], oldest: Segment | None) -> None:
        """Have the files of segments deleted.

        Args:
            oldest: the first one that stays; None if the log was deleted.
        """
        if oldest is None:
            for segment in segments:
                segment.dropped = True
        self.writer.inbox.put(Remove(segments, oldest))
        self._reader.inbox.put(Forget(segments))

    def compact(self, log: FileStreamLog, compaction: Compaction) -> None:
        """Have a pass done for a log."""
        self._compacting[compaction] = log
        self._compactor.ask(compaction)

    def forget_file(self, segment: Segment) -> None:
        """What is open of a segment is another one's old file."""
        self._reader.inbox.put(Forget([segment]))

    def forget(self, log: FileStreamLog) -> None:
        """A log was deleted."""
        self._logs.pop(log.queue_id, None)

    def report_damage(self, segment: Segment, damaged: list[tuple[int, int]]) -> None:
        """Octets of a segment are damaged."""
        self._damaged(file_name(segment.queue_id, segment.first), damaged, "its chunks are damaged")

    def _damaged(self, name: str, damaged: list[tuple[int, int]], text: str) -> None:
        found = [
            Damage(name, start, end - start, text)
            for start, end in damaged
            if (name, start) not in self._reported
        ]
        if not found:
            return
        self._reported.update((each.file, each.offset) for each in found)
        if self._reports is None:
            self._damage.extend(found)
        else:
            self._reports.damaged(found)

    def _written(self, segment: Segment, end: int) -> None:
        log = self._logs.get(segment.queue_id)
        if log is not None and not segment.gone:
            log.written(segment, end)

    def _stored(self, queue_id: int, following: int) -> None:
        log = self._logs.get(queue_id)
        if log is not None and log.reader is not None:
            log.reader.stored(following)

    def _finished(self, segment: Segment) -> None:
        log = self._logs.get(segment.queue_id)
        if log is not None and not segment.gone:
            log.compact()

    def _compacted(self, compaction: Compaction, outcome: Outcome) -> None:
        self._compacting[compaction].compacted(compaction, outcome)

    def _compaction_over(self, compaction: Compaction, problem: OSError | None) -> None:
        self._compacting.pop(compaction).compaction_over(compaction, problem)

    def _replaced(self, old: Segment, new: Segment) -> None:
        log = self._logs.get(old.queue_id)
        if log is not None:
            log.replaced(old, new)

    def _arrived(self, reading: BlockReading) -> None:
        self._asked.pop(reading).arrived(reading)
