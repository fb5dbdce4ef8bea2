"""Damage to what retries, windows of ids and delays write: a start says so, and everything else is there."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.crash import marked
from tests.crash.marked import HELD, ONCE, PUBLISHERS, STRIKES, Marked, MarkedTrial

SEED = 1


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """Give a data directory to damage copies of."""
    return marked.make(tmp_path_factory.mktemp("marked"))


@pytest.fixture
def trial(sample: Marked, tmp_path: Path) -> MarkedTrial:
    """Give a copy of it, not written yet."""
    return MarkedTrial(sample, tmp_path / "copy")


def test_an_undamaged_copy_gives_all_there_is(trial: MarkedTrial) -> None:
    trial.write()
    found = trial.look()
    trial.judge(found)
    assert not trial.log, f"nothing is wrong, and the log warns: {trial.log}"
    assert (found.waiting, found.delayed) == (marked.WAITING, marked.COUNTS[marked.DUE]), found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["HOLDS", "DeclareWindow", "DeleteWindow", "DeclareDelays", "DeleteDelays"])
def test_damage_to_a_record_takes_nothing_else_along(sample: Marked, tmp_path: Path, what: str) -> None:
    chance = random.Random(SEED)
    targets = sample.named(what)
    assert targets, f"no {what} in the sample: this proves nothing"
    for strike in (chance.choice(STRIKES[:-1]), "truncate"):
        trial = MarkedTrial(sample, tmp_path / "copy")
        trial.strike(chance, chance.choice(targets), strike)
        trial.write()
        trial.judge(trial.look())
        shutil.rmtree(trial.path)


def test_a_damaged_wait_ends_at_once_and_is_named(sample: Marked, trial: MarkedTrial) -> None:
    target = sample.named("HOLDS")[0]
    number = next(each for each, place in sample.waiting.items() if place == target.place)
    trial.strike(random.Random(SEED), target, "zero")
    trial.write()
    found = trial.look()
    ready = found.ready[HELD]
    assert ready is not None and number in ready, "what it was known of has to come, and not to be lost"
    assert found.waiting == marked.WAITING - 1, "the others wait"
    named = [line for line in trial.log if str(target.place.start) in line and "damage" in line]
    assert named, f"a message is early, and the log says {trial.log or 'nothing'}"


def test_ids_whose_window_is_lost_are_taken_once_more_and_the_log_says_whose(
    sample: Marked, trial: MarkedTrial
) -> None:
    trial.strike(random.Random(SEED), sample.named("DeclareWindow")[0], "flip a bit")
    trial.write()
    found = trial.look()
    trial.judge(found)
    assert len(found.forgotten) == marked.COUNTS[ONCE], "no id can be known"
    said = [line for line in trial.log if f"queue '{ONCE}'" in line and "once more" in line]
    assert said, f"ids are forgotten, and the log says {trial.log or 'nothing'}"
    assert not found.recovered, "hashes are no messages that anybody wants back"


@pytest.mark.parametrize("strike", ["flip a bit", "zero", "truncate"])
def test_damage_to_the_log_of_a_window_forgets_ids_at_most(
    sample: Marked, trial: MarkedTrial, strike: str
) -> None:
    name, data = max(sample.logs.items(), key=lambda each: len(each[1]))
    trial.strike_log(random.Random(SEED), name, strike)
    trial.write()
    found = trial.look()
    trial.judge(found)
    messages = found.ready[ONCE]
    assert messages is not None and len(messages) == marked.COUNTS[ONCE], "messages are lost with their ids"
    if found.forgotten:
        said = [line for line in trial.log if name in line]
        assert said, f"{len(found.forgotten)} ids are forgotten; the log says {trial.log or 'nothing'}"
    assert len(data) > 24 * 1000, "hardly an id is in the log: this proves nothing"


def test_a_deleted_virtual_host_stays_away_with_what_it_delayed(sample: Marked, trial: MarkedTrial) -> None:
    place = sample.stored[PUBLISHERS[marked.PLAIN], 1][0]
    trial.hit(random.Random(SEED), place.file, "flip a bit", place.start, place.end - place.start)
    trial.write()
    found = trial.look()
    assert trial.log and not found.recovered, f"{found.recovered} are there again; the log says {trial.log}"
