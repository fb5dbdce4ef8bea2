"""Consumers of a queue: who is owed a message next.

Fair dispatch as RabbitMQ does it: round robin among consumers that can take a message, higher
``x-priority`` first, lower only while every higher one lacks credit.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.arguments import ACK_TIMEOUT_MODE, CONSUMER_TIMEOUT, LIVENESS
from harebell.engine.options import ABSENT
from harebell.engine.queues.queue import Queue


class Outlet:
    """The way to one client connection.

    Attributes:
        open: False while the peer does not read fast enough.
    """

    def __init__(self) -> None:
        self.open: bool = True


class ChannelCredit:
    """What all consumers of one channel share.

    Attributes:
        flowing: False after ``channel.flow(active=false)`` or once the channel is closing.
        limit: shared prefetch limit of ``basic.qos(global=true)``; 0 is unlimited.
        used: unacknowledged deliveries to consumers of the channel.
    """

    def __init__(self) -> None:
        self.flowing: bool = True
        self.limit: i64 = 0
        self.used: i64 = 0


@mypyc_attr(acyclic=True, free_list_len=1)
class Unacked:
    """A message given to a client that has not answered yet.

    Attributes:
        tag: delivery tag on its channel.
        position: place in the queue, kept for requeueing.
        consumer: who got it; None after ``basic.get``.
        delivered_at: clock milliseconds of the delivery.
        returns: how often it came back before (``paging.RETURN``).
        settled: True once acknowledged, rejected or requeued.
    """

    __slots__ = ("consumer", "delivered_at", "message", "position", "queue", "returns", "settled", "tag")

    def __init__(
        self,
        tag: i64,
        message: Message,
        queue: Queue,
        position: i64,
        consumer: Consumer | None,
        delivered_at: i64,
    ) -> None:
        self.tag: i64 = tag
        self.message = message
        self.queue = queue
        self.position: i64 = position
        self.consumer = consumer
        self.delivered_at: i64 = delivered_at
        self.returns: i64 = 0
        self.settled: bool = False


class Consumer:
    """A subscription of one channel to one queue.

    Attributes:
        limit: own prefetch limit; 0 is unlimited.
        unacked: own unacknowledged deliveries.
        parked: True while out of the queue's ring for lack of credit.
        timeout: milliseconds a delivery may stay unanswered, as ``x-consumer-timeout`` asks; -1 if it does
            not.
        by_liveness: True if its deliveries do not time out while its connection shows life.
        wants: the bit of its filter among those of its queue (``queues/lanes.py``).
    """

    def __init__(
        self,
        tag: str,
        queue: Queue,
        outlet: Outlet,
        credit: ChannelCredit,
        no_ack: bool,
        exclusive: bool,
        limit: i64,
        priority: i64,
        arguments: Table,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.outlet = outlet
        self.credit = credit
        self.no_ack: bool = no_ack
        self.exclusive: bool = exclusive
        self.limit: i64 = limit
        self.priority: i64 = priority
        self.arguments = arguments
        asked = arguments.get(CONSUMER_TIMEOUT)
        self.timeout: i64 = asked if isinstance(asked, int) else ABSENT
        self.by_liveness: bool = arguments.get(ACK_TIMEOUT_MODE) == LIVENESS
        self.wants: i64 = 1
        self.unacked: i64 = 0
        self.parked: bool = False
        self.cancelled: bool = False

    def eligible(self) -> bool:
        """Tell whether a message can be handed over right now."""
        if not self.outlet.open:
            return False
        credit = self.credit
        if not credit.flowing:
            return False
        if self.no_ack:
            return True
        if self.limit != 0 and self.unacked >= self.limit:
            return False
        return credit.limit == 0 or credit.used < credit.limit

    def deliver(self, message: Message, position: i64, returns: i64) -> None:
        """Hand over one message; the queue has taken it out of its ready messages.

        Args:
            position: its place in the queue.
            returns: how often it came back before (``paging.RETURN``).
        """
        raise NotImplementedError

    def queue_gone(self) -> None:
        """The queue was deleted or moved away: tell the client (``basic.cancel``) if it can be told."""
        raise NotImplementedError


def acknowledgement_timeout(queue: Queue, consumer: Consumer | None, usual: i64) -> i64:
    """Give the milliseconds a delivery may stay unanswered; 0 is for ever.

    The most specific counts, as in RabbitMQ 4.3: what the consumer asks for, else what the queue's argument
    and policy come to, else the node's.

    Args:
        queue, consumer: whose delivery it is; no consumer after ``basic.get``.
        usual: the node's.
    """
    if consumer is not None and consumer.timeout >= 0:
        return consumer.timeout
    if queue.options.consumer_timeout >= 0:
        return queue.options.consumer_timeout
    return usual


class ConsumerRing:
    """The consumers of one queue, in order of priority, each level taking turns.

    Attributes:
        members: every consumer, in order of arrival.
        single: True for a single active consumer: only ``active_member`` is served.
        active_member: the one being served when ``single``.
        lacking_since: clock milliseconds since when messages wait and none of the consumers can take one; 0
            while that is not so.
    """

    def __init__(self, single: bool) -> None:
        self.members: list[Consumer] = []
        self.single: bool = single
        self.active_member: Consumer | None = None
        self.lacking_since: i64 = 0
        self._lacked: i64 = 0
        self._ready: list[Consumer] = []
        self._cursor: i64 = 0
        self._one_level: bool = True

    def add(self, consumer: Consumer) -> None:
        """Take in a new consumer."""
        self.members.append(consumer)
        consumer.parked = False
        if self.single:
            if self.active_member is None:
                self._promote()
            return
        self._insert(consumer)

    def remove(self, consumer: Consumer) -> None:
        """Take out a consumer; the next one is promoted if it was the single active one."""
        if consumer in self.members:
            self.members.remove(consumer)
        self._drop(consumer)
        if self.single and self.active_member is consumer:
            self.active_member = None
            self._promote()

    def unpark(self, consumer: Consumer) -> None:
        """Credit came back: let the consumer take part again."""
        if consumer.parked and not consumer.cancelled:
            consumer.parked = False
            self._insert(consumer)

    def next(self) -> Consumer | None:
        """Give the consumer whose turn it is, or None if nobody can take a message."""
        ready = self._ready
        if not self._one_level:
            return self._next_by_priority()
        while ready:
            if self._cursor >= len(ready):
                self._cursor = 0
            consumer = ready[self._cursor]
            if consumer.eligible():
                self._cursor += 1
                return consumer
            consumer.parked = True
            del ready[self._cursor]
        return None

    def next_of(self, wanted: i64) -> Consumer | None:
        """Give the consumer whose turn it is among those with one of these bits (``Consumer.wants``)."""
        ready = self._ready
        size: i64 = len(ready)
        first: i64 = self._cursor if self._cursor < size else 0
        best: Consumer | None = None
        at: i64 = 0
        found: i64 = 0
        while at < size:
            index: i64 = first + at
            if index >= size:
                index -= size
            consumer = ready[index]
            if (
                consumer.wants & wanted != 0
                and (best is None or consumer.priority > best.priority)
                and consumer.eligible()
            ):
                best = consumer
                found = index
                if self._one_level:
                    break
            at += 1
        if best is None:
            for consumer in list(ready):
                if consumer.wants & wanted != 0:
                    self.park(consumer)
        elif self._one_level:
            self._cursor = found + 1
        else:
            del ready[found]
            ready.append(best)
        return best

    def park(self, consumer: Consumer) -> None:
        """A consumer lacks credit: it takes no part until it has some again."""
        consumer.parked = True
        self._drop(consumer)

    def can_deliver(self) -> bool:
        """Tell whether somebody may be able to take a message."""
        return len(self._ready) > 0

    def lacks(self, now: i64) -> None:
        """Messages wait, and nobody can take one; without consumers that counts for nothing."""
        if self.lacking_since == 0 and self.members:
            self.lacking_since = now

    def lacks_no_more(self, now: i64) -> None:
        """Somebody may be able to take a message again."""
        self._lacked += now - self.lacking_since
        self.lacking_since = 0

    def lacked_for(self, now: i64) -> i64:
        """Give the milliseconds for which messages waited for consumers that could take none.

        Args:
            now: clock milliseconds; 0 if no message waits any more.
        """
        return self._lacked + (now - self.lacking_since if 0 < self.lacking_since < now else 0)

    def _insert(self, consumer: Consumer) -> None:
        ready = self._ready
        ready.append(consumer)
        if self._one_level and ready[0].priority != consumer.priority:
            self._one_level = False

    def _drop(self, consumer: Consumer) -> None:
        ready = self._ready
        if consumer in ready:
            index: i64 = ready.index(consumer)
            del ready[index]
            if index < self._cursor:
                self._cursor -= 1

    def _promote(self) -> None:
        best: Consumer | None = None
        for member in self.members:
            if best is None or member.priority > best.priority:
                best = member
        self.active_member = best
        if best is not None:
            best.parked = False
            self._insert(best)

    def _next_by_priority(self) -> Consumer | None:
        ready = self._ready
        best: Consumer | None = None
        for consumer in list(ready):
            if not consumer.eligible():
                consumer.parked = True
                ready.remove(consumer)
            elif best is None or consumer.priority > best.priority:
                best = consumer
        if best is None:
            self._one_level = True
            self._cursor = 0
            return None
        ready.remove(best)
        ready.append(best)
        return best
