"""The AMQP server: accepts sockets, watches over connections, and shuts down in order."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from harebell import logs
from harebell.amqp.connection import OPEN, Connection
from harebell.amqp.handshake import Handshake, HandshakeOptions
from harebell.amqp.methods.table import Methods
from harebell.auth.backends import UNIX_PEER
from harebell.engine.broker import Broker
from harebell.server.acceptor import Acceptor, connection_name
from harebell.server.admission import Admission, Origin
from harebell.server.clock import set_clock
from harebell.server.descriptors import Descriptors
from harebell.server.peer_certificate import describe, login_name
from harebell.server.supervision import ALARM, Supervisor
from harebell.server.transport import ClientTransport, ReadBuffer
from harebell.server.turn import Turn

if TYPE_CHECKING:
    from harebell.tls import Certificates

PORT_ATTEMPTS: Final = 10
"""How often a free port is looked for that is free on every address."""

IPV6_OF_EVERY_MACHINE: Final = ("::1", "::")
NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

MEMORY_WATCH_BYTES: Final = 16 * 1024 * 1024
"""Bytes received after which memory is looked at, however little time has passed."""

SPREAD_STEP: Final = 0.005
"""Seconds worth sleeping between two connections that are closed."""

SHUTDOWN_TEXT: Final = "broker forced connection closure with reason 'shutdown'"


class ServerOptions:
    """Timeouts and bounds of the server, all from settings.

    Args:
        backlog: connections the kernel may hold.
        handshake_timeout: seconds from accept to ``connection.open-ok``.
        shutdown_timeout: seconds clients have to answer ``connection.close`` at shutdown.
        memory_limit: bytes at which publishers are blocked; 0 never blocks.
        disk_free_limit: free bytes of the disk below which publishers are blocked; 0 never blocks.
        outbound_buffer: bytes a socket may buffer before its consumers pause.
        proxy_trusted: networks whose connections begin with a PROXY header; empty for none.
        max_handshakes: connections at once that have not logged in; 0 is unlimited.
        max_handshakes_per_address: those of one address.
        certificate_login: which name of a client certificate is the user's: source, type, index.
        drain_spread: seconds over which connections are closed at shutdown.
    """

    def __init__(
        self,
        backlog: int = 1024,
        handshake_timeout: float = 10.0,
        shutdown_timeout: float = 8.0,
        memory_limit: int = 0,
        disk_free_limit: int = 0,
        outbound_buffer: int = 1024 * 1024,
        proxy_trusted: Sequence[str] = (),
        max_handshakes: int = 0,
        max_handshakes_per_address: int = 0,
        certificate_login: tuple[str, str, int] = ("distinguished_name", "dns", 0),
        drain_spread: float = 0.0,
    ) -> None:
        self.backlog = backlog
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout
        self.memory_limit = memory_limit
        self.disk_free_limit = disk_free_limit
        self.outbound_buffer = outbound_buffer
        self.proxy_trusted = proxy_trusted
        self.max_handshakes = max_handshakes
        self.max_handshakes_per_address = max_handshakes_per_address
        self.certificate_login = certificate_login
        self.drain_spread = drain_spread


class Server:
    """Listens, and owns the connections.

    Args:
        broker: the engine served.
        handshake: what is offered to clients.
        options: timeouts and bounds.

    Attributes:
        clients: the accepted sockets.
        turn: runs what input caused.
        admission: counts the connections that have not logged in.
        free_bytes: gives the free space of the disk the journal is on; None without a journal.
        blocking: True while an alarm keeps publishers waiting.
    """

    def __init__(self, broker: Broker, handshake: HandshakeOptions, options: ServerOptions) -> None:
        self.broker = broker
        self.options = options
        self.clients: dict[ClientTransport, None] = {}
        self.loop = asyncio.get_running_loop()
        self.turn = Turn(broker, self.loop)
        self.read_buffer = ReadBuffer()
        self.blocking = False
        self.free_bytes: Callable[[], int] | None = None
        self._stopping = False
        self._unwatched = 0
        self._log = logs.get_logger("connection")
        self._methods = Methods(Handshake(handshake, self._note), self._note, self._crashed)
        self._listeners: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self._acceptors: list[Acceptor] = []
        self._supervisor = Supervisor(self)
        self._descriptors = Descriptors()
        self.admission = Admission(options.max_handshakes, options.max_handshakes_per_address)

    async def start(self, listeners: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Listen on each address and give those really listened on.

        With port 0 every address gets the port the first one was given. Where there is no IPv6, ``::1`` and
        ``::`` are passed over if another address comes before them.

        Raises:
            OSError: an address cannot be listened on; none is then.
        """
        trusted = self.options.proxy_trusted
        if trusted:
            addresses = await self._accept_on(Acceptor(self, None, trusted), listeners)
        else:
            addresses = await self._listen(listeners, self._listen_plain, self._close_listeners)
        self._supervisor.start()
        return addresses

    async def start_tls(
        self, listeners: Sequence[tuple[str, int]], certificates: Certificates
    ) -> list[tuple[str, int]]:
        """Listen for TLS on each address, as ``start`` does.

        Args:
            certificates: asked for the context of every connection.

        Raises:
            OSError: an address cannot be listened on; none is then.
        """
        return await self._accept_on(Acceptor(self, certificates, self.options.proxy_trusted), listeners)

    async def _accept_on(
        self, acceptor: Acceptor, listeners: Sequence[tuple[str, int]]
    ) -> list[tuple[str, int]]:
        addresses = await self._listen(listeners, acceptor.listen, acceptor.close)
        self._acceptors.append(acceptor)
        return addresses

    async def _listen(
        self,
        listeners: Sequence[tuple[str, int]],
        listen: Callable[[str, int], Awaitable[int]],
        give_up: Callable[[], None],
    ) -> list[tuple[str, int]]:
        """Listen on all of some addresses or none; a free port must be free on every one."""
        attempts = PORT_ATTEMPTS if any(port == 0 for _, port in listeners) else 1
        while True:
            try:
                return await self._listen_once(listeners, listen)
            except OSError as error:
                give_up()
                attempts -= 1
                # The port that is free on the first address may be taken on another.
                if attempts == 0 or error.errno != errno.EADDRINUSE:
                    raise

    async def _listen_once(
        self, listeners: Sequence[tuple[str, int]], listen: Callable[[str, int], Awaitable[int]]
    ) -> list[tuple[str, int]]:
        addresses: list[tuple[str, int]] = []
        for host, port in listeners:
            wanted = addresses[0][1] if port == 0 and addresses else port
            try:
                addresses.append((host, await listen(host, wanted)))
            except OSError as error:
                # Many containers have no IPv6, and the default addresses must work there as well.
                if addresses and host in IPV6_OF_EVERY_MACHINE and error.errno in NO_SUCH_ADDRESS:
                    self._log.info(f"not listening on [{host}]:{wanted}: there is no IPv6 here")
                    continue
                raise
        return addresses

    async def _listen_plain(self, host: str, port: int) -> int:
        listener = await self.loop.create_server(
            lambda: ClientTransport(self), host, port, backlog=self.options.backlog
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def refuses(self, others: int = 0) -> bool:
        """Tell whether a socket is one too many for the process, and must be closed at once.

        Args:
            others: sockets that are not clients yet.
        """
        return self._descriptors.refuse(len(self.clients) + others)

    def origin(self, peer: object, local: object, *, secure: bool = False) -> Origin:
        """Describe where a socket that was just accepted comes from."""
        set_clock(self.broker.clock)
        return Origin(_host(peer), connection_name(peer, local), int(self.broker.clock.now), secure)

    def accepted(self, client: ClientTransport, transport: asyncio.Transport) -> Connection | None:
        """Make the protocol object of an accepted socket; None if it is one too many."""
        origin = client.origin
        if origin is None:
            name = transport.get_extra_info
            origin = client.origin = self.origin(name("peername"), name("sockname"))
            if not self.admission.enter(origin):
                return None
        set_clock(self.broker.clock)
        connection = Connection(
            self.broker, self._methods, client.out, self.turn.awaiting, origin.name, origin.host
        )
        connection.opened_at = origin.began
        if origin.secure:
            self._describe_session(connection, transport.get_extra_info("ssl_object"))
        self.clients[client] = None
        self._empty.clear()
        self._log.info(f"accepting AMQP connection {origin.name}", conn=f"c{connection.id}")
        if self._stopping:
            transport.abort()
        return connection

    def _describe_session(self, connection: Connection, session: Any) -> None:
        """Keep what TLS says of a connection: for who looks at it, and for a login with the certificate."""
        connection.secure = True
        connection.tls = describe(session)
        connection.certificate_name = login_name(session.getpeercert() or {}, *self.options.certificate_login)

    def received(self, nbytes: int) -> None:
        """Count what comes in, and look at the memory before it can have grown by much."""
        self._unwatched += nbytes
        if self._unwatched >= MEMORY_WATCH_BYTES:
            self._unwatched = 0
            self._supervisor.watch_memory()

    def lost(self, client: ClientTransport, connection: Connection) -> None:
        """Forget a socket that closed."""
        self.clients.pop(client, None)
        if client.origin is not None:
            self.admission.leave(client.origin)
        if not self.clients:
            self._empty.set()
        log = self._log.bind(conn=f"c{connection.id}")
        if connection.vhost is None or connection.user is None:
            log.debug(f"closing AMQP connection {connection.peer} before it was open")
            return
        seconds = (self.broker.clock.now - connection.opened_at) / 1000
        unexpected = (
            ""
            if connection.wants_close or connection.phase > OPEN
            else ": client unexpectedly closed TCP connection"
        )
        log.info(
            f"closing AMQP connection {connection.peer} (vhost: '{connection.vhost.name}', "
            f"user: '{connection.user.name}', duration: '{seconds:.1f}s'){unexpected}"
        )

    def block(self, client: ClientTransport) -> None:
        """Make a publisher wait: tell it, and stop reading from it."""
        if client.connection is not None:
            client.connection.block(self.broker.alarms.reason)
        client.pause_reading(ALARM)
        self.turn.flush()

    def set_blocking(self, blocking: bool) -> None:
        """An alarm was raised, or the last one cleared."""
        self.blocking = blocking
        for client in list(self.clients):
            connection = client.connection
            if connection is None:
                continue
            if blocking and connection.has_published and not connection.blocked:
                self.block(client)
            elif not blocking and connection.blocked:
                connection.unblock()
                client.resume_reading(ALARM)
        self.turn.flush()

    def close_listeners(self) -> None:
        """Accept nothing more; safe to call twice."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for acceptor in self._acceptors:
            acceptor.close()

    async def stop(self) -> None:
        """Stop listening, close every connection with 320, wait for the answers, cut what is left."""
        self.close_listeners()
        if self.options.drain_spread > 0:
            await self._close_one_by_one(self.options.drain_spread)
        self._supervisor.stop()
        self.turn.stop()
        for session in self.broker.sessions:
            session.close_session(SHUTDOWN_TEXT)
        for client in list(self.clients):
            client.resume_all()
            if client.in_handshake:
                client.close()
        self.turn.run()
        try:
            async with asyncio.timeout(self.options.shutdown_timeout):
                await self._empty.wait()
        except TimeoutError:
            for client in list(self.clients):
                client.abort()
            await asyncio.sleep(0)
        for listener in self._listeners:
            await listener.wait_closed()
        for acceptor in self._acceptors:
            await acceptor.wait_closed()

    async def _close_one_by_one(self, seconds: float) -> None:
        """Close connections one after the other, so that their clients do not come back all at once."""
        sessions = list(self.broker.sessions)
        random.shuffle(sessions)
        began = self.loop.time()
        for number, session in enumerate(sessions):
            wait = began + seconds * number / len(sessions) - self.loop.time()
            if wait > SPREAD_STEP:
                await asyncio.sleep(wait)
            session.close_session(SHUTDOWN_TEXT)
            self.turn.run()

    def _note(self, level: str, connection: Connection, text: str) -> None:
        getattr(self._log, level)(text, conn=f"c{connection.id}")

    def _crashed(self, connection: Connection, error: Exception) -> None:
        self._log.error(
            "unexpected error, closing the connection; please report it",
            conn=f"c{connection.id}",
            exc_info=error,
        )


def _host(peer: object) -> str:
    """Give the address logins are judged by; a peer without one that is no local socket has an empty one."""
    if isinstance(peer, tuple):
        return str(peer[0])
    return UNIX_PEER if isinstance(peer, str | bytes) else ""
