"""Frames of an open connection: any split, every malformation, size limits, blocking and forced closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.connection import CLOSED
from harebell.amqp.handshake import HandshakeOptions
from tests.support.client import FEEDINGS, Client, ClientChannel
from tests.support.node import Node
from tests.support.wire import HEARTBEAT, content, method, raw_frame, raw_method, raw_publish

GET = commands.Basic.Get.index
PUBLISH = commands.Basic.Publish.index


def header(size: int, flags: int = 0, class_id: int = 60, weight: int = 0) -> bytes:
    return (
        class_id.to_bytes(2, "big")
        + weight.to_bytes(2, "big")
        + size.to_bytes(8, "big")
        + flags.to_bytes(2, "big")
    )


# splits


@given(st.data())
def test_a_conversation_means_the_same_in_any_split(data: st.DataObject) -> None:
    node = Node()
    client = node.connect()
    bodies = data.draw(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
    stream = method(1, commands.Channel.Open(), commands.Queue.Declare(queue="q"), commands.Confirm.Select())
    for body in bodies:
        splits = data.draw(st.lists(st.integers(0, max(0, len(body) // 4 - 1)), max_size=4 if body else 0))
        stream += raw_publish(1, "", "q") + content(1, body, splits=splits) + HEARTBEAT
    stream += method(1, *[commands.Basic.Get(queue="q", no_ack=True)] * len(bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        client.connection.receive_data(stream[start:end])
    node.turn()
    answers = client.received()
    assert [a.body for a in answers if isinstance(a.frame, commands.Basic.GetOk)] == bodies
    confirmed = [a.frame.delivery_tag for a in answers if isinstance(a.frame, commands.Basic.Ack)]
    assert confirmed[-1] == len(bodies)
    client.expect_silence()


def test_two_channels_may_interleave_their_content(client: Client) -> None:
    first, _ = client.channel(1), client.channel(2)
    queue = first.queue()
    one = [raw_publish(1, "", queue), content(1, b"aaaabbbb", splits=[4])]
    two = [raw_publish(2, "", queue), content(2, b"ccccdddd", splits=[4])]
    header_size = 8 + 14
    client.feed(
        one[0]
        + two[0]
        + one[1][:header_size]
        + two[1][:header_size]
        + one[1][header_size : header_size + 12]
        + two[1][header_size : header_size + 12]
        + two[1][header_size + 12 :]
        + one[1][header_size + 12 :]
    )
    assert first.drain(queue) == [b"ccccdddd", b"aaaabbbb"]


def test_empty_body_frames_are_passed_over(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    client.feed(
        raw_publish(1, "", queue)
        + raw_frame(2, 1, header(2))
        + raw_frame(3, 1, b"")
        + raw_frame(3, 1, b"a")
        + raw_frame(3, 1, b"")
        + raw_frame(3, 1, b"b")
    )
    assert channel.drain(queue) == [b"ab"]


def test_heartbeats_are_taken_at_any_point(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    publish = raw_publish(1, "", queue)
    client.feed(
        publish + HEARTBEAT + raw_frame(2, 1, header(1)) + HEARTBEAT + raw_frame(3, 1, b"x") + HEARTBEAT
    )
    assert channel.drain(queue) == [b"x"]


def test_the_highest_channel_number_works_both_ways(node: Node) -> None:
    client = node.connect()
    for number in (32767, 32768, 65535):
        channel = client.channel(number)
        queue = channel.queue()
        channel.consume(queue, no_ack=True)
        channel.publish(b"x", key=queue)
        channel.publish(b"lost", key="nosuch", mandatory=True)
        assert channel.bodies() == [b"x"]
        assert channel.expect_answer().frame.name == "Basic.Return"
        channel.close()


# malformed frames


def test_a_frame_without_its_end_octet_is_501(client: Client) -> None:
    client.channel()
    client.feed(raw_frame(1, 1, b"\x00\x3c\x00\x46", end=0xCD))
    client.expect_close(501, 0, "frame-end")


@pytest.mark.parametrize("kind", [0, 4, 5, 7, 9, 255])
@pytest.mark.parametrize("number", [0, 1, 9])
def test_an_unknown_frame_type_is_501(client: Client, kind: int, number: int) -> None:
    client.channel()
    client.feed(raw_frame(kind, number, b"x"))
    client.expect_close(501, 0, "frame type")


@pytest.mark.parametrize(
    ("number", "payload", "code"), [(0, b"x", 501), (1, b"x", 501), (1, b"", 505), (9, b"", 505)]
)
def test_a_heartbeat_anywhere_but_empty_on_channel_0_is_an_error(
    client: Client, number: int, payload: bytes, code: int
) -> None:
    client.channel()
    client.feed(raw_frame(8, number, payload))
    client.expect_close(code, 0, "heartbeat")


@pytest.mark.parametrize("number", [0, 1, 9])
@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x3c\x00"])
def test_a_method_frame_without_a_whole_method_id_closes(client: Client, number: int, payload: bytes) -> None:
    client.channel()
    client.feed(raw_frame(1, number, payload))
    client.expect_close(502, 0, "too short")


@pytest.mark.parametrize("index", [0x003C00C8, 0x00FF0001, 0x80010001, 0xFFFFFFFF, 0])
def test_an_unknown_method_is_503_and_named(client: Client, index: int) -> None:
    client.channel()
    client.feed(raw_method(1, index))
    client.expect_close(503, index)


@pytest.mark.parametrize("index", [0x000A0063, 0x80010001, 0xFFFFFFFF])
def test_an_unknown_method_on_channel_0_closes_the_connection(client: Client, index: int) -> None:
    client.feed(raw_method(0, index))
    close = client.expect(commands.Connection.Close)
    assert close.reply_code in (503, 504)


@pytest.mark.parametrize(
    "question",
    [
        commands.Channel.OpenOk(),
        commands.Queue.DeclareOk("q", 0, 0),
        commands.Basic.ConsumeOk("t"),
        commands.Basic.Deliver("t", 1, False, "", ""),
        commands.Basic.GetEmpty(),
        commands.Basic.Return(312, "", "", ""),
        commands.Confirm.SelectOk(),
    ],
    ids=lambda frame: frame.name,
)
def test_a_method_only_the_broker_sends_is_503(client: Client, question: commands.Basic.Deliver) -> None:
    client.channel().send(question)
    client.expect_close(503, type(question))


@pytest.mark.parametrize(
    ("index", "arguments"),
    [
        (GET, b"\x00\x00\x05ab\x00"),
        (GET, b"\x00\x00\x01q\x00\x00"),
        (GET, b""),
        (PUBLISH, b""),
        (PUBLISH, b"\x00\x00"),
        (PUBLISH, b"\x00\x00\x05ab"),
        (PUBLISH, b"\x00\x00\x00\x00"),
        (PUBLISH, b"\x00\x00\x00\x00\x00\x00"),
        (PUBLISH, b"\x00\x00\x00\x01a"),
        (commands.Basic.Ack.index, b"\x00\x00"),
        (commands.Basic.Ack.index, b"\x00" * 10),
        (commands.Basic.Nack.index, b"\x00" * 8),
        (commands.Basic.Reject.index, b"\x00" * 12),
        (commands.Queue.Declare.index, b"\x00\x00\x01q\x00\x00\x00\x00\x09"),
        (commands.Queue.Declare.index, b"\x00\x00\x01q\x00\xff\xff\xff\xff"),
        (commands.Queue.Declare.index, b"\x00\x00\x01q\x00\x00\x00\x00\x04\x01a?\x00"),
        (commands.Queue.Declare.index, b"\x00\x00\x01q\x00\x00\x00\x00\x07\x01aS\x00\x00\x00\x09"),
        (commands.Channel.Open.index, b""),
        (commands.Channel.Close.index, b"\x00\xc8\x00"),
    ],
)
def test_undecodable_arguments_are_501_with_the_method_at_fault(
    client: Client, index: int, arguments: bytes
) -> None:
    client.channel()
    client.feed(raw_method(1, index, arguments))
    client.expect_close(501, index, "cannot decode")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", [2, 3])
def test_content_without_a_method_is_505(client: Client, number: int, kind: int) -> None:
    client.channel()
    client.feed(raw_frame(kind, number, header(0)))
    client.expect_close(505, PUBLISH if number else 0)


@pytest.mark.parametrize("kind", [2, 3])
def test_content_on_an_unopened_channel_closes_the_connection(client: Client, kind: int) -> None:
    client.feed(raw_frame(kind, 7, header(0)))
    client.expect_close(504)


def test_a_method_where_a_content_header_is_due_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_method(1, GET, b"\x00\x00\x00\x00"))
    client.expect_close(505, GET)


def test_a_publish_where_a_body_is_due_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header(1)) + raw_publish(1, "", "q"))
    client.expect_close(505, PUBLISH)


def test_an_ack_where_a_body_is_due_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header(1)) + method(1, commands.Basic.Ack(1)))
    client.expect_close(505, commands.Basic.Ack)


def test_a_body_where_a_header_is_due_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(3, 1, b"x"))
    client.expect_close(505, PUBLISH)


def test_a_second_header_is_505(client: Client) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header(1)) + raw_frame(2, 1, header(1)))
    client.expect_close(505, PUBLISH)


def test_a_body_longer_than_announced_is_501(client: Client) -> None:
    client.channel()
    client.feed(
        raw_publish(1, "", "q") + raw_frame(2, 1, header(3)) + raw_frame(3, 1, b"ab") + raw_frame(3, 1, b"cd")
    )
    client.expect_close(501, PUBLISH, "longer")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00\x3c", header(0)[:13], header(0, class_id=50), header(0, weight=1)],
    ids=["empty", "class-only", "cut", "another-class", "weight"],
)
def test_a_malformed_content_header_is_501(client: Client, payload: bytes) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, payload))
    client.expect_close(501, PUBLISH, "content header")


@pytest.mark.parametrize("size", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 512 * 1024 * 1024 + 1])
def test_an_impossible_body_size_is_501(client: Client, size: int) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header(size)))
    client.expect_close(501, PUBLISH)


def test_what_follows_a_malformed_frame_is_not_read(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    client.feed(raw_frame(1, 1, b"\x00\x3c\x00\x46", end=0) + channel.message(b"x", key=queue))
    client.expect(commands.Connection.Close)
    assert client.node.queue(queue).ready_count() == 0


def test_garbage_after_the_close_drops_the_socket(node: Node) -> None:
    client = node.connect()
    client.feed(raw_frame(1, 0, b"\x00\x3c\x00\x46", end=0))
    client.expect(commands.Connection.Close)
    client.feed(raw_frame(5, 0, b"\x00\x3c\x00\x46", end=0))
    assert client.closed
    client.expect_silence()


# sizes


def test_a_frame_may_exceed_the_maximum_by_eight_octets_as_rabbitmq_allows(node: Node) -> None:
    client = node.client()
    client.open(frame_max=4096)
    channel = client.channel()
    queue = channel.queue()
    client.feed(raw_publish(1, "", queue) + raw_frame(2, 1, header(4096)) + raw_frame(3, 1, b"x" * 4096))
    assert channel.drain(queue) == [b"x" * 4096]


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_a_larger_frame_is_501_before_its_payload_is_here(node: Node, feeding: str) -> None:
    client = node.client(feeding)
    client.open(frame_max=4096)
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header(4097)) + raw_frame(3, 1, b"x" * 4097)[:8])
    client.expect_close(501, 0, "frame size")


@pytest.mark.parametrize("size", [131073, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_an_announced_frame_size_is_never_trusted(client: Client, size: int) -> None:
    client.feed(b"\x01\x00\x01" + size.to_bytes(4, "big") + b"\x00")
    client.expect_close(501, 0, "frame size")


def test_each_side_keeps_to_the_other_s_frame_size(node: Node) -> None:
    """One client takes 4 KiB frames, the other 128 KiB: the message is cut anew for each."""
    large, small = node.connect(), node.client()
    small.open(frame_max=4096)
    publisher, consumer = large.channel(), small.channel()
    queue = consumer.queue()
    consumer.consume(queue, no_ack=True)
    body = bytes(range(256)) * 900
    publisher.publish(body, key=queue)
    (delivery,) = consumer.deliveries()
    assert delivery.body == body
    assert max(delivery.answer.frame_sizes) == 4096
    assert set(delivery.answer.frame_sizes[2:-1]) == {4096}
    consumer.publish(body, key=queue, splits=[4088] * (len(body) // 4088) + [len(body) % 4088])
    (delivery,) = consumer.deliveries()
    assert delivery.body == body


@pytest.mark.parametrize(
    "size", [0, 1, 4087, 4088, 4089, 8176, 8177, 16383, 16384, 16385, 40880, 131064, 131065]
)
@pytest.mark.parametrize("frame_max", [4096, 4097, 20000, 131072])
def test_a_body_of_any_size_is_cut_into_full_frames(node: Node, size: int, frame_max: int) -> None:
    client = node.client()
    client.open(frame_max=frame_max)
    channel = client.channel()
    queue = channel.queue()
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    room = frame_max - 8
    for _ in range(2):
        channel.client.feed(raw_publish(1, "", queue) + content(1, body, frame_max=frame_max))
    message = channel.get(queue, no_ack=True)
    assert message is not None and message.body == body
    expected = [room + 8] * (size // room) + ([size % room + 8] if size % room else [])
    assert message.answer.frame_sizes[2:] == expected
    channel.consume(queue, no_ack=True)
    (delivery,) = channel.deliveries()
    assert delivery.body == body
    assert delivery.answer.frame_sizes[2:] == expected


def test_an_unlimited_frame_size_sends_a_body_in_one_frame() -> None:
    node = Node(options=HandshakeOptions(frame_max=0))
    client = node.client()
    client.open(frame_max=0)
    channel = client.channel()
    queue = channel.queue()
    body = b"x" * 1_000_000
    client.feed(raw_publish(1, "", queue) + content(1, body, frame_max=1 << 30))
    message = channel.get(queue)
    assert message is not None and message.body == body
    assert message.answer.frame_sizes[2:] == [1_000_008]


# a peer cannot make us hold more than one frame and one message


def test_no_more_than_one_frame_is_kept_of_a_slow_peer(node: Node) -> None:
    client = node.connect()
    client.channel()
    frame = raw_frame(3, 1, b"x" * 131000)
    client.connection.receive_data(raw_publish(1, "", "q") + raw_frame(2, 1, header(131000)))
    for at in range(0, len(frame) - 1, 97):
        client.connection.receive_data(frame[at : min(at + 97, len(frame) - 1)])
        assert sum(map(len, client.connection._tail)) <= len(frame)
    client.connection.receive_data(frame[-1:])
    assert client.connection._tail == []


def test_a_body_in_tiny_frames_does_not_multiply_memory(node: Node) -> None:
    channel = node.connect().channel()
    queue = channel.queue()
    body = bytes(n % 251 for n in range(5000))
    channel.publish(body, key=queue, splits=[1] * 4999)
    assert channel.drain(queue) == [body]


# channel numbers and limits


def test_channels_are_counted_whatever_their_numbers(node: Node) -> None:
    client = node.client()
    client.open(channel_max=2)
    client.channel(500)
    second = client.channel(9)
    second.close()
    client.channel(7)
    client.send(1, commands.Channel.Open())
    client.expect_close(530, commands.Channel.Open, "negotiated channel_max (2)")


def test_a_closing_channel_still_counts(node: Node) -> None:
    client = node.client()
    client.open(channel_max=1)
    channel = client.channel()
    channel.send(commands.Basic.Get(queue="nosuch"))
    channel.expect_close(404, commands.Basic.Get)
    client.channel(2)


# blocking


def test_blocked_and_unblocked_are_told_once_to_a_client_that_understands(node: Node) -> None:
    client = node.connect()
    client.connection.block("low on memory")
    client.connection.block("low on memory")
    node.turn()
    assert client.expect(commands.Connection.Blocked).reason == "low on memory"
    client.connection.unblock()
    client.connection.unblock()
    node.turn()
    client.expect(commands.Connection.Unblocked)
    client.expect_silence()


def test_a_client_without_the_capability_is_not_told(node: Node) -> None:
    client = node.client()
    client.open(capabilities={})
    client.connection.block("low on disk")
    assert client.connection.blocked
    client.connection.unblock()
    node.turn()
    client.expect_silence()


def test_publishing_is_noted_so_that_alarms_find_publishers(client: Client) -> None:
    channel = client.channel()
    queue = channel.queue()
    channel.consume(queue)
    assert not client.connection.has_published
    channel.publish(b"x", key=queue)
    assert client.connection.has_published


# forced closes


def test_a_forced_close_is_320(client: Client) -> None:
    client.channel()
    client.connection.close_session("broker forced connection closure with reason 'shutdown'")
    client.node.turn()
    client.expect_close(320, 0, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")


def test_a_forced_close_of_a_stranger_drops_the_socket(node: Node) -> None:
    stranger = node.client()
    stranger.start()
    stranger.connection.close_session("bye")
    node.turn()
    assert stranger.closed
    stranger.expect_silence()


def test_a_second_forced_close_drops_the_socket(node: Node) -> None:
    client = node.connect()
    client.connection.close_session("bye")
    client.connection.close_session("bye")
    node.turn()
    client.expect(commands.Connection.Close)
    client.expect_silence()
    assert client.closed


# end of the socket


def test_a_lost_socket_gives_everything_back(node: Node, other: ClientChannel) -> None:
    client = node.connect()
    channel = client.channel()
    other.declare_queue("shared")
    channel.declare_queue("mine", exclusive=True)
    other.publish(b"a", key="shared")
    other.publish(b"b", key="shared")
    channel.consume("shared")
    assert channel.bodies() == [b"a", b"b"]
    client.hang_up()
    assert "mine" not in node.vhost.queues
    assert client.connection.phase == CLOSED
    assert len(node.broker.sessions) == 1
    for body in (b"a", b"b"):
        message = other.get("shared")
        assert message is not None and (message.body, message.redelivered) == (body, True)


def test_bytes_after_the_end_are_ignored(node: Node) -> None:
    client = node.connect()
    client.hang_up()
    client.feed(method(1, commands.Channel.Open()))
    client.hang_up()
    client.expect_silence()


def test_a_socket_lost_in_the_middle_of_a_message_leaves_none(node: Node, other: ClientChannel) -> None:
    queue = other.queue()
    client = node.connect()
    channel = client.channel()
    client.feed(channel.message(b"whole", key=queue) + channel.message(b"half a message", key=queue)[:-3])
    client.hang_up()
    assert other.drain(queue) == [b"whole"]
