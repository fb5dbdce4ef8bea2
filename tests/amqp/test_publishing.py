"""Publishing: checks in RabbitMQ's order, where messages go, and what comes back."""

from __future__ import annotations

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.amqp.connection import Connection
from harebell.amqp.publishing import check_expiration
from harebell.engine.broker import Limits
from harebell.errors import PRECONDITION_FAILED, BrokerError
from tests.support.client import Client, ClientChannel
from tests.support.node import Node
from tests.support.wire import content, method, raw_frame, raw_publish

PUBLISH = commands.Basic.Publish
RETURN = commands.Basic.Return
Properties = commands.Basic.Properties


def test_the_default_exchange_routes_to_the_queue_named_by_the_key(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"x", key="q")
    channel.publish(b"lost", key="nosuch")
    message = channel.get("q")
    assert message is not None
    assert (message.body, message.exchange, message.routing_key) == (b"x", "", "q")


def test_a_missing_exchange_is_404_once_the_content_is_complete(client: Client) -> None:
    client.channel()
    pieces = content(1, b"abc", splits=[1])
    client.feed(raw_publish(1, "nosuch", "k"))
    client.expect_silence()
    client.feed(pieces[:-10])
    client.expect_silence()
    client.feed(pieces[-10:])
    close = client.expect(commands.Channel.Close, 1)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 60, 40)
    assert close.reply_text == "NOT_FOUND - no exchange 'nosuch' in vhost '/'"


