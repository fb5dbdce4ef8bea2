"""Which ids a queue or an exchange took lately, and how that outlives the node.

The record of a message in the journal says beside its queues which windows took its id, and at what number,
so a message and its id are on disk together or not at all.  The hashes gather here, and go to a log of their
own (see ``streaming.py``), a few hundred at once, when the journal is durable behind them; when that log is
synced the journal may forget the messages.  A start reads the log, and behind it the messages themselves.

Only what is published is checked and remembered.  Dead letters, what comes back and what is sent back by an
operator are not: they would be taken for themselves.

Ids of messages that the journal does not keep, transient ones and those of queues that do not last, are in
memory only, like the messages.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

from harebell.content.chunks import ChunkWriter
from harebell.content.message import Message
from harebell.engine.dispatch import Dispatcher
from harebell.engine.queues.claims import Claims, ClosedChunk
from harebell.engine.queues.deduplication import Deduplication, window_of
from harebell.engine.queues.queue import Queue
from harebell.paging import Page, Pager
from harebell.ports import Clock, Journal
from harebell.streaming import StreamLog, StreamReader

TYPE_NAME: Final = "deduplication"

PACK_OCTETS = 32 * 1024
"""Octets of hashes that go to the log at once."""

ENTRY_SIZE: Final = 24
"""A hash of 16 octets, and when the message came, unix milliseconds."""

NO_HEADER: Final = bytes(14)
"""A content header without properties: what the log holds is no message of a client."""

NO_ARGUMENTS: Final[dict[str, object]] = {}


class WindowReader(StreamReader):
    """Tells a window what its log tells."""

    def __init__(self, window: IdWindow) -> None:
        self._window = window

    def block_arrived(self) -> None:
        """Nobody reads but a start."""

    def stored(self, following: i64) -> None:
        """The log's files hold all before a number."""
        self._window.claims.release(following)


