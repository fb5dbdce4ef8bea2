"""The directory of users: who gets in from where, and what they may do."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from statistics import median

import pytest

from harebell.auth.attempts import LoginAttempts
from harebell.auth.backends import UserDirectory, default_directory, is_loopback
from harebell.auth.passwords import hash_password
from harebell.auth.permissions import PERMISSIONS
from harebell.ports import Login, User
from tests.support.logins import checked

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
        ("guest", b"wrong", HERE, "invalid credentials"),
        ("guest", b"wrong", AWAY, "invalid credentials"),
        ("guest", b"", HERE, "invalid credentials"),
        ("alice", b"secret", AWAY, None),
        ("alice", b"guest", HERE, "invalid credentials"),
        ("Alice", b"secret", HERE, "invalid credentials"),
        ("nobody", b"", HERE, "invalid credentials"),
        ("nobody", b"secret", HERE, "invalid credentials"),
        ("machine", b"", HERE, "invalid credentials"),
        ("blank", b"", HERE, "invalid credentials"),
        ("", b"", HERE, "invalid credentials"),
    ],
)
def test_logging_in_by_password(
    directory: UserDirectory, mechanism: str, username: str, password: bytes, peer: str, reason: str | None
) -> None:
    outcome = checked(directory, login(username, password, peer, mechanism))
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
    outcome = checked(directory, login("alice", b"secret", peer, "EXTERNAL", certificate_name))
    assert (outcome.user and outcome.user.name) == user


def test_an_unknown_mechanism_lets_nobody_in(directory: UserDirectory) -> None:
    assert checked(directory, login(mechanism="ANONYMOUS")).user is None
    assert checked(directory, login(mechanism="ANONYMOUS", certificate_name="alice")).user is None


def test_authenticate_answers_with_the_user_and_its_tags(directory: UserDirectory) -> None:
    answers: list[User | None] = []
    directory.authenticate(login("alice", b"secret"), answers.append)
    directory.authenticate(login("alice", b"wrong"), answers.append)
    assert answers[0] is not None
    assert (answers[0].name, answers[0].tags) == ("alice", frozenset({"monitoring"}))
    assert answers[1] is None


class Loop:
    """Takes answers from the threads that verify passwords."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run(self) -> None:
        """Wait for an answer and let it happen."""
        self._posted.get(timeout=20)()

    def post(self, callback: Callable[[], None]) -> None:
        self._posted.put(callback)


@pytest.fixture
def loop(directory: UserDirectory) -> Iterator[Loop]:
    """A directory whose alice has a password that takes long to verify."""
    made = Loop()
    directory.put_user("alice", hash_password(b"secret", "argon2id"), ("monitoring",))
    directory.passwords.begin(made.post)
    yield made
    directory.passwords.stop()


def test_a_password_that_takes_long_is_answered_later(directory: UserDirectory, loop: Loop) -> None:
    answers: list[User | None] = []
    directory.authenticate(login("alice", b"secret"), answers.append)
    assert answers == []
    loop.run()
    assert answers[0] is not None
    directory.authenticate(login("alice", b"secret", AWAY), answers.append)
    assert answers[1] is not None, "a password that was verified is remembered"
    assert directory.attempts.counts["amqp"].succeeded == 2


def test_who_is_deleted_meanwhile_does_not_get_in(directory: UserDirectory, loop: Loop) -> None:
    answers: list[User | None] = []
    directory.authenticate(login("alice", b"secret"), answers.append)
    directory.delete_user("alice")
    loop.run()
    assert answers == [None]


def test_neither_does_who_has_another_password_by_now(directory: UserDirectory, loop: Loop) -> None:
    answers: list[User | None] = []
    for change in (hash_password(b"other"), None):
        attempt = login("alice", b"secret")
        directory.put_user("alice", hash_password(b"secret", "argon2id"))
        directory.authenticate(attempt, answers.append)
        directory.put_user("alice", change)
        loop.run()
        assert attempt.refusal == "invalid credentials"
    assert answers == [None, None]


