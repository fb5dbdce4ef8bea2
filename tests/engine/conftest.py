"""A broker, seen from channels of two connections."""

from __future__ import annotations

import pytest

from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node


@pytest.fixture
def journal() -> DelayedJournal:
    """Everything is durable at once."""
    journal = DelayedJournal()
    journal.durable = 1 << 40
    return journal


@pytest.fixture
def node() -> Node:
    """A broker of its own for each test."""
    return Node()


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel of one connection."""
    return node.connect().channel()


@pytest.fixture
def other(node: Node) -> ClientChannel:
    """A channel of another connection."""
    return node.connect().channel()
