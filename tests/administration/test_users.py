"""Users, permissions and limits: what may be set, how it is shown, and what a change does at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pamqp import commands

from harebell.administration.administration import Administration
from harebell.administration.users import (
    clear_permissions,
    clear_topic_permissions,
    clear_user_limit,
    delete_user,
    get_permissions,
    get_user,
    list_permissions,
    list_topic_permissions,
    list_user_limits,
    list_users,
    list_users_without_permissions,
    login_attempts,
    put_user,
    read_password_hash,
    set_permissions,
    set_topic_permissions,
    set_user_limit,
    set_user_limits,
)
from harebell.auth.passwords import hash_password
from harebell.engine.commands import CreateVhost, DeleteVhost
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.ports import Login
from tests.support.administration import administration_of
from tests.support.client import Client
from tests.support.journal import DelayedJournal
from tests.support.logins import checked
from tests.support.node import Node

NESTED: list[Any] = []
"""Deeper than Python shows."""
for _ in range(2000):
    NESTED = [NESTED]

HASH = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def admin(node: Node) -> Administration:
    node.broker.commit(CreateVhost("shop"), durable=True)
    made = administration_of(node)
    put_user(made, "alice", read_password_hash(HASH), ("management",))
    return made


def connect(node: Node, username: str = "alice", vhost: str = "/") -> Client:
    client = node.client()
    client.open(vhost, username=username, password="test12")
    return client


# users


def test_users_are_shown_as_rabbitmq_shows_them(admin: Administration) -> None:
    put_user(admin, "bob", None, ["b", "a", "b"])
    assert get_user(admin, "alice") == {
        "name": "alice",
        "password_hash": HASH,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["management"],
        "limits": {},
    }
    assert get_user(admin, "bob") == {
        "name": "bob",
        "password_hash": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["b", "a"],
        "limits": {},
    }
    assert [user["name"] for user in list_users(admin)] == ["alice", "bob", "guest"]
    assert [user["name"] for user in list_users_without_permissions(admin)] == ["alice", "bob"]


def test_a_user_put_again_keeps_permissions_and_limits(admin: Administration) -> None:
    set_permissions(admin, "/", "alice", "a", "b", "c")
    set_user_limit(admin, "alice", "max-channels", 7)
    put_user(admin, "alice", None, ())
    shown = get_user(admin, "alice")
    assert (shown["password_hash"], shown["tags"], shown["limits"]) == ("", [], {"max-channels": 7})
    assert get_permissions(admin, "/", "alice")["configure"] == "a"


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
def test_a_name_that_cannot_be_one_is_refused(admin: Administration, name: str) -> None:
    with pytest.raises(BrokerError) as refused:
        put_user(admin, name, None, ())
    assert refused.value.row is PRECONDITION_FAILED
    assert len(list_users(admin)) == 2


@pytest.mark.parametrize("tag", ["\ud800", 5, None])
def test_so_is_a_tag(admin: Administration, tag: Any) -> None:
    with pytest.raises(BrokerError) as refused:
        put_user(admin, "bob", None, (tag,))
    assert refused.value.row is PRECONDITION_FAILED


def test_an_empty_hash_is_no_password() -> None:
    assert read_password_hash("") is None
    assert read_password_hash(HASH, "SHA256") == read_password_hash(HASH)


def test_every_change_is_journalled_and_its_answer_waits_for_it() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    admin = administration_of(node)
    lsns = [
        put_user(admin, "bob", hash_password(b"x"), ()),
        set_permissions(admin, "/", "bob", "", "", ""),
        set_topic_permissions(admin, "/", "bob", "t", "", ""),
        set_user_limit(admin, "bob", "max-channels", 1),
        clear_user_limit(admin, "bob", "max-channels"),
        clear_topic_permissions(admin, "/", "bob"),
        clear_permissions(admin, "/", "bob"),
        delete_user(admin, "bob"),
    ]
    assert lsns == sorted(set(lsns))
    assert lsns[0] > 0
    recovered = Node()
    for _, command in journal.records:
        recovered.broker.replay(command)  # type: ignore[arg-type]
    assert "bob" not in recovered.users.users
    assert not recovered.broker.not_replayed


def test_deleting_a_user_closes_the_connections_of_that_user_only(node: Node, admin: Administration) -> None:
    set_permissions(admin, "/", "alice", ".*", ".*", ".*")
    first, second, guest = connect(node), connect(node), node.connect()
    delete_user(admin, "alice")
    admin.host.turn()
    for client in (first, second):
        client.expect_close(320, 0, "CONNECTION_FORCED - user 'alice' is deleted")
    guest.expect_silence()
    assert len(node.broker.sessions) == 1
    assert get_user(admin, "guest")["tags"] == ["administrator"]


def test_a_user_deleted_between_login_and_open_gets_in_no_further(node: Node, admin: Administration) -> None:
    set_permissions(admin, "/", "alice", ".*", ".*", ".*")
    client = node.client()
    client.start()
    client.start_ok("alice", "test12")
    client.expect(commands.Connection.Tune)
    delete_user(admin, "alice")
    client.tune_ok()
    client.send(0, commands.Connection.Open(virtual_host="/"))
    client.expect_close(530, commands.Connection.Open, "access to vhost '/' refused for user 'alice'")


# permissions


def test_permissions_are_shown_by_vhost_and_by_user(admin: Administration) -> None:
    set_permissions(admin, "/", "alice", "a", "b", "")
    set_permissions(admin, "shop", "alice", "", "", ".*")
    first = {"user": "alice", "vhost": "/", "configure": "a", "write": "b", "read": ""}
    second = {"user": "alice", "vhost": "shop", "configure": "", "write": "", "read": ".*"}
    guest = {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    assert list_permissions(admin) == [first, second, guest]
    assert list_permissions(admin, "/") == [first, guest]
    assert list_permissions(admin, user="alice") == [first, second]
    assert list_permissions(admin, "shop", "alice") == [second]
    assert get_permissions(admin, "shop", "alice") == second
    clear_permissions(admin, "/", "alice")
    assert list_permissions(admin, "/") == [guest]


def test_topic_permissions_are_shown_by_vhost_and_by_user(admin: Administration) -> None:
    set_topic_permissions(admin, "/", "alice", "t", "a", "b")
    set_topic_permissions(admin, "/", "alice", "u", "c", "d")
    first = {"user": "alice", "vhost": "/", "exchange": "t", "write": "a", "read": "b"}
    second = {"user": "alice", "vhost": "/", "exchange": "u", "write": "c", "read": "d"}
    assert list_topic_permissions(admin) == [first, second]
    assert list_topic_permissions(admin, "/") == [first, second]
    assert list_topic_permissions(admin, "shop") == []
    assert list_topic_permissions(admin, user="guest") == []
    clear_topic_permissions(admin, "/", "alice", "t")
    clear_topic_permissions(admin, "/", "alice", "never was")
    assert list_topic_permissions(admin) == [second]
    clear_topic_permissions(admin, "/", "alice")
    assert list_topic_permissions(admin) == []


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("pattern", ["(", "[[:alpha:]]", "\ud800"])
def test_what_is_no_regular_expression_is_refused(admin: Administration, place: int, pattern: str) -> None:
    patterns = ["", "", ""]
    patterns[place] = pattern
    with pytest.raises(BrokerError) as refused:
        set_permissions(admin, "/", "alice", *patterns)
    assert refused.value.row is PRECONDITION_FAILED
    assert list_permissions(admin, "/", "alice") == []
    if place:
        with pytest.raises(BrokerError) as refused:
            set_topic_permissions(admin, "/", "alice", "t", *patterns[1:])
        assert refused.value.row is PRECONDITION_FAILED


def test_a_change_of_permissions_holds_at_once_for_connections_that_are_open(
    node: Node, admin: Administration
) -> None:
    set_permissions(admin, "/", "alice", ".*", ".*", ".*")
    client = connect(node)
    channel = client.channel()
    channel.declare_queue("q")
    channel.publish(b"one", exchange="", key="q")
    assert node.queue("q").ready_count() == 1
    set_permissions(admin, "/", "alice", ".*", "^q$", ".*")
    channel.publish(b"two", exchange="", key="q")
    channel.expect_close(403, commands.Basic.Publish, "access to exchange 'amq.default' in vhost '/'")
    assert node.queue("q").ready_count() == 1
    clear_permissions(admin, "/", "alice")
    other = client.channel(2)
    other.send(commands.Queue.Declare(queue="q"))
    other.expect_close(403, commands.Queue.Declare, "refused for user 'alice'")
    set_permissions(admin, "/", "alice", ".*", ".*", ".*")
    third = client.channel(3)
    third.publish(b"three", exchange="", key="q")
    assert node.queue("q").ready_count() == 2


def test_a_change_of_topic_permissions_holds_at_once_too(node: Node, admin: Administration) -> None:
    set_permissions(admin, "/", "alice", ".*", ".*", ".*")
    channel = connect(node).channel()
    channel.publish(b"one", exchange="amq.topic", key="a.b")
    set_topic_permissions(admin, "/", "alice", "amq.topic", "^b", ".*")
    channel.publish(b"two", exchange="amq.topic", key="a.b")
    channel.expect_close(403, commands.Basic.Publish, "access to topic 'a.b' in exchange 'amq.topic'")


def test_permissions_go_with_their_virtual_host(node: Node, admin: Administration) -> None:
    set_permissions(admin, "shop", "alice", "a", "b", "c")
    set_topic_permissions(admin, "shop", "alice", "t", "b", "c")
    node.broker.commit(DeleteVhost("shop"), durable=True)
    assert list_permissions(admin, user="alice") == []
    assert list_topic_permissions(admin, user="alice") == []
    node.broker.commit(CreateVhost("shop"), durable=True)
    assert list_permissions(admin, "shop") == []


# limits


def test_limits_are_shown_with_the_user_and_alone(admin: Administration) -> None:
    assert list_user_limits(admin) == []
    set_user_limit(admin, "alice", "max-connections", 5)
    set_user_limit(admin, "alice", "max-channels", -1)
    both = {"max-channels": -1, "max-connections": 5}
    assert list_user_limits(admin) == [{"user": "alice", "value": both}]
    assert list_user_limits(admin, "guest") == []
    assert get_user(admin, "alice")["limits"] == both
    clear_user_limit(admin, "alice", "max-channels")
    assert clear_user_limit(admin, "alice", "max-channels") == 0
    assert list_user_limits(admin, "alice") == [{"user": "alice", "value": {"max-connections": 5}}]
    set_user_limits(admin, "alice", {})
    assert list_user_limits(admin) == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max-foo": 1}, 'Unrecognised terms [{<<"max-foo">>,1}] in user-limits'),
        ({"max-channels": "x"}, 'max-channels should be a number, actually was <<"x">>'),
        ({"max-channels": True}, "max-channels should be a number"),
        ({"max-channels": 1.5}, "max-channels should be a number"),
        ({"max-channels": None}, "max-channels should be a number"),
        ({"max-channels": NESTED}, "max-channels should be a number"),
        ({"max-channels": 2**63}, "max-channels should be a number"),
        ([], "object"),
        (5, "object"),
    ],
)
def test_limits_that_cannot_be_are_refused_in_rabbitmqs_words(
    admin: Administration, limits: object, words: str
) -> None:
    with pytest.raises(BrokerError) as refused:
        set_user_limits(admin, "alice", limits)
    assert refused.value.row is PRECONDITION_FAILED
    assert words in refused.value.text
    assert list_user_limits(admin) == []


# what is not there

LOST: list[Callable[[Administration, str, str], object]] = [
    lambda admin, vhost, user: set_permissions(admin, vhost, user, "", "", ""),
    lambda admin, vhost, user: clear_permissions(admin, vhost, user),
    lambda admin, vhost, user: get_permissions(admin, vhost, user),
    lambda admin, vhost, user: list_permissions(admin, vhost, user),
    lambda admin, vhost, user: set_topic_permissions(admin, vhost, user, "t", "", ""),
    lambda admin, vhost, user: clear_topic_permissions(admin, vhost, user),
    lambda admin, vhost, user: clear_topic_permissions(admin, vhost, user, "t"),
    lambda admin, vhost, user: list_topic_permissions(admin, vhost, user),
]


@pytest.mark.parametrize("operation", LOST)
@pytest.mark.parametrize(("vhost", "user"), [("/", "nobody"), ("nowhere", "alice"), ("nowhere", "nobody")])
def test_without_the_user_or_the_vhost_it_is_not_found(
    admin: Administration, operation: Callable[[Administration, str, str], object], vhost: str, user: str
) -> None:
    with pytest.raises(BrokerError) as refused:
        operation(admin, vhost, user)
    assert refused.value.row is NOT_FOUND


@pytest.mark.parametrize(
    "operation",
    [
        lambda admin: delete_user(admin, "nobody"),
        lambda admin: get_user(admin, "nobody"),
        lambda admin: set_user_limit(admin, "nobody", "max-channels", 1),
        lambda admin: set_user_limits(admin, "nobody", {}),
        lambda admin: clear_user_limit(admin, "nobody", "max-channels"),
        lambda admin: list_user_limits(admin, "nobody"),
        lambda admin: clear_permissions(admin, "/", "alice"),
        lambda admin: clear_topic_permissions(admin, "/", "alice"),
    ],
)
def test_what_is_not_there_is_not_found(
    admin: Administration, operation: Callable[[Administration], object]
) -> None:
    with pytest.raises(BrokerError) as refused:
        operation(admin)
    assert refused.value.row is NOT_FOUND


# attempts to log in


def test_logins_are_counted_by_protocol(admin: Administration) -> None:
    directory = admin.directory
    for password in (b"test12", b"test12", b"wrong"):
        checked(directory, Login("PLAIN", "alice", password, "127.0.0.1"))
    checked(directory, Login("BASIC", "alice", b"test12", "127.0.0.1", protocol="http"))
    assert login_attempts(admin) == [
        {
            "protocol": "amqp",
            "auth_attempts": 3,
            "auth_attempts_failed": 1,
            "auth_attempts_succeeded": 2,
        },
        {
            "protocol": "http",
            "auth_attempts": 1,
            "auth_attempts_failed": 0,
            "auth_attempts_succeeded": 1,
        },
    ]
