"""The store of messages that wait for a time, against a plain list, over a real pager and journal."""

from __future__ import annotations

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from mypy_extensions import i64

from harebell.content.message import Message, address
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.timed import TimedStore
from harebell.engine.queues.timed_rows import TimedRows
from harebell.engine.time_index import ENTRY, FARTHEST, TimeIndex
from harebell.scratch import MemoryScratch
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import Rig, failing

START = 1_700_000_000_000
QUEUE = 7
DELAYS = st.one_of(st.integers(-5, 5), st.integers(0, 3000), st.integers(0, 100_000), st.integers(0, 1 << 36))


class Owner(Queue):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__(QUEUE, "x", "delayed", True, 0, False, {})
        self.woken = 0
        self.losses: list[int] = []

    def stocked(self) -> None:
        self.woken += 1

    def lost(self, position: i64) -> None:
        self.losses.append(int(position))


class TimedModel(RuleBasedStateMachine):
    """Messages come, are cancelled and become due while pages are written and read."""

    def __init__(self) -> None:
        super().__init__()
        self.spill = FakeDisk()
        self.rig = Rig(FakeDisk(), self.spill)
        self.owner = Owner()
        self.scratch = self.rig.pager.scratch
        self.store = TimedStore(self.owner, self.rig.pager, self.rig.journal, True)
        self.few_in_memory()
        self.now = START
        self.last = 0
        self.waiting: dict[int, tuple[int, bytes]] = {}

    def few_in_memory(self) -> None:
        """Have what goes to scratch when it is much go there at once."""
        self.store.rows = TimedRows(self.scratch, 8, 2)
        self.store._index = TimeIndex(self.store.rows, self.scratch, 3 * ENTRY, 1)

    def teardown(self) -> None:
        self.now += 1 << 40
        self.take_all()
        assert not self.waiting, "some never came"
        self.rig.commit()
        assert self.rig.segments.live_octets == 0, "claims on the journal are left"
        assert self.rig.pager.used == 0, "memory is counted that is not used"
        assert not self.owner.losses
        assert self.scratch.blocks == 0, "blocks of scratch are left"
        assert not self.rig.told.failed
        self.rig.stop()

    @initialize()
    def begin(self) -> None:
        self.store.begin(self.now)

    @rule(delay=DELAYS, count=st.integers(1, 40), persistent=st.booleans(), spread=st.integers(0, 2000))
    def add(self, delay: int, count: int, persistent: bool, spread: int) -> None:
        for number in range(count):
            self.last += 1
            due = self.now + delay + number * spread
            body = b"%d" % self.last
            message = Message(address("x", "k"), b"header", body, persistent)
            message.arrived = due
            if persistent:
                self.rig.journal.begin_message(message)
                self.rig.journal.enqueue(QUEUE, self.last)
                self.rig.journal.end_message()
            self.store.add(message, self.last, due, 0, self.now)
            self.waiting[self.last] = (due, body)

    @rule()
    def commit(self) -> None:
        self.rig.commit()

    @rule(keep=st.integers(0, 20))
    def page_out(self, keep: int) -> None:
        self.store.page_out(keep)

    @rule()
    def work(self) -> None:
        self.rig.work()

    @rule(refused=st.booleans())
    def refuse_scratch(self, refused: bool) -> None:
        """A disk that takes nothing leaves more in memory, that is all."""
        self.spill.before = failing("write_at", errno.ENOSPC) if refused else None

    @rule(
        step=st.one_of(
            st.integers(0, 50), st.integers(0, 5000), st.integers(0, 1 << 33), st.integers(-3000, 0)
        )
    )
    def pass_time(self, step: int) -> None:
        self.now += step

    @rule(most=st.integers(1, 30))
    def take_some(self, most: int) -> None:
        self.take(most)

    def take(self, most: int) -> int:
        found = self.store.take_due(self.now, most, 1 << 30)
        assert len(found) <= most
        for position, message, _ in found:
            due, body = self.waiting.pop(position)
            assert due <= self.now, f"message {position} came {due - self.now} ms early"
            assert message.body == body
            if message.persistent:
                self.rig.journal.settle(QUEUE, position, message)
        return len(found)

    @rule()
    def take_all(self) -> None:
        """Whatever is due comes if the disk is given its time, in the order of times."""
        self.rig.commit()
        for _ in range(10_000):
            self.rig.work()
            idle = self.take(1000) == 0 and self.store.next() > self.now
            if idle and not self.rig.pager._readings:
                break
        late = [position for position, (due, _) in self.waiting.items() if due <= self.now]
        assert not late, f"messages {late} are due and did not come"

    @rule(chance=st.randoms(use_true_random=False))
    def cancel(self, chance: object) -> None:
        if self.waiting:
            position = chance.choice(sorted(self.waiting))  # type: ignore[attr-defined]
            del self.waiting[position]
            assert self.store.remove(position)
            assert not self.store.remove(position)

    @rule(chance=st.randoms(use_true_random=False))
    def hasten(self, chance: object) -> None:
        if self.waiting:
            position = chance.choice(sorted(self.waiting))  # type: ignore[attr-defined]
            due, body = self.waiting[position]
            if due > self.now:
                self.waiting[position] = (self.now, body)
                assert self.store.hasten(position, self.now)

    @rule()
    def purge(self) -> None:
        assert self.store.clear() == sorted(self.waiting)
        self.waiting.clear()

    @rule()
    def look(self) -> None:
        self.rig.commit()
        positions = sorted(self.waiting)[:20]
        messages = self.store.read(positions)
        assert [message and message.body for message in messages] == [
            self.waiting[position][1] for position in positions
        ]
        future = sorted((due, at) for at, (due, _) in self.waiting.items() if due > self.now + (1 << 20))
        assert self.store.sorted((self.now + (1 << 20), 1 << 60), 1 << 30) == future

    @invariant()
    def counts(self) -> None:
        assert self.store.rows.count == len(self.waiting)


