"""Power cuts at any operation of the disk: nothing promised is lost, nothing settled comes back.

``POWER_CUTS=10000`` asks for more of them; ``FIRST_SEED`` for others.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.storage.power_cuts import Broken, History

CUTS = int(os.environ.get("POWER_CUTS", "1000"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
LIVES = 6
PORTIONS = 8


@pytest.mark.once
@pytest.mark.timeout(60 + CUTS // 10)
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_nothing_promised_is_lost_by_a_power_cut(tmp_path: Path, portion: int) -> None:
    cuts = histories = 0
    while cuts < CUTS / PORTIONS:
        seed = FIRST_SEED + PORTIONS * histories + portion
        history = History(seed, tmp_path / str(histories))
        try:
            history.run(LIVES)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        cuts += history.cuts
        histories += 1


@pytest.mark.once
def test_the_model_sees_the_loss_when_syncs_are_lies(tmp_path: Path) -> None:
    broken = 0
    for seed in range(20):
        try:
            History(seed, tmp_path / str(seed), skip_sync=True).run(LIVES)
        except Broken:
            broken += 1
    assert broken >= 15, f"only {broken} of 20 histories without syncs were found to lose something"
