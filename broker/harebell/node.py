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
from harebell.amqp.handshake import HandshakeOptions
from harebell.auth.backends import default_directory
from harebell.content.table import Table
from harebell.engine import policy_work
from harebell.engine.alarms import DAMAGE, DISK_FULL, UNREADABLE
from harebell.engine.broker import DEFAULT_VHOST, Broker, Limits
from harebell.engine.commands import DeclareQueue, decode, encode
from harebell.engine.metadata import snapshot
from harebell.engine.queues.stream import StreamQueue
from harebell.server.clock import set_clock
from harebell.server.listener import Server, ServerOptions
from harebell.server.memory import available_bytes
from harebell.settings import Settings, find_data_dir
from harebell.storage.damage import Lost, read_damage, remember
from harebell.storage.data_dir import DataDirError
from harebell.storage.files import FULL, Files
from harebell.storage.null import NullJournal
from harebell.storage.page_thread import Damage, JournalUnreadable
from harebell.storage.recovery import Recovered
from harebell.storage.segments import SEGMENT_BYTES
from harebell.storage.store import Events, Store
from harebell.storage.streams.memory import MemoryStreamLogs

Banner = Callable[[Sequence[tuple[str, int]], Path | None], None]

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
RECOVERED_PREFIX: Final = "harebell.recovered."
"""Name, up to its number, of a queue whose declaration was damaged."""

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
        addresses: hosts and ports listened on, once started.
        server: what listens, while started.
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
        self.server: Server | None = None
        self.failed = asyncio.Event()
        self._upkeep: asyncio.TimerHandle | None = None
        self._damaged = False

    async def start(self) -> None:
        """Start serving.

        Raises:
            OSError: an address cannot be listened on.
        """
        server = Server(self.broker, handshake_options(self.settings), server_options(self.settings))
        if self._store is not None:
            self._begin(self._store, server)
        try:
            self.addresses = await server.start(self.settings.server.listeners())
        except OSError:
            self._close_store()
            raise
        self.server = server
        log = logs.get_logger("node")
        for host, port in self.addresses:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            log.info(f"started TCP listener on {shown}")

    async def stop(self) -> None:
        """Close every connection, write what is left, and stop; safe to call twice."""
        server, self.server = self.server, None
        try:
            if server is not None:
                await server.stop()
        finally:
            self._close_store()

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
            if isinstance(error, JournalUnreadable):
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
            Events(turn.journal_advanced, full, failed, turn.soon, no_spill, damaged, remembered, unreadable),
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
    """Make the engine the settings describe: what the store recovered, or a default virtual host."""
    auth = settings.auth
    access = default_directory(
        auth.default_user,
        auth.default_pass.get_secret_value().encode(),
        auth.default_vhost,
        auth.loopback_users,
    )
    limits = Limits(
        max_message_size=settings.amqp.max_message_size,
        max_transaction_size=settings.amqp.max_transaction_size,
        consumer_timeout=settings.queue.consumer_timeout,
        default_queue_type=settings.queue.default_queue_type,
        continue_death_history=settings.queue.continue_death_history,
        count_every_return=settings.queue.count_every_return,
    )
    journal = NullJournal() if store is None else store.journal
    pager = None if store is None else store.pager
    streams = MemoryStreamLogs() if store is None else store.streams
    broker = Broker(
        access, journal, limits, new_token, server_properties(settings), pager=pager, streams=streams
    )
    if store is not None:
        try:
            restore(broker, store)
        except OSError as error:
            raise DataDirError(f"what streams keep cannot be read: {error}") from None
    broker.ensure_vhost(auth.default_vhost)
    return broker


