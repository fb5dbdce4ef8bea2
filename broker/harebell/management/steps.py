"""What a request does to the journal as one step, and waiting for it."""

from __future__ import annotations

from harebell.ports import Journal


class Step:
    """What is done within is one record of the journal: all of it is there after a crash, or nothing.

    Taking a message out is otherwise written with whatever comes next, and waited for by nobody.

    Args:
        journal: of the node.

    Attributes:
        lsn: to wait for, once it is over; 0 if nothing was to be written.
    """

    __slots__ = ("_journal", "lsn")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.lsn = 0

    def __enter__(self) -> Step:
        self._journal.begin_transaction()
        return self

    def __exit__(self, *_: object) -> None:
        self.lsn = int(self._journal.end_transaction())
