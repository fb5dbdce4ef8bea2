"""A pager without a disk: pages lie on a shelf, and are handed back when the test says so."""

from __future__ import annotations

import struct

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.paging import NOWHERE, KeptChunk, Page, Pager, PageTaker


class ShelfPager(Pager):
    """Keeps the messages of pages by a made-up location.

    Attributes:
        refusing: True while ``write`` answers that a record is not in its file yet.
        damaged: locations that cannot be read any more.
        settled: queue id and positions of pages that queues let go of as a whole.
        forgotten: the same for deleted queues.
    """

    def __init__(self, budget: int = 0) -> None:
        super().__init__(budget)
        self.refusing = False
        self.damaged: set[int] = set()
        self.settled: list[tuple[int, list[int]]] = []
        self.forgotten: list[list[int]] = []
        self.asked: list[tuple[Page, PageTaker]] = []
        self.shelf: dict[int, Message] = {}

    def read_chunk(self, chunk: KeptChunk) -> bytes:
        """There are no chunks here."""
        raise NotImplementedError

    def write(self, entries: list[tuple[int, Message, int]], durable: bool) -> Page | None:
        """Put messages on the shelf."""
        if self.refusing:
            return None
        locations = []
        for _, message, _ in entries:
            locations.append(len(self.shelf) * 2)
            self.shelf[locations[-1]] = message
        positions = [position for position, _, _ in entries]
        dense = positions[-1] - positions[0] + 1 == len(positions)
        return Page(
            positions[0],
            positions[-1],
            len(entries),
            b"" if dense else struct.pack(f">{len(positions)}q", *positions),
            struct.pack(f">{len(positions)}q", *locations),
            struct.pack(f">{len(positions)}i", *(returns for _, _, returns in entries)),
            sum(int(message.size()) for _, message, _ in entries),
            sum(len(message.body) for _, message, _ in entries),
            [(3, 10 * len(entries))],
            [],
        )

    def fetch(self, page: Page, taker: PageTaker) -> None:
        """Note that somebody asked."""
        self.asked.append((page, taker))

    def hand_back(self) -> None:
        """Answer everything that was asked."""
        while self.asked:
            page, taker = self.asked.pop(0)
            taker.page_read(page, self.read(page))

    def read(self, page: Page) -> list[Message | None]:
        """Take messages from the shelf."""
        locations = [int(page.location(index)) for index in range(int(page.count))]
        return [None if at == NOWHERE or at in self.damaged else self.shelf[at] for at in locations]

    def taken(self, page: Page) -> None:
        """Nothing to do."""

    def settle(self, queue_id: i64, page: Page, durable: bool) -> None:
        """Note what was let go of."""
        self.settled.append((int(queue_id), positions_of(page)))

    def forget(self, page: Page) -> None:
        """Note what was let go of."""
        self.forgotten.append(positions_of(page))

    def flush(self) -> None:
        """Nothing to do."""


def positions_of(page: Page) -> list[int]:
    """List the positions of a page."""
    return [int(page.position(index)) for index in range(int(page.count))]
