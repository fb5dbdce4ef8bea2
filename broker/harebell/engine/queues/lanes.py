"""Which message goes to which consumer, where that depends on the message: groups, fair share, filters.

Lanes and pools are explained in ``lane.py``, where messages lie in ``laned_stock.py``.  The order among lanes
that can be served: by the priority of their first messages, then, with fair share, by the round of the
tenant's next turn, then by position.

Fair share.  Each message a tenant has in front takes one turn; a turn's round is one after the tenant's last,
or the round that is being served if the tenant had nothing for a while, so nobody saves turns.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.header_keys import NO_KEY, HeaderKey, shown_key
from harebell.content.message import Message
from harebell.content.properties import Properties, parse_properties
from harebell.engine.consumers import Consumer, ConsumerRing
from harebell.engine.filters import Filter
from harebell.engine.queues.lane import NOWHERE, Agenda, Lane, Pool, Tenant
from harebell.engine.queues.laned_contents import LOOK
from harebell.engine.queues.laned_stock import STEP, LanedStock
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.residency import Residency
from harebell.engine.queues.stock import Entry, Stock
from harebell.errors import MalformedContent

EVERYONE: Final = 1
"""The bit of all consumers without a filter."""

MOST_FILTERS: Final = 32
"""Different filters the consumers of a queue may have at a time."""

MOST_POOLS: Final = 256
"""Combinations of filters told apart; a message that makes one more waits for one of its filters only."""

MOST_STEPS: Final = 4096
"""Messages brought into lanes in one turn."""

HIGHEST: Final = 255
TURN_BITS: Final = 50


class LaneStore(LanedStock):
    """A stock in lanes, with the consumers it is for.

    Attributes:
        filters: by bit, those in use; the first is that of consumers without one.
        unfinished: True if there was more to bring into lanes than one turn may take.
    """

    def __init__(
        self,
        owner: Queue,
        residency: Residency,
        behind: Stock,
        group: HeaderKey | None,
        fair: HeaderKey | None,
    ) -> None:
        self.filters: list[Filter | None] = [None]
        self._users: list[int] = [0]
        self._pools: dict[int, Pool] = {}
        self._seats: dict[Consumer, Pool] = {}
        self._agenda = Agenda()
        self._held: dict[int, Lane] = {}
        self._round: i64 = 0
        # What was found to be next: the first of a lane, or a message that was taken from the store already.
        self._matched: Lane | None = None
        self._passing: Message | None = None
        self._steps: i64 = 0
        self.unfinished: bool = False
        super().__init__(owner, residency, behind, group, fair)

    # consumers

    def join(self, consumer: Consumer, wanted: Filter | None) -> None:
        """A consumer subscribed.

        Args:
            wanted: its filter.
        """
        bit: i64 = 0
        if wanted is not None:
            bit = self._bit(wanted)
        consumer.wants = 1 << bit
        self._users[bit] += 1
        self._seats[consumer] = Pool(0, consumer)
        self.awake(consumer)

    def _bit(self, wanted: Filter) -> i64:
        for index, known in enumerate(self.filters):
            if known is not None and known.source == wanted.source:
                return index
        bit: i64 = 1
        while bit < len(self.filters) and self._users[bit] > 0:
            bit += 1
        if bit < len(self.filters):
            self.filters[bit] = wanted
        else:
            self.filters.append(wanted)
            self._users.append(0)
        self._sort_anew()
        return bit

    def full(self, wanted: Filter) -> bool:
        """Tell whether there are too many different filters for one more."""
        used: i64 = 0
        for index, known in enumerate(self.filters):
            if index > 0 and self._users[index] > 0:
                if known is not None and known.source == wanted.source:
                    return False
                used += 1
        return used >= MOST_FILTERS

    def part(self, consumer: Consumer) -> None:
        """A consumer went; its keys are free once the messages it has are answered or came back."""
        seat = self._seats.pop(consumer, None)
        if seat is None:
            return
        bit: i64 = 0
        while 1 << bit != consumer.wants:
            bit += 1
        self._users[bit] -= 1
        for lane in seat.lanes():
            seat.drop(lane)
        seat.dry = True
        self._agenda.note(seat)

    def awake(self, consumer: Consumer) -> None:
        """A consumer can take messages again."""
        seat = self._seats.get(consumer)
        if seat is not None:
            seat.dry = False
            self._agenda.note(seat)
        for pool in self._pools.values():
            if pool.dry and pool.wanted & consumer.wants != 0:
                pool.dry = False
                self._agenda.note(pool)

    def wanted(self, message: Message) -> i64:
        """Give the bits of the consumers who want a message."""
        filters = self.filters
        if len(filters) == 1:
            return EVERYONE
        properties: Properties | None = None
        try:
            properties = parse_properties(message.header)
        except MalformedContent:
            return EVERYONE
        found: i64 = EVERYONE
        for index, known in enumerate(filters):
            if known is not None and known.matches(properties):
                found |= 1 << i64(index)
        if len(self._pools) >= MOST_POOLS and int(found) not in self._pools and found != EVERYONE:
            others: i64 = found - EVERYONE
            found = EVERYONE | (others & -others)
        return found

    def _sort_anew(self) -> None:
        """Filters changed: put everything in lanes where it belongs now."""
        for tenant in list(self.tenants.values()):
            entries: list[Entry] = []
            for lane in tenant.lanes():
                entries.extend(lane.entries())
            self._empty_lanes(tenant)
            entries.sort()
            for entry in entries:
                self.add(entry, tenant)
        for key, pool in list(self._pools.items()):
            if len(pool) == 0:
                pool.dry = True
                del self._pools[key]

    # where lanes wait

    def enter(self, lane: Lane) -> None:
        """Let a lane with messages wait for the consumers who may have its first one."""
        pool: Pool | None
        message: Message | None = None
        if lane.group:
            message = lane.head()[1]
            if len(self.filters) > 1:
                lane.wanted = self.wanted(message)
            else:
                lane.wanted = EVERYONE
        if lane.held > 0:
            owner = lane.owner
            if owner is None or owner.wants & lane.wanted == 0:
                return
            pool = self._seats.get(owner)
            if pool is None:
                return
        else:
            pool = self._pools.get(lane.wanted)
            if pool is None:
                pool = self._pools[lane.wanted] = Pool(lane.wanted, None)
        if self._leveled or self._fair is not None:
            lane.rank = self._rank(lane, message)
        if pool.add(lane) and not pool.dry:
            self._agenda.note(pool)

    def _rank(self, lane: Lane, message: Message | None) -> i64:
        """Give a lane's rank among others: by priority, then by turn."""
        rank: i64 = 0
        if self._fair is not None:
            if lane.turn < 0:
                tenant = lane.tenant
                lane.turn = max(self._round, tenant.finish)
                tenant.finish = lane.turn + 1
            rank = lane.turn
        if self._leveled:
            level: i64 = lane.flow & 0xFF
            if message is not None:
                level = self.level_of(message.header)
            rank += (HIGHEST - level) << TURN_BITS
        return rank

    def leave(self, lane: Lane) -> None:
        """A lane waits no longer."""
        pool = lane.pool
        if pool is not None:
            pool.drop(lane)
            if pool.index >= 0:
                self._agenda.note(pool)

    # serving

    def begin(self) -> None:
        """A turn begins: give messages of the backlog to their tenants, many but not all at once."""
        self._steps = MOST_STEPS
        self.unfinished = False
        if self._fair is not None and self.behind.count > 0:
            self._steps -= self.sort(MOST_STEPS)
            self.unfinished = self._steps <= 0

    def direct(self, message: Message, position: i64, ring: ConsumerRing) -> Consumer | None:
        """A message came while none waits: give the consumer who may have it at once, and note its key."""
        wanted: i64 = EVERYONE if len(self.filters) == 1 else self.wanted(message)
        key = NO_KEY if self._group is None else self._group.of(message.header)
        tenant = self._everyone if self._fair is None or len(key) == 0 else self.tenant_of(message)
        return self._taker(tenant, key, wanted, position, ring)

    def _taker(
        self, tenant: Tenant, key: bytes, wanted: i64, position: i64, ring: ConsumerRing
    ) -> Consumer | None:
        """Give the consumer who may have a message that nothing waits before but what lanes hold.

        Its key is noted as taken, unless nobody may have it: then the message has to wait in its lane.
        """
        if len(key) == 0:
            return ring.next() if len(self.filters) == 1 else ring.next_of(wanted)
        lane = tenant.groups.get(key)
        consumer: Consumer | None
        if lane is not None and not lane.empty():
            return None
        if lane is not None and lane.held > 0:
            consumer = lane.owner
            if consumer is None or consumer.parked or consumer.cancelled or consumer.wants & wanted == 0:
                return None
            if not consumer.eligible():
                ring.park(consumer)
                return None
        else:
            consumer = ring.next() if len(self.filters) == 1 else ring.next_of(wanted)
            if consumer is None or consumer.no_ack:
                return consumer
            if lane is None:
                lane = tenant.groups[key] = self._lane(tenant, key, 0, 0)
            lane.owner = consumer
        lane.held += 1
        self._held[position] = lane
        return consumer

    def match(self, ring: ConsumerRing) -> Consumer | None:
        """Give the consumer who gets the next message, which ``matched`` and ``serve`` are about then."""
        agenda = self._agenda
        while True:
            pool = agenda.first()
            while pool is not None:
                consumer = self._consumer(ring, pool)
                if consumer is not None:
                    self._matched = pool.first()
                    return consumer
                pool.dry = True
                agenda.note(pool)
                pool = agenda.first()
            if self.count == self.in_lanes or not ring.can_deliver():
                return None
            if self._straight:
                return self._pass(ring)
            if not self._extend():
                return None

    def _pass(self, ring: ConsumerRing) -> Consumer | None:
        """Nothing in lanes can be delivered: look behind them; what cannot be delivered either joins them."""
        behind = self.behind
        tenant = self._everyone
        group = self._group
        while behind.count > 0 and behind.warm():
            if self.in_lanes > 0 and not self.room():
                return None
            message = self.take_straight()
            position: i64 = self.position
            wanted: i64 = EVERYONE if len(self.filters) == 1 else self.wanted(message)
            key = NO_KEY if group is None else group.of(message.header)
            consumer = self._taker(tenant, key, wanted, position, ring)
            if consumer is not None:
                self._passing = message
                return consumer
            self._tally(message, 1)
            if not ring.can_deliver():
                # Nobody takes anything: so it is as good as not looked at.
                behind.put_back(message, position, self.returns)
                return None
            self.put((int(position), message, int(self.returns)), tenant, key, wanted)
            self._steps -= 1
            if self._steps <= 0:
                self.unfinished = True
                return None
        return None

    def _consumer(self, ring: ConsumerRing, pool: Pool) -> Consumer | None:
        consumer = pool.consumer
        if consumer is None:
            return ring.next() if len(self.filters) == 1 else ring.next_of(pool.wanted)
        if not consumer.parked and not consumer.cancelled:
            if consumer.eligible():
                return consumer
            ring.park(consumer)
        return None

    def _extend(self) -> bool:
        """Nothing in lanes can be delivered: bring in more; False if there is no more, or not now."""
        if self._fair is not None and self.behind.count > 0:
            return self._advance(self.sort(STEP))
        for tenant in list(self.tenants.values()):
            if tenant.store.count == 0:
                continue
            if not self.room():
                return False
            if not self._straight and tenant.allowed < tenant.waiting + STEP:
                tenant.allowed = tenant.waiting + STEP
            done = self.fill(tenant, STEP)
            if done > 0:
                return self._advance(done)
        return False

    def _advance(self, done: i64) -> bool:
        self._steps -= done
        if self._steps <= 0 and done > 0:
            self.unfinished = True
            return False
        return done > 0

    def matched(self) -> Message:
        """Give the message that ``match`` found."""
        if self._passing is not None:
            return self._passing
        lane = self._matched
        assert lane is not None
        return lane.head()[1]

    def matched_position(self) -> i64:
        """Give its position."""
        if self._passing is not None:
            return self.position
        lane = self._matched
        assert lane is not None
        return lane.position

    def serve(self, consumer: Consumer | None, held: bool) -> Message:
        """Take that message; sets ``position`` and ``returns``.

        The key of what came straight from the store was noted as it was found.

        Args:
            consumer: who gets it; None for nobody, or a client that asked for one message.
            held: whether its key is kept for them until it is answered.
        """
        passing = self._passing
        if passing is not None:
            self._passing = None
            return passing
        lane = self._matched
        assert lane is not None
        self._matched = None
        pool = lane.pool
        assert pool is not None
        pool.drop(lane)
        if self._fair is not None:
            if lane.turn > self._round:
                self._round = lane.turn
            lane.turn = NOWHERE
        message = self.pop(lane)
        position: i64 = self.position
        returns: i64 = self.returns
        if held and lane.group:
            self._held[position] = lane
            lane.held += 1
            lane.owner = consumer
        self.follow(lane)
        self._agenda.note(pool)
        self.position = position
        self.returns = returns
        return message

    def free(self) -> bool:
        """Look for the first message that is for anybody; ``matched`` and ``serve`` are about it then."""
        while True:
            best: Lane | None = None
            for pool in self._pools.values():
                lane = pool.first()
                if lane is not None and (
                    best is None or (lane.rank, lane.position) < (best.rank, best.position)
                ):
                    best = lane
            if best is not None:
                self._matched = best
                return True
            if not self._more_now():
                return False

    def _more_now(self) -> bool:
        """Bring in more, waiting for the disk."""
        for store in self.stores():
            if store.count > 0 and not store.read_now():
                return False
        self.refresh()
        self._steps = MOST_STEPS
        return self._extend()

    # what was taken

    def release(self, position: i64) -> bool:
        """A message was answered or comes back; True if others of its key may go to somebody else now."""
        # Queues without groups come here for each message, too.
        if not self._held:
            return False
        lane = self._held.pop(position, None)
        if lane is None:
            return False
        lane.held -= 1
        if lane.held > 0:
            return False
        lane.owner = None
        if lane.empty():
            self.dismiss(lane)
            return False
        self.leave(lane)
        self.enter(lane)
        return True

    def put_back(self, message: Message, position: i64, returns: i64) -> None:
        """Take a message back to its place; its key is free if that was the last one somebody had of it."""
        super().put_back(message, position, returns)
        if self._held:
            self.release(position)

    def detain(self, entry: Entry) -> None:
        """A message waits for its retry: its key waits with it, whoever had it."""
        lane = self._held.get(entry[0])
        if lane is None:
            key = NO_KEY if self._group is None else self._group.of(entry[1].header)
            if len(key) == 0:
                return
            tenant = self.tenant_of(entry[1])
            lane = tenant.groups.get(key)
            if lane is None:
                lane = tenant.groups[key] = self._lane(tenant, key, 0, 0)
            self._held[entry[0]] = lane
            lane.held += 1
        lane.owner = None
        if not lane.empty():
            self.leave(lane)

    # the end

    def can_unwrap(self) -> bool:
        """Tell whether all can go back to the store that was there before."""
        return self._fair is None or (self.count == self.behind.count)

    def unwrap(self, by_return: bool) -> Stock:
        """Put all back into that store, which goes on alone."""
        self.spill(0)
        behind = self.behind
        if isinstance(behind, PriorityStore):
            behind.order_again(by_return)
        elif isinstance(behind, ReadyStore):
            behind.by_return = by_return
        return behind

    # for people

    def open_to_all(self) -> bool:
        """Tell whether any consumer may have any message now: no key is held, and none has a filter."""
        return not self._held and len(self.filters) == 1

    def locked(self) -> int:
        """Give how many keys somebody has."""
        return len(set(self._held.values()))

    def _look(self) -> None:
        """Have in lanes what is near the head, for nothing else tells keys apart."""
        if self._straight and self._group is not None and self.in_lanes < LOOK and self.room():
            self.fill(self._everyone, LOOK - self.in_lanes)

    def group_count(self) -> int:
        """Give how many keys have messages near the head, or with somebody."""
        self._look()
        found: i64 = 0
        for tenant in self.tenants.values():
            for lane in tenant.groups.values():
                if lane.held > 0 or not lane.empty():
                    found += 1
        return int(found)

    def tenant_count(self) -> int:
        """Give how many tenants have messages."""
        found: i64 = 0
        for tenant in self.tenants.values():
            if tenant.waiting > 0 or tenant.store.count > 0:
                found += 1
        return int(found)

    def groups(self, most: int) -> list[tuple[str, str, str | None, int, int]]:
        """List groups: tenant, key, tag of the consumer that has it, messages in lanes, messages held."""
        self._look()
        found: list[tuple[str, str, str | None, int, int]] = []
        for tenant in self.tenants.values():
            for lane in tenant.groups.values():
                if len(found) >= most:
                    return found
                if lane.held == 0 and lane.empty():
                    continue
                owner = None if lane.owner is None else lane.owner.tag
                found.append((shown_key(tenant.key), shown_key(lane.key), owner, len(lane), int(lane.held)))
        return found
