"""What all tests share."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.server.process import BrokerProcess, running_broker

# Tests are not timed: on a busy machine any example can take long. `make test` runs both flavours: the
# compiled one, which is several times faster, tries more.
INTERPRETED_BESIDE_COMPILED = os.environ.get("HAREBELL_EXPECT_COMPILED") == "0"
settings.register_profile("untimed", deadline=None, max_examples=50 if INTERPRETED_BESIDE_COMPILED else 100)
settings.load_profile("untimed")

MOST_MEMORY = 8 << 30
"""Octets that a process of the tests may have: what takes more fails where it happens, and harms no other."""
_, HARD = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(
    resource.RLIMIT_DATA, (MOST_MEMORY if HARD == resource.RLIM_INFINITY else min(HARD, MOST_MEMORY), HARD)
)


@pytest.fixture(scope="module")
def broker_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker in a process of its own, shared by the tests of a module."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker
        broker.assert_unharmed()


ONCE = (
    "administration", "auth", "cli", "examples", "management", "metrics", "packaging", "perf", "schemas",
    "settings",
)  # fmt: skip
"""Folders whose tests are of modules that are not compiled; what they call has tests of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that ``make test`` runs them in one flavour only."""
    folders = [Path(__file__).parent / name for name in ONCE]
    for item in items:
        if any(folder in item.path.parents for folder in folders):
            item.add_marker(pytest.mark.once)
