"""Priorities of messages, in classic queues with `x-max-priority`, and of consumers, in any queue."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    drain,
    publish,
    ready_becomes,
    ready_count,
)
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def declare(channel: AbstractChannel, maximum: int, **arguments: object) -> str:
    """Declare a priority queue; further arguments are without their `x-` and with underscores."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return await declare_queue(channel, arguments={"x-max-priority": maximum, **given})


async def publish_with(channel: AbstractChannel, queue: str, *messages: tuple[bytes, int | None]) -> None:
    """Publish bodies with their priorities, one after the other, each confirmed."""
    for body, priority in messages:
        properties = Basic.Properties(priority=priority)
        await within(channel.basic_publish(body, routing_key=queue, properties=properties))


# Order


async def test_higher_priorities_come_first_and_equal_ones_in_publish_order(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(
        channel, queue, (b"1a", 1), (b"5a", 5), (b"3a", 3), (b"1b", 1), (b"5b", 5), (b"0a", 0), (b"3b", 3)
    )
    assert await drain(channel, queue) == [b"5a", b"5b", b"3a", b"3b", b"1a", b"1b", b"0a"]


async def test_a_priority_above_the_maximum_counts_as_the_maximum(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"4", 4), (b"9", 9), (b"5", 5), (b"255", 255))
    assert await drain(channel, queue) == [b"9", b"5", b"255", b"4"]


async def test_a_message_without_priority_counts_as_zero(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"none a", None), (b"zero", 0), (b"none b", None), (b"one", 1))
    assert await drain(channel, queue) == [b"one", b"none a", b"zero", b"none b"]


async def test_the_priority_arrives_as_it_was_published(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"above", 200), (b"none", None))
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(2)]
    assert [message.header.properties.priority for message in messages] == [200, None]


async def test_the_highest_maximum_is_255(channel: AbstractChannel) -> None:
    queue = await declare(channel, 255)
    await publish_with(channel, queue, (b"0", 0), (b"254", 254), (b"255", 255), (b"1", 1))
    assert await drain(channel, queue) == [b"255", b"254", b"1", b"0"]


async def test_a_maximum_of_zero_is_one_level(channel: AbstractChannel) -> None:
    queue = await declare(channel, 0)
    await publish_with(channel, queue, (b"a", 0), (b"b", 9), (b"c", 1))
    assert await drain(channel, queue) == [b"a", b"b", b"c"]


async def test_without_a_maximum_priorities_mean_nothing(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish_with(channel, queue, (b"a", 0), (b"b", 9), (b"c", 1))
    assert await drain(channel, queue) == [b"a", b"b", b"c"]


async def test_a_get_tells_how_many_more_are_ready_over_all_priorities(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"low", 1), (b"high", 5), (b"none", None))
    assert await ready_count(channel, queue) == 3
    counts = [(await within(channel.basic_get(queue, no_ack=True))).message_count for _ in range(3)]
    assert counts == [2, 1, 0]


async def test_purging_takes_all_priorities_and_leaves_what_is_held(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"low", 1), (b"high", 5), (b"none", None))
    held = await within(channel.basic_get(queue))
    assert (await within(channel.queue_purge(queue))).message_count == 2
    await within(channel.basic_nack(held.delivery_tag or 0))
    assert await drain(channel, queue) == [b"high"]


# Requeueing


async def test_a_requeued_message_goes_to_its_old_place_in_its_priority(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5)
    await publish_with(channel, queue, (b"l1", 1), (b"l2", 1), (b"h1", 5), (b"h2", 5))
    held = [await within(channel.basic_get(queue)) for _ in range(3)]
    assert [message.body for message in held] == [b"h1", b"h2", b"l1"]
    await publish_with(channel, queue, (b"h3", 5), (b"l3", 1))
    for message in reversed(held):
        await within(channel.basic_nack(message.delivery_tag or 0))
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(6)]
    assert [(message.body, message.redelivered) for message in messages] == [
        (b"h1", True),
        (b"h2", True),
        (b"h3", False),
        (b"l1", True),
        (b"l2", False),
        (b"l3", False),
    ]


# With prefetch


