"""Delayed messages with aiormq and aio-pika, as RabbitMQ's plugin does them, and beyond it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from pamqp.common import FieldTable

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import Deliveries, declare_queue
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

EARLY = 0.002
"""Seconds by which two clocks read in turn may differ."""


async def delayed_exchange(channel: AbstractChannel, names: Names, kind: str, arguments: FieldTable) -> str:
    """Declare an exchange."""
    name = names.exchange("later")
    await within(
        channel.exchange_declare(name, exchange_type=kind, durable=True, arguments=arguments)  # type: ignore[arg-type]
    )
    return name


async def send(channel: AbstractChannel, exchange: str, body: bytes, **headers: object) -> None:
    """Publish a persistent message with headers, confirmed."""
    table = {name.replace("_", "-"): value for name, value in headers.items()}
    properties = Basic.Properties(delivery_mode=2, headers=table)  # type: ignore[arg-type]
    answer = await within(
        channel.basic_publish(body, exchange=exchange, routing_key="a.b", properties=properties)
    )
    assert isinstance(answer, Basic.Ack)


async def test_messages_of_a_delayed_exchange_come_by_their_time_and_never_early(
    connect: Connect, names: Names
) -> None:
    channel = await (await connect()).channel()
    table: FieldTable = {"x-delayed-type": "topic"}
    exchange = await delayed_exchange(channel, names, "x-delayed-message", table)
    queue = await declare_queue(channel, names.queue(), durable=True)
    await within(channel.queue_bind(queue, exchange, "a.#"))
    began = time.time()
    await send(channel, exchange, b"second", x_delay=600)
    await send(channel, exchange, b"first", x_delay=300)
    await send(channel, exchange, b"at once")
    consumer = await Deliveries.of(channel, queue)
    for body, delay in ((b"at once", 0), (b"first", 300), (b"second", 600)):
        message = await consumer.next()
        assert message.body == body
        assert time.time() - began >= delay / 1000 - EARLY, "it came early"
        headers = message.header.properties.headers or {}
        assert headers == ({"x-delay": -delay} if delay else {})


async def test_a_message_asks_for_a_time(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    exchange = await delayed_exchange(channel, names, "direct", {"x-delayed": True})
    queue = await declare_queue(channel, names.queue(), durable=True)
    await within(channel.queue_bind(queue, exchange, "a.b"))
    milliseconds = int(time.time() * 1000) + 300
    seconds = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    await send(channel, exchange, b"timestamp", x_deliver_at=seconds)
    await send(channel, exchange, b"milliseconds", x_deliver_at=milliseconds)
    consumer = await Deliveries.of(channel, queue)
    assert (await consumer.next()).body == b"milliseconds"
    assert time.time() * 1000 >= milliseconds - EARLY * 1000
    assert (await consumer.next()).body == b"timestamp"
    assert datetime.now(UTC) >= seconds - timedelta(seconds=EARLY)


async def test_an_exchange_delays_what_asks_for_nothing(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    exchange = await delayed_exchange(channel, names, "fanout", {"x-delay": 400})
    queue = await declare_queue(channel, names.queue(), durable=True)
    await within(channel.queue_bind(queue, exchange))
    consumer = await Deliveries.of(channel, queue)
    began = time.time()
    await send(channel, exchange, b"slow")
    await send(channel, exchange, b"quick", x_delay=0)
    assert await consumer.bodies(2) == [b"quick", b"slow"]
    assert time.time() - began >= 0.4 - EARLY


async def test_an_aio_pika_application_delays_in_a_transaction(broker: BrokerUnderTest, names: Names) -> None:
    async with await aio_pika.connect_robust(broker.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange(
            names.exchange(), "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"}
        )
        queue = await channel.declare_queue(names.queue(), durable=True)
        await queue.bind(exchange, "k")
        async with channel.transaction():
            for number in range(3):
                delay = 300 - 100 * number
                message = aio_pika.Message(str(delay).encode(), delivery_mode=2, headers={"x-delay": delay})
                await exchange.publish(message, "k")
        bodies = []
        async with asyncio.timeout(20), queue.iterator() as messages:
            async for incoming in messages:
                await incoming.ack()
                bodies.append(incoming.body)
                if len(bodies) == 3:
                    break
    assert bodies == [b"100", b"200", b"300"]


async def test_an_exchange_delays_what_reaches_it_through_others(
    broker: BrokerUnderTest, names: Names
) -> None:
    async with await aio_pika.connect_robust(broker.url) as connection:
        channel = await connection.channel()
        later = await channel.declare_exchange(
            names.exchange("later"), "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"}
        )
        front = await channel.declare_exchange(
            names.exchange("front"), "direct", durable=True, arguments={"alternate-exchange": later.name}
        )
        await later.bind(front, "k")
        at_once, delayed = [await channel.declare_queue(names.queue(), durable=True) for _ in range(2)]
        await at_once.bind(front, "k")
        await delayed.bind(later)
        began = time.time()
        for key, delay in (("k", 600), ("no binding", 300)):
            message = aio_pika.Message(key.encode(), delivery_mode=2, headers={"x-delay": delay})
            answer = await front.publish(message, key, mandatory=True)
            assert isinstance(answer, Basic.Ack), "what waits has a route"
        first = await at_once.get(no_ack=True)
        assert (first.body, first.headers) == (b"k", {"x-delay": 600})
        found = []
        async with asyncio.timeout(20), delayed.iterator(no_ack=True) as messages:
            async for incoming in messages:
                found.append((incoming.body, incoming.exchange, incoming.headers))
                if len(found) == 2:
                    break
        assert time.time() - began >= 0.6 - EARLY
        assert found == [
            (b"no binding", front.name, {"x-delay": -300}),
            (b"k", front.name, {"x-delay": -600}),
        ]
        assert await at_once.get(no_ack=True, fail=False) is None, "it comes once"
