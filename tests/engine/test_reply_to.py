"""Direct reply-to's addressee by itself (the conversation is in ``tests/amqp/methods/test_basic.py``)."""

from __future__ import annotations

import pytest

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.engine.reply_to import PREFIX, PSEUDO_QUEUE, ReplyQueue, is_reply_to
from tests.support.client import ClientChannel
from tests.support.node import Node


def reply(body: bytes = b"!") -> Message:
    return Message(address("", "r"), build_header(len(body)), body, False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (PSEUDO_QUEUE, True),
        (PREFIX + "abc", True),
        ("amq.rabbitmq.reply-tox", False),
        ("q", False),
        ("", False),
    ],
)
def test_names_are_told_apart(name: str, expected: bool) -> None:
    assert is_reply_to(name) == expected


def test_without_a_reader_replies_are_dropped() -> None:
    queue = ReplyQueue(PREFIX + "x")
    assert queue.push(reply())
    assert (queue.ready_count(), queue.ready_bytes, queue.consumer_count()) == (0, 0, 0)
    assert not queue.can_deliver_now()


def test_an_immediate_reply_needs_a_reader_that_takes_it(node: Node, channel: ClientChannel) -> None:
    channel.consume(PSEUDO_QUEUE, no_ack=True)
    (queue,) = node.vhost.reply_queues.values()
    assert queue.can_deliver_now()
    channel.client.out.pause()
    assert not queue.can_deliver_now()
    queue.push(reply())
    assert queue.ready_count() == 1


def test_waiting_replies_go_with_their_reader(node: Node, channel: ClientChannel) -> None:
    tag = channel.consume(PSEUDO_QUEUE, no_ack=True)
    (queue,) = node.vhost.reply_queues.values()
    channel.client.out.pause()
    queue.push(reply())
    channel.cancel(tag)
    assert (queue.ready_count(), queue.ready_bytes) == (0, 0)


def test_it_never_asks_for_a_turn() -> None:
    queue = ReplyQueue(PREFIX + "x")
    assert not queue.dispatch(100)
