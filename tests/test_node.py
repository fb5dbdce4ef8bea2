"""The node as a process: what it needs to start, and what it says when it cannot."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import aio_pika
import pytest

from harebell.node import Node, server_options
from harebell.server.memory import available_bytes
from harebell.settings import Settings
from harebell.settings.tree import Limits, Server
from tests.server.process import command, environment, running_broker
from tests.server.wire import Wire


def run(
    folder: Path, *arguments: str, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that is expected to end."""
    line = command("serve", "--in-memory", "--log-format", "text", *arguments)
    environ = environment(settings)
    return subprocess.run(
        line, cwd=folder, env=environ, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_ports_file_names_the_port(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        assert json.loads((tmp_path / "ports.json").read_text()) == {"amqp": broker.port}
        assert not (tmp_path / "ports.json.tmp").exists()
        with Wire(broker.port).open():
            pass


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_stock_clients_work_on_both_event_loops(tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with running_broker(tmp_path, settings={"SERVER__LOOP": loop}) as broker:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue("jobs")
            await channel.default_exchange.publish(aio_pika.Message(b"x" * 300_000), "jobs")
            message = await (await channel.get_queue("jobs")).get(timeout=5)
            await message.ack()
            assert message.body == b"x" * 300_000
        broker.assert_unharmed()


def test_a_taken_port_is_one_line_and_69(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "--bind", "127.0.0.1", "--port", str(port))
    assert done.returncode == 69
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr and "in use" in done.stderr


def test_an_address_of_another_machine_is_one_line_and_69(tmp_path: Path) -> None:
    done = run(tmp_path, "--bind", "192.0.2.1", "--port", "0")
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1, done.stderr
    assert "192.0.2.1" in done.stderr


async def test_every_address_is_listened_on_at_the_same_port() -> None:
    node = Node(Settings(server=Server(bind=("127.0.0.1", "127.0.0.2"), port=0)))
    await node.start()
    try:
        (first, port), (second, same) = node.addresses
        assert (first, second) == ("127.0.0.1", "127.0.0.2")
        assert port == same
        for host in (first, second):
            Wire(port, host=host).close()
    finally:
        await node.stop()
        await node.stop()


async def test_a_failed_start_leaves_no_listener() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        node = Node(Settings(server=Server(bind=("127.0.0.1", "127.0.0.2"), port=port)))
        with pytest.raises(OSError):
            await node.start()
        assert node.server is None
        with pytest.raises(OSError):
            Wire(port, host="127.0.0.1")
        await node.stop()


def test_the_default_addresses_do_not_need_ipv6(tmp_path: Path) -> None:
    """In a network of its own, as in many containers, ``::1`` does not exist."""
    isolate = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*isolate, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system does not let tests have a network of their own")
    script = (
        "import asyncio; from harebell.node import Node; from harebell.settings import Settings\n"
        "async def main():\n"
        "    off = {'enabled': False}\n"
        "    node = Node(Settings(management=off, metrics=off))\n"
        "    await node.start(); print(node.addresses); await node.stop()\n"
        "asyncio.run(main())"
    )
    line = [*isolate, *command()[:1], "-c", script]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "[('127.0.0.1', 5672)]\n", done.stderr


def test_the_memory_limit_is_a_share_of_what_there_is_or_a_size() -> None:
    share = server_options(Settings(limits=Limits.model_validate({"memory_high_watermark": 0.5})))
    assert share.memory_limit == available_bytes() // 2 or share.memory_limit == 0
    size = server_options(Settings(limits=Limits.model_validate({"memory_high_watermark": "64MiB"})))
    assert size.memory_limit == 64 * 1024 * 1024
