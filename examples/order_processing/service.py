"""What all services have in common: subscribe, recognise duplicates, acknowledge what is done."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from aio_pika import connect_robust
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.common import FieldTable

from examples.order_processing.orders import Order, event
from examples.order_processing.topology import EVENTS

Tell = Callable[[str, str], None]
"""Called with the name of a service and what it did."""


@dataclass
class Ledger:
    """What a service remembers across restarts: a table of its database, were this not an example.

    Attributes:
        done: message ids of what it has done.
        received, settled: deliveries, and those acknowledged.
        duplicates, failures: deliveries of what was done before, and those that ended in an error.
    """

    done: set[str] = field(default_factory=set)
    received: int = 0
    settled: int = 0
    duplicates: int = 0
    failures: int = 0


class Service(ABC):
    """One service, on a connection of its own.

    Args:
        url: of the broker.
        ledger: what it, or its predecessor, has done.
        tell: who is interested.

    Attributes:
        name: of the service, and of its connection.
        queue: what it consumes.
        prefetch: deliveries that may wait for its acknowledgement; a stream insists on a limit.
        arguments: of its consumer.
        subscribed: whether it gets messages by now.
    """

    name: ClassVar[str]
    queue: ClassVar[str]
    prefetch: ClassVar[int] = 10
    arguments: ClassVar[FieldTable | None] = None

    def __init__(self, url: str, ledger: Ledger, tell: Tell) -> None:
        self.ledger = ledger
        self.subscribed = False
        self._url = url
        self._tell = tell
        self._events: AbstractExchange | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        connection = await connect_robust(self._url, client_properties={"connection_name": self.name})
        async with connection:
            channel = await connection.channel(on_return_raises=True)
            await channel.set_qos(prefetch_count=self.prefetch)
            self._events = await channel.get_exchange(EVENTS)
            queue = await channel.get_queue(self.queue)
            # One message after the other, in their order. It holds no more than `prefetch`.
            inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(inbox.put, arguments=self.arguments)
            self.subscribed = True
            self.tell("is here")
            while True:
                await self.receive(await inbox.get())

    async def receive(self, message: AbstractIncomingMessage) -> None:
        """Do what a message asks for, unless that was done, and acknowledge it."""
        ledger = self.ledger
        ledger.received += 1
        event_id = message.message_id or ""
        if event_id in ledger.done:
            ledger.duplicates += 1
            await self.acknowledge(message)
            ledger.settled += 1
            again = "delivered again" if message.redelivered else "sent twice"
            self.tell(f"recognises {event_id}, {again}: nothing to do")
            return
        try:
            did = await self.handle(message.type or "", Order.parse(message.body))
        except Exception as error:
            ledger.failures += 1
            await self.give_back(message, error)
            return
        # Noted before it is acknowledged: whatever happens between the two, the broker delivers the message
        # again and the service knows it. If it happens before, the event that follows has the same id again.
        ledger.done.add(event_id)
        await self.acknowledge(message)
        ledger.settled += 1
        self.tell(did)

    @abstractmethod
    async def handle(self, kind: str, order: Order) -> str:
        """Do the work of the service, and say what was done."""

    async def announce(self, kind: str, order: Order) -> None:
        """Publish what happened to an order; returns when the broker has confirmed it."""
        assert self._events is not None
        await self._events.publish(event(kind, order), f"order.{kind}")

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """Tell the broker that a message is done."""
        # After a lost connection the broker delivers it again, on the new one.
        with suppress(ChannelInvalidStateError):
            await message.ack()

    async def give_back(self, message: AbstractIncomingMessage, error: Exception) -> None:
        """Return a message that could not be handled; the queue's delivery limit ends this."""
        with suppress(ChannelInvalidStateError):
            await message.nack(requeue=True)
        self.tell(f"cannot handle {message.message_id}: {error}")

    def tell(self, what: str) -> None:
        """Tell whoever is interested."""
        self._tell(self.name, what)


class StreamReader(Service):
    """A service that reads a stream: nothing is taken from it, and others read it at their own place.

    Attributes:
        offsets: of the messages it got.
    """

    def __init__(self, url: str, ledger: Ledger, tell: Tell) -> None:
        super().__init__(url, ledger, tell)
        self.offsets: list[int] = []

    async def receive(self, message: AbstractIncomingMessage) -> None:
        """Note the place in the stream, too."""
        offset = message.headers["x-stream-offset"]
        assert isinstance(offset, int)
        self.offsets.append(offset)
        await super().receive(message)

    async def give_back(self, message: AbstractIncomingMessage, error: Exception) -> None:
        """A stream takes nothing back: stop, and resume at this message when started again.

        Raises:
            Exception: what went wrong.
        """
        raise error
