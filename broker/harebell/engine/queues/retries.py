"""Returned messages that wait before they are delivered again (``x-delayed-retry-*``, RabbitMQ 4.3).

The first retry waits the minimum, each further one as much longer, up to the maximum.  Messages that wait are
neither ready nor unacknowledged.  The journal knows them as returned: after a restart they are ready at once.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.engine.deadlines import Deadlines
from harebell.engine.options import QueueOptions
from harebell.engine.queues.stock import Entry
from harebell.paging import RETURN

ALL: Final = "all"
FAILED: Final = "failed"
RETURNED: Final = "returned"


def retry_delay(options: QueueOptions, returns: i64, failed: bool) -> i64:
    """Give how many milliseconds a message that comes back must wait; 0 for none.

    Args:
        options: what its queue goes by.
        returns: how often it came back, this time included (``paging.RETURN``).
        failed: True if it was rejected or its consumer went, False if it was handed back by ``basic.nack``.
    """
    kind = options.delayed_retry_type
    if kind != ALL and kind != (FAILED if failed else RETURNED):
        return 0
    least = options.delayed_retry_min
    most = options.delayed_retry_max
    if least < 0:
        least = 0 if most < 0 else most
    delay = least * max(1, returns // RETURN)
    return most if 0 <= most < delay else delay


class Retries:
    """The messages of one queue that wait for their retry, by position."""

    def __init__(self) -> None:
        self.held: dict[int, Entry] = {}
        self._due = Deadlines()

    def hold(self, entry: Entry, until: i64) -> None:
        """Keep a message until a time, unix milliseconds."""
        self.held[entry[0]] = entry
        self._due.add(until, entry[0])

    def next(self) -> i64:
        """Give the time at which ``due`` has something to do; ``NEVER`` if nothing waits."""
        return self._due.next()

    def due(self, now: i64, most: i64) -> list[Entry]:
        """Take messages whose time has come, by position."""
        found: list[Entry] = []
        for position in sorted(self._due.due(now, most)):
            entry = self.held.pop(position, None)
            if entry is not None:
                found.append(entry)
        return found

    def clear(self) -> list[Entry]:
        """Take everything."""
        found = list(self.held.values())
        self.held.clear()
        self._due.clear()
        return found
