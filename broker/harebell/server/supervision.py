"""What time brings: heartbeats, handshake deadlines, acknowledgement timeouts, expiry, the memory alarm.

One coarse tick serves all connections; nothing here runs per message.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final

from harebell import logs
from harebell.amqp.connection import CLOSED, CLOSING, OPEN, Connection
from harebell.amqp.constants import HEARTBEAT
from harebell.engine.alarms import DISK, MEMORY
from harebell.server.clock import set_clock
from harebell.server.delivery_timeouts import time_out_deliveries
from harebell.server.memory import resident_bytes

if TYPE_CHECKING:
    from harebell.server.listener import Server
    from harebell.server.transport import ClientTransport

TICK_SECONDS: Final = 0.1
CONNECTIONS_EVERY: Final = 5
MEMORY_EVERY: Final = 2
TIMEOUTS_EVERY: Final = 20
OWN_TIMEOUTS_EVERY: Final = 5
"""Ticks between looks at connections, memory, and unacknowledged deliveries: often once a queue or a
consumer has a timeout of its own, which may be short."""

WATCH_MS: Final = int(CONNECTIONS_EVERY * TICK_SECONDS * 1000)
"""Milliseconds between looks at a connection."""

CLOSE_TIMEOUT_MS: Final = 3000
"""How long a client has to answer ``connection.close``, or to hang up after close-ok."""

CLEAR_BELOW: Final = 0.95
"""The memory alarm clears below this share of its limit."""

EMPTY_BYTES: Final = 32 * 1024 * 1024
"""A broker without any message takes more: a memory limit below this blocks publishers whatever is held, as
RabbitMQ's does; it is set by people who want that."""

FREE_ABOVE: Final = 1.1
"""The disk alarm clears above this multiple of its limit."""


ALARM: Final = "alarm"
"""Why a blocked publisher is not read."""


class Supervisor:
    """Runs the tick of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ticks = 0
        self._handle: asyncio.TimerHandle | None = None
        self._log = logs.get_logger("connection")

    def start(self) -> None:
        """Begin ticking."""
        set_clock(self._server.broker.clock)
        self._handle = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Stop ticking."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        server = self._server
        set_clock(server.broker.clock)
        self._ticks += 1
        if self._ticks % MEMORY_EVERY == 0:
            self.watch_memory()
            self.watch_disk()
        if self._ticks % CONNECTIONS_EVERY == 0:
            now = int(server.broker.clock.now)
            for client in list(server.clients):
                if client.connection is not None:
                    self._watch(client, client.connection, now)
        if self._ticks % (OWN_TIMEOUTS_EVERY if server.broker.own_timeouts else TIMEOUTS_EVERY) == 0:
            time_out_deliveries(server)
        server.broker.expire_queues()
        server.turn.run()

    def watch_memory(self) -> None:
        """Set or clear the memory alarm."""
        server = self._server
        limit = server.options.memory_limit
        if limit <= 0:
            return
        broker = server.broker
        alarmed = broker.alarms.is_set(MEMORY)
        mark = int(limit * CLEAR_BELOW) if alarmed else limit
        used = resident_bytes()
        # Freed memory stays with the allocator, so the resident size alone would never clear the alarm.
        over = used >= mark and (limit < EMPTY_BYTES or 2 * self._held_bytes() >= mark)
        if broker.alarms.update(MEMORY, over):
            state = "set" if over else "cleared"
            logs.get_logger("alarm").warning(
                f"memory resource limit alarm {state}: {used} bytes used, limit is {limit} bytes"
            )
            server.set_blocking(broker.alarms.active)

    def watch_disk(self) -> None:
        """Set or clear the alarm of the disk."""
        server = self._server
        limit = server.options.disk_free_limit
        alarms = server.broker.alarms
        if (limit <= 0 and not alarms.is_set(DISK)) or server.free_bytes is None:
            return
        free = server.free_bytes()
        low = free < (limit * FREE_ABOVE if alarms.is_set(DISK) else limit)
        if alarms.update(DISK, low):
            state = "set" if low else "cleared"
            logs.get_logger("alarm").warning(
                f"free disk space alarm {state}: {free} bytes free, limit is {limit} bytes"
            )
            server.set_blocking(alarms.active)

    def _held_bytes(self) -> int:
        connections = [client.connection for client in self._server.clients]
        outside = sum(connection.held_bytes() for connection in connections if connection is not None)
        return self._server.broker.held_bytes() + outside

    def _watch(self, client: ClientTransport, connection: Connection, now: int) -> None:
        phase = connection.phase
        client.admit()
        if connection.blocked and _hung_up(client):
            # What it sent before is read to its end; nothing else would tell that it is gone.
            client.resume_reading(ALARM)
        if connection.heard:
            connection.heard = False
            connection.last_heard = now
        if connection.said:
            connection.said = False
            # Perhaps right after the last look: a heartbeat too many does no harm, one too late may.
            connection.last_said = now - WATCH_MS
        if phase in (CLOSING, CLOSED):
            if now - connection.closing_since >= CLOSE_TIMEOUT_MS:
                client.abort()
        elif phase != OPEN:
            if now - int(connection.opened_at) >= self._server.options.handshake_timeout * 1000:
                self._log.warning(f"handshake timeout, closing {connection.peer}", conn=f"c{connection.id}")
                client.abort()
        elif connection.heartbeat:
            self._heartbeat(client, connection, now)

    def _heartbeat(self, client: ClientTransport, connection: Connection, now: int) -> None:
        if now - connection.last_said >= connection.heartbeat // 2:
            connection.out.raw(HEARTBEAT)
        unread = client.unread_bytes()
        if client.reading_paused or unread < client.unread_before:
            # Silence says nothing while we do not read, and taking what waits is a sign of life.
            connection.last_heard = now
        client.unread_before = unread
        if now - connection.last_heard >= 2 * connection.heartbeat:
            self._log.error(
                f"closing AMQP connection {connection.peer}: missed heartbeats from client, "
                f"timeout: {connection.heartbeat // 1000}s",
                conn=f"c{connection.id}",
            )
            connection.wants_close = True
            client.abort()


def _hung_up(client: ClientTransport) -> bool:
    """Tell whether the peer ended a connection that is not read, so that no end of file can arrive."""
    if client.transport is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(client.transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))
