"""Who is served next: turns, priorities, credit, and single active consumers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from tests.support.client import ClientChannel
from tests.support.node import Node


def tags(channel: ClientChannel) -> list[str]:
    return [str(delivery.consumer_tag) for delivery in channel.deliveries()]


def publish(channel: ClientChannel, queue: str, count: int) -> None:
    for _ in range(count):
        channel.publish(b"x", key=queue)


# turns


def test_consumers_take_turns(channel: ClientChannel) -> None:
    queue = channel.queue()
    for tag in ("a", "b", "c"):
        channel.consume(queue, tag, no_ack=True)
    publish(channel, queue, 7)
    assert tags(channel) == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_backlog_is_dealt_out_in_turns_too(channel: ClientChannel, other: ClientChannel) -> None:
    queue = channel.queue()
    publish(channel, queue, 6)
    other.qos(1)
    for tag in ("a", "b", "c"):
        other.consume(queue, tag)
    first = other.deliveries()
    assert [delivery.consumer_tag for delivery in first] == ["a", "b", "c"]
    for delivery in reversed(first):
        other.ack(delivery.tag)
    assert sorted(tags(other)) == ["a", "b", "c"]


def test_a_consumer_without_credit_is_passed_over_and_rejoins(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.qos(1)
    channel.consume(queue, "one at a time")
    channel.qos(0)
    channel.consume(queue, "any number", no_ack=True)
    publish(channel, queue, 4)
    assert tags(channel) == ["one at a time", "any number", "any number", "any number"]
    channel.ack(1)
    publish(channel, queue, 2)
    assert sorted(tags(channel)) == ["any number", "one at a time"]


def test_a_cancelled_consumer_leaves_the_turns_of_the_others_alone(channel: ClientChannel) -> None:
    queue = channel.queue()
    for tag in ("a", "b", "c", "d"):
        channel.consume(queue, tag, no_ack=True)
    publish(channel, queue, 2)
    channel.cancel("a")
    publish(channel, queue, 3)
    channel.cancel("d")
    publish(channel, queue, 2)
    assert tags(channel) == ["a", "b", "c", "d", "b", "c", "b"]


def test_consumers_of_different_connections_share_evenly(node: Node, channel: ClientChannel) -> None:
    queue = channel.queue()
    others = [node.connect().channel() for _ in range(4)]
    for other in others:
        other.consume(queue, no_ack=True)
    publish(channel, queue, 400)
    assert [len(other.bodies()) for other in others] == [100] * 4


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 3))
def test_whoever_acks_gets_the_next_and_nobody_more_than_its_share(acks: list[str], limit: int) -> None:
    channel = Node().connect().channel()
    queue = channel.queue()
    channel.qos(limit)
    for tag in ("a", "b", "c"):
        channel.consume(queue, tag)
    publish(channel, queue, 3 * limit + len(acks))
    held: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for delivery in channel.deliveries():
        held[str(delivery.consumer_tag)].append(delivery.tag)
    assert {len(unacked) for unacked in held.values()} == {limit}
    for tag in acks:
        channel.ack(held[tag].pop(0))
        (delivery,) = channel.deliveries()
        assert delivery.consumer_tag == tag
        held[tag].append(delivery.tag)


# priorities


def test_the_higher_priority_is_served_while_it_has_credit(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.qos(2)
    channel.consume(queue, "low", arguments={"x-priority": -1})
    channel.consume(queue, "high", arguments={"x-priority": 10})
    channel.consume(queue, "plain")
    publish(channel, queue, 5)
    assert tags(channel) == ["high", "high", "plain", "plain", "low"]
    channel.ack(1)
    publish(channel, queue, 2)
    assert tags(channel) == ["high", "low"]


def test_equal_priorities_take_turns(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue, "low", no_ack=True, arguments={"x-priority": 1})
    for tag in ("a", "b"):
        channel.consume(queue, tag, no_ack=True, arguments={"x-priority": 5})
    publish(channel, queue, 4)
    assert Counter(tags(channel)) == {"a": 2, "b": 2}


def test_the_lower_takes_over_when_the_higher_leaves(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.consume(queue, "low", no_ack=True)
    channel.consume(queue, "high", no_ack=True, arguments={"x-priority": 5})
    publish(channel, queue, 1)
    channel.cancel("high")
    publish(channel, queue, 1)
    assert tags(channel) == ["high", "low"]


@pytest.mark.parametrize("priority", [(1 << 63) - 1, -(1 << 63), 1 << 40])
def test_a_priority_may_be_any_whole_number(channel: ClientChannel, priority: int) -> None:
    queue = channel.queue()
    channel.consume(queue, "plain", no_ack=True)
    channel.consume(queue, "extreme", no_ack=True, arguments={"x-priority": priority})
    publish(channel, queue, 1)
    assert tags(channel) == (["extreme"] if priority > 0 else ["plain"])


def test_a_reader_that_pauses_makes_room_for_lower_priorities(node: Node, channel: ClientChannel) -> None:
    queue = channel.queue()
    high = node.connect().channel()
    high.consume(queue, "high", no_ack=True, arguments={"x-priority": 5})
    channel.consume(queue, "low", no_ack=True)
    high.call(commands.Channel.Flow(False), commands.Channel.FlowOk)
    publish(channel, queue, 1)
    assert tags(channel) == ["low"]
    high.call(commands.Channel.Flow(True), commands.Channel.FlowOk)
    publish(channel, queue, 1)
    assert tags(high) == ["high"]


# single active consumer


@pytest.fixture
def single(channel: ClientChannel) -> str:
    """A queue with a single active consumer."""
    return channel.queue({"x-single-active-consumer": True})


def test_the_first_to_come_gets_everything(channel: ClientChannel, single: str) -> None:
    for tag in ("a", "b", "c"):
        channel.consume(single, tag, no_ack=True)
    publish(channel, single, 4)
    assert tags(channel) == ["a"] * 4
    assert channel.declare_queue(single, passive=True).consumer_count == 3


def test_no_credit_of_the_active_one_makes_messages_wait(channel: ClientChannel, single: str) -> None:
    channel.qos(1)
    channel.consume(single, "a")
    channel.consume(single, "b")
    publish(channel, single, 2)
    assert tags(channel) == ["a"]
    assert channel.ready(single) == 1
    channel.ack(1)
    assert tags(channel) == ["a"]


def test_the_next_one_takes_over_at_once(channel: ClientChannel, single: str) -> None:
    channel.qos(1)
    for tag in ("a", "b", "c"):
        channel.consume(single, tag)
    publish(channel, single, 3)
    assert tags(channel) == ["a"]
    channel.cancel("b")
    channel.cancel("a")
    assert tags(channel) == ["c"]


def test_what_the_lost_one_held_goes_to_the_next_in_order(
    node: Node, channel: ClientChannel, single: str
) -> None:
    first, second = node.connect(), node.connect()
    one, two = first.channel(), second.channel()
    one.consume(single)
    two.consume(single)
    for body in (b"1", b"2", b"3"):
        channel.publish(body, key=single)
    assert one.bodies() == [b"1", b"2", b"3"]
    one.ack(1)
    first.hang_up()
    channel.publish(b"4", key=single)
    assert [(d.body, d.redelivered) for d in two.deliveries()] == [(b"2", True), (b"3", True), (b"4", False)]


def test_the_highest_priority_is_next(channel: ClientChannel, single: str) -> None:
    channel.consume(single, "first", no_ack=True)
    channel.consume(single, "low", no_ack=True)
    channel.consume(single, "high", no_ack=True, arguments={"x-priority": 5})
    publish(channel, single, 1)
    channel.cancel("first")
    publish(channel, single, 1)
    assert tags(channel) == ["first", "high"]


def test_flow_of_the_active_one_makes_messages_wait(node: Node, channel: ClientChannel, single: str) -> None:
    active = node.connect().channel()
    active.consume(single, no_ack=True)
    channel.consume(single, no_ack=True)
    active.call(commands.Channel.Flow(False), commands.Channel.FlowOk)
    publish(channel, single, 1)
    channel.expect_silence()
    active.call(commands.Channel.Flow(True), commands.Channel.FlowOk)
    assert len(active.bodies()) == 1


def test_a_single_active_consumer_that_comes_back_queues_up_again(
    channel: ClientChannel, single: str
) -> None:
    channel.consume(single, "a", no_ack=True)
    channel.consume(single, "b", no_ack=True)
    channel.cancel("a")
    channel.consume(single, "a", no_ack=True)
    publish(channel, single, 2)
    assert tags(channel) == ["b", "b"]
