"""Direct reply-to: request and reply without a reply queue."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import Deliveries, assert_usable, declare_queue
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

REPLY_TO = "amq.rabbitmq.reply-to"

NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def request(channel: AbstractChannel, queue: str, body: bytes, correlation_id: str = "1") -> None:
    """Send a request whose reply is to come directly."""
    properties = Basic.Properties(reply_to=REPLY_TO, correlation_id=correlation_id)
    await within(channel.basic_publish(body, routing_key=queue, properties=properties))


async def test_a_reply_comes_straight_to_the_requesting_channel(
    connect: Connect, channel: AbstractChannel, names: Names
) -> None:
    replies = await Deliveries.of(channel, REPLY_TO, no_ack=True)
    requests = await declare_queue(channel, names.queue())
    await request(channel, requests, b"2+2", "question-1")
    await request(channel, requests, b"3+3", "question-2")

    server = await within((await connect()).channel())
    for answer in (b"4", b"6"):
        message = await within(server.basic_get(requests, no_ack=True))
        reply_to = message.header.properties.reply_to or ""
        assert reply_to.startswith(f"{REPLY_TO}."), reply_to
        properties = Basic.Properties(correlation_id=message.header.properties.correlation_id)
        await within(server.basic_publish(answer, routing_key=reply_to, properties=properties))

    first, second = await replies.take(2)
    assert (first.body, first.header.properties.correlation_id) == (b"4", "question-1")
    assert (second.body, second.header.properties.correlation_id) == (b"6", "question-2")
    assert first.consumer_tag == replies.consumer_tag


async def test_a_reply_to_a_requester_that_left_is_dropped(
    connection: AbstractConnection, connect: Connect
) -> None:
    asking = await connect()
    channel = await within(asking.channel())
    await Deliveries.of(channel, REPLY_TO, no_ack=True)
    server = await within(connection.channel())
    requests = await declare_queue(server)
    await request(channel, requests, b"?")
    message = await within(server.basic_get(requests, no_ack=True))
    await within(asking.close())
    confirmation = await within(
        server.basic_publish(b"!", routing_key=message.header.properties.reply_to or "")
    )
    assert isinstance(confirmation, Basic.Ack)


async def test_replies_must_be_consumed_with_automatic_acknowledgement(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    with pytest.raises(PreconditionFailed, match="reply consumer cannot acknowledge"):
        await Deliveries.of(channel, REPLY_TO)
    await assert_usable(connection)


async def test_a_channel_has_one_reply_consumer(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    await Deliveries.of(channel, REPLY_TO, no_ack=True)
    with pytest.raises(PreconditionFailed, match="reply consumer already set"):
        await Deliveries.of(channel, REPLY_TO, no_ack=True)
    await assert_usable(connection)


async def test_a_request_without_a_reply_consumer_is_406(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    with pytest.raises(PreconditionFailed, match="fast reply consumer does not exist"):
        await request(channel, queue, b"?")
    await assert_usable(connection)


async def test_the_reply_consumer_can_be_cancelled_and_set_again(channel: AbstractChannel) -> None:
    replies = await Deliveries.of(channel, REPLY_TO, no_ack=True)
    await within(channel.basic_cancel(replies.consumer_tag))
    replies = await Deliveries.of(channel, REPLY_TO, no_ack=True)
    requests = await declare_queue(channel)
    await request(channel, requests, b"?")
    message = await within(channel.basic_get(requests, no_ack=True))
    await within(channel.basic_publish(b"!", routing_key=message.header.properties.reply_to or ""))
    assert await replies.bodies(1) == [b"!"]
