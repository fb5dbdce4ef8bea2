"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.server.process import BrokerProcess, running_broker

# Tests are not timed: on a busy machine any example can take long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def broker_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker in a process of its own, shared by the tests of a module."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker
        broker.assert_unharmed()
