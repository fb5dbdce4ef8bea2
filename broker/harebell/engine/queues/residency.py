"""Who makes room when memory is short: the stores that grew deep, in turns."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.paging import Pager

if TYPE_CHECKING:
    from harebell.engine.queues.ready import ReadyStore

PAGES_A_TURN: Final = 16
STORES_A_TURN: Final = 64
"""Bounds of the work that paging adds to one turn."""


class Residency:
    """Which stores are deep, and whose turn it is to make room when memory is short.

    Args:
        pager: the disk, with the budget.
    """

    def __init__(self, pager: Pager) -> None:
        self.pager = pager
        self._deep: deque[ReadyStore] = deque()

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

    def forget_shallow(self) -> None:
        """Drop stores that are no longer deep or gone; called now and then."""
        kept: deque[ReadyStore] = deque()
        for store in self._deep:
            if store.is_deep():
                kept.append(store)
            else:
                store.deep = False
        self._deep = kept
