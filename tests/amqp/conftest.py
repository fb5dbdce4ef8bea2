"""A broker and a client whose bytes arrive whole, one by one, and with the start of the next frame."""

from __future__ import annotations

import pytest

from tests.support.client import FEEDINGS, Client, ClientChannel
from tests.support.node import Node


@pytest.fixture
def node() -> Node:
    """A broker of its own for each test."""
    return Node()


@pytest.fixture(params=FEEDINGS)
def client(request: pytest.FixtureRequest, node: Node) -> Client:
    """An open connection as guest, fed in each of three ways."""
    return node.connect(request.param)


@pytest.fixture
def channel(client: Client) -> ClientChannel:
    """Channel 1 of the open connection."""
    return client.channel()


@pytest.fixture
def other(node: Node) -> ClientChannel:
    """A channel of another connection."""
    return node.connect().channel()
