"""One turn of the broker: after bytes came in, queues deliver and outboxes are written, once each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harebell.amqp.connection import AwaitingJournal
from harebell.amqp.outbox import OutboxSet
from harebell.engine.broker import Broker
from harebell.server.transport import ClientTransport


class Turn:
    """Runs what a chunk of input caused, and what is left over in the loop's next iteration.

    Args:
        broker: whose queues deliver.
        loop: where left-over work is scheduled.

    Attributes:
        watchers: called after each turn; who waits for a state of the broker looks here instead of polling.
    """

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self.broker = broker
        self.outboxes = OutboxSet()
        self.awaiting = AwaitingJournal()
        self.watchers: dict[Callable[[], None], None] = {}
        self._loop = loop
        self._dispatcher = broker.dispatcher
        self._scheduled = False
        self._reopened: list[ClientTransport] = []

    def run(self) -> None:
        """Deliver, then write every outbox that gathered something."""
        self._dispatcher.run()
        self.flush()
        if self._dispatcher.busy:
            self.soon()
        for watcher in list(self.watchers):
            watcher()

    def flush(self) -> None:
        """Write every outbox that gathered something."""
        outboxes = self.outboxes
        while outboxes.dirty:
            dirty, outboxes.dirty = outboxes.dirty, []
            for outbox in dirty:
                client = outbox.owner
                if isinstance(client, ClientTransport):
                    client.write_out()

    def soon(self) -> None:
        """Have another turn in the loop's next iteration, after others had theirs."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._again)

    def reopened(self, transport: ClientTransport) -> None:
        """A client takes deliveries again: let its consumers take part in the next turn."""
        self._reopened.append(transport)
        self.soon()

    def journal_advanced(self) -> None:
        """More of the journal is durable: send the confirms and replies that waited for it."""
        durable = self.broker.journal.durable
        for channel in list(self.awaiting.channels):
            if not channel.release(durable):
                self.awaiting.channels.pop(channel, None)
        self.run()

    def _again(self) -> None:
        self._scheduled = False
        if self._reopened:
            reopened, self._reopened = self._reopened, []
            for transport in reopened:
                transport.go_on()
        self.run()
