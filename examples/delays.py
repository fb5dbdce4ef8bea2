"""Reminders that come later: after a while, at a time, and at once.

python examples/delays.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sys
import time

import aio_pika


async def main(url: str) -> list[tuple[str, float]]:
    """Return what came, and after how many seconds."""
    came: list[tuple[str, float]] = []
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            "reminders", "x-delayed-message", durable=True, arguments={"x-delayed-type": "topic"}
        )
        queue = await channel.declare_queue("reminders.mail", durable=True)
        await queue.bind(exchange, "mail.#")
        began = time.time()

        async def remind(text: str, **headers: int) -> None:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            message = aio_pika.Message(text.encode(), delivery_mode=2, headers=dict(named))
            await exchange.publish(message, "mail.customer")

        await remind("your cart is waiting", x_delay=600)
        await remind("the sale begins", x_deliver_at=int((began + 0.3) * 1000))
        await remind("welcome")

        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                came.append((message.body.decode(), time.time() - began))
                print(f"after {came[-1][1]:.2f} s: {came[-1][0]}")
                if len(came) == 3:
                    break
        await queue.delete(if_unused=False)
        await exchange.delete()
    return came


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
