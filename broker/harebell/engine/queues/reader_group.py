"""Consumers of a stream that share a name and take turns: one is active, the others stand by.

The members of a group subscribe to each partition of a super stream, and each partition picks its active
member by its own number, so that the partitions spread over the members (RabbitMQ does the same for its
stream protocol).  When members come and go, a partition goes over to another one only after the active one
answered what it has: the order of a key is kept, and nobody gets what another has acknowledged.
"""

from __future__ import annotations

from harebell.engine.queues.cursor import READY, STANDBY, Cursor


class ReaderGroup:
    """The members of one group on one stream.

    Args:
        partition: number of the stream among those of its super stream.

    Attributes:
        members: in order of arrival.
        active: who gets messages; None if nobody is there.
    """

    def __init__(self, partition: int) -> None:
        self.members: list[Cursor] = []
        self.active: Cursor | None = None
        self._partition = partition

    def join(self, cursor: Cursor) -> None:
        """Take in a member, standing by."""
        cursor.stand_by()
        self.members.append(cursor)

    def leave(self, cursor: Cursor) -> None:
        """Let a member go; deliveries it did not answer will be delivered to the next one."""
        self.members.remove(cursor)
        if self.active is cursor:
            self.active = None

    def balance(self, offset: int) -> Cursor | None:
        """Hand over to the member whose turn it is, as soon as the active one owes no answer.

        Args:
            offset: where the next active member begins.

        Returns:
            The cursor that may deliver from now on; None if nothing changed.
        """
        if not self.members:
            return None
        chosen = self.members[self._partition % len(self.members)]
        active = self.active
        if active is chosen:
            if active.state == STANDBY:
                active.state = READY
                return active
            return None
        if active is not None:
            active.stand_by()
            if active.tracking is not None and active.tracking.awaits():
                return None
            active.tracking = None
        self.active = chosen
        chosen.begin(offset)
        return chosen


def partition_of(name: str) -> int:
    """Give a stream's number among the partitions of a super stream: 3 if it is called ``orders-3``."""
    number = name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 0
