"""Browsing, as stock clients see it."""

from __future__ import annotations

import aiormq
import pytest

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import Deliveries, declare_queue, get_body, publish, ready_count
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

BROWSING = {"x-browse": True}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_browser_sees_what_waits_and_what_comes_and_takes_nothing(
    connect: Connect, names: Names, kind: str
) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True, arguments={"x-queue-type": kind})
    await publish(channel, queue, b"a", b"b")
    looking = await (await connect()).channel()
    seen = await Deliveries.of(looking, queue, no_ack=True, arguments=BROWSING)
    first, second = await seen.take(2)
    await publish(channel, queue, b"c")
    (third,) = await seen.take(1)
    found = [
        (each.body, (each.header.properties.headers or {})["x-position"]) for each in (first, second, third)
    ]
    assert found == [(b"a", 1), (b"b", 2), (b"c", 3)]
    assert not any(each.redelivered for each in (first, second, third))
    assert await ready_count(channel, queue) == 3
    message = await within(channel.basic_get(queue))
    assert (message.body, message.delivery.redelivered) == (b"a", False)


async def test_a_browser_is_paced_by_its_prefetch_and_its_answers_change_nothing(
    connect: Connect, names: Names
) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True)
    await publish(channel, queue, *(b"%d" % number for number in range(5)))
    other = await connect()
    looking = await other.channel()
    await looking.basic_qos(prefetch_count=2)
    seen = await Deliveries.of(looking, queue, arguments={**BROWSING, "x-browse-from": 2})
    first, second = await seen.take(2)
    assert (first.body, second.body) == (b"1", b"2")
    assert await ready_count(looking, queue) == 5
    assert seen.count() == 0, "no third before an answer"
    assert second.delivery_tag is not None
    await looking.basic_reject(second.delivery_tag, requeue=False)
    (third,) = await seen.take(1)
    assert third.body == b"3"
    await within(other.close())
    assert await ready_count(channel, queue) == 5
    assert [await get_body(channel, queue) for _ in range(5)] == [b"%d" % number for number in range(5)]


async def test_a_browser_with_a_filter_passes_over_the_rest(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True)
    for colour in ("red", "blue", "red"):
        properties = aiormq.spec.Basic.Properties(headers={"colour": colour})
        await channel.basic_publish(colour.encode(), routing_key=queue, properties=properties)
    arguments = {**BROWSING, "x-filter": {"colour": "blue"}}
    seen = await Deliveries.of(channel, queue, no_ack=True, arguments=arguments)
    assert await seen.bodies(1) == [b"blue"]
    assert await ready_count(channel, queue) == 3


async def test_browsing_alone_is_refused(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(channel, names.queue(), durable=True)
    with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
        await Deliveries.of(channel, queue, exclusive=True, arguments=BROWSING)
