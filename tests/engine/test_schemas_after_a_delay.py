"""Queues with schemas, and what comes to them without a publisher: delayed, dead letters, sent back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.commands import SetParameter
from harebell.engine.redrive import MOVED, REFUSED, Target, redrive, waiting
from harebell.schemas import Formats
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000
ORDER = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
GOOD = b'{"id": 7}'
BAD = b'{"id": "seven"}'


@pytest.fixture
def node() -> Node:
    """A broker with the schema ``orders``."""
    journal = DelayedJournal()
    journal.durable = 1 << 40
    node = Node(journal)
    node.clock.wall = START
    node.broker.schemas.formats = Formats()
    value = {"format": "json-schema", "schema": json.dumps(ORDER), "id": 1}
    node.broker.commit(SetParameter("/", "schema", "orders/1", json.dumps(value)), True)
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """An exchange that delays, and a queue for dead letters."""
    channel = node.connect().channel()
    arguments: FieldTable = {"x-delayed-type": "fanout"}
    channel.declare_exchange("later", "x-delayed-message", durable=True, arguments=arguments)
    channel.declare_queue("dead", durable=True)
    return channel


def orders(channel: ClientChannel, name: str = "orders", **arguments: Any) -> None:
    table: FieldTable = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.declare_queue(name, durable=True, arguments={"x-schema": "orders", **table})
    channel.bind(name, "later")


def send(channel: ClientChannel, body: bytes, exchange: str = "later", key: str = "", **headers: Any) -> None:
    table = {name.replace("_", "-"): value for name, value in headers.items()}
    properties = commands.Basic.Properties(delivery_mode=2, headers=table or None)
    channel.publish(body, exchange=exchange, key=key, properties=properties)


def deaths(channel: ClientChannel, queue: str = "dead") -> list[tuple[Any, ...]]:
    delivery = channel.get(queue, no_ack=True)
    assert delivery is not None, f"{queue} should not be empty"
    headers: Any = delivery.properties.headers
    return [(death["reason"], death["queue"]) for death in headers["x-death"]]


@pytest.mark.parametrize("mode", ["reject", "refuse", "dead-letter"])
def test_what_does_not_fit_becomes_a_dead_letter_whatever_the_mode(
    node: Node, channel: ClientChannel, mode: str
) -> None:
    orders(channel, x_schema_mode=mode, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    channel.confirm_select()
    for body in (BAD, GOOD):
        send(channel, body, x_delay=100)
    node.sync()
    assert channel.outcomes() == ["ack", "ack"], "nobody looks before its time"
    node.advance(100)
    assert channel.drain("orders") == [GOOD]
    delivery = channel.get("dead")
    assert delivery is not None and delivery.body == BAD
    headers: Any = delivery.properties.headers
    assert headers["x-schema-error"].startswith("schema 'orders' version 1")
    channel.reject(delivery.tag)
    assert deaths(channel) == [("invalid", "orders")]
    queue, delays = node.queue("orders"), node.vhost.delays
    assert queue.deaths is not None and delays is not None
    assert (queue.invalid, queue.deaths.invalid, delays.routed, delays.dropped) == (1, 1, 2, 0)
    assert delays.queues["later"].ready_count() == 0


def test_without_a_dead_letter_exchange_it_is_dropped_and_counted(node: Node, channel: ClientChannel) -> None:
    orders(channel)
    for body in (BAD, GOOD):
        send(channel, body, x_delay=100)
    node.advance(100)
    assert channel.drain("orders") == [GOOD]
    delays = node.vhost.delays
    assert delays is not None
    assert (node.queue("orders").invalid, delays.routed, delays.dropped) == (1, 1, 1)
    assert node.vhost.exchanges["later"].tally.dropped == 1
    assert (node.vhost.counters.schema_checked, node.vhost.counters.schema_invalid) == (2, 1)


def test_other_queues_take_what_one_does_not(node: Node, channel: ClientChannel) -> None:
    orders(channel)
    channel.declare_queue("any", durable=True)
    channel.bind("any", "later")
    send(channel, BAD, x_delay=100)
    node.advance(100)
    assert (channel.drain("orders"), channel.drain("any")) == ([], [BAD])
    assert node.vhost.delays is not None and node.vhost.delays.dropped == 0


def test_a_schema_that_comes_while_a_message_waits_counts(node: Node, channel: ClientChannel) -> None:
    orders(channel, x_schema="later")
    for _ in range(2):
        send(channel, BAD, x_delay=100)
    value = {"format": "json-schema", "schema": "true", "id": 2}
    node.broker.commit(SetParameter("/", "schema", "later/1", json.dumps(value)), True)
    node.advance(100)
    assert channel.drain("orders") == [BAD, BAD]


def test_a_dead_letter_exchange_that_delays_does_not_have_it_wait_again(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("retry", "fanout", durable=True, arguments={"x-delay": 1000})
    orders(channel, x_dead_letter_exchange="retry")
    channel.bind("orders", "retry")
    channel.bind("dead", "retry")
    send(channel, BAD, x_delay=100)
    node.advance(100)
    assert deaths(channel) == [("invalid", "orders")]
    assert channel.ready("orders") == 0, "a letter does not go into the queue it comes from"


def test_two_queues_that_do_not_take_it_do_not_make_more_and_more_of_it(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("retry", "fanout", durable=True, arguments={"x-delay": 1000})
    for name in ("one", "two"):
        orders(channel, name, x_dead_letter_exchange="retry", x_schema_mode="dead-letter")
        channel.bind(name, "retry")
    send(channel, BAD, x_delay=100)
    node.advance(100)
    assert node.vhost.dead_letters is not None
    for _ in range(5):
        node.advance(1000)
    delays = node.vhost.delays
    assert delays is not None and delays.count() == 0


def test_an_invalid_message_does_not_come_in_through_the_delay_of_its_dead_letter_exchange(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("retry", "fanout", durable=True, arguments={"x-delay": 1000})
    orders(channel, x_dead_letter_exchange="retry", x_schema_mode="dead-letter")
    channel.bind("orders", "retry")
    send(channel, BAD, exchange="", key="orders")
    assert node.vhost.delays is not None and node.vhost.delays.count() == 1
    node.advance(1000)
    assert channel.ready("orders") == 0 and node.vhost.delays.count() == 0


def test_dead_letters_are_not_lost_for_a_schema(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("slow", "fanout", durable=True, arguments={"x-delay": 1000})
    orders(channel)
    channel.bind("orders", "slow")
    for name, exchange in (("work", ""), ("slow work", "slow")):
        table: FieldTable = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "orders"}
        channel.declare_queue(name, durable=True, arguments=table)
        channel.publish(BAD, key=name)
        delivery = channel.get(name)
        assert delivery is not None
        channel.reject(delivery.tag, requeue=False)
    assert channel.drain("orders") == [BAD]
    node.advance(1000)
    assert channel.drain("orders") == [BAD]


def test_what_is_sent_back_stays_if_it_does_not_fit(node: Node, channel: ClientChannel) -> None:
    orders(channel, x_schema_mode="dead-letter", x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    strict: FieldTable = {"x-schema": "orders"}
    channel.declare_exchange("strict", "fanout", durable=True, arguments=strict)
    channel.declare_queue("free", durable=True)
    channel.bind("free", "strict")
    send(channel, BAD, exchange="", key="orders")
    dead = node.queue("dead")

    def send_back(to: Target | None) -> dict[str, int]:
        batch = [waiting(position, message, False) for position, message, _ in dead.browse(9)]
        counts = redrive(node.broker, node.vhost, dead, batch, to)
        return {what: count for what, count in counts.items() if count}

    for to in (None, Target("", "orders"), Target("strict", "")):
        assert send_back(to) == {REFUSED: 1}
    assert dead.ready_count() == 1 and channel.ready("free") == 0
    value = {"format": "json-schema", "schema": "true", "id": 2}
    node.broker.commit(SetParameter("/", "schema", "orders/2", json.dumps(value)), True)
    assert send_back(None) == {MOVED: 1}
    assert channel.drain("orders") == [BAD]


def test_a_message_that_waits_too_is_kept_where_no_queue_takes_it(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("front", "fanout", durable=True)
    channel.bind_exchange("later", "front")
    orders(channel)
    channel.unbind("orders", "later")
    channel.bind("orders", "front")
    channel.declare_queue("any", durable=True)
    channel.bind("any", "later")
    channel.confirm_select()
    send(channel, BAD, exchange="front", x_delay=100)
    node.sync()
    assert channel.outcomes() == ["nack"], "one queue did not take it"
    node.advance(100)
    assert (channel.drain("orders"), channel.drain("any")) == ([], [BAD])
    assert node.vhost.exchanges["front"].tally.dropped == 0


def test_an_exchange_remembers_only_what_some_queue_took(node: Node, channel: ClientChannel) -> None:
    arguments: FieldTable = {"x-delayed-type": "x-recent-history"}
    channel.declare_exchange("recent", "x-delayed-message", durable=True, arguments=arguments)
    orders(channel)
    channel.bind("orders", "recent")
    for body in (BAD, GOOD):
        send(channel, body, "recent", x_delay=100)
    node.advance(100)
    channel.declare_queue("after")
    channel.bind("after", "recent")
    assert channel.drain("after") == [GOOD]
