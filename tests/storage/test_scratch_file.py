"""The scratch file: made late, without a name, used again; full and failing disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harebell.scratch import NO_ROOM, ScratchUnreadable
from harebell.storage.files import DiskFiles
from harebell.storage.scratch_file import PATIENCE, SCRATCH_NAME, SLOT_OCTETS, DiskScratch
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import Rig, failing

BLOCK = b"rows" * 2000


def test_there_is_no_file_before_a_block_is_kept_and_none_with_a_name_after_it(tmp_path: Path) -> None:
    (tmp_path / SCRATCH_NAME).write_bytes(b"left by a crash")
    scratch = DiskScratch(DiskFiles(tmp_path))
    assert (tmp_path / SCRATCH_NAME).read_bytes() == b"left by a crash"
    handle = scratch.put(BLOCK)
    assert not list(tmp_path.iterdir()), "the file still has a name"
    assert scratch.get(handle) == BLOCK
    scratch.close()


def test_slots_are_used_again_and_the_last_one_frees_the_file() -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    handles = [scratch.put(BLOCK) for _ in range(10)]
    for handle in handles[3:7]:
        scratch.drop(handle)
    for number in range(4):
        handles[3 + number] = scratch.put(BLOCK)
    assert len(disk.scratches[0].octets) <= 10 * SLOT_OCTETS
    for handle in handles:
        scratch.drop(handle)
    assert not disk.scratches[0].octets, "space is not given back"


def test_a_full_disk_refuses_blocks_says_so_once_and_is_asked_again_later() -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    told: list[int | None] = []
    scratch.begin(lambda error: told.append(error.errno), lambda error: pytest.fail(str(error)))
    handle = scratch.put(BLOCK)
    disk.space = 100
    assert [scratch.put(BLOCK) for _ in range(PATIENCE)] == [NO_ROOM] * PATIENCE
    assert disk.refusals == 1, "a full disk is not to be asked for each block"
    disk.space = None
    refused = 0
    while (later := scratch.put(BLOCK)) == NO_ROOM:
        refused += 1
        assert refused <= PATIENCE, "blocks are refused although there is space"
    assert scratch.get(handle) == scratch.get(later) == BLOCK
    assert told == [errno.ENOSPC]


def test_a_file_that_cannot_be_made_refuses_blocks_and_that_is_told_at_the_beginning() -> None:
    disk = FakeDisk()
    disk.before = failing("create", errno.EMFILE)
    scratch = DiskScratch(disk)
    assert scratch.put(BLOCK) == NO_ROOM
    told: list[int | None] = []
    scratch.begin(lambda error: told.append(error.errno), lambda error: pytest.fail(str(error)))
    assert told == [errno.EMFILE]


def test_reading_is_tried_twice() -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    handle = scratch.put(BLOCK)
    disk.before = failing("read_at", errno.EIO, times=1)
    assert scratch.get(handle) == BLOCK


@pytest.mark.parametrize("damage", ["error", "bit", "cut", "length"])
def test_what_cannot_be_read_fails_the_node_once(damage: str) -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    failed: list[Exception] = []
    scratch.begin(lambda error: pytest.fail(str(error)), failed.append)
    first, second = scratch.put(b"another"), scratch.put(BLOCK)
    octets = disk.scratches[0].octets
    if damage == "error":
        disk.before = failing("read_at", errno.EIO)
    elif damage == "bit":
        octets[SLOT_OCTETS + 100] ^= 1
    elif damage == "cut":
        del octets[SLOT_OCTETS + 5 :]
    else:
        octets[SLOT_OCTETS + 4] = 0xFF
    for _ in range(3):
        with pytest.raises(ScratchUnreadable):
            scratch.get(second)
    assert len(failed) == 1
    disk.before = None
    assert scratch.get(first) == b"another"


def test_one_block_is_not_taken_for_another() -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    first, second = scratch.put(b"one"), scratch.put(b"two")
    octets = disk.scratches[0].octets
    octets[SLOT_OCTETS * second : SLOT_OCTETS * second + 11] = octets[:11]
    assert scratch.get(first) == b"one"
    with pytest.raises(ScratchUnreadable):
        scratch.get(second)


def test_nothing_is_kept_after_the_end() -> None:
    disk = FakeDisk()
    scratch = DiskScratch(disk)
    scratch.drop(scratch.put(b"one"))
    scratch.close()
    assert disk.scratches[0].closed
    assert scratch.put(b"two") == NO_ROOM


def test_a_pager_tells_what_its_scratch_has_to_say() -> None:
    spill = FakeDisk()
    rig = Rig(FakeDisk(), spill)
    handle = rig.pager.scratch.put(BLOCK)
    spill.before = failing("write_at", errno.EIO)
    assert rig.pager.scratch.put(BLOCK) == NO_ROOM
    assert rig.told.scratch_refused == [errno.EIO]
    spill.before = failing("read_at", errno.EIO)
    with pytest.raises(ScratchUnreadable):
        rig.pager.scratch.get(handle)
    assert [type(error) for error in rig.told.failed] == [ScratchUnreadable]
    rig.told.failed.clear()
    rig.stop()
    assert spill.scratches[0].closed
