"""What the node is busy with, written to the log on demand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harebell import logs
from harebell.amqp.connection import Connection
from harebell.server.memory import resident_bytes

if TYPE_CHECKING:
    from harebell.server.listener import Server
    from harebell.server.transport import ClientTransport

MOST: Final = 500
"""Tasks, and connections, that get a line: writing keeps the event loop busy."""

FRAMES: Final = 3
"""Innermost calls shown of a task."""

PHASES: Final = (
    "before its header", "before start-ok", "before secure-ok", "logging in", "before tune-ok", "before open",
    "open", "closing", "closed",
)  # fmt: skip


def dump(server: Server) -> None:
    """Write tasks, connections and what they hold to the log."""
    log = logs.get_logger("node")
    broker = server.broker
    tasks = asyncio.all_tasks(server.loop)
    alarms = f"alarms: {broker.alarms.reason}" if broker.alarms.active else "no alarm"
    log.info(
        f"dump: {len(server.clients)} sockets ({server.admission.waiting} not logged in), "
        f"{len(broker.sessions)} connections, {sum(1 for _ in broker.queues())} queues, {len(tasks)} tasks, "
        f"{resident_bytes() // 1024} KiB resident; {alarms}"
    )
    for task in list(tasks)[:MOST]:
        log.info(f"dump: task {task.get_name()}: {_where(task)}")
    for client in list(server.clients)[:MOST]:
        if client.connection is not None:
            log.info(f"dump: {_describe(client, client.connection)}", conn=f"c{client.connection.id}")
    left_out = max(0, len(tasks) - MOST) + max(0, len(server.clients) - MOST)
    if left_out:
        log.info(f"dump: {left_out} more tasks and connections are left out")


def _where(task: asyncio.Task[object]) -> str:
    frames = task.get_stack(limit=FRAMES)
    calls = [
        f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}" for frame in frames
    ]
    return " < ".join(reversed(calls)) or "done"


def _describe(client: ClientTransport, connection: Connection) -> str:
    user = "nobody" if connection.user is None else connection.user.name
    vhost = "" if connection.vhost is None else connection.vhost.name
    unacked = sum(len(channel.window) for channel in connection.channels.values())
    state = "".join([", blocked" * connection.blocked, ", not read from" * client.reading_paused])
    return (
        f"connection {connection.peer}: {PHASES[int(connection.phase)]}, user '{user}', vhost '{vhost}', "
        f"{len(connection.channels)} channels, {unacked} unacknowledged, "
        f"{client.unread_bytes()} bytes to send{state}"
    )
