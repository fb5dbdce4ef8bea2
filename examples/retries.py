"""A consumer that fails gets its message back later and later, and the fourth failure is the last.

python examples/retries.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import pairwise

import aio_pika

RETRYING = {
    "x-delayed-retry-type": "all",
    "x-delayed-retry-min": 100,
    "x-delayed-retry-backoff": "exponential",
    "x-delayed-retry-attempts": 4,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "payments.dead",
}


async def main(url: str) -> list[float]:
    """Return the seconds between the deliveries."""
    times: list[float] = []
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("payments", durable=True, arguments=RETRYING)
        dead = await channel.declare_queue("payments.dead", durable=True)
        await channel.default_exchange.publish(aio_pika.Message(b"order 17", delivery_mode=2), "payments")

        async def pay(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            times.append(time.monotonic())
            count = (message.headers or {}).get("x-delivery-count", 0)
            print(
                f"attempt {len(times)}: {message.body.decode()} came back {count!r} times; the bank is down"
            )
            await message.reject(requeue=True)

        await queue.consume(pay)
        while (letter := await dead.get(fail=False)) is None:
            await asyncio.sleep(0.05)
        await letter.ack()
        print(f"given up: {letter.body.decode()}, {letter.headers['x-first-death-reason']!s}")
        await queue.delete(if_unused=False)
        await dead.delete(if_unused=False)
    waits = [later - earlier for earlier, later in pairwise(times)]
    print("waits:", ", ".join(f"{wait * 1000:.0f} ms" for wait in waits))
    return waits


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
