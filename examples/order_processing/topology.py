"""Exchanges, queues and bindings of the example, and what they are for.

shop ── events (topic) ─┬─ order.placed ─► payment     ─┐
                        ├─ order.paid   ─► restaurant  ─┼─ after DELIVERY_LIMIT returns ─► dead (fanout)
                        ├─ order.cooked ─► delivery    ─┘                                   │
                        └─ order.#      ─► orders (stream)                                  └─► dead-letters
"""

from __future__ import annotations

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel

PREFIX = "order-processing."
EVENTS = PREFIX + "events"
DEAD = PREFIX + "dead"
STREAM = PREFIX + "orders"
DEAD_LETTERS = PREFIX + "dead-letters"

DELIVERY_LIMIT = 2
"""How often a message may come back to a work queue: with the first time, each is tried thrice."""

WORK = {
    PREFIX + "payment": "order.placed",
    PREFIX + "restaurant": "order.paid",
    PREFIX + "delivery": "order.cooked",
}
"""Work queues, and the events they get."""


async def forget(channel: AbstractChannel) -> None:
    """Delete what an earlier run left on the broker."""
    for queue in (*WORK, STREAM, DEAD_LETTERS):
        await channel.queue_delete(queue)
    for exchange in (EVENTS, DEAD):
        await channel.exchange_delete(exchange)


async def declare(channel: AbstractChannel) -> None:
    """Declare everything; services find it there."""
    events = await channel.declare_exchange(EVENTS, ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(DEAD, ExchangeType.FANOUT, durable=True)
    for name, routing_key in WORK.items():
        work = await channel.declare_queue(
            name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-dead-letter-exchange": DEAD,
            },
        )
        await work.bind(events, routing_key)
    stream = await channel.declare_queue(
        STREAM, durable=True, arguments={"x-queue-type": "stream", "x-max-age": "7D"}
    )
    await stream.bind(events, "order.#")
    letters = await channel.declare_queue(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
    await letters.bind(dead)
