"""Pages of messages that wait on disk: written in the event loop, read by a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from librt.strings import BytesWriter, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from harebell.content.message import Message
from harebell.paging import NOWHERE, KeptChunk, Page, Pager, PageTaker, PageUnreadable, journal_location
from harebell.storage.files import Files
from harebell.storage.journal import WriteAheadLog
from harebell.storage.page_reader import PageReader, PageReading, Span, Unreadable
from harebell.storage.page_thread import (
    PATIENCE_SECONDS,
    RETRY_SECONDS,
    Damage,
    Ears,
    JournalTrim,
    JournalUnreadable,
    PagerReports,
    PageThread,
)
from harebell.storage.records import CHUNK_ID_SIZE, RECORD_HEAD_SIZE, SEGMENT_HEAD_SIZE, valid_size_at
from harebell.storage.scratch_file import DiskScratch
from harebell.storage.segments import Segments, segment_name
from harebell.storage.spill import (
    SPILL_BYTES,
    SPILL_SUFFIX,
    SpillChunk,
    SpillLog,
    spill_name,
    spilled_location,
    spilled_size,
)

Claims = list[tuple[int, int]]


class DiskPager(Pager):
    """The pager of a node with a data directory.

    Args:
        files: where the journal's segments are.
        spill: where the spill log goes.
        segments: counts what each segment of the journal still holds.
        journal: holds the persistent messages of durable queues.
        budget: see ``Pager``.
        spill_bytes: octets of a full file of the spill log.
        retry_seconds: how long to wait between two attempts to write to a full disk or read a failing one.
        patience_seconds: how long a page may not be readable before that is final.

    Attributes:
        scratch_file: the scratch, to be closed by whoever does not come to ``stop``.
    """

    def __init__(
        self,
        files: Files,
        spill: Files,
        segments: Segments,
        journal: WriteAheadLog,
        budget: i64,
        spill_bytes: i64 = SPILL_BYTES,
        retry_seconds: float = RETRY_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(budget)
        self.scratch_file = DiskScratch(spill)
        self.scratch = self.scratch_file
        self._segments = segments
        self._journal = journal
        self._files = files
        self._spill_files = spill
        self._inbox: SimpleQueue[object] = SimpleQueue()
        self._spill = SpillLog(self._inbox, spill_bytes)
        self._reader = PageReader(files, spill, self._spill.chunks)
        ears = Ears(self._written, self._arrived, self._full, self._stopped, self._unreadable, self._failed)
        self._worker = PageThread(files, spill, self._inbox, ears, retry_seconds, patience_seconds)
        self._reports: PagerReports | None = None
        self._readings: deque[PageReading] = deque()
        self._held: list[PageReading] = []
        self._held_at: i64 = 0
        self._oldest: i64 = segments.bases[0]
        self._lost: set[int] = set()
        self._ended: bool = False

    def begin(self, call_soon: Callable[..., object], reports: PagerReports, threaded: bool = True) -> None:
        """Empty the spill log's folder and start the thread.

        Args:
            call_soon: runs a function in the event loop, from any thread.
            reports: whom to tell.
            threaded: False to work only in ``work``, as tests want it.

        Raises:
            OSError: the folder cannot be emptied.
        """
        for name in self._spill_files.names():
            if name.endswith(SPILL_SUFFIX):
                self._spill_files.remove(name)
        self._reports = reports
        self.scratch_file.begin(reports.scratch_refused, self._failed)
        self._worker.start(call_soon, threaded)

    def stop(self) -> None:
        """End the thread and delete the spill log; pages that were asked for are not read any more."""
        self._worker.stop()
        self._reader.close()
        self.scratch_file.close()
        self._readings.clear()
        self._held.clear()

    def work(self) -> None:
        """Without the thread: do what was asked so far."""
        self._worker.work()

    @property
    def pending(self) -> i64:
        """Octets spilled that are in memory still."""
        return self._spill.pending

    @property
    def backlog(self) -> i64:
        """Octets spilled that are being written; none once nothing is written any more."""
        return 0 if self._spill.closed else self._spill.pending

    def flush(self) -> None:
        """Hand over what is to be written; call it at the end of a turn and after the journal was written."""
        self._spill.flush()
        oldest: i64 = self._segments.bases[0]
        if oldest != self._oldest:
            self._oldest = oldest
            self._inbox.put(JournalTrim(oldest))
            self._reader.forget_journal(oldest)
        if self._held and self._journal.written > self._held_at:
            held = self._held
            self._held = []
            for reading in held:
                self._submit(reading)

    def write(self, entries: list[tuple[int, Message, int]], durable: bool) -> Page | None:
        """Make a page; None also while something would have to be spilled and cannot be."""
        count: i64 = len(entries)
        if count == 0 or not self._writable(entries, durable):
            return None
        first: i64 = entries[0][0]
        last: i64 = entries[count - 1][0]
        # Positions ascend, so there is no gap exactly if the ends are as far apart as there are entries.
        dense = last - first == count - 1
        positions = BytesWriter()
        locations = BytesWriter()
        returns = BytesWriter()
        claims: Claims = []
        spilled: Claims = []
        segment: i64 = -1
        claimed: i64 = 0
        base: i64 = -1
        claimed_spilled: i64 = 0
        octets: i64 = 0
        bodies: i64 = 0
        index: i64 = 0
        for position, message, returned in entries:
            if not dense:
                write_i64_be(positions, position)
            came_back: i64 = returned
            if came_back != 0 or len(returns) > 0:
                if len(returns) == 0:
                    returns.write(bytes(index * 4))
                write_i32_be(returns, i32(came_back))
            index += 1
            octets += len(message.header) + len(message.body)
            bodies += len(message.body)
            if durable and message.share > 0:
                write_i64_be(locations, message.location)
                if segment != i64(message.segment):
                    _add(claims, segment, claimed)
                    segment = i64(message.segment)
                    claimed = 0
                claimed += i64(message.share)
                continue
            size = spilled_size(message)
            location: i64 = message.location if message.share == 0 else -1
            holder = self._spill.find(location >> 1) if location >= 0 and location & 1 else None
            if holder is not None:
                holder.live += size
            else:
                holder = self._spill.put(message)
                location = spilled_location(holder.end - size)
                if message.share == 0:
                    message.location = location
            write_i64_be(locations, location)
            if base != holder.base:
                _add(spilled, base, claimed_spilled)
                base = holder.base
                claimed_spilled = 0
            claimed_spilled += size
        _add(claims, segment, claimed)
        _add(spilled, base, claimed_spilled)
        return Page(
            first,
            last,
            count,
            positions.getvalue(),
            locations.getvalue(),
            returns.getvalue(),
            octets,
            bodies,
            claims,
            spilled,
        )

    def _writable(self, entries: list[tuple[int, Message, int]], durable: bool) -> bool:
        """Tell whether all can be paged now, so that nothing is spilled in vain."""
        limit = journal_location(self._journal.written)
        spilling = not self._spill.full and not self._spill.closed
        for _, message, _ in entries:
            location: i64 = message.location
            if durable and message.share > 0:
                if location < 0 or location >= limit:
                    return False
            elif not spilling:
                if message.share > 0 or location < 0 or location & 1 == 0:
                    return False
                if self._spill.find(location >> 1) is None:
                    return False
        return True

    def fetch(self, page: Page, taker: PageTaker) -> None:
        """Read a page; if it is let go of before it arrives, the taker is given an empty list."""
        reading = PageReading(page, taker)
        self._readings.append(reading)
        self._submit(reading)

    def read(self, page: Page) -> list[Message | None]:
        """Read a page at once.

        Raises:
            PageUnreadable: a record was copied forward and is not in its file yet, there are no file
                descriptors or no memory left, or the disk fails; the thread looks after the last.
        """
        reading = PageReading(page, None)
        # The thread took the spill log along when it failed.
        if self._ended or not self._locate(reading):
            raise PageUnreadable
        self._spill.flush()
        reading.given_up = self._some_lost(page)
        try:
            self._reader.read(reading)
        except OSError as error:
            self._reader.close()
            self._probe(page)
            raise PageUnreadable(str(error)) from error
        if self._segment_missing(reading):
            raise PageUnreadable
        self._take_losses(reading)
        return reading.messages

    def read_chunk(self, chunk: KeptChunk) -> bytes:
        """Read a chunk of a stream from the journal at once.

        Raises:
            OSError: the disk fails.
        """
        base: i64 = self._segments.bases[chunk.segment - self._segments.first]
        # What was read may be damaged where what is on the disk is not.
        for _ in range(2):
            reader = self._files.reader(segment_name(base))
            try:
                data = reader.read(chunk.lsn - base + SEGMENT_HEAD_SIZE, chunk.octets)
            finally:
                reader.close()
            if valid_size_at(data, 0, chunk.lsn) == chunk.octets:
                return data[RECORD_HEAD_SIZE + CHUNK_ID_SIZE :]
        return b""

    def _some_lost(self, page: Page) -> bool:
        if self._lost:
            for index in range(page.count):
                if page.location(index) in self._lost:
                    return True
        return False

    def _probe(self, page: Page) -> None:
        """Have the thread read a page for nobody: it tells whether the disk is well, and what is lost."""
        for reading in self._readings:
            if reading.page is page and not reading.dropped:
                return
        reading = PageReading(page, None)
        self._readings.append(reading)
        self._submit(reading)

    def taken(self, page: Page) -> None:
        """Give up spilled copies; claims on the journal are the messages' now."""
        self._let_go(page)
        for base, octets in page.spilled:
            self._spill.give_up(base, octets)
        page.spilled = []

    def settle(self, queue_id: i64, page: Page, durable: bool) -> None:
        """Note a whole page as settled."""
        if durable:
            self._settle_runs(queue_id, page)
        self.forget(page)

    def forget(self, page: Page) -> None:
        """Give up all claims of a page."""
        self.taken(page)
        for segment, octets in page.claims:
            self._segments.settle(segment, octets)
        page.claims = []

    def _settle_runs(self, queue_id: i64, page: Page) -> None:
        positions = page.positions
        if not positions:
            self._journal.settle_run(queue_id, page.first, page.count)
            return
        first: i64 = page.first
        count: i64 = 1
        index: i64 = 1
        while index < page.count:
            position = read_i64_be(positions, index * 8)
            if position == first + count:
                count += 1
            else:
                self._journal.settle_run(queue_id, first, count)
                first = position
                count = 1
            index += 1
        self._journal.settle_run(queue_id, first, count)

    def _let_go(self, page: Page) -> None:
        for reading in self._readings:
            if reading.page is page:
                reading.dropped = True

    def _submit(self, reading: PageReading) -> None:
        if reading.dropped or self._locate(reading):
            self._spill.flush()
            self._inbox.put(reading)
        else:
            self._held.append(reading)
            self._held_at = self._journal.written

    def _locate(self, reading: PageReading) -> bool:
        """Note where the records of a page are now; False if one is not in its file yet."""
        page = reading.page
        locations = page.locations
        reading.version = page.version
        reading.locations = locations
        spans: list[Span] = []
        span: Span | None = None
        # What lies in the same file as the record before: locations of one parity between these two.
        low: i64 = 0
        high: i64 = 0
        index: i64 = 0
        while index < page.count:
            location = read_i64_be(locations, index * 8)
            if location == NOWHERE:
                if span is not None:
                    span.last = index
                span = Span("", False, -1, -1, 0, index)
                low = high = 0
                spans.append(span)
            elif location < low or location >= high or (location ^ low) & 1:
                if span is not None:
                    span.last = index
                if location & 1:
                    base, end = self._spilled_file(location >> 1)
                    span = Span(spill_name(base), True, 0, base, 0, index)
                    low = spilled_location(base)
                    high = spilled_location(end)
                else:
                    lsn: i64 = location >> 1
                    if lsn >= self._journal.written:
                        return False
                    place = self._segments.index_of(lsn)
                    base, end = self._journal_file(place, lsn)
                    number = self._segments.first + place
                    span = Span(segment_name(base), False, number, base, SEGMENT_HEAD_SIZE, index)
                    low = journal_location(base)
                    high = journal_location(end)
                spans.append(span)
            index += 1
        if span is not None:
            span.last = page.count
        reading.spans = spans
        return True

    def _spilled_file(self, offset: i64) -> tuple[i64, i64]:
        segment = self._spill.find(offset)
        if segment is None:
            return offset, offset + 1
        return segment.base, segment.end

    def _journal_file(self, place: i64, lsn: i64) -> tuple[i64, i64]:
        bases = self._segments.bases
        if place < 0:
            return lsn, lsn + 1
        end: i64 = self._journal.written
        if place + 1 < len(bases):
            end = min(end, i64(bases[place + 1]))
        return i64(bases[place]), end

    def _arrived(self, reading: PageReading) -> None:
        reading.done = True
        readings = self._readings
        while readings and readings[0].done:
            oldest = readings[0]
            page = oldest.page
            if not oldest.dropped and oldest.version != page.version:
                oldest.done = False
                self._submit(oldest)
                return
            if not oldest.dropped and self._segment_missing(oldest):
                return
            readings.popleft()
            messages: list[Message | None] = []
            if not oldest.dropped:
                self._take_losses(oldest)
                messages = oldest.messages
            taker = oldest.taker
            if taker is not None:
                taker.page_read(page, messages)

    def _segment_missing(self, reading: PageReading) -> bool:
        """Tell whether a segment is gone that nobody deleted; the node must stop, while the page stays."""
        for unreadable in reading.unreadable:
            # A segment may go when all it held is known to be lost.
            if unreadable.missing and unreadable.location not in self._lost:
                self._failed(JournalUnreadable(f"the journal cannot be read: {unreadable.name} is missing"))
                return True
        return False

    def _take_losses(self, reading: PageReading) -> None:
        """Report what is damaged, and give up its claims; once lost, it stays lost."""
        lost = self._lost
        new: list[Unreadable] = []
        for unreadable in reading.unreadable:
            if unreadable.location not in lost:
                lost.add(unreadable.location)
                new.append(unreadable)
        if new and self._reports is not None:
            self._reports.damaged(_damage(new))
        if not lost:
            return
        messages = reading.messages
        missing = False
        for index in range(len(messages)):
            if read_i64_be(reading.locations, index * 8) in lost:
                messages[index] = None
                missing = True
        if missing:
            self._give_up_missing(reading.page, messages)

    def _give_up_missing(self, page: Page, messages: list[Message | None]) -> None:
        claims: Claims = []
        for segment, octets in page.claims:
            held: i64 = 0
            for message in messages:
                if message is not None and message.share > 0 and message.segment == segment:
                    held += i64(message.share)
            if held < octets:
                self._segments.settle(segment, octets - held)
            claims.append((segment, held))
        page.claims = claims

    def _written(self, chunk: SpillChunk) -> None:
        self._spill.written(chunk)

    def _full(self, error: OSError | None) -> None:
        self._spill.full = error is not None
        if self._reports is not None:
            self._reports.full(error)

    def _stopped(self, error: OSError) -> None:
        self._spill.close()
        if self._reports is not None:
            self._reports.stopped(error)

    def _unreadable(self, error: OSError | None) -> None:
        if self._reports is not None:
            self._reports.unreadable(error)

    def _failed(self, error: Exception) -> None:
        told = self._ended
        self._ended = True
        if self._reports is not None and not told:
            self._reports.failed(error)


def _damage(records: list[Unreadable]) -> list[Damage]:
    """Put neighbours in a page that are lost for the same reason together, ascending."""
    found: list[Damage] = []
    start: i64 = 0
    for index in range(len(records)):
        record = records[index]
        if index + 1 < len(records):
            after = records[index + 1]
            behind = after.index == record.index + 1 and after.offset > record.offset
            if behind and after.name == record.name and after.reason == record.reason:
                continue
        first = records[start]
        octets: i64 = record.offset + record.octets - first.offset
        count = index + 1 - start
        what = (
            "the record of a message is lost" if count == 1 else f"the records of {count} messages are lost"
        )
        found.append(Damage(first.name, first.offset, octets, f"{what}: {first.reason}"))
        start = index + 1
    return found


def _add(claims: Claims, segment: i64, octets: i64) -> None:
    """Add to the claim on a segment."""
    if octets == 0:
        return
    for index in range(len(claims)):
        number, before = claims[index]
        if number == segment:
            claims[index] = (number, before + octets)
            return
    claims.append((segment, octets))
