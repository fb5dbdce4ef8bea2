"""The broker publishes a message each second, and nobody runs for it.

python examples/schedules.py [amqp://guest:guest@localhost/ [http://localhost:15672]]
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiohttp

TICK = {"cron": "* * * * * *", "routing_key": "ticks", "payload": "tick", "properties": {"type": "clock"}}


async def main(url: str, api: str, user: str = "guest", password: str = "guest") -> list[str]:
    """Return what came."""
    place = f"{api}/api/parameters/schedule/%2F/tick"
    login = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    came: list[str] = []
    async with (
        await aio_pika.connect_robust(url) as connection,
        aiohttp.ClientSession(headers=login) as session,
    ):
        channel = await connection.channel()
        queue = await channel.declare_queue("ticks", durable=True)
        async with session.put(place, json={"value": TICK}) as answer:
            answer.raise_for_status()
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                came.append(message.body.decode())
                print(f"{came[-1]}, of type {message.type}")
                if len(came) == 2:
                    break
        async with session.delete(place) as answer:
            answer.raise_for_status()
        await queue.delete(if_unused=False, if_empty=False)
    return came


if __name__ == "__main__":
    given = dict(enumerate(sys.argv))
    asyncio.run(main(given.get(1, "amqp://guest:guest@localhost/"), given.get(2, "http://localhost:15672")))
