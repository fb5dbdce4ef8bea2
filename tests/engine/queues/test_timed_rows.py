"""Rows of timed messages against a dict, with leaves so small that most are blocks of scratch."""

from __future__ import annotations

import errno
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harebell.content.message import Message, address
from harebell.engine.queues.timed_leaf import LEAF_ROWS
from harebell.engine.queues.timed_rows import GONE, IN_MEMORY, TimedRows
from harebell.scratch import BLOCK_OCTETS, MemoryScratch, Scratch
from harebell.storage.scratch_file import DiskScratch
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import failing

POSITIONS = st.one_of(st.integers(0, 60), st.integers(0, 1 << 40))
Kept = tuple[int, int, int, int]


class RowsModel(RuleBasedStateMachine):
    """Rows come in any order, change, come near and go."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = self.make()
        self.rows = TimedRows(self.scratch, 8, 2)
        self.kept: dict[int, Kept] = {}

    def make(self) -> Scratch:
        """Make what blocks are kept in."""
        return MemoryScratch()

    def teardown(self) -> None:
        claims: dict[int, int] = {}
        runs = self.rows.clear(claims)
        assert [at for first, count in runs for at in range(first, first + count)] == sorted(self.kept)
        assert all(first + count < then for (first, count), (then, _) in pairwise(runs))
        assert sum(claims.values()) == sum(claim & 0xFFFF for _, claim, _, _ in self.kept.values())
        assert self.scratch.blocks == 0, "blocks of scratch are left"

    @rule(first=POSITIONS, count=st.integers(1, 60), step=st.integers(1, 3), location=st.integers(0, 1 << 50))
    def put_many(self, first: int, count: int, step: int, location: int) -> None:
        for position in range(first, first + count * step, step):
            self.put(position, location + position, position % 7)

    @rule(position=POSITIONS, returns=st.integers(0, 9))
    def bring_near(self, position: int, returns: int) -> None:
        self.put(position, IN_MEMORY, returns)

    def put(self, position: int, location: int, returns: int) -> None:
        claim = 3 << 32 | position & 0xFFFF
        self.rows.put(position, location, claim, position * 3, returns)
        self.kept[position] = (location, claim, position * 3, returns)

    @rule(first=POSITIONS, count=st.integers(1, 80), step=st.integers(1, 5))
    def drop_many(self, first: int, count: int, step: int) -> None:
        for position in range(first, first + count * step, step):
            assert self.rows.drop(position) == (self.kept.pop(position, None) is not None)

    @rule(first=POSITIONS, count=st.integers(1, 80))
    def approach(self, first: int, count: int) -> None:
        for position in range(first, first + count):
            far = position in self.kept and position not in self.rows.near
            row = self.rows.approach(position)
            assert (row is not None) == far
            if row is not None:
                found = (row.location, row.claim, row.due, row.returns)
                assert tuple(map(int, found)) == self.kept[position]

    @rule(first=POSITIONS, count=st.integers(1, 80), location=st.integers(0, 1 << 50))
    def move(self, first: int, count: int, location: int) -> None:
        for position in range(first, first + count):
            if position in self.kept:
                _, claim, due, returns = self.kept[position]
                self.rows.move(position, location, claim)
                self.kept[position] = (location, claim, due, returns)

    @rule(position=POSITIONS, most=st.integers(0, 50))
    def look(self, position: int, most: int) -> None:
        wanted = sorted(at for at in self.kept if at >= position)[:most]
        assert self.rows.positions_from(position, most) == wanted

    @rule()
    def look_at_all(self) -> None:
        assert self.rows.positions() == sorted(self.kept)
        for position in (*self.kept, -1, 1 << 41):
            rows = self.rows
            wanted = self.kept.get(position, (GONE, 0, GONE, 0))
            found = (
                rows.location(position),
                rows.claim(position),
                rows.due(position),
                rows.returns(position),
            )
            assert tuple(map(int, found)) == wanted

    @invariant()
    def counts(self) -> None:
        assert self.rows.count == len(self.kept)


class DiskModel(RowsModel):
    """The same on a disk that does not take blocks at times."""

    def make(self) -> Scratch:
        self.disk = FakeDisk()
        return DiskScratch(self.disk)

    @invariant()
    def keeps_no_leaf_that_is_empty(self) -> None:
        assert all(leaf.count for leaf in self.rows._open)

    @rule(refused=st.booleans())
    def refuse(self, refused: bool) -> None:
        self.disk.before = failing("write_at", errno.EIO) if refused else None


RowsModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
DiskModel.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestRows = RowsModel.TestCase
TestRowsOnDisk = DiskModel.TestCase


def test_a_message_that_is_added_is_in_memory() -> None:
    rows = TimedRows(MemoryScratch())
    message = Message(address("x", "k"), b"", b"body", False)
    rows.add(message, 5, 70, 3)
    assert rows.near[5].message is message
    assert (rows.location(5), rows.due(5), rows.returns(5), rows.count) == (IN_MEMORY, 70, 3, 1)


def test_few_blocks_hold_many_rows_wherever_they_are() -> None:
    assert LEAF_ROWS * 40 <= BLOCK_OCTETS
    for step in (1, 50, 100_000):
        scratch = MemoryScratch()
        rows = TimedRows(scratch)
        for position in range(0, 20_000 * step, step):
            rows.put(position, 2, 0, 3, 0)
        assert scratch.blocks <= 20_000 // LEAF_ROWS, f"with steps of {step}"
        for position in range(0, 20_000 * step, step):
            if position // step % 50:
                rows.drop(position)
        rows.put(1 << 60, 2, 0, 3, 0)
        assert scratch.blocks <= 20, f"{scratch.blocks} blocks are left with steps of {step}"
        assert rows.count == 401
