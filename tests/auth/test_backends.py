"""The directory of users: who gets in from where, and what they may do."""

from __future__ import annotations

import time
from statistics import median

import pytest

from harebell.auth.backends import UserDirectory, default_directory, is_loopback
from harebell.auth.passwords import hash_password
from harebell.auth.permissions import PERMISSIONS
from harebell.ports import Login, User

HERE = "127.0.0.1"
AWAY = "192.0.2.7"


def login(
    username: str = "guest",
    password: bytes = b"guest",
    peer: str = HERE,
    mechanism: str = "PLAIN",
    certificate_name: str | None = None,
) -> Login:
    return Login(mechanism, username, password, peer, certificate_name)


@pytest.fixture
def directory() -> UserDirectory:
    made = default_directory()
    made.put_user("alice", hash_password(b"secret"), ("monitoring",))
    made.put_user("machine", None)
    made.put_user("blank", hash_password(b""))
    return made


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:127.8.9.1", True),
        ("unix", True),
        ("unix:/run/harebell.sock", True),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::2", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("unixfoo", False),
        ("127.0.0.1.example.org", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_the_peers_address(peer: str, local: bool) -> None:
    assert is_loopback(peer) is local


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
@pytest.mark.parametrize(
    ("username", "password", "peer", "reason"),
    [
        ("guest", b"guest", HERE, None),
        ("guest", b"guest", "unix:/tmp/x", None),
        ("guest", b"guest", AWAY, "User can only log in via localhost"),
        ("guest", b"guest", "", "User can only log in via localhost"),
        ("guest", b"wrong", HERE, "wrong user name or password"),
        ("guest", b"wrong", AWAY, "wrong user name or password"),
        ("guest", b"", HERE, "wrong user name or password"),
        ("alice", b"secret", AWAY, None),
        ("alice", b"guest", HERE, "wrong user name or password"),
        ("Alice", b"secret", HERE, "wrong user name or password"),
        ("nobody", b"", HERE, "wrong user name or password"),
        ("nobody", b"secret", HERE, "wrong user name or password"),
        ("machine", b"", HERE, "wrong user name or password"),
        ("blank", b"", HERE, "wrong user name or password"),
        ("", b"", HERE, "wrong user name or password"),
    ],
)
def test_logging_in_by_password(
    directory: UserDirectory, mechanism: str, username: str, password: bytes, peer: str, reason: str | None
) -> None:
    outcome = directory.check(login(username, password, peer, mechanism))
    if reason is None:
        assert outcome.user is not None
        assert outcome.user.name == username
    else:
        assert outcome.user is None
        assert outcome.reason == reason


@pytest.mark.parametrize(
    ("certificate_name", "peer", "user"),
    [
        ("machine", AWAY, "machine"),
        ("alice", AWAY, "alice"),
        ("guest", AWAY, None),
        ("guest", HERE, "guest"),
        ("unknown", HERE, None),
        ("", HERE, None),
        (None, HERE, None),
    ],
)
def test_logging_in_by_certificate(
    directory: UserDirectory, certificate_name: str | None, peer: str, user: str | None
) -> None:
    outcome = directory.check(login("alice", b"secret", peer, "EXTERNAL", certificate_name))
    assert (outcome.user and outcome.user.name) == user


def test_an_unknown_mechanism_lets_nobody_in(directory: UserDirectory) -> None:
    assert directory.check(login(mechanism="ANONYMOUS")).user is None


def test_authenticate_answers_with_the_user_and_its_tags(directory: UserDirectory) -> None:
    answers: list[User | None] = []
    directory.authenticate(login("alice", b"secret"), answers.append)
    directory.authenticate(login("alice", b"wrong"), answers.append)
    assert answers[0] is not None
    assert (answers[0].name, answers[0].tags) == ("alice", frozenset({"monitoring"}))
    assert answers[1] is None


def test_which_users_are_bound_to_loopback_is_a_setting() -> None:
    assert default_directory(loopback_users=()).check(login(peer=AWAY)).user is not None
    bound = default_directory("admin", b"pw", loopback_users=("admin",))
    assert bound.check(login("admin", b"pw", AWAY)).user is None
    assert bound.check(login("admin", b"pw", HERE)).user is not None


def test_an_unknown_user_takes_as_long_as_a_wrong_password(directory: UserDirectory) -> None:
    def typical(username: str) -> float:
        attempt = login(username, b"x" * 64)
        spans = []
        for _ in range(400):
            start = time.perf_counter()
            directory.check(attempt)
            spans.append(time.perf_counter() - start)
        return median(spans)

    known, unknown = typical("alice"), typical("nobody")
    assert 1 / 3 < known / unknown < 3, "an unknown user must cost one hash, as a known one does"


def test_the_default_user_administrates_one_vhost() -> None:
    directory = default_directory("root", b"pw", "/shop")
    user = directory.check(login("root", b"pw")).user
    assert user is not None
    assert user.tags == {"administrator"}
    assert directory.may_open(user, "/shop")
    assert not directory.may_open(user, "/")
    for permission in PERMISSIONS:
        assert directory.allowed(user, "/shop", permission, "anything")
        assert directory.allowed(user, "/shop", permission, "")
        assert not directory.allowed(user, "/", permission, "anything")
    assert "guest" not in directory.users


def test_permissions_hold_per_user_and_vhost(directory: UserDirectory) -> None:
    alice = User("alice", frozenset())
    assert not directory.may_open(alice, "/")
    directory.set_permissions("alice", "/", "", "^in$", "^(in|out)$")
    assert directory.may_open(alice, "/")
    table = {
        (permission, name): directory.allowed(alice, "/", permission, name)
        for permission in PERMISSIONS
        for name in ("in", "out", "")
    }
    assert {key for key, allowed in table.items() if allowed} == {
        ("write", "in"),
        ("read", "in"),
        ("read", "out"),
    }
    assert not directory.allowed(alice, "/other", "read", "in")
    assert directory.clear_permissions("alice", "/")
    assert not directory.clear_permissions("alice", "/")
    assert not directory.may_open(alice, "/")


def test_opening_needs_some_permission_even_an_empty_one(directory: UserDirectory) -> None:
    directory.set_permissions("alice", "/", "", "", "")
    assert directory.may_open(User("alice", frozenset()), "/")


def test_topic_permissions_restrict_only_their_exchange(directory: UserDirectory) -> None:
    alice = User("alice", frozenset())
    directory.set_topic_permissions("alice", "/", "events", r"^{username}\.", ".*")
    assert directory.topic_allowed(alice, "/", "events", "write", "alice.x")
    assert not directory.topic_allowed(alice, "/", "events", "write", "bob.x")
    assert directory.topic_allowed(alice, "/", "events", "read", "bob.x")
    assert directory.topic_allowed(alice, "/", "others", "write", "bob.x")
    assert directory.topic_allowed(alice, "/v", "events", "write", "bob.x")
    assert directory.clear_topic_permissions("alice", "/", "events")
    assert not directory.clear_topic_permissions("alice", "/", "events")
    assert directory.topic_allowed(alice, "/", "events", "write", "bob.x")


def test_a_deleted_user_may_do_nothing_more(directory: UserDirectory) -> None:
    guest = User("guest", frozenset({"administrator"}))
    assert directory.delete_user("guest")
    assert not directory.delete_user("guest")
    assert not directory.may_open(guest, "/")
    assert not directory.allowed(guest, "/", "read", "q")
    assert not directory.topic_allowed(guest, "/", "x", "read", "k")
    assert directory.check(login()).user is None


def test_a_changed_password_keeps_the_permissions(directory: UserDirectory) -> None:
    directory.put_user("guest", hash_password(b"new"), ("management",))
    assert directory.check(login()).user is None
    user = directory.check(login(password=b"new")).user
    assert user is not None
    assert user.tags == {"management"}
    assert directory.allowed(user, "/", "read", "q")
