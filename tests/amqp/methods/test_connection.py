"""Class connection: close from either side (the rest is in ``test_handshake.py``)."""

from __future__ import annotations

import pytest
from pamqp import base, commands

from harebell.amqp.connection import CLOSED, CLOSING
from tests.support.client import Client, ClientChannel
from tests.support.node import Node
from tests.support.wire import method, raw_frame, raw_method


def bye(code: int = 200) -> commands.Connection.Close:
    return commands.Connection.Close(reply_code=code, reply_text="bye", class_id=0, method_id=0)


def test_close_is_answered_and_the_socket_is_left_to_the_client(client: Client) -> None:
    client.close()
    assert client.connection.phase == CLOSED
    assert not client.closed
    client.expect_silence()


def test_nothing_is_read_after_close(client: Client, node: Node, other: ClientChannel) -> None:
    queue = other.queue()
    channel = client.channel()
    client.feed(method(0, bye()) + channel.message(b"late", key=queue) + method(1, commands.Channel.Open()))
    client.expect(commands.Connection.CloseOk)
    client.expect_silence()
    assert node.queue(queue).ready_count() == 0


def test_exclusive_queues_are_gone_before_close_ok(node: Node, other: ClientChannel) -> None:
    """A client that reconnects right after close-ok can declare the same names again."""
    client = node.connect()
    client.channel().declare_queue("mine", exclusive=True)
    seen_at_close_ok = []
    collect = client.collect

    def watching(chunks: list[bytes]) -> None:
        collect(chunks)
        if any(isinstance(answer.frame, commands.Connection.CloseOk) for answer in client.inbox):
            seen_at_close_ok.append("mine" in node.vhost.queues)

    client.collect = watching  # type: ignore[method-assign]
    client.close()
    assert seen_at_close_ok == [False]
    other.declare_queue("mine")


def test_close_returns_what_was_not_acknowledged_in_order(node: Node, other: ClientChannel) -> None:
    queue = other.queue()
    client = node.connect()
    one, two = client.channel(1), client.channel(2)
    for body in (b"a", b"b", b"c", b"d"):
        other.publish(body, key=queue)
    assert [channel.get(queue) is not None for channel in (two, one, two, one)] == [True] * 4
    client.close()
    assert other.drain(queue) == [b"a", b"b", b"c", b"d"]


def test_confirms_that_are_due_come_before_close_ok(client: Client) -> None:
    channel = client.channel()
    channel.confirm_select()
    client.feed(channel.message(b"x") * 3 + method(0, bye()))
    assert channel.outcomes() == ["ack"] * 3
    client.expect(commands.Connection.CloseOk)
    client.expect_silence()


def test_a_client_that_closes_while_we_do_gets_its_close_ok(client: Client) -> None:
    client.connection.close_session("bye")
    client.send(0, bye())
    client.expect(commands.Connection.Close)
    client.expect(commands.Connection.CloseOk)
    assert client.closed


def test_close_ok_without_a_close_is_passed_over(client: Client) -> None:
    client.send(0, commands.Connection.CloseOk())
    client.expect_silence()
    client.channel()


@pytest.mark.parametrize(
    "late",
    [
        commands.Channel.Open(),
        commands.Queue.Declare(queue="late"),
        commands.Basic.Publish(),
        commands.Basic.Ack(99),
        commands.Tx.Commit(),
    ],
    ids=lambda frame: frame.name,
)
@pytest.mark.parametrize("number", [1, 5])
def test_while_closing_everything_but_close_and_close_ok_is_dropped(
    client: Client, node: Node, late: base.Frame, number: int
) -> None:
    client.channel()
    client.connection.close_session("bye")
    client.feed(method(number, late) + raw_frame(2, number, b"\x00\x3c" + b"\x00" * 12))
    client.expect_close(320)
    client.expect_silence()
    assert "late" not in node.vhost.queues


def test_a_forced_close_gives_everything_back_at_once(node: Node, other: ClientChannel) -> None:
    queue = other.queue()
    client = node.connect()
    channel = client.channel()
    other.publish(b"x", key=queue)
    channel.consume(queue)
    client.connection.close_session("bye")
    node.turn()
    assert client.connection.phase == CLOSING
    message = other.get(queue)
    assert message is not None and message.redelivered


@pytest.mark.parametrize("number", [1, 2, 65535])
@pytest.mark.parametrize("question", [bye(), commands.Connection.Open("/")], ids=lambda frame: frame.name)
def test_a_connection_method_on_another_channel_is_503(
    client: Client, question: base.Frame, number: int
) -> None:
    client.channel()
    client.send(number, question)
    client.expect_close(503, type(question))


@pytest.mark.parametrize(
    "question", [commands.Channel.Open(), commands.Basic.Get(queue="q"), commands.Tx.Select()]
)
def test_a_channel_method_on_channel_0_is_504(client: Client, question: base.Frame) -> None:
    client.send(0, question)
    client.expect_close(504, type(question))


def test_a_publish_on_channel_0_is_504(client: Client) -> None:
    client.feed(raw_method(0, commands.Basic.Publish.index, b"\x00\x00\x00\x00\x00"))
    client.expect_close(504, commands.Basic.Publish)


def test_a_method_only_the_broker_sends_is_refused(client: Client) -> None:
    client.send(0, commands.Connection.Tune(1, 1, 1))
    client.expect_close(504, commands.Connection.Tune)


def test_undecodable_close_is_501(client: Client) -> None:
    client.feed(raw_method(0, commands.Connection.Close.index, b"\x00"))
    client.expect_close(501, commands.Connection.Close)
