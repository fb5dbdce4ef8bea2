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
