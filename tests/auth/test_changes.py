"""Changes of the directory: each can be journalled, repeated, and all of them make up a directory again."""

from __future__ import annotations

import pytest

from harebell.auth import changes
from harebell.auth.backends import UserDirectory
from harebell.auth.passwords import hash_password
from harebell.content.table import decode_table, encode_table
from harebell.engine.commands import ChangeAccess, decode, encode
from harebell.ports import Login, User
from tests.support.logins import checked

SHA, ARGON = hash_password(b"secret"), hash_password(b"secret", "argon2id")

EVERY_CHANGE = (
    changes.put_user("alice", SHA, ("administrator", "b")),
    changes.put_user("alice", ARGON, ("b", "administrator")),
    changes.put_user("machine \udcff", None, ()),
    changes.set_limits("alice", {"max-channels": 2**40, "max-connections": -1}),
    changes.set_permissions("alice", "/", "a", "", ".*"),
    changes.set_permissions("alice", "shop", "", "", ""),
    changes.set_permissions("machine \udcff", "/", "é", "b", "c"),
    changes.clear_permissions("alice", "shop"),
    changes.set_topic_permissions("alice", "/", "amq.topic", "^{username}", ""),
    changes.set_topic_permissions("alice", "/", "", "x", "y"),
    changes.set_topic_permissions("alice", "/", "gone", "x", "y"),
    changes.set_topic_permissions("alice", "shop", "t", "x", "y"),
    changes.clear_topic_permissions("alice", "/", "gone"),
    changes.clear_topic_permissions("alice", "shop", None),
    changes.put_user("short", SHA, ()),
    changes.delete_user("short"),
)


@pytest.fixture
def directory() -> UserDirectory:
    made = UserDirectory()
    for change in EVERY_CHANGE:
        made.apply(*change)
    return made


def test_changes_are_applied(directory: UserDirectory) -> None:
    assert list(directory.users) == ["alice", "machine \udcff"]
    alice = directory.users["alice"]
    assert (alice.password, alice.tags) == (ARGON, ("b", "administrator"))
    assert alice.limits == {"max-channels": 2**40, "max-connections": -1}
    assert {vhost: granted.texts() for vhost, granted in alice.permissions.items()} == {"/": ("a", "", ".*")}
    assert {place: granted.texts() for place, granted in alice.topic_permissions.items()} == {
        ("/", "amq.topic"): ("^{username}", ""),
        ("/", ""): ("x", "y"),
    }
    assert directory.users["machine \udcff"].password is None


def test_a_directory_is_the_same_after_its_own_changes(directory: UserDirectory) -> None:
    again = UserDirectory()
    for kind, change in directory.changes():
        again.apply(kind, change)
    assert list(again.changes()) == list(directory.changes())


def test_every_change_can_be_written_down() -> None:
    for kind, change in EVERY_CHANGE:
        encoded = encode_table(change)
        assert decode_table(encoded, 4, len(encoded)) == change
        assert decode(encode(ChangeAccess(kind, change))) == ChangeAccess(kind, change)


def test_changes_that_the_journal_repeats_are_no_error(directory: UserDirectory) -> None:
    listed = list(directory.changes())
    for change in (*EVERY_CHANGE[:8], *listed, changes.delete_user("short"), *listed):
        directory.apply(*change)
    assert list(directory.changes()) == listed


def test_what_belongs_to_a_user_who_is_gone_is_a_key_error(directory: UserDirectory) -> None:
    for kind, change in EVERY_CHANGE:
        if kind not in (changes.PUT_USER, changes.DELETE_USER):
            with pytest.raises(KeyError):
                directory.apply(kind, {**change, "name": "short"})
    with pytest.raises(KeyError):
        directory.apply("of a later version", {})


def test_a_change_tells_where_permissions_are_others_now(directory: UserDirectory) -> None:
    expected = {
        changes.PUT_USER: [],
        changes.SET_LIMITS: [],
        changes.DELETE_USER: [],
        changes.SET_PERMISSIONS: ["/"],
        changes.CLEAR_PERMISSIONS: ["/"],
        changes.SET_TOPIC_PERMISSIONS: ["/"],
        changes.CLEAR_TOPIC_PERMISSIONS: ["/"],
    }
    for kind, change in EVERY_CHANGE:
        named = {**change, "name": "alice"} if kind != changes.DELETE_USER else change
        assert list(directory.apply(kind, {**named, "vhost": "/"})) == expected[kind], kind
    directory.set_permissions("alice", "/", "", "", "")
    directory.set_permissions("alice", "shop", "", "", "")
    assert list(directory.apply(*changes.delete_user("alice"))) == ["/", "shop"]


def test_a_virtual_host_that_goes_takes_everything_granted_in_it(directory: UserDirectory) -> None:
    directory.set_topic_permissions("alice", "shop", "t", "x", "y")
    directory.set_permissions("alice", "shop", "x", "y", "z")
    directory.forget_vhost("/")
    alice = directory.users["alice"]
    assert list(alice.permissions) == ["shop"]
    assert list(alice.topic_permissions) == [("shop", "t")]


def test_passwords_are_not_in_a_change(directory: UserDirectory) -> None:
    assert all(b"secret" not in encode_table(change) for _, change in directory.changes())
    assert checked(directory, Login("PLAIN", "alice", b"secret", "127.0.0.1")).user is not None


def test_limits_are_those_of_the_user(directory: UserDirectory) -> None:
    alice, nobody = User("alice", frozenset()), User("nobody", frozenset())
    assert directory.limit(alice, "max-channels") == 2**40
    assert directory.limit(alice, "max-connections") == -1
    assert directory.limit(nobody, "max-channels") == -1
