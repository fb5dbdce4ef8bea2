"""What every store of ready messages offers the queue that owns it."""

from __future__ import annotations

from collections.abc import Iterable

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.paging import Moved, Page, PageTaker, Place

Entry = tuple[int, Message, int]
"""Position, message, and how often it came back (``paging.RETURN``)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Stock(PageTaker):
    """Ready messages, in the order they are to be delivered.

    Attributes:
        count: ready messages.
        octets: their header and body octets.
        bodies: their body octets.
        position, returns: of the message taken last; see ``paging.RETURN``.
    """

    __slots__ = ("bodies", "count", "octets", "position", "returns")

    def __init__(self) -> None:
        self.count: i64 = 0
        self.octets: i64 = 0
        self.bodies: i64 = 0
        self.position: i64 = 0
        self.returns: i64 = 0

    def page_read(self, page: Page, messages: list[Message | None]) -> None:
        """Take the messages of a page that was asked for."""
        raise NotImplementedError

    def append(self, message: Message, position: i64) -> None:
        """Add a message behind all others of its kind."""
        raise NotImplementedError

    def skip(self, position: i64) -> None:
        """A message with this position is given up at once instead of being appended."""

    def put_back(self, message: Message, position: i64, returns: i64) -> None:
        """Take a message back to its place."""
        raise NotImplementedError

    def returned_count(self) -> i64:
        """Count the messages in memory that came back; 0 where others may wait for what is still to come."""
        return 0

    def warm(self) -> bool:
        """Tell whether the next message is in memory; if it is not, it is being read from now on."""
        raise NotImplementedError

    def next_position(self) -> i64:
        """Give the position of the next message, which must be in memory."""
        raise NotImplementedError

    def oldest(self) -> Message | None:
        """Give the next message if it is in memory; if it is not, it is being read from now on."""
        raise NotImplementedError

    def take(self) -> Message:
        """Take the next message, which must be in memory; sets ``position`` and ``returns``."""
        raise NotImplementedError

    def glance(self) -> Message | None:
        """Give the next message if it is in memory; reads nothing."""
        raise NotImplementedError

    def pages(self) -> Iterable[Page]:
        """Give the pages that are on disk only."""
        raise NotImplementedError

    def fronts(self) -> list[Stock]:
        """Give the parts whose messages are in order of arrival, but for those that came back."""
        raise NotImplementedError

    def has_front(self) -> bool:
        """Tell whether a message waits that never came back, of stores that are one of their ``fronts``."""
        return self.count > 0

    def front(self) -> Message | None:
        """Give the oldest message that never came back, if it is in memory; of one of the ``fronts``."""
        raise NotImplementedError

    def front_position(self) -> i64:
        """Give the position of that message, which must be in memory."""
        raise NotImplementedError

    def take_front(self, part: Stock) -> Message:
        """Take the oldest message of one of the ``fronts`` that never came back; sets ``position``."""
        raise NotImplementedError

    def remove(self, wanted: list[int]) -> list[Entry]:
        """Take messages, by ascending position, from wherever they are; pass over what is not here."""
        raise NotImplementedError

    def read_now(self) -> bool:
        """Have the next message in memory, waiting for the disk; False if it cannot be read at the moment."""
        raise NotImplementedError

    def offer(self) -> None:
        """Be listed for paging if there is anything to page."""

    def refresh(self) -> None:
        """Messages came from the disk: some may have turned out to be damaged."""

    def read_ahead(self) -> None:
        """Ask for what consumers will need next."""
        raise NotImplementedError

    def restore(self, pages: list[Page], level: i64) -> None:
        """Take in what recovery found of one priority, oldest first."""
        raise NotImplementedError

    def peek(self, most: i64) -> list[Entry]:
        """List the next messages without taking them; reads pages if it must."""
        raise NotImplementedError

    def browse_from(self, position: i64, most: i64) -> list[Entry]:
        """List messages from a position on, by position whatever the order of delivery; reads pages.

        Where messages are large there are fewer than ``most``, but none only if there is none.

        Raises:
            PageUnreadable: one of them cannot be read at the moment.
        """
        raise NotImplementedError

    def in_memory(self) -> list[Entry]:
        """List all messages that are in memory, in no order."""
        raise NotImplementedError

    def clear(self) -> list[Page]:
        """Forget everything and give the pages there were."""
        raise NotImplementedError

    def close(self) -> list[Page]:
        """Forget everything for good, the queue too; give the pages there were."""
        raise NotImplementedError

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find messages by ascending position."""
        raise NotImplementedError

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that records of paged messages were copied; give the positions that are in pages."""
        raise NotImplementedError
