"""Look at the messages of a queue without taking any, and show where each of them lies.

python examples/browse.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika
from pamqp.common import FieldTable

LOOKING: FieldTable = {"x-browse": True, "x-browse-from": 2, "x-filter": "tenant = 'acme' AND amount > 100"}


async def main(url: str) -> tuple[list[int], int]:
    """Return the positions that were seen, and how many messages are still there."""
    seen: list[int] = []
    both = asyncio.Event()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("invoices", durable=True)
        for tenant, amount in (("acme", 500), ("acme", 300), ("zenith", 900), ("acme", 20), ("acme", 700)):
            headers: FieldTable = {"tenant": tenant, "amount": amount}
            await channel.default_exchange.publish(aio_pika.Message(b"invoice", headers=headers), queue.name)

        async def look(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            position = message.headers["x-position"]
            assert isinstance(position, int)
            seen.append(position)
            print(f"position {position}: {message.headers['amount']!r} for {message.headers['tenant']!r}")
            if len(seen) == 2:
                both.set()

        await queue.consume(look, no_ack=True, arguments=LOOKING)
        await asyncio.wait_for(both.wait(), 10)
        there = (await channel.declare_queue("invoices", passive=True)).declaration_result.message_count
        print(f"{there} messages are in the queue, as before")
        await queue.delete(if_unused=False, if_empty=False)
    return seen, there or 0


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