class InMemoryModel(TimedModel):
    """The same with scratch of a node that has no disk for it."""

    def few_in_memory(self) -> None:
        self.scratch = MemoryScratch()
        super().few_in_memory()


TimedModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTimedStore = TimedModel.TestCase
InMemoryModel.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestTimedStoreWithoutDisk = InMemoryModel.TestCase


def test_the_index_wakes_nobody_without_need() -> None:
    scratch = MemoryScratch()
    rows = TimedRows(scratch)
    index = TimeIndex(rows, scratch)
    index.open(START, 100)
    day = 86_400_000
    rows.put(1, 2, 0, START + day, 0)
    index.add(START + day, 1)
    now, looks = START, 0
    while index.fine.first > now:
        now = max(now + 1, int(index.next()))
        index.open(now, 100)
        looks += 1
        assert now <= START + day
    assert looks <= 8, "a message is moved from wheel to wheel a few times only"


def test_a_few_messages_need_no_scratch() -> None:
    rig = Rig(FakeDisk(), FakeDisk())
    store = TimedStore(Owner(), rig.pager, rig.journal, True)
    store.begin(START)
    for position in range(1, 3000):
        store.add_stored(position, position * 2, 0, START + position * 60_000, 0)
    assert rig.pager.scratch.blocks == 0
    store.clear()
    rig.stop()


def test_memory_does_not_grow_with_the_messages() -> None:
    scratch = MemoryScratch()
    rows = TimedRows(scratch)
    index = TimeIndex(rows, scratch)
    index.open(START, 100)
    for position in range(1, 100_000):
        due = START + position * 7919 % 600_000
        rows.put(position, position * 2, 5, due, 0)
        index.add(due, position)
    octets = scratch.blocks * 8184
    assert octets > 100_000 * 40, f"only {octets} octets of scratch are used"
    listed = index.sorted((0, 0), 500)
    assert listed == sorted((START + at * 7919 % 600_000, at) for at in range(1, 100_000))[:500]
    assert index.sorted(listed[99], 400) == listed[100:]
    assert rows.clear({}) == [(1, 99_999)]
    index.clear()
    assert scratch.blocks == 0


def test_what_was_hastened_is_listed_once_by_its_time() -> None:
    scratch = MemoryScratch()
    rows = TimedRows(scratch)
    index = TimeIndex(rows, scratch)
    index.open(START, 100)
    for position in (1, 2, 3):
        rows.put(position, position * 2, 5, START + 10**9 * position, 0)
        index.add(START + 10**9 * position, position)
    rows.put(3, 6, 5, START + 5, 0)
    index.add(START + 5, 3)
    index.add(START + 5, 3)
    assert index.sorted((0, 0), 2) == [(START + 5, 3), (START + 10**9, 1)]
    assert index.sorted((0, 0), 0) == []


def test_a_clock_that_is_set_back_by_days_holds_nothing_up() -> None:
    rig = Rig(FakeDisk(), FakeDisk())
    store = TimedStore(Owner(), rig.pager, rig.journal, False)
    ahead = START + 10 * 86_400_000
    store.begin(ahead)
    for position, due, now in (
        (1, ahead + 3_600_000, ahead),
        (2, START + 1000, START),
        (3, ahead - 5, START),
    ):
        store.add(Message(address("x", "k"), b"header", b"body", False), position, due, 0, now)
    assert store.take_due(START, 10, 1000) == []
    assert store._cursor <= START + FARTHEST, "it looks at each millisecond up to where the clock was"
    assert [entry[0] for entry in store.take_due(START + 1000, 10, 1000)] == [2]
    assert [entry[0] for entry in store.take_due(ahead + 3_600_000, 10, 1000)] == [3, 1]
    rig.stop()


def test_what_is_overdue_needs_no_slot_of_scratch_for_each_millisecond() -> None:
    rig = Rig(FakeDisk(), FakeDisk())
    store = TimedStore(Owner(), rig.pager, rig.journal, True)
    store.begin(START)
    for position in range(1, 20_000):
        store.add_stored(position, position * 2, 0, START - 20 * position, 0)
    before = rig.pager.scratch.blocks
    assert store.take_due(START, 1000, 1 << 20) == [], "they have to be read first"
    assert rig.pager.scratch.blocks <= before
    assert store._due_left < 3000, "the others stay where they are"
    store.clear()
    assert rig.pager.scratch.blocks == 0
    rig.stop()
