"""Listening for HTTP, of the API and of metrics: on all addresses or none, with a bound on connections."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from harebell import logs

IPV6_OF_EVERY_MACHINE: Final = ("::1", "::")
NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

SHUTDOWN_SECONDS: Final = 2.0
"""How long requests under way may go on at shutdown."""

PORT_ATTEMPTS: Final = 10
"""How often a free port is looked for that is free on every address."""


class BoundedServer(web.Server):
    """Drops connections beyond a bound.

    Args:
        handler: answers requests.
        most: connections at once.
        options: of aiohttp's server.
    """

    def __init__(self, handler: Any, most: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._most = most

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            transport.abort()


async def listen(
    runner: web.ServerRunner,
    pairs: Sequence[tuple[str, int]],
    what: str,
    context: ssl.SSLContext | None = None,
) -> list[tuple[str, int]]:
    """Listen on each address and give those really listened on.

    With port 0 every address gets the port the first one was given.  Where there is no IPv6, ``::1`` and
    ``::`` are passed over if another address comes before them.

    Args:
        runner: serves what connects.
        pairs: hosts and ports.
        what: what is offered there, for the log.
        context: encrypts; None for plain connections.

    Raises:
        OSError: an address cannot be listened on; none of these is then.
    """
    attempts = PORT_ATTEMPTS if any(port == 0 for _, port in pairs) else 1
    while True:
        sites: list[web.TCPSite] = []
        try:
            return await _listen(runner, pairs, what, context, sites)
        except OSError as error:
            for site in sites:
                await site.stop()
            attempts -= 1
            # The port that is free on the first address may be taken on another.
            if attempts == 0 or error.errno != errno.EADDRINUSE:
                raise


async def _listen(
    runner: web.ServerRunner,
    pairs: Sequence[tuple[str, int]],
    what: str,
    context: ssl.SSLContext | None,
    sites: list[web.TCPSite],
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for host, port in pairs:
        wanted = found[0][1] if port == 0 and found else port
        site = web.TCPSite(runner, host, wanted, ssl_context=context)
        sites.append(site)
        try:
            await site.start()
        except OSError as error:
            # Many containers have no IPv6, and the default addresses must work there as well.
            if found and host in IPV6_OF_EVERY_MACHINE and error.errno in NO_SUCH_ADDRESS:
                await sites.pop().stop()
                logs.get_logger("node").info(f"no {what} on [{host}]:{wanted}: there is no IPv6 here")
                continue
            raise
        found.append((host, int(runner.addresses[-1][1])))
    return found
