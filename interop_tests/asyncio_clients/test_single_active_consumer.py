"""Queues with a single active consumer: who is active, and when the next one takes over."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    publish,
    ready_becomes,
    ready_count,
)
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

AccessRefused = aiormq.exceptions.ChannelAccessRefused
LockedResource = aiormq.exceptions.ChannelLockedResource
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

PROMPT = 3.0
"""Seconds within which a consumer that becomes active has its first message."""


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type that can have a single active consumer."""
    return str(request.param)


async def declare(
    channel: AbstractChannel, names: Names, queue_type: str = "classic", **arguments: object
) -> str:
    """Declare a durable queue with a single active consumer."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    given |= {"x-queue-type": queue_type, "x-single-active-consumer": True}
    return await declare_queue(channel, names.queue(), durable=True, arguments=given)


async def consumer_of(
    connection: AbstractConnection, queue: str, prefetch: int = 0, **options: object
) -> tuple[AbstractChannel, Deliveries]:
    """Consume on a channel of its own."""
    channel = await within(connection.channel())
    await within(channel.basic_qos(prefetch_count=prefetch))
    return channel, await Deliveries.of(channel, queue, **options)


def bodies_and_flags(messages: list[DeliveredMessage]) -> list[tuple[bytes, bool]]:
    """Return what the tests compare: bodies, and whether they were delivered before."""
    return [(message.body, bool(message.redelivered)) for message in messages]


# Taking over


async def test_the_first_consumer_is_active_and_the_others_wait(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    consumers = [(await consumer_of(connection, queue))[1] for _ in range(3)]
    await publish(channel, queue, *[b"x"] * 20)
    await consumers[0].take(20)
    assert [consumer.count() for consumer in consumers[1:]] == [0, 0]
    answer = await within(channel.queue_declare(queue, passive=True))
    # A quorum queue of RabbitMQ 3.10 counts the active one only.
    assert answer.consumer_count in ((3,) if queue_type == "classic" else (1, 3)), "those that wait count too"


@pytest.mark.parametrize("ending", ["channel", "connection"])
async def test_the_next_in_order_gets_what_a_lost_consumer_held(
    connect: Connect,
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    queue_type: str,
    ending: str,
) -> None:
    queue = await declare(channel, names, queue_type)
    owner = await connect()
    active_channel, active = await consumer_of(owner, queue)
    _, second = await consumer_of(connection, queue)
    _, third = await consumer_of(connection, queue)
    await publish(channel, queue, b"1", b"2")
    assert bodies_and_flags(await active.take(2)) == [(b"1", False), (b"2", False)]
    await within(active_channel.close() if ending == "channel" else owner.close())
    taken: list[DeliveredMessage] = []

    async def both_taken() -> bool:
        for consumer in (second, third):
            taken.extend([await consumer.next() for _ in range(consumer.count())])
        return len(taken) == 2

    await eventually(both_taken, "both messages are delivered again")
    assert sorted(bodies_and_flags(taken)) == [(b"1", True), (b"2", True)]
    await publish(channel, queue, b"3")
    assert len({message.consumer_tag for message in taken}) == 1, "only one is active"


async def test_a_cancelled_consumer_hands_over_but_keeps_what_it_holds(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    first_channel, first = await consumer_of(connection, queue)
    _, second = await consumer_of(connection, queue)
    await publish(channel, queue, b"1", b"2")
    held = await first.take(2)
    await within(first_channel.basic_cancel(first.consumer_tag))
    await publish(channel, queue, b"3")
    assert bodies_and_flags(await second.take(1)) == [(b"3", False)]
    for message in held:
        await within(first_channel.basic_ack(message.delivery_tag or 0))
    await within(first_channel.close())
    assert await ready_count(channel, queue) == 0
    assert second.count() == 0, "what the first one acknowledged does not come back"


async def test_a_classic_queue_hands_waiting_messages_over_at_once(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    await _hands_waiting_messages_over(connection, channel, await declare(channel, names))


async def test_a_quorum_queue_hands_waiting_messages_over_at_once(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    await _hands_waiting_messages_over(connection, channel, await declare(channel, names, "quorum"))


async def _hands_waiting_messages_over(
    connection: AbstractConnection, channel: AbstractChannel, queue: str
) -> None:
    first_channel, first = await consumer_of(connection, queue, 1)
    _, second = await consumer_of(connection, queue)
    await publish(channel, queue, b"1", b"2", b"3")
    assert await first.bodies(1) == [b"1"]
    await within(first_channel.basic_cancel(first.consumer_tag))
    await ready_soon_taken(second, 2)
    assert await second.bodies(2) == [b"2", b"3"]


async def ready_soon_taken(consumer: Deliveries, count: int) -> None:
    """Wait until so many messages arrived at a consumer that has just become active."""

    async def arrived() -> bool:
        return consumer.count() == count

    await eventually(arrived, f"{count} deliveries without further ado", seconds=PROMPT)


async def test_consumers_that_left_while_waiting_are_passed_over(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    first_channel, first = await consumer_of(connection, queue)
    second_channel, second = await consumer_of(connection, queue)
    _, third = await consumer_of(connection, queue)
    await within(second_channel.basic_cancel(second.consumer_tag))
    await within(first_channel.basic_cancel(first.consumer_tag))
    await publish(channel, queue, b"1")
    assert await third.bodies(1) == [b"1"]


async def test_consumers_of_one_channel_take_over_from_each_other(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    first = await Deliveries.of(channel, queue, no_ack=True)
    second = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, b"1")
    assert await first.bodies(1) == [b"1"]
    await within(channel.basic_cancel(first.consumer_tag))
    await publish(channel, queue, b"2")
    assert await second.bodies(1) == [b"2"]


async def test_the_next_consumer_may_come_later(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    first_channel, first = await consumer_of(connection, queue)
    await within(first_channel.basic_cancel(first.consumer_tag))
    await publish(channel, queue, b"1")
    await ready_becomes(channel, queue, 1)
    _, second = await consumer_of(connection, queue)
    assert await second.bodies(1) == [b"1"]


# Prefetch and requeueing


async def test_messages_wait_for_the_active_consumer_while_it_is_full(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    active_channel, active = await consumer_of(connection, queue, 1)
    _, waiting = await consumer_of(connection, queue, 10)
    await publish(channel, queue, b"1", b"2")
    held = await active.next()
    await ready_becomes(channel, queue, 1)
    assert waiting.count() == 0, "a full consumer stays the active one"
    await within(active_channel.basic_ack(held.delivery_tag or 0))
    assert await active.bodies(1) == [b"2"]


async def test_a_requeued_message_returns_to_the_active_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    active_channel, active = await consumer_of(connection, queue, 1)
    _, waiting = await consumer_of(connection, queue, 10)
    await publish(channel, queue, b"1")
    held = await active.next()
    await within(active_channel.basic_nack(held.delivery_tag or 0))
    assert bodies_and_flags(await active.take(1)) == [(b"1", True)]
    assert waiting.count() == 0


# Consumer priorities


async def test_a_classic_queue_activates_the_highest_consumer_priority_next(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    await _activates_the_highest_priority(connection, channel, await declare(channel, names))


async def test_a_quorum_queue_activates_the_highest_consumer_priority_next(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    await _activates_the_highest_priority(connection, channel, await declare(channel, names, "quorum"))


async def _activates_the_highest_priority(
    connection: AbstractConnection, channel: AbstractChannel, queue: str
) -> None:
    first_channel, first = await consumer_of(connection, queue, arguments={"x-priority": 0})
    _, low = await consumer_of(connection, queue, arguments={"x-priority": 5})
    _, high = await consumer_of(connection, queue, arguments={"x-priority": 9})
    await publish(channel, queue, b"1")
    assert await first.bodies(1) == [b"1"], "a higher priority does not depose the active one"
    await within(first_channel.close())

    async def arrived() -> bool:
        return low.count() + high.count() == 1

    await eventually(arrived, "one of the others gets what the first one held")
    assert (low.count(), high.count()) == (0, 1)


async def test_a_newcomer_of_higher_priority_waits(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    # Since 3.12 (quorum: 4.0) RabbitMQ lets a newcomer of higher priority take over.
    queue = await declare(channel, names, queue_type)
    _, active = await consumer_of(connection, queue, no_ack=True)
    await publish(channel, queue, b"1")
    assert await active.bodies(1) == [b"1"]
    _, newcomer = await consumer_of(connection, queue, arguments={"x-priority": 20}, no_ack=True)
    await publish(channel, queue, b"2")
    assert await active.bodies(1) == [b"2"]
    assert newcomer.count() == 0


# Exclusive, get


async def test_an_exclusive_consumer_is_refused_on_a_classic_queue(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    with pytest.raises(
        AccessRefused, match=f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    ):
        await Deliveries.of(await connection.channel(), queue, exclusive=True)
    await assert_usable(connection)


async def test_an_exclusive_queue_can_have_a_single_active_consumer(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel, arguments={"x-single-active-consumer": True})
    _, first = await consumer_of(connection, queue, no_ack=True)
    _, second = await consumer_of(connection, queue, no_ack=True)
    await publish(channel, queue, b"1", b"2")
    assert await first.bodies(2) == [b"1", b"2"]
    assert second.count() == 0


async def test_a_classic_queue_can_be_got_from_beside_its_active_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    _, active = await consumer_of(connection, queue, 1)
    await publish(channel, queue, b"1", b"2")
    assert await active.bodies(1) == [b"1"]
    assert (await within(channel.basic_get(queue, no_ack=True))).body == b"2"


async def test_getting_from_a_quorum_queue_with_single_active_consumer_is_405(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, "quorum")
    words = (
        f"RESOURCE_LOCKED - cannot obtain access to locked queue '{queue}' in vhost '/'. "
        "basic.get operations are not supported by quorum queues with single active consumer"
    )
    with pytest.raises(LockedResource, match=words):
        await within((await connection.channel()).basic_get(queue))
    await assert_usable(connection)


async def test_message_priorities_go_with_a_single_active_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, max_priority=3)
    active_channel, active = await consumer_of(connection, queue, 1)
    for body, priority in ((b"1", 1), (b"2", 1), (b"3", 3)):
        properties = aiormq.spec.Basic.Properties(priority=priority)
        await within(channel.basic_publish(body, routing_key=queue, properties=properties))
    held = await active.next()
    await within(active_channel.basic_ack(held.delivery_tag or 0))
    assert (held.body, await active.bodies(1)) == (b"1", [b"3"])


# Declaring


@pytest.mark.parametrize("value", ["yes", "true", 1, 0, 1.0, None, [True], {"a": True}], ids=repr)
async def test_a_value_that_is_no_boolean_is_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str, value: object
) -> None:
    arguments = {"x-queue-type": queue_type, "x-single-active-consumer": value}
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-single-active-consumer' for queue"):
        await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    await assert_usable(connection)


async def test_false_means_as_many_active_consumers_as_there_are(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    arguments = {"x-queue-type": queue_type, "x-single-active-consumer": False}
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    consumers = [(await consumer_of(connection, queue, no_ack=True))[1] for _ in range(2)]
    await publish(channel, queue, b"1", b"2")
    for consumer in consumers:
        await consumer.next()


async def test_a_redeclare_must_repeat_it(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    where = f"inequivalent arg 'x-single-active-consumer' for queue '{queue}' in vhost '/'"
    kind = {"x-queue-type": queue_type}
    with pytest.raises(PreconditionFailed, match=f"{where}: received 'false' but current is 'true'"):
        await declare_queue(
            await connection.channel(),
            queue,
            durable=True,
            arguments={**kind, "x-single-active-consumer": False},
        )
    with pytest.raises(PreconditionFailed, match=f"{where}: received none but current is the value 'true'"):
        await declare_queue(await connection.channel(), queue, durable=True, arguments=kind)
