"""What holds a queue back: rates, a bound on unanswered deliveries, and buckets by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.deadlines import NEVER
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.brakes import Brake, Bucket
from tests.support.client import ClientChannel, queue_declare
from tests.support.node import Node

KINDS = [
    {},
    {"x-queue-type": "quorum"},
    {"x-max-priority": 3},
    {"x-group-header": "key"},
    {"x-fair-header": "tenant"},
    {"x-message-ttl": 100_000_000},
]


def test_a_bucket_holds_a_fifth_of_a_second() -> None:
    bucket = Bucket(1000, 0)
    assert bucket.available(0) == 200
    bucket.spend(200)
    assert (bucket.available(0), bucket.available(1), bucket.available(60)) == (0, 1, 60)
    assert bucket.available(1 << 50) == 200, "it holds no more however long nothing goes"


def test_a_low_rate_goes_message_by_message() -> None:
    bucket = Bucket(2, 0)
    assert bucket.available(0) == 1
    bucket.spend(1)
    assert bucket.wait(0) == 500
    assert (bucket.available(499), bucket.available(500)) == (0, 1)


def test_who_is_ahead_waits_until_it_is_paid_for() -> None:
    bucket = Bucket(100, 0)
    bucket.spend(20)
    assert bucket.overdrawn(0) == 0
    bucket.spend(4)
    assert bucket.overdrawn(0) == 0, "less than a twentieth of a second is not worth waiting for"
    bucket.spend(6)
    assert bucket.overdrawn(0) == 100
    assert bucket.overdrawn(100) == 0


@given(st.integers(1, 100_000), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 1000)), max_size=50))
def test_no_more_goes_than_the_rate_and_one_burst(rate: int, steps: list[tuple[int, int]]) -> None:
    bucket = Bucket(rate, 0)
    now = went = 0
    for passed, wanted in steps:
        now += passed
        count = min(wanted, bucket.available(now))
        bucket.spend(count)
        went += count
    assert went <= rate * now / 1000 + max(1, rate / 5)


@given(st.integers(1, 5_000), st.integers(0, 50))
def test_after_the_wait_something_may_go(rate: int, spent: int) -> None:
    bucket = Bucket(rate, 0)
    bucket.spend(int(bucket.available(0)) + spent)
    assert bucket.available(bucket.wait(0)) > 0


def test_a_brake_says_when_it_opens() -> None:
    brake = Brake()
    assert brake.idle() and brake.opens_at(0, 0) == NEVER
    brake.limit(1, 5, 0)
    assert not brake.idle()
    assert [brake.allows(0, 0, unacked) for unacked in (0, 4, 5, 9)] == [1, 1, 0, 0]
    brake.spent(1)
    assert brake.opens_at(0, 7000) == 8000
    brake.paused_until = 9000
    assert brake.allows(5000, 8999, 0) == 0 and brake.opens_at(5000, 8999) == 9000
    assert brake.allows(5000, 9000, 0) == 1


def fill(channel: ClientChannel, count: int) -> None:
    for number in range(count):
        channel.publish(b"%d" % number, key="q")


@pytest.mark.parametrize("arguments", KINDS)
def test_a_queue_delivers_at_its_rate(node: Node, channel: ClientChannel, arguments: FieldTable) -> None:
    durable = "x-queue-type" in arguments
    channel.declare_queue("q", durable=durable, arguments={**arguments, "x-delivery-rate": 10})
    channel.consume("q", no_ack=True)
    fill(channel, 30)
    assert len(channel.bodies()) == 2, "what goes at once is a fifth of a second's"
    for _ in range(10):
        node.advance(100)
        assert len(channel.bodies()) == 1
    assert channel.get("q") is None, "the rate is for messages that are got, too"
    node.advance(100)
    assert node.queue("q").ready_count() == 17
    node.advance(1_000_000)
    assert node.queue("q").ready_count() == 15, "a quiet time does not add up"


@pytest.mark.parametrize("arguments", KINDS)
def test_no_more_is_unanswered_than_may_be(
    node: Node, channel: ClientChannel, other: ClientChannel, arguments: FieldTable
) -> None:
    durable = "x-queue-type" in arguments
    channel.declare_queue("q", durable=durable, arguments={**arguments, "x-max-unacked": 3})
    channel.consume("q")
    other.consume("q")
    fill(channel, 10)
    first, second = channel.deliveries(), other.deliveries()
    assert len(first) + len(second) == 3
    assert channel.get("q") is None
    for delivery in first:
        channel.ack(delivery.tag)
    assert node.queue("q").unacked_count == 3
    for delivery in second:
        other.reject(delivery.tag, requeue=False)
    assert node.queue("q").unacked_count == 3
    for each in (channel, other):
        for delivery in each.deliveries():
            each.nack(delivery.tag)
    assert node.queue("q").unacked_count == 3
    assert node.queue("q").ready_count() == 4
    other.client.hang_up()
    assert node.queue("q").unacked_count == 3, "what a lost client held goes on to others"
    seen = set()
    while found := channel.deliveries():
        for delivery in found:
            seen.add(delivery.body)
            channel.ack(delivery.tag)
    assert node.queue("q").ready_count() == 0 and len(seen) >= 5


def test_consumers_without_acknowledgements_are_not_bound(channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-unacked": 1})
    channel.consume("q", no_ack=True)
    fill(channel, 10)
    assert len(channel.bodies()) == 10


def test_a_policy_slows_down_and_lets_go(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", no_ack=True)
    set_policy(node.broker, "/", "slow", "^q$", {"delivery-rate": 1, "max-unacked": 5})
    finish(node.broker)
    fill(channel, 3)
    assert channel.bodies() == [b"0"]
    set_policy(node.broker, "/", "cap", "^q$", {"delivery-rate": 1000}, operator=True)
    finish(node.broker)
    node.turn()
    assert channel.bodies() == [], "of two rates the lower one counts"
    set_policy(node.broker, "/", "slow", "^q$", {"delivery-rate": 1000})
    finish(node.broker)
    node.turn()
    assert channel.bodies() == [b"1", b"2"]
    clear_policy(node.broker, "/", "slow")
    clear_policy(node.broker, "/", "cap", operator=True)
    finish(node.broker)
    assert node.queue("q").brake is None


@pytest.mark.parametrize("key", ["x-delivery-rate", "x-publish-rate", "x-max-unacked"])
@pytest.mark.parametrize("value", [0, -1, "fast", True])
def test_a_bad_value_is_refused(channel: ClientChannel, key: str, value: int | str) -> None:
    channel.send(queue_declare("q", False, False, False, False, {key: value}))
    channel.expect_close(406, commands.Queue.Declare, f"invalid arg '{key}'")


def test_a_stream_knows_no_rates(channel: ClientChannel) -> None:
    arguments: FieldTable = {"x-queue-type": "stream", "x-delivery-rate": 1}
    channel.send(queue_declare("q", False, True, False, False, arguments))
    channel.expect_close(406, commands.Queue.Declare, "x-delivery-rate")


def test_a_publisher_ahead_of_the_rate_waits_and_nothing_is_lost(node: Node) -> None:
    channel = node.connect().channel()
    channel.declare_queue("q", arguments={"x-publish-rate": 10})
    channel.confirm_select()
    connection = channel.client.connection
    channel.client.feed(b"".join(channel.message(b"%d" % number, key="q") for number in range(10)))
    waited = 0
    while connection.stalled:
        assert connection.slow_until - node.clock.now <= 100, "a low rate goes message by message"
        node.advance(int(connection.slow_until - node.clock.now))
        waited += 1
        connection.slow_until = 0
        connection.resume()
        node.turn()
    assert node.queue("q").ready_count() == 10
    assert waited == 8, "two go at once"
    assert channel.outcomes() == ["ack"] * 10
    assert channel.drain("q") == [b"%d" % number for number in range(10)]


def test_who_publishes_elsewhere_does_not_wait(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-publish-rate": 1})
    channel.declare_queue("free")
    for _ in range(20):
        channel.publish(b"", key="free")
    assert not channel.client.connection.stalled
