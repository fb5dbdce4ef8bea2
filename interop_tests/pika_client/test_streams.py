"""Streams with pika: the code, level and words of what a stream does not do, and reading with a generator."""

from __future__ import annotations

from collections.abc import Callable

import pika
import pika.compat
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker

from interop_tests.deadlines import eventually_now
from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect
from interop_tests.pika_client.test_errors import Mistake

STREAM = {"x-queue-type": "stream"}
FIRST = {"x-stream-offset": "first"}


def stream(channel: BlockingChannel, names: Names, messages: int = 0) -> str:
    """Declare a stream, publish some messages to it, and return its name."""
    name = names.queue()
    channel.queue_declare(name, durable=True, arguments=STREAM)
    channel.confirm_delivery()
    for number in range(messages):
        channel.basic_publish("", name, b"%d" % number)
    return name


def happens(channel: BlockingChannel, condition: Callable[[], bool], described: str) -> None:
    """Handle what arrives on the connection until a condition holds."""

    def holds() -> bool:
        channel.connection.process_data_events(time_limit=0.02)
        return condition()

    eventually_now(holds, described)


def consume(channel: BlockingChannel, names: Names, **options: object) -> None:
    channel.basic_consume(stream(channel, names), lambda *_: None, **options)


def consume_with_prefetch(channel: BlockingChannel, names: Names, **options: object) -> None:
    channel.basic_qos(prefetch_count=10)
    consume(channel, names, **options)


def consume_with_global_prefetch(channel: BlockingChannel, names: Names) -> None:
    channel.basic_qos(prefetch_count=10, global_qos=True)
    consume(channel, names)


def consume_again_without_prefetch(channel: BlockingChannel, names: Names) -> None:
    channel.basic_qos(prefetch_count=10)
    channel.basic_qos(prefetch_count=0)
    consume(channel, names)


def held(channel: BlockingChannel, names: Names) -> int:
    """Read one message of a stream and return its delivery tag."""
    channel.basic_qos(prefetch_count=10)
    method, _, _ = next(channel.consume(stream(channel, names, 1), arguments=FIRST))
    return int(method.delivery_tag)


def await_answer(channel: BlockingChannel, names: Names) -> None:
    channel.queue_declare(names.queue(), exclusive=True)


def nack(channel: BlockingChannel, names: Names, *, requeue: bool) -> None:
    channel.basic_nack(held(channel, names), requeue=requeue)
    await_answer(channel, names)


def reject(channel: BlockingChannel, names: Names, *, requeue: bool) -> None:
    channel.basic_reject(held(channel, names), requeue=requeue)
    await_answer(channel, names)


def acknowledge_twice(channel: BlockingChannel, names: Names) -> None:
    tag = held(channel, names)
    channel.basic_ack(tag)
    channel.basic_ack(tag)
    await_answer(channel, names)


NO_PREFETCH = "PRECONDITION_FAILED - consumer prefetch count is not set for 'queue '"
NO_RETURN = "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues queue '"

SOFT = [
    Mistake("consume without prefetch", consume, 406, NO_PREFETCH),
    Mistake("consume without prefetch or acks", lambda c, n: consume(c, n, auto_ack=True), 406, NO_PREFETCH),
    Mistake("consume with a global prefetch only", consume_with_global_prefetch, 406, NO_PREFETCH),
    Mistake("consume with the prefetch taken back", consume_again_without_prefetch, 406, NO_PREFETCH),
    Mistake(
        "consume with a priority",
        lambda c, n: consume_with_prefetch(c, n, arguments={"x-priority": 1}),
        406,
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue ",
    ),
    Mistake("acknowledge twice", acknowledge_twice, 406, "PRECONDITION_FAILED - unknown delivery tag 1"),
]

HARD = [
    Mistake(
        "consume without acks",
        lambda c, n: consume_with_prefetch(c, n, auto_ack=True),
        540,
        "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues queue '",
    ),
    Mistake("nack and requeue", lambda c, n: nack(c, n, requeue=True), 540, NO_RETURN),
    Mistake("nack", lambda c, n: nack(c, n, requeue=False), 540, NO_RETURN),
    Mistake("reject and requeue", lambda c, n: reject(c, n, requeue=True), 540, NO_RETURN),
    Mistake("reject", lambda c, n: reject(c, n, requeue=False), 540, NO_RETURN),
    Mistake(
        "get",
        lambda c, n: c.basic_get(stream(c, n, 1)),
        540,
        "NOT_IMPLEMENTED - basic.get not supported by stream queues queue '",
    ),
    Mistake(
        "purge",
        lambda c, n: c.queue_purge(stream(c, n, 1)),
        540,
        "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue '",
    ),
]


@pytest.mark.parametrize("mistake", SOFT, ids=lambda mistake: mistake.name)
def test_a_soft_error_closes_only_the_channel(
    connection: pika.BlockingConnection, names: Names, mistake: Mistake
) -> None:
    with pytest.raises(ChannelClosedByBroker) as closed:
        mistake.do(connection.channel(), names)
    assert closed.value.reply_code == mistake.code
    assert mistake.words in closed.value.reply_text
    await_answer(connection.channel(), names)


@pytest.mark.parametrize("mistake", HARD, ids=lambda mistake: mistake.name)
def test_a_hard_error_closes_the_connection(connect: Connect, names: Names, mistake: Mistake) -> None:
    connection = connect()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        mistake.do(connection.channel(), names)
    assert closed.value.reply_code == mistake.code
    assert mistake.words in closed.value.reply_text


def test_a_generator_replays_a_stream_as_often_as_one_likes(channel: BlockingChannel, names: Names) -> None:
    name = stream(channel, names, 20)
    channel.basic_qos(prefetch_count=5)
    for _ in range(2):
        seen = []
        for method, properties, body in channel.consume(name, arguments=FIRST):
            channel.basic_ack(method.delivery_tag)
            seen.append((properties.headers["x-stream-offset"], int(body), method.redelivered))
            if len(seen) == 20:
                break
        assert seen == [(number, number, False) for number in range(20)]
        assert channel.cancel() == 0


def test_an_offset_is_a_64_bit_number(channel: BlockingChannel, names: Names) -> None:
    channel.basic_qos(prefetch_count=5)
    _, properties, _ = next(channel.consume(stream(channel, names, 1), arguments=FIRST))
    value = properties.headers["x-stream-offset"]
    assert (type(value), value) == (pika.compat.long, 0), "pika has a type of its own for field type `l`"


def test_recover_with_nothing_held_is_fine(channel: BlockingChannel, names: Names) -> None:
    consume_with_prefetch(channel, names)
    channel.basic_recover(requeue=True)


def test_a_deleted_stream_tells_its_consumer(
    connect: Connect, channel: BlockingChannel, names: Names
) -> None:
    name = stream(channel, names, 1)
    channel.basic_qos(prefetch_count=5)
    seen: list[bytes] = []
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(name, lambda *delivery: seen.append(delivery[-1]), arguments=FIRST)
    happens(channel, lambda: bool(seen), "the message is delivered")
    connect().channel().queue_delete(name)
    happens(channel, lambda: bool(cancelled), "the consumer is cancelled")
    assert cancelled == [tag]
    assert channel.is_open
