"""Queues and exchanges that take only what fits a schema: nack, refusal, dead letter. Not in RabbitMQ."""

from __future__ import annotations

import aio_pika
import aiormq
import pytest
from aiormq.abc import AbstractChannel

from interop_tests.asyncio_clients.deliveries import declare_queue, drain, publish
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import within
from interop_tests.names import Names
from interop_tests.schemas import BAD, GOOD, register_schema

pytestmark = pytest.mark.asyncio

NACKED = aiormq.exceptions.DeliveryError


@pytest.fixture
def subject(broker: BrokerUnderTest, names: Names) -> str:
    """A registered schema."""
    return register_schema(broker, names.queue())


@pytest.mark.parametrize("queue_type", ["classic", "quorum", "stream"])
async def test_what_does_not_fit_is_nacked(
    channel: AbstractChannel, subject: str, names: Names, queue_type: str
) -> None:
    arguments = {"x-schema": subject, "x-queue-type": queue_type}
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    await publish(channel, queue, GOOD)
    with pytest.raises(NACKED):
        await publish(channel, queue, BAD)
    answer = await within(channel.queue_declare(queue, passive=True))
    assert answer.message_count == 1


async def test_what_does_not_fit_closes_the_channel(channel: AbstractChannel, subject: str) -> None:
    queue = await declare_queue(channel, arguments={"x-schema": subject, "x-schema-mode": "refuse"})
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="message is not valid"):
        await publish(channel, queue, BAD)


async def test_what_does_not_fit_is_dead_lettered(channel: AbstractChannel, subject: str) -> None:
    dead = await declare_queue(channel)
    arguments = {
        "x-schema": subject,
        "x-schema-mode": "dead-letter",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    queue = await declare_queue(channel, arguments=arguments)
    await publish(channel, queue, BAD, GOOD)
    letter = await within(channel.basic_get(dead, no_ack=True))
    headers = letter.header.properties.headers or {}
    assert letter.body == BAD
    assert headers["x-first-death-reason"] == "invalid"
    assert "is not of type" in str(headers["x-schema-error"])
    assert await drain(channel, queue) == [GOOD]


async def test_an_aio_pika_application_publishes_to_a_checked_exchange(
    broker: BrokerUnderTest, subject: str, names: Names
) -> None:
    connection = await within(aio_pika.connect_robust(broker.explicit_url))
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            names.exchange(), "topic", auto_delete=True, arguments={"x-schema": subject}
        )
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "#")
        await within(exchange.publish(aio_pika.Message(GOOD), "a"))
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await within(exchange.publish(aio_pika.Message(BAD), "a"))
        assert (await within(queue.get(no_ack=True))).body == GOOD
        assert await within(queue.get(no_ack=True, fail=False)) is None
