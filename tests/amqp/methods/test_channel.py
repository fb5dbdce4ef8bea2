"""Class channel: open, flow, close (AMQP 0-9-1 section 1.5)."""

from __future__ import annotations

import pytest
from pamqp import base, commands

from tests.support.client import Client, ClientChannel, basic_consume, queue_declare
from tests.support.node import Node
from tests.support.wire import method, raw_frame, raw_publish

CLOSE = commands.Channel.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0)


def test_opening_twice_is_504(client: Client) -> None:
    channel = client.channel()
    channel.send(commands.Channel.Open())
    client.expect_close(504, commands.Channel.Open, "second 'channel.open'")


@pytest.mark.parametrize(
    "question",
    [
        CLOSE,
        commands.Channel.Flow(True),
        commands.Basic.Get(queue="q"),
        commands.Basic.Ack(1),
        commands.Tx.Select(),
    ],
    ids=lambda frame: frame.name,
)
def test_a_method_on_a_channel_that_is_not_open_is_504(client: Client, question: base.Frame) -> None:
    client.channel(1)
    client.send(2, question)
    client.expect_close(504, type(question))


def test_a_publish_on_a_channel_that_is_not_open_is_504(client: Client) -> None:
    client.feed(raw_publish(2, "", "q"))
    client.expect_close(504, commands.Basic.Publish)


def test_a_closed_number_can_be_opened_again_with_a_fresh_state(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    channel.confirm_select()
    channel.publish(b"a", key=queue)
    channel.confirms()
    channel.consume(queue, "t")
    assert [delivery.tag for delivery in channel.deliveries()] == [1]
    channel.close()
    channel.open()
    channel.publish(b"b", key=queue)
    assert channel.confirms() == []
    channel.consume(queue, "t")
    assert [(d.tag, d.body, d.redelivered) for d in channel.deliveries()] == [
        (1, b"a", True),
        (2, b"b", False),
    ]


def test_close_and_open_of_one_number_can_be_pipelined(client: Client) -> None:
    client.channel()
    client.send(1, CLOSE, commands.Channel.Open(), queue_declare("q"))
    assert [answer.frame.name for answer in client.received()] == [
        "Channel.CloseOk",
        "Channel.OpenOk",
        "Queue.DeclareOk",
    ]


def test_confirms_that_are_due_come_before_close_ok_and_never_after(client: Client) -> None:
    channel = client.channel()
    channel.confirm_select()
    client.feed(channel.message(b"x") * 2 + method(1, CLOSE, commands.Channel.Open()))
    names = [answer.frame.name for answer in client.inbox]
    assert names[-3:] == ["Basic.Ack", "Channel.CloseOk", "Channel.OpenOk"]
    assert channel.outcomes() == ["ack"] * 2


def test_close_returns_what_was_not_acknowledged(client: Client, other: ClientChannel) -> None:
    queue = other.queue()
    for body in (b"a", b"b", b"c"):
        other.publish(body, key=queue)
    channel = client.channel()
    channel.consume(queue)
    _, second, _ = channel.deliveries()
    channel.ack(second.tag)
    channel.close()
    found = [other.get(queue), other.get(queue)]
    assert [(m.body, m.redelivered) for m in found if m is not None] == [(b"a", True), (b"c", True)]
    assert other.get(queue) is None


def test_close_cancels_consumers_and_keeps_queues_and_exchanges(client: Client, node: Node) -> None:
    channel = client.channel()
    channel.declare_queue("mine", exclusive=True)
    channel.declare_exchange("x", auto_delete=True)
    channel.consume("mine")
    channel.close()
    assert node.queue("mine").consumer_count() == 0
    assert "x" in node.vhost.exchanges


def test_close_in_the_middle_of_a_content_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + method(1, CLOSE))
    client.expect_close(505, commands.Channel.Close)


# errors close the channel


def test_after_an_error_everything_on_the_channel_is_dropped_until_close_ok(
    client: Client, node: Node
) -> None:
    channel = client.channel()
    queue = channel.queue()
    channel.send(commands.Basic.Get(queue="nosuch"))
    frame = channel.expect(commands.Channel.Close)
    assert (frame.reply_code, frame.class_id, frame.method_id) == (404, 60, 70)
    client.feed(channel.message(b"dropped", key=queue))
    channel.send(queue_declare("late"), commands.Basic.Ack(77), commands.Channel.Open(), commands.Tx.Commit())
    client.feed(raw_frame(3, 1, b"stray body") + raw_frame(2, 1, b"stray header"))
    channel.expect_silence()
    assert "late" not in node.vhost.queues
    assert node.queue(queue).ready_count() == 0
    channel.send(commands.Channel.CloseOk())
    channel.open()


