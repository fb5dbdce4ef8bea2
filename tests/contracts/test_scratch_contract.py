"""What everything that keeps blocks of scratch must do, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harebell.scratch import BLOCK_OCTETS, MemoryScratch, Scratch
from harebell.storage.files import DiskFiles
from harebell.storage.scratch_file import DiskScratch
from tests.storage.fake_disk import FakeDisk


@pytest.fixture(params=["memory", "disk"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scratch]:
    """One of each kind; the disk is a real one."""
    if request.param == "memory":
        yield MemoryScratch()
    else:
        on_disk = DiskScratch(DiskFiles(tmp_path))
        yield on_disk
        on_disk.close()


def test_blocks_are_given_back_as_they_were(scratch: Scratch) -> None:
    kept = {scratch.put(bytes([number]) * number): number for number in (0, 1, 200)}
    assert len(kept) == 3, "handles are not distinct"
    for handle, number in kept.items():
        assert scratch.get(handle) == bytes([number]) * number


def test_a_block_may_be_as_long_as_promised(scratch: Scratch) -> None:
    handles = [scratch.put(bytes([number]) * BLOCK_OCTETS) for number in range(3)]
    assert [scratch.get(handle)[0] for handle in handles] == [0, 1, 2]
    assert len(scratch.get(handles[1])) == BLOCK_OCTETS


def test_nothing_is_left_when_all_was_dropped(scratch: Scratch) -> None:
    handles = [scratch.put(b"block") for _ in range(10)]
    for handle in handles:
        scratch.drop(handle)
    assert scratch.blocks == 0
    assert scratch.get(scratch.put(b"another")) == b"another"


class ScratchModel(RuleBasedStateMachine):
    """Blocks come and go, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = self.make()
        self.kept: dict[int, bytes] = {}

    def make(self) -> Scratch:
        """Make what is tested."""
        return MemoryScratch()

    @rule(block=st.binary(max_size=50), count=st.integers(1, 5))
    def put(self, block: bytes, count: int) -> None:
        for number in range(count):
            handle = int(self.scratch.put(block + bytes([number])))
            assert handle >= 0
            assert handle not in self.kept, "a handle is given twice"
            self.kept[handle] = block + bytes([number])

    @rule(chance=st.randoms(use_true_random=False))
    def drop(self, chance: object) -> None:
        if self.kept:
            handle = chance.choice(sorted(self.kept))  # type: ignore[attr-defined]
            self.scratch.drop(handle)
            del self.kept[handle]

    @rule()
    def drop_all(self) -> None:
        for handle in self.kept:
            self.scratch.drop(handle)
        self.kept.clear()

    @invariant()
    def gives_all_back(self) -> None:
        assert self.scratch.blocks == len(self.kept)
        for handle, block in self.kept.items():
            assert self.scratch.get(handle) == block


class OnDiskModel(ScratchModel):
    """The same on disk."""

    def make(self) -> Scratch:
        return DiskScratch(FakeDisk())


ScratchModel.TestCase.settings = settings(max_examples=30, deadline=None)
OnDiskModel.TestCase.settings = settings(max_examples=30, deadline=None)
TestScratchInMemory = ScratchModel.TestCase
TestScratchOnDisk = OnDiskModel.TestCase
