"""Retries, groups, pauses, rates and windows in real processes that are really killed.

``python -m tests.crash.features --rounds 100`` for many more rounds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.features import SEGMENT_BYTES, Features
from tests.crash.rounds import Broken

ROUNDS = 4
SEED = 1


@pytest.mark.timeout(150)
def test_what_queues_were_asked_for_holds_through_kills_at_any_moment(tmp_path: Path) -> None:
    features = Features(tmp_path, SEED)
    try:
        features.run(ROUNDS)
    except Broken as error:
        replay = f"python -m tests.crash.features --rounds {ROUNDS} --seed {SEED}"
        raise AssertionError(f"{error}\nreplay: {replay}") from None
    said = features.table()
    assert features.retries.waited > ROUNDS, f"hardly a retry waited through a kill:\n{said}"
    assert features.retries.dead, f"nothing was dead-lettered:\n{said}"
    assert features.groups.handovers > 10 * ROUNDS, f"hardly a key went from one consumer to another:\n{said}"
    assert features.flow.deliveries > 20 * ROUNDS, f"hardly anything came:\n{said}"
    assert features.repeats.taken > 10 * ROUNDS, f"hardly a message was published more than once:\n{said}"
    assert features.reclaimed() > 10 * SEGMENT_BYTES, f"no segment was reclaimed:\n{said}"
