"""Real processes, really killed; ``python -m tests.crash.rounds --rounds 200`` for many more rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.rounds import Broken, Crashes

ROUNDS = 7
SMALL_SEGMENTS = 100_000


@pytest.mark.timeout(180)
@pytest.mark.parametrize("segment_bytes", [None, SMALL_SEGMENTS], ids=["usual segments", "small segments"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_confirmed_survives_kills_at_any_moment(
    tmp_path: Path, seed: int, segment_bytes: int | None
) -> None:
    crashes = Crashes(tmp_path, seed, segment_bytes=segment_bytes)
    try:
        crashes.run(ROUNDS)
    except Broken as error:
        small = f" --segment-bytes {segment_bytes}" if segment_bytes else ""
        replay = f"python -m tests.crash.rounds --rounds {ROUNDS} --seed {seed}{small}"
        raise AssertionError(f"{error}\nreplay: {replay}") from None
    assert crashes.kills >= ROUNDS // 2, "hardly any round ended in a kill"
    assert crashes.ledger.confirms > 100 * ROUNDS, "the publishers hardly got anywhere before the kills"
    assert crashes.repeats.taken > 10 * ROUNDS, "hardly a message was published more than once"
    assert crashes.streams.events > 100 * ROUNDS, "hardly an event of a stream was compared"
