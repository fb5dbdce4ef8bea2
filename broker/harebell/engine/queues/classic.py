"""Classic and quorum queues.

Positions: each message gets the next one.  Where the ready ones are is the store's business (``ready.py``,
``levels.py``); the queue knows consumers, counters and the journal.  What happens to messages while they
lie there is in ``limited.py``.

A quorum queue is a classic queue with other rules: it counts returns and gives up after a limit, delivers
what came back in the order in which it did, and tells priorities apart without having been told to.  One
node means one copy.
"""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.scanning import FLAGS_AT, HAS_PRIORITY
from harebell.engine.consumers import Consumer, Unacked
from harebell.engine.dead_letter import DELIVERY_LIMIT, EXPIRED, REJECTED
from harebell.engine.deadlines import NEVER
from harebell.engine.options import DISABLED
from harebell.engine.queues.braked import BrakedQueue
from harebell.engine.queues.browsing import BrowseView
from harebell.engine.queues.retries import retry_delay
from harebell.engine.queues.rules import end_of
from harebell.engine.queues.stock import Entry
from harebell.paging import FLAGGED, RETURN


class ClassicQueue(BrakedQueue):
    """A queue of either type.

    Args:
        dispatcher, journal, clock, dead_letters, expiry, max_priority: as for ``LimitedQueue``.
        single_active: as for ``LanedQueue``.
    """

    def starved_for(self) -> i64:
        """Milliseconds for which messages waited for consumers that took none, until now."""
        return self._ring.lacked_for(self._clock.now if self._store.count > 0 else 0)

    def active_consumer(self) -> Consumer | None:
        """Give the one consumer that is served, of a queue that serves one at a time."""
        return self._ring.active_member if self.single_active else None

    def consumer_count(self) -> i64:
        """Consumers subscribed."""
        return len(self._ring.members)

    def consumers(self) -> list[Consumer]:
        """The consumers subscribed, in order of arrival."""
        return self._ring.members

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer; deliveries start at the end of the turn."""
        self._ring.add(consumer)
        self.joined(consumer)
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Unsubscribe; the next single active consumer, if any, is served at once."""
        self._ring.remove(consumer)
        self.parted(consumer)
        self.last_used = self._clock.now
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def unpark(self, consumer: Consumer) -> None:
        """Let a consumer with credit take part again."""
        self._ring.unpark(consumer)
        if self._lanes is not None:
            self._lanes.awake(consumer)
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def stocked(self) -> None:
        """Messages that were on disk are in memory."""
        if self.deleted:
            return
        self._store.refresh()
        if self._rules is not None or self._retries is not None:
            self._expiry.wake(self, self._clock.wall)
        if self._ring.can_deliver():
            self._dispatcher.schedule(self)

    def push(self, message: Message) -> bool:
        """Take a message: straight to a consumer if nothing waits before it, else to the tail."""
        if self._rules is not None:
            if self.refuses(message):
                self.refuse(message)
                return False
            self.take_in(message)
            return True
        self.published += 1
        if not message.persistent:
            self.transient += 1
        position: i64 = self.next_position
        self.next_position = position + 1
        if self._store.count == 0 and self.brake is None:
            consumer = self._ring.next()
            if consumer is not None:
                self.hand_over(consumer, message, position, 0)
                return True
        self._store.append(message, position)
        ring = self._ring
        if ring.members:
            self._dispatcher.contended = True
            if ring.can_deliver():
                if not self.scheduled:
                    self._dispatcher.schedule(self)
            elif ring.lacking_since == 0:
                ring.lacks(self._clock.now)
        return True

    def take_in(self, message: Message) -> None:
        """Take a message that must not be refused."""
        rules = self._rules
        if rules is None:
            self.push(message)
            return
        self.published += 1
        if not message.persistent:
            self.transient += 1
        position: i64 = self.next_position
        self.next_position = position + 1
        lanes = self._lanes
        if self._store.count == 0 and self.brake is None:
            consumer = self._ring.next() if lanes is None else lanes.direct(message, position, self._ring)
            if consumer is not None:
                self.hand_over(consumer, message, position, 0)
                return
        if self._quorum and self.ordered and message.header[FLAGS_AT] & HAS_PRIORITY:
            self._tell_priorities_apart()
        store = self._store
        deadline: i64 = rules.deadline(message, position)
        if deadline <= self._clock.wall:
            store.skip(position)
            self._give_up(message, position, EXPIRED)
            return
        alone: bool = not store.has_front()
        if store.count == 0 and rules.deadlines.count > 0:
            rules.deadlines.clear()
        store.append(message, position)
        if rules.arrived(deadline, position, alone) and deadline < self.wakes_at:
            self._expiry.wake(self, deadline if alone else rules.deadlines.next())
        ring = self._ring
        if ring.members:
            self._dispatcher.contended = True
            if ring.can_deliver():
                if not self.scheduled:
                    self._dispatcher.schedule(self)
            elif ring.lacking_since == 0:
                ring.lacks(self._clock.now)
        if self.view is not None:
            self.view.grown(position)
        self._enforce_limits()

    def can_deliver_now(self) -> bool:
        """Tell whether a message pushed now goes straight to a consumer."""
        if self._store.count > 0 or (self.brake is not None and self.held_back()):
            return False
        if self._lanes is not None and not self._lanes.open_to_all():
            return False
        for consumer in self._ring.members:
            if consumer.eligible() and (not self.single_active or consumer is self._ring.active_member):
                return True
        return False

    def dispatch(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages, unless something holds the queue back."""
        brake = self.brake
        return self.serve(budget) if brake is None else self.dispatch_braked(brake, budget)

    def serve(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages in order, each to the consumer whose turn it is."""
        store = self._store
        ring = self._ring
        if ring.lacking_since > 0:
            ring.lacks_no_more(self._clock.now)
        if self._lanes is not None:
            return self.dispatch_lanes(self._lanes, budget)
        while store.count > 0:
            if budget <= 0:
                return ring.can_deliver()
            if not store.warm():
                return False
            consumer = ring.next()
            if consumer is None:
                if ring.lacking_since == 0:
                    ring.lacks(self._clock.now)
                break
            if self._rules is not None:
                self._drop_expired_heads()
                if store.count == 0 or not store.warm():
                    break
            budget -= 1
            message = store.take()
            self.hand_over(consumer, message, store.position, store.returns)
        store.read_ahead()
        return False

    def hand_over(self, consumer: Consumer, message: Message, position: i64, returns: i64) -> None:
        """Deliver a message that was taken out."""
        if returns & FLAGGED != 0:
            self.redelivered += 1
        waits = self.waits or self.have_waits()
        waits.add(self._clock.wall - message.arrived, 1)
        if consumer.no_ack:
            self.delivered_no_ack += 1
            if message.persistent and self.durable:
                self._journal.settle(self.id, position, message)
        else:
            body: i64 = len(message.body)
            self.delivered += 1
            self.unacked_count += 1
            self.unacked_bytes += len(message.header) + body
            self.unacked_bodies += body
        consumer.deliver(message, position, returns)

    def get(self, no_ack: bool, tag: i64, now: i64) -> Unacked | None:
        """Take the first ready message; ``settled`` tells the caller it needs no answer."""
        self.last_used = now
        if self.brake is not None and self.held_back():
            return None
        found = self.take_free(self._lanes, not no_ack) if self._lanes is not None else self._take_head()
        if found is None:
            return None
        if self.brake is not None:
            self.brake.spent(1)
        position, message, returns = found
        entry = Unacked(tag, message, self, position, None, now)
        entry.returns = returns
        if entry.returns & FLAGGED != 0:
            self.redelivered += 1
        if no_ack:
            self.got_no_ack += 1
            entry.settled = True
            if message.persistent and self.durable:
                self._journal.settle(self.id, position, message)
        else:
            self.got += 1
            self.unacked_count += 1
            self.unacked_bytes += message.size()
            self.unacked_bodies += len(message.body)
        self.have_waits().add(self._clock.wall - message.arrived, 1)
        return entry

    def _take_head(self) -> Entry | None:
        store = self._store
        if not store.read_now():
            return None
        while self._rules is not None and self._rules.timed and store.count > 0:
            if self._head_deadline(self._rules) > self._clock.wall:
                break
            expired = store.take()
            self._give_up(expired, store.position, EXPIRED)
            if not store.read_now():
                return None
        if store.count == 0:
            return None
        message = store.take()
        return (int(store.position), message, int(store.returns))

    def browse(self, count: i64) -> list[Entry]:
        """List the first ready messages."""
        return self._store.peek(count)

    def browse_from(self, position: i64, most: i64) -> list[Entry]:
        """List ready messages from a position on."""
        return self._store.browse_from(position, most)

    def is_over(self, message: Message, position: i64) -> bool:
        """Tell whether the time of a ready message is over, so that nobody will get it."""
        rules = self._rules
        return rules is not None and rules.timed and rules.deadline(message, position) <= self._clock.wall

    def have_view(self, vhost: str) -> BrowseView:
        """Give what browsers see of it; from now on it tells them what comes."""
        if self.view is None:
            self.view = BrowseView(self, vhost, self._dispatcher, self._expiry, self._clock)
            if self._rules is None:
                self._have_rules().apply(self.options, self.next_position, self._store.count == 0)
        return self.view

    def view_left(self) -> None:
        """The last browser went: what nobody asks for any more costs nothing again."""
        self.view = None
        if self._lanes is None:
            self.shed_rules()

    def withdraw(self, positions: list[int]) -> list[Entry]:
        """Take ready messages out, for who settles them."""
        return self._store.remove(positions)

    def reinstate(self, entry: Entry) -> None:
        """Put back what was withdrawn; its deadline is still noted."""
        self._store.put_back(entry[1], entry[0], entry[2])
        if self.view is not None:
            self.view.grown(entry[0])

    def settle(self, entry: Unacked) -> None:
        """Forget an acknowledged message."""
        self.acked += 1
        answers = self.answers or self.have_answers()
        answers.add(self._clock.now - entry.delivered_at, 1)
        self._let_go(entry)

    def reject(self, entry: Unacked) -> None:
        """Discard or dead-letter a rejected message."""
        self.rejected += 1
        if self.options.dead_letter_exchange is None or self.deleted:
            self.count_death(REJECTED)
            self._let_go(entry)
            return
        body: i64 = len(entry.message.body)
        self.unacked_count -= 1
        self.unacked_bytes -= len(entry.message.header) + body
        self.unacked_bodies -= body
        self._give_up(entry.message, entry.position, REJECTED)
        if self.brake is not None:
            self.freed(self.brake)

    def _let_go(self, entry: Unacked) -> None:
        if self._lanes is not None:
            self.release(self._lanes, entry.position)
        message = entry.message
        body: i64 = len(message.body)
        self.unacked_count -= 1
        self.unacked_bytes -= len(message.header) + body
        self.unacked_bodies -= body
        if self.brake is not None:
            self.freed(self.brake)
        if message.persistent and self.durable:
            if self.deleted:
                self._journal.forget(self.id, entry.position, message)
            else:
                self._journal.settle(self.id, entry.position, message)

    def requeue(self, entry: Unacked, failed: bool) -> None:
        """Put a message back to its original position, flagged redelivered."""
        message = entry.message
        body: i64 = len(message.body)
        self.unacked_count -= 1
        self.unacked_bytes -= len(message.header) + body
        self.unacked_bodies -= body
        self.requeued += 1
        if self.brake is not None:
            self.freed(self.brake)
        if self.deleted:
            if message.persistent and self.durable:
                self._journal.forget(self.id, entry.position, message)
            return
        counted: bool = failed or self.counts_every_return
        returns: i64 = (entry.returns | FLAGGED) + (RETURN if counted else 0)
        rules = self._rules
        deadline: i64 = NEVER
        if rules is not None:
            limit: i64 = self.options.delivery_limit
            attempts: i64 = self.options.delayed_retry_attempts
            if attempts > 0 and (limit < 0 or attempts <= limit):
                limit = attempts - 1
            if counted and limit >= 0 and returns // RETURN > limit:
                self._give_up(message, entry.position, DELIVERY_LIMIT)
                return
            deadline = rules.deadline(message, entry.position)
            if deadline <= self._clock.wall:
                self._give_up(message, entry.position, EXPIRED)
                return
        if message.persistent and self.durable:
            if counted:
                self._journal.requeue(self.id, entry.position)
            elif entry.returns & FLAGGED == 0:
                self._journal.flag(self.id, entry.position)
        if rules is not None and self.options.delayed_retry_type != DISABLED:
            delay = retry_delay(self.options, entry.position, returns, failed)
            if delay > 0:
                until = end_of(self._clock.wall, delay)
                if message.persistent and self.durable:
                    self._journal.hold(self.id, entry.position, until)
                self._retry_later((entry.position, message, returns), until)
                return
        self._store.put_back(message, entry.position, returns)
        if rules is not None:
            if deadline != NEVER:
                rules.deadlines.add(deadline, entry.position)
                self._expiry.wake(self, rules.deadlines.next())
            if self.view is not None:
                self.view.grown(entry.position)
            self._enforce_limits()
        self._dispatcher.schedule(self)
