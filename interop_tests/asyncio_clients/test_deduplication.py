"""Publishing again what was taken, and ids that the broker gives, as a stock client sees them."""

from __future__ import annotations

import uuid

import pytest
from aiormq.abc import AbstractChannel
from pamqp import commands

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import declare_queue, get_body, ready_becomes
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

WINDOW = {"x-deduplication-window": 1000, "x-deduplication-interval": "10m"}


async def put(channel: AbstractChannel, exchange: str, key: str, *ids: str, **headers: object) -> None:
    """Publish messages, which are their ids, and see each of them confirmed."""
    for each in ids:
        properties = commands.Basic.Properties(message_id=each, headers=dict(headers), delivery_mode=2)  # type: ignore[arg-type]
        answer = await within(
            channel.basic_publish(each.encode(), exchange=exchange, routing_key=key, properties=properties)
        )
        assert isinstance(answer, commands.Basic.Ack)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_queue_confirms_a_duplicate_and_does_not_store_it(
    connect: Connect, names: Names, kind: str
) -> None:
    channel = await (await connect()).channel()
    queue = await declare_queue(
        channel, names.queue(), durable=True, arguments={"x-queue-type": kind, **WINDOW}
    )
    await put(channel, "", queue, "a", "b", "a")
    await ready_becomes(channel, queue, 2)
    assert [await get_body(channel, queue) for _ in range(2)] == [b"a", b"b"]
    await put(channel, "", queue, "b", "c")
    await ready_becomes(channel, queue, 1)
    assert await get_body(channel, queue) == b"c", "what was consumed is known still"


async def test_an_exchange_sends_a_duplicate_nowhere(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    exchange = names.exchange()
    await within(
        channel.exchange_declare(
            exchange,
            exchange_type="fanout",
            durable=True,
            arguments={**WINDOW, "x-deduplication-header": "id"},
        )
    )
    queue = await declare_queue(channel, names.queue(), durable=True)
    await within(channel.queue_bind(queue, exchange))
    await put(channel, exchange, "", "a", "b", id=1)
    await put(channel, exchange, "", "a", id=2)
    late = await declare_queue(channel, names.queue("late"), durable=True)
    await within(channel.queue_bind(late, exchange))
    await put(channel, exchange, "", "a", id=1)
    await ready_becomes(channel, queue, 2)
    await ready_becomes(channel, late, 0)


async def test_a_transaction_leaves_out_its_own_duplicates(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel(publisher_confirms=False)
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=dict(WINDOW))
    await within(channel.tx_select())
    for _ in range(2):
        for each in ("a", "a", "b"):
            properties = commands.Basic.Properties(message_id=each, delivery_mode=2)
            await channel.basic_publish(each.encode(), routing_key=queue, properties=properties)
        await within(channel.tx_commit())
    await ready_becomes(channel, queue, 2)


async def test_a_message_keeps_the_id_it_was_given(connect: Connect, names: Names) -> None:
    channel = await (await connect()).channel()
    dead = await declare_queue(channel, names.queue("dead"), durable=True)
    queue = await declare_queue(
        channel,
        names.queue(),
        durable=True,
        arguments={"x-message-uid": True, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead},
    )
    await put(channel, "", queue, "a", "a")
    uids: list[str] = []
    for name, requeue in ((queue, True), (queue, False), (queue, False), (dead, True), (dead, False)):
        message = await within(channel.basic_get(name))
        assert message.delivery_tag is not None
        uids.append(str((message.header.properties.headers or {}).get("x-message-uid")))
        await channel.basic_nack(message.delivery_tag, requeue=requeue)
        if name == queue and len(uids) == 3:
            await ready_becomes(channel, dead, 2)
    assert uids == [uids[0], uids[0], uids[2], uids[0], uids[0]]
    assert uuid.UUID(uids[0]).version == 7
    assert uids[0] < uids[2]
