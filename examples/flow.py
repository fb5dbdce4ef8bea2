"""A mail service takes twenty messages a second and three at a time, however many workers there are.

python examples/flow.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sys
import time

import aio_pika

GENTLE: dict[str, aio_pika.abc.FieldValue] = {"x-delivery-rate": 20, "x-max-unacked": 3}


async def main(url: str) -> tuple[float, int]:
    """Return the seconds that 24 messages took, and how many were worked on at once at most."""
    busy = most = done = 0
    async with await aio_pika.connect_robust(url) as connection:
        publisher = await connection.channel()
        queue = await publisher.declare_queue("emails", durable=True, arguments=GENTLE)
        for number in range(24):
            message = aio_pika.Message(b"mail %d" % number, delivery_mode=2)
            await publisher.default_exchange.publish(message, "emails")

        async def send(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            nonlocal busy, most, done
            async with message.process():
                busy += 1
                most = max(most, busy)
                await asyncio.sleep(0.1)
                busy -= 1
            done += 1

        started = time.monotonic()
        for _ in range(10):
            worker = await connection.channel()
            await (await worker.get_queue("emails")).consume(send)
        while done < 24:
            await asyncio.sleep(0.02)
        took = time.monotonic() - started
        await queue.delete(if_unused=False)
    print(f"24 mails in {took:.1f} s, {most} at once at most, by 10 workers")
    return took, most


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