def test_an_exchange_deleted_after_the_first_message_is_404_for_the_next(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout")
    channel.publish(exchange="x")
    channel.delete_exchange("x")
    channel.publish(exchange="x")
    channel.expect_close(404, PUBLISH)


def test_an_internal_exchange_is_403(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout", internal=True)
    channel.publish(exchange="x")
    channel.expect_close(403, PUBLISH, "cannot publish to internal exchange 'x' in vhost '/'")


def test_a_message_reaches_an_internal_exchange_through_a_binding(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout", internal=True)
    channel.bind_exchange("x", "amq.fanout")
    queue = channel.queue()
    channel.bind(queue, "x")
    channel.publish(b"x", exchange="amq.fanout")
    assert channel.drain(queue) == [b"x"]


def test_each_queue_gets_one_copy_however_many_bindings_match(channel: ClientChannel) -> None:
    queue = channel.queue()
    for key in ("#", "a.*", "*.b", "a.b"):
        channel.bind(queue, "amq.topic", key)
    channel.publish(b"x", exchange="amq.topic", key="a.b")
    assert channel.drain(queue) == [b"x"]


def test_changes_of_topology_hold_for_the_next_message(channel: ClientChannel) -> None:
    """The routes of earlier messages are cached."""
    channel.declare_queue("q")
    channel.publish(b"before", exchange="amq.direct", key="k")
    channel.bind("q", "amq.direct", "k")
    channel.publish(b"bound", exchange="amq.direct", key="k")
    channel.unbind("q", "amq.direct", "k")
    channel.publish(b"unbound", exchange="amq.direct", key="k")
    channel.bind("q", "amq.direct", "k")
    assert channel.drain("q") == [b"bound"]
    channel.delete_queue("q")
    channel.publish(b"deleted", exchange="amq.direct", key="k")
    channel.declare_queue("q")
    channel.publish(b"by name", key="q")
    assert channel.drain("q") == [b"by name"]


# mandatory and immediate


def test_an_unroutable_mandatory_message_comes_back_with_all_it_had(channel: ClientChannel) -> None:
    properties = Properties(message_id="m", headers={"a": 1}, delivery_mode=2)
    channel.publish(b"body", exchange="amq.direct", key="no.where", mandatory=True, properties=properties)
    answer = channel.expect_answer()
    frame = answer.frame
    assert isinstance(frame, RETURN)
    assert (frame.reply_code, frame.reply_text) == (312, "NO_ROUTE")
    assert (frame.exchange, frame.routing_key, answer.body) == ("amq.direct", "no.where", b"body")
    assert dict(answer.properties) == dict(properties)


def test_a_routable_mandatory_message_does_not_come_back(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.publish(b"x", key=queue, mandatory=True)
    channel.expect_silence()


def test_returns_come_before_the_confirm(channel: ClientChannel) -> None:
    channel.confirm_select()
    channel.client.feed(channel.message(b"a", mandatory=True) + channel.message(b"b", mandatory=True))
    names = [answer.frame.name for answer in channel.client.inbox]
    assert names.index("Basic.Return") < names.index("Basic.Ack")
    assert names.count("Basic.Return") == 2
    assert channel.outcomes() == ["ack", "ack"]


def test_mandatory_is_judged_after_the_alternate_exchange(channel: ClientChannel) -> None:
    channel.declare_exchange("x", arguments={"alternate-exchange": "amq.fanout"})
    channel.publish(b"lost", exchange="x", mandatory=True)
    assert channel.expect(RETURN).reply_code == 312
    queue = channel.queue()
    channel.bind(queue, "amq.fanout")
    channel.publish(b"caught", exchange="x", mandatory=True)
    channel.expect_silence()
    assert channel.drain(queue) == [b"caught"]


@pytest.mark.parametrize("key", ["empty", "busy"])
def test_immediate_comes_back_when_nobody_takes_it_at_once(channel: ClientChannel, key: str) -> None:
    channel.declare_queue("empty")
    channel.declare_queue("busy")
    channel.qos(1)
    channel.consume("busy")
    channel.publish(b"keeps it busy", key="busy")
    channel.deliveries()
    channel.publish(b"x", key=key, immediate=True)
    answer = channel.expect_answer()
    assert isinstance(answer.frame, RETURN)
    assert (answer.frame.reply_code, answer.frame.reply_text, answer.body) == (313, "NO_CONSUMERS", b"x")
    assert channel.ready(key) == 0


def test_immediate_goes_only_to_queues_whose_consumers_take_it(channel: ClientChannel) -> None:
    waiting, taken = channel.queue(), channel.queue()
    channel.bind(waiting, "amq.fanout")
    channel.bind(taken, "amq.fanout")
    channel.consume(taken)
    channel.publish(b"x", exchange="amq.fanout", immediate=True)
    assert channel.bodies() == [b"x"]
    assert channel.ready(waiting) == 0


def test_immediate_without_a_route_is_313_or_if_mandatory_312(channel: ClientChannel) -> None:
    channel.publish(key="nosuch", immediate=True)
    assert channel.expect(RETURN).reply_code == 313
    channel.publish(key="nosuch", immediate=True, mandatory=True)
    assert channel.expect(RETURN).reply_code == 312


def test_an_immediate_message_that_came_back_is_counted_as_returned(
    channel: ClientChannel, node: Node
) -> None:
    channel.publish(key="nosuch", immediate=True)
    channel.expect(RETURN)
    tally = node.vhost.counters.default
    assert (tally.received, tally.returned, tally.dropped, tally.routed) == (1, 1, 0, 0)
    (session,) = node.broker.sessions
    assert isinstance(session, Connection)
    assert session.channels[channel.number].returned == 1


def test_an_immediate_message_that_came_back_is_confirmed(channel: ClientChannel) -> None:
    channel.confirm_select()
    channel.publish(key="nosuch", immediate=True)
    channel.expect(RETURN)
    assert channel.outcomes() == ["ack"]


# sizes


@pytest.mark.parametrize("feeding", ["whole", "octets"])
def test_one_octet_more_than_the_limit_is_406_before_the_body_is_here(feeding: str) -> None:
    node = Node(limits=Limits(max_message_size=1000))
    client, neighbour = node.connect(feeding), node.connect().channel()
    channel = client.channel()
    queue = neighbour.queue()
    channel.publish(b"x" * 1000, key=queue)
    client.feed(raw_publish(1, "", queue) + content(1, b"x" * 1001)[: 8 + 14])
    channel_close = client.expect(commands.Channel.Close, 1)
    assert (channel_close.reply_code, channel_close.method_id) == (406, 40)
    assert channel_close.reply_text == (
        "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000"
    )
    client.feed(raw_frame(3, 1, b"x" * 1001) + method(1, commands.Channel.CloseOk()))
    client.channel(2)
    assert neighbour.drain(queue) == [b"x" * 1000]


def test_a_limit_of_0_takes_empty_messages_only() -> None:
    channel = Node(limits=Limits(max_message_size=0)).connect().channel()
    queue = channel.queue()
    channel.publish(b"", key=queue)
    channel.publish(b"x", key=queue)
    channel.expect_close(406, PUBLISH)


# properties


@pytest.mark.parametrize("mode", [0, 3, 255])
def test_a_delivery_mode_other_than_1_or_2_is_406(client: Client, mode: int) -> None:
    channel = client.channel()
    client.feed(
        raw_publish(1, "", "q") + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 10 + b"\x10\x00" + bytes([mode]))
    )
    channel.expect_close(406, PUBLISH, "delivery mode")


@pytest.mark.parametrize("expiration", ["0", "1", "60000", "+60000", "315360000000", "007"])
def test_a_number_of_milliseconds_is_an_expiration(channel: ClientChannel, expiration: str) -> None:
    queue = channel.queue()
    channel.publish(b"x", key=queue, properties=Properties(expiration=expiration))
    channel.expect_silence()


@pytest.mark.parametrize(
    "expiration", ["-1", "x", "1.5", "1e3", " 1", "1 ", "315360000001", "9" * 30, "+", "0x1", "٣"]
)
def test_anything_else_is_406(channel: ClientChannel, expiration: str) -> None:
    channel.publish(properties=Properties(expiration=expiration))
    channel.expect_close(406, PUBLISH, "invalid expiration")


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe"])
def test_what_pamqp_cannot_write_is_refused_too(raw: bytes) -> None:
    with pytest.raises(BrokerError) as refused:
        check_expiration(raw)
    assert refused.value.row is PRECONDITION_FAILED


def test_the_user_id_must_be_who_logged_in(channel: ClientChannel, node: Node) -> None:
    queue = channel.queue()
    channel.publish(b"x", key=queue, properties=Properties(user_id="guest"))
    assert channel.ready(queue) == 1
    channel.publish(properties=Properties(user_id="root"))
    text = channel.expect_close(406, PUBLISH)
    assert text == "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'"


def test_an_empty_user_id_is_406(channel: ClientChannel) -> None:
    channel.client.feed(
        raw_publish(1, "", "q") + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 10 + b"\x00\x10" + b"\x00")
    )
    channel.expect_close(406, PUBLISH, "user_id")


def test_an_impersonator_may_name_anybody(node: Node) -> None:
    node.users.put_user("app", node.users.users["guest"].password, ("impersonator",))
    node.users.set_permissions("app", "/", ".*", ".*", ".*")
    client = node.client()
    client.open(username="app")
    channel = client.channel()
    queue = channel.queue()
    channel.publish(b"x", key=queue, properties=Properties(user_id="root"))
    assert channel.ready(queue) == 1


@pytest.mark.parametrize(
    "tail",
    [
        b"\x80\x00",
        b"\x80\x00\x05ab",
        b"\x20\x00\x00\x00\x00\x05\x01a",
        b"\x20\x00\xff\xff\xff\xff",
        b"\x20\x00\x00\x00\x00\x03\x01a?",
        b"\x00\x40\x00\x00",
        b"\x00\x01",
        b"\x00\x02",
        b"\x00\x00\x00",
        b"\x10\x00\x01\x00",
        b"\x08\x00",
    ],
)
def test_properties_that_do_not_add_up_are_502(client: Client, tail: bytes) -> None:
    client.channel()
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 10 + tail))
    client.expect_close(502, PUBLISH, "content header")


