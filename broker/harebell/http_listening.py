"""Serving HTTP, of the API and of metrics, on sockets that are open already, with a bound on connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web

SHUTDOWN_SECONDS: Final = 2.0
"""How long requests under way may go on at shutdown."""

ROOM_SECONDS: Final = 30.0
"""How long a client that sends one request after another may leave the answers unread."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedServer(web.Server):
    """Drops connections beyond a bound, and answers no faster than a client reads.

    Small answers go into the buffer of the socket without a wait, so a client that sends requests and reads
    nothing would otherwise make the process keep all answers, before any login.

    Args:
        handler: answers requests.
        most: connections at once.
        options: of aiohttp's server.
    """

    def __init__(self, handler: Handler, most: int, **options: Any) -> None:
        super().__init__(self._paced, **options)
        self._handler = handler
        self._most = most

    async def _paced(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, and wait until the client has read nearly all answers so far.

        Raises:
            ConnectionResetError: the client does not read.
        """
        response = await self._handler(request)
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                # What the handler has done already is not done again.
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client does not read its answers") from None
        return response

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._most or not self._welcome(transport):
            # Not at once: aiohttp has yet to begin with the connection, and fails if it is gone by then.
            asyncio.get_running_loop().call_soon(transport.abort)

    def _welcome(self, transport: asyncio.Transport) -> bool:
        """Tell whether a peer may connect at all."""
        return True


async def serve_on(
    runner: web.ServerRunner, sockets: Sequence[socket.socket], context: ssl.SSLContext | None = None
) -> None:
    """Serve who connects, those first who did before; the sockets are the runner's to close from now on.

    Args:
        runner: serves.
        sockets: listen already.
        context: encrypts; None for plain connections.
    """
    for each in sockets:
        await web.SockSite(runner, each, ssl_context=context).start()
