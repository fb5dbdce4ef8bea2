"""File descriptors run short: clients are refused, and the journal goes on."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

from pamqp import commands

from tests.server.process import eventually, running_broker
from tests.server.wire import Wire, publish

LIMIT = 128


def refused(port: int) -> bool:
    """Connect, and tell whether the socket is closed at once without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(b"AMQP\x00\x00\x09\x01")
        try:
            return peer.recv(1) == b""
        except ConnectionResetError:
            return True


def test_sockets_beyond_the_limit_are_refused_and_the_others_are_served(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, before[1]))
    try:
        with running_broker(tmp_path) as broker:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            with Wire(broker.port, timeout=30).open(channels=1) as client, ExitStack() as idle:
                client.declare("jobs", durable=True)
                client.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
                for _ in range(LIMIT - 64):
                    idle.enter_context(socket.create_connection(("127.0.0.1", broker.port)))
                eventually(lambda: refused(broker.port), "one more is refused")
                assert broker.log.count("connections refused") == 1, "a line for each would fill the disk"
                client.send(publish("jobs", b"x"))
                client.expect(commands.Basic.Ack)
                idle.close()
                eventually(lambda: not refused(broker.port), "there is room again")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
