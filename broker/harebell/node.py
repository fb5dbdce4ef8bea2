"""A node: puts journal, engine and server together, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from harebell import __version__, logs
from harebell.administration.definitions_at_start import brings_users, import_at_start
from harebell.administration.host import Listener
from harebell.amqp.handshake import HandshakeOptions
from harebell.auth import changes
from harebell.auth.attempts import LoginAttempts
from harebell.auth.backends import ADMINISTRATOR, UserDirectory
from harebell.auth.passwords import hash_password
from harebell.content.table import Table
from harebell.engine.alarms import DAMAGE, DISK_FULL, UNREADABLE
from harebell.engine.broker import Broker, Limits
from harebell.engine.commands import ChangeAccess, encode
from harebell.engine.metadata import snapshot
from harebell.node_services import Services
from harebell.ports import Clock
from harebell.restoring import restore
from harebell.scratch import ScratchUnreadable
from harebell.server.certificate_watch import CertificateWatch
from harebell.server.clock import set_clock
from harebell.server.dump import dump
from harebell.server.listener import Server, ServerOptions
from harebell.server.memory import available_bytes
from harebell.server.systemd import Notifier
from harebell.settings import Settings, find_data_dir
from harebell.storage.damage import read_damage
from harebell.storage.data_dir import DataDirError
from harebell.storage.files import FULL, Files
from harebell.storage.null import NullJournal
from harebell.storage.page_thread import Damage, JournalUnreadable
from harebell.storage.segments import SEGMENT_BYTES
from harebell.storage.store import Events, Store
from harebell.storage.streams.memory import MemoryStreamLogs
from harebell.tls import Certificates

Banner = Callable[[Sequence[Listener], Path | None], None]

CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
TOKEN_BYTES: Final = 16

PORT_NAMES: Final = {"amqp/ssl": "amqps", "http/prometheus": "metrics", "https/prometheus": "metrics_tls"}
"""What the ports file calls listeners, where it is not their protocol."""

UPKEEP_SECONDS: Final = 0.5
"""Between two looks at which segments of the journal can go."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Fewer collections than the default: what messages are made of holds no cycles."""


