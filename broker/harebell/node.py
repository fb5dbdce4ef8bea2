"""A node: puts journal, engine and server together, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from harebell import __version__, logs
from harebell.amqp.handshake import HandshakeOptions
from harebell.auth.backends import default_directory
from harebell.content.table import Table
from harebell.engine.broker import DEFAULT_VHOST, Broker, Limits
from harebell.engine.commands import CreateVhost
from harebell.server.listener import Server, ServerOptions
from harebell.server.memory import available_bytes
from harebell.settings import Settings
from harebell.storage.null import NullJournal

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
GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Fewer collections than the default: what messages are made of holds no cycles."""


class Node:
    """One broker in one event loop.

    Args:
        settings: frozen; nothing else configures the node.

    Attributes:
        addresses: hosts and ports listened on, once started.
        server: what listens, while started.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broker = build_broker(settings)
        self.addresses: list[tuple[str, int]] = []
        self.server: Server | None = None

    async def start(self) -> None:
        """Start serving.

        Raises:
            OSError: an address cannot be listened on.
        """
        server = Server(self.broker, handshake_options(self.settings), server_options(self.settings))
        self.addresses = await server.start(self.settings.server.listeners())
        self.server = server
        log = logs.get_logger("node")
        for host, port in self.addresses:
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            log.info(f"started TCP listener on {shown}")

    async def stop(self) -> None:
        """Close every connection and stop; safe to call twice."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop()


def build_broker(settings: Settings) -> Broker:
    """Make the engine the settings describe, with the default user and virtual host."""
    auth = settings.auth
    access = default_directory(
        auth.default_user,
        auth.default_pass.get_secret_value().encode(),
        auth.default_vhost,
        auth.loopback_users,
    )
    limits = Limits(
        max_message_size=settings.amqp.max_message_size,
        consumer_timeout=settings.queue.consumer_timeout,
        default_queue_type=settings.queue.default_queue_type,
    )
    broker = Broker(access, NullJournal(), limits, new_token, server_properties(settings))
    if auth.default_vhost != DEFAULT_VHOST:
        broker.commit(CreateVhost(auth.default_vhost), durable=True)
    return broker


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
        The exit code: 0.

    Raises:
        OSError: an address cannot be listened on, or the ports file cannot be written.
    """
    node = Node(settings)
    log = logs.get_logger("node")
    await node.start()
    try:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if ports_file is not None:
            _write_ports(ports_file, node.addresses)
        if banner is not None:
            banner(node.addresses, None)
        log.info("Server startup complete; 0 plugins started.")
        await (shutdown_trigger or asyncio.Event()).wait()
        log.info("shutting down")
    finally:
        await node.stop()
        log.info("stopped")
    return 0


def _write_ports(path: Path, addresses: Sequence[tuple[str, int]]) -> None:
    """Write the ports in one step, so that a reader never sees half a file."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps({"amqp": addresses[0][1]}) + "\n")
    os.replace(temporary, path)
