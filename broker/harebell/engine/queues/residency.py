"""Who makes room when memory is short: the stores that grew deep, in turns."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.paging import PAGE_MESSAGES, PAGE_OCTETS, Pager

if TYPE_CHECKING:
    from harebell.engine.queues.ready import ReadyStore

DEEP_MESSAGES: Final = 2 * PAGE_MESSAGES
DEEP_OCTETS: Final = 2 * PAGE_OCTETS
"""A store with so many messages that never came back, or octets of them, may be paged."""

KEPT_AHEAD: Final = 512
"""Messages at the head that stay in memory when a queue begins to page."""

AHEAD_MESSAGES: Final = 8192
AHEAD_OCTETS: Final = 4 * 1024 * 1024
"""How far pages are read ahead of consumers: so many messages, or octets of header and body."""

SHORT_AHEAD_MESSAGES: Final = 2 * PAGE_MESSAGES
SHORT_AHEAD_OCTETS: Final = PAGE_OCTETS
"""The same while memory is short."""

PRESSED_MESSAGES: Final = 64
PRESSED_OCTETS: Final = 64 * 1024
PRESSED_KEPT: Final = 8
"""The same while memory is short although no store is deep: there are very many of them."""

PAGES_A_TURN: Final = 16
STORES_A_TURN: Final = 64
"""Bounds of the work that paging adds to one turn."""


class Residency:
    """Which stores are deep, and whose turn it is to make room when memory is short.

    Args:
        pager: the disk, with the budget.

    Attributes:
        deep_messages, deep_octets: from so many on a store may be paged.
        kept_ahead: messages at the head that stay in memory.
    """

    def __init__(self, pager: Pager) -> None:
        self.pager = pager
        self.deep_messages: i64 = DEEP_MESSAGES
        self.deep_octets: i64 = DEEP_OCTETS
        self.kept_ahead: i64 = KEPT_AHEAD
        self._deep: deque[ReadyStore] = deque()

    def ahead_messages(self) -> i64:
        """Give how many messages are read ahead of consumers."""
        return SHORT_AHEAD_MESSAGES if self.pager.used > self.pager.budget else AHEAD_MESSAGES

    def ahead_octets(self) -> i64:
        """Give how many octets of messages are read ahead of consumers."""
        return SHORT_AHEAD_OCTETS if self.pager.used > self.pager.budget else AHEAD_OCTETS

    def add(self, store: ReadyStore) -> None:
        """A store grew deep."""
        store.deep = True
        self._deep.append(store)

    def relieve(self) -> None:
        """Page out while more than the budget is in memory, a bounded number of pages; called every turn."""
        pager = self.pager
        if pager.used > pager.budget:
            self._page_out()
        pager.flush()

    def _page_out(self) -> None:
        pager = self.pager
        pages: i64 = PAGES_A_TURN
        stores: i64 = min(STORES_A_TURN, len(self._deep))
        while stores > 0 and pages > 0 and pager.used > pager.budget:
            stores -= 1
            store = self._deep.popleft()
            pages -= store.page_out(pages)
            if store.is_deep():
                self._deep.append(store)
            else:
                store.deep = False

    def press(self) -> bool:
        """Go for shallow stores, too, if that is needed, or no longer; called now and then.

        Returns:
            True if stores that are deep by now should be added.
        """
        pager = self.pager
        if pager.used > pager.budget + pager.budget // 8 and not self._deep:
            self.deep_messages = PRESSED_MESSAGES
            self.deep_octets = PRESSED_OCTETS
            self.kept_ahead = PRESSED_KEPT
        elif pager.used < pager.budget // 2:
            self.deep_messages = DEEP_MESSAGES
            self.deep_octets = DEEP_OCTETS
            self.kept_ahead = KEPT_AHEAD
        return self.kept_ahead == PRESSED_KEPT

    def forget_shallow(self) -> None:
        """Drop stores that are no longer deep or gone; called now and then."""
        kept: deque[ReadyStore] = deque()
        for store in self._deep:
            if store.is_deep():
                kept.append(store)
            else:
                store.deep = False
        self._deep = kept
