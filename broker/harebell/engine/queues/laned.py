"""Queues that may have to look at a message to tell who gets it: groups, fair share, consumers with filters.

A queue without any of these has no lanes, and its store is used directly (``classic.py``).  Lanes come when
an argument or a policy asks for groups or fair share, or with the first consumer that has a filter; they go
when nothing asks for them any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from mypy_extensions import i64

from harebell.content.header_keys import HeaderKey
from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.arguments import FILTER
from harebell.engine.consumers import Consumer, ConsumerRing
from harebell.engine.dead_letter import EXPIRED
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.filters import BadFilter, Filter, make_filter
from harebell.engine.options import QueueOptions
from harebell.engine.queues.lanes import MOST_FILTERS, LaneStore
from harebell.engine.queues.limited import LimitedQueue
from harebell.engine.queues.queue import DeadLetterSink
from harebell.engine.queues.stock import Entry
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.paging import PAGE_MESSAGES, PageUnreadable
from harebell.ports import Clock, Journal


class LanedQueue(LimitedQueue):
    """Base of queues with consumers, which may have lanes.

    Args:
        dispatcher, journal, clock, dead_letters, expiry, max_priority: as for ``LimitedQueue``.
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
        dead_letters: DeadLetterSink,
        expiry: Expiry,
        max_priority: i64,
        single_active: bool,
    ) -> None:
        super().__init__(
            queue_id,
            name,
            type_name,
            durable,
            owner,
            auto_delete,
            arguments,
            dispatcher,
            journal,
            clock,
            dead_letters,
            expiry,
            max_priority,
        )
        self._ring = ConsumerRing(single_active)
        self.single_active: bool = single_active
        self._lanes: LaneStore | None = None
        self._group_header: str | None = None
        self._fair_header: str | None = None
        self._outdated: bool = False

    def lanes(self) -> LaneStore | None:
        """Give the lanes; None if the queue has none."""
        return self._lanes

    def hand_over(self, consumer: Consumer, message: Message, position: i64, returns: i64) -> None:
        """Deliver a message that was taken out."""
        raise NotImplementedError

    def apply_options(self, options: QueueOptions) -> None:
        """Go by other options from now on."""
        super().apply_options(options)
        # One consumer at a time gets everything in order, whatever the key.
        group = None if self.single_active else options.group_header
        fair = options.fair_header
        if group != self._group_header or fair != self._fair_header:
            self._group_header = group
            self._fair_header = fair
            self._rearrange()
        if self._lanes is not None:
            self._judge()

    def _rearrange(self) -> None:
        """The headers that lanes go by are other ones."""
        self._flatten()
        self._outdated = self._lanes is not None
        if self._lanes is None and (self._asks_for_lanes() or self._filtered()):
            self._divide()

    def _filtered(self) -> bool:
        return any(FILTER in consumer.arguments for consumer in self._ring.members)

    def _asks_for_lanes(self) -> bool:
        return self._group_header is not None or self._fair_header is not None

    def _divide(self) -> None:
        """Put the queue's messages into lanes."""
        group = None if self._group_header is None else HeaderKey(self._group_header)
        fair = None if self._fair_header is None else HeaderKey(self._fair_header)
        lanes = LaneStore(self, self._residency, self._store, group, fair)
        self._lanes = lanes
        self._store = lanes
        for consumer in self._ring.members:
            lanes.join(consumer, self._filter_of(consumer))
        self._judge()
        if self._store.count > 0:
            self._dispatcher.schedule(self)

    def _judge(self) -> None:
        """Have rules, for messages are looked at: each deadline is noted, for no order is that of arrival."""
        rules = self._rules
        if rules is None:
            rules = self._have_rules()
            rules.apply(self.options, self.next_position, self._store.count == 0)
        rules.unchain()

    def _flatten(self) -> None:
        """Go on without lanes; those with fair share go on until their messages are gone."""
        lanes = self._lanes
        if lanes is not None and lanes.can_unwrap():
            self._store = lanes.unwrap(self._quorum)
            self._lanes = None
            # Consumers without credit that wanted none of it have to be found out.
            if self._store.count > 0:
                self._dispatcher.schedule(self)

    def _filter_of(self, consumer: Consumer) -> Filter | None:
        asked = consumer.arguments.get(FILTER)
        return None if asked is None else make_filter(asked)

    def check_consumer(self, no_ack: bool, limit: i64, arguments: Table) -> None:
        """Refuse a consumer whose filter cannot be read, or is one too many.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        asked = arguments.get(FILTER)
        if asked is None:
            return
        try:
            wanted = make_filter(asked)
        except BadFilter as problem:
            raise BrokerError(
                PRECONDITION_FAILED, f"invalid arg '{FILTER}' for queue '{self.name}': {problem}"
            ) from None
        if self._lanes is not None and self._lanes.full(wanted):
            raise BrokerError(
                PRECONDITION_FAILED,
                f"queue '{self.name}' has consumers with {MOST_FILTERS} different filters, and takes no more",
            )

    def joined(self, consumer: Consumer) -> None:
        """A consumer was added to the ring."""
        lanes = self._lanes
        if lanes is not None:
            lanes.join(consumer, self._filter_of(consumer))
        elif FILTER in consumer.arguments:
            self._divide()

    def parted(self, consumer: Consumer) -> None:
        """A consumer was taken out of the ring."""
        lanes = self._lanes
        if lanes is not None:
            lanes.part(consumer)
            if not self._asks_for_lanes() and not self._filtered():
                self._flatten()

    def _tell_priorities_apart(self) -> None:
        """The first message with a priority came."""
        lanes = self._lanes
        if lanes is None:
            super()._tell_priorities_apart()
            return
        lanes.tell_apart(self.highest_level, self.absent_level)
        self.ordered = False

    def dispatch_lanes(self, lanes: LaneStore, budget: i64) -> bool:
        """Deliver up to ``budget`` messages, each to a consumer who may have it."""
        ring = self._ring
        lanes.begin()
        while lanes.count > 0:
            if budget <= 0:
                return ring.can_deliver()
            consumer = lanes.match(ring)
            if consumer is None:
                if ring.lacking_since == 0:
                    ring.lacks(self._clock.now)
                break
            budget -= 1
            if self._over(lanes):
                self._give_up(lanes.serve(None, False), lanes.position, EXPIRED)
                continue
            message = lanes.serve(consumer, not consumer.no_ack)
            self.hand_over(consumer, message, lanes.position, lanes.returns)
        if lanes.count == 0 and self._outdated:
            self._rearrange()
            return False
        lanes.read_ahead()
        return lanes.unfinished

    def _over(self, lanes: LaneStore) -> bool:
        rules = self._rules
        return (
            rules is not None
            and rules.timed
            and rules.deadline(lanes.matched(), lanes.matched_position()) <= self._clock.wall
        )

    def take_free(self, lanes: LaneStore, held: bool) -> Entry | None:
        """Take the first message that is nobody's for ``basic.get``; ``held`` if it will be answered."""
        while lanes.count > 0 and lanes.free():
            if self._over(lanes):
                self._give_up(lanes.serve(None, False), lanes.position, EXPIRED)
                continue
            message = lanes.serve(None, held)
            return (int(lanes.position), message, int(lanes.returns))
        return None

    def release(self, lanes: LaneStore, position: i64) -> None:
        """A message was answered: others of its key may go on."""
        if lanes.release(position):
            self._dispatcher.schedule(self)

    def _give_up(self, message: Message, position: i64, reason: str) -> None:
        if self._lanes is not None:
            self.release(self._lanes, position)
        super()._give_up(message, position, reason)

    def _retry_later(self, entry: Entry, until: i64) -> None:
        super()._retry_later(entry, until)
        if self._lanes is not None:
            # Its key waits with it: what came after it must not overtake it.
            self._lanes.detain(entry)

    def withdraw_waiting(self, position: int) -> Entry | None:
        """Take out what waits for its retry: its key waits no more."""
        entry = super().withdraw_waiting(position)
        if entry is not None and self._lanes is not None:
            self.release(self._lanes, position)
        return entry

    def _clear_waiting(self) -> list[tuple[int, int]]:
        found = super()._clear_waiting()
        if self._lanes is not None:
            for first, count in found:
                for position in range(first, first + count):
                    self._lanes.release(position)
        return found

    def lost(self, position: i64) -> None:
        """A message is gone because its record is damaged: its key waits no more."""
        super().lost(position)
        if self._lanes is not None:
            self.release(self._lanes, position)

    def restore_waiting(self, rows: Iterable[tuple[int, int, int, int, int, int]]) -> None:
        """Take in what recovery found waiting for its retry: its keys wait, too, and have to be read."""
        super().restore_waiting(rows)
        lanes = self._lanes
        if lanes is None or self._group_header is None or self._retries is None:
            return
        position: i64 = 1
        while True:
            try:
                found = self._retries.browse_from(position, PAGE_MESSAGES)
            except PageUnreadable:
                # The disk fails, which ends the node.  Else what has a key that waits comes too early.
                return
            if not found:
                return
            for at, message, returns, _ in found:
                lanes.detain((at, message, returns))
                position = at + 1
