"""Retries with backoff, as a stock client sees them."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiormq.abc import AbstractChannel

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import declare_queue, get_body, publish, ready_becomes
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio


async def attempt(channel: AbstractChannel, queue: str) -> tuple[float, object]:
    """Wait for a message, give it back, and return when it came and its delivery count."""

    async def got() -> tuple[float, object] | None:
        message = await within(channel.basic_get(queue))
        if message.delivery_tag is None:
            return None
        came = time.monotonic()
        await channel.basic_reject(message.delivery_tag, requeue=True)
        return came, (message.header.properties.headers or {}).get("x-delivery-count", 0)

    found = await eventually(got, f"a message in {queue}")
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_retries_wait_longer_each_time_and_end_in_the_dead_letter_queue(
    connect: Connect, names: Names, kind: str
) -> None:
    channel = await (await connect()).channel()
    dead = await declare_queue(channel, names.queue("dead"), durable=True)
    queue = await declare_queue(
        channel,
        names.queue(),
        durable=True,
        arguments={
            "x-queue-type": kind,
            "x-delayed-retry-type": "all",
            "x-delayed-retry-min": 100,
            "x-delayed-retry-backoff": "exponential",
            "x-delayed-retry-attempts": 3,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
        },
    )
    await publish(channel, queue, b"again")
    attempts = [await attempt(channel, queue) for _ in range(3)]
    assert [count for _, count in attempts] == [0, 1, 2]
    assert attempts[1][0] - attempts[0][0] >= 0.09
    assert attempts[2][0] - attempts[1][0] >= 0.19
    await ready_becomes(channel, dead, 1)
    assert await get_body(channel, dead) == b"again"


async def test_what_waits_for_its_retry_does_not_hold_back_what_is_behind_it(
    connect: Connect, names: Names
) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(
        channel,
        names.queue(),
        durable=True,
        arguments={"x-delayed-retry-type": "all", "x-delayed-retry-min": 60_000},
    )
    await publish(channel, queue, b"fails")
    await publish(channel, queue, b"works")
    first = await within(channel.basic_get(queue))
    await channel.basic_reject(first.delivery_tag, requeue=True)
    await asyncio.sleep(0)
    assert await get_body(channel, queue) == b"works"
    await ready_becomes(channel, queue, 0)
