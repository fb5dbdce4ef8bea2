"""A publisher that never got its confirm publishes again, a consumer fails after its work: it is done once.

python examples/idempotent.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable

QUEUE = "orders.idempotent"
ARGUMENTS: FieldTable = {"x-deduplication-interval": "10m", "x-message-uid": True}


async def publish(url: str, order: str, lose_confirm: bool) -> None:
    """Publish one order; its message-id follows from what it is about, so a second try has the same."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=not lose_confirm)
    message = aio_pika.Message(order.encode(), message_id=order, delivery_mode=2)
    await channel.default_exchange.publish(message, QUEUE)
    # Without a confirm nobody knows whether the broker has it.
    await connection.close()


async def main(url: str) -> list[str]:
    """Return what was done."""
    done: list[str] = []
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("CREATE TABLE handled (uid TEXT PRIMARY KEY)")
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True, arguments=ARGUMENTS)
        for order in ("order 1", "order 2", "order 3"):
            await publish(url, order, lose_confirm=order == "order 2")
            if order == "order 2":
                await publish(url, order, lose_confirm=False)
        end = asyncio.Event()

        async def handle(message: AbstractIncomingMessage) -> None:
            order, uid = message.body.decode(), str(message.headers["x-message-uid"])
            with database:
                # In one transaction with the work, whose rows are in the same database.
                known = database.execute("INSERT OR IGNORE INTO handled VALUES (?)", (uid,)).rowcount == 0
                if not known:
                    done.append(order)
            print(f"{order}: {'was handled before' if known else 'handled'} ({uid})")
            if order == "order 3" and not known:
                await message.nack(requeue=True)  # as if the consumer had died before its ack
                return
            await message.ack()
            if order == "order 3":
                end.set()

        await queue.consume(handle)
        await asyncio.wait_for(end.wait(), 10)
        await queue.delete(if_unused=False)
    return done


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
