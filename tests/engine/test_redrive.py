"""Sending dead letters back where they came from."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.redrive import GONE, MOVED, REFUSED, UNROUTABLE, Target, Waiting, redrive, waiting
from harebell.paging import FLAGGED
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000


@pytest.fixture
def node(journal: DelayedJournal) -> Node:
    """A topic exchange, a work queue, and a queue of its dead letters."""
    node = Node(journal)
    node.clock.wall = START
    channel = node.connect().channel()
    channel.declare_exchange("orders", "topic", durable=True)
    channel.declare_queue("dead", durable=True)
    arguments: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.declare_queue("work", durable=True, arguments=arguments)
    channel.bind("work", "orders", "order.*")
    return node


def fail(channel: ClientChannel, *bodies: bytes, key: str = "order.new") -> None:
    """Publish to the exchange, and have each message rejected."""
    for body in bodies:
        channel.publish(
            body, exchange="orders", key=key, properties=commands.Basic.Properties(delivery_mode=2)
        )
        delivery = channel.get("work")
        assert delivery is not None
        channel.reject(delivery.tag, requeue=False)


def dead(node: Node, name: str = "dead") -> list[Waiting]:
    found = node.queue(name).browse(100)
    return [waiting(position, message, returns & FLAGGED != 0) for position, message, returns in found]


def send_back(node: Node, batch: list[Waiting], to: Target | None = None) -> dict[str, int]:
    counts = redrive(node.broker, node.vhost, node.queue("dead"), batch, to)
    node.turn()
    return {what: count for what, count in counts.items() if count}


def headers(delivery: Any) -> dict[str, Any]:
    found: dict[str, Any] = delivery.properties.headers
    return found


def test_a_message_goes_back_to_its_exchange_and_key_with_its_history(node: Node) -> None:
    channel = node.connect().channel()
    fail(channel, b"a", b"b")
    assert [found.deaths[0].reason for found in dead(node)] == ["rejected", "rejected"]
    assert send_back(node, dead(node)) == {MOVED: 2}
    assert node.queue("dead").ready_count() == 0
    delivery = channel.get("work")
    assert delivery is not None
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"a", "orders", "order.new")
    assert not delivery.redelivered, "it is a message anew"
    assert headers(delivery)["x-death"][0]["count"] == 1
    assert headers(delivery)["x-redriven"] == 1


def test_it_counts_how_often_it_was_sent_back(node: Node) -> None:
    channel = node.connect().channel()
    fail(channel, b"a")
    for turn in (1, 2, 3):
        assert send_back(node, dead(node)) == {MOVED: 1}
        delivery = channel.get("work")
        assert delivery is not None and headers(delivery)["x-redriven"] == turn
        channel.reject(delivery.tag, requeue=False)
    assert dead(node)[0].redriven == 3
    assert dead(node)[0].deaths[0].times == 4


def test_leaving_and_entering_are_one_step_of_the_journal(node: Node, journal: DelayedJournal) -> None:
    fail(node.connect().channel(), b"a")
    before = len(journal.records)
    send_back(node, dead(node))
    kinds = [record[0] for record in journal.records[before:]]
    assert kinds == ["begin", "message", "settle", "end"]


def test_what_no_queue_takes_stays(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    fail(channel, b"a")
    channel.unbind("work", "orders", "order.*")
    assert send_back(node, dead(node)) == {UNROUTABLE: 1}
    channel.delete_exchange("orders")
    assert send_back(node, dead(node)) == {UNROUTABLE: 1}
    assert node.queue("dead").ready_count() == 1


def test_what_says_nothing_of_its_past_needs_a_target(node: Node) -> None:
    channel = node.connect().channel()
    channel.publish(b"direct", key="dead")
    assert send_back(node, dead(node)) == {UNROUTABLE: 1}
    assert send_back(node, dead(node), Target("", "work")) == {MOVED: 1}
    delivery = channel.get("work")
    assert delivery is not None and delivery.routing_key == "work"


def test_a_message_is_never_sent_into_the_queue_it_is_in(node: Node) -> None:
    fail(node.connect().channel(), b"a")
    assert send_back(node, dead(node), Target("", "dead")) == {UNROUTABLE: 1}
    assert node.queue("dead").ready_count() == 1


def test_a_full_queue_leaves_the_rest_in_place_and_in_order(node: Node) -> None:
    channel = node.connect().channel()
    fail(channel, b"a", b"b", b"c")
    channel.declare_queue("small", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    assert send_back(node, dead(node), Target("", "small")) == {MOVED: 2, REFUSED: 1}
    assert [found.message.body for found in dead(node)] == [b"c"]
    assert [found.message.body for found in dead(node, "small")] == [b"a", b"b"]


def test_what_a_consumer_had_first_is_gone(node: Node) -> None:
    channel = node.connect().channel()
    fail(channel, b"a", b"b")
    batch = dead(node)
    assert channel.get("dead", no_ack=True) is not None
    assert send_back(node, batch) == {MOVED: 1, GONE: 1}
    assert node.queue("work").ready_count() == 1


def test_a_few_from_the_middle_leave_the_others_as_they_were(node: Node) -> None:
    fail(node.connect().channel(), b"a", b"b", b"c", b"d")
    batch = [found for found in dead(node) if found.message.body in (b"b", b"d")]
    assert send_back(node, batch) == {MOVED: 2}
    assert [found.message.body for found in dead(node)] == [b"a", b"c"]


@pytest.mark.parametrize("history", ["text", 7, [], ["no table"], [{"routing-keys": "x"}], [{}]])
def test_a_history_a_client_wrote_badly_is_no_origin(node: Node, history: Any) -> None:
    channel = node.connect().channel()
    properties = commands.Basic.Properties(headers={"x-death": history, "x-redriven": "often"})
    channel.publish(b"a", key="dead", properties=properties)
    assert send_back(node, dead(node)) == {UNROUTABLE: 1}
