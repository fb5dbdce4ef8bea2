"""A broker without sockets: engine, protocol and the server's turn, driven by the test."""

from __future__ import annotations

from itertools import count

from harebell.amqp.connection import AwaitingJournal, Connection
from harebell.amqp.handshake import Handshake, HandshakeOptions
from harebell.amqp.methods.table import Methods
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.auth.backends import UserDirectory, default_directory
from harebell.engine.broker import Broker, Limits
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.paging import Pager
from harebell.ports import Clock, Journal
from harebell.storage.null import NullJournal
from harebell.storage.streams.memory import MemoryStreamLogs
from harebell.streaming import StreamLogs
from tests.support.client import Client

SERVER_PROPERTIES: dict[str, object] = {
    "product": "harebell",
    "version": "0",
    "capabilities": {"basic.nack": True, "publisher_confirms": True},
}


class Node:
    """One broker and the clients connected to it.

    Args:
        journal: where durable changes go; nowhere if absent.
        pager: where messages go that do not fit in memory; nowhere if absent.
        limits: bounds of the engine.
        options: what the handshake offers.
        streams: keeps what streams have; in memory if absent.

    Attributes:
        users: guest with every permission, until the test says otherwise.
        log: level and sentence of everything said to the operator.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        limits: Limits | None = None,
        options: HandshakeOptions | None = None,
        pager: Pager | None = None,
        streams: StreamLogs | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.now = 1_000_000
        self.journal = journal or NullJournal()
        self.users: UserDirectory = default_directory()
        tokens = count(1)
        self.broker = Broker(
            self.users,
            self.journal,
            limits or Limits(),
            lambda: f"token-{next(tokens):016}",
            SERVER_PROPERTIES,
            self.clock,
            pager,
            streams or MemoryStreamLogs(),
        )
        self.log: list[tuple[str, str]] = []
        self.outboxes = OutboxSet()
        self.awaiting = AwaitingJournal()
        self.options = options or HandshakeOptions()
        self.handshake = Handshake(self.options, self._note)
        self.methods = Methods(self.handshake, self._note, self._crashed)
        self.clients: list[Client] = []

    def _note(self, level: str, connection: Connection, text: str) -> None:
        self.log.append((level, text))

    def _crashed(self, connection: Connection, error: Exception) -> None:
        raise AssertionError(f"the broker answered 541 to an unexpected {error!r}") from error

    @property
    def vhost(self) -> Vhost:
        """The default virtual host."""
        return self.broker.vhosts["/"]

    def queue(self, name: str) -> Queue:
        """A queue of the default virtual host."""
        return self.vhost.queues[name]

    def client(self, feeding: str = "whole", host: str = "127.0.0.1") -> Client:
        """Accept a client that has sent nothing yet."""
        out = Outbox(self.outboxes)
        connection = Connection(self.broker, self.methods, out, self.awaiting, f"{host}:1 -> here", host)
        client = Client(self, connection, out, feeding)
        out.owner = client
        self.clients.append(client)
        return client

    def connect(self, feeding: str = "whole") -> Client:
        """Accept a client and open its connection as guest."""
        client = self.client(feeding)
        client.open()
        return client

    def turn(self) -> None:
        """Let queues deliver and collect what was sent, as the server does after a chunk of input."""
        dispatcher = self.broker.dispatcher
        for _ in range(10_000):
            dispatcher.run()
            reopened = []
            while self.outboxes.dirty:
                dirty, self.outboxes.dirty = self.outboxes.dirty, []
                for out in dirty:
                    client = out.owner
                    assert isinstance(client, Client)
                    client.collect(out.take())
                    if out.full and out.writable and out.reopen():
                        reopened.append(client)
            for client in reopened:
                client.connection.writable_again()
            if not dispatcher.busy and not reopened:
                return
        raise AssertionError("the broker never comes to rest")

    def advance(self, milliseconds: int) -> None:
        """Let time pass, as the server's tick does."""
        self.clock.now += milliseconds
        self.clock.wall += milliseconds
        self.broker.expire_queues()
        self.expire()

    def expire(self) -> None:
        """Let queues look at their deadlines, as the server's timer does."""
        for _ in range(10_000):
            self.turn()
            if self.broker.expiry.next > self.clock.wall:
                return
            self.broker.expiry.run()
        raise AssertionError("there is always something that expires")

    def sync(self, lsn: int | None = None) -> None:
        """Make the journal durable up to an lsn, or altogether, as when the disk has caught up."""
        journal = self.journal
        if lsn is None:
            journal.flush()
        journal.durable = getattr(journal, "written", 0) if lsn is None else lsn
        self.broker.dispatcher.journal_advanced()
        for channel in list(self.awaiting.channels):
            if not channel.release(journal.durable):
                self.awaiting.channels.pop(channel, None)
        self.turn()
