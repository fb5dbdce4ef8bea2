"""A stream with ``x-compact-key`` is the latest of each key to its readers."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.policy_control import set_policy
from harebell.engine.policy_work import finish
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

BODY = b"." * 500


@pytest.fixture
def node() -> Node:
    """A broker whose journal is durable at once."""
    journal = DelayedJournal()
    journal.durable = 1 << 40
    return Node(journal)


def declare(channel: ClientChannel, **arguments: Any) -> None:
    table = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 4096, **arguments}
    channel.declare_queue("s", durable=True, arguments=table)


def put(channel: ClientChannel, body: bytes, **headers: Any) -> None:
    channel.publish(body, key="s", properties=commands.Basic.Properties(headers=headers))
    assert channel.outcomes() == ["ack"]


def replay(node: Node) -> list[tuple[Any, Any, bytes]]:
    """Give offset, header ``customer`` and body of what a new reader gets."""
    channel = node.connect().channel()
    channel.qos(1000)
    channel.consume("s", tag="r", arguments={"x-stream-offset": "first"})
    found = []
    for each in channel.deliveries():
        headers = each.properties.headers
        assert headers is not None
        found.append((headers["x-stream-offset"], headers.get("customer"), each.body))
    return found


def publish(channel: ClientChannel) -> dict[Any, tuple[int, bytes]]:
    """Publish a lot about few customers; give offset and body of the last of each."""
    last: dict[Any, tuple[int, bytes]] = {}
    for offset in range(150):
        customer: Any = offset % 3 if offset % 2 else f"c{offset % 5}"
        body = b"%d" % offset + BODY
        put(channel, body, customer=customer)
        last[customer] = (offset, body)
    return last


@pytest.mark.parametrize("by_policy", [False, True])
def test_readers_get_the_last_message_of_each_key(
    node: Node, channel: ClientChannel, by_policy: bool
) -> None:
    declare(channel, **({} if by_policy else {"x-compact-key": "customer"}))
    if by_policy:
        set_policy(node.broker, "/", "latest", "s", {"compact-key": "customer"})
        finish(node.broker)
    last = publish(channel)
    found = replay(node)
    assert len(found) < 75, "no compaction"
    assert {customer: (offset, body) for offset, customer, body in found} == last
    assert [offset for offset, _, _ in found] == sorted(offset for offset, _, _ in found)
    put(channel, b"more")
    assert replay(node)[-1] == (150, None, b"more"), "offsets go on"


def test_an_empty_message_deletes_its_key(node: Node, channel: ClientChannel) -> None:
    declare(channel, **{"x-compact-key": "customer"})
    put(channel, BODY, customer="left")
    put(channel, b"", customer="left")
    publish(channel)
    assert [each for each in replay(node) if each[1] == "left"] == [(1, "left", b"")]


@pytest.mark.parametrize("key", ["", 5, "x" * 256])
def test_a_key_is_a_name(channel: ClientChannel, key: object) -> None:
    with pytest.raises(AssertionError, match="PRECONDITION_FAILED"):
        declare(channel, **{"x-compact-key": key})


def test_only_streams_have_keys(channel: ClientChannel) -> None:
    with pytest.raises(AssertionError, match="PRECONDITION_FAILED"):
        channel.declare_queue("q", durable=True, arguments={"x-compact-key": "customer"})
