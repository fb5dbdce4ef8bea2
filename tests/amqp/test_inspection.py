"""Connections, channels and consumers as the HTTP API describes them."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.amqp.connection import Connection
from harebell.amqp.counting import sum_sessions
from harebell.amqp.inspection import split_address
from tests.support.client import Client
from tests.support.node import Node


@pytest.fixture
def node() -> Node:
    """A broker without sockets."""
    return Node()


@pytest.fixture
def client(node: Node) -> Client:
    """A client that is connected."""
    client = node.connect()
    client.connection.peer = "10.0.0.7:41000 -> 10.0.0.1:5672"
    return client


@pytest.mark.parametrize(
    ("address", "expected"),
    [("1.2.3.4:5", ("1.2.3.4", 5)), ("[::1]:5672", ("::1", 5672)), ("local", ("local", 0))],
)
def test_addresses_are_taken_apart(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


def test_a_connection_tells_its_ends_and_what_was_negotiated(client: Client) -> None:
    table = client.connection.info()
    expected = {
        "name": "10.0.0.7:41000 -> 10.0.0.1:5672",
        "peer_host": "10.0.0.7",
        "peer_port": 41000,
        "host": "10.0.0.1",
        "port": 5672,
        "user": "guest",
        "vhost": "/",
        "state": "running",
        "protocol": "AMQP 0-9-1",
        "frame_max": 131072,
        "channel_max": 2047,
        "channels": 0,
        "ssl": False,
        "timeout": 0,
    }
    assert {key: table[key] for key in expected} == expected


def test_a_connection_counts_octets_in_both_directions(client: Client) -> None:
    before = client.connection.info()
    client.channel()
    after = client.connection.info()
    # The payload of channel.open is 6 octets here, that of open-ok is 8; each frame adds 8.
    assert _grown(before, after, "recv_oct") == 14
    assert _grown(before, after, "send_oct") == 16
    assert _grown(before, after, "recv_cnt") == _grown(before, after, "send_cnt") == 1


def _grown(before: dict[str, Any], after: dict[str, Any], name: str) -> int:
    return int(after[name]) - int(before[name])


def test_a_blocked_connection_says_so(client: Client) -> None:
    client.connection.block("low on memory")
    assert client.connection.info()["state"] == "blocked"


def test_a_connection_says_what_its_tls_session_is(client: Client) -> None:
    client.connection.secure = True
    client.connection.tls = {"ssl_protocol": "tlsv1.3", "peer_cert_subject": "CN=c"}
    table = client.connection.info()
    assert (table["ssl"], table["ssl_protocol"], table["peer_cert_subject"]) == (True, "tlsv1.3", "CN=c")
    assert table["ssl_cipher"] is None


def test_a_channel_tells_its_mode_and_what_is_unanswered(client: Client) -> None:
    channel = client.channel()
    channel.declare_queue("q")
    channel.confirm_select()
    channel.qos(7)
    channel.publish(key="q")
    channel.get("q")
    (table,) = client.connection.channel_infos()
    expected = {
        "name": "10.0.0.7:41000 -> 10.0.0.1:5672 (1)",
        "number": 1,
        "confirm": True,
        "transactional": False,
        "prefetch_count": 7,
        "messages_unacknowledged": 1,
        "messages_unconfirmed": 0,
        "messages_uncommitted": 0,
        "state": "running",
    }
    assert {key: table[key] for key in expected} == expected


def test_a_transaction_shows_what_it_holds_back(client: Client) -> None:
    channel = client.channel()
    channel.declare_queue("q")
    channel.publish(key="q")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    delivery = channel.get("q")
    assert delivery is not None
    channel.publish(key="q")
    channel.ack(delivery.tag)
    (table,) = client.connection.channel_infos()
    assert (table["transactional"], table["messages_uncommitted"], table["acks_uncommitted"]) == (True, 1, 1)


def test_a_channel_counts_what_it_did(client: Client) -> None:
    channel = client.channel()
    channel.declare_queue("q")
    for _ in range(4):
        channel.publish(key="q")
    channel.publish(key="nowhere")
    channel.publish(key="nowhere", mandatory=True)
    for no_ack in (True, False):
        channel.get("q", no_ack=no_ack)
    channel.consume("q", "acking")
    tags = [delivery.tag for delivery in channel.deliveries()]
    channel.nack(tags[0])
    channel.ack(tags[1])
    channel.cancel("acking")
    channel.consume("q", "automatic", no_ack=True)
    channel.get("q")
    opened = client.connection.channels[1]
    counted = {
        name: int(getattr(opened, name))
        for name in ("published", "returned", "dropped", "got", "got_no_ack", "got_empty", "acked")
    }
    assert counted == {
        "published": 6,
        "returned": 1,
        "dropped": 1,
        "got": 1,
        "got_no_ack": 1,
        "got_empty": 1,
        "acked": 1,
    }
    # Two deliveries, and the one that came back once more.
    assert (int(opened.delivered()), int(opened.redelivered)) == (3, 1)


def test_consumers_tell_which_of_them_is_served(client: Client) -> None:
    channel = client.channel()
    channel.declare_queue("q", arguments={"x-single-active-consumer": True})
    for tag in ("first", "second"):
        channel.consume("q", tag)
    found = {table["consumer_tag"]: table for table in client.connection.consumer_infos()}
    assert (found["first"]["active"], found["first"]["activity_status"]) == (True, "single_active")
    assert (found["second"]["active"], found["second"]["activity_status"]) == (False, "waiting")
    assert found["first"]["queue"] == {"name": "q", "vhost": "/"}
    details: Any = found["first"]["channel_details"]
    assert (details["number"], details["user"], details["peer_port"]) == (1, "guest", 41000)


def test_sums_over_connections_are_by_virtual_host(node: Node, client: Client) -> None:
    node.connect().channel()
    publishing = client.channel()
    publishing.confirm_select()
    publishing.declare_queue("q")
    publishing.publish(key="q")
    publishing.consume("q", "t")
    totals = sum_sessions(node.broker.sessions)["/"]
    counted = (totals.connections, totals.channels, totals.consumers, totals.publishers, totals.confirmed)
    assert tuple(map(int, counted)) == (2, 2, 1, 1, 1)
    assert totals.received_octets == sum(
        session.received_octets for session in node.broker.sessions if isinstance(session, Connection)
    )