async def test_what_was_delivered_already_is_not_overtaken_but_what_waits_is(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare(channel, 5)
    consuming = await within(connection.channel())
    await within(consuming.basic_qos(prefetch_count=2))
    consumer = await Deliveries.of(consuming, queue)
    await publish_with(channel, queue, (b"l1", 1), (b"l2", 1), (b"l3", 1), (b"h1", 5), (b"h2", 5))
    held = await consumer.take(2)
    assert [message.body for message in held] == [b"l1", b"l2"]
    for message in held:
        await within(consuming.basic_ack(message.delivery_tag or 0))
    assert await consumer.bodies(2) == [b"h1", b"h2"]
    assert await drain(channel, queue) == [b"l3"]


# With a length limit


async def test_a_full_priority_queue_drops_its_highest_priority_first(channel: AbstractChannel) -> None:
    dead = await declare_queue(channel)
    queue = await declare(channel, 5, max_length=2, dead_letter_exchange="", dead_letter_routing_key=dead)
    await publish_with(channel, queue, (b"l1", 1), (b"h1", 5), (b"l2", 1), (b"m", 3), (b"h2", 5))
    assert await drain(channel, queue) == [b"l1", b"l2"]
    await ready_becomes(channel, dead, 3)
    assert await drain(channel, dead) == [b"h1", b"m", b"h2"], "the head of the queue, each time"


async def test_a_byte_limit_drops_the_highest_priority_first_too(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5, max_length_bytes=4)
    await publish_with(channel, queue, (b"l1", 1), (b"h1", 5), (b"l2", 1))
    assert await drain(channel, queue) == [b"l1", b"l2"]


async def test_a_full_priority_queue_can_refuse_whatever_the_priority(channel: AbstractChannel) -> None:
    queue = await declare(channel, 5, max_length=2, overflow="reject-publish")
    await publish_with(channel, queue, (b"l1", 1), (b"m", 3))
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await publish_with(channel, queue, (b"h1", 5))
    assert await drain(channel, queue) == [b"m", b"l1"]


# With dead letters


async def test_a_dead_letter_keeps_its_priority(channel: AbstractChannel) -> None:
    dead = await declare(channel, 9)
    queue = await declare(channel, 5, dead_letter_exchange="", dead_letter_routing_key=dead)
    await publish_with(channel, queue, (b"low", 1), (b"high", 200))
    for _ in range(2):
        message = await within(channel.basic_get(queue))
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=False))
    await ready_becomes(channel, dead, 2)
    messages = [await within(channel.basic_get(dead, no_ack=True)) for _ in range(2)]
    assert [(message.body, message.header.properties.priority) for message in messages] == [
        (b"high", 200),
        (b"low", 1),
    ]


# Declaring


@pytest.mark.parametrize(
    "value", [-1, 256, 2**31, 2**63 - 1, 1.5, 5.0, True, "5", "", None, [1], {"a": 1}], ids=repr
)
async def test_a_maximum_that_is_no_whole_number_from_0_to_255_is_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, value: object
) -> None:
    queue = names.queue()
    with pytest.raises(
        PreconditionFailed,
        match=f"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '{queue}' in vhost '/'",
    ):
        await declare_queue(channel, queue, arguments={"x-max-priority": value})
    await assert_usable(connection)


async def test_a_redeclare_must_repeat_the_maximum(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), arguments={"x-max-priority": 5})
    await declare_queue(channel, queue, arguments={"x-max-priority": 5})
    where = f"inequivalent arg 'x-max-priority' for queue '{queue}' in vhost '/'"
    with pytest.raises(PreconditionFailed, match=f"{where}: received '6' but current is '5'"):
        await declare_queue(await connection.channel(), queue, arguments={"x-max-priority": 6})
    with pytest.raises(PreconditionFailed, match=f"{where}: received none but current is the value '5'"):
        await declare_queue(await connection.channel(), queue)


async def test_a_quorum_queue_has_no_maximum_priority(channel: AbstractChannel, names: Names) -> None:
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-max-priority' for queue"):
        await declare_queue(
            channel,
            names.queue(),
            durable=True,
            arguments={"x-queue-type": "quorum", "x-max-priority": 5},
        )


