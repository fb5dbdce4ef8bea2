"""A journal and a pager over any files, driven by a test."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence

from harebell.content.message import Message, address
from harebell.paging import Page, PageTaker
from harebell.storage.committer import Committer, Reports
from harebell.storage.files import Files
from harebell.storage.journal import WriteAheadLog
from harebell.storage.page_thread import Damage, PagerReports
from harebell.storage.pager import DiskPager
from harebell.storage.records import SEGMENT_HEAD_SIZE, SETTLE, Record, decode_runs, walk
from harebell.storage.segments import Segments, segment_name
from harebell.storage.spill import SPILL_BYTES
from tests.storage.logs import NODE

QUEUE = 5
FIRST = segment_name(0)
Entries = list[tuple[int, Message, int]]
Content = tuple[bytes, bytes, bytes, bool, int]


def content(message: Message | None) -> Content | None:
    """What must come back of a message."""
    if message is None:
        return None
    return message.address, message.header, message.body, message.persistent, int(message.arrived)


def contents(messages: Sequence[Message | None]) -> list[Content | None]:
    """The same of several."""
    return [content(message) for message in messages]


class Taken(PageTaker):
    """Takes pages and keeps what they held."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.messages: list[list[Message | None]] = []

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Take one."""
        self.pages.append(page)
        self.messages.append(list(messages))


class Told:
    """What the pager reported."""

    def __init__(self) -> None:
        self.full: list[bool] = []
        self.stopped: list[int | None] = []
        self.reports_of_damage = 0
        self.damaged: list[Damage] = []
        self.unreadable: list[int | None] = []
        self.failed: list[Exception] = []
        self.scratch_refused: list[int | None] = []

    def reports(self) -> PagerReports:
        """Give the ears."""
        return PagerReports(
            lambda error: self.full.append(error is not None),
            lambda error: self.stopped.append(error.errno),
            self._lost,
            lambda error: self.unreadable.append(None if error is None else error.errno),
            self.failed.append,
            lambda error: self.scratch_refused.append(error.errno),
        )

    def _lost(self, found: list[Damage]) -> None:
        self.reports_of_damage += 1
        self.damaged += found


class Rig:
    """A journal and a pager that work when the test says so, over any files.

    Attributes:
        loop: what waits to be done in the event loop; ``work`` does it.
    """

    def __init__(
        self,
        files: Files,
        spill: Files,
        segment_bytes: int = 1 << 26,
        spill_bytes: int = SPILL_BYTES,
        patience_seconds: float = 30.0,
    ) -> None:
        self.files = files
        self.told = Told()
        self.loop: list[Callable[[], object]] = []
        self.segments = Segments([0], segment_bytes)
        self.journal = WriteAheadLog(0, self.segments)
        self.committer = Committer(files, NODE, 0, Reports(self._written, print, print), retry_seconds=0.0)
        self.journal.committer = self.committer
        self.pager = DiskPager(
            files, spill, self.segments, self.journal, 0, spill_bytes, 0.001, patience_seconds
        )
        self.pager.begin(self._call_soon, self.told.reports(), threaded=False)
        self.position = 0

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        self.loop.append(lambda: function(*arguments))

    def _written(self, lsn: int, durable: bool) -> None:
        self.committer.busy = False
        self.journal.written = lsn
        self.journal.durable = lsn

    def commit(self) -> None:
        """Have everything journaled written."""
        self.journal.flush()
        self.committer.work()
        self.journal.flush()
        self.committer.work()

    def work(self) -> None:
        """End the turn; let the pager and the loop finish."""
        self.pager.flush()
        for _ in range(100):
            self.pager.work()
            if not self.loop:
                break
            waiting, self.loop = self.loop, []
            for call in waiting:
                call()
        assert not self.told.failed, self.told.failed

    def message(self, body: bytes, persistent: bool = False) -> Message:
        """Make a message."""
        made = Message(address("ex", "key"), b"header", body, persistent)
        made.arrived = 1_700_000_000_000 + len(body)
        return made

    def journaled(self, body: bytes, *queues: int) -> Message:
        """Make a persistent message that some queues took, by default one."""
        made = self.message(body, persistent=True)
        self.journal.begin_message(made)
        for queue in queues or (QUEUE,):
            self.journal.enqueue(queue, self.position + 1)
        self.journal.end_message()
        return made

    def entries(self, messages: Sequence[Message], gap: int = 0) -> Entries:
        """Give positions to messages."""
        made: Entries = []
        for message in messages:
            self.position += 1 + gap
            made.append((self.position, message, 0))
        return made

    def page(self, messages: Sequence[Message], durable: bool = False, gap: int = 0) -> Page:
        """Page messages, which must be possible."""
        page = self.pager.write(self.entries(messages, gap), durable)
        assert page is not None, "the pager refused to page"
        return page

    def journal_page(self, *bodies: bytes) -> Page:
        """Page persistent messages of a durable queue."""
        messages = [self.journaled(body) for body in bodies]
        self.commit()
        return self.page(messages, durable=True)

    def fetch(self, *pages: Page) -> list[list[Message | None]]:
        """Fetch pages and wait for them."""
        taken = Taken()
        for page in pages:
            self.pager.fetch(page, taken)
        self.work()
        assert taken.pages == list(pages), "pages did not come once each, in order"
        return taken.messages

    def copy_forward(self, page: Page) -> None:
        """Write the records of a page again and note where, as a copy forward does."""
        old = self.pager.read(page)
        copies = []
        for index, message in enumerate(old):
            assert message is not None
            self.journal.copy(message, [(QUEUE, int(page.position(index)))], [], [])
            copies.append(message)
        self.commit()
        for segment, octets in page.claims:
            self.segments.settle(segment, octets)
        page.claims = [(int(m.segment), int(m.share)) for m in copies]
        page.locations = struct.pack(f">{len(copies)}q", *(int(m.location) for m in copies))
        page.version += 1

    def settled(self) -> list[tuple[int, int, int]]:
        """List the runs that the log says are settled."""
        self.journal.hasten()
        self.commit()
        found = []
        for base in self.segments.bases:
            for record in walk(self.files.read(segment_name(base)), SEGMENT_HEAD_SIZE, base):
                if isinstance(record, Record) and record.kind == SETTLE:
                    found += decode_runs(record.payload)
        return found

    def stop(self) -> None:
        """End it."""
        self.pager.stop()
        self.committer.stop()


def failing(operation: str, code: int, times: int = 1 << 30) -> Callable[[str, str], None]:
    """Make so many operations of a kind fail."""
    left = times

    def before(kind: str, name: str) -> None:
        nonlocal left
        if kind == operation and left > 0:
            left -= 1
            raise OSError(code, os.strerror(code))

    return before


def counting(operation: str, found: list[str]) -> Callable[[str, str], None]:
    """Note the files of operations of a kind."""

    def before(kind: str, name: str) -> None:
        if kind == operation:
            found.append(name)

    return before
