"""Messages that wait on disk: what queues know of them, and who reads and writes them.

A queue that outgrows its share of memory keeps pages instead of messages.  A page stands for neighbouring
ready messages of one queue, some hundreds, and holds 8 octets for each: where its record is.  A persistent
message's record is in the journal anyway; a transient one's is spilled to a file that is never synced and
does not outlive the node.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i64_be
from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.scratch import MemoryScratch, Scratch

PAGE_MESSAGES: Final = 512
PAGE_OCTETS: Final = 512 * 1024
"""A page is full with so many messages, or with one that exceeds these header and body octets."""

NO_LIMIT: Final = 1 << 62
"""A budget that is never used up."""

NOWHERE: Final = -2
"""Location of a message that left its page: nothing is read for it, for its record's file may go."""

FLAGGED: Final = 1
RETURN: Final = 2
"""How often a message came back: ``RETURN`` times the returns, plus ``FLAGGED`` if it is to be flagged."""


class PageUnreadable(Exception):
    """A page cannot be read at the moment, which says nothing of its messages: ask again later."""


def journal_location(lsn: i64) -> i64:
    """Give the location of a journal record; locations are even in the journal, odd in spill files."""
    return lsn * 2


class Page:
    """Neighbouring ready messages of one queue, oldest first, whose bodies are on disk only.

    Attributes:
        first, last: positions of the first and the last message.
        count: how many there are.
        positions: 8 octets for each, its position; empty if they are ``first``, ``first + 1`` and so on.
        locations: 8 octets for each: twice the lsn of its journal record, or twice the offset in the spill
            log and one; ``NOWHERE`` for one that is here no longer.
        returns: 4 octets for each, see ``RETURN``; empty if none ever came back.
        octets: header and body octets of all, for headers an estimate.
        bodies: body octets of all.
        claims: per segment of the journal, the live octets that are this page's.
        spilled: the same for segments of the spill log.
        version: grows when records are moved.
    """

    __slots__ = (
        "bodies", "claims", "count", "first", "last", "locations", "octets", "positions", "returns",
        "spilled", "version",
    )  # fmt: skip

    def __init__(
        self,
        first: i64,
        last: i64,
        count: i64,
        positions: bytes,
        locations: bytes,
        returns: bytes,
        octets: i64,
        bodies: i64,
        claims: list[tuple[int, int]],
        spilled: list[tuple[int, int]],
    ) -> None:
        self.first: i64 = first
        self.last: i64 = last
        self.count: i64 = count
        self.positions = positions
        self.locations = locations
        self.returns = returns
        self.octets: i64 = octets
        self.bodies: i64 = bodies
        self.claims = claims
        self.spilled = spilled
        self.version: i64 = 0

    def position(self, index: i64) -> i64:
        """Give the position of a message by its place in the page."""
        if not self.positions:
            return self.first + index
        return read_i64_be(self.positions, index * 8)

    def location(self, index: i64) -> i64:
        """Give where the record of a message is."""
        return read_i64_be(self.locations, index * 8)

    def returned(self, index: i64) -> i64:
        """Give how often a message came back, see ``RETURN``."""
        if not self.returns:
            return 0
        return i64(read_i32_be(self.returns, index * 4))

    def index(self, position: i64) -> i64:
        """Find a position; -1 if it is not here."""
        if position < self.first or position > self.last:
            return -1
        if not self.positions:
            return position - self.first
        low: i64 = 0
        high: i64 = self.count
        while low < high:
            middle: i64 = (low + high) // 2
            if read_i64_be(self.positions, middle * 8) < position:
                low = middle + 1
            else:
                high = middle
        if low < self.count and read_i64_be(self.positions, low * 8) == position:
            return low
        return -1

    def relocate(self, changes: list[tuple[int, int]]) -> None:
        """Put in new locations.

        Args:
            changes: places in the page and their locations, ascending.
        """
        out = BytesWriter()
        locations = self.locations
        done: i64 = 0
        for index, location in changes:
            out.write(locations[done * 8 : index * 8])
            write_i64_be(out, location)
            done = index + 1
        out.write(locations[done * 8 :])
        self.locations = out.getvalue()
        self.version += 1

    def claim(self, segment: i64, octets: i64) -> None:
        """Change what the page claims of a segment of the journal."""
        changed: list[tuple[int, int]] = []
        held: i64 = 0
        for number, claimed in self.claims:
            if number == segment:
                held = claimed
            else:
                changed.append((number, claimed))
        if held + octets > 0:
            changed.append((segment, held + octets))
        self.claims = changed


