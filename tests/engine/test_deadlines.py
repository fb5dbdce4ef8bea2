"""The index of deadlines against a plain list: never early, hardly late, nothing lost, little memory."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.engine.deadlines import COARSE, FINE, NEVER, Deadlines

START = 1_700_000_000_000
DAY = 86_400_000

deadlines_ms = st.one_of(
    st.integers(START - 1000, START + 100),
    st.integers(START, START + 3 * COARSE),
    st.integers(START, START + 30 * DAY),
    st.integers(START // COARSE, START // COARSE + 4).map(lambda number: number * COARSE),
    st.just(1),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_deadlines_come_when_their_bucket_is_over_and_none_is_lost(data: st.DataObject) -> None:
    index = Deadlines()
    held: dict[int, int] = {}
    now, position = START, 0
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["add", "add", "wait", "jump", "clear"]))
        if action == "add":
            for deadline in data.draw(st.lists(deadlines_ms, max_size=8)):
                position += 1
                index.add(deadline, position)
                held[position] = deadline
        elif action == "clear":
            if data.draw(st.booleans()):
                index.clear()
                held.clear()
        else:
            now += data.draw(st.integers(0, 3 * FINE if action == "wait" else 3 * COARSE))
            most = data.draw(st.sampled_from([1, 3, 1000]))
            found = index.due(now, most)
            assert all(held[each] <= now for each in found), "a deadline was reported early"
            for each in found:
                del held[each]
            late = [at for at in held.values() if at + FINE <= now]
            assert not late or len(found) >= most, "a deadline whose bucket is over was not reported"
        assert index.count == len(held)
        assert index.next() <= min([at + FINE for at in held.values()], default=int(NEVER))
        if held:
            assert index.next() >= min(held.values()) - COARSE
    assert sorted(index.due(START + 100 * DAY, 1 << 40)) == sorted(held), "deadlines were lost"
    assert (index.count, index.next()) == (0, NEVER)


def test_who_comes_back_at_next_is_late_by_at_most_one_fine_bucket() -> None:
    chance = random.Random(1)
    index = Deadlines()
    held = {position: START + chance.randrange(3 * COARSE) for position in range(5000)}
    for position, deadline in held.items():
        index.add(deadline, position)
    visits = 0
    while held:
        now = int(index.next())
        visits += 1
        for position in index.due(now, 1 << 40):
            assert 0 <= now - held.pop(position) <= FINE
    assert visits <= 3 * COARSE // FINE + 5, "it asks to be looked at more often than buckets end"


def test_a_bucket_is_taken_as_a_whole_and_the_next_one_later() -> None:
    index = Deadlines()
    for position in range(10):
        index.add(START, position)
    index.add(START + FINE, 10)
    assert sorted(index.due(START + DAY, 3)) == list(range(10))
    assert index.next() <= START + DAY
    assert index.due(START + DAY, 3) == [10]


def test_a_deadline_may_be_far_away_or_long_past() -> None:
    index = Deadlines()
    index.add(START + 315_360_000_000, 1)
    index.add(5, 2)
    assert index.due(START, 10) == [2]
    assert index.due(START + 315_360_000_000 - 1, 10) == []
    assert index.due(START + 315_360_000_000 + FINE, 10) == [1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_million_deadlines_take_16_to_24_octets_each() -> None:
    script = """
        import random
        from pathlib import Path
        from harebell.engine.deadlines import Deadlines

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

        chance = random.Random(7)
        index = Deadlines()
        before = resident()
        for position in range(1_000_000):
            index.add(1_700_000_000_000 + chance.randrange(600_000), position)
        print((resident() - before) / 1_000_000)
    """
    line = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    octets = float(run.stdout)
    assert 8 <= octets <= 24, f"an entry takes {octets:.1f} octets: buckets waste memory"
