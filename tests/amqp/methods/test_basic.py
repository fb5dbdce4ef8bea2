"""Class basic, publishing apart: consume, cancel, get, acknowledge, recover, qos (AMQP 0-9-1 section 1.8)."""

from __future__ import annotations

import pytest
from pamqp import base, commands
from pamqp.common import FieldTable

from harebell.amqp.handshake import HandshakeOptions
from harebell.engine.reply_to import WAITING_BYTES
from tests.support.client import Client, ClientChannel, basic_consume, queue_declare
from tests.support.node import Node
from tests.support.wire import raw_method

CONSUME = commands.Basic.Consume
GET = commands.Basic.Get
QOS = commands.Basic.Qos
ACK = commands.Basic.Ack
NACK = commands.Basic.Nack
REJECT = commands.Basic.Reject
RECOVER = commands.Basic.Recover
RECOVER_ASYNC = commands.Basic.RecoverAsync

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated")

LETTERS = [bytes([letter]) for letter in b"abcdef"]


def filled(channel: ClientChannel, count: int = 6) -> str:
    """Declare a queue and publish a, b, c, ... to it."""
    queue = channel.queue()
    for body in LETTERS[:count]:
        channel.publish(body, key=queue)
    return queue


# consume


def test_consume_ok_comes_before_the_first_delivery(channel: ClientChannel) -> None:
    queue = filled(channel, 2)
    channel.send(basic_consume(queue, "t"))
    assert [answer.frame.name for answer in channel.client.received()] == [
        "Basic.ConsumeOk",
        "Basic.Deliver",
        "Basic.Deliver",
    ]


