"""Returned messages that wait before they are delivered again."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.options import QueueOptions
from harebell.engine.queues.retries import retry_delay
from harebell.paging import FLAGGED, RETURN
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


def retrying(kind: str = "all", least: int = 100, most: int = 250) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delayed-retry-type": kind,
        "x-delayed-retry-min": least,
        "x-delayed-retry-max": most,
    }


def passes(node: Node, milliseconds: int) -> None:
    """Let time go by."""
    node.clock.wall += milliseconds
    node.broker.expiry.run()


def test_each_retry_waits_longer_up_to_the_maximum(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True, arguments=retrying())
    channel.publish(b"again", key="q")
    for wait in (100, 200, 250, 250):
        delivery = channel.get("q")
        assert delivery is not None, "a message whose wait is over is ready"
        channel.nack(delivery.tag)
        assert channel.ready("q") == 0
        passes(node, wait - 1)
        assert channel.get("q") is None, f"it comes back before {wait} ms are over"
        passes(node, 20)


@pytest.mark.parametrize(("kind", "reject", "waits"), [
    ("failed", True, True), ("failed", False, False), ("returned", True, False), ("returned", False, True),
    ("disabled", True, False), ("all", True, True), ("all", False, True),
])  # fmt: skip
def test_the_type_says_which_returns_wait(
    node: Node, channel: ClientChannel, kind: str, reject: bool, waits: bool
) -> None:
    channel.declare_queue("q", durable=True, arguments=retrying(kind))
    channel.publish(b"again", key="q")
    delivery = channel.get("q")
    assert delivery is not None
    if reject:
        channel.send(commands.Basic.Reject(delivery.tag, True))
    else:
        channel.nack(delivery.tag)
    assert channel.ready("q") == (0 if waits else 1)
    passes(node, 1000)
    assert channel.ready("q") == 1


def test_a_purge_takes_what_waits_for_its_retry(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True, arguments=retrying())
    for body in (b"a", b"b"):
        channel.publish(body, key="q")
    delivery = channel.get("q")
    assert delivery is not None
    channel.nack(delivery.tag)
    assert channel.purge("q") == 2
    passes(node, 1000)
    assert channel.ready("q") == 0
    assert node.broker.held_bytes() == 0


def test_the_wait_grows_with_the_returns() -> None:
    options = QueueOptions()
    options.delayed_retry_type = "all"
    assert retry_delay(options, RETURN | FLAGGED, True) == 0
    options.delayed_retry_min = 1000
    assert [retry_delay(options, RETURN * n, True) for n in (1, 2, 7)] == [1000, 2000, 7000]
    options.delayed_retry_max = 2500
    assert [retry_delay(options, RETURN * n, False) for n in (1, 2, 7)] == [1000, 2000, 2500]
