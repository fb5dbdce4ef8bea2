"""Real processes, really killed; ``python -m tests.crash.rounds --rounds 200`` for many more rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.rounds import Crashes

ROUNDS = 7


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_was_confirmed_survives_kills_at_any_moment(tmp_path: Path, seed: int) -> None:
    crashes = Crashes(tmp_path, seed)
    crashes.run(ROUNDS)
    assert crashes.kills >= ROUNDS // 2, "hardly any round ended in a kill"
    assert crashes.ledger.confirms > 100 * ROUNDS, "the publishers hardly got anywhere before the kills"