def test_a_delivery_carries_everything_the_publisher_said(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout")
    queue = channel.queue()
    channel.bind(queue, "x")
    tag = channel.consume(queue, "my tag")
    properties = commands.Basic.Properties(content_type="text/plain", headers={"a": 1}, message_id="m")
    channel.publish(b"body", exchange="x", key="some.key", properties=properties)
    (delivery,) = channel.deliveries()
    assert (delivery.consumer_tag, delivery.tag, delivery.redelivered) == (tag, 1, False)
    assert (delivery.exchange, delivery.routing_key, delivery.body) == ("x", "some.key", b"body")
    assert dict(delivery.properties) == dict(properties)


def test_an_empty_tag_gets_a_new_one_each_time(channel: ClientChannel) -> None:
    queue = channel.queue()
    first, second = channel.consume(queue), channel.consume(queue)
    assert first != second
    assert first.startswith("amq.ctag-") and second.startswith("amq.ctag-")


def test_a_tag_in_use_on_the_channel_is_530(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue, "t")
    channel.send(basic_consume(queue, "t"))
    channel.client.expect_close(530, CONSUME, "NOT_ALLOWED - attempt to reuse consumer tag 't'")


def test_the_same_tag_on_another_channel_is_fine(client: Client) -> None:
    first, second = client.channel(1), client.channel(2)
    queue = first.queue()
    first.consume(queue, "t")
    second.consume(queue, "t")


def test_consuming_a_missing_queue_is_404(channel: ClientChannel) -> None:
    channel.send(basic_consume("nosuch"))
    channel.expect_close(404, CONSUME, "NOT_FOUND - no queue 'nosuch' in vhost '/'")


def test_an_empty_name_means_the_queue_declared_last(channel: ClientChannel) -> None:
    queue = filled(channel, 1)
    channel.consume("")
    assert channel.bodies() == [b"a"]
    assert queue


def test_exclusive_use_keeps_others_out(channel: ClientChannel, other: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", exclusive=True)
    for exclusive in (False, True):
        other.send(basic_consume("q", exclusive=exclusive))
        other.expect_close(403, CONSUME, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
        other.open()


def test_exclusive_use_is_refused_while_there_is_a_consumer(
    channel: ClientChannel, other: ClientChannel
) -> None:
    channel.declare_queue("q")
    tag = channel.consume("q")
    other.send(basic_consume("q", exclusive=True))
    other.expect_close(403, CONSUME, "in exclusive use")
    channel.cancel(tag)
    other.open()
    other.consume("q", exclusive=True)


def test_exclusive_and_single_active_do_not_go_together(channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-single-active-consumer": True})
    channel.send(basic_consume("q", exclusive=True))
    channel.expect_close(403, CONSUME, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"x-priority": "high"}, "x-priority"),
        ({"x-priority": 1.5}, "x-priority"),
        ({"x-priority": True}, "x-priority"),
        ({"x-stream-offset": "first"}, "x-stream-offset"),
        ({"x-consumer-timeout": -1}, "x-consumer-timeout"),
        ({"x-consumer-timeout": "1"}, "x-consumer-timeout"),
    ],
)
def test_a_bad_consumer_argument_is_406(channel: ClientChannel, arguments: FieldTable, what: str) -> None:
    queue = channel.queue()
    channel.send(basic_consume(queue, arguments=arguments))
    channel.expect_close(406, CONSUME, f"invalid arg '{what}'")


def test_arguments_nobody_knows_and_no_local_are_ignored(channel: ClientChannel) -> None:
    queue = channel.queue()
    question = basic_consume(queue, arguments={"x-cancel-on-ha-failover": True, "colour": "red"})
    question.no_local = True
    channel.call(question, commands.Basic.ConsumeOk)
    channel.publish(b"x", key=queue)
    assert channel.bodies() == [b"x"]


def test_a_refused_consumer_leaves_nothing(channel: ClientChannel, node: Node) -> None:
    channel.declare_queue("q")
    channel.send(basic_consume("q", "t", arguments={"x-priority": "high"}))
    channel.expect_close(406, CONSUME)
    assert node.queue("q").consumer_count() == 0


def test_nowait_consumes_in_silence(channel: ClientChannel) -> None:
    queue = filled(channel, 1)
    channel.send(basic_consume(queue, "t", nowait=True))
    assert channel.bodies() == [b"a"]
    channel.expect_silence()


# cancel


def test_after_cancel_ok_nothing_more_is_delivered_and_answers_still_count(channel: ClientChannel) -> None:
    queue = filled(channel, 2)
    channel.qos(1)
    tag = channel.consume(queue)
    (first,) = channel.deliveries()
    channel.cancel(tag)
    channel.ack(first.tag)
    channel.publish(b"z", key=queue)
    channel.expect_silence()
    assert channel.drain(queue) == [b"b", b"z"]


def test_cancelling_what_is_not_there_is_fine(channel: ClientChannel) -> None:
    channel.cancel("nosuch")


def test_nowait_cancels_in_silence(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue, "t")
    channel.send(commands.Basic.Cancel(consumer_tag="t", nowait=True))
    channel.publish(b"x", key=queue)
    channel.expect_silence()


def test_a_cancelled_tag_can_be_used_again(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue, "t")
    channel.cancel("t")
    channel.consume(queue, "t")
    channel.publish(b"x", key=queue)
    assert channel.bodies() == [b"x"]


def test_a_client_may_answer_the_broker_s_cancel(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", "t")
    channel.send(commands.Queue.Delete(queue="q"))
    channel.expect(commands.Basic.Cancel)
    channel.expect(commands.Queue.DeleteOk)
    channel.send(commands.Basic.CancelOk(consumer_tag="t"))
    channel.expect_silence()


# get


def test_get_tells_how_many_are_left(channel: ClientChannel) -> None:
    queue = filled(channel, 3)
    found = [channel.get(queue) for _ in range(3)]
    assert [(m.body, m.remaining, m.tag, m.redelivered) for m in found if m is not None] == [
        (b"a", 2, 1, False),
        (b"b", 1, 2, False),
        (b"c", 0, 3, False),
    ]
    assert channel.get(queue) is None


def test_getting_from_a_missing_queue_is_404(channel: ClientChannel) -> None:
    channel.send(GET(queue="nosuch"))
    channel.expect_close(404, GET, "NOT_FOUND - no queue 'nosuch' in vhost '/'")


def test_get_does_not_count_against_a_limit(channel: ClientChannel) -> None:
    queue = filled(channel, 4)
    channel.qos(1)
    channel.consume(queue)
    assert channel.bodies() == [b"a"]
    assert [m.body for m in (channel.get(queue), channel.get(queue)) if m is not None] == [b"b", b"c"]


def test_a_message_got_without_no_ack_awaits_an_answer(channel: ClientChannel) -> None:
    queue = filled(channel, 1)
    first = channel.get(queue)
    assert first is not None
    channel.nack(first.tag)
    again = channel.get(queue, no_ack=True)
    assert again is not None and (again.tag, again.redelivered) == (2, True)
    channel.ack(again.tag)
    channel.expect_close(406, ACK, "unknown delivery tag 2")


def test_get_from_a_single_active_quorum_queue_is_405(channel: ClientChannel) -> None:
    channel.declare_queue(
        "q", durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
    )
    channel.send(GET(queue="q"))
    channel.expect_close(405, GET, "RESOURCE_LOCKED")


def test_get_from_a_single_active_classic_queue_is_fine(channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-single-active-consumer": True})
    assert channel.get("q") is None


# acknowledge


@pytest.mark.parametrize(
    "question",
    [
        ACK(1),
        ACK(0),
        ACK(7, True),
        NACK(1),
        NACK(0, False),
        NACK(7, True),
        REJECT(1),
        REJECT(0),
        ACK((1 << 63) - 1),
    ],
    ids=lambda frame: f"{frame.name}-{frame.delivery_tag}",
)
def test_an_unknown_delivery_tag_is_406(channel: ClientChannel, question: ACK) -> None:
    channel.send(question)
    channel.expect_close(
        406, type(question), f"PRECONDITION_FAILED - unknown delivery tag {question.delivery_tag}"
    )


@pytest.mark.parametrize("tag", [1 << 63, (1 << 64) - 1])
def test_a_tag_beyond_63_bits_is_named_as_it_was_sent(channel: ClientChannel, tag: int) -> None:
    for index, bits in ((ACK, 0), (ACK, 1), (NACK, 3), (REJECT, 1)):
        channel.client.feed(raw_method(1, index.index, tag.to_bytes(8, "big") + bytes([bits])))
        channel.expect_close(406, index, f"unknown delivery tag {tag}")
        channel.open()


@pytest.mark.parametrize("tag", [1, 3])
@pytest.mark.parametrize("again", [ACK, NACK, REJECT])
def test_answering_twice_is_406(
    channel: ClientChannel, tag: int, again: type[ACK] | type[NACK] | type[REJECT]
) -> None:
    queue = filled(channel, 4)
    channel.consume(queue)
    channel.deliveries()
    channel.ack(tag)
    channel.send(again(delivery_tag=tag))
    channel.expect_close(406, again, f"unknown delivery tag {tag}")


def test_a_no_ack_delivery_takes_a_tag_and_awaits_nothing(channel: ClientChannel) -> None:
    queue = filled(channel, 2)
    channel.consume(queue, no_ack=True)
    assert [delivery.tag for delivery in channel.deliveries()] == [1, 2]
    channel.ack(2)
    channel.expect_close(406, ACK)


def test_tags_of_different_consumers_are_one_series(channel: ClientChannel) -> None:
    one, two = filled(channel, 2), filled(channel, 2)
    channel.consume(one, "one", no_ack=True)
    channel.consume(two, "two")
    assert channel.get(one) is None
    assert sorted((d.tag, d.consumer_tag) for d in channel.deliveries()) == [
        (1, "one"),
        (2, "one"),
        (3, "two"),
        (4, "two"),
    ]
    channel.ack(3, multiple=True)
    channel.ack(4)
    channel.expect_silence()


@pytest.mark.parametrize("question", [ACK(0, True), NACK(0, True)])
def test_answering_all_when_nothing_is_outstanding_is_fine(
    channel: ClientChannel, question: base.Frame
) -> None:
    channel.send(question)
    channel.expect_silence()


def test_multiple_answers_everything_up_to_the_tag(channel: ClientChannel, node: Node) -> None:
    queue = filled(channel, 5)
    channel.consume(queue)
    channel.deliveries()
    channel.ack(2)
    channel.ack(4, multiple=True)
    assert node.queue(queue).unacked_count == 1
    channel.ack(4, multiple=True)
    channel.expect_close(406, ACK, "unknown delivery tag 4")
    message = channel_after(channel).get(queue)
    assert message is not None and message.body == b"e"


def channel_after(channel: ClientChannel) -> ClientChannel:
    channel.open()
    return channel


def test_tag_0_with_multiple_answers_everything(channel: ClientChannel, node: Node) -> None:
    queue = filled(channel, 5)
    channel.consume(queue)
    channel.deliveries()
    channel.ack(0, multiple=True)
    assert (node.queue(queue).unacked_count, node.queue(queue).ready_count()) == (0, 0)


def test_reject_and_nack_without_requeue_discard(channel: ClientChannel, node: Node) -> None:
    queue = filled(channel, 5)
    channel.consume(queue)
    channel.deliveries()
    channel.reject(1, requeue=False)
    channel.nack(3, multiple=True, requeue=False)
    assert (node.queue(queue).unacked_count, node.queue(queue).ready_count()) == (2, 0)


def test_a_requeued_message_goes_back_to_its_place_flagged(channel: ClientChannel) -> None:
    queue = filled(channel, 5)
    held = [channel.get(queue) for _ in range(4)]
    assert all(held)
    channel.nack(3)
    channel.reject(1)
    channel.nack(2)
    found = [channel.get(queue) for _ in range(4)]
    assert [(m.body, m.redelivered) for m in found if m is not None] == [
        (b"a", True),
        (b"b", True),
        (b"c", True),
        (b"e", False),
    ]


def test_a_requeued_message_is_delivered_at_once_to_who_has_credit(channel: ClientChannel) -> None:
    queue = filled(channel, 1)
    channel.consume(queue, "t")
    (first,) = channel.deliveries()
    channel.nack(first.tag)
    (again,) = channel.deliveries()
    assert (again.body, again.tag, again.redelivered) == (b"a", 2, True)


def test_requeue_goes_round_to_the_other_consumer(client: Client) -> None:
    first, second = client.channel(1), client.channel(2)
    queue = first.queue()
    first.consume(queue)
    second.consume(queue)
    first.publish(b"x", key=queue)
    (delivery,) = first.deliveries()
    first.nack(delivery.tag)
    assert [d.redelivered for d in second.deliveries()] == [True]


def test_answers_for_a_deleted_queue_are_taken(channel: ClientChannel, other: ClientChannel) -> None:
    channel.declare_queue("q")
    for body in LETTERS:
        channel.publish(body, key="q")
    channel.consume("q")
    channel.deliveries()
    other.delete_queue("q")
    channel.expect(commands.Basic.Cancel)
    channel.ack(1)
    channel.nack(2)
    channel.reject(3, requeue=False)
    channel.send(RECOVER_ASYNC(True))
    channel.expect_silence()


# recover


@pytest.mark.parametrize("question_class", [RECOVER, RECOVER_ASYNC])
def test_recover_returns_everything_unanswered(
    channel: ClientChannel, question_class: type[RECOVER] | type[RECOVER_ASYNC]
) -> None:
    queue = filled(channel, 3)
    held = [channel.get(queue) for _ in range(3)]
    assert all(held)
    channel.ack(2)
    channel.send(question_class(requeue=True))
    if question_class is RECOVER:
        channel.expect(commands.Basic.RecoverOk)
    channel.expect_silence()
    found = [channel.get(queue), channel.get(queue)]
    assert [(m.body, m.redelivered) for m in found if m is not None] == [(b"a", True), (b"c", True)]
    assert channel.get(queue) is None


@pytest.mark.parametrize("question_class", [RECOVER, RECOVER_ASYNC])
def test_recover_without_requeue_is_540(
    channel: ClientChannel, question_class: type[RECOVER] | type[RECOVER_ASYNC]
) -> None:
    channel.send(question_class(requeue=False))
    channel.client.expect_close(540, question_class, "NOT_IMPLEMENTED - requeue=false")


def test_recover_leaves_other_channels_alone(client: Client) -> None:
    first, second = client.channel(1), client.channel(2)
    queue = filled(first, 2)
    assert first.get(queue) and second.get(queue)
    first.call(RECOVER(True), commands.Basic.RecoverOk)
    second.ack(1)
    assert first.drain(queue) == [b"a"]


# qos


def test_a_limit_in_octets_is_540(channel: ClientChannel) -> None:
    channel.send(QOS(prefetch_size=1))
    channel.client.expect_close(540, QOS, "NOT_IMPLEMENTED - prefetch_size!=0 (1)")


def test_a_limit_holds_for_each_consumer_started_later(channel: ClientChannel) -> None:
    queue = filled(channel, 6)
    channel.qos(2)
    channel.consume(queue, "one")
    assert channel.bodies() == [b"a", b"b"]
    channel.qos(3)
    channel.expect_silence()
    channel.consume(queue, "two")
    assert [(d.consumer_tag, d.body) for d in channel.deliveries()] == [
        ("two", b"c"),
        ("two", b"d"),
        ("two", b"e"),
    ]
    channel.ack(1)
    assert [(d.consumer_tag, d.body) for d in channel.deliveries()] == [("one", b"f")]


def test_zero_is_no_limit(channel: ClientChannel) -> None:
    queue = filled(channel, 6)
    channel.qos(1)
    channel.qos(0)
    channel.consume(queue)
    assert channel.bodies() == LETTERS


def test_a_shared_limit_holds_for_all_consumers_of_the_channel_together(client: Client) -> None:
    channel, elsewhere = client.channel(1), client.channel(2)
    one, two = filled(channel, 3), filled(channel, 3)
    channel.qos(4, shared=True)
    channel.consume(one, "one")
    channel.consume(two, "two")
    assert len(channel.deliveries()) == 4
    elsewhere.consume(two, "other channel")
    assert len(elsewhere.deliveries()) == 2
    channel.ack(4)
    channel.expect_silence()
    channel.publish(b"g", key=one)
    assert channel.bodies() == [b"g"]


def test_a_shared_limit_applies_to_running_consumers_at_once(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue)
    channel.qos(1, shared=True)
    channel.publish(b"a", key=queue)
    channel.publish(b"b", key=queue)
    assert channel.bodies() == [b"a"]
    channel.qos(2, shared=True)
    assert channel.bodies() == [b"b"]
    channel.publish(b"c", key=queue)
    channel.qos(0, shared=True)
    assert channel.bodies() == [b"c"]


def test_both_limits_hold_together(channel: ClientChannel) -> None:
    one, two = filled(channel, 5), filled(channel, 5)
    channel.qos(2)
    channel.qos(3, shared=True)
    channel.consume(one, "one")
    channel.consume(two, "two")
    assert [d.consumer_tag for d in channel.deliveries()] == ["one", "one", "two"]


def test_a_limit_per_consumer_lifts_an_earlier_shared_one_as_on_rabbitmq(channel: ClientChannel) -> None:
    queue = filled(channel, 6)
    channel.qos(1, shared=True)
    channel.qos(4)
    channel.consume(queue)
    assert channel.bodies() == LETTERS[:4]


def test_no_ack_consumers_know_no_limit(channel: ClientChannel) -> None:
    queue = filled(channel, 6)
    channel.qos(1)
    channel.qos(1, shared=True)
    channel.consume(queue, no_ack=True)
    assert channel.bodies() == LETTERS


def test_answers_of_a_cancelled_consumer_give_shared_credit_back(channel: ClientChannel) -> None:
    queue = filled(channel, 3)
    channel.qos(1, shared=True)
    tag = channel.consume(queue)
    (first,) = channel.deliveries()
    channel.cancel(tag)
    channel.consume(queue)
    channel.expect_silence()
    channel.ack(first.tag)
    assert channel.bodies() == [b"b"]


def test_py_amqp_changes_the_limit_of_running_consumers(node: Node) -> None:
    """kombu speaks of ``global=false`` and means its running consumers."""
    client = node.client()
    client.open(product="py-amqp")
    channel = client.channel()
    queue = filled(channel, 6)
    channel.qos(1)
    channel.consume(queue)
    assert channel.bodies() == [b"a"]
    channel.qos(3)
    assert channel.bodies() == [b"b", b"c"]
    channel.qos(1)
    channel.ack(1)
    channel.expect_silence()
    channel.ack(3, multiple=True)
    assert channel.bodies() == [b"d"]


@pytest.mark.parametrize(
    ("mode", "product", "dynamic"), [("on", "any", True), ("off", "py-amqp", False), ("auto", "pika", False)]
)
def test_which_clients_may_change_running_consumers_is_a_setting(
    mode: str, product: str, dynamic: bool
) -> None:
    client = Node(options=HandshakeOptions(dynamic_qos=mode)).client()
    client.open(product=product)
    channel = client.channel()
    queue = filled(channel, 3)
    channel.qos(1)
    channel.consume(queue)
    channel.qos(2)
    assert len(channel.bodies()) == (2 if dynamic else 1)


def test_any_other_client_does_not(channel: ClientChannel) -> None:
    queue = filled(channel, 6)
    channel.qos(1)
    channel.consume(queue)
    channel.bodies()
    channel.qos(3)
    channel.expect_silence()


# direct reply-to


def test_a_reply_reaches_its_requester_directly(
    channel: ClientChannel, other: ClientChannel, node: Node
) -> None:
    tag = channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    other.declare_queue("rpc")
    properties = commands.Basic.Properties(reply_to="amq.rabbitmq.reply-to", correlation_id="7")
    channel.publish(b"question", key="rpc", properties=properties)
    request = other.get("rpc", no_ack=True)
    assert request is not None
    address = str(request.properties.reply_to)
    assert address.startswith("amq.rabbitmq.reply-to.")
    assert request.properties.correlation_id == "7"
    other.call(queue_declare(address, passive=True), commands.Queue.DeclareOk)
    other.publish(b"answer", key=address, properties=commands.Basic.Properties(correlation_id="7"))
    (reply,) = channel.deliveries()
    assert (reply.body, reply.consumer_tag, reply.exchange, reply.routing_key) == (
        b"answer",
        tag,
        "",
        address,
    )


@pytest.mark.parametrize("name", ["amq.rabbitmq.reply-to", "amq.direct.reply-to"])
def test_both_spellings_of_the_name_work(channel: ClientChannel, name: str) -> None:
    channel.declare_queue("rpc")
    channel.consume(name, no_ack=True)
    channel.publish(b"?", key="rpc", properties=commands.Basic.Properties(reply_to=name))
    request = channel.get("rpc")
    assert request is not None
    channel.publish(b"!", key=str(request.properties.reply_to))
    assert channel.bodies() == [b"!"]


def test_a_reply_consumer_cannot_acknowledge(channel: ClientChannel) -> None:
    channel.send(basic_consume("amq.rabbitmq.reply-to"))
    channel.expect_close(406, CONSUME, "reply consumer cannot acknowledge")


def test_a_channel_has_one_reply_consumer(channel: ClientChannel) -> None:
    channel.consume("amq.rabbitmq.reply-to", "a", no_ack=True)
    channel.send(basic_consume("amq.rabbitmq.reply-to", "b", no_ack=True))
    channel.expect_close(406, CONSUME, "reply consumer already set")


def test_after_a_cancel_it_may_have_another(channel: ClientChannel, node: Node) -> None:
    channel.consume("amq.rabbitmq.reply-to", "a", no_ack=True)
    channel.cancel("a")
    assert not node.vhost.reply_queues
    channel.consume("amq.rabbitmq.reply-to", "b", no_ack=True)


def test_an_address_cannot_be_consumed_by_its_name(
    channel: ClientChannel, other: ClientChannel, node: Node
) -> None:
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (address,) = node.vhost.reply_queues
    other.send(basic_consume(address, no_ack=True))
    other.expect_close(404, CONSUME)


@pytest.mark.parametrize("how", ["cancel", "channel close", "hang up"])
def test_a_reply_to_a_requester_that_left_is_returned_if_mandatory_and_dropped_if_not(
    client: Client, other: ClientChannel, node: Node, how: str
) -> None:
    channel = client.channel()
    tag = channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (address,) = node.vhost.reply_queues
    if how == "cancel":
        channel.cancel(tag)
    elif how == "channel close":
        channel.close()
    else:
        client.hang_up()
    assert not node.vhost.reply_queues
    other.publish(b"late", key=address)
    other.expect_silence()
    other.publish(b"late", key=address, mandatory=True)
    assert other.expect(commands.Basic.Return).reply_code == 312
    other.send(queue_declare(address, passive=True))
    other.expect_close(404, commands.Queue.Declare)


def test_a_request_without_a_reply_consumer_is_406(channel: ClientChannel) -> None:
    channel.publish(b"?", key="rpc", properties=commands.Basic.Properties(reply_to="amq.rabbitmq.reply-to"))
    channel.expect_close(406, commands.Basic.Publish, "fast reply consumer does not exist")


def test_replies_wait_while_the_reader_pauses(
    channel: ClientChannel, other: ClientChannel, node: Node
) -> None:
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (address,) = node.vhost.reply_queues
    channel.call(commands.Channel.Flow(False), commands.Channel.FlowOk)
    for body in (b"a", b"b"):
        other.publish(body, key=address)
    channel.expect_silence()
    channel.call(commands.Channel.Flow(True), commands.Channel.FlowOk)
    other.publish(b"c", key=address)
    assert channel.bodies() == [b"a", b"b", b"c"]


def test_a_burst_of_large_replies_in_one_turn_loses_none(node: Node, other: ClientChannel) -> None:
    channel = node.connect().channel()
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (address,) = node.vhost.reply_queues
    bodies = [bytes([n]) * 100_000 for n in range(30)]
    other.client.feed(b"".join(other.message(body, key=address) for body in bodies))
    assert channel.bodies() == bodies


def test_replies_to_a_reader_far_behind_are_dropped_not_hoarded(node: Node, other: ClientChannel) -> None:
    channel = node.connect().channel()
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (address,) = node.vhost.reply_queues
    channel.client.out.pause()
    for _ in range(30):
        other.publish(b"x" * 1_000_000, key=address)
    waiting = node.vhost.reply_queues[address].ready_bytes
    assert 1_000_000 <= waiting <= WAITING_BYTES
    assert node.broker.held_bytes() == waiting, "the memory alarm must know of replies that wait"
    channel.client.out.writable = True
    assert channel.client.out.reopen()
    channel.client.connection.writable_again()
    node.turn()
    assert len(channel.bodies()) == waiting // 1_000_000
    other.publish(b"y", key=address)
    assert channel.bodies() == [b"y"]
