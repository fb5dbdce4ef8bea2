"""Streams: what they refuse, what is published to them and how it is delivered, acks as credit, retention."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    UNFIT_FLAGS,
    assert_usable,
    declare_queue,
    drain,
    publish,
    ready_becomes,
    ready_count,
)
from interop_tests.asyncio_clients.streams import (
    STREAM,
    clock_shows,
    declare_stream,
    offset,
    offsets,
    read,
)
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

SMALL_SEGMENTS = {"max_length_bytes": 10_000, "stream_max_segment_size_bytes": 5_000}


# Declaring


@pytest.mark.parametrize(("flags", "property_name"), UNFIT_FLAGS)
async def test_a_flag_that_does_not_fit_is_406_and_named(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    flags: dict[str, bool],
    property_name: str,
) -> None:
    queue = names.queue()
    words = f"PRECONDITION_FAILED - invalid property '{property_name}' for queue '{queue}' in vhost '/'"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, queue, arguments=STREAM, **flags)
    await assert_usable(connection)


async def test_the_broker_makes_up_no_name_for_a_stream(channel: AbstractChannel) -> None:
    words = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_stream_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await within(channel.queue_declare("", durable=True, arguments={"x-queue-type": "stream"}))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-message-ttl", 1000),
        ("x-expires", 60_000),
        ("x-max-length", 5),
        ("x-dead-letter-exchange", "dlx"),
        ("x-dead-letter-routing-key", "dead"),
        ("x-max-priority", 5),
        ("x-single-active-consumer", True),
        ("x-overflow", "drop-head"),
        ("x-delivery-limit", 3),
        ("x-dead-letter-strategy", "at-least-once"),
    ],
)
async def test_an_argument_of_other_queue_types_is_406(
    channel: AbstractChannel, names: Names, argument: str, value: object
) -> None:
    queue = names.queue()
    words = f"invalid arg '{argument}' for queue '{queue}' in vhost '/' of queue type rabbit_stream_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, queue, durable=True, arguments={**STREAM, argument: value})


@pytest.mark.parametrize("argument", ["x-max-age", "x-stream-max-segment-size-bytes"])
async def test_an_argument_of_streams_is_406_for_a_classic_queue(
    channel: AbstractChannel, names: Names, argument: str
) -> None:
    words = f"invalid arg '{argument}' for queue .* of queue type rabbit_classic_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, names.queue(), durable=True, arguments={argument: "1D"})


@pytest.mark.parametrize("argument", ["x-max-length-bytes", "x-stream-max-segment-size-bytes"])
@pytest.mark.parametrize("value", [-1, "5", True, None, 5.5], ids=repr)
async def test_a_size_that_is_no_number_from_zero_on_is_406(
    channel: AbstractChannel, names: Names, argument: str, value: object
) -> None:
    queue = names.queue()
    with pytest.raises(
        PreconditionFailed, match=f"invalid arg '{argument}' for queue '{queue}' in vhost '/': "
    ):
        await declare_queue(channel, queue, durable=True, arguments={**STREAM, argument: value})


async def test_segments_have_a_greatest_size(channel: AbstractChannel, names: Names) -> None:
    await declare_stream(channel, names, stream_max_segment_size_bytes=3_000_000_000)
    with pytest.raises(PreconditionFailed, match="Exceeded max value for x-stream-max-segment-size-bytes"):
        await declare_stream(channel, names, stream_max_segment_size_bytes=3_000_000_001)


@pytest.mark.parametrize("age", ["1Y", "2M", "7D", "3h", "4m", "5s", "05s"])
async def test_an_age_is_a_number_with_a_unit(channel: AbstractChannel, names: Names, age: str) -> None:
    await declare_stream(channel, names, max_age=age)


@pytest.mark.parametrize(
    "age", ["0s", "5", "5d", "5H", "5 D", "1D2h", "1.5h", 5, True, None, "", "D", "-5s", "P1D"], ids=repr
)
async def test_anything_else_is_no_age(channel: AbstractChannel, names: Names, age: object) -> None:
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-max-age' for queue"):
        await declare_stream(channel, names, max_age=age)


@pytest.mark.parametrize(
    ("argument", "first", "then"),
    [
        ("x-max-age", "1D", "2D"),
        ("x-max-age", "1D", "24h"),
        ("x-max-length-bytes", 1000, 2000),
        ("x-stream-max-segment-size-bytes", 1000, 2000),
    ],
)
async def test_the_limits_of_a_stream_cannot_change_by_declaring_it_again(
    connection: AbstractConnection, names: Names, argument: str, first: object, then: object
) -> None:
    queue = names.queue()
    given = {**STREAM, argument: first}
    await declare_queue(await connection.channel(), queue, durable=True, arguments=given)
    await declare_queue(await connection.channel(), queue, durable=True, arguments=given)
    words = f"inequivalent arg '{argument}' for queue '{queue}' in vhost '/': received "
    with pytest.raises(PreconditionFailed, match=f"{words}'{then}' but current is '{first}'"):
        await declare_queue(
            await connection.channel(), queue, durable=True, arguments={**STREAM, argument: then}
        )
    with pytest.raises(PreconditionFailed, match=f"{words}none but current is the value '{first}'"):
        await declare_queue(await connection.channel(), queue, durable=True, arguments=STREAM)


async def test_the_type_of_a_queue_cannot_change(connection: AbstractConnection, names: Names) -> None:
    stream = await declare_stream(await connection.channel(), names)
    with pytest.raises(PreconditionFailed, match="received none but current is the value 'stream'"):
        await declare_queue(await connection.channel(), stream, durable=True)
    with pytest.raises(PreconditionFailed, match="received 'quorum' but current is 'stream'"):
        await declare_queue(
            await connection.channel(), stream, durable=True, arguments={"x-queue-type": "quorum"}
        )


# Publishing


@pytest.mark.parametrize(("kind", "key"), [("direct", "a.b"), ("topic", "a.*"), ("fanout", "")])
async def test_a_stream_is_bound_and_unbound_like_any_queue(
    channel: AbstractChannel, names: Names, kind: str, key: str
) -> None:
    stream, exchange = await declare_stream(channel, names), names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type=kind))
    await within(channel.queue_bind(stream, exchange, key))
    answer = await within(channel.basic_publish(b"in", exchange=exchange, routing_key="a.b", mandatory=True))
    assert isinstance(answer, Basic.Ack)
    await within(channel.queue_unbind(stream, exchange, key))
    with pytest.raises(aiormq.exceptions.PublishError, match="NO_ROUTE"):
        await within(channel.basic_publish(b"out", exchange=exchange, routing_key="a.b", mandatory=True))
    reader = await read(channel, stream)
    await publish(channel, stream, b"end")
    assert await reader.bodies(2) == [b"in", b"end"]


async def test_a_message_can_go_to_a_stream_and_to_other_queues(
    channel: AbstractChannel, names: Names
) -> None:
    stream, queue = await declare_stream(channel, names), await declare_queue(channel)
    copies = Basic.Properties(headers={"CC": [queue]})
    await within(channel.basic_publish(b"both", routing_key=stream, properties=copies))
    assert await drain(channel, queue) == [b"both"]
    assert await (await read(channel, stream)).bodies(1) == [b"both"]


async def test_properties_and_headers_are_delivered_as_published(
    channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names)
    properties = Basic.Properties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"number": 5, "large": 2**40, "word": "x", "yes": True, "nothing": None},
        delivery_mode=2,
        priority=7,
        correlation_id="correlation",
        reply_to="reply",
        expiration="60000",
        message_id="message",
        message_type="type",
        app_id="application",
    )
    await within(channel.basic_publish(b"x", routing_key=stream, properties=properties))
    message = await (await read(channel, stream)).next()
    received = message.header.properties
    assert received.headers == {**(properties.headers or {}), "x-stream-offset": 0}
    for name in ("content_type", "content_encoding", "delivery_mode", "priority", "correlation_id"):
        assert getattr(received, name) == getattr(properties, name), name
    for name in ("reply_to", "expiration", "message_id", "message_type", "app_id"):
        assert getattr(received, name) == getattr(properties, name), name
    assert isinstance(message.delivery, Basic.Deliver)
    assert message.delivery.exchange == ""
    assert message.delivery.routing_key == stream


async def test_headers_that_are_arrays_and_tables_are_kept(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    headers: dict[str, Any] = {"array": [1, "two"], "table": {"a": 1}}
    properties = Basic.Properties(headers=headers)
    await within(channel.basic_publish(b"x", routing_key=stream, properties=properties))
    message = await (await read(channel, stream)).next()
    assert message.header.properties.headers == {**headers, "x-stream-offset": 0}


@pytest.mark.parametrize("own", [77, "mine", None], ids=repr)
async def test_an_offset_that_the_publisher_wrote_is_replaced(
    channel: AbstractChannel, names: Names, own: Any
) -> None:
    stream = await declare_stream(channel, names)
    properties = Basic.Properties(headers={"x-stream-offset": own, "other": 1})
    await within(channel.basic_publish(b"x", routing_key=stream, properties=properties))
    message = await (await read(channel, stream)).next()
    assert message.header.properties.headers == {"other": 1, "x-stream-offset": 0}


async def test_transient_messages_are_kept_and_stay_transient(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    for mode in (None, 1, 2):
        properties = Basic.Properties(delivery_mode=mode)
        await within(channel.basic_publish(b"x", routing_key=stream, properties=properties))
    messages = await (await read(channel, stream)).take(3)
    assert [message.header.properties.delivery_mode for message in messages] == [None, 1, 2]


async def test_messages_neither_expire_nor_overtake(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    for priority in (5, 0, 9):
        properties = Basic.Properties(priority=priority, expiration="0")
        await within(channel.basic_publish(b"%d" % priority, routing_key=stream, properties=properties))
    assert await (await read(channel, stream)).bodies(3) == [b"5", b"0", b"9"]


async def test_empty_and_large_bodies(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    bodies = [b"", b"x" * 500_000, b"end"]
    await publish(channel, stream, *bodies)
    assert await (await read(channel, stream)).bodies(3) == bodies


async def test_a_transaction_appends_at_its_commit(connection: AbstractConnection, names: Names) -> None:
    channel = await within(connection.channel(publisher_confirms=False))
    stream = await declare_stream(channel, names)
    confirmed = await within(connection.channel())
    reader = await read(confirmed, stream)
    await within(channel.tx_select())
    for body in (b"a", b"b"):
        await within(channel.basic_publish(body, routing_key=stream))
    await publish(confirmed, stream, b"earlier")
    await within(channel.tx_commit())
    await within(channel.basic_publish(b"never", routing_key=stream))
    await within(channel.tx_rollback())
    await publish(confirmed, stream, b"end")
    messages = await reader.take(4)
    assert [message.body for message in messages] == [b"earlier", b"a", b"b", b"end"]
    assert offsets(messages) == [0, 1, 2, 3]


async def test_a_dead_letter_can_go_to_a_stream(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": stream}
    queue = await declare_queue(channel, arguments=letters)
    await publish(channel, queue, b"dead")
    message = await within(channel.basic_get(queue))
    await within(channel.basic_reject(message.delivery_tag or 0, requeue=False))
    letter = await (await read(channel, stream)).next()
    headers: dict[str, Any] = dict(letter.header.properties.headers or {})
    assert letter.body == b"dead"
    assert headers["x-stream-offset"] == 0
    assert headers["x-death"][0]["reason"] == "rejected"
    assert headers["x-death"][0]["queue"] == queue


# Reading


async def test_each_consumer_gets_everything(
    connect: Connect, channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"a", b"b")
    readers = [await read(channel, stream) for _ in range(2)]
    readers += [await read(await (await connect()).channel(), stream) for _ in range(2)]
    await publish(channel, stream, b"c")
    for reader in readers:
        assert await reader.bodies(3) == [b"a", b"b", b"c"]


async def test_an_exclusive_consumer_keeps_nobody_away(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"a")
    readers = [await read(channel, stream, exclusive=exclusive) for exclusive in (False, True, False)]
    for reader in readers:
        assert await reader.bodies(1) == [b"a"]


@pytest.mark.parametrize("how", ["cancel", "close the channel"])
async def test_what_was_read_can_be_read_again_and_is_not_redelivered(
    connection: AbstractConnection, names: Names, how: str
) -> None:
    channel = await within(connection.channel())
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"a", b"b")
    reader = await read(channel, stream)
    assert await reader.bodies(2) == [b"a", b"b"]
    if how == "cancel":
        await within(channel.basic_cancel(reader.consumer_tag))
    else:
        await within(channel.close())
        channel = await within(connection.channel())
    again = await (await read(channel, stream)).take(2)
    assert [(message.body, message.redelivered) for message in again] == [(b"a", False), (b"b", False)]


async def test_a_prefetch_is_the_most_a_reader_holds_and_an_ack_returns_credit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, *(b"%d" % number for number in range(6)))
    slow = await read(channel, stream, prefetch=2)
    assert await slow.bodies(2) == [b"0", b"1"]
    fast = await read(await connection.channel(), stream)
    await fast.take(6)
    assert slow.count() == 0, "more came than the prefetch allows"
    await within(channel.basic_ack(1))
    assert await slow.bodies(1) == [b"2"]
    await within(channel.basic_ack(3, multiple=True))
    assert await slow.bodies(2) == [b"3", b"4"]


async def test_acks_may_come_in_any_order(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"0", b"1", b"2", b"3")
    reader = await read(channel, stream, prefetch=2)
    await reader.take(2)
    await within(channel.basic_ack(2))
    assert await reader.bodies(1) == [b"2"]
    await within(channel.basic_ack(1))
    assert await reader.bodies(1) == [b"3"]


async def test_acks_for_a_cancelled_reader_are_taken_and_give_the_next_no_credit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"0", b"1", b"2")
    first = await read(channel, stream, prefetch=1)
    await first.take(1)
    await within(channel.basic_cancel(first.consumer_tag))
    second = await read(channel, stream, prefetch=1)
    assert (await second.next()).delivery_tag == 2
    await within(channel.basic_ack(1))
    await (await read(await connection.channel(), stream)).take(3)
    assert second.count() == 0, "the credit of another consumer was used"
    await within(channel.basic_ack(2))
    assert await second.bodies(1) == [b"1"]


async def test_deleting_a_stream_cancels_its_readers(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"a")
    reader = await read(channel, stream)
    await reader.take(1)
    await within((await connection.channel()).queue_delete(stream))

    async def cancelled() -> bool:
        return reader.consumer_tag not in channel.consumers  # type: ignore[attr-defined]

    await eventually(cancelled, "the consumer is cancelled")
    await within(channel.basic_ack(1))
    await declare_queue(channel, stream, durable=True, arguments=STREAM)
    await publish(channel, stream, b"b")
    message = await (await read(channel, stream)).next()
    assert (message.body, offset(message)) == (b"b", 0), "offsets begin anew"


# Counting


async def test_all_messages_kept_are_ready_whoever_reads(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"a", b"b", b"c")
    await (await read(channel, stream, prefetch=2)).take(2)
    await within(channel.basic_ack(1))
    await ready_becomes(channel, stream, 3)


async def test_a_declare_counts_messages_and_readers_at_once(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await read(channel, stream, "next")
    await publish(channel, stream, b"a", b"b", b"c")
    answer = await within(channel.queue_declare(stream, passive=True))
    assert (answer.message_count, answer.consumer_count) == (3, 1)


# Retention


async def oldest_offset(channel: AbstractChannel, stream: str, begin: object = "first") -> int:
    """Return the offset of the first message that a reader gets."""
    reader = await read(channel, stream, begin, prefetch=1)
    first = offset(await reader.next())
    await within(channel.basic_cancel(reader.consumer_tag))
    return first


async def trimmed_to(channel: AbstractChannel, stream: str, most: int) -> None:
    """Wait until a stream has no more messages than that.

    RabbitMQ counts every five seconds, and a reader that looks while it deletes a segment can end in 541.
    """

    async def trimmed() -> bool:
        return 0 < await ready_count(channel, stream) <= most

    await eventually(trimmed, f"at most {most} messages are kept in {stream}")


async def test_the_oldest_segments_go_when_a_stream_is_too_large(
    channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names, **SMALL_SEGMENTS)
    await publish(channel, stream, *[b"x" * 1000] * 60)
    await trimmed_to(channel, stream, 20)
    first = await oldest_offset(channel, stream)
    assert first >= 40
    assert await oldest_offset(channel, stream, 1) == first, "an offset that is gone leads to the oldest kept"
    await publish(channel, stream, b"end")
    reader = await read(channel, stream)
    messages = [await reader.next()]
    while messages[-1].body != b"end":
        messages.append(await reader.next())
    assert offsets(messages) == sorted(set(offsets(messages))), "offsets ascend"


async def test_a_stream_is_never_trimmed_within_a_segment(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names, max_length_bytes=1000)
    await publish(channel, stream, *[b"x" * 1000] * 5)
    assert await oldest_offset(channel, stream) == 0


async def test_segments_go_when_all_in_them_is_too_old(
    connect: Connect, channel: AbstractChannel, names: Names
) -> None:
    stream = await declare_stream(channel, names, max_age="1s", stream_max_segment_size_bytes=5_000)
    await publish(channel, stream, *[b"x" * 1000] * 20)
    await clock_shows(time.time() + 1.5)
    await publish(channel, stream, *[b"y" * 1000] * 10)

    async def aged() -> bool:
        await publish(channel, stream, b"end")
        try:
            return await oldest_offset(await (await connect()).channel(), stream) >= 20
        except aiormq.exceptions.ConnectionInternalError:
            return False  # RabbitMQ, if it deletes a segment at that moment

    await eventually(aged, "the first 20 messages are gone")


# aio-pika


async def test_an_application_with_aio_pika_goes_on_where_it_stopped(
    broker: BrokerUnderTest, names: Names
) -> None:
    name = names.queue("events")
    seen: list[int] = []

    async def run(begin: object, until: int) -> None:
        connection = await within(aio_pika.connect_robust(broker.explicit_url))
        async with connection:
            channel = await within(connection.channel())
            await within(channel.set_qos(prefetch_count=1))
            queue = await within(channel.declare_queue(name, durable=True, arguments=dict(STREAM)))
            done = asyncio.Event()

            async def handle(message: AbstractIncomingMessage) -> None:
                seen.append(json.loads(message.body)["number"])
                assert message.headers["x-stream-offset"] == seen[-1]
                if seen[-1] == until:
                    done.set()
                else:
                    await message.ack()

            await within(queue.consume(handle, arguments={"x-stream-offset": begin}))  # type: ignore[dict-item]
            await within(done.wait())

    connection = await within(aio_pika.connect(broker.explicit_url))
    async with connection:
        channel = await within(connection.channel())
        await within(channel.declare_queue(name, durable=True, arguments=dict(STREAM)))
        for number in range(10):
            event = aio_pika.Message(json.dumps({"number": number}).encode())
            await within(channel.default_exchange.publish(event, name))
    await run("first", 4)
    await run(seen[-1] + 1, 9)
    assert seen == list(range(10))


async def test_an_iterator_of_aio_pika_reads_a_stream(broker: BrokerUnderTest, names: Names) -> None:
    connection = await within(aio_pika.connect(broker.explicit_url))
    async with connection:
        channel = await within(connection.channel())
        await within(channel.set_qos(prefetch_count=10))
        queue = await within(
            channel.declare_queue(names.queue(), durable=True, arguments={"x-queue-type": "stream"})
        )
        for number in range(3):
            await within(channel.default_exchange.publish(aio_pika.Message(b"%d" % number), queue.name))
        bodies: list[bytes] = []
        async with queue.iterator(arguments={"x-stream-offset": "first"}, timeout=15) as messages:
            async for message in messages:
                await message.ack()
                bodies.append(message.body)
                if len(bodies) == 3:
                    break
        assert bodies == [b"0", b"1", b"2"]
