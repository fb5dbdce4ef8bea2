"""What is counted, and that nothing of it goes back when what counted it goes."""

from __future__ import annotations

import pytest
from pamqp import commands

from harebell.engine.commands import DeleteVhost
from harebell.engine.counters import Deaths
from harebell.statistics.statistics import Statistics
from tests.support.client import ClientChannel
from tests.support.node import Node

DLX = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


@pytest.fixture
def node() -> Node:
    """A broker that knows the time."""
    node = Node()
    node.clock.wall = 1_700_000_000_000
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel of a client."""
    return node.connect().channel()


def test_an_exchange_counts_what_comes_in_and_goes_out(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout")
    for name in ("a", "b"):
        channel.declare_queue(name)
        channel.bind(name, "x")
    channel.publish(exchange="x")
    channel.publish(exchange="x", properties=commands.Basic.Properties(message_id="looked at"))
    tally = node.vhost.exchanges["x"].tally
    assert (tally.received, tally.routed) == (2, 4)
    assert node.vhost.counters.default.received == 0


def test_messages_that_no_queue_takes_are_dropped_or_returned(node: Node, channel: ClientChannel) -> None:
    channel.publish(key="nowhere")
    channel.publish(key="nowhere", mandatory=True)
    channel.publish(key="nowhere", properties=commands.Basic.Properties(message_id="m"))
    tally = node.vhost.counters.default
    assert (tally.received, tally.routed, tally.dropped, tally.returned) == (3, 0, 2, 1)


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [("maxlen", {"x-max-length": 0}), ("expired", {"x-message-ttl": 0}), ("rejected", {})],
)
def test_deaths_are_counted_by_reason_and_by_whether_there_is_somewhere_to_go(
    node: Node, channel: ClientChannel, reason: str, arguments: dict[str, int]
) -> None:
    channel.declare_queue("dead")
    channel.declare_queue("moved", arguments={**arguments, **DLX})
    channel.declare_queue("lost", arguments={**arguments})
    for name in ("moved", "lost"):
        channel.publish(key=name)
        if reason == "rejected":
            delivery = channel.get(name)
            assert delivery is not None
            channel.reject(delivery.tag, requeue=False)
    moved, lost = node.queue("moved").deaths, node.queue("lost").deaths
    assert moved is not None
    assert lost is not None
    assert (getattr(moved, reason), getattr(moved, f"lost_{reason}")) == (1, 0)
    assert (getattr(lost, reason), getattr(lost, f"lost_{reason}")) == (0, 1)


def test_a_message_that_came_back_too_often_is_a_death_of_its_own(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 1})
    channel.publish(key="q")
    for _ in range(2):
        delivery = channel.get("q")
        assert delivery is not None
        channel.reject(delivery.tag)
    queue = node.queue("q")
    assert queue.deaths is not None
    assert queue.deaths.lost_delivery_limit == 1
    assert (queue.requeued, queue.rejected) == (2, 0)


def test_refused_messages_are_counted(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    for _ in range(3):
        channel.publish(key="q")
    queue = node.queue("q")
    assert (queue.refused, queue.published, node.vhost.counters.default.routed) == (2, 3, 3)


def test_a_message_that_one_of_its_queues_refuses_is_counted_in_both(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.declare_queue("roomy")
    for name in ("full", "roomy"):
        channel.bind(name, "amq.fanout")
    for _ in range(3):
        channel.publish(exchange="amq.fanout")
    assert [int(node.queue(name).published) for name in ("full", "roomy")] == [3, 3]
    assert node.vhost.exchanges["amq.fanout"].tally.routed == 6


def test_bodies_that_are_unacked_are_counted_without_headers(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for body in (b"one", b"three"):
        channel.publish(body, key="q")
    tags = []
    for _ in range(2):
        delivery = channel.get("q")
        assert delivery is not None
        tags.append(delivery.tag)
    queue = node.queue("q")
    assert queue.unacked_bodies == 8
    channel.ack(tags[0])
    assert queue.unacked_bodies == 5
    channel.nack(tags[1])
    assert queue.unacked_bodies == 0
    assert queue.ready_bodies() == 5


def test_waits_and_answers_take_the_time_they_take(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(key="q")
    node.clock.wall += 70
    delivery = channel.get("q")
    assert delivery is not None
    node.clock.now += 300
    channel.ack(delivery.tag)
    queue = node.queue("q")
    assert queue.waits is not None
    assert queue.answers is not None
    assert (queue.waits.total, queue.answers.total) == (70, 300)


def test_sizes_of_bodies_are_counted_once_however_many_queues_take_them(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("x", "fanout")
    for name in ("a", "b"):
        channel.declare_queue(name)
        channel.bind(name, "x")
    channel.publish(b"x" * 500, exchange="x")
    assert node.broker.counters.sizes.counts()[:3] == [0, 1, 0]
    assert node.broker.counters.sizes.total == 500


def test_queues_that_lack_consumers_with_credit_say_for_how_long(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.qos(1)
    channel.consume("q", "t")
    for _ in range(3):
        channel.publish(key="q")
    node.clock.now += 500
    queue = node.queue("q")
    assert queue.starved_for() == 500
    for delivery in channel.deliveries():
        channel.ack(delivery.tag)
    assert queue.starved_for() == 500
    node.clock.now += 200
    assert queue.starved_for() == 700


def test_a_queue_without_consumers_lacks_nothing(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(key="q")
    node.clock.now += 500
    assert node.queue("q").starved_for() == 0


def test_nothing_goes_back_when_objects_go(node: Node, channel: ClientChannel) -> None:
    statistics = Statistics(node.broker)
    channel.declare_exchange("x", "fanout")
    channel.declare_queue("q")
    channel.bind("q", "x")
    channel.confirm_select()
    for _ in range(3):
        channel.publish(b"x", exchange="x")
    for no_ack in (True, False):
        channel.get("q", no_ack=no_ack)
    lengths = ("messages_ready", "messages_unacknowledged", "messages")
    before = statistics.totals().numbers()[len(lengths) :]
    channel.delete_queue("q")
    channel.delete_exchange("x")
    assert statistics.totals().numbers()[len(lengths) : -2] == before[:-2]
    channel.close()
    channel.client.close()
    assert statistics.totals().numbers()[len(lengths) : -2] == before[:-2]
    assert statistics.totals().numbers()[-2] >= before[-2] > 0


def test_what_a_deleted_virtual_host_counted_stays_among_the_node_s(node: Node) -> None:
    statistics = Statistics(node.broker)
    node.broker.ensure_vhost("other")
    vhost = node.broker.vhosts["other"]
    vhost.exchanges["amq.topic"].tally.received = 7
    vhost.counters.confirmed = 5
    node.broker.commit(DeleteVhost("other"), durable=True)
    totals = statistics.totals()
    assert (totals.tally.received, totals.confirmed) == (7, 5)


def test_churn_counts_what_came_and_went(node: Node) -> None:
    client = node.connect()
    channel = client.channel()
    for name in ("a", "a", "b"):
        channel.declare_queue(name)
    channel.delete_queue("a")
    client.channel(2).close()
    client.close()
    churn = Statistics(node.broker).overview()["churn_rates"]
    assert isinstance(churn, dict)
    numbers = {name: value for name, value in churn.items() if not name.endswith("_details")}
    assert numbers == {
        "connection_created": 1,
        "connection_closed": 1,
        "channel_created": 2,
        "channel_closed": 2,
        "queue_declared": 3,
        "queue_created": 2,
        "queue_deleted": 1,
    }


def test_deaths_merge() -> None:
    one, other = Deaths(), Deaths()
    one.count("expired", False)
    other.count("expired", False)
    other.count("delivery_limit", True)
    one.merge(other)
    assert (one.expired, one.lost_delivery_limit, one.maxlen) == (2, 1, 0)
