"""Pausing queues: nothing is delivered, everything is taken, and it ends when it is to end."""

from __future__ import annotations

import pytest
from pamqp.common import FieldTable

from harebell.engine.commands import ChangeAccess, PauseQueue
from harebell.engine.deadlines import NEVER
from harebell.engine.inspection import queue_table
from harebell.engine.metadata import snapshot
from harebell.engine.pausing import pause_queue, resume_queue
from harebell.engine.topology import Caller
from harebell.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, BrokerError, ErrorRow
from harebell.ports import User
from tests.support.client import ClientChannel
from tests.support.node import Node

GUEST = User("guest", frozenset())
KINDS = [
    {"x-queue-type": "classic"},
    {"x-queue-type": "quorum"},
    {"x-max-priority": 2},
    {"x-group-header": "key"},
    {"x-single-active-consumer": True},
    {"x-max-length": 100, "x-delivery-rate": 1_000_000},
]


def caller(node: Node, user: User = GUEST) -> Caller:
    return Caller(node.broker, node.vhost, user, 0)


def state(node: Node) -> tuple[object, object]:
    table = queue_table(node.vhost, node.queue("q"), "node")
    return table["state"], table.get("paused")


@pytest.mark.parametrize("arguments", KINDS)
def test_a_paused_queue_takes_and_does_not_deliver(
    node: Node, channel: ClientChannel, arguments: FieldTable
) -> None:
    channel.declare_queue("q", durable=True, arguments=arguments)
    channel.consume("q", no_ack=True)
    channel.publish(b"before", key="q")
    pause_queue(caller(node), "q", None, "deploying")
    channel.publish(b"during", key="q")
    node.advance(1_000_000)
    assert channel.bodies() == [b"before"]
    assert channel.get("q") is None
    assert channel.ready("q") == 1 and node.queue("q").consumer_count() == 1
    assert state(node) == ("paused", {"until": None, "reason": "deploying"})
    resume_queue(caller(node), "q")
    node.turn()
    channel.publish(b"after", key="q")
    assert channel.bodies() == [b"during", b"after"]
    assert state(node) == ("running", None)


def test_a_pause_ends_by_itself(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", no_ack=True)
    pause_queue(caller(node), "q", 5_000, "")
    channel.publish(b"x", key="q")
    node.advance(4_999)
    assert channel.bodies() == []
    node.advance(1)
    node.turn()
    assert channel.bodies() == [b"x"]
    assert state(node) == ("running", None) and node.queue("q").brake is None


def test_an_empty_queue_resumes_by_itself_too(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    pause_queue(caller(node), "q", 10, "")
    node.advance(10)
    assert state(node) == ("running", None)


def test_the_last_pause_counts(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    pause_queue(caller(node), "q", 10, "short")
    pause_queue(caller(node), "q", 1_000, "long")
    node.advance(500)
    assert state(node) == ("paused", {"until": 1_000, "reason": "long"})
    pause_queue(caller(node), "q", None, "for ever")
    node.advance(10_000)
    assert state(node)[0] == "paused"


def test_messages_expire_while_it_is_paused(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("dead")
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.declare_queue("q", arguments={"x-message-ttl": 100, **dead})
    channel.consume("q", no_ack=True)
    pause_queue(caller(node), "q", 60_000, "")
    channel.publish(b"x", key="q")
    node.advance(200)
    assert channel.drain("dead") == [b"x"] and channel.ready("q") == 0


def test_what_comes_back_waits_with_the_others(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q")
    channel.publish(b"x", key="q")
    (delivery,) = channel.deliveries()
    pause_queue(caller(node), "q", None, "")
    channel.nack(delivery.tag)
    assert channel.deliveries() == []
    resume_queue(caller(node), "q")
    node.turn()
    (again,) = channel.deliveries()
    assert again.redelivered


def test_limits_stay_when_a_pause_ends(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-unacked": 1})
    channel.consume("q")
    pause_queue(caller(node), "q", None, "")
    for _ in range(3):
        channel.publish(b"", key="q")
    resume_queue(caller(node), "q")
    node.turn()
    assert len(channel.deliveries()) == 1


def test_a_pause_is_in_the_snapshot_and_is_replayed(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True)
    channel.declare_queue("gone", durable=True)
    pause_queue(caller(node), "q", None, "why")
    pause_queue(caller(node), "gone", None, "")
    resume_queue(caller(node), "gone")
    commands = [command for command in snapshot(node.broker) if not isinstance(command, ChangeAccess)]
    assert [command for command in commands if isinstance(command, PauseQueue)] == [
        PauseQueue("/", "q", NEVER, "why")
    ]
    recovered = Node()
    for command in commands:
        recovered.broker.replay(command)
    assert state(recovered) == ("paused", {"until": None, "reason": "why"})


def test_a_pause_that_ended_while_the_node_was_down_is_over(node: Node) -> None:
    node.connect().channel().declare_queue("q", durable=True)
    node.clock.wall = 1_000_000
    node.broker.replay(PauseQueue("/", "q", 999_999, ""))
    node.expire()
    assert state(node) == ("running", None)


@pytest.mark.parametrize(
    ("name", "user", "row"),
    [
        ("nosuch", GUEST, NOT_FOUND),
        ("stream", GUEST, PRECONDITION_FAILED),
        ("q", User("stranger", frozenset()), ACCESS_REFUSED),
    ],
)
def test_who_may_not_pause_is_told_why(
    node: Node, channel: ClientChannel, name: str, user: User, row: ErrorRow
) -> None:
    channel.declare_queue("q")
    channel.declare_queue("stream", durable=True, arguments={"x-queue-type": "stream"})
    with pytest.raises(BrokerError) as refused:
        pause_queue(caller(node, user), name, None, "")
    assert refused.value.row is row


def test_pauses_are_noted(node: Node, channel: ClientChannel) -> None:
    noted: list[tuple[str, str]] = []
    node.broker.done = lambda session, user, action, vhost, name: noted.append((action, name))
    channel.declare_queue("q", durable=True)
    pause_queue(caller(node), "q", 5, "")
    resume_queue(caller(node), "q")
    resume_queue(caller(node), "q")
    assert noted[-2:] == [("queue.paused", "q"), ("queue.resumed", "q")]
