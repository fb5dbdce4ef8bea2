"""Reading pages back: few large reads where records lie close together, small ones where they do not."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_be
from mypy_extensions import i32, i64

from harebell.content.message import Message
from harebell.paging import Page, PageTaker
from harebell.storage.files import SHORTAGE, Files, Reader
from harebell.storage.records import RECORD_HEAD_SIZE, message_at, record_size_at
from harebell.storage.segments import NAME_SUFFIX, segment_name
from harebell.storage.spill import SpillChunk, spill_name

WINDOW_OCTETS: Final = 1024 * 1024
"""One read covers at most so much, unless a single record is larger."""

SMALL_OCTETS: Final = 16 * 1024
"""Octets between two records up to which one read covers both; also the size of a read for one alone."""

RECORD_OVERHEAD: Final = 256
"""Octets of a record beside header and body, as a guess."""

OPEN_FILES: Final = 16
"""Files kept open by one reader."""


class Span:
    """Neighbouring records of a page that lie in one file.

    Attributes:
        name: the file; empty for messages that left the page, which are not read.
        spilled: whether it is one of the spill log.
        segment: number of the journal's segment.
        base: lsn or offset in the log of its first record.
        head: octets in the file before that.
        first, last: places in the page, from and up to.
    """

    def __init__(self, name: str, spilled: bool, segment: i64, base: i64, head: i64, first: i64) -> None:
        self.name = name
        self.spilled: bool = spilled
        self.segment: i64 = segment
        self.base: i64 = base
        self.head: i64 = head
        self.first: i64 = first
        self.last: i64 = first


class Unreadable:
    """A record that is damaged: its location, where that is, and why.

    Attributes:
        index: its place in the page.
        missing: there is no such segment of the journal, which only the event loop can judge.
    """

    def __init__(
        self, index: i64, location: i64, name: str, offset: i64, octets: i64, reason: str, missing: bool
    ) -> None:
        self.index: i64 = index
        self.location: i64 = location
        self.name = name
        self.offset: i64 = offset
        self.octets: i64 = octets
        self.reason = reason
        self.missing: bool = missing


class PageReading:
    """A page being read, as it is when the reading begins.

    Attributes:
        version: of the page.
        spans: where its records are.
        messages: what was read.
        unreadable: why some of them are None.
        given_up: records of the spill log that cannot be read were waited for long enough, so they are lost.
        done: it was read.
        dropped: nobody needs it any more.
    """

    def __init__(self, page: Page, taker: PageTaker | None) -> None:
        self.page = page
        self.taker = taker
        self.version: i64 = -1
        self.locations = b""
        self.spans: list[Span] = []
        self.messages: list[Message | None] = []
        self.unreadable: list[Unreadable] = []
        self.given_up: bool = False
        self.done: bool = False
        self.dropped: bool = False


class PageReader:
    """Reads pages, in one thread: it keeps the octets read last and some files open.

    Args:
        journal: where the journal's segments are.
        spill: where the spill log is.
        unwritten: chunks of the spill log that may not be in their file yet, as this thread knows them.

    Attributes:
        spilled: what was read last, or could not be, is of the spill log.
    """

    def __init__(self, journal: Files, spill: Files, unwritten: list[SpillChunk]) -> None:
        self._journal = journal
        self._spill = spill
        self._unwritten = unwritten
        self._readers: dict[str, Reader] = {}
        self._name: str = ""
        self._start: i64 = 0
        self._data: bytes = b""
        self._error: OSError | None = None
        self._missing: bool = False
        self.spilled: bool = False

    def read(self, reading: PageReading) -> None:
        """Read what ``reading.spans`` says.

        A record is damaged only if octets came back, twice, and are wrong.

        Raises:
            OSError: a record cannot be read now; nothing is known of the page, so ask again.
        """
        reading.messages = []
        reading.unreadable = []
        page = reading.page
        average: i64 = page.octets // max(page.count, 1) + RECORD_OVERHEAD
        for span in reading.spans:
            self._read_span(reading, span, average)

    def _read_span(self, reading: PageReading, span: Span, average: i64) -> None:
        if not span.name:
            for _ in range(span.first, span.last):
                reading.messages.append(None)
            return
        self.spilled = span.spilled
        if span.name != self._name:
            self._name = span.name
            self._data = b""
        locations = reading.locations
        messages = reading.messages
        index: i64 = span.first
        while index < span.last:
            lsn: i64 = read_i64_be(locations, index * 8) >> 1
            offset: i64 = lsn - span.base + span.head
            reach: i64 = 0
            at: i64 = offset - self._start
            if at < 0 or record_size_at(self._data, at) + at > len(self._data):
                reach = _reach(locations, index, span.last, average)
            message = self._record(reading, span, offset, lsn, reach)
            if message is None:
                message = self._read_again(reading, span, index, offset, lsn)
            if message is None:
                pass
            elif span.spilled:
                message.location = -1
                message.share = 0
            else:
                message.segment = i32(span.segment)
            messages.append(message)
            index += 1

    def _read_again(
        self, reading: PageReading, span: Span, index: i64, offset: i64, lsn: i64
    ) -> Message | None:
        """Look again at a record that seems damaged: what was read may be, and not what is on the disk."""
        start = self._start
        data = self._data
        self._data = b""
        size: i64 = SMALL_OCTETS
        if index + 1 < span.last:
            after: i64 = read_i64_be(reading.locations, (index + 1) * 8) >> 1
            if after > lsn:
                size = max(RECORD_HEAD_SIZE, min(size, after - lsn))
        message = self._record(reading, span, offset, lsn, size)
        if message is None:
            reading.unreadable.append(self._explain(reading, span, index, offset))
            self._start = start
            self._data = data
        return message

    def _record(self, reading: PageReading, span: Span, offset: i64, lsn: i64, reach: i64) -> Message | None:
        """Read one record, and those behind it that ``reach`` octets hold.

        Raises:
            OSError: it cannot be read now.
        """
        self._begin()
        at: i64 = offset - self._start
        if at < 0 or at + RECORD_HEAD_SIZE > len(self._data):
            self._load(span, offset, reach)
            at = offset - self._start
        size = record_size_at(self._data, at)
        if at + size > len(self._data):
            # Where the disk fails it is asked for this record alone.
            if self._error is None:
                size = max(size, reach)
            self._load(span, offset, size)
            at = offset - self._start
        if at + record_size_at(self._data, at) > len(self._data):
            self._check(span, reading)
        return message_at(self._data, at, lsn)

    def _begin(self) -> None:
        """Nothing failed yet.  (A method of its own: the compiler would take it that nothing ever fails.)"""
        self._error = None
        self._missing = False

    def _check(self, span: Span, reading: PageReading) -> None:
        error = self._error
        if error is not None and not (span.spilled and reading.given_up):
            raise error

    def _load(self, span: Span, offset: i64, size: i64) -> None:
        """Have the octets from an offset of the file, or as many as can be had."""
        if span.spilled:
            for chunk in self._unwritten:
                start: i64 = chunk.offset - span.base
                if chunk.base == span.base and start <= offset < start + len(chunk.data):
                    self._start = start
                    self._data = chunk.data
                    return
        self._start = offset
        self._data = b""
        try:
            reader = self._reader(span)
            if size > WINDOW_OCTETS:
                # The size may be what damage made of it: never more than the file has.
                size = max(RECORD_HEAD_SIZE, min(size, i64(reader.size()) - offset))
            self._data = self._read_some(reader, offset, size)
        except FileNotFoundError:
            self._missing = True
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            self._error = error

    def _read_some(self, reader: Reader, offset: i64, size: i64) -> bytes:
        """Read; where the disk fails, only the record's head: what cannot be read may be a neighbour."""
        try:
            return reader.read(offset, size)
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            self._error = error
        return reader.read(offset, RECORD_HEAD_SIZE)

    def _reader(self, span: Span) -> Reader:
        readers = self._readers
        reader = readers.pop(span.name, None)
        if reader is None:
            if len(readers) >= OPEN_FILES:
                self._close(next(iter(readers)))
            reader = (self._spill if span.spilled else self._journal).reader(span.name)
        readers[span.name] = reader
        return reader

    def _explain(self, reading: PageReading, span: Span, index: i64, offset: i64) -> Unreadable:
        at: i64 = offset - self._start
        octets = record_size_at(self._data, at)
        error = self._error
        if self._missing:
            reason = "the file is missing"
        elif error is not None:
            reason = f"it cannot be read: {error.strerror or error}"
        else:
            cut = octets > 0 and at + octets > len(self._data)
            reason = "the file ends within it" if cut else "its checksum is wrong"
        octets = max(octets, RECORD_HEAD_SIZE)
        if index + 1 < span.last:
            distance: i64 = reading.page.location(index + 1) // 2 - reading.page.location(index) // 2
            if 0 < distance < octets:
                octets = distance
        location = read_i64_be(reading.locations, index * 8)
        missing = self._missing and not span.spilled
        return Unreadable(index, location, span.name, offset, octets, reason, missing)

    def forget_spilled(self, base: i64) -> None:
        """A file of the spill log goes."""
        self._forget(spill_name(base))

    def forget_journal(self, base: i64) -> None:
        """The journal's segments before an lsn are gone: an open file would keep their space."""
        oldest = segment_name(base)
        for name in [name for name in self._readers if name.endswith(NAME_SUFFIX) and name < oldest]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        if name == self._name:
            self._name = ""
            self._data = b""
        if name in self._readers:
            self._close(name)

    def close(self) -> None:
        """Close all files; they are opened again when they are needed."""
        self._name = ""
        self._data = b""
        for name in list(self._readers):
            self._close(name)

    def _close(self, name: str) -> None:
        self._readers.pop(name).close()


def _reach(locations: bytes, index: i64, last: i64, average: i64) -> i64:
    """Give the octets to read at once for a record and those that follow it closely, all in one file."""
    tail: i64 = max(4096, average + average // 4)
    near: i64 = SMALL_OCTETS + 2 * average
    first: i64 = read_i64_be(locations, index * 8) >> 1
    before: i64 = first
    index += 1
    while index < last:
        lsn: i64 = read_i64_be(locations, index * 8) >> 1
        if lsn <= before or lsn - before > near or lsn - first + tail > WINDOW_OCTETS:
            break
        before = lsn
        index += 1
    if before == first:
        return min(max(SMALL_OCTETS, tail), WINDOW_OCTETS)
    return before - first + tail
