"""The classic queue: first in, first out, in memory.

Positions: a fresh message gets the next position.  Ready messages are consecutive at the end of the
positions handed out, so ``_ready`` needs no position per message; the first one's is ``_head``.
Messages that came back lie in ``_returned``, a heap by position; each is older than everything in
``_ready``, so it goes first and original order is kept without searching.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush, nsmallest
from itertools import islice

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.consumers import Consumer, ConsumerRing, Unacked
from harebell.engine.dispatch import Dispatcher
from harebell.engine.queues.queue import Queue
from harebell.ports import Clock, Journal


class ClassicQueue(Queue):
    """A queue without priorities, deadlines or limits.

    Args:
        dispatcher: told when there may be something to deliver.
        journal: told when a persistent message leaves or comes back.
        clock: the engine's time.
        single_active: serve one consumer at a time (``x-single-active-consumer``).
    """

    def __init__(
        self,
        queue_id: i64,
        name: str,
        type_name: str,
        durable: bool,
        owner: i64,
        auto_delete: bool,
        arguments: Table,
        dispatcher: Dispatcher,
        journal: Journal,
        clock: Clock,
        single_active: bool,
    ) -> None:
        super().__init__(queue_id, name, type_name, durable, owner, auto_delete, arguments)
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = clock
        self._ready: deque[Message] = deque()
        self._returned: list[tuple[int, Message, bool]] = []
        self._head: i64 = 1
        self._ring = ConsumerRing(single_active)
        self.single_active: bool = single_active

    def ready_count(self) -> i64:
        """Messages that wait for a consumer."""
        return len(self._ready) + len(self._returned)

    def consumer_count(self) -> i64:
        """Consumers subscribed."""
        return len(self._ring.members)

    def consumers(self) -> list[Consumer]:
        """The consumers subscribed, in order of arrival."""
        return self._ring.members

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer; deliveries start at the end of the turn."""
        self._ring.add(consumer)
        if self.ready_count() > 0:
            self._dispatcher.schedule(self)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Unsubscribe; the next single active consumer, if any, is served at once."""
        self._ring.remove(consumer)
        self.last_used = self._clock.now
        if self.ready_count() > 0:
            self._dispatcher.schedule(self)

    def unpark(self, consumer: Consumer) -> None:
        """Let a consumer with credit take part again."""
        self._ring.unpark(consumer)
        if self._ready or self._returned:
            self._dispatcher.schedule(self)

    def push(self, message: Message) -> bool:
        """Take a message: straight to a consumer if nothing waits before it, else to the tail."""
        self.published += 1
        position: i64 = self.next_position
        self.next_position = position + 1
        if not self._ready and not self._returned:
            self._head = position
            consumer = self._ring.next()
            if consumer is not None:
                self._head = position + 1
                self._hand_over(consumer, message, position, False)
                return True
        self._ready.append(message)
        self.ready_bytes += len(message.header) + len(message.body)
        ring = self._ring
        if ring.members:
            self._dispatcher.contended = True
            if ring.can_deliver() and not self.scheduled:
                self._dispatcher.schedule(self)
        return True

    def can_deliver_now(self) -> bool:
        """Tell whether a message pushed now goes straight to a consumer."""
        if self._ready or self._returned:
            return False
        for consumer in self._ring.members:
            if consumer.eligible() and (not self.single_active or consumer is self._ring.active_member):
                return True
        return False

    def dispatch(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages in order, each to the consumer whose turn it is."""
        ready = self._ready
        ring = self._ring
        while ready or self._returned:
            if budget <= 0:
                return ring.can_deliver()
            consumer = ring.next()
            if consumer is None:
                return False
            budget -= 1
            if self._returned:
                position, returned, redelivered = heappop(self._returned)
                self.ready_bytes -= len(returned.header) + len(returned.body)
                self._hand_over(consumer, returned, position, redelivered)
            else:
                head: i64 = self._head
                self._head = head + 1
                message = ready.popleft()
                self.ready_bytes -= len(message.header) + len(message.body)
                self._hand_over(consumer, message, head, False)
        return False

    def _hand_over(self, consumer: Consumer, message: Message, position: i64, redelivered: bool) -> None:
        if redelivered:
            self.redelivered += 1
        if consumer.no_ack:
            self.delivered_no_ack += 1
            if message.persistent and self.durable:
                self._journal.settle(self.id, position, message)
        else:
            self.delivered += 1
            self.unacked_count += 1
            self.unacked_bytes += len(message.header) + len(message.body)
        consumer.deliver(message, position, redelivered)

    def get(self, no_ack: bool, tag: i64, now: i64) -> Unacked | None:
        """Take the first ready message; ``settled`` tells the caller it needs no answer."""
        self.last_used = now
        redelivered = False
        position: i64 = 0
        if self._returned:
            position, message, redelivered = heappop(self._returned)
        elif self._ready:
            position = self._head
            self._head = position + 1
            message = self._ready.popleft()
        else:
            return None
        size: i64 = message.size()
        self.ready_bytes -= size
        entry = Unacked(tag, message, self, position, None, now)
        entry.redelivered = redelivered
        if redelivered:
            self.redelivered += 1
        if no_ack:
            self.got_no_ack += 1
            entry.settled = True
            if message.persistent and self.durable:
                self._journal.settle(self.id, position, message)
        else:
            self.got += 1
            self.unacked_count += 1
            self.unacked_bytes += size
        return entry

    def peek(self, count: i64) -> list[tuple[Message, bool]]:
        """List the first ready messages and whether each was delivered before; they stay as they are."""
        found = [(message, again) for _, message, again in nsmallest(count, self._returned)]
        found.extend((message, False) for message in islice(self._ready, count - len(found)))
        return found

    def settle(self, entry: Unacked) -> None:
        """Forget an acknowledged message."""
        self.acked += 1
        self._let_go(entry)

    def reject(self, entry: Unacked) -> None:
        """Discard a rejected message."""
        self._let_go(entry)

    def _let_go(self, entry: Unacked) -> None:
        message = entry.message
        self.unacked_count -= 1
        self.unacked_bytes -= len(message.header) + len(message.body)
        if message.persistent and self.durable:
            if self.deleted:
                self._journal.forget(self.id, entry.position, message)
            else:
                self._journal.settle(self.id, entry.position, message)

    def requeue(self, entry: Unacked) -> None:
        """Put a message back to its original position, flagged redelivered."""
        message = entry.message
        size: i64 = len(message.header) + len(message.body)
        self.unacked_count -= 1
        self.unacked_bytes -= size
        if self.deleted:
            if message.persistent and self.durable:
                self._journal.forget(self.id, entry.position, message)
            return
        heappush(self._returned, (entry.position, message, True))
        self.ready_bytes += size
        if message.persistent and self.durable:
            self._journal.requeue(self.id, entry.position)
        self._dispatcher.schedule(self)

    def purge(self) -> i64:
        """Remove every ready message, settling the durable ones, and return how many there were."""
        count: i64 = self.ready_count()
        if self.durable:
            for position, message, _ in self._returned:
                if message.persistent:
                    self._journal.settle(self.id, position, message)
            head: i64 = self._head
            for message in self._ready:
                if message.persistent:
                    self._journal.settle(self.id, head, message)
                head += 1
        self._ready.clear()
        self._returned.clear()
        self._head = self.next_position
        self.ready_bytes = 0
        return count

    def drop_all(self) -> None:
        """Let go of everything; what is unacked is forgotten when it is answered."""
        self.deleted = True
        if self.durable:
            for position, message, _ in self._returned:
                if message.persistent:
                    self._journal.forget(self.id, position, message)
            head: i64 = self._head
            for message in self._ready:
                if message.persistent:
                    self._journal.forget(self.id, head, message)
                head += 1
        self._ready.clear()
        self._returned.clear()
        self.ready_bytes = 0

    def restore(self, entries: list[tuple[int, Message, bool]], next_position: i64) -> None:
        """Take in what recovery found: position, message, and whether it was delivered before, in order.

        Positions have gaps where messages were settled, so all go where positions are explicit.
        """
        for position, message, returned in entries:
            self._returned.append((position, message, returned))
            self.ready_bytes += message.size()
        self.next_position = next_position
        self._head = next_position

    def held(self, positions: set[int]) -> list[tuple[int, Message, bool]]:
        """Give those of some positions that are ready: position, message, whether delivered before."""
        found = [entry for entry in self._returned if entry[0] in positions]
        head: i64 = self._head
        ready = self._ready
        for position in positions:
            index: i64 = position - head
            if 0 <= index < len(ready):
                found.append((position, ready[index], False))
        return found
