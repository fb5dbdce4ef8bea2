"""What every queue type that messages are taken from must do, whatever it keeps them in; not streams."""

from __future__ import annotations

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

PERSISTENT = commands.Basic.Properties(delivery_mode=2)
BODIES = [b"a", b"b", b"c", b"d"]


@pytest.fixture
def node() -> Node:
    """A broker of its own for each test."""
    return Node()


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel of one connection."""
    return node.connect().channel()


LANES: dict[str, FieldTable] = {
    "plain": {},
    "groups": {"x-group-header": "k"},
    "fair": {"x-fair-header": "k"},
    "fair groups": {"x-group-header": "k", "x-fair-header": "t"},
}
"""Arguments with which a queue looks at each message before it chooses a consumer."""


@pytest.fixture(params=LANES)
def lanes(request: pytest.FixtureRequest) -> FieldTable:
    """The arguments of each form of lanes."""
    return LANES[request.param]


@pytest.fixture(params=["classic", "quorum"])
def arguments(request: pytest.FixtureRequest, lanes: FieldTable) -> FieldTable:
    """The arguments that ask for each type, with and without lanes."""
    return {"x-queue-type": request.param, **lanes}


@pytest.fixture
def queue(channel: ClientChannel, arguments: FieldTable) -> str:
    """A queue of each type with four messages."""
    channel.declare_queue("q", durable=True, arguments=arguments)
    for body in BODIES:
        channel.publish(body, key="q", properties=PERSISTENT)
    return "q"


def test_it_is_of_the_type_that_was_asked_for(node: Node, queue: str, arguments: FieldTable) -> None:
    assert node.queue(queue).type_name == arguments["x-queue-type"]


def test_first_in_first_out(channel: ClientChannel, queue: str) -> None:
    assert channel.ready(queue) == 4
    assert channel.drain(queue) == BODIES
    assert channel.get(queue) is None


def test_consumers_get_what_is_there_and_what_comes(channel: ClientChannel, queue: str) -> None:
    channel.consume(queue)
    channel.publish(b"e", key=queue)
    assert channel.bodies() == [*BODIES, b"e"]


def test_limits_hold_and_answers_bring_more(channel: ClientChannel, queue: str) -> None:
    channel.qos(2)
    channel.consume(queue)
    assert channel.bodies() == BODIES[:2]
    channel.ack(2, multiple=True)
    assert channel.bodies() == BODIES[2:]


def test_shared_limits_hold(channel: ClientChannel, queue: str) -> None:
    channel.qos(3, shared=True)
    channel.consume(queue)
    channel.consume(queue)
    assert len(channel.bodies()) == 3


def test_what_comes_back_is_flagged(channel: ClientChannel, queue: str) -> None:
    first = channel.get(queue)
    assert first is not None and not first.redelivered
    channel.nack(first.tag)
    again = channel.get(queue)
    assert again is not None and (again.body, again.redelivered) == (b"a", True)


def test_a_lost_connection_returns_everything_in_order(
    node: Node, channel: ClientChannel, queue: str
) -> None:
    other = node.connect()
    other.channel().consume(queue)
    other.hang_up()
    assert channel.drain(queue) == BODIES


def test_discarding_removes(channel: ClientChannel, node: Node, queue: str) -> None:
    channel.consume(queue)
    channel.deliveries()
    channel.reject(1, requeue=False)
    channel.nack(4, multiple=True, requeue=False)
    assert (node.queue(queue).ready_count(), node.queue(queue).unacked_count) == (0, 0)


def test_purge_and_delete_tell_how_many(channel: ClientChannel, queue: str) -> None:
    assert channel.purge(queue) == 4
    channel.publish(b"e", key=queue)
    assert channel.delete_queue(queue) == 1


def test_a_single_active_consumer_is_alone_until_it_goes(
    channel: ClientChannel, arguments: FieldTable
) -> None:
    channel.declare_queue("s", durable=True, arguments={**arguments, "x-single-active-consumer": True})
    channel.consume("s", "first", no_ack=True)
    channel.consume("s", "second", no_ack=True)
    channel.publish(b"a", key="s")
    channel.cancel("first")
    channel.publish(b"b", key="s")
    assert [delivery.consumer_tag for delivery in channel.deliveries()] == ["first", "second"]


def test_consumer_priorities_count(channel: ClientChannel, queue: str) -> None:
    channel.purge(queue)
    channel.consume(queue, "low", no_ack=True)
    channel.consume(queue, "high", no_ack=True, arguments={"x-priority": 1})
    channel.publish(b"x", key=queue)
    assert [delivery.consumer_tag for delivery in channel.deliveries()] == ["high"]


def test_it_expires_when_it_is_not_used(node: Node, channel: ClientChannel, arguments: FieldTable) -> None:
    channel.declare_queue("e", durable=True, arguments={**arguments, "x-expires": 100})
    node.advance(100)
    assert "e" not in node.vhost.queues


def test_persistent_messages_are_confirmed_once_they_are_durable(arguments: FieldTable) -> None:
    node = Node(DelayedJournal())
    channel = node.connect().channel()
    channel.send(commands.Queue.Declare(queue="q", durable=True, arguments=arguments))
    channel.expect_silence()
    node.sync()
    channel.expect(commands.Queue.DeclareOk)
    channel.confirm_select()
    channel.publish(b"x", key="q", properties=PERSISTENT)
    channel.expect_silence()
    node.sync()
    assert channel.outcomes() == ["ack"]
