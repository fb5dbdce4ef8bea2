"""The asyncio end of one connection: moves bytes between a socket and the sans-I/O protocol.

Interpreted on purpose (an ``asyncio.Protocol`` is called by the loop); it runs per chunk, not per message.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, cast

from harebell.amqp.connection import AWAIT_HEADER, Connection
from harebell.amqp.outbox import Outbox
from harebell.server.clock import set_clock

if TYPE_CHECKING:
    from harebell.server.admission import Origin
    from harebell.server.listener import Server

YIELD: Final = "yield"
REPLIES: Final = "replies"
RATE: Final = "rate"
REPLY_HIGH: Final = 8 * 1024 * 1024
"""Bytes of unread replies after which nothing more is read from that client."""


READ_LARGE: Final = 256 * 1024
READ_SMALL: Final = 16 * 1024
"""Bytes taken from a socket at once: few while queues back up in front of consumers, so that a publisher
at full speed does not keep their acknowledgements waiting."""

READ_FIRST: Final = 16 * 1024
READ_LEAST: Final = 4 * 1024
"""Bytes taken at once from a new connection, and at least however long they take to work off."""

LONG_TURN: Final = 0.02
"""Seconds for which a chunk may keep all others waiting; where one takes longer the next ones are smaller."""


class ReadBuffer:
    """The buffer all connections of a server read into, one after the other."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(READ_LARGE))


