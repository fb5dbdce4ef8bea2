"""Views with rates: what RabbitMQ would show of the same counters."""

from __future__ import annotations

from typing import Any

import pytest

from harebell.engine.broker import Broker
from harebell.statistics.rates import Ages, Past
from harebell.statistics.statistics import Statistics
from tests.support.client import ClientChannel
from tests.support.node import Node

START = 1_700_000_000_000
STEP = 5000


class Usage:
    """What a process uses."""

    memory_used = 50_000_000
    memory_limit = 100_000_000
    disk_free = 7_000_000
    disk_free_limit = 1_000_000
    descriptors_used = 30
    descriptors_limit = 1000
    sockets_used = 1


class Host:
    """A node around the broker."""

    name = "rabbit@here"
    started_at = START - 60_000
    data_dir = "/data"

    def resources(self) -> Usage:
        """Tell what is used."""
        return Usage()


@pytest.fixture
def node() -> Node:
    """A broker that knows the time."""
    node = Node()
    node.clock.wall = START
    return node


@pytest.fixture
def statistics(node: Node) -> Statistics:
    """Its statistics."""
    return Statistics(node.broker, STEP, Host())


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel of a client, and a queue."""
    channel = node.connect().channel()
    channel.declare_queue("q")
    return channel


def look(statistics: Statistics, broker: Broker) -> None:
    """Let some time pass and look."""
    broker.clock.wall += STEP
    broker.clock.now += STEP
    statistics.sample()


def show(statistics: Statistics, node: Node, **how: Any) -> Any:
    return statistics.queue(node.vhost, node.queue("q"), **how)


def test_groups_of_counters_are_absent_until_one_counts(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    assert "message_stats" not in show(statistics, node)
    channel.publish(key="q")
    assert set(show(statistics, node)["message_stats"]) == {"publish", "publish_details"}
    channel.get("q", no_ack=True)
    stats = show(statistics, node)["message_stats"]
    assert (stats["get_no_ack"], stats["deliver_get"], stats["ack"]) == (1, 1, 0)
    assert stats["deliver_details"] == {"rate": 0.0}


def test_a_rate_is_the_change_between_two_looks(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    look(statistics, node.broker)
    for _ in range(20):
        channel.publish(key="q")
    look(statistics, node.broker)
    table = show(statistics, node)
    assert table["message_stats"]["publish_details"]["rate"] == 4.0
    assert table["messages_ready_details"]["rate"] == 4.0
    channel.drain("q")
    look(statistics, node.broker)
    table = show(statistics, node)
    assert table["message_stats"]["publish_details"]["rate"] == 0.0
    assert table["messages_ready_details"]["rate"] == -4.0
    assert table["message_stats"]["deliver_get_details"]["rate"] == 4.0


def test_messages_that_were_there_at_the_first_look_came_at_no_rate(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    for _ in range(20):
        channel.publish(key="q")
    look(statistics, node.broker)
    look(statistics, node.broker)
    assert show(statistics, node)["messages_details"]["rate"] == 0.0


def test_the_past_is_shown_on_request_newest_first(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    look(statistics, node.broker)
    for _ in range(10):
        channel.publish(key="q")
    look(statistics, node.broker)
    ages = Ages(lengths=Past(10, 5), messages=Past(10, 5))
    table = show(statistics, node, ages=ages)
    details = table["messages_details"]
    now = START + 2 * STEP
    assert details["samples"] == [
        {"sample": 10, "timestamp": now},
        {"sample": 0, "timestamp": now - 5000},
        {"sample": 0, "timestamp": now - 10_000},
    ]
    assert details["avg_rate"] == 1.0
    assert details["avg"] == pytest.approx(10 / 3)
    assert len(table["message_stats"]["publish_details"]["samples"]) == 3


def test_a_greedy_request_gets_a_bounded_past(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    look(statistics, node.broker)
    table = show(statistics, node, ages=Ages(lengths=Past(10_000_000, 1)))
    assert len(table["messages_details"]["samples"]) <= 1001


def test_an_idle_queue_says_since_when(node: Node, statistics: Statistics, channel: ClientChannel) -> None:
    channel.publish(key="q")
    look(statistics, node.broker)
    assert "idle_since" not in show(statistics, node)
    look(statistics, node.broker)
    assert show(statistics, node)["idle_since"] == "2023-11-14T22:13:25.000+00:00"


def test_consumers_that_lag_lower_the_capacity(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    channel.qos(1)
    channel.consume("q", "t")
    look(statistics, node.broker)
    assert show(statistics, node)["consumer_utilisation"] == 1.0
    for _ in range(3):
        channel.publish(key="q")
    look(statistics, node.broker)
    assert show(statistics, node)["consumer_capacity"] == 0.0


def test_a_single_queue_shows_its_consumers_and_errors(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    channel.consume("q", "t")
    channel.publish(key="q")
    (delivery,) = channel.deliveries()
    channel.nack(delivery.tag, requeue=False)
    table = show(statistics, node, detail=True)
    assert [each["consumer_tag"] for each in table["consumer_details"]] == ["t"]
    assert table["errors"]["rejected"] == 1
    assert table["errors"]["dropped"]["rejected"] == 1
    assert table["incoming"] == table["deliveries"] == []


def test_an_exclusive_queue_names_its_owner(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    channel.client.connection.peer = "10.0.0.7:41000 -> 10.0.0.1:5672"
    channel.declare_queue("mine", exclusive=True)
    table = statistics.queue(node.vhost, node.queue("mine"))
    assert table["owner_pid_details"] == {
        "name": "10.0.0.7:41000 -> 10.0.0.1:5672",
        "peer_host": "10.0.0.7",
        "peer_port": 41000,
    }


def test_exchanges_connections_and_channels_have_rates(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    look(statistics, node.broker)
    for _ in range(10):
        channel.publish(key="q")
    look(statistics, node.broker)
    exchange: Any = statistics.exchange(node.vhost, None)
    assert exchange["message_stats"]["publish_in_details"]["rate"] == 2.0
    (shown,) = statistics.connections()
    connection: Any = shown
    assert connection["recv_oct_details"]["rate"] > 0
    (opened,) = statistics.channels()
    stats: Any = opened["message_stats"]
    assert stats["publish_details"]["rate"] == 2.0
    assert "deliver" not in stats


def test_totals_are_those_of_everything(node: Node, statistics: Statistics, channel: ClientChannel) -> None:
    look(statistics, node.broker)
    for _ in range(10):
        channel.publish(key="q")
    channel.consume("q", "t", no_ack=True)
    look(statistics, node.broker)
    overview: Any = statistics.overview()
    vhost: Any = statistics.vhost(node.vhost)
    for table in (overview, vhost):
        assert table["message_stats"]["publish"] == 10
        assert table["message_stats"]["deliver_no_ack_details"]["rate"] == 2.0
    assert overview["object_totals"] == {
        "channels": 1,
        "connections": 1,
        "consumers": 1,
        "exchanges": 7,
        "queues": 1,
    }
    assert overview["queue_totals"]["messages"] == 0


def test_a_user_sees_the_totals_of_his_virtual_hosts_and_his_connections(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    node.broker.ensure_vhost("other")
    channel.publish(key="q")
    overview: Any = statistics.overview(vhosts=[node.broker.vhosts["other"]], user="nobody")
    assert overview["queue_totals"]["messages"] == 0
    assert overview["object_totals"]["connections"] == 0
    assert overview["object_totals"]["exchanges"] == 7


def test_the_node_shows_what_it_uses(node: Node, statistics: Statistics) -> None:
    table: Any = statistics.node(Host())
    assert (table["name"], table["mem_used"], table["fd_used"], table["uptime"]) == (
        "rabbit@here",
        50_000_000,
        30,
        60_000,
    )
    assert table["mem_used_details"] == {"rate": 0.0}
    assert table["db_dir"] == "/data"


def test_a_look_in_pieces_is_the_same_look(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    for number in range(1200):
        channel.declare_queue(f"q{number}")
    pieces = 1
    while statistics.sample_some():
        pieces += 1
    assert pieces > 3
    assert node.queue("q1199").samples is not None


def test_queues_that_go_during_a_look_do_no_harm(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    for number in range(1200):
        channel.declare_queue(f"q{number}")
    statistics.sample_some()
    for number in range(1200):
        channel.delete_queue(f"q{number}")
    node.broker.ensure_vhost("new")
    while statistics.sample_some():
        pass
    assert statistics.totals().queues_deleted == 1200


def test_a_clock_that_was_set_makes_no_rates(
    node: Node, statistics: Statistics, channel: ClientChannel
) -> None:
    look(statistics, node.broker)
    for _ in range(20):
        channel.publish(key="q")
    node.clock.wall -= 3_600_000
    look(statistics, node.broker)
    assert show(statistics, node)["message_stats"]["publish_details"]["rate"] == 4.0
