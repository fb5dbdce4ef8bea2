"""Acknowledging, rejecting, requeueing and recovering."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    drain,
    get_body,
    publish,
    ready_becomes,
    ready_count,
)
from interop_tests.deadlines import within

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def get_tags(channel: AbstractChannel, queue: str, count: int) -> list[int]:
    """Get messages without acknowledging them and return their delivery tags."""
    return [(await within(channel.basic_get(queue))).delivery_tag or 0 for _ in range(count)]


async def test_an_acknowledged_message_is_gone(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b")
    consuming = await within(connection.channel())
    consumer = await Deliveries.of(consuming, queue)
    first, _ = await consumer.take(2)
    await within(consuming.basic_ack(first.delivery_tag or 0))
    await within(consuming.close())
    assert await drain(channel, queue) == [b"b"]


async def test_an_acknowledgement_can_cover_all_up_to_its_tag(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"1", b"2", b"3", b"4")
    working = await within(connection.channel())
    tags = await get_tags(working, queue, 4)
    await within(working.basic_ack(tags[2], multiple=True))
    await within(working.close())
    assert await drain(channel, queue) == [b"4"]


async def test_tag_zero_with_multiple_means_all_outstanding(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"1", b"2", b"3")
    working = await within(connection.channel())
    await get_tags(working, queue, 3)
    await within(working.basic_ack(0, multiple=True))
    await within(working.basic_ack(0, multiple=True))
    await within(working.close())
    assert await drain(channel, queue) == []


async def test_acknowledgements_come_in_any_order(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, *[str(number).encode() for number in range(6)])
    working = await within(connection.channel())
    tags = await get_tags(working, queue, 6)
    for index in (4, 0, 2):
        await within(working.basic_ack(tags[index]))
    await within(working.close())
    assert await drain(channel, queue) == [b"1", b"3", b"5"]


@pytest.mark.parametrize("settle", ["ack", "nack", "reject"])
async def test_an_unknown_delivery_tag_is_406_and_closes_the_channel_only(
    connection: AbstractConnection, channel: AbstractChannel, settle: str
) -> None:
    match settle:
        case "ack":
            await channel.basic_ack(99)
        case "nack":
            await channel.basic_nack(99)
        case "reject":
            await channel.basic_reject(99)
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 99"):
        await within(channel.closing)
    await assert_usable(connection)


async def test_acknowledging_twice_is_406(connection: AbstractConnection, channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    (tag,) = await get_tags(channel, queue, 1)
    await channel.basic_ack(tag)
    await channel.basic_ack(tag)
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {tag}"):
        await within(channel.closing)
    await assert_usable(connection)


async def test_acknowledging_an_automatically_acknowledged_delivery_is_406(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    message = await within(channel.basic_get(queue, no_ack=True))
    await channel.basic_ack(message.delivery_tag or 0)
    with pytest.raises(PreconditionFailed, match="unknown delivery tag"):
        await within(channel.closing)
    await assert_usable(connection)


async def test_a_tag_of_another_channel_is_unknown(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    (tag,) = await get_tags(channel, queue, 1)
    other = await within(connection.channel())
    await other.basic_ack(tag)
    with pytest.raises(PreconditionFailed):
        await within(other.closing)
    await within(channel.basic_ack(tag))


async def test_a_channel_error_requeues_what_the_channel_held(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b")
    failing = await within(connection.channel())
    await get_tags(failing, queue, 2)
    await failing.basic_ack(99)
    with pytest.raises(PreconditionFailed):
        await within(failing.closing)
    await ready_becomes(channel, queue, 2)
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(2)]
    assert [(message.body, message.redelivered) for message in messages] == [(b"a", True), (b"b", True)]


@pytest.mark.parametrize("settle", ["nack", "reject"])
async def test_a_message_rejected_without_requeue_is_gone(channel: AbstractChannel, settle: str) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"poison", b"good")
    (tag,) = await get_tags(channel, queue, 1)
    if settle == "nack":
        await within(channel.basic_nack(tag, requeue=False))
    else:
        await within(channel.basic_reject(tag, requeue=False))
    assert await drain(channel, queue) == [b"good"]


@pytest.mark.parametrize("settle", ["nack", "reject"])
async def test_a_requeued_message_comes_back_flagged_at_its_old_position(
    channel: AbstractChannel, settle: str
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b", b"c")
    first, _ = await get_tags(channel, queue, 2)
    if settle == "nack":
        await within(channel.basic_nack(first))
    else:
        await within(channel.basic_reject(first))
    messages = [await within(channel.basic_get(queue)) for _ in range(2)]
    assert [(message.body, message.redelivered) for message in messages] == [(b"a", True), (b"c", False)]


async def test_requeued_messages_interleave_with_the_rest_in_publish_order(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, *[str(number).encode() for number in range(8)])
    tags = await get_tags(channel, queue, 6)
    for index in (5, 1, 3):
        await within(channel.basic_reject(tags[index]))
    assert await drain(channel, queue) == [b"1", b"3", b"5", b"6", b"7"]


async def test_nack_can_requeue_all_up_to_its_tag(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"1", b"2", b"3", b"4")
    tags = await get_tags(channel, queue, 4)
    await within(channel.basic_nack(tags[2], multiple=True))
    assert await drain(channel, queue) == [b"1", b"2", b"3"]


async def test_nack_with_tag_zero_and_multiple_requeues_all(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"1", b"2")
    await get_tags(channel, queue, 2)
    await within(channel.basic_nack(0, multiple=True))
    assert await drain(channel, queue) == [b"1", b"2"]


async def test_a_requeued_message_goes_to_a_waiting_consumer(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    (tag,) = await get_tags(channel, queue, 1)
    consumer = await Deliveries.of(await within(connection.channel()), queue)
    await within(channel.basic_reject(tag))
    message = await consumer.next()
    assert (message.body, message.redelivered) == (b"x", True)


async def test_recover_requeues_everything_the_channel_holds(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b")
    await get_tags(channel, queue, 2)
    await within(channel.basic_recover(requeue=True))
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(2)]
    assert [(message.body, message.redelivered) for message in messages] == [(b"a", True), (b"b", True)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_recover_async_requeues_without_an_answer(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a", b"b")
    await get_tags(channel, queue, 2)
    await within(channel.basic_recover(requeue=True, nowait=True))
    await ready_becomes(channel, queue, 2)
    assert await get_body(channel, queue) == b"a"


async def test_tags_from_before_a_recover_are_unknown(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"a")
    (tag,) = await get_tags(channel, queue, 1)
    await within(channel.basic_recover(requeue=True))
    await channel.basic_ack(tag)
    with pytest.raises(PreconditionFailed, match="unknown delivery tag"):
        await within(channel.closing)
    await assert_usable(connection)


async def test_a_redelivery_to_the_same_consumer_carries_a_new_tag(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(channel, queue)
    await publish(channel, queue, b"x")
    first = await consumer.next()
    await within(channel.basic_nack(first.delivery_tag or 0))
    second = await consumer.next()
    assert (first.redelivered, second.redelivered) == (False, True)
    assert (second.delivery_tag or 0) > (first.delivery_tag or 0)
    await within(channel.basic_ack(second.delivery_tag or 0))
    assert await ready_count(channel, queue) == 0
