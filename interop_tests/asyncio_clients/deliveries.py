"""What the tests with aiormq say often: consume into a list, publish some bodies, count what is ready."""

from __future__ import annotations

import asyncio
from typing import Self

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from interop_tests.deadlines import eventually, within

UNFIT_FLAGS = [
    ({"durable": False}, "non-durable"),
    ({"durable": True, "exclusive": True}, "exclusive-owner"),
    ({"durable": True, "auto_delete": True}, "auto-delete"),
]
"""Flags that neither a quorum queue nor a stream can have, and what each is called when it is refused."""


class Deliveries:
    """A consumer that keeps what it is given, in order, for the test to take."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self.consumer_tag = ""

    @classmethod
    async def of(cls, channel: AbstractChannel, queue: str, **options: object) -> Self:
        """Start consuming from a queue; the options are those of basic_consume."""
        consumer = cls()
        answer = await within(channel.basic_consume(queue, consumer._keep, **options))  # type: ignore[arg-type]
        consumer.consumer_tag = str(answer.consumer_tag)
        return consumer

    async def _keep(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(message)

    async def next(self) -> DeliveredMessage:
        """Return the next message."""
        return await within(self._arrived.get())

    async def take(self, count: int) -> list[DeliveredMessage]:
        """Return the next messages."""
        return [await self.next() for _ in range(count)]

    async def bodies(self, count: int) -> list[bytes]:
        """Return the bodies of the next messages."""
        return [message.body for message in await self.take(count)]

    def count(self) -> int:
        """Return how many messages arrived and were not taken yet."""
        return self._arrived.qsize()


async def declare_queue(channel: AbstractChannel, name: str = "", **options: object) -> str:
    """Declare a queue, by default a server-named one that ends with the connection, and return its name."""
    if not name:
        options.setdefault("exclusive", True)
    answer = await within(channel.queue_declare(name, **options))  # type: ignore[call-overload]
    return str(answer.queue)


async def publish(channel: AbstractChannel, queue: str, *bodies: bytes) -> None:
    """Publish to a queue through the default exchange, one after the other, each confirmed."""
    for body in bodies:
        await within(channel.basic_publish(body, routing_key=queue))


async def ready_count(channel: AbstractChannel, queue: str) -> int:
    """Return how many messages of a queue are ready, asked by a passive declare."""
    answer = await within(channel.queue_declare(queue, passive=True))
    return int(answer.message_count or 0)


async def get_body(channel: AbstractChannel, queue: str) -> bytes | None:
    """Get and acknowledge one message, and return its body, or None from an empty queue."""
    message = await within(channel.basic_get(queue, no_ack=True))
    return None if message.delivery_tag is None else message.body


async def drain(channel: AbstractChannel, queue: str) -> list[bytes]:
    """Get all ready messages of a queue and return their bodies."""
    bodies: list[bytes] = []
    while (body := await get_body(channel, queue)) is not None:
        bodies.append(body)
    return bodies


async def ready_becomes(channel: AbstractChannel, queue: str, count: int) -> None:
    """Wait until a queue has so many ready messages."""

    async def matches() -> bool:
        return await ready_count(channel, queue) == count

    await eventually(matches, f"{count} messages ready in {queue}")


async def assert_usable(connection: AbstractConnection) -> None:
    """Show that a connection survived: a new channel declares, publishes and gets."""
    channel = await within(connection.channel())
    queue = await declare_queue(channel)
    await publish(channel, queue, b"still here")
    assert await get_body(channel, queue) == b"still here", "the connection no longer carries messages"
    await within(channel.close())