def test_who_was_deleted_and_made_again_meanwhile_does_not_either(
    directory: UserDirectory, loop: Loop
) -> None:
    answers: list[User | None] = []
    password = directory.users["alice"].password
    directory.authenticate(login("alice", b"secret"), answers.append)
    directory.delete_user("alice")
    directory.put_user("alice", password)
    loop.run()
    assert answers == [None]


def test_wrong_passwords_are_slowed_down_even_before_the_right_one(directory: UserDirectory) -> None:
    for _ in range(10):
        assert checked(directory, login("alice", b"wrong")).reason == "invalid credentials"
    slowed = checked(directory, login("alice", b"secret"))
    assert slowed.user is None
    assert slowed.reason.startswith("too many failed attempts: the next is looked at in 0.")
    assert checked(directory, login("alice", b"secret", AWAY)).user is not None
    assert checked(directory, login("guest", b"guest")).user is not None
    counts = directory.attempts.counts["amqp"]
    assert (counts.succeeded, counts.failed, counts.slowed) == (2, 11, 1)


def test_so_are_those_for_a_user_who_does_not_exist(directory: UserDirectory) -> None:
    for _ in range(10):
        checked(directory, login("nobody", b"wrong"))
    assert checked(directory, login("nobody", b"wrong")).reason.startswith("too many")


def test_certificates_are_not_guessed_and_never_slowed_down(directory: UserDirectory) -> None:
    for _ in range(50):
        checked(directory, login("", b"", AWAY, "EXTERNAL", "unknown"))
    assert checked(directory, login("", b"", AWAY, "EXTERNAL", "machine")).user is not None
    assert directory.attempts.counts["amqp"].failed == 50


def test_which_users_are_bound_to_loopback_is_a_setting() -> None:
    assert checked(default_directory(loopback_users=()), login(peer=AWAY)).user is not None
    bound = default_directory("admin", b"pw", loopback_users=("admin",))
    assert checked(bound, login("admin", b"pw", AWAY)).user is None
    assert checked(bound, login("admin", b"pw", HERE)).user is not None


def test_an_unknown_user_takes_as_long_as_a_wrong_password(directory: UserDirectory) -> None:
    directory.attempts = LoginAttempts(0)

    def typical(username: str) -> float:
        attempt = login(username, b"x" * 64)
        spans = []
        for _ in range(400):
            start = time.perf_counter()
            checked(directory, attempt)
            spans.append(time.perf_counter() - start)
        return median(spans)

    known, unknown = typical("alice"), typical("nobody")
    assert 1 / 3 < known / unknown < 3, "an unknown user must cost one hash, as a known one does"


def test_so_does_one_whose_hash_was_imported_where_others_take_long() -> None:
    directory = UserDirectory(hashing="argon2id")
    directory.put_user("imported", hash_password(b"secret"))
    for username in ("imported", "nobody"):
        before = directory.passwords.hashed
        outcome = checked(directory, login(username, b"wrong"))
        assert (outcome.user, outcome.reason) == (None, "invalid credentials")
        assert directory.passwords.hashed == before + 1
    before = directory.passwords.hashed
    assert checked(directory, login("imported", b"secret")).user is not None
    assert directory.passwords.hashed == before
    assert directory.attempts.counts["amqp"].failed == 2


def test_the_default_user_administrates_one_vhost() -> None:
    directory = default_directory("root", b"pw", "/shop")
    user = checked(directory, login("root", b"pw")).user
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
    assert checked(directory, login()).user is None


def test_a_changed_password_keeps_the_permissions(directory: UserDirectory) -> None:
    directory.put_user("guest", hash_password(b"new"), ("management",))
    assert checked(directory, login()).user is None
    user = checked(directory, login(password=b"new")).user
    assert user is not None
    assert user.tags == {"management"}
    assert directory.allowed(user, "/", "read", "q")