# Consumers


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type that has consumer priorities."""
    return str(request.param)


async def consumer_of(
    connection: AbstractConnection, queue: str, prefetch: int, priority: int | None = None
) -> tuple[AbstractChannel, Deliveries]:
    """Consume on a channel of its own."""
    channel = await within(connection.channel())
    await within(channel.basic_qos(prefetch_count=prefetch))
    arguments = {} if priority is None else {"x-priority": priority}
    return channel, await Deliveries.of(channel, queue, arguments=arguments)


async def declare_shared(channel: AbstractChannel, names: Names, queue_type: str) -> str:
    """Declare a durable queue of a type."""
    return await declare_queue(channel, names.queue(), durable=True, arguments={"x-queue-type": queue_type})


async def test_consumers_are_served_by_priority_and_in_turns_within_one(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    _, low = await consumer_of(connection, queue, 2, -1)
    _, high = await consumer_of(connection, queue, 2, 7)
    _, also_high = await consumer_of(connection, queue, 2, 7)
    _, middle = await consumer_of(connection, queue, 2)
    await publish(channel, queue, *(b"%d" % number for number in range(10)))
    assert await high.bodies(2) == [b"0", b"2"]
    assert await also_high.bodies(2) == [b"1", b"3"]
    assert await middle.bodies(2) == [b"4", b"5"], "without x-priority it is 0"
    assert await low.bodies(2) == [b"6", b"7"]
    await ready_becomes(channel, queue, 2)


async def test_a_lower_consumer_gets_messages_only_while_the_higher_has_no_credit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    _, low = await consumer_of(connection, queue, 10)
    high_channel, high = await consumer_of(connection, queue, 1, 5)
    await publish(channel, queue, b"1", b"2")
    held = await high.next()
    assert (held.body, await low.bodies(1)) == (b"1", [b"2"])
    await within(high_channel.basic_ack(held.delivery_tag or 0))
    # The acknowledgement has no answer; one on the same channel afterwards says that it was handled.
    await within(high_channel.basic_qos(prefetch_count=1))
    await publish(channel, queue, b"3")
    assert await high.bodies(1) == [b"3"]


async def test_the_next_consumer_takes_over_when_the_highest_goes(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    _, low = await consumer_of(connection, queue, 10)
    high_channel, high = await consumer_of(connection, queue, 10, 5)
    await publish(channel, queue, b"1")
    assert await high.bodies(1) == [b"1"]
    await within(high_channel.close())
    assert (await low.next()).redelivered
    await publish(channel, queue, b"2")
    assert await low.bodies(1) == [b"2"]


async def test_a_late_consumer_of_higher_priority_comes_first(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    _, early = await consumer_of(connection, queue, 10)
    await publish(channel, queue, b"1")
    assert await early.bodies(1) == [b"1"]
    _, late = await consumer_of(connection, queue, 10, 1)
    await publish(channel, queue, b"2", b"3")
    assert await late.bodies(2) == [b"2", b"3"]
    assert early.count() == 0


@pytest.mark.parametrize("value", ["high", "5", 1.5, True, None, [1], {"a": 1}], ids=repr)
async def test_a_consumer_priority_that_is_no_whole_number_is_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str, value: object
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    with pytest.raises(
        PreconditionFailed, match=f"invalid arg 'x-priority' for queue '{queue}' in vhost '/'"
    ):
        await Deliveries.of(await connection.channel(), queue, arguments={"x-priority": value})
    await assert_usable(connection)


async def test_a_consumer_priority_may_be_any_integer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare_shared(channel, names, queue_type)
    consumers = [await consumer_of(connection, queue, 1, priority) for priority in (-(2**62), 0, 2**62)]
    await publish(channel, queue, b"1", b"2", b"3")

    async def all_arrived() -> bool:
        return all(consumer.count() == 1 for _, consumer in consumers)

    await eventually(all_arrived, "a delivery for each consumer")
    assert [await consumer.bodies(1) for _, consumer in consumers] == [[b"3"], [b"2"], [b"1"]]
