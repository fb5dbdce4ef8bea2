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
    assert retry_delay(options, 1, RETURN | FLAGGED, True) == 0
    options.delayed_retry_min = 1000
    assert [retry_delay(options, 1, RETURN * n, True) for n in (1, 2, 7)] == [1000, 2000, 7000]
    options.delayed_retry_max = 2500
    assert [retry_delay(options, 1, RETURN * n, False) for n in (1, 2, 7)] == [1000, 2000, 2500]


def test_the_wait_doubles_each_time_if_it_is_told_to() -> None:
    options = QueueOptions()
    options.delayed_retry_type = "all"
    options.delayed_retry_backoff = "exponential"
    options.delayed_retry_min = 1000
    assert [retry_delay(options, 1, RETURN * n, True) for n in (1, 2, 3, 5)] == [1000, 2000, 4000, 16000]
    options.delayed_retry_max = 5000
    assert [retry_delay(options, 1, RETURN * n, True) for n in (3, 4, 90, 2**29)] == [4000, 5000, 5000, 5000]


def test_the_wait_stays_the_same_if_it_is_told_to() -> None:
    options = QueueOptions()
    options.delayed_retry_type = "all"
    options.delayed_retry_backoff = "constant"
    options.delayed_retry_min = 1000
    assert [retry_delay(options, 1, RETURN * n, True) for n in (1, 2, 9)] == [1000, 1000, 1000]


def test_jitter_spreads_waits_and_never_makes_one_longer() -> None:
    options = QueueOptions()
    options.delayed_retry_type = "all"
    for least in (1000, 1 << 38):
        options.delayed_retry_min = least
        options.delayed_retry_jitter = 30
        waits = [int(retry_delay(options, position, RETURN, True)) for position in range(1, 1001)]
        assert all(0.7 * least <= wait <= least for wait in waits)
        assert min(waits) < 0.73 * least
        assert max(waits) > 0.97 * least
        assert len(set(waits)) > 200
        assert waits == [retry_delay(options, position, RETURN, True) for position in range(1, 1001)]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_failed_at_its_last_attempt_is_dead_lettered(
    node: Node, channel: ClientChannel, kind: str
) -> None:
    channel.declare_queue("dead")
    arguments: dict[str, Any] = {
        "x-queue-type": kind,
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 100,
        "x-delayed-retry-attempts": 3,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    channel.declare_queue("q", durable=True, arguments=arguments)
    channel.publish(b"again", key="q")
    counts = []
    for _ in range(3):
        passes(node, 400)
        delivery = channel.get("q")
        assert delivery is not None, "it was given up too early"
        counts.append((delivery.properties.headers or {}).get("x-delivery-count"))
        channel.send(commands.Basic.Reject(delivery.tag, True))
    passes(node, 1000)
    assert counts[1:] == [1, 2]
    assert (channel.ready("q"), channel.ready("dead")) == (0, 1)


def test_a_queue_whose_messages_wait_for_their_retry_is_not_empty(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={**retrying(), "x-queue-type": "classic"})
    channel.publish(b"again", key="q")
    delivery = channel.get("q")
    assert delivery is not None
    channel.nack(delivery.tag)
    assert channel.ready("q") == 0, "it waits"
    channel.send(commands.Queue.Delete(queue="q", if_empty=True))
    channel.expect_close(406, commands.Queue.Delete, "not empty")
    assert "q" in node.vhost.queues
