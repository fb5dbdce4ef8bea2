"""The classic queue: first in, first out.

Positions: each message gets the next one.  Where the ready ones are is the store's business (``ready.py``);
the queue knows consumers, counters and the journal.
"""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.consumers import Consumer, ConsumerRing, Unacked
from harebell.engine.dispatch import Dispatcher
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.paging import FLAGGED, RETURN, Moved, Page, Place
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
        self._store = ReadyStore(self, dispatcher.residency, True)
        self._pager = dispatcher.residency.pager
        self._ring = ConsumerRing(single_active)
        self.single_active: bool = single_active

    def ready_count(self) -> i64:
        """Messages that wait for a consumer."""
        return self._store.count

    def ready_octets(self) -> i64:
        """Header and body octets of what waits."""
        return self._store.octets

    def consumer_count(self) -> i64:
        """Consumers subscribed."""
        return len(self._ring.members)

    def consumers(self) -> list[Consumer]:
        """The consumers subscribed, in order of arrival."""
        return self._ring.members

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer; deliveries start at the end of the turn."""
        self._ring.add(consumer)
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Unsubscribe; the next single active consumer, if any, is served at once."""
        self._ring.remove(consumer)
        self.last_used = self._clock.now
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def unpark(self, consumer: Consumer) -> None:
        """Let a consumer with credit take part again."""
        self._ring.unpark(consumer)
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def stocked(self) -> None:
        """Messages that were on disk are in memory."""
        if self._ring.can_deliver():
            self._dispatcher.schedule(self)

    def push(self, message: Message) -> bool:
        """Take a message: straight to a consumer if nothing waits before it, else to the tail."""
        self.published += 1
        position: i64 = self.next_position
        self.next_position = position + 1
        if self._store.count == 0:
            consumer = self._ring.next()
            if consumer is not None:
                self._hand_over(consumer, message, position, 0)
                return True
        self._store.append(message, position)
        ring = self._ring
        if ring.members:
            self._dispatcher.contended = True
            if ring.can_deliver() and not self.scheduled:
                self._dispatcher.schedule(self)
        return True

    def can_deliver_now(self) -> bool:
        """Tell whether a message pushed now goes straight to a consumer."""
        if self._store.count > 0:
            return False
        for consumer in self._ring.members:
            if consumer.eligible() and (not self.single_active or consumer is self._ring.active_member):
                return True
        return False

    def dispatch(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages in order, each to the consumer whose turn it is."""
        store = self._store
        ring = self._ring
        while store.count > 0:
            if budget <= 0:
                return ring.can_deliver()
            if not store.warm():
                return False
            consumer = ring.next()
            if consumer is None:
                break
            budget -= 1
            message = store.take()
            self._hand_over(consumer, message, store.position, store.returns)
        store.read_ahead()
        return False

    def _hand_over(self, consumer: Consumer, message: Message, position: i64, returns: i64) -> None:
        if returns & FLAGGED != 0:
            self.redelivered += 1
        if consumer.no_ack:
            self.delivered_no_ack += 1
            if message.persistent and self.durable:
                self._journal.settle(self.id, position, message)
        else:
            self.delivered += 1
            self.unacked_count += 1
            self.unacked_bytes += len(message.header) + len(message.body)
        consumer.deliver(message, position, returns)

    def get(self, no_ack: bool, tag: i64, now: i64) -> Unacked | None:
        """Take the first ready message; ``settled`` tells the caller it needs no answer."""
        self.last_used = now
        store = self._store
        store.read_now()
        if store.count == 0:
            return None
        message = store.take()
        entry = Unacked(tag, message, self, store.position, None, now)
        entry.returns = store.returns
        if entry.returns & FLAGGED != 0:
            self.redelivered += 1
        if no_ack:
            self.got_no_ack += 1
            entry.settled = True
            if message.persistent and self.durable:
                self._journal.settle(self.id, store.position, message)
        else:
            self.got += 1
            self.unacked_count += 1
            self.unacked_bytes += message.size()
        return entry

    def peek(self, count: i64) -> list[tuple[Message, bool]]:
        """List the first ready messages and whether each was delivered before; they stay as they are."""
        return [(message, returns & FLAGGED != 0) for _, message, returns in self._store.peek(count)]

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
        self.unacked_count -= 1
        self.unacked_bytes -= len(message.header) + len(message.body)
        if self.deleted:
            if message.persistent and self.durable:
                self._journal.forget(self.id, entry.position, message)
            return
        self._store.put_back(message, entry.position, (entry.returns | FLAGGED) + RETURN)
        if message.persistent and self.durable:
            self._journal.requeue(self.id, entry.position)
        self._dispatcher.schedule(self)

    def purge(self) -> i64:
        """Remove every ready message, settling the durable ones, and return how many there were."""
        store = self._store
        count: i64 = store.count
        if self.durable:
            for position, message, _ in store.in_memory():
                if message.persistent:
                    self._journal.settle(self.id, position, message)
        for page in store.clear():
            self._pager.settle(self.id, page, self.durable)
        return count

    def drop_all(self) -> None:
        """Let go of everything; what is unacked is forgotten when it is answered."""
        self.deleted = True
        store = self._store
        if self.durable:
            for position, message, _ in store.in_memory():
                if message.persistent:
                    self._journal.forget(self.id, position, message)
        for page in store.close():
            self._pager.forget(page)

    def restore(self, pages: list[Page], next_position: i64) -> None:
        """Take in what recovery found, oldest first."""
        self._store.restore(pages)
        self.next_position = next_position

    def lost(self, position: i64) -> None:
        """A ready message is gone because its record is damaged; the journal shall not count on it."""
        if self.durable:
            self._journal.settle_run(self.id, position, 1)

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find ready messages by position, ascending."""
        return self._store.locate(wanted)

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that the records of messages that are on disk only were copied forward."""
        return self._store.relocate(moved, segment, to_segment)
