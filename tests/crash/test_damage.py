"""Damaged files: a node starts, keeps all that was not hit, and says what it lost.

``python -m tests.crash.damage --trials 1000`` for many more.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harebell.storage.records import COMMAND
from harebell.storage.snapshot import COPY, NAME
from tests.crash.damage import Campaign, Trial
from tests.crash.rounds import Broken
from tests.crash.sample import Sample

SEED = 1
TRIALS = 30


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Give data directories to damage copies of."""
    return Campaign(tmp_path_factory.mktemp("damage"), SEED)


@pytest.fixture
def stopped(campaign: Campaign) -> Sample:
    """Give the data directory of a node that was stopped in order."""
    return campaign.samples[0]


def test_what_is_not_hit_survives_damage_of_any_kind(campaign: Campaign) -> None:
    for number in range(TRIALS):
        campaign.trial(number)
    assert campaign.lost, "no trial hit a message: this proves nothing"


def test_an_undamaged_copy_gives_all_there_is(campaign: Campaign, tmp_path: Path) -> None:
    for sample in campaign.samples:
        trial = Trial(sample, tmp_path / sample.path.name)
        trial.write()
        outcome = trial.run()
        assert (outcome.lost, outcome.revived, outcome.orphaned) == (0, 0, []), outcome
        assert not trial.log, f"nothing is wrong, and the log warns: {trial.log}"


def test_the_check_notices_a_message_that_is_gone(stopped: Sample, tmp_path: Path) -> None:
    trial = Trial(stopped, tmp_path / "copy")
    trial.write()
    found = trial.start()
    received = found["mail"]
    assert received is not None
    found["mail"] = received[:50] + received[51:]
    with pytest.raises(Broken, match="although nothing hit it"):
        trial.check(found)


def test_a_damaged_declaration_does_not_take_the_messages_of_its_queue_along(
    stopped: Sample, tmp_path: Path
) -> None:
    trial = Trial(stopped, tmp_path / "copy")
    declaration = next(
        place
        for place in stopped.places
        if place.kind == COMMAND and b"late" in stopped.files[place.file][place.start : place.end]
    )
    trial.hit(random.Random(SEED), declaration.file, "zero", declaration.start, 20)
    trial.write()
    trial.run()
    there = [line for line in trial.log if "there again as 'harebell.recovered." in line]
    assert there, f"the messages of the queue are not offered under another name; the log says {trial.log}"


def test_a_node_without_any_valid_snapshot_refuses_to_start_and_names_both(
    stopped: Sample, tmp_path: Path
) -> None:
    trial = Trial(stopped, tmp_path / "copy")
    for name in (NAME, COPY):
        trial.hit(random.Random(SEED), name, "flip a bit", 100, 1)
    trial.write()
    with pytest.raises(Broken, match=rf"(?s){NAME}.*{COPY}.*restore"):
        trial.run()


def test_a_segment_cut_in_the_middle_of_the_log_is_named_with_offset_and_octets(
    stopped: Sample, tmp_path: Path
) -> None:
    trial = Trial(stopped, tmp_path / "copy")
    cut = stopped.places[len(stopped.places) // 2]
    trial.hit(random.Random(SEED), cut.file, "truncate", cut.start, 0)
    trial.write()
    trial.run()
    lost = len(stopped.files[cut.file]) - cut.start
    named = [line for line in trial.log if cut.file in line and str(cut.start) in line and str(lost) in line]
    assert named, f"{lost} octets of {cut.file} behind offset {cut.start} are gone; the log says {trial.log}"


def test_damage_to_the_second_copy_of_the_snapshot_is_noticed(stopped: Sample, tmp_path: Path) -> None:
    trial = Trial(stopped, tmp_path / "copy")
    trial.hit(random.Random(SEED), COPY, "flip a bit", 100, 1)
    trial.write()
    trial.run()
    assert any(COPY in line for line in trial.log), f"the log says {trial.log or 'nothing'}"
