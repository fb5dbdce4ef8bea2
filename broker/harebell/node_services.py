"""What runs beside the AMQP server of a node: the HTTP API, metrics, and the sampling both show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harebell import logs
from harebell.administration.administration import Administration
from harebell.administration.audit import AuditLog
from harebell.administration.host import Listener
from harebell.administration.redrive import Redrives
from harebell.auth.backends import UserDirectory
from harebell.engine.broker import Broker
from harebell.node_host import NodeHost
from harebell.server.clock import set_clock
from harebell.server.listener import Server
from harebell.settings import Settings
from harebell.statistics.statistics import Statistics

if TYPE_CHECKING:
    from harebell.management.server import ManagementServer
    from harebell.metrics.server import MetricsServer
    from harebell.tls import Certificates


class Services:
    """Starts them in order and stops them in reverse.

    Args:
        name: the node's name.
        settings: those of the node.
        broker: its engine.
        server: its AMQP server.
        data_dir: the data folder; None in memory.
        stop: begins the node's orderly shutdown.

    Attributes:
        host: the node as administration sees it.
        admin: what the HTTP API and definitions act on.
        statistics: what they show.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        broker: Broker,
        server: Server,
        data_dir: Path | None,
        stop: Callable[[], None],
    ) -> None:
        self.host = NodeHost(name, broker, server, data_dir, stop)
        directory = broker.access
        assert isinstance(directory, UserDirectory)
        self._log = logs.get_logger("node")
        self.admin = Administration(
            broker,
            directory,
            settings,
            self.host,
            AuditLog(data_dir, lambda: int(time.time() * 1000), self._audit_failed),
            Redrives(),
        )
        self.statistics = Statistics(broker, settings.management.sample_interval, self.host)
        self._interval = settings.management.sample_interval / 1000
        self._settings = settings
        broker.done = self._noted
        self._redriving: asyncio.Handle | None = None
        self.admin.redrives.begun = self._redrive
        self._sampler: asyncio.TimerHandle | None = None
        self._management: ManagementServer | None = None
        self._metrics: MetricsServer | None = None

    async def start(self) -> None:
        """Start what the settings ask for; its libraries are loaded only then.

        Raises:
            OSError: an address cannot be listened on.
        """
        self.host.start()
        settings = self._settings
        if settings.management.enabled or settings.metrics.enabled:
            self._sample()
        if settings.management.enabled:
            from harebell.management.server import ManagementServer

            self._management = ManagementServer(self.admin, self.statistics)
            self._listens(await self._management.start())
        if settings.metrics.enabled:
            from harebell.metrics.server import MetricsServer

            self._metrics = MetricsServer(self.admin, self.statistics)
            self._listens(await self._metrics.start())

    @property
    def certificates(self) -> Certificates | None:
        """Those of the HTTPS listeners, to be kept up to date; None without any."""
        return None if self._management is None else self._management.certificates

    def _listens(self, listeners: list[Listener]) -> None:
        self.host.listening += listeners
        for each in listeners:
            shown = f"[{each.host}]:{each.port}" if ":" in each.host else f"{each.host}:{each.port}"
            self._log.info(f"started {each.protocol.upper()} listener on {shown}")

    def _sample(self) -> None:
        """Look at the counters, every interval."""
        self._sampler = asyncio.get_running_loop().call_later(self._interval, self._sample)
        self._sample_on()

    def _sample_on(self) -> None:
        """Go on with a look in pieces: there may be very many objects, and messages go first."""
        if self.statistics.sample_some():
            asyncio.get_running_loop().call_soon(self._sample_on)

    def _noted(self, session_id: int, user: str, action: str, vhost: str, name: str) -> None:
        """Write down what a client of AMQP did; the HTTP API writes down what is done through it."""
        if session_id:
            session = self.admin.broker.sessions.find(session_id)
            peer = "" if session is None else str(session.info().get("name", ""))
            self.admin.audit.record(user, peer, action, vhost, name)

    def _redrive(self) -> None:
        """Let dead letters go back, a few at a time."""
        if self._redriving is None:
            self._redriving = asyncio.get_running_loop().call_soon(self._redrive_some)

    def _redrive_some(self) -> None:
        self._redriving = None
        set_clock(self.admin.broker.clock)
        wait = self.admin.redrives.step(self.admin)
        self.host.turn()
        if wait is not None and not self.host.stopping:
            self._redriving = asyncio.get_running_loop().call_later(wait, self._redrive_some)

    async def stop(self) -> None:
        """Stop listening and sampling; safe to call twice, and where starting failed."""
        self.host.stopping = True
        for handle in (self._sampler, self._redriving):
            if handle is not None:
                handle.cancel()
        metrics, self._metrics = self._metrics, None
        management, self._management = self._management, None
        try:
            if metrics is not None:
                await metrics.stop()
        finally:
            if management is not None:
                await management.stop()
            self.host.close()
            self.admin.audit.close()

    def _audit_failed(self, error: OSError) -> None:
        self._log.error(f"the audit log cannot be written any more, it goes on in memory: {error}")