def restore(broker: Broker, store: Store) -> None:
    """Bring back what the journal holds, and say what was damaged."""
    log = logs.get_logger("node")
    recovered = store.recovered
    for damage in recovered.damage:
        (log.warning if damage.harmless else log.error)(f"journal: {damage}")
    # Queues with x-expires count from now: without the time they would seem unused since ages.
    set_clock(broker.clock)
    declared: set[int] = set()
    for encoded in store.commands:
        command = decode(encoded)
        if isinstance(command, DeclareQueue):
            declared.add(command.queue_id)
        broker.replay(command)
    for text in broker.not_replayed:
        log.error(f"journal: a command could not be applied and is passed over: {text[:1000]}")
    policy_work.finish(broker)
    queues = {int(queue.id) for queue in broker.queues()}
    deleted = declared - queues
    queues |= adopt_orphans(broker, store, deleted, recovered.forget(queues, deleted))
    count = broker.restore(store, recovered.highest)
    recovered.missing.extend(lost_ends(broker, store))
    for text in recovered.missing:
        log.error(f"journal: {text}")
    if queues or count:
        state = "" if recovered.clean else " after an unclean stop"
        log.info(f"recovered {len(queues)} queues and {count} messages{state}")
    store.recovered = Recovered()


def lost_ends(broker: Broker, store: Store) -> list[str]:
    """Say, and remember, of which streams damage took the end that had been on stable storage."""
    texts = [
        f"stream '{queue.name}' lost the end of its files: up to {queue.missing} messages before offset "
        f"{queue.next_position}"
        for queue in broker.queues()
        if isinstance(queue, StreamQueue) and queue.missing
    ]
    with suppress(OSError):
        remember(store.files, [Lost("", 0, 0, text) for text in texts])
    return texts


def adopt_orphans(broker: Broker, store: Store, deleted: set[int], sentences: list[str]) -> set[int]:
    """Declare queues anew whose declaration is lost to damage, but not their messages; give their ids.

    Args:
        deleted: ids of queues that the journal says are deleted: files of theirs are left over.
        sentences: what to remember of the loss.
    """
    recovered = store.recovered
    with suppress(OSError):
        remember(store.files, [Lost("", 0, 0, text) for text in sentences])
    leftover = store.streams.unopened()
    for queue_id in leftover:
        recovered.highest.setdefault(queue_id, 0)
    lost = bool(recovered.missing) or any(not each.harmless for each in recovered.damage)
    streams = leftover - deleted if lost else set()
    orphans = set(recovered.orphans) | streams
    for queue_id in sorted(orphans):
        name = f"{RECOVERED_PREFIX}{queue_id}"
        while name in broker.vhosts[DEFAULT_VHOST].queues:
            name += "+"
        kind = "stream" if queue_id in streams else "classic"
        broker.commit(DeclareQueue(DEFAULT_VHOST, name, queue_id, kind, True, 0, False, {}), True)
        backlog = recovered.orphans.get(queue_id)
        if backlog is not None:
            recovered.queues[queue_id] = backlog
        recovered.missing.append(
            f"queue number {queue_id} is there again as '{name}' in vhost '{DEFAULT_VHOST}'"
        )
    store.streams.forget_others(orphans)
    return orphans


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
    )


def server_properties(settings: Settings) -> Table:
    """Give what ``connection.start`` says of the broker: a compatible identity, and our own name in it."""
    compat = settings.compat
    node_name = compat.node_name or "rabbit@" + socket.gethostname()
    return {
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "cluster_name": compat.cluster_name or node_name,
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
) -> int:
    """Run a node until ``shutdown_trigger`` is set.

    Args:
        settings: those of the node.
        ports_file: gets the ports listened on as JSON, once they are open.
        shutdown_trigger: ends the run; without one it runs until cancelled.
        banner: called with the addresses and the data folder when the node is ready.

    Returns:
        The exit code: 0, or 1 if the disk failed.

    Raises:
        OSError: an address cannot be listened on, or the ports file cannot be written.
    """
    storage = settings.storage
    data_dir = None if storage.in_memory else find_data_dir(storage.data_dir, os.environ)
    node = Node(settings, data_dir)
    log = logs.get_logger("node")
    await node.start()
    try:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if ports_file is not None:
            _write_ports(ports_file, node.addresses)
        if banner is not None:
            banner(node.addresses, data_dir)
        log.info("Server startup complete; 0 plugins started.")
        await _first(shutdown_trigger or asyncio.Event(), node.failed)
        if not node.failed.is_set():
            log.info("shutting down")
    finally:
        await node.stop()
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


def _write_ports(path: Path, addresses: Sequence[tuple[str, int]]) -> None:
    """Write the ports in one step, so that a reader never sees half a file."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps({"amqp": addresses[0][1]}) + "\n")
    os.replace(temporary, path)
