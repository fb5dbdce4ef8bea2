"""Serving queues: within a budget, each in its turn, nothing left behind."""

from __future__ import annotations

from pamqp import commands

from harebell.engine.dispatch import BUDGET
from tests.support.client import ClientChannel
from tests.support.node import Node


def fill(channel: ClientChannel, queue: str, count: int) -> None:
    channel.client.feed(channel.message(b"x", key=queue) * count)


def test_a_deep_backlog_is_delivered_budget_by_budget(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("deep")
    fill(channel, "deep", BUDGET + 10)
    dispatcher = node.broker.dispatcher
    client = node.connect()
    reader = client.channel()
    served: list[int] = []
    original = client.collect

    def counting(chunks: list[bytes]) -> None:
        before = len(client.inbox)
        original(chunks)
        served.append(len(client.inbox) - before)

    client.collect = counting  # type: ignore[method-assign]
    reader.consume("deep", no_ack=True)
    assert served == [1 + BUDGET, 10]
    assert len(reader.bodies()) == BUDGET + 10
    assert not dispatcher.busy


def test_a_deep_queue_does_not_keep_the_others_waiting(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("deep")
    channel.declare_queue("shallow")
    fill(channel, "deep", BUDGET + 10)
    fill(channel, "shallow", 1)
    deep, shallow = node.connect().channel(), node.connect().channel()
    dispatcher = node.broker.dispatcher
    for reader, queue in ((deep, "deep"), (shallow, "shallow")):
        connection = reader.client.connection
        reader.client.node = Node()  # keep its turns from running while both queues become due
        reader.send(commands.Basic.Consume(queue=queue, no_ack=True))
        assert connection.channels[1].consumers
    dispatcher.run()
    assert dispatcher.busy
    assert node.queue("shallow").ready_count() == 0
    assert node.queue("deep").ready_count() == 10
    node.turn()
    assert node.queue("deep").ready_count() == 0


def test_a_queue_is_listed_once_however_often_it_is_due(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    dispatcher, queue = node.broker.dispatcher, node.queue("q")
    for _ in range(3):
        dispatcher.schedule(queue)
    assert [queue.scheduled, dispatcher.busy] == [True, False]
    dispatcher.run()
    assert [queue.scheduled, dispatcher.busy] == [False, False]


def test_a_queue_deleted_while_it_is_due_is_passed_over(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    fill(channel, "q", 3)
    node.broker.dispatcher.schedule(node.queue("q"))
    node.broker.delete_queue_now(node.vhost, "q")
    node.turn()
    assert not node.broker.dispatcher.busy


def test_contention_is_noted_when_messages_wait_in_front_of_consumers(
    node: Node, channel: ClientChannel
) -> None:
    queue = channel.queue()
    dispatcher = node.broker.dispatcher
    channel.publish(b"x", key=queue)
    assert not dispatcher.contended
    channel.qos(1)
    channel.consume(queue)
    channel.publish(b"y", key=queue)
    assert dispatcher.contended
