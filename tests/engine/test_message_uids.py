"""The broker gives published messages ids of their own, which they keep whatever happens to them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from pamqp import commands

from harebell.engine.message_uids import LAST_COUNT, MessageUids
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.redrive import MOVED, redrive, waiting
from tests.support.client import ClientChannel, Delivery
from tests.support.node import Node

HEADER = "x-message-uid"
WALL = 1_790_000_000_000


def text(raw: bytes) -> str:
    head = b"\x0dx-message-uidS\x00\x00\x00\x24"
    assert raw.startswith(head)
    return raw[len(head) :].decode()


def uid(delivery: Delivery | None) -> object:
    assert delivery is not None, "there is no message"
    return (delivery.properties.headers or {}).get(HEADER)


def test_ids_are_uuids_of_version_7_that_ascend_with_the_time() -> None:
    uids = MessageUids()
    walls = [WALL] * 70_000 + [WALL + 5] * 3 + [WALL - 1000] * 3 + [WALL + 6]
    given = [text(uids.next(wall)) for wall in walls]
    assert given == sorted(set(given)), "each is above the one before it, though the clock goes back"
    for each in (given[0], given[69_999], given[-1]):
        found = uuid.UUID(each)
        assert str(found) == each and found.version == 7 and found.variant == uuid.RFC_4122
    assert uuid.UUID(given[0]).int >> 80 == WALL
    assert uuid.UUID(given[-1]).int >> 80 == WALL + 6


def test_nodes_that_start_at_the_same_time_give_different_ids() -> None:
    assert MessageUids().next(WALL) != MessageUids().next(WALL)


def test_a_millisecond_that_is_used_up_is_followed_by_the_next() -> None:
    uids = MessageUids()
    uids.next(WALL)
    uids._count = LAST_COUNT - 1
    last, following = text(uids.next(WALL)), text(uids.next(WALL))
    assert last < following and uuid.UUID(following).int >> 80 == WALL + 1


@pytest.mark.parametrize("at", ["queue", "exchange"])
@pytest.mark.parametrize("headers", [None, {"a": 1}])
def test_a_message_gets_an_id_unless_it_has_one(
    node: Node, channel: ClientChannel, at: str, headers: dict[str, Any] | None
) -> None:
    asked: dict[str, Any] = {HEADER: True}
    channel.declare_exchange("e", "direct", arguments=asked if at == "exchange" else {})
    channel.declare_queue("q", arguments=asked if at == "queue" else {})
    channel.bind("q", "e", "k")
    for _ in range(2):
        channel.publish(b"", exchange="e", key="k", properties=commands.Basic.Properties(headers=headers))
    mine = commands.Basic.Properties(headers={**(headers or {}), HEADER: "mine"})
    channel.publish(b"", exchange="e", key="k", properties=mine)
    deliveries = [channel.get("q") for _ in range(3)]
    first, second, third = (uid(each) for each in deliveries)
    assert isinstance(first, str) and isinstance(second, str)
    assert len(first) == 36 and first < second and third == "mine"
    assert deliveries[0] is not None
    assert deliveries[0].properties.headers == {**(headers or {}), HEADER: first}


def test_without_the_option_there_is_none(channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={HEADER: False})
    channel.publish(b"", key="q")
    assert uid(channel.get("q")) is None


def test_every_queue_of_a_message_sees_the_same_id(channel: ClientChannel) -> None:
    channel.declare_exchange("e", "fanout")
    for name in ("one", "two"):
        channel.declare_queue(name, arguments={HEADER: name == "two"})
        channel.bind(name, "e")
    channel.publish(b"", exchange="e")
    assert isinstance(uid(channel.get("one")), str)


def test_the_id_stays_when_a_message_is_requeued_dead_lettered_and_redriven(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue(
        "q",
        durable=True,
        arguments={HEADER: True, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    )
    channel.declare_queue("dead", durable=True, arguments={HEADER: True})
    channel.publish(b"", key="q", properties=commands.Basic.Properties(delivery_mode=2))
    first = channel.get("q")
    assert first is not None
    channel.nack(first.tag, requeue=True)
    again = channel.get("q")
    assert again is not None and uid(again) == uid(first)
    channel.reject(again.tag, requeue=False)
    dead = node.queue("dead")
    batch = [waiting(position, message, False) for position, message, _ in dead.browse(9)]
    assert redrive(node.broker, node.vhost, dead, batch, None)[MOVED] == 1
    assert uid(channel.get("q")) == uid(first)


def test_the_id_stays_when_a_retry_waits(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue(
        "q", arguments={HEADER: True, "x-delayed-retry-type": "all", "x-delayed-retry-min": 1000}
    )
    channel.publish(b"", key="q")
    first = channel.get("q")
    assert first is not None
    channel.reject(first.tag, requeue=True)
    assert channel.get("q") is None
    node.advance(2000)
    assert uid(channel.get("q")) == uid(first)


def test_a_policy_asks_for_ids_at_run_time(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"", key="q")
    set_policy(node.broker, "/", "p", "^q$", {"message-uid": True}, apply_to="queues")
    finish(node.broker)
    channel.publish(b"", key="q")
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    channel.publish(b"", key="q")
    assert [isinstance(uid(channel.get("q")), str) for _ in range(3)] == [False, True, False]
