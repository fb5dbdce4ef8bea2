"""Quorum queues: what they refuse, delivery counts and the delivery limit, the order of what returns."""

from __future__ import annotations

import asyncio
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    UNFIT_FLAGS,
    Deliveries,
    assert_usable,
    declare_queue,
    drain,
    get_body,
    publish,
    ready_becomes,
    ready_count,
)
from interop_tests.deadlines import DEADLINE, eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

NotImplementedOnConnection = aiormq.exceptions.ConnectionNotImplemented
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

PROMPT = 3.0
"""Seconds within which a returned message is ready again."""

QUORUM = {"x-queue-type": "quorum"}


async def declare(channel: AbstractChannel, names: Names, **arguments: object) -> str:
    """Declare a quorum queue; the arguments are without their `x-` and with underscores."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return await declare_queue(channel, names.queue(), durable=True, arguments=QUORUM | given)


async def get(channel: AbstractChannel, queue: str, *, seconds: float = DEADLINE) -> DeliveredMessage:
    """Get a message without acknowledging it, waiting until there is one: a return may take its time."""

    async def got() -> DeliveredMessage | None:
        message = await within(channel.basic_get(queue))
        return None if message.delivery_tag is None else message

    message = await eventually(got, f"a message in {queue}", seconds=seconds)
    assert message is not None
    return message


def delivery_count(message: DeliveredMessage) -> object:
    """Return the header that says how often a message was returned, or None."""
    return (message.header.properties.headers or {}).get("x-delivery-count")


async def return_it(channel: AbstractChannel, message: DeliveredMessage, how: str) -> None:
    """Give a message back to its queue."""
    tag = message.delivery_tag or 0
    match how:
        case "nack":
            await within(channel.basic_nack(tag, requeue=True))
        case "reject":
            await within(channel.basic_reject(tag, requeue=True))
        case "recover":
            await within(channel.basic_recover(requeue=True))
        case "close":
            await within(channel.close())


# Declaring


@pytest.mark.parametrize(("flags", "property_name"), UNFIT_FLAGS)
async def test_a_flag_that_does_not_fit_is_406_and_named(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    flags: dict[str, bool],
    property_name: str,
) -> None:
    queue = names.queue()
    words = f"PRECONDITION_FAILED - invalid property '{property_name}' for queue '{queue}' in vhost '/'"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, queue, arguments=QUORUM, **flags)
    await assert_usable(connection)


async def test_the_broker_makes_up_no_name_for_a_quorum_queue(channel: AbstractChannel) -> None:
    words = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await within(channel.queue_declare("", durable=True, arguments={"x-queue-type": "quorum"}))


async def test_the_type_of_a_queue_cannot_change(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    quorum = await declare(channel, names)
    classic = await declare_queue(channel, names.queue(), durable=True)
    words = "inequivalent arg 'x-queue-type' for queue .*"
    with pytest.raises(PreconditionFailed, match=words + "received none but current is the value 'quorum'"):
        await declare_queue(await connection.channel(), quorum, durable=True)
    with pytest.raises(PreconditionFailed, match=words + "received the value 'quorum' .*but current is none"):
        await declare_queue(await connection.channel(), classic, durable=True, arguments=QUORUM)


async def test_no_type_and_classic_are_the_same(channel: AbstractChannel, names: Names) -> None:
    classic = {"x-queue-type": "classic"}
    queue = await declare_queue(channel, names.queue(), durable=True)
    await declare_queue(channel, queue, durable=True, arguments=classic)
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=classic)
    await declare_queue(channel, queue, durable=True)


@pytest.mark.parametrize("value", [1, True, None, "", "Quorum", [1]], ids=repr)
async def test_a_type_that_does_not_exist_is_406(
    channel: AbstractChannel, names: Names, value: object
) -> None:
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-queue-type' for queue"):
        await declare_queue(channel, names.queue(), durable=True, arguments={"x-queue-type": value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-delivery-limit", 3),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-max-in-memory-length", 5),
        ("x-max-in-memory-bytes", 5),
        ("x-quorum-initial-group-size", 1),
        ("x-max-age", "7D"),
        ("x-stream-max-segment-size-bytes", 1000),
        ("x-initial-cluster-size", 1),
    ],
)
async def test_a_classic_queue_refuses_an_argument_that_only_other_types_know(
    channel: AbstractChannel, names: Names, argument: str, value: object
) -> None:
    queue = names.queue()
    words = f"invalid arg '{argument}' for queue '{queue}' in vhost '/' of queue type rabbit_classic_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, queue, durable=True, arguments={argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-max-priority", 5),
        ("x-queue-version", 2),
        ("x-queue-master-locator", "client-local"),
        ("x-max-age", "7D"),
        ("x-stream-max-segment-size-bytes", 1000),
        ("x-initial-cluster-size", 1),
    ],
)
async def test_a_quorum_queue_refuses_an_argument_that_only_other_types_know(
    channel: AbstractChannel, names: Names, argument: str, value: object
) -> None:
    queue = names.queue()
    words = f"invalid arg '{argument}' for queue '{queue}' in vhost '/' of queue type rabbit_quorum_queue"
    with pytest.raises(PreconditionFailed, match=words):
        await declare_queue(channel, queue, durable=True, arguments=QUORUM | {argument: value})


async def test_a_quorum_queue_takes_the_queue_mode_and_ignores_it(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, queue_mode="lazy")
    await publish(channel, queue, b"x")
    assert await drain(channel, queue) == [b"x"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-max-in-memory-length", -1),
        ("x-max-in-memory-length", "5"),
        ("x-max-in-memory-bytes", -1),
        ("x-quorum-initial-group-size", 0),
        ("x-quorum-initial-group-size", "1"),
        ("x-dead-letter-strategy", "sometimes"),
        ("x-dead-letter-strategy", 1),
        ("x-queue-leader-locator", "nearest"),
        ("x-queue-leader-locator", 1),
    ],
)
async def test_a_bad_value_is_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, argument: str, value: object
) -> None:
    with pytest.raises(PreconditionFailed, match=f"invalid arg '{argument}' for queue"):
        await declare_queue(channel, names.queue(), durable=True, arguments=QUORUM | {argument: value})
    await assert_usable(connection)


@pytest.mark.parametrize("value", [-2, 1.5, True, "5", None], ids=repr)
async def test_a_delivery_limit_that_is_no_number_from_minus_one_on_is_406(
    channel: AbstractChannel, names: Names, value: object
) -> None:
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-delivery-limit' for queue"):
        await declare(channel, names, delivery_limit=value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"delivery_limit": 0},
        {"delivery_limit": 2**31},
        {"max_in_memory_length": 0, "max_in_memory_bytes": 0},
        {"quorum_initial_group_size": 3},
        {"quorum_target_group_size": 3},
        {"queue_leader_locator": "client-local"},
        {"queue_leader_locator": "balanced"},
        {"dead_letter_strategy": "at-most-once"},
        {"dead_letter_strategy": "at-least-once", "dead_letter_exchange": "", "overflow": "reject-publish"},
        {"overflow": "drop-head"},
        {"overflow": "reject-publish-dlx"},
        {"made_up": "kept and ignored"},
        {"ha_policy": "all"},
    ],
    ids=str,
)
async def test_a_quorum_queue_takes_the_argument(
    channel: AbstractChannel, names: Names, arguments: dict[str, object]
) -> None:
    queue = await declare(channel, names, **arguments)
    await publish(channel, queue, b"x")
    assert await drain(channel, queue) == [b"x"]


@pytest.mark.parametrize(
    ("argument", "value", "other"),
    [
        ("x-delivery-limit", 3, 4),
        ("x-dead-letter-strategy", "at-most-once", "at-least-once"),
    ],
)
async def test_a_redeclare_must_repeat_the_argument(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    argument: str,
    value: object,
    other: object,
) -> None:
    given = QUORUM | {argument: value}
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=given)
    await declare_queue(channel, queue, durable=True, arguments=given)
    where = f"inequivalent arg '{argument}' for queue '{queue}' in vhost '/'"
    with pytest.raises(PreconditionFailed, match=f"{where}: received '{other}' but current is '{value}'"):
        await declare_queue(
            await connection.channel(), queue, durable=True, arguments=QUORUM | {argument: other}
        )
    with pytest.raises(
        PreconditionFailed, match=f"{where}: received none but current is the value '{value}'"
    ):
        await declare_queue(await connection.channel(), queue, durable=True, arguments=QUORUM)


# Deleting, purging, counting


@pytest.mark.parametrize("flag", ["if_unused", "if_empty"])
async def test_deleting_conditionally_is_540_on_the_connection(
    connect: Connect, channel: AbstractChannel, names: Names, flag: str
) -> None:
    queue = await declare(channel, names)
    words = (
        f"NOT_IMPLEMENTED - cannot delete queue '{queue}' in vhost '/'. queue.delete operations with "
        f"{flag.replace('_', '-')} flag set are not supported by quorum queues"
    )
    with pytest.raises(NotImplementedOnConnection, match=words):
        await within(
            (await (await connect()).channel()).queue_delete(
                queue, if_unused=flag == "if_unused", if_empty=flag == "if_empty"
            )
        )
    assert await ready_count(channel, queue) == 0


async def test_delete_tells_how_many_messages_went_and_cancels_the_consumers(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"held", b"a", b"b")
    consuming = await within(connection.channel())
    cancelled: asyncio.Queue[str] = asyncio.Queue()
    consuming.on_consumer_cancel_callbacks.add(lambda frame: cancelled.put_nowait(str(frame.consumer_tag)))
    await within(consuming.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(consuming, queue)
    await consumer.next()
    assert (await within(channel.queue_delete(queue))).message_count == 2
    assert await within(cancelled.get()) == consumer.consumer_tag


async def test_a_passive_declare_counts_what_is_ready_and_who_consumes(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b", b"c")
    consuming = await within(connection.channel())
    await within(consuming.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(consuming, queue)
    await consumer.next()
    answer = await within(channel.queue_declare(queue, passive=True))
    assert (answer.message_count, answer.consumer_count) == (2, 1)


async def test_purging_leaves_what_is_held(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"held", b"a", b"b")
    held = await within(channel.basic_get(queue))
    assert (await within(channel.queue_purge(queue))).message_count == 2
    await within(channel.basic_nack(held.delivery_tag or 0))
    await ready_becomes(channel, queue, 1)
    assert await drain(channel, queue) == [b"held"]


async def test_a_get_from_an_empty_quorum_queue_is_get_empty(channel: AbstractChannel, names: Names) -> None:
    message = await within(channel.basic_get(await declare(channel, names)))
    assert isinstance(message.delivery, Basic.GetEmpty)


async def test_a_get_tells_how_many_more_are_ready(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b", b"c")
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(3)]
    assert [(message.body, message.message_count) for message in messages] == [
        (b"a", 2),
        (b"b", 1),
        (b"c", 0),
    ]


# Delivery counts


async def test_a_message_got_for_the_first_time_has_a_delivery_count_of_zero(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b")
    for no_ack in (False, True):
        message = await within(channel.basic_get(queue, no_ack=no_ack))
        assert (delivery_count(message), message.redelivered) == (0, False)


async def test_a_message_delivered_for_the_first_time_has_no_delivery_count(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    consumer = await Deliveries.of(await within(connection.channel()), queue)
    await publish(channel, queue, b"a")
    message = await consumer.next()
    assert (delivery_count(message), message.redelivered) == (None, False)


@pytest.mark.parametrize("how", ["nack", "reject", "recover", "close"])
async def test_each_return_counts_and_shows_in_a_get(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, how: str
) -> None:
    queue = await declare(channel, names)
    await within(
        channel.basic_publish(b"x", routing_key=queue, properties=Basic.Properties(headers={"own": "header"}))
    )
    for count in range(4):
        holding = await within(connection.channel())
        message = await get(holding, queue)
        headers = {"own": "header", "x-delivery-count": count}
        assert (message.header.properties.headers, message.redelivered) == (headers, count > 0)
        await return_it(holding, message, how)


@pytest.mark.parametrize("how", ["nack", "reject", "recover"])
async def test_each_return_counts_and_shows_in_a_delivery(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, how: str
) -> None:
    queue = await declare(channel, names)
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    await publish(channel, queue, b"x")
    for count in range(4):
        message = await consumer.next()
        assert (delivery_count(message), message.redelivered) == (count or None, count > 0)
        await return_it(consuming, message, how)


async def test_a_lost_consumer_counts_for_all_that_it_held(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b", b"c")
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    await consumer.take(3)
    await within(consuming.close())
    again = await (await Deliveries.of(channel, queue)).take(3)
    assert [(message.body, delivery_count(message), message.redelivered) for message in again] == [
        (b"a", 1, True),
        (b"b", 1, True),
        (b"c", 1, True),
    ]


async def test_a_get_overwrites_a_delivery_count_that_the_publisher_made_up(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    properties = Basic.Properties(headers={"x-delivery-count": 7})
    await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    message = await get(channel, queue)
    assert delivery_count(message) == 0
    await return_it(channel, message, "reject")
    assert delivery_count(await get(channel, queue)) == 1


async def test_a_classic_queue_counts_no_deliveries(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    await return_it(channel, await get(channel, queue), "reject")
    message = await get(channel, queue)
    assert (message.redelivered, message.header.properties.headers or {}) == (True, {})


# The delivery limit


@pytest.mark.parametrize("how", ["nack", "reject", "recover", "close"])
async def test_a_message_returned_more_often_than_the_limit_is_dead_lettered(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, how: str
) -> None:
    dead = await declare_queue(channel)
    queue = await declare(
        channel, names, delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key=dead
    )
    await publish(channel, queue, b"poison")
    for count in range(3):
        holding = await within(connection.channel())
        message = await get(holding, queue)
        assert delivery_count(message) == count
        await return_it(holding, message, how)
    await ready_becomes(channel, dead, 1)
    message = await within(channel.basic_get(dead, no_ack=True))
    headers: dict[str, Any] = dict(message.header.properties.headers or {})
    (death,) = headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("delivery_limit", queue, 1)
    assert headers["x-first-death-reason"] == "delivery_limit"
    assert "x-delivery-count" not in headers
    assert await ready_count(channel, queue) == 0


async def test_a_consumer_sees_a_message_once_more_than_the_limit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, delivery_limit=1)
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    await publish(channel, queue, b"poison")
    for _ in range(2):
        await return_it(consuming, await consumer.next(), "reject")
    await publish(channel, queue, b"next")
    assert (await consumer.next()).body == b"next"


async def test_a_message_over_the_limit_is_dropped_without_a_dead_letter_exchange(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, delivery_limit=0)
    await publish(channel, queue, b"poison", b"good")
    message = await get(channel, queue)
    assert message.body == b"poison"
    await return_it(channel, message, "reject")
    await publish(channel, queue, b"after the reject")
    assert await drain(channel, queue) == [b"good", b"after the reject"]


async def test_a_message_over_the_limit_is_dropped_if_its_dead_letter_exchange_is_missing(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, delivery_limit=0, dead_letter_exchange=names.unique("missing"))
    await publish(channel, queue, b"poison")
    await return_it(channel, await get(channel, queue), "reject")
    await publish(channel, queue, b"after the reject")
    assert await drain(channel, queue) == [b"after the reject"]
    await assert_usable(connection)


async def test_without_a_limit_twenty_returns_are_the_most(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"poison")
    for count in range(21):
        message = await get(channel, queue)
        assert delivery_count(message) == count
        await return_it(channel, message, "reject")
    await publish(channel, queue, b"after the rejects")
    assert await drain(channel, queue) == [b"after the rejects"]


async def test_a_limit_of_minus_one_is_none(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names, delivery_limit=-1)
    await publish(channel, queue, b"x")
    for count in range(25):
        message = await get(channel, queue, seconds=PROMPT)
        assert delivery_count(message) == count
        await return_it(channel, message, "reject")


# The order of what returns, which in 3.10 is the tail for queues without a delivery limit


async def test_returned_messages_come_first_in_the_order_of_their_return(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, delivery_limit=50)
    await publish(channel, queue, b"a", b"b", b"c", b"d")
    a, b, c = [await get(channel, queue) for _ in range(3)]
    for message in (b, a, c):
        await return_it(channel, message, "nack")
    await ready_becomes(channel, queue, 4)
    assert await drain(channel, queue) == [b"b", b"a", b"c", b"d"]


async def test_messages_returned_at_once_keep_their_order_and_come_first(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, delivery_limit=50)
    await publish(channel, queue, b"a", b"b", b"c", b"d")
    held = [await get(channel, queue) for _ in range(3)]
    await within(channel.basic_nack(held[-1].delivery_tag or 0, multiple=True))
    await ready_becomes(channel, queue, 4)
    assert await drain(channel, queue) == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("arguments", [{}, {"delivery_limit": 50}], ids=str)
async def test_what_a_closed_channel_held_comes_first_in_its_order(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, arguments: dict[str, int]
) -> None:
    queue = await declare(channel, names, **arguments)
    await publish(channel, queue, b"a", b"b", b"c", b"d")
    holding = await within(connection.channel())
    for _ in range(3):
        await get(holding, queue)
    await within(holding.close())
    await ready_becomes(channel, queue, 4)
    assert await drain(channel, queue) == [b"a", b"b", b"c", b"d"]


async def test_a_message_requeued_without_a_delivery_limit_comes_first_too(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b", b"c")
    await return_it(channel, await get(channel, queue), "nack")
    await ready_becomes(channel, queue, 3)
    assert await drain(channel, queue) == [b"a", b"b", b"c"]


# Consuming


async def test_an_exclusive_consumer_does_not_keep_others_out(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    consumers = [
        await Deliveries.of(await within(connection.channel()), queue, exclusive=exclusive, no_ack=True)
        for exclusive in (True, False, True)
    ]
    await publish(channel, queue, b"1", b"2", b"3")
    assert sorted([(await consumer.next()).body for consumer in consumers]) == [b"1", b"2", b"3"]


async def test_a_global_prefetch_is_shared_by_the_consumers_of_quorum_queues_too(
    connect: Connect, channel: AbstractChannel, names: Names
) -> None:
    queue, other = await declare(channel, names), await declare(channel, names)
    consuming = await within((await connect()).channel())
    await within(consuming.basic_qos(prefetch_count=3, global_=True))
    consumers = [await Deliveries.of(consuming, name) for name in (queue, other)]
    for name in (queue, other):
        await publish(channel, name, *[b"x"] * 5)

    async def three_arrived() -> bool:
        return sum(consumer.count() for consumer in consumers) == 3

    await eventually(three_arrived, "three deliveries")
    assert await ready_count(channel, queue) + await ready_count(channel, other) == 7


async def test_a_global_prefetch_does_not_stop_a_get(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    await publish(channel, queue, b"a", b"b")
    getting = await within(connection.channel())
    await within(getting.basic_qos(prefetch_count=1, global_=True))
    assert [(await within(getting.basic_get(queue))).body for _ in range(2)] == [b"a", b"b"]


async def test_prefetch_holds_back_what_exceeds_it(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    consuming = await within(connection.channel())
    await within(consuming.basic_qos(prefetch_count=2))
    consumer = await Deliveries.of(consuming, queue)
    await publish(channel, queue, b"1", b"2", b"3", b"4")
    held = await consumer.take(2)
    await ready_becomes(channel, queue, 2)
    assert consumer.count() == 0
    await within(consuming.basic_ack(held[1].delivery_tag or 0, multiple=True))
    assert await consumer.bodies(2) == [b"3", b"4"]


async def test_transient_messages_are_taken_and_stay_marked_as_such(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    properties = Basic.Properties(delivery_mode=1)
    await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    assert (await get(channel, queue)).header.properties.delivery_mode == 1


# Message priorities, which quorum queues have without being declared with any since RabbitMQ 4.3


async def test_equal_message_priorities_keep_the_publish_order(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    for body in (b"a", b"b", b"c"):
        properties = Basic.Properties(priority=4)
        await within(channel.basic_publish(body, routing_key=queue, properties=properties))
    assert await drain(channel, queue) == [b"a", b"b", b"c"]


async def test_message_priorities_are_strict_levels_with_4_for_none_and_31_the_highest(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names)
    for body, priority in ((b"0", 0), (b"none", None), (b"40", 40), (b"5", 5), (b"31", 31), (b"4", 4)):
        properties = Basic.Properties(priority=priority)
        await within(channel.basic_publish(body, routing_key=queue, properties=properties))
    assert [await get_body(channel, queue) for _ in range(6)] == [b"40", b"31", b"5", b"none", b"4", b"0"]
