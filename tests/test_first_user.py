"""The first user of a node: made once, and never again behind the operator's back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aio_pika
import pytest
from pamqp import commands

from harebell.administration import users, vhosts
from harebell.administration.administration import Administration
from harebell.auth.backends import UserDirectory
from harebell.node import Node
from harebell.settings import Settings
from tests.server.process import running_broker
from tests.server.wire import Wire


def refused(port: int, username: str, password: str) -> bool:
    """Try to log in, and tell whether that was refused."""
    with Wire(port) as wire:
        wire.log_in(username, password)
        answer = wire.read_method()
        if isinstance(answer, commands.Connection.Tune):
            return False
        assert isinstance(answer, commands.Connection.Close)
        assert answer.reply_code == 403
        return True


def settings(**auth: object) -> Settings:
    """Settings of a node that listens on a free port for AMQP alone."""
    return Settings.model_validate(
        {
            "server": {"bind": ["127.0.0.1"], "port": 0},
            "management": {"enabled": False},
            "metrics": {"enabled": False},
            "auth": auth,
        }
    )


def directory_of(node: Node) -> UserDirectory:
    access = node.broker.access
    assert isinstance(access, UserDirectory)
    return access


def admin_of(node: Node) -> Administration:
    assert node.services is not None
    return node.services.admin


async def lived(folder: Path | None, **auth: object) -> Node:
    """Start a node."""
    node = Node(settings(**auth), folder)
    await node.start()
    return node


async def test_the_first_start_makes_an_administrator_of_the_settings(tmp_path: Path) -> None:
    node = await lived(tmp_path, default_user="root", default_pass="pw", default_vhost="shop")
    try:
        (user,) = users.list_users(admin_of(node))
        assert (user["name"], user["tags"]) == ("root", ["administrator"])
        assert users.list_permissions(admin_of(node)) == [
            {"user": "root", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}
        ]
    finally:
        await node.stop()


async def test_later_starts_change_no_user_whatever_the_settings_say(tmp_path: Path) -> None:
    node = await lived(tmp_path)
    before = list(directory_of(node).changes())
    await node.stop()
    node = await lived(tmp_path, default_pass="other")
    assert list(directory_of(node).changes()) == before
    await node.stop()
    node = await lived(tmp_path, default_user="root", default_pass="other")
    assert list(directory_of(node).changes()) == before
    await node.stop()


async def test_a_default_user_who_was_deleted_stays_away(tmp_path: Path) -> None:
    node = await lived(tmp_path)
    users.put_user(admin_of(node), "alice", None, ("administrator",))
    lsn = users.delete_user(admin_of(node), "guest")
    admin_of(node).host.turn()
    await admin_of(node).host.durable(lsn)
    await node.stop()
    node = await lived(tmp_path)
    assert list(directory_of(node).users) == ["alice"]
    await node.stop()


@pytest.mark.parametrize(
    ("hashing", "algorithm"), [("argon2id", "argon2id"), ("sha256", "rabbit_password_hashing_sha256")]
)
async def test_passwords_are_hashed_as_the_settings_say(tmp_path: Path, hashing: str, algorithm: str) -> None:
    node = await lived(tmp_path, password_hashing=hashing)
    assert users.get_user(admin_of(node), "guest")["hashing_algorithm"] == algorithm
    async with await aio_pika.connect(f"amqp://127.0.0.1:{node.addresses[0][1]}/") as connection:
        await connection.channel()
    assert await asyncio.to_thread(refused, node.addresses[0][1], "guest", "wrong")
    await node.stop()


async def test_in_memory_starting_hashes_nothing_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> bytes:
        raise AssertionError("thousands of brokers are started by tests: nothing slow may be hashed")

    monkeypatch.setattr("argon2.low_level.hash_secret_raw", never)
    node = await lived(None)
    assert await asyncio.to_thread(refused, node.addresses[0][1], "nobody", "wrong")
    await node.stop()


def test_the_first_user_comes_from_the_environment_and_survives_a_kill(tmp_path: Path) -> None:
    first = {"AUTH__DEFAULT_USER": "root", "AUTH__DEFAULT_PASS": "s3cret"}
    with running_broker(tmp_path, settings=first, data_dir=tmp_path / "data") as broker:
        assert not refused(broker.port, "root", "s3cret")
        broker.process.kill()
        broker.wait()
        assert "s3cret" not in broker.log
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        assert refused(broker.port, "guest", "guest")
        assert not refused(broker.port, "root", "s3cret")


def test_what_a_client_sends_while_its_password_is_hashed_is_handled(tmp_path: Path) -> None:
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        wires = [Wire(broker.port) for _ in range(20)]
        for wire in wires:
            wire.log_in_blindly()
        for wire in wires:
            for method in (commands.Connection.Start, commands.Connection.Tune, commands.Connection.OpenOk):
                wire.expect(method)
            wire.close_politely()
        broker.assert_unharmed()


def test_guessing_is_slowed_down_for_one_user_and_the_log_says_so(tmp_path: Path) -> None:
    chosen = {"AUTH__FREE_LOGIN_FAILURES": "3"}
    with running_broker(tmp_path, settings=chosen, data_dir=tmp_path / "data") as broker:
        for password in ("a", "b", "c", "guest"):
            assert refused(broker.port, "guest", password)
        assert broker.log.count("PLAIN login refused: user 'guest' - invalid credentials") == 3
        assert "PLAIN login refused: user 'guest' - too many failed attempts" in broker.log


async def test_a_deleted_default_virtual_host_does_not_come_back(tmp_path: Path) -> None:
    node = await lived(tmp_path)
    admin = admin_of(node)
    vhosts.put_vhost(admin, "shop")
    vhosts.delete_vhost(admin, "/")
    await node.stop()
    for _ in range(2):  # from the journal's end, then from its snapshot
        node = await lived(tmp_path)
        assert list(node.broker.vhosts) == ["shop"]
        store = node._store
        assert store is not None
        store.maintain(node.broker, node._snapshot)
        await node.stop()
