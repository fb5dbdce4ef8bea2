"""Which queues have work: collected while frames are read, served once after, within a budget."""

from __future__ import annotations

from mypy_extensions import i64

from harebell.engine.queues.queue import Queue
from harebell.engine.queues.residency import Residency
from harebell.paging import NoPager, Pager

BUDGET = 4096
"""Messages one queue may deliver before the others have their turn."""

TURN_BUDGET = 4 * BUDGET
SMALLEST_BUDGET = 32
"""Messages all queues together may deliver in one turn, and each of them even if there are very many."""


class Dispatcher:
    """The queues that may be able to deliver.

    Args:
        pager: where messages go that do not fit in memory; None to keep all in memory.

    Attributes:
        residency: the queues that are deep.
        busy: True if work was left over for the next turn.
        contended: True if a message had to wait although its queue has consumers; cleared by whoever wants
            to know.
    """

    def __init__(self, pager: Pager | None = None) -> None:
        self.residency = Residency(pager or NoPager())
        self._due: list[Queue] = []
        self._waiting: dict[Queue, None] = {}
        self.busy: bool = False
        self.contended: bool = False

    def schedule(self, queue: Queue) -> None:
        """Let a queue deliver at the end of this turn."""
        if not queue.scheduled:
            queue.scheduled = True
            self._due.append(queue)

    def wait_for_journal(self, queue: Queue) -> None:
        """Let a queue deliver once more of the journal is durable."""
        self._waiting[queue] = None

    def journal_advanced(self) -> None:
        """More of the journal is durable: whoever waited for it has a turn."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for queue in waiting:
                self.schedule(queue)

    def run(self) -> None:
        """Serve each scheduled queue once, up to its budget; what is left waits for the next turn."""
        due = self._due
        if not due:
            self.busy = False
            return
        self._due = []
        budget = min(BUDGET, max(SMALLEST_BUDGET, TURN_BUDGET // len(due)))
        done: i64 = 0
        try:
            for queue in due:
                done += 1
                queue.scheduled = False
                if queue.dispatch(budget):
                    self.schedule(queue)
        finally:
            # One that fails must not keep those behind it from their turn.
            self._due += due[done:]
            self.busy = len(self._due) > 0
