"""The acknowledgement timeout of a queue and of a consumer.

RabbitMQ 3.10 has one for the whole node only, of 30 minutes, so these tests show what later versions have.
With a node-wide timeout of 1.5 s it closed the channel, for consumed and for got messages of classic and
quorum queues alike, with `406 PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out. Timeout
value used: 1500 ms. This timeout value can be configured, see consumers doc guide to learn more`.
"""

from __future__ import annotations

import asyncio

import pytest
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.asyncio_clients.deliveries import Deliveries, assert_usable, declare_queue, drain, publish
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

TIMEOUT = 1_000
"""Milliseconds a consumer may hold a message."""

NOTICED = 6.0
"""Seconds until a broker that knows the timeout has surely acted on it."""


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type whose deliveries are acknowledged one by one."""
    return str(request.param)


async def next_soon(consumer: Deliveries) -> bytes:
    """Return the body of the next delivery, which a timeout elsewhere brings about."""
    async with asyncio.timeout(NOTICED):
        message = await consumer.next()
    assert message.redelivered
    return message.body


async def declare(channel: AbstractChannel, names: Names, queue_type: str, **timeout: int) -> str:
    """Declare a durable queue."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in timeout.items()}
    return await declare_queue(
        channel, names.queue(), durable=True, arguments={"x-queue-type": queue_type, **given}
    )


async def test_the_arguments_are_accepted(channel: AbstractChannel, names: Names, queue_type: str) -> None:
    queue = await declare(channel, names, queue_type, consumer_timeout=60_000)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, b"x")
    assert await consumer.bodies(1) == [b"x"]


async def test_a_message_held_longer_than_the_queues_timeout_goes_to_another_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, consumer_timeout=TIMEOUT)
    slow_channel = await within(connection.channel())
    slow = await Deliveries.of(slow_channel, queue, arguments={"x-priority": 1})
    await publish(channel, queue, b"x")
    await slow.next()
    other = await Deliveries.of(await within(connection.channel()), queue, no_ack=True)
    assert await next_soon(other) == b"x"
    await assert_usable(connection)


async def test_a_consumer_can_ask_for_a_timeout_of_its_own(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, "quorum")
    slow = await Deliveries.of(
        await within(connection.channel()),
        queue,
        arguments={"x-consumer-timeout": TIMEOUT, "x-priority": 1},
    )
    await publish(channel, queue, b"x")
    await slow.next()
    other = await Deliveries.of(await within(connection.channel()), queue, no_ack=True)
    assert await next_soon(other) == b"x"
    await assert_usable(connection)


async def test_an_acknowledgement_in_time_is_no_timeout(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, consumer_timeout=60_000)
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    await publish(channel, queue, b"1", b"2")
    for message in await consumer.take(2):
        await within(consuming.basic_ack(message.delivery_tag or 0))
    await within(consuming.close())
    assert await drain(channel, queue) == []