class IdWindow(Queue):
    """The ids that one queue or exchange took.  The journal knows it as a queue; clients never meet it.

    Args:
        queue_id: its number in the journal.
        owner: name of the queue or exchange.
        of_exchange: True if it is an exchange's.
        known: nothing yet.
        salt: of ``known``.
        log: keeps the hashes; None to have them in memory only.
        pager: reads what a start finds in the journal only.

    Attributes:
        owner, of_exchange, salt, log: as given.
        known: the ids.
        claims: what is kept in the journal until the log's files are synced.
    """

    def __init__(
        self,
        queue_id: i64,
        owner: str,
        of_exchange: bool,
        known: Deduplication,
        salt: bytes,
        log: StreamLog | None,
        dispatcher: Dispatcher,
        journal: Journal,
        clock: Clock,
        pager: Pager,
    ) -> None:
        super().__init__(queue_id, owner, TYPE_NAME, log is not None, 0, False, NO_ARGUMENTS)
        self.owner_name = owner
        self.of_exchange: bool = of_exchange
        self.salt = salt
        self.known = known
        self.log = log
        self.keeps_all = True
        self.journals_all = True
        self.claims = Claims(journal)
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = clock
        self._pager = pager
        self._pack = BytesWriter()
        self._pack_octets: i64 = PACK_OCTETS
        self._first: i64 = 0
        self._last: i64 = 0
        self._lsn: i64 = 0
        self._closed: deque[ClosedChunk] = deque()
        self._flushed: deque[tuple[int, int]] = deque()
        self._gone_at: i64 = -1
        self._log_deleted: bool = False
        if log is not None:
            self.next_position = max(1, log.next)
            log.reader = WindowReader(self)

    def adjust(self, window: i64, interval: i64) -> None:
        """Go by another count, or another interval in milliseconds; not positive: there is none."""
        window = window_of(window, interval)
        if window != self.known.window:
            self.known = self.known.resized(window)
        if interval != self.known.interval:
            self.known.forget_after(interval, self._clock.wall)

    def knows(self, header: bytes) -> bool:
        """Tell whether the id of a message published now was taken lately; ``header``: its content header."""
        return self.known.knows(header, self._clock.wall)

    def journals(self, message: Message) -> bool:
        """Tell whether the journal is to note that the id of a message it keeps was taken."""
        return self.durable and self.known.names(message.header)

    def take(self, message: Message, journaled: bool) -> None:
        """Note a published message that was taken.

        Args:
            journaled: its record in the journal says so, at ``next_position``, if ``journals`` said that it
                is to.
        """
        known = self.known
        if not known.names(message.header):
            return
        now: i64 = self._clock.wall
        if journaled:
            journal = self._journal
            # A transaction's record comes behind all that was appended.
            self._lsn = journal.appended + 1 if journal.in_transaction else journal.appended
            if self.durable:
                position: i64 = self.next_position
                self.next_position = position + 1
                self.claims.add(i64(message.segment), i64(message.share), position + 1)
                self._put(position, known.high, known.low, now)
        known.remember(message.header, now)

    def _put(self, position: i64, high: i64, low: i64, now: i64) -> None:
        w = self._pack
        if len(w) == 0:
            self._first = position
        write_i64_be(w, high)
        write_i64_be(w, low)
        write_i64_be(w, now)
        self._last = position
        if len(w) >= self._pack_octets:
            self._close()

    def behind_all(self) -> i64:
        """Give the lsn behind the last id that the journal noted."""
        return self._lsn

    # -- the log

    def _close(self) -> None:
        """Have what gathered go to the log once the journal is durable behind it."""
        if len(self._pack) == 0:
            return
        data = self._pack.getvalue()
        self._pack.truncate(0)
        chunk = ClosedChunk(data, self._first, self._last + 1, self._clock.wall, self._lsn)
        self._closed.append(chunk)
        self._dispatcher.wait_for_journal(self)

    def _hand_over(self, log: StreamLog) -> None:
        closed = self._closed
        while closed and closed[0].lsn <= self._journal.durable:
            oldest = closed.popleft()
            writer = ChunkWriter()
            writer.add(oldest.first, Message(b"", NO_HEADER, oldest.data, True))
            if oldest.following > oldest.first + 1:
                # So that the log knows how far it is.
                writer.add(oldest.following - 1, Message(b"", NO_HEADER, b"", True))
            log.append(writer.take(oldest.timestamp), oldest.first, oldest.following, oldest.timestamp)
            self._flushed.append((int(oldest.following), int(oldest.timestamp)))
            self._retain(log)
        if closed:
            self._dispatcher.wait_for_journal(self)

    def _retain(self, log: StreamLog) -> None:
        """Let go of files with nothing but what the window has forgotten."""
        known = self.known
        flushed = self._flushed
        while flushed and flushed[0][0] <= self.next_position - known.window:
            flushed.popleft()
        oldest: i64 = flushed[0][1] if flushed else -1
        if known.interval > 0:
            oldest = max(oldest, self._clock.wall - known.interval)
        if oldest > 0:
            log.retain(-1, oldest)

    def dispatch(self, budget: i64) -> bool:
        """Go on with what waited for the journal."""
        log = self.log
        if log is None:
            return False
        if self.deleted:
            self._delete(log)
        else:
            self._hand_over(log)
        return False

    def sync_before(self, segment: i64) -> bool:
        """Have the log's files synced if the journal keeps an older segment for them; True if it does."""
        log = self.log
        if log is None or self.claims.oldest() >= segment:
            return False
        self._close()
        self._hand_over(log)
        log.sync()
        return True

    def drop_all(self) -> None:
        """Forget everything; the files go when the journal is durable behind the command."""
        self.deleted = True
        self._pack = BytesWriter()
        self._closed.clear()
        self._flushed.clear()
        self.claims.release_all()
        self.known = Deduplication(1, self.known.header)
        self._dispatcher.schedule(self)

    def _delete(self, log: StreamLog) -> None:
        if self._gone_at < 0:
            self._gone_at = self._journal.appended
        if self._gone_at > self._journal.durable:
            self._dispatcher.wait_for_journal(self)
        elif not self._log_deleted:
            self._log_deleted = True
            log.delete()

    # -- after a start

    def restore(self, levels: dict[int, list[Page]], next_position: i64) -> None:
        """Learn again what was known: from the log, and behind it from the journal."""
        log = self.log
        if log is None:
            return
        log.settle_end(0)
        following: i64 = log.next
        packs: list[tuple[int, int]] = []
        for message in log.since(log.first):
            if len(message.body) > 0:
                packs.append((len(message.body) // ENTRY_SIZE, int(message.arrived)))
                self._load(message.body)
        for count, came in reversed(packs):
            self._flushed.appendleft((int(following), came))
            following -= count
        for pages in levels.values():
            for page in pages:
                self._restore_page(log, page)
        self.next_position = max(max(1, log.next), next_position)

    def _load(self, data: bytes) -> None:
        at: i64 = 0
        end: i64 = len(data) - ENTRY_SIZE
        known = self.known
        while at <= end:
            known.add(read_i64_be(data, at), read_i64_be(data, at + 8), read_i64_be(data, at + 16))
            at += ENTRY_SIZE

    def _restore_page(self, log: StreamLog, page: Page) -> None:
        for segment, octets in page.claims:
            self.claims.add(segment, octets, page.last + 1)
        if page.last < log.next:
            return
        known = self.known
        for index, message in enumerate(self._pager.read(page)):
            position: i64 = page.position(index)
            if message is not None and position >= log.next and known.names(message.header):
                came: i64 = self._clock.wall
                if 0 < message.arrived < came:
                    came = message.arrived
                self._put(position, known.high, known.low, came)
                known.remember(message.header, came)
        self.next_position = page.last + 1

    # -- what nobody asks of a window

    def ready_count(self) -> i64:
        """Nothing is ready."""
        return 0

    def ready_octets(self) -> i64:
        """Nothing is ready."""
        return 0

    def consumer_count(self) -> i64:
        """Nobody consumes."""
        return 0