def test_deeply_nested_headers_are_502(client: Client) -> None:
    data = b""
    for _ in range(500):
        data = b"\x00F" + len(data).to_bytes(4, "big") + data
    client.channel()
    header = b"\x00\x3c" + b"\x00" * 10 + b"\x20\x00" + len(data).to_bytes(4, "big") + data
    client.feed(raw_publish(1, "", "q") + raw_frame(2, 1, header))
    client.expect_close(502, PUBLISH)


def test_properties_travel_byte_for_byte(channel: ClientChannel) -> None:
    """Odd numbers, NaN, timestamps of any size: nobody asked us to understand them."""
    queue = channel.queue()
    table = b"".join(
        [
            b"\x01ad\x7f\xf8\x00\x00\x00\x00\x00\x01",
            b"\x01bT\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x01cl\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x01dx\x00\x00\x00\x02\xff\xfe",
            b"\x01eS\x00\x00\x00\x02\xff\xfe",
            b"\x01fD\xff\xff\xff\xff\xff",
        ]
    )
    tail = b"\xe0\x40\x01t\x01e" + len(table).to_bytes(4, "big") + table + b"\xff" * 8
    header = b"\x00\x3c" + b"\x00" * 9 + b"\x01" + tail
    channel.client.feed(raw_publish(1, "", queue) + raw_frame(2, 1, header) + raw_frame(3, 1, b"x"))
    message = channel.get(queue)
    assert message is not None
    assert message.answer.header == header


# CC and BCC


def test_cc_and_bcc_are_further_keys(channel: ClientChannel) -> None:
    queues = [channel.queue() for _ in range(4)]
    headers: FieldTable = {"CC": [queues[1], queues[2]], "BCC": [queues[3], queues[0]], "other": 1}
    channel.publish(b"x", key=queues[0], properties=Properties(headers=headers))
    for queue in queues:
        message = channel.get(queue)
        assert message is not None
        assert message.routing_key == queues[0]
        assert message.properties.headers == {"CC": [queues[1], queues[2]], "other": 1}
        assert channel.get(queue) is None


