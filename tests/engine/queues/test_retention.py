"""Queues that retain what is published to them for readers that come later."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.commands import DeleteVhost
from tests.support.client import ClientChannel, queue_declare
from tests.support.node import Node

HISTORY = "harebell.history.q"


@pytest.fixture
def node() -> Node:
    return Node()


def declare(channel: ClientChannel, kind: str = "classic", **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": kind, "x-retain": "1D", **table})


def read(node: Node) -> list[bytes]:
    """Read everything that is retained."""
    reader = node.connect().channel()
    reader.qos(100)
    reader.consume("q", arguments={"x-stream-offset": "first"})
    return reader.bodies()


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_new_reader_gets_the_past_and_disturbs_nothing(
    node: Node, channel: ClientChannel, kind: str
) -> None:
    declare(channel, kind)
    channel.declare_exchange("e", "fanout")
    channel.bind("q", "e")
    channel.publish(b"a", key="q")
    channel.publish(b"b", exchange="e")
    channel.publish(b"c", exchange="e", properties=commands.Basic.Properties(headers={"CC": ["q"]}))
    assert channel.outcomes() == ["ack"] * 3
    first = channel.get("q")
    assert first is not None
    channel.ack(first.tag)
    assert read(node) == [b"a", b"b", b"c"]
    assert read(node) == [b"a", b"b", b"c"]
    assert channel.drain("q") == [b"b", b"c"]
    assert read(node) == [b"a", b"b", b"c"], "acknowledged, and retained"


def test_what_comes_back_is_in_the_past_once(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    channel.publish(b"a", key="q")
    for _ in range(3):
        message = channel.get("q")
        assert message is not None
        channel.nack(message.tag)
    assert read(node) == [b"a"]


def test_what_is_refused_is_not_in_the_past_and_dead_letters_are(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_length=1, overflow="reject-publish")
    channel.declare_queue("w", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"})
    channel.publish(b"a", key="q")
    channel.publish(b"b", key="q")
    assert channel.outcomes() == ["ack", "nack"]
    channel.publish(b"c", key="w")
    dead = channel.get("w")
    assert dead is not None
    channel.reject(dead.tag, requeue=False)
    assert read(node) == [b"a", b"c"]


def test_it_comes_and_goes_with_its_queue(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    declare(channel)
    assert set(node.vhost.queues) == {"q", HISTORY}
    channel.delete_queue(HISTORY)
    channel.publish(b"a", key="q")
    assert channel.drain("q") == [b"a"]
    declare(channel)
    assert set(node.vhost.queues) == {"q", HISTORY}, "declared again it is there again"
    channel.delete_queue("q")
    assert not node.vhost.queues


def test_only_queues_that_last_can_retain(channel: ClientChannel) -> None:
    for flags in ({"durable": False}, {"durable": True, "auto_delete": True}, {"exclusive": True}):
        other = channel.client.node.connect().channel()
        other.send(queue_declare("q", arguments={"x-retain": "1D"}, **flags))
        other.expect_close(406, commands.Queue.Declare, "cannot retain messages")


def test_without_retention_an_offset_is_refused(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.send(commands.Basic.Consume(queue="q", arguments={"x-stream-offset": "first"}))
    channel.expect_close(406, commands.Basic.Consume)


def test_a_virtual_host_goes_with_queues_that_retain(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    node.broker.commit(DeleteVhost("/"), durable=False)
    assert not node.broker.vhosts


def test_immediate_asks_for_a_consumer_of_the_queue_itself(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    reader = node.connect().channel()
    reader.qos(10)
    reader.consume("q", arguments={"x-stream-offset": "first"})
    channel.publish(b"nobody", key="q", immediate=True)
    assert reader.bodies() == []
    channel.consume("q", no_ack=True)
    channel.publish(b"somebody", key="q", immediate=True)
    assert channel.bodies() == [b"somebody"]
    assert reader.bodies() == [b"somebody"]
