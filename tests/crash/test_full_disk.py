"""A disk without space: publishers wait and go on, without a restart and without a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.full_disk import NO_SNAPSHOT, FullDisk, run

SEED = 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["in the middle of a batch", "in the head of a segment"])
def test_publishers_wait_for_space_and_nothing_is_lost(tmp_path: Path, name: str) -> None:
    run(tmp_path, SEED, name)


@pytest.mark.timeout(120)
def test_a_snapshot_without_space_is_written_later_and_blocks_nobody(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path, SEED)
    try:
        disk.outlast(NO_SNAPSHOT, blocks=False)
    finally:
        disk.end()
