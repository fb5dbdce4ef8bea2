"""What happens to messages as they lie in a queue: limits, deadlines, retries, purges, recovery.

Limits, deadlines and returns are judged by ``rules.py``; a plain queue has no rules and never looks at them.
What the queue gives up goes to its dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.dead_letter import EXPIRED, MAXLEN
from harebell.engine.deadlines import NEVER
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.options import DISABLED, REJECT_PUBLISH_DLX, QueueOptions
from harebell.engine.queues.id_window import IdWindow
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.queue import DeadLetterSink
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.retries import Retries
from harebell.engine.queues.rules import Rules, asks_for_rules
from harebell.engine.queues.stock import Entry
from harebell.engine.queues.stocked import StockedQueue
from harebell.engine.queues.timed import claim_of
from harebell.paging import Page
from harebell.ports import Clock, Journal

AGAIN: Final = 100
"""Milliseconds until something is tried again that the disk would not let happen."""

UPKEEP: Final = 1000
"""Messages that expiry or a lowered limit takes out in one go, or that are put back after their wait."""

UPKEEP_OCTETS: Final = 1024 * 1024
"""Octets of messages that are put back in one go."""

SOON: Final = 20
"""Milliseconds until consumers are expected to have made room for what waited long enough."""


class LimitedQueue(StockedQueue):
    """Base of queues that judge the messages they hold.

    Args:
        dispatcher: told when there may be something to deliver.
        journal: told when a persistent message leaves or comes back.
        clock: the engine's time.
        dead_letters: takes what the queue gives up.
        expiry: told when the queue wants to look at deadlines.
        max_priority: the highest priority a classic queue tells apart; -1 for none.

    Attributes:
        counts_every_return: True if all that comes back counts, as in RabbitMQ up to 4.2; False if only what
            failed does, as in 4.3.
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
    ) -> None:
        super().__init__(
            queue_id, name, type_name, durable, owner, auto_delete, arguments, dispatcher, max_priority
        )
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = clock
        self._dead_letters = dead_letters
        self.dead_letters = dead_letters
        self._expiry = expiry
        self.counts_returns = self._quorum
        self.counts_every_return: bool = True
        self._rules: Rules | None = None
        if self._quorum:
            self._have_rules().apply(self.options, 1, True)

    def refuses(self, message: Message) -> bool:
        """Tell whether a length limit makes the queue refuse a message published now."""
        rules = self._rules
        return rules is not None and rules.refuses(self._store.count, self._store.bodies, len(message.body))

    def refuse(self, message: Message) -> None:
        """Dead-letter a refused message if the queue does that; it was published to it, all the same."""
        self.published += 1
        self.refused += 1
        if self.options.overflow == REJECT_PUBLISH_DLX:
            self.count_death(MAXLEN)
            self._dead_letters.dead(self, message, 0, MAXLEN)

    def _tell_priorities_apart(self) -> None:
        """The first message with a priority came: what is here has the one in the middle."""
        store = self._store
        if isinstance(store, ReadyStore):
            levels = PriorityStore(self, self._residency, self.highest_level, self.absent_level, self._quorum)
            levels.adopt(store, self.absent_level)
            self._store = levels
            self.ordered = False
            if self._rules is not None:
                self._rules.unchain()

    def _give_up(self, message: Message, position: i64, reason: str) -> None:
        self.count_death(reason)
        self._dead_letters.dead(self, message, position, reason)

    def _enforce_limits(self) -> None:
        """Drop heads while there are too many messages; if there are very many, go on soon."""
        rules = self._rules
        store = self._store
        budget: i64 = UPKEEP
        while rules is not None and store.count > 0 and rules.over(store.count, store.bodies):
            if budget <= 0:
                self._expiry.wake(self, self._clock.wall)
                return
            budget -= 1
            if not store.read_now():
                self._expiry.wake(self, self._clock.wall + AGAIN)
                return
            if store.count > 0:
                message = store.take()
                self._give_up(message, store.position, MAXLEN)

    def apply_options(self, options: QueueOptions) -> None:
        """Go by other options from now on."""
        super().apply_options(options)
        empty = self._empty()
        self.counts_returns = (
            self._quorum or options.delayed_retry_type != DISABLED or options.delayed_retry_attempts >= 0
        )
        if asks_for_rules(options) or self._quorum:
            self._have_rules()
        elif empty:
            self.shed_rules()
        rules = self._rules
        if rules is not None:
            rules.apply(options, self.next_position, empty)
            self._enforce_limits()

    def _empty(self) -> bool:
        return self._store.count == 0 and self.unacked_count == 0 and self.delayed_count() == 0

    def shed_rules(self) -> None:
        """Do without rules if nothing asks for them, and nothing is here that they were for."""
        if self._quorum or self.view is not None or asks_for_rules(self.options) or not self._empty():
            return
        self._rules = None
        self.plain = self.ids is None

    def use_window(self, ids: IdWindow | None) -> None:
        """Leave out what is published again, as a window knows it; None: take everything."""
        self.ids = ids
        self.plain = ids is None and self._rules is None

    def expect_deadlines(self) -> None:
        """A message with an expiration is going to come."""
        if self._rules is None:
            self._have_rules().apply(self.options, self.next_position, True)

    def _have_rules(self) -> Rules:
        rules = self._rules
        if rules is None:
            rules = self._rules = Rules(self.ordered, self._store.count == 0)
            self.plain = False
        return rules

    def expire_messages(self) -> i64:
        """Give up messages whose time is over, and return when to look again."""
        retry: i64 = NEVER
        # What waits goes on waiting without rules, too: a policy that went before a restart leaves it.
        if self._retries is not None:
            retry = self._retry(self._retries)
        rules = self._rules
        if rules is None:
            return retry
        store = self._store
        now: i64 = self._clock.wall
        budget: i64 = UPKEEP
        due = rules.deadlines.due(now, budget)
        if due:
            due.sort()
            for position, message, _ in store.remove(due):
                self._give_up(message, position, EXPIRED)
        front = self._expire_fronts(rules, now, budget) if rules.timed and rules.has_chain else NEVER
        self._enforce_limits()
        return min(front, rules.deadlines.next(), retry)

    def _expire_fronts(self, rules: Rules, now: i64, budget: i64) -> i64:
        """Give up the oldest messages if their time is over, and return when that of the next one is.

        Deadlines in the chain grow in order of arrival, so within a priority too.  What came back may have
        any deadline, and is in the index.
        """
        nearest: i64 = NEVER
        store = self._store
        for part in store.fronts():
            message = part.front()
            while message is not None:
                deadline = rules.deadline(message, part.front_position())
                if deadline > now:
                    nearest = min(nearest, deadline)
                    break
                if budget <= 0:
                    return now
                budget -= 1
                message = store.take_front(part)
                self._give_up(message, store.position, EXPIRED)
                message = part.front()
        # Where very many came back, some of the oldest that did not lie among them.
        while budget > 0 and self._head_deadline(rules) <= now:
            budget -= 1
            message = store.take()
            self._give_up(message, store.position, EXPIRED)
        return min(nearest, self._head_deadline(rules))

    def _head_deadline(self, rules: Rules) -> i64:
        """Give the deadline of the next message; ``NEVER`` also while it is on disk."""
        message = self._store.oldest()
        if message is None:
            return NEVER
        return rules.deadline(message, self._store.next_position())

    def _drop_expired_heads(self) -> None:
        """Give up messages at the head whose time is over: nobody shall get them."""
        rules = self._rules
        store = self._store
        while rules is not None and rules.timed and store.count > 0:
            if self._head_deadline(rules) > self._clock.wall:
                return
            message = store.take()
            self._give_up(message, store.position, EXPIRED)

    def settle_dead(self, message: Message, position: i64) -> None:
        """The journal is to forget a message that was given up."""
        if message.persistent and self.durable:
            if self.deleted:
                self._journal.forget(self.id, position, message)
            else:
                self._journal.settle(self.id, position, message)

    def _have_retries(self) -> Retries:
        retries = self._retries
        if retries is None:
            retries = self._retries = Retries(self, self._pager, self._journal, self.durable)
        return retries

    def _retry_later(self, entry: Entry, until: i64) -> None:
        retries = self._have_retries()
        retries.hold(entry, until, self._clock.wall)
        self._expiry.wake(self, retries.next())

    def _retry(self, retries: Retries) -> i64:
        """Put back messages that waited long enough, and return when to look again."""
        now: i64 = self._clock.wall
        if self._pager.used > self._pager.budget and self._store.returned_count() >= UPKEEP:
            # Memory is short, and what came back before is not taken yet: on disk it costs nothing.
            return max(retries.next(), now + SOON)
        found = retries.take_due(now, UPKEEP, UPKEEP_OCTETS)
        found.sort()
        for entry in found:
            self._waited(entry)
        if self._store.count > 0:
            self._dispatcher.schedule(self)
        return retries.next()

    def _waited(self, entry: Entry) -> None:
        position, message, returns = entry
        self._store.put_back(message, position, returns)
        if self._rules is not None:
            deadline = self._rules.deadline(message, position)
            if deadline != NEVER:
                self._rules.deadlines.add(deadline, position)
        if self.view is not None:
            self.view.grown(position)

    def withdraw_waiting(self, position: int) -> Entry | None:
        """Take out what waits for its retry, for who settles it; None if none waits at this position."""
        return None if self._retries is None else self._retries.withdraw(position)

    def wait_again(self, entry: Entry, until: int) -> None:
        """Put back what was taken out while it waited for its retry, to wait as before."""
        self._retry_later(entry, until)

    def retry_now(self, position: i64) -> bool:
        """End the wait of a message that came back; False if none waits at this position."""
        entry = None if self._retries is None else self._retries.withdraw(position)
        if entry is None:
            return False
        if entry[1].persistent and self.durable:
            self._journal.hold(self.id, position, self._clock.wall)
        self._waited(entry)
        if self._rules is not None and self._rules.deadlines.count > 0:
            self._expiry.wake(self, self._rules.deadlines.next())
        self._dispatcher.schedule(self)
        return True

    def purge(self) -> i64:
        """Remove every ready message, settling the durable ones, and return how many there were."""
        store = self._store
        count: i64 = store.count + self.delayed_count()
        if self.durable:
            for position, message, _ in store.in_memory():
                if message.persistent:
                    self._journal.settle(self.id, position, message)
        for page in store.clear():
            self._pager.settle(self.id, page, self.durable)
        for first, neighbours in self._clear_waiting():
            if self.durable:
                self._journal.settle_run(self.id, first, neighbours)
        if self._rules is not None:
            self._rules.deadlines.clear()
        return count

    def _clear_waiting(self) -> list[tuple[int, int]]:
        """Forget what waits for its retry, with its claims on the disk.

        Returns:
            First position and count of neighbours, ascending.
        """
        return [] if self._retries is None else self._retries.clear_runs()

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
        self._clear_waiting()
        if self._rules is not None:
            self._rules.deadlines.clear()
        if self._rules is not None or self._retries is not None:
            self._expiry.forget(self)

    def restore(self, levels: dict[int, list[Page]], next_position: i64) -> None:
        """Take in what recovery found: pages by priority, oldest first."""
        self.next_position = next_position
        if self._quorum and any(level != self.absent_level for level in levels):
            self._tell_priorities_apart()
        for level, pages in levels.items():
            self._store.restore(pages, level)
        if self._rules is not None and self._store.count > 0:
            self._rules.restored_all()
            # What is given up may go to queues that are not restored yet: so it happens soon, not now.
            self._expiry.wake(self, 0)

    def restore_waiting(self, rows: Iterable[tuple[int, int, int, int, int, int]]) -> None:
        """Take in what recovery found waiting for its retry; nothing of it is read."""
        retries: Retries | None = None
        for position, location, segment, share, until, returns in rows:
            if retries is None:
                retries = self._have_retries()
                retries.begin(self._clock.wall)
            retries.add_stored(position, location, claim_of(segment, share), until, returns)
        if retries is not None:
            self._expiry.wake(self, retries.next())

    def restore_deadline(self, arrived: i64, expiration: i64, position: i64) -> None:
        """Note the deadline of a message that recovery found; in order of position, before ``restore``."""
        self._have_rules().restored(arrived, expiration, position)

    def lost(self, position: i64) -> None:
        """A message is gone because its record is damaged; the journal shall not count on it."""
        if self.durable:
            self._journal.settle_run(self.id, position, 1)
