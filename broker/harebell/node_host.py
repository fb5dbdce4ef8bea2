"""The node as administration sees it: what it listens on and uses, and how to let it take its turn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harebell import logs
from harebell.administration.host import Host, Listener, Resources
from harebell.engine.broker import Broker
from harebell.node_maintenance import NodeMaintenance
from harebell.server.clock import set_clock
from harebell.server.descriptors import process_limit
from harebell.server.listener import Server
from harebell.server.memory import resident_bytes

DESCRIPTORS: Final = Path("/proc/self/fd")
FRESH_SECONDS: Final = 1.0
"""Time for which what the process uses is taken as known: dashboards ask often, the system answers slowly."""

CLIENT_PROTOCOLS: Final = ("amqp", "amqp/ssl")
"""Listeners that are closed while they are suspended."""

LAG_SECONDS: Final = 0.5
"""Between two looks at how late the event loop is."""


class NodeHost(Host):
    """Implements the port for one running node.

    Args:
        name: the node's name.
        broker: its engine.
        server: what listens.
        data_dir: the data folder; None in memory.
        stop: begins the node's orderly shutdown.

    Attributes:
        listening: the addresses listened on, of every protocol.
        expiries: gives the TLS listeners' certificates' ends.
        stopping: True once the node is about to stop.
        maintenance: limits, listeners and draining at run time.
    """

    def __init__(
        self, name: str, broker: Broker, server: Server, data_dir: Path | None, stop: Callable[[], None]
    ) -> None:
        self.name = name
        self.started_at = int(time.time() * 1000)
        self.data_dir = "" if data_dir is None else str(data_dir)
        self.listening: list[Listener] = []
        self.expiries: Callable[[], list[tuple[Listener, int]]] = list
        self.stopping = False
        self.maintenance: NodeMaintenance = NodeMaintenance(server)
        self._broker = broker
        self._server = server
        self._stop = stop
        self._waits: list[tuple[int, asyncio.Future[None]]] = []
        self._known = Resources()
        self._known_at = 0.0
        self._lag = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look at how late the event loop is, and to remember what is logged."""
        logs.remember()
        loop = self._server.loop
        self._timer = loop.call_at(loop.time() + LAG_SECONDS, self._look, loop.time() + LAG_SECONDS)

    def close(self) -> None:
        """Stop looking, and let nobody wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.maintenance.close()
        self._server.turn.watchers.pop(self._durable_now, None)
        waits, self._waits = self._waits, []
        for _, future in waits:
            future.cancel()

    def turn(self) -> None:
        set_clock(self._broker.clock)
        self._server.turn.run()

    async def durable(self, lsn: int) -> None:
        if lsn <= self._broker.journal.durable:
            return
        future: asyncio.Future[None] = self._server.loop.create_future()
        self._waits.append((lsn, future))
        self._server.turn.watchers[self._durable_now] = None
        await future

    def _durable_now(self) -> None:
        """After each turn: let those go on whose lsn is durable."""
        durable = int(self._broker.journal.durable)
        for lsn, future in self._waits:
            if lsn <= durable and not future.done():
                future.set_result(None)
        self._waits = [wait for wait in self._waits if not wait[1].done()]
        if not self._waits:
            self._server.turn.watchers.pop(self._durable_now, None)

    def listeners(self) -> list[Listener]:
        if self._server.suspended:
            return [each for each in self.listening if each.protocol not in CLIENT_PROTOCOLS]
        return list(self.listening)

    def resources(self) -> Resources:
        now = time.monotonic()
        limits = (self._server.options.memory_limit, self._server.options.disk_free_limit)
        changed = limits != (self._known.memory_limit, self._known.disk_free_limit)
        if changed or now - self._known_at >= FRESH_SECONDS:
            self._known_at = now
            self._known = self._measured()
        return self._known

    def _measured(self) -> Resources:
        options = self._server.options
        try:
            used = len(os.listdir(DESCRIPTORS))
        except OSError:
            used = 0
        try:
            free = 0 if self._server.free_bytes is None else self._server.free_bytes()
        except OSError:
            free = 0
        return Resources(
            memory_used=resident_bytes(),
            memory_limit=options.memory_limit,
            disk_free=free,
            disk_free_limit=options.disk_free_limit,
            descriptors_used=used,
            descriptors_limit=process_limit(),
            sockets_used=len(self._server.clients),
            loop_lag=self._lag,
        )

    def _look(self, due: float) -> None:
        loop = self._server.loop
        now = loop.time()
        # The worst of late counts for a while: a dashboard that looks now and then would miss a short stall.
        self._lag = max(now - due, 0.9 * self._lag)
        self._timer = loop.call_at(now + LAG_SECONDS, self._look, now + LAG_SECONDS)

    def in_service(self) -> bool:
        return not self.stopping and not self.maintenance.draining

    def set_log_level(self, level: str) -> None:
        logs.set_level(level)

    def log_level(self) -> str:
        return logs.level()

    def log_lines(self, after: int, most: int) -> tuple[int, list[str]]:
        return logs.RECENT.since(after, most)

    def certificate_expiries(self) -> list[tuple[Listener, int]]:
        return self.expiries()

    def stop(self) -> None:
        self._stop()
