"""What tests of queues share; those that need another broker or channel make their own."""

from __future__ import annotations

import pytest

from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000


@pytest.fixture
def node() -> Node:
    """A broker that knows the time, and whose journal is durable at once."""
    journal = DelayedJournal()
    journal.durable = 1 << 40
    node = Node(journal)
    node.clock.wall = START
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel with confirms."""
    channel = node.connect().channel()
    channel.confirm_select()
    return channel
