"""Two workers share a queue: every customer's orders stay in order, with one worker at a time.

python examples/lanes.py [amqp://guest:guest@localhost/]
"""

from __future__ import annotations

import asyncio
import sys

import aio_pika

ORDERS = ("ann:create", "bob:create", "ann:change", "cid:create", "bob:cancel", "ann:pay", "cid:pay")


async def main(url: str) -> list[tuple[str, str]]:
    """Return which worker did what, in order."""
    done: list[tuple[str, str]] = []
    finished = asyncio.Event()
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=2)
        queue = await channel.declare_queue("orders", durable=True, arguments={"x-group-header": "customer"})
        audit = await channel.declare_queue("audit", durable=True)

        async def work(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            name = message.consumer_tag or ""
            async with message.process():
                await asyncio.sleep(0.01)
                done.append((name, message.body.decode()))
                print(f"{name}: {message.body.decode()}")
                if len(done) == len(ORDERS):
                    finished.set()

        await queue.consume(work, consumer_tag="worker 1")
        await queue.consume(work, consumer_tag="worker 2")
        for order in ORDERS:
            headers: aio_pika.abc.HeadersType = {"customer": order.split(":")[0]}
            await channel.default_exchange.publish(
                aio_pika.Message(order.encode(), headers=headers), "orders"
            )
        await asyncio.wait_for(finished.wait(), 10)

        # Only what is urgent: the other message stays for somebody else.
        for body, priority in ((b"routine", 1), (b"urgent", 9)):
            await channel.default_exchange.publish(aio_pika.Message(body, priority=priority), "audit")
        arguments = {"x-filter": "properties.priority > 4"}
        async with audit.iterator(arguments=arguments, no_ack=True) as messages:
            print("audit:", (await anext(messages)).body.decode())
        print("still there:", (await audit.get()).body.decode())
        await queue.delete(if_unused=False, if_empty=False)
        await audit.delete(if_unused=False, if_empty=False)
    return done


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@localhost/"))
