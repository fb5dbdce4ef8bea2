"""Rates, a bound on unanswered deliveries and acknowledgement leases, as stock clients see them."""

from __future__ import annotations

import asyncio
import time

import aio_pika
import pytest
from aiormq.abc import AbstractConnection

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import Deliveries, declare_queue, publish
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_queue_delivers_no_faster_than_its_rate(connect: Connect, names: Names, kind: str) -> None:
    channel = await (await connect()).channel()
    arguments = {"x-queue-type": kind, "x-delivery-rate": 20}
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    await publish(channel, queue, *(b"%d" % number for number in range(24)))
    started = time.monotonic()
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert await consumer.bodies(24) == [b"%d" % number for number in range(24)]
    took = time.monotonic() - started
    assert took >= 0.9, f"20 messages at 20 a second, after 4 at once, came in {took:.2f} s"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_no_more_is_unanswered_than_the_queue_allows(connect: Connect, names: Names, kind: str) -> None:
    one, two = await (await connect()).channel(), await (await connect()).channel()
    arguments = {"x-queue-type": kind, "x-max-unacked": 2}
    queue = await declare_queue(one, names.queue(), durable=True, arguments=arguments)
    first, second = await Deliveries.of(one, queue), await Deliveries.of(two, queue)
    await publish(one, queue, *(b"%d" % number for number in range(6)))
    done = 0
    while done < 6:
        await asyncio.sleep(0.05)
        assert 1 <= first.count() + second.count() <= 2
        for channel, consumer in ((one, first), (two, second)):
            while consumer.count():
                message = await consumer.next()
                await channel.basic_ack(message.delivery_tag or 0)
                done += 1


async def test_a_publisher_ahead_of_the_rate_is_slowed_down_and_loses_nothing(
    connect: Connect, names: Names
) -> None:
    fast, other = await (await connect()).channel(), await (await connect()).channel()
    queue = await declare_queue(fast, names.queue(), durable=True, arguments={"x-publish-rate": 100})
    free = await declare_queue(other, names.queue("free"), durable=True)
    started = time.monotonic()
    publishing = asyncio.gather(
        *(fast.basic_publish(b"%d" % number, routing_key=queue) for number in range(120))
    )
    await publish(other, free, *[b"x"] * 20)
    assert time.monotonic() - started < 0.8, "who publishes elsewhere waited, too"
    await within(publishing)
    took = time.monotonic() - started
    assert took >= 0.8, f"120 messages at 100 a second, 20 of them at once, took {took:.2f} s"
    consumer = await Deliveries.of(other, queue, no_ack=True)
    assert await consumer.bodies(120) == [b"%d" % number for number in range(120)]


async def test_a_message_says_how_long_it_may_be_held(connection: AbstractConnection, names: Names) -> None:
    held, other = await connection.channel(), await connection.channel()
    queue = await declare_queue(other, names.queue(), durable=True)
    consumer = await Deliveries.of(held, queue)
    url = str(connection.url)
    async with await aio_pika.connect(url) as publisher:
        exchange = (await publisher.channel()).default_exchange
        await exchange.publish(aio_pika.Message(b"short", headers={"x-ack-timeout": 300}), queue)
        assert (await consumer.next()).body == b"short"
        again = await Deliveries.of(other, queue)
        message = await within(again.next(), 6)
    assert (message.body, message.redelivered) == (b"short", True)
    await other.basic_ack(message.delivery_tag or 0)


async def test_a_live_connection_keeps_what_it_holds(connection: AbstractConnection, names: Names) -> None:
    channel = await connection.channel()
    queue = await declare_queue(channel, names.queue(), durable=True, arguments={"x-consumer-timeout": 300})
    consumer = await Deliveries.of(channel, queue, arguments={"x-ack-timeout-mode": "liveness"})
    await publish(channel, queue, b"long work")
    message = await consumer.next()
    await asyncio.sleep(2.5)
    await channel.basic_ack(message.delivery_tag or 0)
    await publish(channel, queue, b"next")
    assert (await consumer.next()).body == b"next"
