"""One turn of the broker: after bytes came in, queues deliver and outboxes are written, once each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from harebell.amqp.connection import AwaitingJournal
from harebell.amqp.outbox import OutboxSet
from harebell.engine import policy_work
from harebell.engine.broker import Broker
from harebell.engine.deadlines import NEVER
from harebell.server.clock import set_clock
from harebell.server.transport import ClientTransport

JOURNAL: Final = "journal"
JOURNAL_AHEAD: Final = 32 * 1024 * 1024
"""Octets that may wait for the disk before publishers are no longer read."""

POLICY_SECONDS: Final = 0.003
"""Time that following a change of policies may take from one turn."""

LOOK_SECONDS: Final = 60.0
"""Time after which deadlines are looked at in any case."""

ALREADY: Final = -1
"""A time before every deadline."""


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
        self._residency = broker.dispatcher.residency
        self._journal = broker.journal
        self._pager = broker.dispatcher.residency.pager
        self._streams = broker.streams
        self._expiry = broker.expiry
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = NEVER
        self._scheduled = False
        self._reopened: list[ClientTransport] = []
        self._ahead: list[ClientTransport] = []

    def run(self) -> None:
        """Deliver, then write every outbox that gathered something."""
        self._dispatcher.run()
        self.flush()
        self._journal.flush()
        self._residency.relieve()
        if self._ahead and not self._far_ahead():
            ahead, self._ahead = self._ahead, []
            for client in ahead:
                client.resume_reading(JOURNAL)
        if self._dispatcher.busy or (self.broker.policies_changed and self._follow_policies()):
            self.soon()
        if self._expiry.next < self._wakes_at:
            self._wake_at(int(self._expiry.next))
        for watcher in list(self.watchers):
            watcher()

    def _wake_at(self, at: int) -> None:
        """Have queues looked at when a time comes, unix milliseconds, or in a while: the clock may jump."""
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        delay = max(0.001, min(at / 1000 - time.time(), LOOK_SECONDS))
        self._timer = self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._wakes_at = NEVER
        set_clock(self.broker.clock)
        self._expiry.run()
        self.run()

    def stop(self) -> None:
        """Look at no deadlines any more, whatever comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wakes_at = ALREADY

    def _follow_policies(self) -> bool:
        """Let some queues and exchanges follow a change of policies; True if more have to."""
        until = time.monotonic() + POLICY_SECONDS
        self.broker.policies_changed = policy_work.step(self.broker, enough=lambda: time.monotonic() > until)
        return self.broker.policies_changed

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
        set_clock(self.broker.clock)
        durable = self._journal.durable
        self._dispatcher.journal_advanced()
        for channel in list(self.awaiting.channels):
            if not channel.release(durable):
                self.awaiting.channels.pop(channel, None)
        self.run()

    def wait_for_journal(self, client: ClientTransport) -> None:
        """Stop reading from a publisher that is far ahead of the disk, until a turn finds that it is not."""
        if self._far_ahead():
            client.pause_reading(JOURNAL)
            self._ahead.append(client)

    def _far_ahead(self) -> bool:
        """Tell whether the journal, the spill log or streams have much to write; each tells when it wrote."""
        return (
            self._journal.backlog() >= JOURNAL_AHEAD
            or self._pager.backlog >= JOURNAL_AHEAD
            or self._streams.backlog >= JOURNAL_AHEAD
        )

    def _again(self) -> None:
        self._scheduled = False
        if self._reopened:
            reopened, self._reopened = self._reopened, []
            for transport in reopened:
                transport.go_on()
        self.run()