class Node:
    """One broker in one event loop.

    Args:
        settings: frozen; nothing else configures the node.
        data_dir: where durable state lives; None keeps everything in memory.
        files: the journal's file layer, for tests that let it fail; None for the real one.
        segment_bytes: octets after which the journal goes on in a new file.

    Attributes:
        addresses, tls_addresses: hosts and ports listened on for AMQP, once started.
        certificates: those of the TLS listeners, loaded anew when they change.
        server: what listens, while started.
        services: what runs beside the server, while started.
        stopping: set when somebody who administers the node wants it to stop.
        failed: set when the disk cannot be trusted any more and the node must stop at once.

    Raises:
        DataDirError: the data directory cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        data_dir: Path | None = None,
        *,
        files: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.settings = settings
        self._log = logs.get_logger("node")
        self._store: Store | None = None
        if data_dir is not None:
            budget = settings.limits.message_budget(available_bytes())
            self._store = Store(
                data_dir, settings.storage.strict, self._log.info, files, segment_bytes, budget
            )
        self.broker = build_broker(settings, self._store)
        self.addresses: list[tuple[str, int]] = []
        self.tls_addresses: list[tuple[str, int]] = []
        self.certificates = CertificateWatch()
        self.server: Server | None = None
        self.failed = asyncio.Event()
        self.stopping = asyncio.Event()
        self.services: Services | None = None
        self._data_dir = data_dir
        self._upkeep: asyncio.TimerHandle | None = None
        self._damaged = False

    async def start(self) -> None:
        """Start serving.

        Raises:
            OSError: an address cannot be listened on.
            DefinitionsError: the definitions to import at start cannot be.
        """
        server = Server(self.broker, handshake_options(self.settings), server_options(self.settings))
        services = Services(
            node_name(self.settings), self.settings, self.broker, server, self._data_dir, self.stopping.set
        )
        if self._store is not None:
            self._begin(self._store, server)
        self._begin_passwords(server)
        try:
            import_at_start(services.admin, self._log)
            self.addresses = await server.start(self.settings.plain_listeners())
            services.host.listening += [Listener("amqp", host, port) for host, port in self.addresses]
            await self._start_tls(server, services)
            await services.start()
        except BaseException:
            await services.stop()
            await server.stop()
            self._stop_passwords()
            self._close_store()
            raise
        self.server = server
        self.services = services
        services.host.expiries = self._certificate_ends
        self.certificates.add("https", services.certificates)
        self.certificates.add("https/prometheus", services.metrics_certificates)
        self.certificates.start()
        for kind, addresses in (("TCP", self.addresses), ("TLS (SSL)", self.tls_addresses)):
            for host, port in addresses:
                shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                self._log.info(f"started {kind} listener on {shown}")
        services.serve()

    async def _start_tls(self, server: Server, services: Services) -> None:
        """Listen for TLS if a certificate is named, and keep an eye on its files.

        Raises:
            TlsError: the certificate cannot be used.
            OSError: an address cannot be listened on.
        """
        tls = self.settings.tls
        if tls.certificate is None:
            return
        certificates = Certificates(tls)
        self.tls_addresses = await server.start_tls(self.settings.tls_listeners(), certificates)
        listening = [Listener("amqp/ssl", host, port) for host, port in self.tls_addresses]
        services.host.listening += listening
        self.certificates.add("amqp/ssl", certificates)

    def _certificate_ends(self) -> list[tuple[Listener, int]]:
        """List the TLS listeners and when their certificates end, unix seconds."""
        listening = [] if self.services is None else self.services.host.listening
        ends = [(each, self.certificates.ends(each.protocol)) for each in listening]
        return [(each, seconds) for each, seconds in ends if seconds is not None]

    async def drain(self) -> None:
        """Say that the node is about to stop, and give load balancers time to send clients elsewhere."""
        if self.services is not None:
            self.services.host.stopping = True
        if self.settings.drain.delay:
            self._log.info(f"draining: not in service, clients are closed in {self.settings.drain.delay:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain.delay):
                    await self.failed.wait()

    def dump(self) -> None:
        """Write to the log what the node is busy with."""
        if self.server is not None:
            dump(self.server)

    async def stop(self) -> None:
        """Close every connection, write what is left, and stop; safe to call twice."""
        server, self.server = self.server, None
        services, self.services = self.services, None
        self.certificates.stop()
        if server is not None:
            server.close_listeners()
        try:
            if services is not None:
                await services.stop()
        finally:
            try:
                if server is not None:
                    await server.stop()
            finally:
                self._stop_passwords()
                self._close_store()

    def _begin_passwords(self, server: Server) -> None:
        """Let passwords be verified on threads whose answers come back to the event loop."""
        loop = asyncio.get_running_loop()

        def answer(callback: Callable[[], None]) -> None:
            set_clock(self.broker.clock)
            callback()
            server.turn.run()

        def post(callback: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(answer, callback)

        access = self.broker.access
        if isinstance(access, UserDirectory):
            access.passwords.begin(post)

    def _stop_passwords(self) -> None:
        access = self.broker.access
        if isinstance(access, UserDirectory):
            access.passwords.stop()

    def _begin(self, store: Store, server: Server) -> None:
        """Start writing to the journal; what recovery and the default objects appended goes first."""
        loop = asyncio.get_running_loop()

        def full(error: OSError | None) -> None:
            if error is None:
                self._log.warning("the disk has space again")
            elif error.errno in FULL:
                self._log.warning("the disk is full")
            else:
                self._log.error(f"no file of the journal can be opened, publishers wait: {error}")
            self.broker.alarms.update(DISK_FULL, error is not None)
            server.set_blocking(self.broker.alarms.active)

        def failed(error: Exception) -> None:
            if isinstance(error, JournalUnreadable | ScratchUnreadable):
                self._log.critical(f"{error}: stopping at once; what was confirmed is left as it is on disk")
            else:
                self._log.critical(
                    f"the journal cannot be written ({error}): stopping at once, so that nothing is "
                    "confirmed that may be lost; what was confirmed is on disk"
                )
            self.failed.set()

        server.free_bytes = store.files.free_bytes

        def no_spill(error: OSError) -> None:
            self._log.error(
                f"transient messages cannot be moved to disk any more, they stay in memory: {error}"
            )

        def no_scratch(error: OSError) -> None:
            self._log.error(
                f"the index of messages that wait for a time cannot grow on disk, it stays in memory: {error}"
            )

        def damaged(found: list[Damage]) -> None:
            for file, offset, octets, text in found:
                self._log.error(f"journal: {file}: {octets} octets at offset {offset} are damaged: {text}")

        def remembered() -> None:
            self._damaged = True

        def unreadable(error: OSError | None) -> None:
            if error is None:
                self._log.warning("messages on disk can be read again")
            else:
                self._log.error(f"messages on disk cannot be read now, their queues wait: {error}")
            self.broker.alarms.update(UNREADABLE, error is not None)

        turn = server.turn
        store.begin(
            loop.call_soon_threadsafe,
            Events(
                turn.journal_advanced,
                full,
                failed,
                turn.soon,
                no_spill,
                damaged,
                remembered,
                unreadable,
                no_scratch,
            ),
        )
        self._show_damage(store)
        self._upkeep = loop.call_later(UPKEEP_SECONDS, self._keep_up, store, loop)

    def _show_damage(self, store: Store) -> None:
        """Keep an alarm up while losses are not acknowledged; it stops nobody."""
        try:
            losses = read_damage(store.files)
        except OSError as error:
            self._log.error(f"journal: the list of losses cannot be read: {error}")
            return
        if self.broker.alarms.update(DAMAGE, bool(losses)) and losses:
            for lost in losses:
                self._log.error(f"journal: lost and not acknowledged yet: {lost}")
            self._log.error("journal: say `harebell journal acknowledge` when this is known")
        elif not losses and self._damaged:
            self._log.info("journal: all losses are acknowledged")
        self._damaged = bool(losses)

    def _keep_up(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        began = time.monotonic()
        try:
            store.maintain(self.broker, self._snapshot)
            self.broker.relieve()
            if self._damaged:
                self._show_damage(store)
        finally:
            # Copying forward takes a fifth of the loop's time at most.
            took = time.monotonic() - began
            delay = UPKEEP_SECONDS if store.idle else max(0.001, 4 * took)
            self._upkeep = loop.call_later(delay, self._keep_up, store, loop)

    def _snapshot(self) -> list[bytes]:
        return [encode(command) for command in snapshot(self.broker)]

    def _close_store(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            self._upkeep = None
        store, self._store = self._store, None
        if store is not None:
            store.close(clean=not self.failed.is_set())


def build_broker(settings: Settings, store: Store | None) -> Broker:
    """Make the engine the settings describe: what the store recovered, or a default user and virtual host."""
    auth = settings.auth
    # In memory the first user's password is hashed at every start, and a start must be fast.
    hashing = "sha256" if store is None else auth.password_hashing
    clock = Clock()
    access = UserDirectory(auth.loopback_users, hashing, LoginAttempts(auth.free_login_failures, clock))
    limits = Limits(
        max_message_size=settings.amqp.max_message_size,
        max_transaction_size=settings.amqp.max_transaction_size,
        consumer_timeout=settings.queue.consumer_timeout,
        default_queue_type=settings.queue.default_queue_type,
        continue_death_history=settings.queue.continue_death_history,
        count_every_return=settings.queue.count_every_return,
        max_channels=settings.limits.max_channels,
    )
    journal = NullJournal() if store is None else store.journal
    pager = None if store is None else store.pager
    streams = MemoryStreamLogs() if store is None else store.streams
    broker = Broker(access, journal, limits, new_token, server_properties(settings), clock, pager, streams)
    if store is not None:
        try:
            restore(broker, store)
        except OSError as error:
            raise DataDirError(f"what streams keep cannot be read: {error}") from None
    if not access.users and not brings_users(settings):
        make_first_user(broker, settings, hashing)
    return broker


def make_first_user(broker: Broker, settings: Settings, hashing: str) -> None:
    """Make the administrator, and the virtual host, of a node without users; others stay as they are."""
    auth = settings.auth
    password = hash_password(auth.default_pass.get_secret_value().encode(), hashing)
    broker.ensure_vhost(auth.default_vhost)
    made = changes.put_user(auth.default_user, password, (ADMINISTRATOR,))
    granted = changes.set_permissions(auth.default_user, auth.default_vhost, ".*", ".*", ".*")
    for change in (made, granted):
        broker.commit(ChangeAccess(*change), durable=True)


def handshake_options(settings: Settings) -> HandshakeOptions:
    """Pick what the handshake needs from the settings."""
    return HandshakeOptions(
        mechanisms=settings.auth.mechanisms,
        frame_max=settings.amqp.frame_max,
        channel_max=settings.amqp.channel_max,
        heartbeat=settings.amqp.heartbeat,
        max_connections=settings.limits.max_connections,
        dynamic_qos=settings.compat.dynamic_qos,
    )


def server_options(settings: Settings) -> ServerOptions:
    """Pick what the server needs from the settings."""
    return ServerOptions(
        backlog=settings.server.backlog,
        handshake_timeout=settings.server.handshake_timeout,
        shutdown_timeout=settings.server.shutdown_timeout,
        memory_limit=settings.limits.memory_limit(available_bytes()),
        disk_free_limit=settings.limits.disk_free_limit,
        outbound_buffer=settings.limits.outbound_buffer,
        proxy_trusted=settings.server.proxy_trusted if settings.server.proxy_protocol else (),
        max_handshakes=settings.limits.max_handshakes,
        max_handshakes_per_address=settings.limits.max_handshakes_per_address,
        certificate_login=(
            settings.auth.ssl_cert_login_from,
            settings.auth.ssl_cert_login_san_type,
            settings.auth.ssl_cert_login_san_index,
        ),
        drain_spread=settings.drain.spread,
    )


def node_name(settings: Settings) -> str:
    """Give the name of the node."""
    return settings.compat.node_name or "rabbit@" + socket.gethostname()


def server_properties(settings: Settings) -> Table:
    """Give what ``connection.start`` says of the broker: a compatible identity, and our own name in it."""
    compat = settings.compat
    return {
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "cluster_name": compat.cluster_name or node_name(settings),
        "copyright": "harebell contributors",
        "information": f"harebell {__version__}, compatible with {compat.product} {compat.version}",
        "platform": f"Python {platform.python_version()} / harebell {__version__}",
        "product": compat.product,
        "version": compat.version,
    }


def new_token() -> str:
    """Give 22 unguessable characters for names the broker makes up."""
    return secrets.token_urlsafe(TOKEN_BYTES)


async def run(
    settings: Settings,
    *,
    ports_file: Path | None = None,
    shutdown_trigger: asyncio.Event | None = None,
    banner: Banner | None = None,
    notifier: Notifier | None = None,
    started: Callable[[Node], None] | None = None,
) -> int:
    """Run a node until ``shutdown_trigger`` is set.

    Args:
        settings: those of the node.
        ports_file: gets the ports listened on as JSON, once they are open.
        shutdown_trigger: ends the run; without one it runs until cancelled.
        banner: called with what is listened on and the data folder when the node is ready.
        notifier: tells the service manager how the node is.
        started: called with the node when it is ready, so that signals can reach it.

    Returns:
        The exit code: 0, or 1 if the disk failed.

    Raises:
        OSError: an address cannot be listened on, or the ports file cannot be written.
        Exception: what serves HTTP cannot be loaded.
    """
    storage = settings.storage
    data_dir = None if storage.in_memory else find_data_dir(storage.data_dir, os.environ)
    node = Node(settings, data_dir)
    log = logs.get_logger("node")
    await node.start()
    try:
        gc.freeze()  # not after a collection: there is next to no garbage yet, and clients wait
        gc.set_threshold(*GC_THRESHOLDS)
        if ports_file is not None:
            _write_ports(ports_file, node)
        if banner is not None:
            banner([] if node.services is None else node.services.host.listening, data_dir)
        log.info("Server startup complete; 0 plugins started.")
        if notifier is not None:
            notifier.ready("serving")
        if started is not None:
            started(node)
        await _first(shutdown_trigger or asyncio.Event(), node.failed, node.stopping)
        if node.services is not None and node.services.failure is not None:
            raise node.services.failure
        if not node.failed.is_set():
            log.info("shutting down")
            if notifier is not None:
                notifier.stopping("letting go of clients")
            await node.drain()
    finally:
        await node.stop()
        if notifier is not None:
            notifier.close()
        log.info("stopped")
    return 1 if node.failed.is_set() else 0


async def _first(*events: asyncio.Event) -> None:
    """Wait until any of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _write_ports(path: Path, node: Node) -> None:
    """Write the ports in one step, so that a reader never sees half a file."""
    ports: dict[str, int] = {}
    if node.services is not None:
        for listener in node.services.host.listening:
            ports.setdefault(PORT_NAMES.get(listener.protocol, listener.protocol), listener.port)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(ports) + "\n")
    os.replace(temporary, path)
