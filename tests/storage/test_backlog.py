"""What recovery knows of a queue: against a plain dict, and how much memory it takes."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from harebell.paging import FLAGGED, PAGE_MESSAGES, PAGE_OCTETS, RETURN, Page, journal_location
from harebell.storage import backlog as module
from harebell.storage import backlog_chunk as chunks
from harebell.storage.backlog import Backlog
from harebell.storage.backlog_chunk import Chunk


class Entry(NamedTuple):
    """What is known of one message."""

    location: int
    octets: int
    share: int
    arrived: int
    returned: int = 0
    priority: int = 0
    expiration: int = -1
    until: int = 0


def found(backlog: Backlog) -> dict[int, Entry]:
    """List what a backlog holds; in order of positions."""
    held: dict[int, Entry] = {}
    last = -1
    for chunk in backlog.chunks:
        for slot in range(chunk.count):
            if chunk.location(slot) >= 0:
                position = int(chunk.position(slot))
                assert position > last, f"position {position} is out of order"
                last = position
                held[position] = Entry(
                    int(chunk.location(slot)),
                    int(chunk.octets(slot)),
                    int(chunk.share(slot)),
                    int(chunk.arrived(slot)),
                    int(backlog.returned(chunk, slot)),
                    int(chunk.priority(slot)),
                    int(chunk.expiration(slot)),
                    int(chunk.held_until(slot)),
                )
    return held


def unpacked(page: Page) -> list[tuple[int, int, int]]:
    """List position, location and returns of a page."""
    return [(page.position(n), page.location(n), page.returned(n)) for n in range(page.count)]


POSITIONS = st.integers(1, 300)
WAITS_BEHIND = 50
"""What waits until a later time than this still waits at the start."""


class BacklogMachine(RuleBasedStateMachine):
    """A backlog in small steps, beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(1, [0, 100, 200])
        self.model: dict[int, Entry] = {}
        self.highest = 0
        self.flagged = -1
        self.location = 0

    def _entry(self, position: int) -> Entry:
        self.location += 1
        return Entry(self.location, position * 3, 100 + self.location, position + 7)

    def _enqueue(self, position: int) -> None:
        entry = self._entry(position)
        self.backlog.enqueue(position, entry.location, entry.octets, entry.share, entry.arrived)
        if position in self.model:
            entry = self.model[position]._replace(location=entry.location, share=entry.share)
        elif position <= self.flagged:
            entry = entry._replace(returned=FLAGGED)
        self.model[position] = entry
        self.highest = max(self.highest, position)

    @rule(count=st.integers(1, 40), step=st.integers(1, 3))
    def publish(self, count: int, step: int) -> None:
        for _ in range(count):
            self._enqueue(self.highest + step)

    @rule(positions=st.lists(POSITIONS, min_size=1, max_size=20))
    def copy_forward(self, positions: list[int]) -> None:
        for position in positions:
            self._enqueue(position)

    @rule(first=POSITIONS, count=st.integers(1, 20), step=st.integers(1, 3))
    def copy_neighbours_forward(self, first: int, count: int, step: int) -> None:
        for n in range(count):
            self._enqueue(first + n * step)

    @rule(first=POSITIONS, priority=st.integers(0, 255), expiration=st.integers(-1, 10**12))
    def describe(self, first: int, priority: int, expiration: int) -> None:
        self._enqueue(first)
        self.backlog.describe(first, priority, expiration)
        self.model[first] = self.model[first]._replace(priority=priority, expiration=expiration)

    @rule(first=POSITIONS, count=st.one_of(st.integers(0, 100), st.just(0xFFFFFFFF)))
    def settle(self, first: int, count: int) -> None:
        self.backlog.settle(first, count)
        self.model = {at: entry for at, entry in self.model.items() if not first <= at < first + count}
        if count == 0xFFFFFFFF:
            self.backlog.highest = self.highest
        else:
            self.highest = max(self.highest, first + count - 1)

    @rule(count=st.integers(1, 60))
    def settle_oldest(self, count: int) -> None:
        for position in sorted(self.model)[:count]:
            self.settle(position, 1)

    @rule(first=POSITIONS, count=st.one_of(st.integers(0, 100), st.just(0xFFFFFFFF)))
    def requeue(self, first: int, count: int) -> None:
        self.backlog.requeue(first, count)
        for position in self.model:
            if first <= position < first + count:
                entry = self.model[position]
                self.model[position] = entry._replace(returned=(entry.returned + RETURN) | FLAGGED)

    @rule(position=POSITIONS, value=st.integers(0, 9))
    def set_returns(self, position: int, value: int) -> None:
        self.backlog.set_returns(position, value)
        if position in self.model:
            flag = FLAGGED if position <= self.flagged else 0
            self.model[position] = self.model[position]._replace(returned=value | flag)

    @rule(position=POSITIONS, until=st.integers(1, 100))
    def hold(self, position: int, until: int) -> None:
        self.backlog.hold(position, until)
        if position in self.model:
            self.model[position] = self.model[position]._replace(until=until)

    @rule()
    def flag_all(self) -> None:
        self.backlog.flag_all()
        self.flagged = self.highest
        self.model = {at: held._replace(returned=held.returned | FLAGGED) for at, held in self.model.items()}

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert found(self.backlog) == self.model
        assert len(self.backlog) == len(self.model)
        assert self.backlog.highest == self.highest

    def teardown(self) -> None:
        waiting = [(at, held) for at, held in sorted(self.model.items()) if held.until > WAITS_BEHIND]
        assert list(self.backlog.waiting(WAITS_BEHIND)) == [
            (at, held.location, min(held.location // 2 // 100, 2), held.share, held.until, held.returned)
            for at, held in waiting
        ]
        for at, _ in waiting:
            del self.model[at]
        assert len(self.backlog) == len(self.model)
        pages = self.backlog.pages()
        listed = [entry for page in pages for entry in unpacked(page)]
        expected = [(at, held.location, held.returned) for at, held in sorted(self.model.items())]
        assert listed == expected
        assert len(self.backlog) == 0 and not self.backlog.chunks
        claims: dict[int, int] = {}
        for held in self.model.values():
            segment = min(held.location // 2 // 100, 2)
            claims[segment] = claims.get(segment, 0) + held.share
        claimed: dict[int, int] = {}
        for page in pages:
            for segment, share in page.claims:
                claimed[segment] = claimed.get(segment, 0) + share
        assert claimed == claims
        assert sum(page.bodies for page in pages) == sum(held.octets for held in self.model.values())


TestBacklog = BacklogMachine.TestCase
TestBacklog.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of a few messages; compiled, their size cannot be changed, which does no harm."""
    monkeypatch.setattr(module, "CHUNK_MESSAGES", 8)
    monkeypatch.setattr(module, "WORTH_COMPACTING", 4)
    monkeypatch.setattr(chunks, "ROOM_KEPT", 2)


@pytest.mark.usefixtures("small")
def test_a_backlog_in_small_chunks_holds_what_a_dict_would() -> None:
    run_state_machine_as_test(BacklogMachine, settings=TestBacklog.settings)


def filled(count: int, step: int = 1, octets: int = 100) -> Backlog:
    """Make a backlog of messages whose records follow each other."""
    backlog = Backlog(1, [0])
    for n in range(1, count + 1):
        backlog.enqueue(n * step, journal_location(n * 180), octets, 180, n)
    return backlog


def test_neighbours_make_pages_without_positions_and_without_returns() -> None:
    first, second = filled(PAGE_MESSAGES + 5).pages()
    assert (first.count, first.first, first.last) == (PAGE_MESSAGES, 1, PAGE_MESSAGES)
    assert (second.count, second.first, second.last) == (5, PAGE_MESSAGES + 1, PAGE_MESSAGES + 5)
    for page in (first, second):
        assert (page.positions, page.returns, page.spilled) == (b"", b"", [])
        assert page.claims == [(0, page.count * 180)]


def test_a_page_says_positions_and_returns_where_they_are_needed() -> None:
    backlog = filled(10)
    backlog.settle(5, 1)
    backlog.requeue(7, 1)
    (page,) = backlog.pages()
    assert [position for position, _, _ in unpacked(page)] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [returned for _, _, returned in unpacked(page)] == [0, 0, 0, 0, 0, RETURN | FLAGGED, 0, 0, 0]
    assert [page.index(position) for position in (4, 5, 6)] == [3, -1, 4]


def test_a_page_is_full_with_the_message_that_exceeds_its_octets() -> None:
    counts = [page.count for page in filled(6, octets=PAGE_OCTETS // 2).pages()]
    assert counts == [3, 3]
    assert [page.count for page in filled(2, octets=PAGE_OCTETS * 3).pages()] == [1, 1]


def test_a_page_claims_of_each_segment_what_lies_there() -> None:
    backlog = Backlog(1, [0, 1000, 5000])
    for position, lsn in enumerate((0, 999, 1000, 4999, 7000, 20), 1):
        backlog.enqueue(position, journal_location(lsn), 1, 10 * position, 0)
    (page,) = backlog.pages()
    assert page.claims == [(0, 10 + 20 + 60), (1, 30 + 40), (2, 50)]


@pytest.mark.parametrize("step", [1, 2])
def test_a_run_over_millions_of_positions_that_are_not_there_costs_nothing(step: int) -> None:
    backlog = filled(20_000, step)
    for _ in range(2000):
        backlog.settle(20_001 * step, 0xFFFFFFFF)
        backlog.requeue(20_001 * step, 0xFFFFFFFF)
    assert len(backlog) == 20_000
    backlog.settle(0, 0xFFFFFFFF)
    assert len(backlog) == 0


def test_copies_of_messages_whose_first_records_are_gone_go_where_they_belong() -> None:
    backlog = filled(10_000, 1_000_000)
    for n in range(1, 5001):
        backlog.enqueue(n * 10, journal_location(n), 1, 1, 0)
        backlog.enqueue(5_000_000_001 + n * 10, journal_location(n), 1, 1, 0)
    assert list(found(backlog)) == sorted(found(backlog)) and len(backlog) == 20_000
    assert len(backlog.chunks) < 12, "chunks must not fall to pieces"


def test_a_message_costs_no_more_than_forty_octets() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        backlog = filled(50_000)
        backlog.requeue(1, 50_000)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(backlog) == 50_000
    assert used < 50_000 * 40, f"{used / 50_000:.1f} octets a message"


def test_settled_messages_give_their_memory_back() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        backlog = filled(50_000)
        for n in range(1, 50_001, 10):
            backlog.settle(n, 9)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(backlog) == 5000
    assert used < 5000 * 100, f"{used / 5000:.1f} octets for each message that is left"


def test_a_queue_that_is_mostly_empty_keeps_one_small_chunk() -> None:
    backlog = Backlog(1, [0])
    for n in range(1, 20_001):
        backlog.enqueue(n, n, 1, 1, 0)
        if n % 5 == 0:
            backlog.settle(n - 4, 5)
    assert (len(backlog), len(backlog.chunks), backlog.highest) == (0, 1, 20_000)


@given(st.lists(st.integers(0, 50), unique=True, min_size=1).map(sorted), st.integers(0, 60))
def test_a_slot_is_found_by_its_position(positions: list[int], wanted: int) -> None:
    chunk = Chunk()
    for position in positions:
        chunk.add(position, 0, 0, 0)
    assert chunk.first_from(wanted) == len([position for position in positions if position < wanted])