def test_what_was_pipelined_behind_an_error_is_dropped(client: Client, node: Node) -> None:
    channel = client.channel()
    channel.send(commands.Basic.Get(queue="nosuch"), queue_declare("late"), commands.Channel.CloseOk())
    channel.expect(commands.Channel.Close)
    channel.open()
    assert "late" not in node.vhost.queues


def test_an_error_leaves_other_channels_alone(client: Client) -> None:
    first, second = client.channel(1), client.channel(2)
    queue = second.queue()
    second.consume(queue)
    first.send(commands.Basic.Get(queue="nosuch"))
    second.publish(b"x", key=queue)
    assert second.bodies() == [b"x"]


def test_an_error_returns_unacknowledged_messages_and_ends_consumers(
    client: Client, other: ClientChannel
) -> None:
    queue = other.queue()
    channel = client.channel()
    channel.consume(queue)
    other.publish(b"x", key=queue)
    channel.deliveries()
    channel.ack(99)
    channel.expect_close(406, commands.Basic.Ack)
    message = other.get(queue)
    assert message is not None and message.redelivered
    other.publish(b"y", key=queue)
    channel.expect_silence()


def test_closes_that_cross_are_both_answered(client: Client) -> None:
    channel = client.channel()
    channel.send(commands.Basic.Get(queue="nosuch"), CLOSE)
    channel.expect(commands.Channel.Close)
    channel.expect(commands.Channel.CloseOk)
    channel.send(commands.Channel.CloseOk())
    channel.expect_silence()
    channel.open()


def test_a_second_error_on_a_closing_channel_is_not_told(client: Client) -> None:
    channel = client.channel()
    channel.send(commands.Basic.Get(queue="nosuch"), commands.Basic.Get(queue="nosuch"))
    channel.expect_close(404, commands.Basic.Get)
    channel.expect_silence()


def test_confirms_that_are_due_come_before_an_error(client: Client) -> None:
    channel = client.channel()
    channel.confirm_select()
    client.feed(channel.message(b"x") * 3 + channel.message(b"x", exchange="nosuch"))
    assert channel.outcomes() == ["ack"] * 3
    channel.expect_close(404, commands.Basic.Publish)
    channel.expect_silence()


# flow


def test_flow_pauses_and_resumes_deliveries(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    channel.consume(queue, no_ack=True)
    assert channel.call(commands.Channel.Flow(False), commands.Channel.FlowOk).active is False
    channel.publish(b"a", key=queue)
    channel.publish(b"b", key=queue)
    channel.expect_silence()
    assert channel.get(queue, no_ack=True) is not None, "basic.get is not subject to flow"
    assert channel.call(commands.Channel.Flow(True), commands.Channel.FlowOk).active is True
    assert channel.bodies() == [b"b"]


def test_flow_of_one_channel_does_not_pause_another(client: Client) -> None:
    paused, running = client.channel(1), client.channel(2)
    queue = paused.queue()
    paused.consume(queue, no_ack=True)
    running.consume(queue, no_ack=True)
    paused.call(commands.Channel.Flow(False), commands.Channel.FlowOk)
    for body in (b"a", b"b", b"c"):
        running.publish(body, key=queue)
    assert running.bodies() == [b"a", b"b", b"c"]
    paused.call(commands.Channel.Flow(True), commands.Channel.FlowOk)
    for body in (b"d", b"e"):
        running.publish(body, key=queue)
    assert len(paused.bodies()) == len(running.bodies()) == 1


def test_a_consumer_started_while_paused_waits_too(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    channel.publish(b"a", key=queue)
    channel.call(commands.Channel.Flow(False), commands.Channel.FlowOk)
    channel.consume(queue)
    channel.expect_silence()
    channel.call(commands.Channel.Flow(True), commands.Channel.FlowOk)
    assert channel.bodies() == [b"a"]


def test_flow_ok_is_passed_over(client: Client) -> None:
    channel = client.channel()
    channel.send(commands.Channel.FlowOk(True))
    channel.expect_silence()


def test_a_stray_close_ok_is_passed_over(client: Client) -> None:
    client.send(3, commands.Channel.CloseOk())
    channel = client.channel()
    channel.send(commands.Channel.CloseOk())
    channel.expect_silence()


def test_a_consumer_and_its_deliveries_may_be_pipelined_with_open(client: Client) -> None:
    client.feed(
        method(1, commands.Channel.Open(), queue_declare("q"), basic_consume("q", "t"))
        + raw_publish(1, "", "q")
        + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 12)
    )
    assert [answer.frame.name for answer in client.received()] == [
        "Channel.OpenOk",
        "Queue.DeclareOk",
        "Basic.ConsumeOk",
        "Basic.Deliver",
    ]
