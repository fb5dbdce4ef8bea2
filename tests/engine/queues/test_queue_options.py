"""What a queue's options come to for its clients: time limits, length limits, priorities, delivery limits."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.deadlines import FINE
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from tests.support.client import ClientChannel
from tests.support.node import Node


def declare(channel: ClientChannel, name: str = "q", **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_queue(name, durable=True, arguments=table)


def put(channel: ClientChannel, *bodies: bytes, key: str = "q", **properties: Any) -> list[str]:
    for body in bodies:
        channel.publish(body, key=key, properties=commands.Basic.Properties(delivery_mode=2, **properties))
    return channel.outcomes()


def ready(node: Node, name: str = "q") -> list[bytes]:
    return [bytes(message.body) for message, _ in node.queue(name).peek(1 << 20)]


def policy(node: Node, **definition: Any) -> None:
    if definition:
        found = {key.replace("_", "-"): value for key, value in definition.items()}
        set_policy(node.broker, "/", "p", "", found)
    else:
        clear_policy(node.broker, "/", "p")
    finish(node.broker)


# time limits


def test_a_message_is_never_early_and_late_by_at_most_a_bucket(node: Node, channel: ClientChannel) -> None:
    declare(channel, message_ttl=5000)
    put(channel, b"first")
    put(channel, b"brief", expiration="1003")
    node.advance(1003)
    assert ready(node) == [b"first", b"brief"]
    node.advance(FINE)
    assert ready(node) == [b"first"]
    node.advance(5000 - 1003 - FINE)
    assert ready(node) == [b"first"], "the millisecond of its arrival had begun before it came"
    node.advance(1)
    assert ready(node) == [], "the head goes on time, to the millisecond"


def test_an_expiration_counts_on_a_queue_without_any_option(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, b"a", b"b")
    put(channel, b"brief", expiration="100")
    put(channel, b"c")
    node.advance(150)
    assert ready(node) == [b"a", b"b", b"c"]


def test_zero_is_for_consumers_only(node: Node, channel: ClientChannel) -> None:
    declare(channel, message_ttl=0)
    assert put(channel, b"nobody") == ["ack"]
    assert channel.get("q") is None
    channel.consume("q", no_ack=True)
    put(channel, b"somebody")
    assert channel.bodies() == [b"somebody"]


def test_a_message_over_at_once_leaves_the_positions_of_the_others(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel)
    put(channel, b"a")
    put(channel, b"over", expiration="0")
    put(channel, b"b")
    positions = []
    for _ in range(2):
        entry = node.queue("q").get(False, 1, 0)
        assert entry is not None
        positions.append((bytes(entry.message.body), int(entry.position)))
    assert positions == [(b"a", 1), (b"b", 3)]


def test_what_came_back_hides_nothing_that_is_over(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, b"for ever")
    delivery = channel.get("q")
    assert delivery is not None
    put(channel, b"brief", b"brief too", expiration="100")
    channel.nack(delivery.tag)
    assert ready(node) == [b"for ever", b"brief", b"brief too"]
    node.advance(150)
    assert ready(node) == [b"for ever"]


def test_what_comes_behind_nothing_but_returned_messages_goes_on_time(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel)
    put(channel, b"over", expiration="0")
    put(channel, b"first")
    delivery = channel.get("q")
    assert delivery is not None
    put(channel, b"brief", expiration="50")
    node.advance(60)
    channel.nack(delivery.tag)
    put(channel, b"brief too", expiration="100")
    put(channel, b"last")
    node.advance(110)
    assert ready(node) == [b"first", b"last"]


def test_unacked_messages_do_not_expire_and_die_when_they_return_late(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, message_ttl=100)
    put(channel, b"a", b"b")
    first, second = channel.get("q"), channel.get("q")
    assert first is not None and second is not None
    node.advance(50)
    channel.nack(first.tag)
    assert ready(node) == [b"a"]
    node.advance(60)
    assert (ready(node), int(node.queue("q").unacked_count)) == ([], 1)
    channel.consume("q")
    channel.nack(second.tag)
    assert channel.bodies() == []


def test_a_consumer_gets_nothing_that_is_over_before_the_timer_saw_it(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, message_ttl=100)
    put(channel, b"old")
    node.clock.wall += 101
    assert channel.get("q") is None
    put(channel, b"old")
    node.clock.wall += 100
    put(channel, b"new")
    node.clock.wall += 1
    channel.consume("q", no_ack=True)
    assert channel.bodies() == [b"new"]


def test_every_level_of_a_priority_queue_expires_on_time(node: Node, channel: ClientChannel) -> None:
    for name, arguments in (("q", {"max_priority": 9}), ("quorum", {"queue_type": "quorum"})):
        declare(channel, name, message_ttl=100, **arguments)
        put(channel, b"none", key=name)
        node.advance(50)
        put(channel, b"high", key=name, priority=9)
    node.advance(60)
    assert (ready(node), ready(node, "quorum")) == ([], [b"high"])


def test_a_changed_time_limit_counts_for_what_comes_later(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, b"for ever")
    policy(node, message_ttl=100)
    put(channel, b"brief")
    policy(node)
    put(channel, b"for ever too")
    node.advance(200)
    assert ready(node) == [b"for ever", b"for ever too"]


def test_many_expire_in_portions_and_none_is_left(node: Node, channel: ClientChannel) -> None:
    declare(channel, message_ttl=100)
    for number in range(2500):
        put(channel, b"%d" % number)
    node.clock.wall += 101
    node.broker.expiry.run()
    assert 0 < node.queue("q").ready_count() < 2500, "one look does not do everything"
    node.expire()
    assert node.queue("q").ready_count() == 0


def test_an_index_is_forgotten_when_its_queue_was_empty(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_priority=5)
    for _ in range(200):
        put(channel, b"a", b"b", expiration="86400000")
        assert len(channel.drain("q")) == 2
    rules: Any = getattr(node.queue("q"), "_rules", None)
    if rules is not None:  # compiled, it is out of sight
        assert rules.deadlines.count <= 4


# length limits


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_the_oldest_ready_one_makes_room(node: Node, channel: ClientChannel, kind: str) -> None:
    declare(channel, queue_type=kind, max_length=2)
    assert put(channel, b"a", b"b", b"c") == ["ack"] * 3
    assert ready(node) == [b"b", b"c"]
    delivery = channel.get("q")
    assert delivery is not None
    put(channel, b"d")
    assert ready(node) == [b"c", b"d"], "what a client holds does not count"
    channel.nack(delivery.tag)
    assert ready(node) == [b"c", b"d"], "what comes back is the oldest"


def test_bytes_are_those_of_bodies_and_one_too_large_empties_the_queue(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, max_length_bytes=10)
    put(channel, b"12345", b"12345", b"")
    assert ready(node) == [b"12345", b"12345", b""]
    put(channel, b"x")
    assert ready(node) == [b"12345", b"", b"x"]
    put(channel, b"x" * 11)
    assert ready(node) == []


def test_a_full_queue_refuses_and_the_publisher_is_told(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_length=2, overflow="reject-publish")
    assert put(channel, b"a", b"b", b"c") == ["ack", "ack", "nack"]
    assert channel.get("q", no_ack=True) is not None
    assert put(channel, b"d") == ["ack"]
    assert ready(node) == [b"b", b"d"]


def test_one_of_several_queues_refuses_and_the_others_take_it(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("all", "fanout")
    declare(channel, "q", max_length=0, overflow="reject-publish")
    declare(channel, "other")
    for name in ("q", "other"):
        channel.bind(name, "all")
    channel.publish(b"a", exchange="all", mandatory=True)
    assert channel.outcomes() == ["nack"]
    assert (ready(node), ready(node, "other")) == ([], [b"a"])


def test_a_refused_one_may_be_dead_lettered(node: Node, channel: ClientChannel) -> None:
    declare(channel, "dead")
    dlx = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}
    declare(channel, max_length=1, overflow="reject-publish-dlx", **dlx)
    assert put(channel, b"a", b"b") == ["ack", "nack"]
    assert (ready(node), ready(node, "dead")) == ([b"a"], [b"b"])


def test_a_transaction_with_a_refused_message_ends_its_channel(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, max_length=1, overflow="reject-publish")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.publish(b"a", key="q")
    channel.publish(b"b", key="q")
    channel.send(commands.Tx.Commit())
    channel.expect_close(406, commands.Tx.Commit, "partial tx completion")
    assert ready(node) == [b"a"]


def test_a_lowered_limit_drops_at_once(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *(b"%d" % number for number in range(1500)))
    policy(node, max_length=3)
    node.expire()
    assert ready(node) == [b"1497", b"1498", b"1499"]


def test_the_highest_priority_is_dropped_first_for_it_is_the_head(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_priority=9, max_length=2)
    for body, priority in ((b"l1", 1), (b"h1", 5), (b"l2", 1), (b"m", 3), (b"h2", 5)):
        assert put(channel, body, priority=priority) == ["ack"]
    assert ready(node) == [b"l1", b"l2"]


# quorum queues


@pytest.mark.parametrize(("limit", "deliveries"), [(0, 1), (2, 3), (None, 21)])
def test_the_return_after_the_limit_is_the_last(
    node: Node, channel: ClientChannel, limit: int | None, deliveries: int
) -> None:
    arguments: dict[str, Any] = {} if limit is None else {"delivery_limit": limit}
    declare(channel, queue_type="quorum", **arguments)
    put(channel, b"a")
    for count in range(deliveries):
        delivery = channel.get("q")
        assert delivery is not None
        headers: Any = delivery.properties.headers
        assert headers["x-delivery-count"] == count
        channel.nack(delivery.tag)
    assert channel.get("q") is None


def test_what_is_handed_back_uncounted_stays_even_above_the_limit(node: Node, channel: ClientChannel) -> None:
    declare(channel, queue_type="quorum")
    queue = node.queue("q")
    assert isinstance(queue, ClassicQueue)
    queue.counts_every_return = False
    put(channel, b"a")
    for answer in (channel.reject, channel.reject, *[channel.nack] * 30):
        delivery = channel.get("q")
        assert delivery is not None
        answer(delivery.tag)
    policy(node, delivery_limit=1)
    for answer in (channel.nack, channel.reject):
        delivery = channel.get("q")
        assert delivery is not None
        headers: Any = delivery.properties.headers
        assert headers["x-delivery-count"] == 2
        answer(delivery.tag)
    assert channel.get("q") is None


def test_minus_one_is_no_limit_and_priorities_are_told_apart_all_the_same(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, queue_type="quorum", delivery_limit=-1)
    put(channel, b"none")
    put(channel, b"low", priority=1)
    put(channel, b"high", priority=9)
    assert ready(node) == [b"high", b"none", b"low"]
    for _ in range(30):
        delivery = channel.get("q")
        assert delivery is not None and delivery.body == b"high"
        channel.nack(delivery.tag)


def test_what_came_back_goes_first_in_the_order_of_its_return(node: Node, channel: ClientChannel) -> None:
    declare(channel, queue_type="quorum")
    put(channel, b"a", b"b", b"c", b"d")
    held = {}
    for _ in range(3):
        delivery = channel.get("q")
        assert delivery is not None
        held[delivery.body] = delivery.tag
    for body in (b"b", b"a", b"c"):
        channel.nack(held[body])
    put(channel, b"high", priority=9)
    assert ready(node) == [b"b", b"a", b"c", b"high", b"d"]


def test_a_consumer_sees_the_count_from_the_first_return_on(node: Node, channel: ClientChannel) -> None:
    declare(channel, queue_type="quorum")
    channel.qos(1)
    channel.consume("q")
    put(channel, b"a")
    (first,) = channel.deliveries()
    assert first.properties.headers is None
    channel.nack(first.tag)
    (second,) = channel.deliveries()
    assert (second.properties.headers, second.redelivered) == ({"x-delivery-count": 1}, True)
