"""How far named consumers of a stream acknowledged, kept in the journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mypy_extensions import i64

from harebell.content.table import Table
from harebell.engine.arguments import SINGLE_ACTIVE_CONSUMER, STREAM_CONSUMER
from harebell.engine.commands import StoreOffset, encode
from harebell.engine.queues.cursor import Cursor, Reading
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.ports import Journal

STORED: Final = ""
"""The name, which no consumer can have, under which it is kept how far the stream's own files were durable.

An offset that was given once is never given again, even if damage took the end of the files.
"""

LONGEST_NAME: Final = 255
MOST_NAMES: Final = 10_000
"""Octets of a name, and names that one stream keeps."""


class Accounts:
    """The accounts of one stream.

    Args:
        journal: told of each change.
        vhost, queue: names of the stream's virtual host, and its own.

    Attributes:
        offsets: by name, the first offset not acknowledged.
    """

    def __init__(self, journal: Journal, vhost: str, queue: str) -> None:
        self.offsets: dict[str, int] = {}
        self._journal = journal
        self._vhost = vhost
        self._queue = queue

    def check(self, arguments: Table) -> None:
        """Check the name a consumer's arguments give it.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        single = arguments.get(SINGLE_ACTIVE_CONSUMER, False)
        if not isinstance(single, bool):
            raise self._bad(SINGLE_ACTIVE_CONSUMER, "neither true nor false")
        if STREAM_CONSUMER not in arguments:
            return
        name = arguments[STREAM_CONSUMER]
        if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME:
            raise self._bad(STREAM_CONSUMER, f"not a name of 1 to {LONGEST_NAME} bytes")
        if name not in self.offsets and len(self.offsets) > MOST_NAMES:
            raise self._bad(STREAM_CONSUMER, f"the stream keeps {MOST_NAMES} names already")

    def _bad(self, key: str, problem: str) -> BrokerError:
        where = f"queue '{self._queue}' in vhost '{self._vhost}'"
        return BrokerError(PRECONDITION_FAILED, f"invalid arg '{key}' for {where}: {problem}")

    def keep(self, name: str, offset: i64) -> None:
        """Journal an offset, whatever was kept before; nobody waits for it."""
        if self.offsets.get(name, -1) != offset:
            self.offsets[name] = int(offset)
            self._journal.command(encode(StoreOffset(self._vhost, self._queue, name, int(offset))))

    def open(self, cursor: Cursor) -> None:
        """A consumer begins, perhaps where it asked to."""
        cursor.noted = cursor.offset
        self.keep(cursor.name, cursor.offset)

    def note(self, cursor: Cursor) -> None:
        """Keep how far a consumer acknowledged, if that is farther than before.

        A connection that hangs may end after its successor has read on: what it knows is old.
        """
        tracking = cursor.tracking
        if tracking is None or tracking.offset <= cursor.noted:
            return
        cursor.noted = tracking.offset
        if tracking.offset > self.offsets.get(cursor.name, -1):
            self.keep(cursor.name, tracking.offset)

    def readings(self, cursors: Iterable[Cursor], first: int, end: int) -> list[Reading]:
        """List how far the readers are: names that are kept, then consumers without a name.

        Args:
            cursors: who reads now.
            first, end: of what the stream keeps.
        """
        present: dict[str, int] = {}
        unnamed: list[Reading] = []
        for cursor in cursors:
            if cursor.name:
                self.note(cursor)
                present[cursor.name] = present.get(cursor.name, 0) + 1
            else:
                offset = int(cursor.offset)
                unnamed.append(Reading(cursor.consumer.tag, offset, max(0, end - max(first, offset)), 1))
        named = [
            Reading(name, offset, max(0, end - max(first, offset)), present.get(name, 0))
            for name, offset in self.offsets.items()
            if name != STORED
        ]
        return named + unnamed
