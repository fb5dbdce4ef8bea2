"""A topology change between ``basic.publish`` and the end of its content: the message follows the new one."""

from __future__ import annotations

import pytest
from pamqp import commands

from tests.support.client import ClientChannel
from tests.support.node import Node
from tests.support.wire import content


@pytest.fixture
def other(node: Node) -> ClientChannel:
    """Another client, with a queue ``q``."""
    channel = node.connect().channel()
    channel.declare_queue("q")
    return channel


@pytest.fixture
def publisher(node: Node, other: ClientChannel) -> ClientChannel:
    """A client in the middle of publishing to ``q``: the content is still to come."""
    channel = node.connect().channel()
    channel.confirm_select()
    channel.send(commands.Basic.Publish(routing_key="q", mandatory=True))
    return channel


def send_content(publisher: ClientChannel) -> None:
    """Send what the open publish waits for."""
    publisher.client.feed(content(publisher.number, b"late"))


def test_a_queue_deleted_meanwhile_makes_the_message_unroutable(
    publisher: ClientChannel, other: ClientChannel
) -> None:
    other.delete_queue("q")
    send_content(publisher)
    assert publisher.expect(commands.Basic.Return).reply_code == 312
    assert publisher.outcomes() == ["ack"]


def test_a_queue_declared_again_meanwhile_gets_the_message(
    publisher: ClientChannel, other: ClientChannel
) -> None:
    other.delete_queue("q")
    other.declare_queue("q")
    send_content(publisher)
    assert other.drain("q") == [b"late"]


def test_an_exchange_deleted_meanwhile_is_not_found(node: Node) -> None:
    channel, other = node.connect().channel(), node.connect().channel()
    other.declare_exchange("x", "fanout")
    channel.send(commands.Basic.Publish(exchange="x"))
    other.delete_exchange("x")
    send_content(channel)
    channel.expect_close(404, commands.Basic.Publish)
