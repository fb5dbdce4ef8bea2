"""A few thousand hostile inputs; ``python -m tests.hostile.fuzz`` sends as many as you like."""

from __future__ import annotations

import pytest

from tests.hostile.campaign import MIB, run_campaign
from tests.hostile.inputs import Source
from tests.server.process import BrokerProcess

INPUTS = 1500


@pytest.mark.parametrize("seed", [101, 102, 103])
def test_hostile_inputs_harm_neither_the_broker_nor_other_connections(
    broker_process: BrokerProcess, seed: int
) -> None:
    outcome = run_campaign(broker_process, seed, INPUTS)
    assert outcome.grown < 64 * MIB, outcome
    assert outcome.slowest < 1.0, outcome
    missed = {404, 406, 501, 502, 503, 504, 505, 530, 540} - set(outcome.closes)
    assert not missed, f"the inputs no longer reach these errors: {missed}; {outcome}"


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, other = Source(7), Source(7)
    assert [one.input() for _ in range(50)] == [other.input() for _ in range(50)]
