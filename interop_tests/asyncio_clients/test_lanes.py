"""Order per key, fair share and filters, as stock clients see them."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import Deliveries, declare_queue, ready_becomes
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio


async def send(channel: AbstractChannel, queue: str, *bodies: str) -> None:
    """Publish messages whose first character is the header ``key``."""
    for body in bodies:
        properties = Basic.Properties(headers={"key": body[0]}, delivery_mode=2)
        await within(channel.basic_publish(body.encode(), routing_key=queue, properties=properties))


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_key_is_with_one_consumer_at_a_time(connect: Connect, names: Names, kind: str) -> None:
    connection = await connect()
    publisher = await connection.channel()
    arguments = {"x-queue-type": kind, "x-group-header": "key"}
    queue = await declare_queue(publisher, names.queue(), durable=True, arguments=arguments)
    channels = [await connection.channel() for _ in range(2)]
    for channel in channels:
        await within(channel.basic_qos(prefetch_count=2))
    one, two = [await Deliveries.of(channel, queue) for channel in channels]
    await send(publisher, queue, "a1", "b1", "a2", "a3", "b2", "c1")
    first = await one.take(2)
    assert [message.body for message in first] == [b"a1", b"a2"]
    assert await two.bodies(2) == [b"b1", b"b2"]
    assert first[0].delivery_tag is not None and first[1].delivery_tag is not None
    await within(channels[0].basic_nack(first[1].delivery_tag, requeue=True))
    again = await one.next()
    assert (again.body, again.redelivered) == (b"a2", True)
    await within(channels[0].basic_ack(first[0].delivery_tag))
    assert await one.bodies(1) == [b"a3"]
    await within(channels[0].close())
    assert two.count() == 0
    await ready_becomes(publisher, queue, 3)


async def test_a_long_backlog_of_one_tenant_does_not_hold_back_another(
    connect: Connect, names: Names
) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True, arguments={"x-fair-header": "key"})
    await send(channel, queue, *[f"a{number}" for number in range(200)], "b1", "b2")
    await within(channel.basic_qos(prefetch_count=5))
    consumer = await Deliveries.of(channel, queue)
    assert await consumer.bodies(5) == [b"a0", b"b1", b"a1", b"b2", b"a2"]


@pytest.mark.parametrize("asked", [{"key": "b"}, "key = 'b'"], ids=["headers", "selector"])
async def test_a_consumer_gets_only_what_it_asks_for(connect: Connect, names: Names, asked: object) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True)
    consumer = await Deliveries.of(channel, queue, arguments={"x-filter": asked})
    await send(channel, queue, "a1", "b1", "a2", "b2")
    assert await consumer.bodies(2) == [b"b1", b"b2"]
    await ready_becomes(channel, queue, 2)
    rest = await Deliveries.of(channel, queue)
    assert await rest.bodies(2) == [b"a1", b"a2"]


async def test_a_filter_that_cannot_be_read_is_refused(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True)
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="position 7"):
        await Deliveries.of(channel, queue, arguments={"x-filter": "key = "})
