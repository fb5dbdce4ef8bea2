"""Users, permissions and limits over restarts and kills, from the journal and from snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pamqp import commands

from harebell.administration import users
from harebell.administration.administration import Administration
from harebell.auth import changes
from harebell.auth.passwords import hash_password
from harebell.content.table import Table
from harebell.engine.commands import CreateVhost, DeleteVhost
from harebell.ports import Login
from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import Running
from tests.support.administration import administration_of
from tests.support.logins import checked

ARGON2ID = hash_password(b"secret", "argon2id")


class Lives:
    """One data directory that is opened again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = FakeDisk()
        self.now = Running(folder, self._disk, 2000)

    @property
    def admin(self) -> Administration:
        """The administration of the present life."""
        return administration_of(self.now.node)

    def again(self, clean: bool) -> None:
        """Stop, or be killed with everything written kept, and start."""
        self.now.stop(clean)
        self.now = Running(self._folder, self._disk, 2000)

    def users(self) -> list[changes.Change]:
        """All that makes up the directory."""
        return list(self.now.node.users.changes())


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    found = Lives(tmp_path)
    yield found
    found.now.stop(clean=False)


def make_users(admin: Administration) -> int:
    """Use every kind of change."""
    admin.broker.commit(CreateVhost("shop"), durable=True)
    users.put_user(admin, "guest", hash_password(b"guest"), ())
    users.put_user(admin, "alice", ARGON2ID, ("administrator", "a"))
    users.put_user(admin, "bob", hash_password(b"secret"), ())
    users.put_user(admin, "gone", None, ())
    users.set_permissions(admin, "/", "alice", "^a", "^b", "")
    users.set_permissions(admin, "shop", "alice", "", "", ".*")
    users.set_permissions(admin, "/", "bob", ".*", ".*", ".*")
    users.clear_permissions(admin, "/", "bob")
    users.set_topic_permissions(admin, "/", "alice", "amq.topic", r"^{username}\.", "")
    users.set_topic_permissions(admin, "/", "bob", "t", "", "")
    users.clear_topic_permissions(admin, "/", "bob", "t")
    users.set_user_limit(admin, "alice", "max-channels", 5)
    users.set_user_limit(admin, "alice", "max-connections", 0)
    users.clear_user_limit(admin, "alice", "max-connections")
    return users.delete_user(admin, "gone")


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("compacted", [False, True], ids=["journal", "snapshot"])
def test_users_survive(lives: Lives, clean: bool, compacted: bool) -> None:
    lsn = make_users(lives.admin)
    lives.now.work()
    assert lives.now.store.journal.durable >= lsn
    if compacted:
        fill_and_compact(lives)
    before = lives.users()
    lives.again(clean)
    assert lives.users() == before
    lives.again(clean)
    assert lives.users() == before
    found: list[Table] = users.list_users(lives.admin)
    assert [user["name"] for user in found] == ["alice", "bob", "guest"]
    directory = lives.now.node.users
    assert checked(directory, Login("PLAIN", "alice", b"secret", "192.0.2.1")).user is not None
    assert checked(directory, Login("PLAIN", "alice", b"wrong", "192.0.2.1")).user is None


def fill_and_compact(lives: Lives) -> None:
    """Write so much that the segments with the users go, and a snapshot takes their place."""
    running = lives.now
    channel = running.channel
    channel.send(commands.Queue.Declare(queue="q", durable=True))
    running.work()
    channel.expect(commands.Queue.DeclareOk)
    first = next(name for name in running.disk.names() if name.endswith(".wal"))
    for _ in range(40):
        channel.publish(b"x" * 100, key="q", properties=commands.Basic.Properties(delivery_mode=2))
        running.work()
    channel.confirms()
    channel.send(commands.Queue.Purge(queue="q"))
    running.work()
    channel.expect(commands.Queue.PurgeOk)
    running.maintain()
    assert first not in running.disk.names(), "the journal must have given up its first segment"


def test_what_was_not_durable_yet_may_be_gone_and_nothing_else(lives: Lives) -> None:
    make_users(lives.admin)
    lives.now.work()
    before = lives.users()
    users.put_user(lives.admin, "late", None, ())
    lives.again(clean=False)
    assert [change for change in lives.users() if change[1]["name"] != "late"] == before


def test_permissions_do_not_come_back_with_a_virtual_host_of_that_name(lives: Lives) -> None:
    make_users(lives.admin)
    lives.now.node.broker.commit(DeleteVhost("shop"), durable=True)
    lives.now.node.broker.commit(CreateVhost("shop"), durable=True)
    lives.now.work()
    lives.again(clean=False)
    assert users.list_permissions(lives.admin, "shop") == []