class ClientTransport(asyncio.BufferedProtocol):
    """One accepted socket.

    Args:
        server: the listener's owner, with the broker and the turn.
        origin: where it comes from, if that is known before the transport is made.

    Attributes:
        secure: True behind TLS, where one large write costs less than many small ones.
    """

    def __init__(self, server: Server, origin: Origin | None = None) -> None:
        self.server = server
        self.origin = origin
        self.secure = origin is not None and origin.secure
        self._turn = server.turn
        self._loop = server.loop
        self._buffer = server.read_buffer
        self._dispatcher = server.broker.dispatcher
        self._room = 0
        self._limit = READ_FIRST
        self._contended = False
        self._slowed = False
        self.transport: asyncio.Transport | None = None
        self.out = Outbox(server.turn.outboxes, self)
        self.connection: Connection | None = None
        self._paused_for: set[str] = set()
        self.unread_before = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the socket."""
        accepted = cast(asyncio.Transport, transport)
        if self.origin is None and self.server.refuses():
            accepted.abort()
            return
        accepted.set_write_buffer_limits(high=self.server.options.outbound_buffer)
        self.transport = accepted
        self.connection = self.server.accepted(self, accepted)
        if self.connection is None:
            self.transport = None
            accepted.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the buffer to read into."""
        self._room = min(self._limit, READ_SMALL) if self._contended else self._limit
        return self._buffer.memory[: self._room]

    def buffer_updated(self, nbytes: int) -> None:
        """Feed the protocol, then let queues deliver.

        A full buffer means that there is more: other connections go first, since the loop would
        otherwise read on from this socket for a long while.
        """
        connection = self.connection
        if connection is None:
            return
        full = nbytes == self._room
        if full:
            self.pause_reading(YIELD)
            self._loop.call_soon(self.resume_reading, YIELD)
        started = set_clock(self.server.broker.clock)
        dispatcher = self._dispatcher
        dispatcher.contended = False
        connection.receive_data(bytes(self._buffer.memory[:nbytes]))
        if self.origin is not None:
            self.admit()
        self._contended = dispatcher.contended
        if connection.slow_until:
            self._slow_down(connection)
        elif connection.stalled:
            self.pause_reading(REPLIES)
        self._turn.run()
        self._adapt(nbytes, full, time.monotonic() - started)
        self.server.received(nbytes)
        self._received(connection)

    def _received(self, connection: Connection) -> None:
        """See what follows from what was handled: waiting for the disk, a close, an alarm."""
        if connection.has_published:
            self._turn.wait_for_journal(self)
        if connection.wants_close:
            self.close()
        elif connection.has_published and self.server.blocking and not connection.blocked:
            self.server.block(self)

    def _slow_down(self, connection: Connection) -> None:
        """Handle and read nothing until a queue takes messages again; others go on."""
        self.pause_reading(RATE)
        if not self._slowed:
            self._slowed = True
            wait = max(1, int(connection.slow_until - self.server.broker.clock.now))
            self._loop.call_later(wait / 1000, self._go_on_slowly)

    def _go_on_slowly(self) -> None:
        """Handle what was read before, until a queue has enough once more."""
        self._slowed = False
        connection = self.connection
        if connection is None or not connection.slow_until:
            return
        set_clock(self.server.broker.clock)
        connection.slow_until = 0
        connection.resume()
        if connection.slow_until:
            self._slow_down(connection)
        else:
            if connection.stalled:
                self.pause_reading(REPLIES)
            elif self.out.open:
                self.resume_reading(REPLIES)
            self.resume_reading(RATE)
        self._turn.run()
        self._received(connection)

    def admit(self) -> None:
        """Count the connection no more among those that have not logged in, once it is open."""
        if self.origin is not None and self.connection is not None and self.connection.vhost is not None:
            self.server.admission.leave(self.origin)
            self.origin = None

    def _adapt(self, nbytes: int, full: bool, seconds: float) -> None:
        """Take less at once from a client whose requests are long work, such as fan-out to many queues."""
        if seconds > LONG_TURN:
            self._limit = max(READ_LEAST, int(nbytes * LONG_TURN / seconds))
        elif full and self._limit < READ_LARGE:
            self._limit = min(READ_LARGE, 2 * self._limit)

    def eof_received(self) -> bool:
        """The peer finished sending: close our side too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone: give back what the connection held."""
        connection = self.connection
        if connection is not None:
            self.server.lost(self, connection)
            connection.receive_eof()
            self._turn.run()
            # Nothing of a closed connection is left to the cyclic garbage collector.
            self.connection = self.transport = self.out.owner = None

    def pause_writing(self) -> None:
        """The client does not read fast enough: hold its deliveries."""
        self.out.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        self.out.writable = True
        self.out.reopen()
        self._turn.reopened(self)

    def write_out(self) -> None:
        """Write the outbox; called once a turn."""
        chunks = self.out.take()
        transport = self.transport
        if transport is None or not chunks:
            return
        if self.connection is not None:
            self.connection.said = True
        if self.secure:
            # Each piece would become a record of its own, with a header and a checksum; and asyncio copies
            # what is left of a piece after each record, unless it is a view.
            transport.write(memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks)))
        elif len(chunks) == 1:
            transport.write(chunks[0])
        else:
            transport.writelines(chunks)
        connection = self.connection
        stalled = connection is not None and connection.stalled
        if self.out.writable and ((self.out.full and self.out.reopen()) or stalled):
            self._turn.reopened(self)
        if not self.out.writable and transport.get_write_buffer_size() > REPLY_HIGH:
            self.pause_reading(REPLIES)
        if connection is not None and connection.wants_close:
            self.close()

    def go_on(self) -> None:
        """The client reads again: handle the requests that waited and let its consumers take part."""
        connection = self.connection
        if connection is None or not self.out.open:
            return
        if connection.stalled and not connection.slow_until:
            connection.resume()
            if connection.slow_until:
                self._slow_down(connection)
        if not connection.stalled:
            self.resume_reading(REPLIES)
        connection.writable_again()

    def pause_reading(self, why: str) -> None:
        """Stop reading for a reason; reading goes on when no reason is left."""
        if self.transport is not None and not self._paused_for and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused_for.add(why)

    def resume_reading(self, why: str) -> None:
        """Withdraw a reason not to read."""
        if why not in self._paused_for:
            return
        self._paused_for.discard(why)
        if self.transport is not None and not self._paused_for and not self.transport.is_closing():
            self.transport.resume_reading()

    def resume_all(self) -> None:
        """Read again whatever the reasons were: the connection is being closed and its answer matters."""
        if self.connection is not None and self.connection.slow_until:
            self.connection.slow_until = 0
            self.connection.resume()
        for why in list(self._paused_for):
            self.resume_reading(why)

    @property
    def reading_paused(self) -> bool:
        """True while nothing is read for our own reasons, so silence says nothing about the peer."""
        return bool(self._paused_for - {REPLIES})

    def unread_bytes(self) -> int:
        """Bytes the peer has not taken yet; 0 once the socket is gone."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def close(self) -> None:
        """Write what is left and close the socket."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """Drop the socket at once."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def in_handshake(self) -> bool:
        """True until ``connection.open-ok``."""
        return self.connection is None or (
            self.connection.phase >= AWAIT_HEADER and self.connection.vhost is None
        )
