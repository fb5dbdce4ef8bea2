"""The AMQP server: accepts sockets, watches over connections, and shuts down in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from harebell import logs
from harebell.amqp.connection import OPEN, Connection
from harebell.amqp.handshake import Handshake, HandshakeOptions
from harebell.amqp.methods.table import Methods
from harebell.auth.backends import UNIX_PEER
from harebell.engine.broker import Broker
from harebell.listening import listen
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
        suspended: True while the listeners are closed for a time.
    """

    def __init__(self, broker: Broker, handshake: HandshakeOptions, options: ServerOptions) -> None:
        self.broker = broker
        self.options = options
        self.clients: dict[ClientTransport, None] = {}
        self.loop = asyncio.get_running_loop()
        self.turn = Turn(broker, self.loop)
        self.read_buffer = ReadBuffer()
        self.blocking = False
        self.suspended = False
        self.free_bytes: Callable[[], int] | None = None
        self._stopping = False
        self._unwatched = 0
        self._log = logs.get_logger("connection")
        self._methods = Methods(Handshake(handshake, self._note), self._note, self._crashed)
        self._listeners: list[asyncio.Server] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self._acceptors: list[Acceptor] = []
        self._plain: list[tuple[str, int]] = []
        self._secure: tuple[list[tuple[str, int]], Certificates] | None = None
        self._supervisor = Supervisor(self)
        self._descriptors = Descriptors()
        self.admission = Admission(options.max_handshakes, options.max_handshakes_per_address)

    async def start(self, listeners: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Listen on each address and give those really listened on, as ``listen`` has it.

        Raises:
            OSError: an address cannot be listened on; none is then.
        """
        self._plain = await self._serve_plain(listeners)
        self._supervisor.start()
        return self._plain

    async def _serve_plain(self, listeners: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        backlog = self.options.backlog
        listening = await listen(listeners, backlog, "AMQP")
        trusted = self.options.proxy_trusted
        if trusted:
            self._acceptors.append(Acceptor(self, listening, None, trusted))
        else:
            for each in listening.sockets:
                self._listeners.append(
                    await self.loop.create_server(lambda: ClientTransport(self), sock=each, backlog=backlog)
                )
        return listening.addresses

    async def start_tls(
        self, listeners: Sequence[tuple[str, int]], certificates: Certificates
    ) -> list[tuple[str, int]]:
        """Listen for TLS on each address, as ``start`` does.

        Args:
            certificates: asked for the context of every connection.

        Raises:
            OSError: an address cannot be listened on; none is then.
        """
        listening = await listen(listeners, self.options.backlog, "AMQP over TLS")
        self._acceptors.append(Acceptor(self, listening, certificates, self.options.proxy_trusted))
        self._secure = (listening.addresses, certificates)
        return listening.addresses

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

    def set_memory_limit(self, octets: int) -> None:
        """Change ``memory_limit``, and look at once what it means; 0 blocks always, as in RabbitMQ."""
        self.options.memory_limit = max(1, octets)
        self._supervisor.watch_memory()

    def set_disk_free_limit(self, octets: int) -> None:
        """Change ``disk_free_limit``, and look at once what it means."""
        self.options.disk_free_limit = octets
        self._supervisor.watch_disk()

    def suspend_listeners(self) -> None:
        """Close the listeners for a time; connections go on, and who is on the way gets in."""
        self.suspended = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for acceptor in self._acceptors:
            acceptor.pause()

    async def resume_listeners(self) -> None:
        """Listen again where ``suspend_listeners`` stopped to.

        Raises:
            OSError: an address was taken meanwhile; all stay closed then.
        """
        for acceptor in self._acceptors:
            await acceptor.wait_paused()
        try:
            await self._serve_plain(self._plain)
            if self._secure is not None:
                await self.start_tls(*self._secure)
        except OSError:
            self.suspend_listeners()
            raise
        self.suspended = False
        if self._stopping:
            self.close_listeners()

    def close_clients(self, reason: str) -> None:
        """Close every connection; those that have not logged in are not told why."""
        for session in self.broker.sessions:
            session.close_session(reason)
        for client in list(self.clients):
            client.resume_all()
            if client.in_handshake:
                client.close()
        self.turn.run()

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
        self.close_clients(SHUTDOWN_TEXT)
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