class Place(NamedTuple):
    """Where a live message is.

    Attributes:
        message: the message, if it is in memory.
        location: where its record is (see ``Page``).
        returns: how often it came back (see ``RETURN``).
        until: unix milliseconds until when it waits for a retry; 0 if it does not.
    """

    message: Message | None
    location: int
    returns: int
    until: int = 0


class KeptChunk(NamedTuple):
    """A chunk of a stream that the journal holds.

    Attributes:
        first, following: its first offset, and the one behind its last.
        lsn: of its record.
        octets: of its record.
        segment: number of the journal's segment.
    """

    first: int
    following: int
    lsn: int
    octets: int
    segment: int


class Moved(NamedTuple):
    """A message on disk whose record was copied forward.

    Attributes:
        position: in its queue.
        location: where the copy is.
        share: live octets it counted in its old segment.
        to_share: live octets it counts in the new one.
    """

    position: int
    location: int
    share: int
    to_share: int


@mypyc_attr(allow_interpreted_subclasses=True)
class PageTaker(ABC):
    """Who asked for pages to be read."""

    __slots__ = ()

    @abstractmethod
    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Take the messages of a page, in order; None for one whose record is damaged."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Pager(ABC):
    """The disk, as a store of ready messages sees it.

    Attributes:
        budget: octets of ready messages, overhead included, that are to stay in memory.
        used: octets that are in memory; queues add and subtract.
        scratch: keeps what queues know of messages on disk when that is much.
    """

    def __init__(self, budget: i64) -> None:
        self.budget: i64 = budget
        self.used: i64 = 0
        self.scratch: Scratch = MemoryScratch()

    @abstractmethod
    def write(self, entries: list[tuple[int, Message, int]], durable: bool) -> Page | None:
        """Make a page of messages, spilling those that are not in the journal.

        Args:
            entries: position, message, and how often it came back (see ``RETURN``), oldest first.
            durable: whether the queue is durable, so that its persistent messages are in the journal.

        Returns:
            The page; None while a message's journal record is not written to its file yet.
        """

    @abstractmethod
    def fetch(self, page: Page, taker: PageTaker) -> None:
        """Read a page; ``taker.page_read`` is called later, from the event loop, in order of the calls."""

    @abstractmethod
    def read(self, page: Page) -> list[Message | None]:
        """Read a page at once, waiting for the disk.

        Raises:
            PageUnreadable: not now: the disk fails, the process is short of file descriptors or memory, or a
                record is not in its file yet.  The page stays as it is; nothing is lost.
        """

    @abstractmethod
    def read_chunk(self, chunk: KeptChunk) -> bytes:
        """Read a chunk at once, waiting for the disk.

        Returns:
            The chunk; empty if its record is damaged.

        Raises:
            OSError: the disk fails.
        """

    @abstractmethod
    def taken(self, page: Page) -> None:
        """The messages of a page are in memory again: their spilled copies are not needed any more."""

    @abstractmethod
    def settle(self, queue_id: i64, page: Page, durable: bool) -> None:
        """A queue let go of a page as a whole: record it and give up its claims."""

    @abstractmethod
    def forget(self, page: Page) -> None:
        """A deleted queue let go of a page: its delete command said so already."""

    @abstractmethod
    def flush(self) -> None:
        """A turn is over: begin to write what was spilled."""

    @property
    def pending(self) -> i64:
        """Octets spilled that are not in a file yet."""
        return 0

    @property
    def backlog(self) -> i64:
        """Octets spilled that are on their way to a file: whoever adds to them should wait for the disk."""
        return 0


class NoPager(Pager):
    """Everything stays in memory: there is no disk."""

    def __init__(self) -> None:
        super().__init__(NO_LIMIT)

    def write(self, entries: list[tuple[int, Message, int]], durable: bool) -> Page | None:
        """Keep them."""
        return None

    def fetch(self, page: Page, taker: PageTaker) -> None:
        """There is no page."""

    def read(self, page: Page) -> list[Message | None]:
        """There is no page."""
        return []

    def read_chunk(self, chunk: KeptChunk) -> bytes:
        """There is no chunk."""
        return b""

    def taken(self, page: Page) -> None:
        """There is no page."""

    def settle(self, queue_id: i64, page: Page, durable: bool) -> None:
        """There is no page."""

    def forget(self, page: Page) -> None:
        """There is no page."""

    def flush(self) -> None:
        """There is nothing to write."""
