"""A broker, seen from channels of two connections."""

from __future__ import annotations

import pytest

from tests.support.client import ClientChannel
from tests.support.node import Node


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
