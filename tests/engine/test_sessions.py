"""The list of open connections."""

from __future__ import annotations

from harebell.engine.sessions import Sessions
from tests.support.node import Node


def test_ids_start_at_1_and_are_never_reused() -> None:
    sessions = Sessions()
    assert [sessions.next_id() for _ in range(3)] == [1, 2, 3]


def test_only_open_connections_are_listed(node: Node) -> None:
    stranger, client = node.client(), node.connect()
    stranger.start()
    assert list(node.broker.sessions) == [client.connection]
    client.close()
    assert len(node.broker.sessions) == 0
    client.hang_up()
    stranger.hang_up()
    assert list(node.broker.sessions) == []


def test_a_session_may_be_closed_while_they_are_listed(node: Node) -> None:
    for _ in range(3):
        node.connect()
    for session in node.broker.sessions:
        session.close_session("shutdown")
    assert len(node.broker.sessions) == 0


def test_the_connections_of_a_user_are_known(node: Node) -> None:
    sessions = node.broker.sessions
    node.users.put_user("u", node.users.users["guest"].password)
    node.users.set_permissions("u", "/", "", "", "")
    guest = node.connect()
    mine = node.client(), node.client()
    for client in mine:
        client.open(username="u")
    assert sessions.of("u") == [client.connection for client in mine]
    assert (sessions.count("u"), sessions.count("guest"), sessions.count("nobody")) == (2, 1, 0)
    mine[0].close()
    assert sessions.of("u") == [mine[1].connection]
    mine[1].hang_up()
    guest.close()
    assert sessions.of("u") == sessions.of("guest") == []
    assert not sessions._by_user, "users without a connection are forgotten"
