"""HTTP at the start of a node: its ports are open at once, and what serves them is loaded after that."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import aio_pika
import aiohttp
import pytest

from harebell import node as node_module
from harebell import node_services
from harebell.management.local_socket import SOCKET
from harebell.node import Node
from harebell.settings import Settings
from harebell.settings.tree import Auth, Management, Metrics, Server, Storage
from tests.server.process import environment


def settings(data_dir: Path | None = None) -> Settings:
    """A node with all ports free ones."""
    storage = Storage(in_memory=True) if data_dir is None else Storage(data_dir=data_dir)
    return Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        auth=Auth(password_hashing="sha256"),
        storage=storage,
        management=Management(port=0),
        metrics=Metrics(port=0),
    )


def ports(node: Node) -> dict[str, int]:
    """What a node listens on."""
    assert node.services is not None
    return {each.protocol: each.port for each in node.services.host.listeners()}


@contextmanager
def slow_libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have the libraries of HTTP take until an event is set."""
    loaded = threading.Event()

    def load(name: str) -> ModuleType:
        assert loaded.wait(20), "nothing let the libraries be loaded"
        return importlib.import_module(name)

    monkeypatch.setattr(node_services, "import_module", load)
    try:
        yield loaded
    finally:
        loaded.set()


async def test_clients_of_amqp_are_served_while_http_is_loaded_and_requests_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Node(settings())
    with slow_libraries(monkeypatch) as loaded:
        await node.start()
        try:
            found = ports(node)
            login = {"Authorization": aiohttp.encode_basic_auth("guest", "guest")}
            async with aiohttp.ClientSession(headers=login) as session:
                api = asyncio.ensure_future(session.get(f"http://127.0.0.1:{found['http']}/api/whoami"))
                metrics = asyncio.ensure_future(
                    session.get(f"http://127.0.0.1:{found['http/prometheus']}/healthz")
                )
                url = f"amqp://guest:guest@127.0.0.1:{found['amqp']}/"
                async with await aio_pika.connect(url) as connection:
                    await (await connection.channel()).declare_queue("jobs")
                assert not api.done() and not metrics.done()
                loaded.set()
                async with asyncio.timeout(20), await api as reply, await metrics as health:
                    assert (await reply.json())["name"] == "guest"
                    assert health.status == 200
        finally:
            await node.stop()


async def test_a_node_stops_in_order_before_http_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(settings(tmp_path), tmp_path)
    with slow_libraries(monkeypatch):
        await node.start()
        found = ports(node)
        assert (tmp_path / SOCKET).is_socket()
        _, writer = await asyncio.open_connection("127.0.0.1", found["http"])
        async with asyncio.timeout(10):
            await node.stop()
        writer.close()
        assert not (tmp_path / SOCKET).exists()
        for port in found.values():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_node_that_cannot_load_what_serves_http_stops_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(name: str) -> ModuleType:
        raise ImportError(f"{name} is not installed")

    monkeypatch.setattr(node_services, "import_module", load)
    async with asyncio.timeout(20):
        with pytest.raises(ImportError, match=r"harebell\.management\.server is not installed"):
            await node_module.run(settings())
    lines = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert lines == [
        "HTTP cannot be served, the node stops: ImportError: harebell.management.server is not installed"
    ]


async def test_nobody_waits_for_http_that_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(node_services, "import_module", load)
    node = Node(settings())
    await node.start()
    try:
        assert node.services is not None
        await node.services.served()
        assert node.stopping.is_set()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ports(node)["http"])
    finally:
        await node.stop()


def test_what_a_start_does_not_need_is_not_loaded_by_it() -> None:
    code = (
        "import sys, harebell.cli.serve, harebell.cli.reload, harebell.node, harebell.server.systemd\n"
        "late = {'aiohttp', 'orjson', 'argon2', 'harebell.administration.definitions', 'http.client'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment({}) | {"PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "[]\n", "clients wait until this is loaded: import it where it is used"
