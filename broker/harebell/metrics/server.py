"""Serves metrics and probes over HTTP, on RabbitMQ's paths."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from aiohttp import web

from harebell.administration.administration import Administration
from harebell.engine.name_patterns import BadPattern, NamePattern
from harebell.http_listening import BoundedServer, serve_on
from harebell.metrics.exposition import CONTENT_TYPE
from harebell.metrics.family import Selection
from harebell.metrics.pacing import paced
from harebell.metrics.scrape import DETAILED, MEMORY_BREAKDOWN, PER_OBJECT, Scraper
from harebell.metrics.telemetry import Telemetry
from harebell.statistics.statistics import Statistics

OPEN_SCRAPES: Final = 16
"""Scrapes that may be made, wait, or be sent at once; nobody needs to log in, so there is an end to it."""

SEND_SECONDS: Final = 30.0
"""How long a client may take to read an answer."""

SHUTDOWN_SECONDS: Final = 0.5
"""How long answers under way may go on at shutdown."""


MOST_CONNECTIONS: Final = 256
"""Connections at once; those beyond it are dropped, so that they cannot take what clients need."""

KEEPALIVE_SECONDS: Final = 75.0
"""How long a connection may be idle; scrapes are mostly a minute apart at most."""

SERVER: Final = {"Server": "harebell"}

SILENT: Final = logging.Logger("aiohttp", logging.CRITICAL)
"""What clients do wrong before a request is complete is worth no line of the log."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


REPETITIONS: Final = 2
"""How often ``*``, ``+`` or ``{`` may be in a pattern."""


class MetricsServer:
    """The HTTP server of metrics; without authentication, as RabbitMQ's.

    Args:
        admin: the node.
        statistics: its counters.

    Attributes:
        open_scrapes: how many are made, wait, or are sent.
    """

    def __init__(self, admin: Administration, statistics: Statistics) -> None:
        self._admin = admin
        self._scraper = Scraper(admin, statistics)
        self._telemetry = Telemetry()
        self._turn = asyncio.Lock()
        self.open_scrapes = 0
        self._runner: web.ServerRunner | None = None
        self._handlers: dict[str, Handler] = {
            "/metrics": self._aggregated,
            "/metrics/per-object": self._per_object,
            "/metrics/detailed": self._detailed,
            "/metrics/memory-breakdown": self._memory_breakdown,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve who connects, and who waits already; ``stop`` closes the sockets.

        Args:
            sockets: listen already.
        """
        server = BoundedServer(
            self._handle,
            MOST_CONNECTIONS,
            access_log=None,
            logger=SILENT,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=1.0,
        )
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await serve_on(self._runner, sockets)

    async def start_tls(self, sockets: Sequence[socket.socket], context: ssl.SSLContext) -> None:
        """Serve over TLS too, once ``start`` is done."""
        if self._runner is not None:
            await serve_on(self._runner, sockets, context)

    async def stop(self) -> None:
        """Stop listening and drop open requests; safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        path = request.path.rstrip("/")
        handler = self._handlers.get(path)
        if handler is None:
            return _not_found(path)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD", **SERVER})
        return await handler(request)

    async def _aggregated(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._answer(request, "default", self._scraper.aggregated)

    async def _per_object(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._answer(request, PER_OBJECT, self._scraper.per_object)

    async def _memory_breakdown(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._answer(request, MEMORY_BREAKDOWN, self._scraper.memory_breakdown)

    async def _detailed(self, request: web.BaseRequest) -> web.StreamResponse:
        names = frozenset(request.query.getall("family", []))
        try:
            selection = _selection(request)
        except BadPattern as error:
            return web.Response(status=400, text=f"Invalid 'queue' regex: {error}\n", headers=SERVER)
        return await self._answer(request, DETAILED, lambda: self._scraper.detailed(names, selection))

    async def _answer(
        self, request: web.BaseRequest, registry: str, write: Callable[[], Iterator[str]]
    ) -> web.StreamResponse:
        """Make an answer, one at a time, and send it."""
        if self.open_scrapes >= OPEN_SCRAPES:
            return web.Response(status=503, text="too many scrapes at once\n", headers=SERVER)
        self.open_scrapes += 1
        try:
            async with self._turn:
                began = time.perf_counter()
                chunks = await paced(write())
                chunks += await paced(self._telemetry.write())
                took = time.perf_counter() - began
            self._telemetry.scraped(registry, took, sum(map(len, chunks)))
            return await _send(request, chunks)
        except TimeoutError:
            return web.Response(status=503, text="the scrape takes too long\n", headers=SERVER)
        finally:
            self.open_scrapes -= 1

    async def _healthz(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok\n", headers=SERVER)

    async def _readyz(self, _request: web.BaseRequest) -> web.Response:
        if self._admin.host.in_service():
            return web.Response(text="ok\n", headers=SERVER)
        return web.Response(status=503, text="the node is not in service\n", headers=SERVER)


async def _send(request: web.BaseRequest, chunks: list[bytes]) -> web.StreamResponse:
    """Send an answer piece by piece, no faster than the client reads."""
    response = web.StreamResponse(
        headers={
            "Content-Type": CONTENT_TYPE,
            "Content-Length": str(sum(map(len, chunks))),
            "Cache-Control": "no-store",
            "Vary": "Accept-Encoding",
            **SERVER,
        }
    )
    if request.method != "HEAD" and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        response.enable_compression(web.ContentCoding.gzip)
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await response.prepare(request)
            if request.method != "HEAD":
                for chunk in chunks:
                    await response.write(chunk)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response


def _takes_gzip(header: str) -> bool:
    """Tell whether a client takes gzip (RFC 9110, 12.5.3); it must say so by name."""
    for entry in header.lower().split(","):
        coding, _, quality = (part.strip() for part in entry.partition(";"))
        if coding in ("gzip", "x-gzip"):
            return quality.replace(" ", "").removeprefix("q=").strip("0.") != "" or not quality
    return False


def _selection(request: web.BaseRequest) -> Selection:
    """Read which objects are asked for.

    Raises:
        BadPattern: that of queues cannot be used; the text says why.
    """
    vhosts = request.query.getall("vhost", [])
    patterns = request.query.getall("queue", [])
    if len(patterns) > 1:
        raise BadPattern("Only one 'queue' query parameter is allowed")
    # Nobody logs in here, and each repetition multiplies the time that a contrived pattern can take.
    if patterns and sum(patterns[0].count(each) for each in "*+{") > REPETITIONS:
        raise BadPattern(f"no more than {REPETITIONS} repetitions are allowed")
    queue = NamePattern(patterns[0]) if patterns and patterns[0] else None
    return Selection(frozenset(vhosts) if vhosts else None, queue)


def _not_found(path: str) -> web.Response:
    if path.startswith("/metrics/"):
        return web.Response(status=404, text="Unknown Registry", headers=SERVER)
    return web.json_response({"error": "Object Not Found", "reason": "Not Found"}, status=404, headers=SERVER)
