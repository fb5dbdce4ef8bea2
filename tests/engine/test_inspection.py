"""Queues, exchanges and bindings as the HTTP API describes them."""

from __future__ import annotations

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.inspection import (
    bindings_of,
    bindings_to,
    exchange_table,
    head_timestamp,
    memory_of,
    properties_key,
    queue_table,
    stream_readers,
    vhost_table,
)
from harebell.engine.policies import Policy
from tests.support.client import ClientChannel
from tests.support.node import Node

NODE = "rabbit@here"


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


def test_a_queue_tells_what_is_ready_and_unacked_in_messages_and_body_octets(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("q")
    for body in (b"1", b"22", b"333"):
        channel.publish(body, key="q")
    channel.get("q")
    table = queue_table(node.vhost, node.queue("q"), NODE)
    expected = {
        "messages": 3,
        "messages_ready": 2,
        "messages_unacknowledged": 1,
        "messages_ram": 3,
        "message_bytes": 6,
        "message_bytes_ready": 5,
        "message_bytes_unacknowledged": 1,
        "messages_persistent": 0,
        "consumers": 0,
        "node": NODE,
        "type": "classic",
    }
    assert {key: table[key] for key in expected} == expected


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_waits_for_its_retry_is_delayed(node: Node, channel: ClientChannel, kind: str) -> None:
    arguments: FieldTable = {
        "x-queue-type": kind,
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 5000,
    }
    channel.declare_queue("q", durable=True, arguments=arguments)
    channel.publish(b"1", key="q")
    channel.publish(b"2", key="q")
    got = channel.get("q")
    assert got is not None
    channel.nack(got.tag)
    table = queue_table(node.vhost, node.queue("q"), NODE)
    shown = [table[key] for key in ("messages", "messages_ready", "messages_delayed")]
    assert shown == [2, 1, 1]


def test_persistent_messages_are_those_a_durable_queue_was_given(node: Node, channel: ClientChannel) -> None:
    persistent = commands.Basic.Properties(delivery_mode=2)
    channel.declare_queue("q", durable=True)
    for properties in (persistent, persistent, None, None):
        channel.publish(b"1234", key="q", properties=properties)
    table = queue_table(node.vhost, node.queue("q"), NODE)
    assert (table["messages_persistent"], table["message_bytes_persistent"]) == (2, 8)


def test_the_head_s_timestamp_is_shown(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    queue = node.queue("q")
    assert head_timestamp(queue) is None
    raw = bytes.fromhex("003c 0000 0000000000000001 0040 0000000065000000".replace(" ", ""))
    channel.send(commands.Basic.Publish(exchange="", routing_key="q"))
    frame = b"\x02\x00\x01" + len(raw).to_bytes(4, "big") + raw + b"\xce"
    channel.client.feed(frame + b"\x03\x00\x01\x00\x00\x00\x01x\xce")
    assert head_timestamp(queue) == 0x65000000


def test_a_message_without_a_timestamp_shows_none(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"x", key="q")
    assert head_timestamp(node.queue("q")) is None


def test_an_exclusive_consumer_is_named(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", "mine", exclusive=True)
    assert queue_table(node.vhost, node.queue("q"), NODE)["exclusive_consumer_tag"] == "mine"


@pytest.mark.parametrize(
    ("kind", "field"), [("classic", "single_active_consumer_tag"), ("quorum", "single_active_consumer_ctag")]
)
def test_the_single_active_consumer_is_named(
    node: Node, channel: ClientChannel, kind: str, field: str
) -> None:
    arguments: FieldTable = {"x-queue-type": kind, "x-single-active-consumer": True}
    channel.declare_queue("q", durable=True, arguments=arguments)
    for tag in ("served", "waiting"):
        channel.consume("q", tag)
    assert queue_table(node.vhost, node.queue("q"), NODE)[field] == "served"


def test_memory_grows_with_what_is_in_it(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    before = memory_of(node.queue("q"))
    channel.publish(b"x" * 10_000, key="q")
    assert memory_of(node.queue("q")) > before + 10_000
    assert channel.get("q") is not None
    assert memory_of(node.queue("q")) > before + 10_000


def test_a_policy_shows_what_it_comes_to(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    queue = node.queue("q")
    policies = node.vhost.policies
    policies.set(Policy("p", "q", "queues", {"max-length": 50, "message-ttl": 9}, 0), False)
    policies.set(Policy("o", "q", "queues", {"max-length": 10}, 0), True)
    queue.policy, queue.operator_policy = "p", "o"
    table = queue_table(node.vhost, queue, NODE)
    assert table["effective_policy_definition"] == {"max-length": 10, "message-ttl": 9}


def test_a_stream_tells_its_ends_and_how_far_readers_are_behind(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("s", durable=True, arguments={"x-queue-type": "stream"})
    for _ in range(5):
        channel.publish(b"x", key="s")
    channel.qos(2)
    channel.consume("s", "reader", arguments={"x-stream-offset": "first"})
    queue = node.queue("s")
    table = queue_table(node.vhost, queue, NODE)
    assert (table["first_offset"], table["committed_offset"], table["messages"]) == (0, 4, 5)
    assert stream_readers(queue) == [{"name": "reader", "offset": 2, "lag": 3, "consumers": 1}]


def test_exchanges_tell_who_made_them(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("x", "topic", durable=True)
    tables = [exchange_table(node.vhost, each) for each in (None, *node.vhost.exchanges.values())]
    performed = {str(table["name"]): table["user_who_performed_action"] for table in tables}
    assert performed[""] == performed["amq.direct"] == "rmq-internal"
    assert performed["x"] == "guest"


@pytest.mark.parametrize(
    ("key", "expected"),
    [("", "~"), ("a.b", "a.b"), ("a b/c", "a+b%2Fc"), ("x~y", "x%7Ey"), ("ü", "%C3%BC"), ("#", "%23")],
)
def test_a_binding_without_arguments_is_named_by_its_key(key: str, expected: str) -> None:
    assert properties_key(key, {}) == expected


def test_a_binding_with_arguments_is_named_by_both(node: Node) -> None:
    first = properties_key("k", {"a": 1, "b": "z"})
    assert first.startswith("k~")
    assert first == properties_key("k", {"b": "z", "a": 1})
    assert first != properties_key("k", {"a": 2, "b": "z"})
    assert properties_key("", {"a": 1}).startswith("~")


def test_every_queue_is_bound_to_the_default_exchange(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.bind("q", "amq.topic", "key")
    assert [each["source"] for each in bindings_to(node.vhost, node.queue("q"))] == ["", "amq.topic"]
    assert [each["source"] for each in bindings_of(node.vhost)] == ["", "amq.topic"]
    assert [each["properties_key"] for each in bindings_of(node.vhost)] == ["q", "key"]


def test_a_virtual_host_shows_what_describes_it(node: Node) -> None:
    node.vhost.metadata = {"description": "ours", "tags": ["one"]}
    table = vhost_table(node.vhost, NODE)
    assert (table["description"], table["tags"]) == ("ours", ["one"])
    assert table["metadata"] == {"description": "ours", "tags": ["one"]}
    assert table["default_queue_type"] == "undefined"
