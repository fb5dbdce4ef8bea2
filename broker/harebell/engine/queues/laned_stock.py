"""A stock in lanes: what waits, by tenant and key; where lanes wait for consumers is in ``lanes.py``.

::

    backlog   (fair share only, and only what was there before a restart or before fair share was asked for)
      |
      v
    tenant's store   (in memory at both ends, the rest in pages on disk: a ``ReadyStore`` or levels of them)
      |
      v
    tenant's lanes   (in memory: by key, or by priority and by who wants the message)

Without fair share there is one tenant, whose store is the one the queue had.  If that has no levels of
priority, its messages are *straight*: looked at one by one as they come to the head, and given to a consumer
who may have them; only what cannot be delivered comes into lanes.  In other cases messages come into lanes
as they come near the head: at first some, and more while none of those can be delivered, up to a bound.
What is in a tenant's lanes came before what is in its store, but where levels of priority are told apart.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from mypy_extensions import i64

from harebell.content.header_keys import NO_KEY
from harebell.content.message import OVERHEAD, Message
from harebell.engine.queues.lane import NOWHERE, Lane, Tenant
from harebell.engine.queues.laned_contents import LOOK, LanedContents
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.stock import Entry, Stock
from harebell.paging import Page

MOST_MESSAGES: Final = 65_536
MOST_OCTETS: Final = 64 * 1024 * 1024
"""What may be in the lanes of one queue when none of it can be delivered; behind that nothing is seen."""

SHORT_MESSAGES: Final = 1024
SHORT_OCTETS: Final = 1024 * 1024
"""The same while memory is short."""

LOOK_OCTETS: Final = 1024 * 1024
"""Octets of each tenant that are in lanes at first."""

LOOK_FAIR: Final = 64
"""Messages of each tenant that are in lanes at first, if there are several."""

STEP: Final = 256
"""Messages that come into lanes at a time."""

MOST_TENANTS: Final = 4096
SWEPT_TENANTS: Final = 256
"""How often tenants become idle until those that are idle are forgotten."""

KEPT_IDLE: Final = 2048
"""Lanes of a tenant that may be kept though many of them are idle."""

SHARED_TURNS: Final = 1024
"""So many tenants have a turn each; those beyond share turns, of which there are so many."""


class LanedStock(LanedContents):
    """Ready messages in lanes, and those behind them."""

    # where lanes wait (see lanes.py)

    def enter(self, lane: Lane) -> None:
        """A lane has a first message, or another one: let it wait for consumers."""
        raise NotImplementedError

    def leave(self, lane: Lane) -> None:
        """A lane waits no longer."""
        raise NotImplementedError

    def wanted(self, message: Message) -> i64:
        """Give the bits of the consumers who want a message."""
        raise NotImplementedError

    # into lanes

    def tell_apart(self, highest: i64, absent: i64) -> None:
        """The first message with a priority came to a queue without levels."""
        behind = self.behind
        if isinstance(behind, ReadyStore):
            levels = PriorityStore(self._owner, self._residency, highest, absent, False)
            levels.adopt(behind, absent)
            self.behind = levels
            self._everyone.store = levels
            self._everyone.allowed = LOOK
            self._straight = False
            self._keep_in_place()

    def tenant_of(self, message: Message) -> Tenant:
        """Give the tenant of a message."""
        fair = self._fair
        if fair is None:
            return self._everyone
        key = fair.of(message.header)
        tenant = self.tenants.get(key)
        if tenant is None:
            if len(self.tenants) >= MOST_TENANTS and self._idle_tenants >= SWEPT_TENANTS:
                self._sweep_tenants()
            if len(self.tenants) >= MOST_TENANTS:
                key = b"*%d" % (hash(key) % SHARED_TURNS)
                tenant = self.tenants.get(key)
            if tenant is None:
                store = ReadyStore(self._owner, self._residency, False)
                tenant = self.tenants[key] = Tenant(key, store, LOOK_FAIR)
        return tenant

    def append(self, message: Message, position: i64) -> None:
        """Add a message behind all others of its kind."""
        self._tally(message, 1)
        if self._fair is not None and self.behind.count > 0:
            self.behind.append(message, position)
            return
        tenant = self.tenant_of(message)
        if (
            tenant.waiting < tenant.allowed
            and tenant.octets < LOOK_OCTETS
            and self._behind_none(tenant, message)
        ):
            self.add((position, message, 0), tenant)
        else:
            tenant.store.append(message, position)

    def _behind_none(self, tenant: Tenant, message: Message) -> bool:
        """Tell whether no message that has to go first is in a tenant's store."""
        store = tenant.store
        if store.count == 0:
            return True
        if self._group is not None or not isinstance(store, PriorityStore):
            return False
        return not store.holds(self.level_of(message.header))

    def skip(self, position: i64) -> None:
        """A message with this position is given up at once."""
        self.behind.skip(position)

    def put_back(self, message: Message, position: i64, returns: i64) -> None:
        """Take a message back to its place in its lane, or behind."""
        self._tally(message, 1)
        tenant = self.tenant_of(message)
        if position > tenant.frontier and tenant.store.count > 0:
            tenant.store.put_back(message, position, returns)
            return
        self.add((position, message, returns), tenant)
        if self.in_lanes > 2 * MOST_MESSAGES or self._lane_octets > 2 * MOST_OCTETS:
            self.spill(MOST_MESSAGES // 2)

    def add(self, entry: Entry, tenant: Tenant) -> None:
        """Put a message into its lane; it is counted among all already."""
        message = entry[1]
        key = NO_KEY if self._group is None else self._group.of(message.header)
        self.put(entry, tenant, key, self.wanted(message) if len(key) == 0 else 0)

    def put(self, entry: Entry, tenant: Tenant, key: bytes, wanted: i64) -> None:
        """Put a message into its lane.

        Args:
            key: the message's.
            wanted: bits of those who want it; not looked at if it has a key.
        """
        message = entry[1]
        position: i64 = entry[0]
        size: i64 = len(message.header) + len(message.body)
        tenant.waiting += 1
        tenant.octets += size
        if position > tenant.frontier:
            tenant.frontier = position
        self.in_lanes += 1
        self._lane_octets += size
        self._lane_bodies += len(message.body)
        self._pager.used += size + OVERHEAD
        lane: Lane | None
        if len(key) > 0:
            lane = tenant.groups.get(key)
            if lane is None:
                lane = tenant.groups[key] = self._lane(tenant, key, 0, 0)
        else:
            flow: i64 = (wanted << 8) + (self.level_of(message.header) if self._leveled else 0)
            lane = tenant.latest
            if lane is None or lane.flow != flow:
                lane = tenant.flows.get(flow)
                if lane is None:
                    lane = tenant.flows[flow] = self._lane(tenant, NO_KEY, flow, wanted)
                tenant.latest = lane
        empty = lane.empty()
        lane.add(entry)
        if empty:
            self._begin(lane, position)
        elif position < lane.position:
            self.leave(lane)
            self._begin(lane, position)

    def _lane(self, tenant: Tenant, key: bytes, flow: i64, wanted: i64) -> Lane:
        self._serial += 1
        return Lane(tenant, key, flow, wanted, self._serial)

    def _begin(self, lane: Lane, position: i64) -> None:
        """A lane's first message is another one."""
        lane.position = position
        ages = self._ages
        if ages is not None:
            heappush(ages, (position, lane.serial, lane))
            if len(ages) > 2 * self.in_lanes + 64:
                self._age()
        self.enter(lane)

    def fill(self, tenant: Tenant, most: i64) -> i64:
        """Bring messages of a tenant into lanes, as far as they are in memory; give how many."""
        store = tenant.store
        done: i64 = 0
        while done < most and store.count > 0 and store.warm():
            message = store.take()
            self.add((int(store.position), message, int(store.returns)), tenant)
            done += 1
        if tenant.waiting == 0 and store.count > 0:
            self.starved = True
        return done

    def sort(self, most: i64) -> i64:
        """Give messages of the backlog to their tenants, as far as they are in memory; give how many."""
        behind = self.behind
        done: i64 = 0
        while done < most and behind.count > 0 and behind.warm():
            message = behind.take()
            self._sorted((int(behind.position), message, int(behind.returns)))
            done += 1
        if done > 0:
            behind.read_ahead()
        return done

    def _sorted(self, entry: Entry) -> None:
        tenant = self.tenant_of(entry[1])
        if tenant.store.count == 0 and tenant.waiting < tenant.allowed:
            self.add(entry, tenant)
        elif entry[2] != 0:
            tenant.store.put_back(entry[1], entry[0], entry[2])
        else:
            tenant.store.append(entry[1], entry[0])

    def room(self) -> bool:
        """Tell whether more messages may come into lanes."""
        if self._pager.used > self._pager.budget:
            return self.in_lanes < SHORT_MESSAGES and self._lane_octets < SHORT_OCTETS
        return self.in_lanes < MOST_MESSAGES and self._lane_octets < MOST_OCTETS

    def spill(self, keep: i64) -> None:
        """Put back behind what came into lanes last, but for so many messages of each tenant."""
        for tenant in list(self.tenants.values()):
            if tenant.waiting > keep:
                entries: list[Entry] = []
                for lane in tenant.lanes():
                    entries.extend(lane.entries())
                entries.sort()
                self._empty_lanes(tenant)
                for position, message, returns in entries[keep:]:
                    tenant.store.put_back(message, position, returns)
                tenant.frontier = 0
                tenant.allowed = min(tenant.allowed, max(keep, LOOK_FAIR))
                for entry in entries[:keep]:
                    self.add(entry, tenant)

    def _empty_lanes(self, tenant: Tenant) -> None:
        """Take everything out of a tenant's lanes; it is counted among all still."""
        for lane in tenant.lanes():
            if not lane.empty():
                self.leave(lane)
                for entry in lane.entries():
                    self._uncount(tenant, entry[1])
                lane.keep([])
            self.dismiss(lane)

    # out of lanes

    def pop(self, lane: Lane) -> Message:
        """Take the first message of a lane that waits nowhere; sets ``position`` and ``returns``."""
        position, message, returns = lane.pop()
        self.position = position
        self.returns = returns
        self._uncount(lane.tenant, message)
        self._tally(message, -1)
        return message

    def _uncount(self, tenant: Tenant, message: Message) -> None:
        size: i64 = len(message.header) + len(message.body)
        tenant.waiting -= 1
        tenant.octets -= size
        self.in_lanes -= 1
        self._lane_octets -= size
        self._lane_bodies -= len(message.body)
        self._pager.used -= size + OVERHEAD

    def follow(self, lane: Lane) -> None:
        """After a message was taken: let the lane go on, or go; bring in more of its tenant's."""
        tenant = lane.tenant
        if lane.empty():
            self.dismiss(lane)
        else:
            self._begin(lane, lane.head()[0])
        allowed: i64 = tenant.allowed
        if tenant.store.count > 0 and allowed > 0 and 2 * tenant.waiting <= allowed and self.room():
            self.fill(tenant, min(STEP, allowed - tenant.waiting))

    def dismiss(self, lane: Lane) -> None:
        """A lane has no messages: it stays for the next ones of its key, but not very many do."""
        if lane.held > 0 or not lane.empty():
            return
        tenant = lane.tenant
        tenant.idle += 1
        lanes: i64 = len(tenant.groups) + len(tenant.flows)
        # So few keys come again and again without lanes being made anew for them all the time.
        if lanes > KEPT_IDLE and tenant.idle > lanes:
            tenant.idle = 0
            tenant.latest = None
            tenant.groups = {
                key: one for key, one in tenant.groups.items() if one.held > 0 or not one.empty()
            }
            tenant.flows = {flow: one for flow, one in tenant.flows.items() if not one.empty()}
        if tenant.waiting == 0:
            self._idle_tenants += 1

    def _sweep_tenants(self) -> None:
        """Forget tenants that have nothing."""
        self._idle_tenants = 0
        self.tenants = {key: tenant for key, tenant in self.tenants.items() if not tenant.unused()}

    def _age(self) -> None:
        """Sort the heads of all lanes by age."""
        ages: list[tuple[int, int, Lane]] = []
        for tenant in self.tenants.values():
            for lane in tenant.lanes():
                if not lane.empty():
                    ages.append((int(lane.position), int(lane.serial), lane))
        heapify(ages)
        self._ages = ages

    def _oldest_lane(self) -> Lane | None:
        """Give the lane with the oldest message of all lanes."""
        if self._ages is None:
            self._age()
        ages = self._ages
        while ages:
            position, _, lane = ages[0]
            if not lane.empty() and lane.position == position:
                return lane
            heappop(ages)
        return None

    def _nearest(self) -> Lane | None:
        """Give the lane with the oldest message, bringing one in if there is none in lanes."""
        if self.in_lanes == 0:
            self.bring_in()
        return self._oldest_lane()

    def bring_in(self) -> None:
        """Have something in lanes if there is anything in memory to bring in."""
        if self._fair is not None and self.behind.count > 0:
            self.sort(STEP)
        for tenant in list(self.tenants.values()):
            if tenant.waiting == 0 and tenant.store.count > 0:
                self.fill(tenant, min(STEP, tenant.allowed))

    def warm(self) -> bool:
        """Tell whether a message is in memory; if none is, some are being read from now on."""
        if self.in_lanes == 0 and self.count > 0:
            if self._straight:
                return self.behind.warm()
            self.bring_in()
        return self.in_lanes > 0

    def next_position(self) -> i64:
        """Give the position of the oldest message, which must be in memory."""
        if self._straight and self.in_lanes == 0:
            return self.behind.next_position()
        lane = self._nearest()
        return NOWHERE if lane is None else lane.position

    def oldest(self) -> Message | None:
        """Give the oldest message if it is in memory; if it is not, it is being read from now on."""
        if self._straight and self.in_lanes == 0:
            return self.behind.oldest() if self.behind.count > 0 else None
        lane = self._nearest()
        return None if lane is None else lane.head()[1]

    def take(self) -> Message:
        """Take the oldest message of all, which must be in memory."""
        if self._straight and self.in_lanes == 0:
            return self.take_straight()
        lane = self._nearest()
        assert lane is not None
        self.leave(lane)
        message = self.pop(lane)
        position, returns = self.position, self.returns
        self.follow(lane)
        self.position, self.returns = position, returns
        return message

    def take_straight(self) -> Message:
        """Take the oldest message behind the lanes; sets ``position`` and ``returns``."""
        behind = self.behind
        message = behind.take()
        self.position = behind.position
        self.returns = behind.returns
        self._tally(message, -1)
        return message

    def glance(self) -> Message | None:
        """Give the oldest message if it is in memory; of those that are sorted, if it is in lanes."""
        if self._straight and self.in_lanes == 0:
            return self.behind.glance() if self.behind.count > 0 else None
        lane = self._oldest_lane()
        return None if lane is None else lane.head()[1]

    def fronts(self) -> list[Stock]:
        """Give the store itself."""
        return [self]

    def front(self) -> Message | None:
        """Give the oldest message, if it is in memory."""
        return self.oldest()

    def front_position(self) -> i64:
        """Give its position."""
        return self.next_position()

    def take_front(self, part: Stock) -> Message:
        """Take the oldest message."""
        return self.take()

    def read_now(self) -> bool:
        """Have the oldest message in memory, waiting for the disk; False if it cannot be read."""
        if self.count == 0 or (self.in_lanes > 0 and (self._straight or not self.starved)):
            return True
        if self._straight:
            found = self.behind.read_now()
            self.refresh()
            return found
        if self.in_lanes == 0 and self._fair is not None and self.behind.count > 0:
            if not self.behind.read_now():
                return False
            self.sort(STEP)
        self.starved = False
        for tenant in list(self.tenants.values()):
            if tenant.waiting == 0 and tenant.store.count > 0:
                if not tenant.store.read_now():
                    self.starved = True
                    return False
                self.fill(tenant, min(STEP, tenant.allowed))
        self.refresh()
        return True

    def remove(self, wanted: list[int]) -> list[Entry]:
        """Take messages, by ascending position, from wherever they are."""
        found: list[Entry] = []
        positions = set(wanted)
        for tenant in list(self.tenants.values()):
            if tenant.waiting > 0:
                for lane in tenant.lanes():
                    self._remove_from(lane, positions, found)
            if tenant.store.count > 0:
                found.extend(tenant.store.remove(wanted))
        if self._fair is not None and self.behind.count > 0:
            found.extend(self.behind.remove(wanted))
        found.sort()
        self.refresh()
        return found

    def _remove_from(self, lane: Lane, positions: set[int], found: list[Entry]) -> None:
        gone = [entry for entry in lane.entries() if entry[0] in positions]
        if gone:
            self.leave(lane)
            lane.keep([entry for entry in lane.entries() if entry[0] not in positions])
            for entry in gone:
                self._uncount(lane.tenant, entry[1])
            found.extend(gone)
            self.follow(lane)

    # as a whole

    def read_ahead(self) -> None:
        """Ask for what consumers will need next."""
        if self.count == self.in_lanes:
            return
        if self._straight:
            self.behind.read_ahead()
            return
        for tenant in self.tenants.values():
            if tenant.waiting <= tenant.allowed // 2 and tenant.store.count > 0:
                tenant.store.read_ahead()

    def offer(self) -> None:
        """Memory is short: keep less in lanes, and have the rest listed for paging."""
        if self.in_lanes > 2 * SHORT_MESSAGES or self._lane_octets > 2 * SHORT_OCTETS:
            self.spill(SHORT_MESSAGES if self._fair is None else LOOK_FAIR // 2)
        for store in self.stores():
            store.offer()

    def clear(self) -> list[Page]:
        """Forget everything that is ready and give the pages there were."""
        return self._forget(False)

    def close(self) -> list[Page]:
        """Forget everything for good, the queue too; give the pages there were."""
        return self._forget(True)

    def _forget(self, for_good: bool) -> list[Page]:
        pages: list[Page] = []
        for store in self.stores():
            pages.extend(store.close() if for_good else store.clear())
        for tenant in list(self.tenants.values()):
            self._empty_lanes(tenant)
        if self._fair is not None:
            self._sweep_tenants()
        self._ages = None
        self.refresh()
        return pages
