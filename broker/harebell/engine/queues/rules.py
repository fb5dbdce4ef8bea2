"""What a queue with limits, deadlines or a delivery limit knows beside a plain one.

Time limits.  Messages come in order of arrival, so with one time limit for all of them only the head can be
over: nothing is noted for a message whose deadline is not before that of the one in front of it (it is in
the *chain*, and looked at when it is the head).  Any other message's deadline goes into an index, so that
it leaves on time from the middle of the queue.  A queue with priorities has no such order and notes every
deadline.
"""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.scanning import expiration_of
from harebell.engine.deadlines import NEVER, Deadlines
from harebell.engine.options import ABSENT, DISABLED, DROP_HEAD, QueueOptions


def end_of(began: i64, limit: i64) -> i64:
    """Give when a time limit that began at a reading of the clock is over, unix milliseconds.

    The clock's last millisecond had begun already, so without one more the end could be that much early.
    Nothing is added to no time at all: who sets it wants to know at once that nobody takes the message.
    """
    return began + limit + 1 if limit > 0 else began


class Rules:
    """The rules of one queue.

    Args:
        chained: True if the queue is in order of arrival.
        empty: False if messages wait that came before there were rules, so without a deadline.

    Attributes:
        options: what the queue goes by.
        deadlines: of messages that are not in the chain.
        timed: False while no message has had a deadline.
        has_chain: True if the oldest messages have to be looked at.
    """

    def __init__(self, chained: bool, empty: bool) -> None:
        self.options = QueueOptions()
        self.deadlines = Deadlines()
        self._chained: bool = chained
        self.has_chain: bool = chained
        self._chain: i64 = 0 if empty else NEVER
        self.timed: bool = False
        # Since which position which time limit counts, oldest first: a change is for what comes later.
        self._limits: list[tuple[int, int]] = []
        self._latest: i64 = ABSENT
        self._latest_since: i64 = 0

    def apply(self, options: QueueOptions, next_position: i64, empty: bool) -> None:
        """Go by other options.

        Args:
            next_position: of the next message: a changed time limit counts from there (RabbitMQ's rule).
            empty: True if no message of the queue is left.
        """
        before = self._limits[-1][1] if self._limits else ABSENT
        self.options = options
        if empty:
            self._limits = []
        if not self._limits or options.message_ttl != before:
            self._latest = options.message_ttl
            self._latest_since = 0 if empty else next_position
            self._limits.append((self._latest_since, self._latest))

    def deadline(self, message: Message, position: i64) -> i64:
        """Give the time, unix milliseconds, at which a message is over; ``NEVER`` if it never is."""
        limit: i64 = self._latest if position >= self._latest_since else self._earlier_limit(position)
        own = expiration_of(message.header)
        if own >= 0 and (limit < 0 or own < limit):
            limit = own
        if limit < 0:
            return NEVER
        self.timed = True
        return end_of(message.arrived, limit)

    def _earlier_limit(self, position: i64) -> i64:
        limit: i64 = ABSENT
        for since, ttl in self._limits:
            if since <= position:
                limit = ttl
        return limit

    def restored(self, arrived: i64, expiration: i64, position: i64) -> None:
        """Note the deadline of a message that recovery found; called in order of position.

        Args:
            expiration: its own, -1 for none: then it has the queue's.
        """
        limit: i64 = self.options.message_ttl
        chained = self._chained and expiration < 0
        if expiration >= 0 and (limit < 0 or expiration < limit):
            limit = expiration
        if limit < 0:
            return
        self.timed = True
        end: i64 = end_of(arrived, limit)
        if chained:
            self._chain = end
        else:
            self.deadlines.add(end, position)

    def restored_all(self) -> None:
        """Recovery is done, and some messages are here."""
        if self.options.message_ttl < 0:
            # Those without a deadline were not told one by one.
            self._chain = NEVER

    def unchain(self) -> None:
        """The queue is in order of arrival no longer."""
        self._chained = False

    def arrived(self, deadline: i64, position: i64, alone: bool) -> bool:
        """Note the deadline of a message that joins the queue; True if the queue must be looked at by then.

        Args:
            alone: True if no other message waits that never came back; those that did are in the index.
        """
        if self._chained and (alone or deadline >= self._chain):
            self._chain = deadline
            return alone
        if deadline != NEVER:
            self.timed = True
            self.deadlines.add(deadline, position)
        return deadline != NEVER

    def refuses(self, count: i64, bodies: i64, octets: i64) -> bool:
        """Tell whether a message must be refused.

        Args:
            count, bodies: messages that are ready, and their body octets.
            octets: of the message's body.
        """
        options = self.options
        if options.overflow == DROP_HEAD:
            return False
        if options.max_length >= 0 and count >= options.max_length:
            return True
        return options.max_length_bytes >= 0 and bodies + octets > options.max_length_bytes

    def over(self, count: i64, bodies: i64) -> bool:
        """Tell whether the head must be dropped."""
        options = self.options
        if options.overflow != DROP_HEAD:
            return False
        if options.max_length >= 0 and count > options.max_length:
            return True
        return options.max_length_bytes >= 0 and bodies > options.max_length_bytes


def asks_for_rules(options: QueueOptions) -> bool:
    """Tell whether a queue with these options is more than first in, first out."""
    return (
        options.message_ttl >= 0
        or options.max_length >= 0
        or options.max_length_bytes >= 0
        or options.delivery_limit >= 0
        or options.delayed_retry_type != DISABLED
        or options.delayed_retry_attempts >= 0
    )
