"""What runs beside the AMQP server of a node: the HTTP API, metrics, and the sampling both show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harebell import logs
from harebell.administration.administration import Administration
from harebell.administration.audit import AuditLog
from harebell.administration.cluster import tell_cluster_name
from harebell.administration.host import Listener
from harebell.administration.redrive import Redrives
from harebell.auth.backends import UserDirectory
from harebell.engine.broker import Broker
from harebell.listening import Listening, listen
from harebell.management.sockets import BACKLOG, ApiSockets
from harebell.node_host import NodeHost
from harebell.schemas import Formats
from harebell.server.clock import set_clock
from harebell.server.listener import Server
from harebell.settings import Settings
from harebell.statistics.statistics import Statistics
from harebell.tls import Certificates

if TYPE_CHECKING:
    from harebell.management.server import ManagementServer
    from harebell.metrics.server import MetricsServer

METRICS_HANDSHAKES: Final = 64
"""TLS handshakes of scrapes at once."""

SCHEDULE_SECONDS: Final = 0.25
"""Time between two looks at schedules."""

WARN_SECONDS: Final = 60.0
MOST_WARNED: Final = 1000
MOST_KNOWN: Final = 300
"""Seconds in which the engine's warning is logged once, how many different ones are told apart, and by how
many characters."""


class Services:
    """Starts them in order and stops them in reverse.

    HTTP comes in two steps, since its libraries take as long to load as all the rest of a start: its sockets
    are open when ``start`` is done, and who connects before it is served waits.

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
        metrics_certificates: those of the HTTPS listeners of metrics; None without any.
        failure: why HTTP cannot be served; None while it is, or is going to be.
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
        broker.warned = self._warn
        self._warned: dict[str, float] = {}
        broker.schemas.formats = Formats()
        self._redriving: asyncio.Handle | None = None
        self.admin.redrives.begun = self._redrive
        self._sampler: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self.admin.schedules.warn = self._warn
        self._stop = stop
        self._api: ApiSockets | None = None
        self._metered: Listening | None = None
        self._metered_tls: Listening | None = None
        self.metrics_certificates: Certificates | None = None
        self._management: ManagementServer | None = None
        self._metrics: MetricsServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Open the sockets the settings ask for, and begin to sample.

        Raises:
            OSError: an address cannot be listened on.
            TlsError: certificates cannot be used.
        """
        self.host.start()
        settings = self._settings
        if settings.management.enabled or settings.metrics.enabled:
            self._sample()
        self._tick()
        if settings.management.enabled:
            tell_cluster_name(self.admin)
            data_dir = self.host.data_dir
            self._api = ApiSockets(settings, Path(data_dir) if data_dir else None)
            self._listens(await self._api.open())
        if settings.metrics.enabled:
            self._metered = await listen(settings.http_listeners(settings.metrics), BACKLOG, "metrics")
            addresses = self._metered.addresses
            self._listens([Listener("http/prometheus", host, port) for host, port in addresses])
            await self._meter_over_tls(settings)

    async def _meter_over_tls(self, settings: Settings) -> None:
        if settings.tls.certificate is None:
            return
        # Whoever scrapes needs no certificate, as on the plain port.
        self.metrics_certificates = Certificates(settings.tls, "none", METRICS_HANDSHAKES)
        self._metered_tls = await listen(settings.https_listeners(settings.metrics), BACKLOG, "metrics")
        addresses = self._metered_tls.addresses
        self._listens([Listener("https/prometheus", host, port) for host, port in addresses])

    def serve(self) -> None:
        """Begin to load what serves HTTP, and then to serve; where that fails the node stops.

        To be called when all else has started: clients of AMQP go first.
        """
        if self._api is not None or self._metered is not None:
            self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def served(self) -> None:
        """Wait until HTTP is served, or cannot be."""
        if self._serving is not None:
            await asyncio.wait([self._serving])

    async def _serve(self) -> None:
        try:
            if self._api is not None:
                # On another thread: the event loop must not stand still meanwhile.
                await asyncio.to_thread(import_module, "harebell.management.server")
                from harebell.management.server import ManagementServer

                self._management = ManagementServer(self.admin, self.statistics)
                await self._management.start(self._api)
            if self._metered is not None:
                await asyncio.to_thread(import_module, "harebell.metrics.server")
                from harebell.metrics.server import MetricsServer

                self._metrics = MetricsServer(self.admin, self.statistics)
                await self._metrics.start(self._metered.sockets)
                if self._metered_tls is not None and self.metrics_certificates is not None:
                    await self._metrics.start_tls(self._metered_tls.sockets, self.metrics_certificates.front)
        except Exception as error:
            self._log.critical(f"HTTP cannot be served, the node stops: {type(error).__name__}: {error}")
            self.failure = error
            self._stop()
            await self._stop_http()

    @property
    def certificates(self) -> Certificates | None:
        """Those of the HTTPS listeners, to be kept up to date; None without any."""
        return None if self._api is None else self._api.certificates

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

    def _warn(self, text: str) -> None:
        """Log what the engine warns of; the same words once in a while."""
        now, known = time.monotonic(), text[:MOST_KNOWN]
        if now - self._warned.get(known, -WARN_SECONDS) < WARN_SECONDS:
            return
        if len(self._warned) >= MOST_WARNED:
            self._warned.clear()
        self._warned[known] = now
        self._log.warning(text)

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

    def _tick(self) -> None:
        """Publish what schedules say, every so often."""
        self._ticking = asyncio.get_running_loop().call_later(SCHEDULE_SECONDS, self._tick)
        set_clock(self.admin.broker.clock)
        if self.admin.schedules.fire(self.admin.broker):
            self.host.turn()

    async def stop(self) -> None:
        """Stop listening and sampling; safe to call twice, and where starting failed."""
        self.host.stopping = True
        for handle in (self._sampler, self._redriving, self._ticking):
            if handle is not None:
                handle.cancel()
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving])
        try:
            await self._stop_http()
        finally:
            self.host.close()
            self.admin.audit.close()

    async def _stop_http(self) -> None:
        metrics, self._metrics = self._metrics, None
        management, self._management = self._management, None
        try:
            if metrics is not None:
                await metrics.stop()
        finally:
            try:
                if management is not None:
                    await management.stop()
            finally:
                for opened in (self._api, self._metered, self._metered_tls):
                    if opened is not None:
                        opened.close()

    def _audit_failed(self, error: OSError) -> None:
        self._log.error(f"the audit log cannot be written any more, it goes on in memory: {error}")
