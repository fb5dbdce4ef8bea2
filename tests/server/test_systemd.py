"""systemd hears when the node is ready, reloads and stops, and that its event loop runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harebell.server.systemd import Notifier
from tests.server.process import running_broker


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager, at ``notify`` in the test's folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(20)
        yield found


def receive(manager: socket.socket) -> dict[str, str]:
    lines = manager.recv(4096).decode().splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


async def test_without_a_service_manager_nothing_is_sent() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000"})
    notifier.ready("serving")
    notifier.stopping("stopping")
    notifier.close()


async def test_states_are_told(manager: socket.socket, tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready("serving")
    assert receive(manager) == {"READY": "1", "STATUS": "serving"}
    notifier.reloading()
    told = receive(manager)
    assert told["RELOADING"] == "1"
    assert int(told["MONOTONIC_USEC"]) > 0
    notifier.stopping("going")
    assert receive(manager) == {"STOPPING": "1", "STATUS": "going"}
    notifier.close()


async def test_the_watchdog_is_fed_twice_as_often_as_asked_for(
    manager: socket.socket, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    manager.setblocking(False)
    address = str(tmp_path / "notify")
    notifier = Notifier(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())}
    )
    began = loop.time()
    notifier.ready("serving")
    messages = [await asyncio.wait_for(loop.sock_recv(manager, 4096), 5) for _ in range(5)]
    assert messages[1:] == [b"WATCHDOG=1"] * 4
    assert loop.time() - began >= 0.055
    notifier.close()


async def test_the_watchdog_of_another_process_is_not_fed(manager: socket.socket, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    notifier.ready("serving")
    notifier.stopping("going")
    assert "READY" in receive(manager)
    assert "STOPPING" in receive(manager), "nothing else was sent"
    notifier.close()


async def test_a_service_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready("serving")


async def test_abstract_addresses_are_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"harebell-test-{os.getpid()}"
        manager.bind("\0" + name)
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready("serving")
        assert receive(manager)["READY"] == "1"


def test_a_served_node_tells_its_whole_life(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with running_broker(tmp_path) as broker:
        assert receive(manager)["READY"] == "1"
        broker.signal(signal.SIGHUP)
        assert receive(manager)["RELOADING"] == "1"
        assert receive(manager)["READY"] == "1"
        broker.signal(signal.SIGTERM)
        assert receive(manager)["STOPPING"] == "1"
        assert broker.wait() == 0
