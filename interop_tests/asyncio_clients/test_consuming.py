"""Consuming: dispatch, prefetch, priorities, exclusivity, cancelling, getting."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    drain,
    publish,
    ready_count,
)
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names
from interop_tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.asyncio

AccessRefused = aiormq.exceptions.ChannelAccessRefused
NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def consumer_count(channel: AbstractChannel, queue: str) -> int:
    """Return how many consumers a queue has."""
    return int((await within(channel.queue_declare(queue, passive=True))).consumer_count or 0)


# Deliveries


async def test_a_delivery_carries_tag_exchange_key_and_no_redelivered_flag(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.queue_bind(queue, "amq.topic", "some.*"))
    consumer = await Deliveries.of(channel, queue)
    await within(channel.basic_publish(b"x", exchange="amq.topic", routing_key="some.key"))
    message = await consumer.next()
    assert message.consumer_tag == consumer.consumer_tag
    assert (message.exchange, message.routing_key) == ("amq.topic", "some.key")
    assert (message.delivery_tag, message.redelivered) == (1, False)


async def test_delivery_tags_count_per_channel_over_all_consumers_and_gets(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue, other = await declare_queue(channel), await declare_queue(channel)
    await publish(channel, queue, b"1")
    first = await within(channel.basic_get(queue, no_ack=True))
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, b"2")
    second = await consumer.next()
    consumer_of_other = await Deliveries.of(channel, other, no_ack=True)
    await publish(channel, other, b"3")
    third = await consumer_of_other.next()
    assert [message.delivery_tag for message in (first, second, third)] == [1, 2, 3]
    fresh = await within(connection.channel())
    await publish(fresh, other, b"4")
    await consumer_of_other.next()
    await within(channel.basic_cancel(consumer_of_other.consumer_tag))
    await publish(fresh, other, b"5")
    assert (await within(fresh.basic_get(other, no_ack=True))).delivery_tag == 1


async def test_messages_arrive_in_the_order_they_were_published(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    bodies = [str(number).encode() for number in range(200)]
    await publish(channel, queue, *bodies[:100])
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, *bodies[100:])
    assert await consumer.bodies(200) == bodies


async def test_consuming_a_missing_queue_is_404(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="no queue"):
        await Deliveries.of(channel, names.queue())
    await assert_usable(connection)


async def test_automatic_acknowledgement_leaves_nothing_to_requeue(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b")
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue, no_ack=True)
    await consumer.take(2)
    await within(consuming.close())
    assert await drain(channel, queue) == []


async def test_consumers_of_equal_priority_take_turns(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumers = [await Deliveries.of(channel, queue, no_ack=True) for _ in range(3)]
    await publish(channel, queue, *[b"x"] * 30)

    async def all_arrived() -> bool:
        return sum(consumer.count() for consumer in consumers) == 30

    await eventually(all_arrived, "30 deliveries")
    assert [consumer.count() for consumer in consumers] == [10, 10, 10]


# Prefetch


async def test_prefetch_holds_back_what_exceeds_it_until_an_acknowledgement(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=3))
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, *[b"x"] * 10)
    messages = await consumer.take(3)
    assert await ready_count(channel, queue) == 7
    await within(channel.basic_ack(messages[1].delivery_tag or 0, multiple=True))
    await consumer.take(2)
    assert await ready_count(channel, queue) == 5
    assert consumer.count() == 0


@pytest.mark.parametrize("settle", ["reject", "nack"])
async def test_rejecting_gives_credit_back_too(channel: AbstractChannel, settle: str) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, b"a", b"b")
    tag = (await consumer.next()).delivery_tag or 0
    if settle == "reject":
        await within(channel.basic_reject(tag, requeue=False))
    else:
        await within(channel.basic_nack(tag, requeue=False))
    assert await consumer.bodies(1) == [b"b"]


async def test_prefetch_counts_for_each_consumer_by_itself(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=2))
    consumers = [await Deliveries.of(channel, queue) for _ in range(3)]
    await publish(channel, queue, *[b"x"] * 10)
    for consumer in consumers:
        await consumer.take(2)
    assert await ready_count(channel, queue) == 4


async def test_a_new_prefetch_is_for_consumers_started_later(channel: AbstractChannel) -> None:
    queue, other = await declare_queue(channel), await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1))
    earlier = await Deliveries.of(channel, queue)
    await within(channel.basic_qos(prefetch_count=3))
    later = await Deliveries.of(channel, other)
    await publish(channel, queue, *[b"x"] * 5)
    await publish(channel, other, *[b"x"] * 5)
    await earlier.take(1)
    await later.take(3)
    assert (await ready_count(channel, queue), await ready_count(channel, other)) == (4, 2)


async def test_global_prefetch_is_shared_by_all_consumers_of_the_channel(channel: AbstractChannel) -> None:
    queue, other = await declare_queue(channel), await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=3, global_=True))
    consumers = [await Deliveries.of(channel, queue), await Deliveries.of(channel, other)]
    await publish(channel, queue, *[b"x"] * 2)
    await publish(channel, other, *[b"x"] * 5)
    messages = await consumers[0].take(2) + await consumers[1].take(1)
    assert (await ready_count(channel, queue), await ready_count(channel, other)) == (0, 4)
    await within(channel.basic_ack(messages[0].delivery_tag or 0))
    await consumers[1].take(1)
    assert await ready_count(channel, other) == 3


async def test_global_prefetch_changes_for_running_consumers(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1, global_=True))
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, *[b"x"] * 10)
    await consumer.take(1)
    await within(channel.basic_qos(prefetch_count=4, global_=True))
    await consumer.take(3)
    assert await ready_count(channel, queue) == 6


async def test_shared_and_own_prefetch_hold_together(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=2))
    await within(channel.basic_qos(prefetch_count=3, global_=True))
    consumers = [await Deliveries.of(channel, queue) for _ in range(2)]
    await publish(channel, queue, *[b"x"] * 10)

    async def three_arrived() -> bool:
        return sum(consumer.count() for consumer in consumers) == 3

    await eventually(three_arrived, "three deliveries")
    assert await ready_count(channel, queue) == 7
    assert max(consumer.count() for consumer in consumers) <= 2


async def test_prefetch_zero_means_no_limit(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1))
    await within(channel.basic_qos(prefetch_count=0))
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, *[b"x"] * 500)
    await consumer.take(500)


async def test_automatic_acknowledgement_is_not_limited_by_prefetch(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, *[b"x"] * 20)
    await consumer.take(20)


async def test_a_prefetch_size_is_540_on_the_connection(connect: Connect) -> None:
    connection = await connect()
    channel = await within(connection.channel())
    with pytest.raises(aiormq.exceptions.ConnectionNotImplemented, match="prefetch_size"):
        await within(channel.basic_qos(prefetch_size=1000))


# Priorities and exclusivity


async def test_higher_consumer_priority_is_served_first(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=2))
    low = await Deliveries.of(channel, queue, arguments={"x-priority": -5})
    middle = await Deliveries.of(channel, queue)
    high = await Deliveries.of(channel, queue, arguments={"x-priority": 10})
    await publish(channel, queue, *[str(number).encode() for number in range(7)])
    assert await high.bodies(2) == [b"0", b"1"]
    assert await middle.bodies(2) == [b"2", b"3"]
    assert await low.bodies(2) == [b"4", b"5"]
    assert await ready_count(channel, queue) == 1


async def test_a_consumer_priority_must_be_an_integer(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    with pytest.raises(PreconditionFailed, match="x-priority"):
        await Deliveries.of(channel, queue, arguments={"x-priority": "high"})
    await assert_usable(connection)


async def test_unknown_consumer_arguments_are_ignored(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(
        channel, queue, arguments={"x-made-up": 1, "x-cancel-on-ha-failover": True}
    )
    await publish(channel, queue, b"x")
    assert await consumer.bodies(1) == [b"x"]


async def test_an_exclusive_consumer_keeps_others_out(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(channel, queue, exclusive=True)
    with pytest.raises(AccessRefused, match="in exclusive use"):
        await Deliveries.of(await connection.channel(), queue)
    with pytest.raises(AccessRefused, match="in exclusive use"):
        await Deliveries.of(await connection.channel(), queue, exclusive=True)
    await within(channel.basic_cancel(consumer.consumer_tag))
    await Deliveries.of(await within(connection.channel()), queue, exclusive=True)


async def test_exclusive_consuming_is_refused_while_others_consume(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await Deliveries.of(channel, queue)
    with pytest.raises(AccessRefused, match="in exclusive use"):
        await Deliveries.of(await connection.channel(), queue, exclusive=True)


async def test_a_single_active_consumer_gets_everything_until_it_goes(
    connection: AbstractConnection, names: Names
) -> None:
    channel = await within(connection.channel())
    queue = await declare_queue(channel, names.queue(), arguments={"x-single-active-consumer": True})
    first_channel, second_channel = [await within(connection.channel()) for _ in range(2)]
    first = await Deliveries.of(first_channel, queue)
    second = await Deliveries.of(second_channel, queue)
    await publish(channel, queue, b"a", b"b")
    assert await first.bodies(2) == [b"a", b"b"]
    await within(first_channel.close())
    messages = await second.take(2)
    assert [(message.body, message.redelivered) for message in messages] == [(b"a", True), (b"b", True)]
    await publish(channel, queue, b"c")
    assert await second.bodies(1) == [b"c"]


# Cancelling


async def test_nothing_is_delivered_after_cancel_ok(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, b"a")
    await within(channel.basic_cancel(consumer.consumer_tag))
    await publish(channel, queue, b"b")
    assert await ready_count(channel, queue) == 1
    assert await consumer.bodies(1) == [b"a"]


async def test_what_was_delivered_before_a_cancel_can_still_be_acknowledged(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    await publish(channel, queue, b"a", b"b")
    first, _ = await consumer.take(2)
    await within(consuming.basic_cancel(consumer.consumer_tag))
    await within(consuming.basic_ack(first.delivery_tag or 0))
    await within(consuming.close())
    assert await drain(channel, queue) == [b"b"]


async def test_cancelling_an_unknown_tag_is_fine(channel: AbstractChannel) -> None:
    answer = await within(channel.basic_cancel("no-such-consumer"))
    assert answer.consumer_tag == "no-such-consumer"


async def test_a_consumer_tag_is_free_again_after_a_cancel(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    for body in (b"a", b"b"):
        consumer = await Deliveries.of(channel, queue, consumer_tag="mine", no_ack=True)
        await publish(channel, queue, body)
        assert await consumer.bodies(1) == [body]
        await within(channel.basic_cancel("mine"))


async def test_two_channels_can_use_the_same_consumer_tag(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    other = await within(connection.channel())
    consumers = [
        await Deliveries.of(consuming, queue, consumer_tag="same", no_ack=True)
        for consuming in (channel, other)
    ]
    await publish(channel, queue, b"x", b"x")
    for consumer in consumers:
        assert await consumer.bodies(1) == [b"x"]


async def test_the_same_consumer_tag_twice_on_a_channel_is_530(connect: Connect) -> None:
    connection = await connect()
    channel = await within(connection.channel())
    queue = await declare_queue(channel)
    await Deliveries.of(channel, queue, consumer_tag="mine")
    # The client refuses this by itself, so the second consume goes out below its bookkeeping.
    with pytest.raises(aiormq.exceptions.ConnectionNotAllowed, match="attempt to reuse consumer tag 'mine'"):
        await within(channel.rpc(_consume(queue, "mine")))  # type: ignore[attr-defined]


def _consume(queue: str, tag: str) -> Basic.Consume:
    return Basic.Consume(queue=queue, consumer_tag=tag)


async def test_closing_a_channel_ends_its_consumers(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    consuming = await within(connection.channel())
    await Deliveries.of(consuming, queue)
    assert await consumer_count(channel, queue) == 1
    await within(consuming.close())

    async def none_left() -> bool:
        return await consumer_count(channel, queue) == 0

    await eventually(none_left, "the consumer of the closed channel is gone")


# Getting


async def test_get_from_an_empty_queue_is_get_empty(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    message = await within(channel.basic_get(queue))
    assert isinstance(message.delivery, Basic.GetEmpty)


async def test_get_tells_how_many_more_are_ready(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b", b"c")
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(3)]
    assert [(message.body, message.message_count) for message in messages] == [
        (b"a", 2),
        (b"b", 1),
        (b"c", 0),
    ]
    assert not any(message.redelivered for message in messages)


async def test_get_does_not_count_against_prefetch(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.basic_qos(prefetch_count=1))
    await publish(channel, queue, b"a", b"b", b"c")
    bodies = [(await within(channel.basic_get(queue))).body for _ in range(3)]
    assert bodies == [b"a", b"b", b"c"]


async def test_getting_from_a_missing_queue_is_404(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="no queue"):
        await within(channel.basic_get(names.queue()))
    await assert_usable(connection)


# Flow


async def test_flow_off_pauses_deliveries_and_flow_on_resumes_them(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert (await within(channel.flow(active=False))).active is False
    await publish(channel, queue, b"a", b"b")
    assert await ready_count(channel, queue) == 2
    assert consumer.count() == 0
    assert (await within(channel.flow(active=True))).active is True
    assert await consumer.bodies(2) == [b"a", b"b"]


async def test_flow_on_is_answered(channel: AbstractChannel) -> None:
    assert (await within(channel.flow(active=True))).active is True


async def test_a_consumer_that_stops_reading_stalls_nobody_and_loses_nothing(
    broker: BrokerUnderTest, connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    slow_queue, fast_queue = await declare_queue(channel, names.queue()), await declare_queue(channel)
    fast = await Deliveries.of(await within(connection.channel()), fast_queue, no_ack=True)
    async with TcpProxy(broker.host, broker.port) as proxy:
        stuck = await within(aiormq.connect(broker.url_at(proxy.port)))
        slow = await Deliveries.of(await within(stuck.channel()), slow_queue, no_ack=True)
        proxy.hold_replies()
        for number in range(40):
            await publish(channel, slow_queue, bytes([number]) * 500_000)
            await publish(channel, fast_queue, b"quick")
        assert await fast.bodies(40) == [b"quick"] * 40
        assert slow.count() < 40, "the proxy held nothing back"
        proxy.release_replies()
        assert [body[0] for body in await slow.bodies(40)] == list(range(40))
        await within(stuck.close())
