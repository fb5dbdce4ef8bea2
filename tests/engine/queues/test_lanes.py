"""Groups, fair share and filters: who gets which message, seen by clients."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from harebell.engine.queues.lanes import MOST_FILTERS, LaneStore
from tests.support.client import ClientChannel
from tests.support.node import Node


@pytest.fixture
def node() -> Node:
    """A broker of its own for each test."""
    return Node()


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """The channel that publishes."""
    return node.connect().channel()


@pytest.fixture(params=["classic", "quorum"])
def type_name(request: pytest.FixtureRequest) -> str:
    """Each type that has lanes."""
    return str(request.param)


def declare(channel: ClientChannel, type_name: str = "classic", **arguments: Any) -> str:
    named: FieldTable = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": type_name, **named})
    return "q"


def send(channel: ClientChannel, *bodies: str, **properties: Any) -> None:
    """Publish messages whose first character is the value of the header ``k``; ``-`` for none."""
    for body in bodies:
        headers: FieldTable = {} if body[0] == "-" else {"k": body[0]}
        channel.publish(
            body.encode(), key="q", properties=commands.Basic.Properties(headers=headers, **properties)
        )


def consumer(node: Node, prefetch: int = 1, **arguments: Any) -> ClientChannel:
    channel = node.connect().channel()
    channel.qos(prefetch)
    channel.consume("q", arguments={"x-" + key: value for key, value in arguments.items()})
    return channel


def got(channel: ClientChannel) -> list[str]:
    return [body.decode() for body in channel.bodies()]


def lanes_of(node: Node) -> LaneStore:
    queue = node.queue("q")
    assert isinstance(queue, ClassicQueue)
    lanes = queue.lanes()
    assert lanes is not None, "the queue has no lanes"
    return lanes


# groups


def test_a_key_sticks_to_the_consumer_that_has_messages_of_it(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name, group_header="k")
    first, second = consumer(node, 2), consumer(node, 2)
    send(channel, "a1", "b1", "a2", "b2", "a3", "c1")
    assert got(first) == ["a1", "a2"]
    assert got(second) == ["b1", "b2"]
    first.ack(1)
    assert got(first) == ["a3"]
    second.ack(2, multiple=True)
    assert got(second) == ["c1"]


def test_a_key_is_free_once_its_messages_are_acknowledged(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    first = consumer(node)
    send(channel, "a1", "a2")
    assert got(first) == ["a1"]
    second = consumer(node)
    assert got(second) == []
    first.ack(1)
    assert sorted(got(first) + got(second)) == ["a2"]


def test_messages_without_a_key_flow_to_whoever_is_free(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    first, second = consumer(node), consumer(node)
    send(channel, "-1", "-2", "-3")
    assert (got(first), got(second)) == (["-1"], ["-2"])
    second.ack(1)
    assert got(second) == ["-3"]


def test_what_comes_back_goes_before_later_messages_of_its_key(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name, group_header="k")
    first = consumer(node, 3)
    send(channel, "a1", "a2", "a3", "a4")
    assert got(first) == ["a1", "a2", "a3"]
    second = consumer(node, 9)
    first.nack(2)
    assert got(second) == []
    # a3 is with the first consumer still, and so is the key.
    assert got(first) == ["a2"]
    first.client.hang_up()
    assert got(second) == ["a1", "a2", "a3", "a4"]


def test_keys_are_free_when_their_consumer_is_cancelled_and_its_messages_are_answered(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, group_header="k")
    first = node.connect().channel()
    first.qos(1)
    tag = first.consume("q")
    send(channel, "a1", "a2")
    second = consumer(node)
    first.cancel(tag)
    assert got(second) == []
    first.ack(1)
    assert got(second) == ["a2"]


def test_a_no_ack_consumer_holds_no_key(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    first, second = node.connect().channel(), node.connect().channel()
    first.consume("q", no_ack=True)
    second.consume("q", no_ack=True)
    send(channel, "a1", "a2", "a3", "a4")
    assert (got(first), got(second)) == (["a1", "a3"], ["a2", "a4"])


def test_get_takes_the_first_message_whose_key_is_free(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    send(channel, "a1", "a2", "b1", "-1")
    bodies = []
    while (found := channel.get("q")) is not None:
        bodies.append(found.body)
    assert bodies == [b"a1", b"b1", b"-1"]
    assert channel.ready("q") == 1
    channel.ack(1)
    again = channel.get("q")
    assert again is not None and again.body == b"a2"


def test_numbers_are_the_same_key_in_any_width(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    for number in (7, 7 << 40, 7):
        channel.publish(b"%d" % number, key="q", properties=commands.Basic.Properties(headers={"k": number}))
    first, second = consumer(node), consumer(node)
    assert (got(first), got(second)) == (["7"], [str(7 << 40)])


def test_a_group_has_the_priority_of_its_first_message(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    more: dict[str, Any] = {"max_priority": 9} if type_name == "classic" else {}
    declare(channel, type_name, group_header="k", **more)
    send(channel, "a1", priority=1)
    send(channel, "a2", priority=9)
    send(channel, "b1", "b2", priority=5)
    first = consumer(node, 0)
    assert got(first) == ["b1", "b2", "a1", "a2"]


def test_consumer_priorities_count(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    low, high = consumer(node), consumer(node, priority=5)
    send(channel, "a1", "b1", "c1")
    assert (got(high), got(low)) == (["a1"], ["b1"])


def test_a_single_active_consumer_gets_everything(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k", single_active_consumer=True)
    first, second = consumer(node, 0), consumer(node, 0)
    send(channel, "a1", "b1", "a2")
    assert (got(first), got(second)) == (["a1", "b1", "a2"], [])


def test_a_message_that_waits_for_its_retry_keeps_its_key(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name, group_header="k", delayed_retry_type="all", delayed_retry_min=1000)
    first = consumer(node, 9)
    send(channel, "a1", "b1")
    assert got(first) == ["a1", "b1"]
    first.nack(1)
    send(channel, "a2", "b2")
    assert got(first) == ["b2"]
    node.advance(1100)
    assert got(first) == ["a1", "a2"]


def test_a_discarded_message_frees_its_key(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k", dead_letter_exchange="")
    first, second = consumer(node), consumer(node)
    send(channel, "a1", "a2")
    first.qos(0)
    first.reject(1, requeue=False)
    assert sorted(got(first) + got(second)) == ["a1", "a2"]


def test_time_limits_hold_in_lanes(node: Node, channel: ClientChannel, type_name: str) -> None:
    declare(channel, type_name, group_header="k", message_ttl=1000)
    first = consumer(node)
    send(channel, "a1", "a2", "b1")
    send(channel, "a3", expiration="200")
    node.advance(300)
    assert node.queue("q").ready_count() == 2
    node.advance(900)
    assert node.queue("q").ready_count() == 0
    first.ack(1)
    assert got(first) == ["a1"]


def test_a_length_limit_drops_the_oldest_of_all(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k", max_length=2)
    send(channel, "a1", "b1", "a2", "c1")
    assert channel.drain("q") == [b"a2", b"c1"]


def test_a_policy_brings_and_takes_groups_of_a_queue_with_messages(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name)
    send(channel, "a1", "a2", "b1")
    set_policy(node.broker, "/", "p", "q", {"group-header": "k"})
    finish(node.broker)
    first, second = consumer(node), consumer(node)
    assert (got(first), got(second)) == (["a1"], ["b1"])
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    second.ack(1)
    assert got(second) == ["a2"]
    assert node.queue("q").ready_count() == 0


def test_only_what_cannot_be_delivered_comes_into_lanes(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name, group_header="k")
    send(channel, "a1", "b1", "a2", "a3", "c1", "b2", "d1")
    first, second = consumer(node, 2), consumer(node, 2)
    assert (got(first), got(second)) == (["a1", "b1"], ["c1", "d1"])
    assert [int(entry[0]) for entry in lanes_of(node).browse_from(1, 9)] == [3, 4, 6]
    assert int(lanes_of(node).in_lanes) == 3, "the key of b2 was not with a consumer without credit"
    first.ack(2, multiple=True)
    assert got(first) == ["a2", "a3"]
    second.ack(2, multiple=True)
    assert got(second) == ["b2"]
    assert int(lanes_of(node).in_lanes) == 0


def test_groups_go_on_beyond_what_is_in_lanes_at_first(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    first = consumer(node)
    frames = b"".join(
        channel.message(b"a", key="q", properties=commands.Basic.Properties(headers={"k": "a"}))
        for _ in range(3000)
    )
    channel.client.feed(frames)
    send(channel, "b1")
    second = consumer(node)
    assert got(first) == ["a"]
    assert got(second) == ["b1"]
    assert channel.ready("q") == 2999


# fair share


def test_a_tenant_with_few_messages_does_not_wait_for_one_with_many(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name, fair_header="k")
    send(channel, *[f"a{number}" for number in range(300)], "b1", "b2", "c1")
    first = consumer(node, 7)
    assert got(first) == ["a0", "b1", "c1", "a1", "b2", "a2", "a3"]


def test_nobody_saves_turns(node: Node, channel: ClientChannel) -> None:
    declare(channel, fair_header="k")
    send(channel, *[f"a{number}" for number in range(9)])
    first = consumer(node, 4)
    assert got(first) == ["a0", "a1", "a2", "a3"]
    send(channel, *[f"b{number}" for number in range(9)])
    first.ack(4, multiple=True)
    shares = [body[0] for body in got(first)]
    assert sorted(shares) == ["a", "a", "b", "b"]


def test_fair_share_and_groups_go_together(node: Node, channel: ClientChannel) -> None:
    declare(channel, fair_header="t", group_header="k")
    for tenant, key, body in (("x", "a", "1"), ("x", "a", "2"), ("x", "b", "3"), ("y", "a", "4")):
        properties = commands.Basic.Properties(headers={"t": tenant, "k": key})
        channel.publish(body.encode(), key="q", properties=properties)
    first, second, third = consumer(node), consumer(node), consumer(node)
    assert (got(first), got(second), got(third)) == (["1"], ["4"], ["3"])


def test_fair_share_by_policy_sorts_what_is_there(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    frames = b"".join(
        channel.message(b"a%d" % number, key="q", properties=commands.Basic.Properties(headers={"k": "a"}))
        for number in range(6000)
    )
    channel.client.feed(frames)
    send(channel, "b1")
    set_policy(node.broker, "/", "p", "q", {"fair-header": "k"})
    finish(node.broker)
    node.turn()
    first = consumer(node, 2)
    assert got(first) == ["a0", "b1"]
    first.ack(2, multiple=True)
    assert got(first) == ["a1", "a2"]
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    send(channel, "b2")
    assert channel.ready("q") == 6001 - 4 + 1
    first.client.hang_up()
    assert channel.purge("q") == 6000


# filters


def test_each_kind_of_worker_gets_its_kind_of_message(
    node: Node, channel: ClientChannel, type_name: str
) -> None:
    declare(channel, type_name)
    red = consumer(node, 2, filter={"k": "r"})
    blue = consumer(node, 2, filter="k = 'b'")
    send(channel, "r1", "g1", "b1", "r2", "b2", "r3", "-1")
    assert (got(red), got(blue)) == (["r1", "r2"], ["b1", "b2"])
    red.ack(1)
    assert got(red) == ["r3"]
    assert channel.ready("q") == 2
    rest = consumer(node, 9)
    assert got(rest) == ["g1", "-1"]


def test_what_nobody_wants_waits_in_its_place_for_later_consumers(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    send(channel, "a1", "b1", "a2")
    first = consumer(node, 9, filter="k = 'b'")
    assert got(first) == ["b1"]
    second = consumer(node, 9, filter="k IN ('a', 'c')")
    assert got(second) == ["a1", "a2"]


def test_without_filters_all_is_as_it_was(node: Node, channel: ClientChannel, type_name: str) -> None:
    declare(channel, type_name)
    first = node.connect().channel()
    tag = first.consume("q", arguments={"x-filter": "k = 'z'"})
    send(channel, "a1", "a2", "b1")
    first.cancel(tag)
    queue = node.queue("q")
    assert isinstance(queue, ClassicQueue) and queue.lanes() is None
    send(channel, "c1")
    assert channel.drain("q") == [b"a1", b"a2", b"b1", b"c1"]


def test_filters_and_groups_go_together(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    high = consumer(node, 9, filter="properties.priority > 4")
    send(channel, "a1", "b1", priority=9)
    send(channel, "a2", priority=1)
    send(channel, "a3", priority=9)
    assert got(high) == ["a1", "b1"]
    low = consumer(node, 9, filter="properties.priority <= 4")
    assert got(low) == []
    high.ack(1)
    assert got(low) == ["a2"]
    assert got(high) == []
    low.ack(1)
    assert got(high) == ["a3"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("k = ", "at position 5, before the end"),
        ("k = 'a", "position 5"),
        ({"x-match": "some"}, "x-match"),
        (7, "expected a table or a string"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(
    node: Node, channel: ClientChannel, asked: Any, words: str
) -> None:
    declare(channel)
    channel.send(_consume(asked))
    text = channel.expect_close(406, commands.Basic.Consume, words)
    assert "invalid arg 'x-filter' for queue 'q'" in text


def _consume(asked: Any) -> commands.Basic.Consume:
    question = commands.Basic.Consume(queue="q", consumer_tag="t")
    question.arguments = {"x-filter": asked}
    return question


def test_streams_have_no_filters_of_this_kind(node: Node, channel: ClientChannel) -> None:
    declare(channel, "stream")
    channel.qos(1)
    channel.send(_consume("k = 1"))
    channel.expect_close(406, commands.Basic.Consume, "x-filter")


def test_there_are_only_so_many_different_filters(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    other = node.connect().channel()
    for number in range(MOST_FILTERS):
        other.consume("q", f"t{number}", arguments={"x-filter": f"k = {number}"})
    other.consume("q", arguments={"x-filter": "k = 1"})
    channel.send(_consume("k = 'one more'"))
    channel.expect_close(406, commands.Basic.Consume, "different filters")
    other.cancel("t3")
    other.consume("q", arguments={"x-filter": "k = 'one more'"})


def test_a_key_that_changes_hands_and_comes_back_is_served(node: Node, channel: ClientChannel) -> None:
    declare(channel, group_header="k")
    first = consumer(node, 2)
    send(channel, "a1", "a2", "a3", "b1")
    assert got(first) == ["a1", "a2"]
    second = consumer(node, 2)
    assert got(second) == ["b1"]
    first.ack(2, multiple=True)
    taker, other = (first, second) if (bodies := got(first)) else (second, first)
    assert bodies or got(second) == ["a3"]
    send(channel, "a4", "a5")
    other_bodies, more = got(other), got(taker)
    assert (other_bodies, more[:1]) == ([], ["a4"])
    tag = 3 if taker is first else 2
    taker.nack(tag)
    assert got(taker)[:1] == ["a3"]
