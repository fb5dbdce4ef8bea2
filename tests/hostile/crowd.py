"""Many of everything: connections, channels and queues, opened without waiting for each one's answer."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from pamqp import base, commands, frame

from tests.server.wire import Wire

SPARE = 100
"""Descriptors the test itself needs."""

AT_ONCE = 200


def allow_descriptors(count: int) -> None:
    """Raise the limit of open files so that this process, and brokers it starts, may have so many.

    Skips the test where that is not allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, and this system allows {hard}: raise it with 'ulimit -Hn'")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def open_connections(port: int, count: int, heartbeat: int = 60) -> Iterator[list[Wire]]:
    """Open so many connections, and drop them all at the end."""
    clients: list[Wire] = []
    try:
        for _ in range(0, count, AT_ONCE):
            batch = [Wire(port, timeout=60) for _ in range(min(AT_ONCE, count - len(clients)))]
            clients += batch
            for client in batch:
                client.log_in_blindly(heartbeat)
            for client in batch:
                client.expect(commands.Connection.Start)
                client.expect(commands.Connection.Tune)
                client.expect(commands.Connection.OpenOk)
        yield clients
    finally:
        for client in clients:
            client.close()


def call_all(
    client: Wire, methods: Sequence[base.Frame], channels: Sequence[int], answer: type[base.Frame]
) -> None:
    """Send methods on channels without waiting, then take their answers."""
    client.send(*(frame.marshal(method, channel) for method, channel in zip(methods, channels, strict=True)))
    for _ in methods:
        client.expect(answer)


def open_channels(client: Wire, count: int) -> None:
    """Open channels 1 to ``count``."""
    call_all(client, [commands.Channel.Open()] * count, range(1, count + 1), commands.Channel.OpenOk)


def close_channels(client: Wire, count: int) -> None:
    """Close channels 1 to ``count``."""
    close = commands.Channel.Close(200, "", 0, 0)
    call_all(client, [close] * count, range(1, count + 1), commands.Channel.CloseOk)


def declare_queues(client: Wire, names: Sequence[str]) -> None:
    """Declare queues on channel 1."""
    methods = [commands.Queue.Declare(queue=name) for name in names]
    call_all(client, methods, [1] * len(methods), commands.Queue.DeclareOk)


def bind_queues(client: Wire, names: Sequence[str], exchange: str, routing_key: str = "") -> None:
    """Bind queues on channel 1."""
    methods = [commands.Queue.Bind(queue=name, exchange=exchange, routing_key=routing_key) for name in names]
    call_all(client, methods, [1] * len(methods), commands.Queue.BindOk)


def delete_queues(client: Wire, names: Sequence[str]) -> None:
    """Delete queues on channel 1."""
    methods = [commands.Queue.Delete(queue=name) for name in names]
    call_all(client, methods, [1] * len(methods), commands.Queue.DeleteOk)
