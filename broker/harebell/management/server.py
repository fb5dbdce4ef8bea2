"""Serves the management HTTP API: login, routing, bounds on what clients send and take.

Everything runs on the node's event loop, so no handler works long without a rest (``pacing.py``), and what
a client that is not logged in can make the node keep is bounded: neither is its body read, nor are there more
than ``management.max_connections``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from aiohttp import web

from harebell import logs
from harebell.administration.administration import Administration
from harebell.auth.backends import UNIX_PEER
from harebell.errors import BrokerError
from harebell.http_listening import SHUTDOWN_SECONDS, BoundedServer, serve_on
from harebell.management import pages
from harebell.management.answers import JSON, Answer, refusal
from harebell.management.calls import Call
from harebell.management.errors import HttpError, from_broker_error, not_authorised, not_found
from harebell.management.forwarding import HEADER, UNKNOWN, Proxies
from harebell.management.local_site import LocalServer
from harebell.management.local_socket import local_user
from harebell.management.login import Refused, log_in
from harebell.management.queries import Query
from harebell.management.resources import router
from harebell.management.routing import REFUSALS, Right, Route
from harebell.management.sockets import ApiSockets
from harebell.management.transfer import Room, read_body, send
from harebell.ports import User
from harebell.statistics.statistics import Statistics

KEEPALIVE_SECONDS: Final = 75.0
"""How long a connection may be silent, from its opening too."""

SMALL_BODY: Final = 1024 * 1024
"""Octets of a body that any route takes; routes marked ``large`` take up to ``management.max_body``."""

LARGE_AT_ONCE: Final = 2
"""Large bodies worked on at the same time; as much memory holds those that are on their way."""

METHODS: Final = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_SILENT: Final = logging.Logger("aiohttp", logging.CRITICAL)
"""What clients do wrong before a request is complete is answered, and worth no line of the log."""


class ManagementServer:
    """The HTTP API of a node.

    Args:
        admin: the node.
        statistics: shows objects.
    """

    def __init__(self, admin: Administration, statistics: Statistics) -> None:
        self._admin = admin
        self._statistics = statistics
        self._router = router()
        self._prefix = admin.settings.management.path_prefix
        self._origins = admin.settings.management.cors_allow_origins
        self._proxies = Proxies(admin.settings.management.trusted_proxies)
        self._runners: list[web.ServerRunner] = []
        self._sockets: ApiSockets | None = None
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._room = Room(LARGE_AT_ONCE * admin.settings.management.max_body)
        self._log = logs.get_logger("management")

    async def start(self, sockets: ApiSockets) -> None:
        """Serve who connects, and who waits already; ``stop`` closes the sockets.

        Args:
            sockets: those that are open.
        """
        self._sockets = sockets
        most = self._admin.settings.management.max_connections
        options: dict[str, Any] = {
            "access_log": None,
            "logger": _SILENT,
            "keepalive_timeout": KEEPALIVE_SECONDS,
            "lingering_time": 2.0,
        }
        runner = await self._run(BoundedServer(self._handle, most, **options))
        if sockets.plain is not None:
            await serve_on(runner, sockets.plain.sockets)
        if sockets.encrypted is not None and sockets.certificates is not None:
            await serve_on(runner, sockets.encrypted.sockets, sockets.certificates.front)
        if sockets.local is not None and sockets.local.listening is not None:
            runner = await self._run(LocalServer(self._handle_local, most, **options))
            await serve_on(runner, [sockets.local.listening])

    async def _run(self, server: BoundedServer) -> web.ServerRunner:
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
        self._runners.append(runner)
        await runner.setup()
        return runner

    async def stop(self) -> None:
        """Stop listening, and let requests under way finish for a moment; safe to call twice."""
        runners, self._runners = self._runners, []
        if self._sockets is not None and self._sockets.local is not None:
            self._sockets.local.remove()
        await asyncio.gather(*(each.cleanup() for each in runners))

    # One request -------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; nothing is raised but cancellation and a lost connection."""
        return await self._respond(request, None)

    async def _handle_local(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that came over the local socket."""
        return await self._respond(request, local_user(request.transport))

    async def _respond(self, request: web.BaseRequest, local: User | None) -> web.StreamResponse:
        answer = await self._answer(request, local)
        answer.headers.update(self._cors(request))
        return await send(request, answer)

    async def _answer(self, request: web.BaseRequest, local: User | None) -> Answer:
        try:
            return await self._route(request, local)
        except HttpError as error:
            return refusal(error)
        except BrokerError as error:
            return refusal(from_broker_error(error))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            self._log.error(
                f"unexpected error in {request.method} {request.raw_path[:200]}; please report it",
                exc_info=error,
            )
            return refusal(HttpError(500, "internal_error", "unexpected error; see the log of the node"))

    async def _route(self, request: web.BaseRequest, local: User | None) -> Answer:
        path, _, query = _target(request.raw_path).partition("?")
        if self._prefix:
            if path == self._prefix or path.startswith(self._prefix + "/"):
                path = path[len(self._prefix) :]
            elif local is None:
                raise not_found()
        if path in ("/api", "/api/") or not path.startswith("/api/"):
            return pages.page(path, self._prefix, request.method)
        found = self._router.find(path[4:])
        if found is None:
            raise not_found()
        routes, values = found
        method = request.method
        allowed = _allowed(routes)
        if method == "OPTIONS":
            return Answer(200, headers={"Allow": allowed})
        entry = routes.get("GET" if method == "HEAD" else method)
        if entry is None:
            return Answer(405, headers={"Allow": allowed})
        route, names = entry
        peer = self._peer(request) if local is None else UNIX_PEER
        user = await self._user(route, request.headers.get("Authorization"), peer, local)
        _check_accept(request.headers.get("Accept"))
        call = Call(
            self._admin,
            self._statistics,
            route,
            dict(zip(names, values, strict=True)),
            Query(query),
            {name.lower(): value for name, value in request.headers.items()},
            b"",
            user,
            peer,
        )
        answer = await self._call(request, call)
        if route.action and answer.status < 400:
            self._note(call)
        return answer

    def _note(self, call: Call) -> None:
        """Write down who did what."""
        vhost = call.path.get("vhost", "")
        others = [value for name, value in call.path.items() if name != "vhost"]
        user = call.user.name if call.route.right is not Right.NOBODY else ""
        self._admin.audit.record(
            user, call.peer, call.route.action, vhost, "/".join(others), call.detail or None
        )

    async def _user(self, route: Route, header: str | None, peer: str, local: User | None) -> User | None:
        if route.right is Right.NOBODY:
            return None
        if local is not None and header is None:
            return local
        try:
            user = await log_in(self._admin.directory, header, peer)
        except Refused as refused:
            self._log.warning(f"HTTP access denied: user '{refused.user}' - {refused.why}", peer=peer)
            raise
        if Right.MANAGEMENT.value.isdisjoint(user.tags):
            raise not_authorised(REFUSALS[Right.MANAGEMENT])
        if route.right.value.isdisjoint(user.tags):
            raise not_authorised(REFUSALS[route.right])
        return user

    async def _call(self, request: web.BaseRequest, call: Call) -> Answer:
        route = call.route
        if route.method != "GET":
            # Messages are stamped with the time, and queues expire by it.
            self._admin.host.turn()
        if not request.body_exists or request.method in ("GET", "HEAD"):
            return await route.handler(call)
        if not route.large:
            call.body = await read_body(request, SMALL_BODY)
            return await route.handler(call)
        length = request.content_length
        if length is not None and length <= SMALL_BODY:
            call.body = await read_body(request, SMALL_BODY)
            return await route.handler(call)
        with self._room.share() as share:
            call.body = await read_body(request, self._admin.settings.management.max_body, share)
            async with self._large:
                return await route.handler(call)

    def _peer(self, request: web.BaseRequest) -> str:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if not isinstance(peer, tuple):
            return UNKNOWN
        return self._proxies.client(str(peer[0]), request.headers.getall(HEADER, ()))

    def _cors(self, request: web.BaseRequest) -> dict[str, str]:
        origin = request.headers.get("Origin")
        if origin is None or not self._origins or not ("*" in self._origins or origin in self._origins):
            return {}
        headers = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        if request.method == "OPTIONS":
            headers |= {
                "Access-Control-Allow-Methods": ", ".join(METHODS),
                "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Reason",
                "Access-Control-Max-Age": "1800",
            }
        return headers


def _target(raw: str) -> str:
    """Give path and query of a request's target, which may name the host as for a proxy."""
    if raw.startswith("/"):
        return raw
    _, separator, rest = raw.partition("://")
    slash = rest.find("/")
    return rest[slash:] if separator and slash >= 0 else "/"


def _allowed(routes: dict[str, Any]) -> str:
    methods = {"OPTIONS", *routes}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(method for method in METHODS if method in methods)


def _check_accept(header: str | None) -> None:
    """Check that the client takes JSON.

    Raises:
        HttpError: 406 without a body.
    """
    if not header:
        return
    for entry in header.split(","):
        media, _, parameters = entry.partition(";")
        if media.strip().lower() in ("*/*", "application/*", JSON) and "q=0;" not in (
            parameters.replace(" ", "") + ";"
        ):
            return
    raise HttpError(406)
