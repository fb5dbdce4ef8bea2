"""Maintenance of a running node: limits of its alarms, closed listeners, draining."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from harebell import logs
from harebell.administration.maintenance import (
    DRAINED,
    DRAINING,
    REGULAR,
    Maintenance,
    MaintenanceStatus,
)
from harebell.server.listener import Server
from harebell.server.memory import available_bytes

REASON: Final = "Node was put into maintenance mode"
"""What clients are told, in RabbitMQ's words."""

STEP_SECONDS: Final = 0.005
"""A time worth sleeping between two connections that are closed."""

LOOK_SECONDS: Final = 0.1
"""Between two looks whether closed clients are gone, and whether others got in at the last moment."""


class NodeMaintenance(Maintenance):
    """Implements the port for one running node.

    Args:
        server: what listens.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._log = logs.get_logger("node")
        self._state = REGULAR
        self._at_start = 0
        self._task: asyncio.Task[None] | None = None
        self._resuming = asyncio.Lock()

    @property
    def memory(self) -> int:
        return available_bytes()

    def set_memory_limit(self, octets: int) -> None:
        self._log.info(f"memory high watermark set to {octets} bytes, until the node starts anew")
        self._server.set_memory_limit(octets)

    def set_disk_free_limit(self, octets: int) -> None:
        self._log.info(f"disk free limit set to {octets} bytes, until the node starts anew")
        self._server.set_disk_free_limit(octets)

    def suspend(self) -> None:
        if not self._server.suspended:
            self._log.warning("suspending all listeners of clients: no connection is accepted")
            self._server.suspend_listeners()

    async def resume(self) -> None:
        async with self._resuming:
            if not self._server.suspended:
                return
            await self._server.resume_listeners()
            self._log.warning("resumed all listeners of clients: connections are accepted again")

    def drain(self, seconds: float) -> None:
        if self._state != REGULAR:
            return
        self._log.warning("this node is being put into maintenance (drain) mode")
        self._state = DRAINING
        self._at_start = len(self._server.clients)
        self.suspend()
        self._task = self._server.loop.create_task(self._close_all(seconds))

    async def _close_all(self, seconds: float) -> None:
        server = self._server
        loop = server.loop
        sessions = list(server.broker.sessions)
        # Clients of one application do not come back all at once.
        random.shuffle(sessions)
        began = loop.time()
        for number, session in enumerate(sessions):
            wait = began + seconds * number / len(sessions) - loop.time()
            if wait > STEP_SECONDS:
                await asyncio.sleep(wait)
            session.close_session(REASON)
            server.turn.run()
        while server.clients:
            server.close_clients(REASON)
            await asyncio.sleep(LOOK_SECONDS)
        self._state = DRAINED
        self._log.warning("this node is in maintenance mode: it serves no client until it is revived")

    async def revive(self) -> None:
        self.close()
        if self._state != REGULAR:
            self._state = REGULAR
            self._log.warning("this node is back in regular operation mode")
        await self.resume()

    def status(self) -> MaintenanceStatus:
        server = self._server
        return MaintenanceStatus(self._state, server.suspended, self._at_start, len(server.clients))

    @property
    def draining(self) -> bool:
        """Whether the node is on the way into maintenance, or there."""
        return self._state != REGULAR

    def close(self) -> None:
        """Let no draining go on: the node stops, and closes what is left."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
