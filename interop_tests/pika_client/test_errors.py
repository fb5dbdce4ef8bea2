"""The exact code, level and words of each error a client can cause with stock means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect

Action = Callable[[BlockingChannel, Names], object]


@dataclass(frozen=True)
class Mistake:
    """Something a client does wrong, and how the broker answers."""

    name: str
    do: Action
    code: int
    words: str


def queue(channel: BlockingChannel, names: Names, **options: object) -> str:
    """Declare a queue and return its name."""
    return str(channel.queue_declare(names.queue(), **options).method.queue)


def exchange(channel: BlockingChannel, names: Names, **options: object) -> str:
    """Declare a direct exchange and return its name."""
    name = names.exchange()
    channel.exchange_declare(name, "direct", **options)
    return name


def acknowledge_twice(channel: BlockingChannel, names: Names) -> None:
    name = queue(channel, names)
    channel.basic_publish("", name, b"x")
    method, _, _ = channel.basic_get(name)
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)
    channel.queue_declare("", exclusive=True)


def settle_unknown(channel: BlockingChannel, settle: Callable[..., object]) -> None:
    settle(77)
    channel.queue_declare("", exclusive=True)


def publish_and_wait(channel: BlockingChannel, *publish: object, **options: object) -> None:
    channel.basic_publish(*publish, **options)
    channel.queue_declare("", exclusive=True)


def consume_exclusively_twice(channel: BlockingChannel, names: Names) -> None:
    name = queue(channel, names)
    channel.basic_consume(name, lambda *_: None, exclusive=True)
    channel.basic_consume(name, lambda *_: None)


def confirm_then_transact(channel: BlockingChannel, _: Names) -> None:
    channel.confirm_delivery()
    channel.tx_select()


def user_id(name: str) -> pika.BasicProperties:
    return pika.BasicProperties(user_id=name)


SOFT = [
    Mistake("passive queue", lambda c, n: c.queue_declare(n.queue(), passive=True), 404, "no queue"),
    Mistake(
        "passive exchange", lambda c, n: c.exchange_declare(n.exchange(), passive=True), 404, "no exchange"
    ),
    Mistake("consume missing", lambda c, n: c.basic_consume(n.queue(), print), 404, "no queue"),
    Mistake("get missing", lambda c, n: c.basic_get(n.queue()), 404, "no queue"),
    Mistake("purge missing", lambda c, n: c.queue_purge(n.queue()), 404, "no queue"),
    Mistake("bind missing queue", lambda c, n: c.queue_bind(n.queue(), "amq.direct", "k"), 404, "no queue"),
    Mistake(
        "bind missing exchange", lambda c, n: c.queue_bind(queue(c, n), n.exchange(), "k"), 404, "no exchange"
    ),
    Mistake("bind missing both", lambda c, n: c.queue_bind(n.queue(), n.exchange(), "k"), 404, "no exchange"),
    Mistake(
        "publish to missing", lambda c, n: publish_and_wait(c, n.exchange(), "k", b"x"), 404, "no exchange"
    ),
    Mistake("queue amq.", lambda c, n: c.queue_declare("amq.mine"), 403, "contains reserved prefix 'amq"),
    Mistake(
        "exchange amq.", lambda c, n: c.exchange_declare("amq.mine"), 403, "contains reserved prefix 'amq"
    ),
    Mistake(
        "delete amq.topic", lambda c, n: c.exchange_delete("amq.topic"), 403, "exchange 'amq.topic' in vhost"
    ),
    Mistake(
        "redeclare amq.topic otherwise",
        lambda c, n: c.exchange_declare("amq.topic", "topic", durable=False),
        406,
        "inequivalent arg 'durable'",
    ),
    Mistake(
        "publish to internal",
        lambda c, n: publish_and_wait(c, exchange(c, n, internal=True), "k", b"x"),
        403,
        "cannot publish to internal exchange",
    ),
    Mistake("exclusive consumer", consume_exclusively_twice, 403, "in exclusive use"),
    Mistake(
        "queue flag",
        lambda c, n: c.queue_declare(queue(c, n), durable=True),
        406,
        "inequivalent arg 'durable' for queue",
    ),
    Mistake(
        "exchange flag",
        lambda c, n: c.exchange_declare(exchange(c, n), "fanout"),
        406,
        "inequivalent arg 'type' for exchange",
    ),
    Mistake(
        "bad argument",
        lambda c, n: c.queue_declare(n.queue(), arguments={"x-message-ttl": -5}),
        406,
        "invalid arg 'x-message-ttl' for queue",
    ),
    Mistake("ack unknown", lambda c, n: settle_unknown(c, c.basic_ack), 406, "unknown delivery tag 77"),
    Mistake("nack unknown", lambda c, n: settle_unknown(c, c.basic_nack), 406, "unknown delivery tag 77"),
    Mistake("reject unknown", lambda c, n: settle_unknown(c, c.basic_reject), 406, "unknown delivery tag 77"),
    Mistake("ack twice", acknowledge_twice, 406, "unknown delivery tag 1"),
    Mistake("tx after confirm", confirm_then_transact, 406, "cannot switch from confirm to tx mode"),
    Mistake(
        "user id",
        lambda c, n: publish_and_wait(c, "", "k", b"x", user_id("mallory")),
        406,
        "user_id property set to 'mallory' but authenticated user was",
    ),
    Mistake(
        "expiration",
        lambda c, n: publish_and_wait(c, "", "k", b"x", pika.BasicProperties(expiration="later")),
        406,
        "invalid expiration 'later'",
    ),
    Mistake(
        "reply consumer with acks",
        lambda c, n: c.basic_consume("amq.rabbitmq.reply-to", print),
        406,
        "reply consumer cannot acknowledge",
    ),
]

HARD = [
    Mistake("prefetch size", lambda c, n: c.basic_qos(prefetch_size=10), 540, "prefetch_size"),
    Mistake(
        "reused consumer tag",
        lambda c, n: consume_below_the_clients_check(c, queue(c, n)),
        530,
        "attempt to reuse consumer tag",
    ),
]


def consume_below_the_clients_check(channel: BlockingChannel, name: str) -> None:
    """Use a consumer tag twice; pika would refuse the second time by itself, so it is made to forget."""
    channel.basic_consume(name, lambda *_: None, consumer_tag="same")
    channel._impl._consumers.clear()
    channel._consumer_infos.clear()
    channel.basic_consume(name, lambda *_: None, consumer_tag="same")


@pytest.mark.parametrize("mistake", SOFT, ids=lambda mistake: mistake.name)
def test_a_soft_error_closes_the_channel_with_its_code_and_nothing_else(
    connection: pika.BlockingConnection, names: Names, mistake: Mistake
) -> None:
    bystander = connection.channel()
    channel = connection.channel()
    with pytest.raises(ChannelClosedByBroker) as closed:
        mistake.do(channel, names)
    assert closed.value.reply_code == mistake.code
    assert mistake.words in closed.value.reply_text
    assert (
        closed.value.reply_text.split(" - ")[0]
        in {
            403: "ACCESS_REFUSED",
            404: "NOT_FOUND",
            405: "RESOURCE_LOCKED",
            406: "PRECONDITION_FAILED",
        }[mistake.code]
    )
    assert channel.is_closed
    assert bystander.is_open
    bystander.queue_declare("", exclusive=True)


@pytest.mark.parametrize("mistake", HARD, ids=lambda mistake: mistake.name)
def test_a_hard_error_closes_the_connection_with_its_code(
    connect: Connect, names: Names, mistake: Mistake
) -> None:
    connection = connect()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        mistake.do(connection.channel(), names)
    assert closed.value.reply_code == mistake.code
    assert mistake.words in closed.value.reply_text
    assert connection.is_closed


def test_an_exclusive_queue_of_another_connection_is_405(
    connect: Connect, connection: pika.BlockingConnection, names: Names
) -> None:
    name = names.queue()
    connect().channel().queue_declare(name, exclusive=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        connection.channel().queue_declare(name, passive=True)
    assert closed.value.reply_code == 405
    assert "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue" in closed.value.reply_text


def test_a_channel_number_can_be_used_again_after_an_error(
    connection: pika.BlockingConnection, names: Names
) -> None:
    for _ in range(20):
        channel = connection.channel(5)
        with pytest.raises(ChannelClosedByBroker):
            channel.queue_declare(names.queue(), passive=True)
    assert connection.channel(5).queue_declare("", exclusive=True)
