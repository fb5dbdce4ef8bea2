"""Nodes that end at named points, and nodes whose disk fails; ``make crash`` does this for longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.points import POINTS, Points
from tests.crash.rounds import Broken

SEED = 1
LONG_RUNS_ONLY = frozenset(
    {
        "before a batch is written",
        "before a sync",
        "before a segment is closed",
        "with a segment head written",
        "after the folder of a new segment is synced",
        "with the snapshot written and not renamed",
        "with half the second copy written",
        "before a segment is removed",
        "while the snapshot is read at the start",
        "while a torn tail is set aside",
        "before a torn tail is cut",
        "before the last record of an orderly stop",
        "when the last segment is closed",
        "half a write fails",
        "the snapshot cannot be synced",
        "a segment cannot be read at the start",
    }
)
"""Points much like others, which ``make crash`` goes through."""


class Chain:
    """One data directory for many points, each of which recovers what the one before left; a new one after
    a failure."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._points: Points | None = None

    def survive(self, name: str) -> None:
        """Let a node end at the point and check what the next one finds."""
        if self._points is None:
            self._points = Points(self._factory.mktemp("points"), SEED)
        points = self._points
        try:
            points.survive(name)
        except (Broken, AssertionError) as error:
            self.end()
            raise AssertionError(f"{error}\nreplay: {points.replay(SEED)}") from None

    def end(self) -> None:
        """End what runs."""
        points, self._points = self._points, None
        if points is not None:
            points.end()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Give a data directory to end nodes on."""
    found = Chain(tmp_path_factory)
    yield found
    found.end()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", [name for name in POINTS if name not in LONG_RUNS_ONLY])
def test_what_was_confirmed_survives_an_end(chain: Chain, name: str) -> None:
    chain.survive(name)


def test_no_two_points_are_the_same() -> None:
    assert len(set(POINTS.values())) == len(POINTS), "give each point a fault or a phase of its own"
    assert set(POINTS) >= LONG_RUNS_ONLY, "a name that no point has"
