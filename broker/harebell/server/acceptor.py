"""Sockets on which something comes before AMQP: the PROXY header of a load balancer, or a TLS handshake.

Each is accepted here and handed to the event loop when its turn comes, so that it gets the certificate that
is in force at that moment, and limits apply before any cryptography.  Listeners without either are the event
loop's own.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from harebell import logs
from harebell.listening import Listening
from harebell.server.admission import Origin
from harebell.server.proxy_header import ProxyHeader, ProxyHeaderError
from harebell.server.transport import ClientTransport
from harebell.tls import ALERTS_TO, Certificates

if TYPE_CHECKING:
    from harebell.server.listener import Server

SHUTDOWN_SECONDS: Final = 3.0
"""How long a peer has to answer the end of a TLS session; many never do."""

REST_SECONDS: Final = 1.0
"""Pause after a failed accept: a process without descriptors would turn in circles."""

Network = IPv4Network | IPv6Network


class Acceptor:
    """Accepts on some sockets, on all with TLS or on all without.

    Args:
        server: what the connections are for.
        listening: the sockets, which are closed with the acceptor.
        certificates: of the listeners with TLS; None for plain ones.
        trusted: networks whose connections begin with a PROXY header.
    """

    def __init__(
        self,
        server: Server,
        listening: Listening,
        certificates: Certificates | None,
        trusted: Sequence[str] = (),
    ) -> None:
        self._server = server
        self._certificates = certificates
        self._trusted: tuple[Network, ...] = tuple(ip_network(each, strict=False) for each in trusted)
        self._greeting: set[asyncio.Task[None]] = set()
        self._log = logs.get_logger("connection")
        self._accepting: list[asyncio.Task[None]] = []
        for each in listening.sockets:
            task = server.loop.create_task(self._accept(each))
            task.add_done_callback(partial(_close, each))
            self._accepting.append(task)

    def pause(self) -> None:
        """Accept nothing more; who is on the way goes on."""
        for task in self._accepting:
            task.cancel()

    async def wait_paused(self) -> None:
        """Wait until the sockets that ``pause`` gave up are closed."""
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._accepting.clear()

    def close(self) -> None:
        """Accept nothing more, and drop whoever is on the way."""
        for task in (*self._accepting, *self._greeting):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until what ``close`` began has ended."""
        await asyncio.gather(*self._accepting, *self._greeting, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = self._server.loop
        while True:
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    self._log.error(f"a connection cannot be accepted: {error}")
                    await asyncio.sleep(REST_SECONDS)
                continue
            if self._server.refuses(len(self._greeting)):
                accepted.close()
                continue
            task = loop.create_task(self._greet(accepted, address))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        """Bring a socket to where AMQP begins, or close it."""
        server = self._server
        try:
            local = accepted.getsockname()
        except OSError:  # it was reset already, which some systems tell here
            accepted.close()
            return
        origin = server.origin(address, local, secure=self._certificates is not None)
        client: ClientTransport | None = None
        proxied = self._trusts(origin.host)
        try:
            # A load balancer is let in for the moment: its clients are counted by their own addresses.
            if not proxied and not server.admission.enter(origin):
                return
            async with asyncio.timeout(server.options.handshake_timeout):
                if proxied and not await self._read_header(accepted, origin):
                    return
                client = ClientTransport(server, origin)
                await self._hand_over(accepted, client)
        except TimeoutError:
            self._log.warning(f"handshake timeout, closing {origin.name}")
        except ProxyHeaderError as error:
            self._log.warning(f"{origin.name}: {error}; closed")
        except OSError as error:
            what = "TLS handshake" if client is not None else "the PROXY header"
            self._log.warning(f"{what} of {origin.name} failed: {_reason(error)}")
        finally:
            if client is None or client.connection is None:
                server.admission.leave(origin)
            if client is None:
                accepted.close()

    def _trusts(self, host: str) -> bool:
        if not self._trusted:
            return False
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)

    async def _read_header(self, accepted: socket.socket, origin: Origin) -> bool:
        """Read the PROXY header; False if its client is one too many, or the load balancer hung up.

        Raises:
            ProxyHeaderError: something else came.
        """
        header = ProxyHeader()
        while header.wanted:
            piece = await self._server.loop.sock_recv(accepted, header.wanted)
            if not piece:
                # Load balancers look whether the port is open by connecting and hanging up.
                self._log.debug(f"{origin.name} hung up before the end of its PROXY header")
                return False
            header.feed(piece)
        ends = header.ends
        if ends is not None:
            origin.host = ends.source
            origin.name = connection_name((ends.source, ends.source_port), ends[2:])
        return self._server.admission.enter(origin)

    async def _hand_over(self, accepted: socket.socket, client: ClientTransport) -> None:
        loop = self._server.loop
        if self._certificates is None:
            await loop.connect_accepted_socket(lambda: client, accepted)
            return
        ALERTS_TO.set(accepted)
        await loop.connect_accepted_socket(
            lambda: client,
            accepted,
            ssl=self._certificates.context,
            ssl_handshake_timeout=self._server.options.handshake_timeout,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )


def _close(listener: socket.socket, _: asyncio.Task[None]) -> None:
    listener.close()


def connection_name(peer: object, local: object) -> str:
    """Name a connection by its ends, as RabbitMQ does: ``127.0.0.1:57604 -> 127.0.0.1:5672``."""
    return f"{_shown(peer)} -> {_shown(local)}"


def _shown(end: object) -> str:
    if isinstance(end, tuple) and len(end) >= 2:
        return f"[{end[0]}]:{end[1]}" if ":" in str(end[0]) else f"{end[0]}:{end[1]}"
    return "local"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the client is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return error.strerror or "the client hung up"
