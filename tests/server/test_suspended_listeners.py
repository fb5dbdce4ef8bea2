"""Listeners that are closed for a time: with TLS, behind a load balancer, and on either event loop.

`tests/management/test_maintenance.py` has what it is for.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from pamqp import commands

from harebell.cli.api import Api
from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import Wire
from tests.support.certificates import Authority
from tests.support.proxy import version_1


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=["direct", "proxied"])
def broker(
    request: pytest.FixtureRequest, loop: str, authority: Authority, tmp_path: Path
) -> Iterator[BrokerProcess]:
    settings = {"SERVER__LOOP": loop, "MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}
    if request.param == "proxied":
        settings |= {"SERVER__PROXY_PROTOCOL": "on", "SERVER__PROXY_TRUSTED": "127.0.0.1/32"}
    options = ["--tls-port", "0", "--tls-cert", str(authority.server())]
    with running_broker(tmp_path, *options, settings=settings) as found:
        yield found
        found.assert_unharmed()


def test_every_listener_closes_and_opens_again(
    broker: BrokerProcess, authority: Authority, request: pytest.FixtureRequest
) -> None:
    proxied = "proxied" in request.node.name
    header = version_1("127.0.0.9", 4000, "127.0.0.1", 5672) if proxied else b""

    def plain() -> Wire:
        wire = Wire(broker.ports["amqp"])
        wire.send(header)
        return wire.open(channels=1)

    def secure() -> Wire:
        connection = socket.create_connection(("127.0.0.1", broker.ports["amqps"]), 10)
        connection.sendall(header)
        context = authority.client_context()
        return Wire(context.wrap_socket(connection, server_hostname="127.0.0.1")).open(channels=1)

    def refused(port: int) -> bool:
        with suppress(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", port), 10)):
            return False
        return True

    with closing(Api(f"http://guest:guest@127.0.0.1:{broker.ports['http']}")) as api:
        name = api.get("overview")["node"]
        open_before = [plain(), secure()]
        for _ in range(3):
            api.post("x", "maintenance", "suspend-listeners", body={"node": name})
            for protocol in ("amqp", "amqps"):
                eventually(partial(refused, broker.ports[protocol]), f"{protocol} is closed")
            for wire in open_before:
                wire.round_trip()
            api.post("x", "maintenance", "resume-listeners")
            for connect in (plain, secure):
                with connect() as wire:
                    wire.round_trip()
        api.post("x", "maintenance", "drain", body={"node": name})
        for wire in open_before:
            close = wire.expect(commands.Connection.Close)
            assert "maintenance mode" in close.reply_text
            wire.close()
        eventually(lambda: api.get("x", "maintenance")["state"] == "drained", "the node is drained")
        api.post("x", "maintenance", "revive")
        plain().close()
        secure().close()


def test_a_node_stops_while_its_listeners_are_suspended(tmp_path: Path, loop: str) -> None:
    settings = {"SERVER__LOOP": loop, "MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}
    with running_broker(tmp_path, settings=settings) as broker:
        client = Wire(broker.port).open()
        with closing(Api(f"http://guest:guest@127.0.0.1:{broker.ports['http']}")) as api:
            api.post("x", "maintenance", "drain", body={"node": api.get("overview")["node"], "spread": 0})
        client.close()
        broker.assert_unharmed()