def test_cc_goes_through_the_exchange(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.bind(queue, "amq.topic", "b.*")
    channel.publish(exchange="amq.topic", key="a", properties=Properties(headers={"CC": ["b.c", "b.d"]}))
    assert channel.ready(queue) == 1


@pytest.mark.parametrize("name", ["CC", "BCC"])
@pytest.mark.parametrize("value", ["q", 1, None, {"a": 1}, True])
def test_cc_that_is_no_array_is_406(channel: ClientChannel, name: str, value: object) -> None:
    headers: FieldTable = {}
    headers[name] = value  # type: ignore[assignment]
    channel.publish(properties=Properties(headers=headers))
    channel.expect_close(406, PUBLISH, f"'{name}'")


def test_entries_of_cc_that_are_no_strings_are_passed_over(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.publish(b"x", properties=Properties(headers={"CC": [1, queue, None]}))
    assert channel.drain(queue) == [b"x"]


def test_a_nested_cc_means_nothing(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.publish(properties=Properties(headers={"deep": {"CC": [queue], "BCC": 7}}))
    assert channel.ready(queue) == 0


def test_mandatory_counts_cc(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.publish(key="nosuch", mandatory=True, properties=Properties(headers={"CC": [queue]}))
    channel.expect_silence()


# permissions


def test_publishing_without_write_permission_is_403(channel: ClientChannel, node: Node) -> None:
    node.users.set_permissions("guest", "/", ".*", "^amq.fanout$", ".*")
    channel.publish(exchange="amq.fanout")
    channel.expect_silence()
    channel.publish(exchange="amq.direct")
    channel.expect_close(
        403, PUBLISH, "access to exchange 'amq.direct' in vhost '/' refused for user 'guest'"
    )
    channel.open()
    channel.publish(key="q")
    channel.expect_close(403, PUBLISH, "access to exchange 'amq.default' in vhost '/' refused")


def test_permission_is_asked_before_existence(channel: ClientChannel, node: Node) -> None:
    node.users.set_permissions("guest", "/", ".*", "", ".*")
    channel.publish(exchange="nosuch")
    channel.expect_close(403, PUBLISH)


def test_topic_permission_is_asked_for_every_key(channel: ClientChannel, node: Node) -> None:
    node.users.set_topic_permissions("guest", "/", "amq.topic", "^w", "^r")
    queue = channel.queue()
    channel.bind(queue, "amq.topic", "r.#")
    channel.publish(exchange="amq.topic", key="w.a")
    channel.expect_silence()
    channel.publish(exchange="amq.topic", key="x")
    channel.expect_close(403, PUBLISH, "access to topic 'x' in exchange 'amq.topic' in vhost '/'")
    for name in ("CC", "BCC"):
        channel.open()
        channel.publish(exchange="amq.topic", key="w", properties=Properties(headers={name: ["x"]}))
        channel.expect_close(403, PUBLISH, "access to topic 'x'")


def test_the_checks_come_in_rabbitmq_s_order(channel: ClientChannel) -> None:
    everything_wrong: FieldTable = {"CC": 1}
    steps = [
        ("nosuch", Properties(reply_to="amq.rabbitmq.reply-to"), 404, "no exchange"),
        ("", Properties(reply_to="amq.rabbitmq.reply-to", expiration="x"), 406, "fast reply consumer"),
        ("", Properties(expiration="x", headers=everything_wrong), 406, "invalid expiration"),
        ("", Properties(headers=everything_wrong, user_id="root"), 406, "'CC'"),
        ("", Properties(user_id="root"), 406, "user_id"),
    ]
    for exchange, properties, code, words in steps:
        channel.publish(exchange=exchange, properties=properties)
        channel.expect_close(code, PUBLISH, words)
        channel.open()


# a queue deleted while a message for it is on its way


def test_a_message_for_a_queue_deleted_meanwhile_reaches_nobody(client: Client) -> None:
    publisher, consumer = client.channel(1), client.channel(2)
    queue = publisher.queue()
    consumer.consume(queue, "t")
    publisher.confirm_select()
    message = publisher.message(b"abc", key=queue, splits=[1])
    client.feed(message[:-10])
    consumer.send(commands.Queue.Delete(queue=queue, nowait=True))
    consumer.expect(commands.Basic.Cancel)
    client.feed(message[-10:])
    assert publisher.outcomes() == ["ack"]
    client.expect_silence()
