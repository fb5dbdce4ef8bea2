"""Queues: declaring, names, exclusivity, life cycles, purging and deleting."""

from __future__ import annotations

import asyncio
import re

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    drain,
    publish,
    ready_count,
)
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

AccessRefused = aiormq.exceptions.ChannelAccessRefused
LockedResource = aiormq.exceptions.ChannelLockedResource
NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def queue_is_gone(connection: AbstractConnection, queue: str) -> bool:
    """Return whether a queue is missing, asked on a channel of its own."""
    probe = await within(connection.channel())
    try:
        await within(probe.queue_declare(queue, passive=True))
    except NotFound:
        return True
    await within(probe.close())
    return False


# Declaring


async def test_a_declare_answers_with_name_messages_and_consumers(
    channel: AbstractChannel, names: Names
) -> None:
    queue = names.queue()
    answer = await within(channel.queue_declare(queue))
    assert (answer.queue, answer.message_count, answer.consumer_count) == (queue, 0, 0)
    await publish(channel, queue, b"a", b"b", b"c")
    answer = await within(channel.queue_declare(queue))
    assert (answer.queue, answer.message_count, answer.consumer_count) == (queue, 3, 0)


async def test_a_passive_declare_counts_ready_messages_and_consumers(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    await publish(channel, queue, b"a", b"b", b"c")
    working = await within(connection.channel())
    await within(working.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(working, queue)
    await consumer.next()
    answer = await within(channel.queue_declare(queue, passive=True))
    assert (answer.message_count, answer.consumer_count) == (2, 1), "the unacknowledged one is not ready"


async def test_a_passive_declare_of_a_missing_queue_is_404(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="NOT_FOUND - no queue '.*' in vhost '/'"):
        await within(channel.queue_declare(names.queue(), passive=True))
    await assert_usable(connection)


async def test_a_passive_declare_ignores_the_other_flags(channel: AbstractChannel, names: Names) -> None:
    queue = await declare_queue(channel, names.queue(), durable=True)
    await within(channel.queue_declare(queue, passive=True, durable=False, auto_delete=True))


async def test_the_broker_makes_up_a_name_for_a_nameless_queue(channel: AbstractChannel) -> None:
    queues = {await declare_queue(channel) for _ in range(20)}
    assert len(queues) == 20
    for queue in queues:
        assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", queue), queue


async def test_a_server_made_name_is_reserved_so_its_queue_is_redeclared_passively_only(
    channel: AbstractChannel,
) -> None:
    queue = await declare_queue(channel)
    assert await declare_queue(channel, queue, passive=True) == queue
    with pytest.raises(AccessRefused, match="reserved prefix 'amq"):
        await declare_queue(channel, queue, exclusive=True)


async def test_the_empty_name_means_the_queue_last_declared_on_the_channel(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.queue_bind("", "amq.direct", queue))
    await within(channel.basic_publish(b"x", exchange="amq.direct", routing_key=queue))
    message = await within(channel.basic_get("", no_ack=True))
    assert message.body == b"x"
    consumer = await Deliveries.of(channel, "")
    await publish(channel, queue, b"y")
    assert await consumer.bodies(1) == [b"y"]
    assert (await within(channel.queue_purge(""))).message_count == 0
    await within(channel.queue_delete(""))
    assert await queue_is_gone(channel.connection, queue)


async def test_an_empty_queue_and_an_empty_key_both_mean_the_last_declared(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(channel.queue_bind("", "amq.direct", ""))
    await within(channel.basic_publish(b"x", exchange="amq.direct", routing_key=queue))
    assert await drain(channel, queue) == [b"x"]


async def test_the_empty_name_without_a_declare_before_is_404(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    with pytest.raises(NotFound):
        await within(channel.queue_bind("", "amq.direct", "key"))
    await assert_usable(connection)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"durable": True}, "inequivalent arg 'durable' .*received 'true' but current is 'false'"),
        ({"auto_delete": True}, "inequivalent arg 'auto_delete' .*received 'true' but current is 'false'"),
        ({"arguments": {"x-max-length": 5}}, "inequivalent arg 'x-max-length' "),
        (
            {"arguments": {"x-dead-letter-exchange": "amq.fanout"}},
            "inequivalent arg 'x-dead-letter-exchange' ",
        ),
        ({"arguments": {"x-max-priority": 5}}, "inequivalent arg 'x-max-priority' "),
    ],
)
async def test_a_redeclare_that_differs_is_406(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    change: dict[str, object],
    words: str,
) -> None:
    queue = await declare_queue(channel, names.queue())
    with pytest.raises(PreconditionFailed, match=f"PRECONDITION_FAILED - {words}"):
        await declare_queue(channel, queue, **change)
    await assert_usable(connection)


async def test_a_redeclare_that_changes_a_value_names_both_values(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), arguments={"x-message-ttl": 1000})
    with pytest.raises(PreconditionFailed, match="received .*2000.* but current is .*1000"):
        await declare_queue(channel, queue, arguments={"x-message-ttl": 2000})


async def test_arguments_are_compared_by_value_and_unknown_ones_not_at_all(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), arguments={"x-max-length": 5, "x-note": "a"})
    await declare_queue(channel, queue, arguments={"x-max-length": 5, "x-note": "b"})


async def test_exclusive_is_compared_even_on_the_owners_connection(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    with pytest.raises(LockedResource, match="RESOURCE_LOCKED"):
        await declare_queue(channel, queue, exclusive=True)


async def test_a_client_cannot_name_a_queue_amq(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    with pytest.raises(AccessRefused, match="queue name 'amq.mine' contains reserved prefix 'amq"):
        await declare_queue(channel, "amq.mine")
    await assert_usable(connection)


@pytest.mark.parametrize("name", ["with space", "a/b:c@d#e,f+g", "UPPER.lower_-", "9" * 200])
async def test_queue_names_are_taken_as_they_are(channel: AbstractChannel, names: Names, name: str) -> None:
    queue = names.queue(name)
    answer = await within(channel.queue_declare(queue))
    assert answer.queue == queue
    await publish(channel, queue, b"x")
    assert await drain(channel, queue) == [b"x"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": -1},
        {"x-message-ttl": "soon"},
        {"x-expires": 0},
        {"x-max-length": -1},
        {"x-max-length-bytes": "many"},
        {"x-max-priority": 256},
        {"x-max-priority": -1},
        {"x-overflow": "explode"},
        {"x-dead-letter-routing-key": "key-without-exchange"},
        {"x-dead-letter-exchange": 5},
        {"x-single-active-consumer": "yes"},
        {"x-queue-type": "no-such-type"},
    ],
    ids=str,
)
async def test_a_bad_queue_argument_is_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, arguments: dict[str, object]
) -> None:
    with pytest.raises(PreconditionFailed, match="PRECONDITION_FAILED"):
        await declare_queue(channel, names.queue(), arguments=arguments)
    await assert_usable(connection)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-expires": 60_000, "x-message-ttl": 60_000},
        {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "somewhere"},
        {"x-max-length": 10, "x-max-length-bytes": 10_000, "x-overflow": "reject-publish"},
        {"x-overflow": "drop-head"},
        {"x-max-priority": 10},
        {"x-single-active-consumer": True},
        {"x-queue-type": "classic", "x-queue-mode": "lazy"},
        {"x-queue-master-locator": "client-local"},
        {"x-made-up": "kept and ignored"},
    ],
    ids=str,
)
async def test_a_classic_queue_takes_the_argument(
    channel: AbstractChannel, names: Names, arguments: dict[str, object]
) -> None:
    queue = await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    await publish(channel, queue, b"x")
    assert await drain(channel, queue) == [b"x"]


async def test_a_quorum_queue_is_declared_published_to_and_consumed(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), durable=True, arguments={"x-queue-type": "quorum"})
    await publish(channel, queue, b"a", b"b")
    consumer = await Deliveries.of(channel, queue)
    for message in await consumer.take(2):
        await within(channel.basic_ack(message.delivery_tag or 0))


@pytest.mark.parametrize("flags", [{"durable": False}, {"durable": True, "exclusive": True}], ids=str)
async def test_a_quorum_queue_must_be_durable_and_shared(
    channel: AbstractChannel, names: Names, flags: dict[str, object]
) -> None:
    with pytest.raises(PreconditionFailed):
        await declare_queue(channel, names.queue(), arguments={"x-queue-type": "quorum"}, **flags)


# Exclusive queues


@pytest.mark.parametrize("operation", ["declare", "passive", "bind", "consume", "get", "purge", "delete"])
async def test_another_connection_cannot_touch_an_exclusive_queue(
    connect: Connect, channel: AbstractChannel, names: Names, operation: str
) -> None:
    queue = await declare_queue(channel, names.queue(), exclusive=True)
    other = await connect()
    foreign = await within(other.channel())
    with pytest.raises(
        LockedResource, match="RESOURCE_LOCKED - cannot obtain exclusive access to locked queue"
    ):
        match operation:
            case "declare":
                await within(foreign.queue_declare(queue, exclusive=True))
            case "passive":
                await within(foreign.queue_declare(queue, passive=True))
            case "bind":
                await within(foreign.queue_bind(queue, "amq.fanout"))
            case "consume":
                await Deliveries.of(foreign, queue)
            case "get":
                await within(foreign.basic_get(queue))
            case "purge":
                await within(foreign.queue_purge(queue))
            case "delete":
                await within(foreign.queue_delete(queue))
    await assert_usable(other)
    assert await ready_count(channel, queue) == 0


async def test_another_connection_can_publish_to_an_exclusive_queue(
    connect: Connect, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    foreign = await within((await connect()).channel())
    await publish(foreign, queue, b"reply")
    assert await drain(channel, queue) == [b"reply"]


async def test_an_exclusive_queue_outlives_its_channel_but_not_its_connection(
    connect: Connect, channel: AbstractChannel, names: Names
) -> None:
    owner = await connect()
    queue = names.queue()
    declaring = await within(owner.channel())
    await declare_queue(declaring, queue, exclusive=True)
    await within(declaring.close())
    assert not await queue_is_gone(owner, queue)
    await within(owner.close())
    assert await queue_is_gone(channel.connection, queue)


# Auto-delete


async def test_an_auto_delete_queue_goes_with_its_last_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), auto_delete=True)
    assert not await queue_is_gone(connection, queue), "it never had a consumer"
    first, second = await Deliveries.of(channel, queue), await Deliveries.of(channel, queue)
    await within(channel.basic_cancel(first.consumer_tag))
    assert not await queue_is_gone(connection, queue), "it still has a consumer"
    await within(channel.basic_cancel(second.consumer_tag))

    async def gone() -> bool:
        return await queue_is_gone(connection, queue)

    await eventually(gone, "the auto-delete queue is deleted")


@pytest.mark.parametrize("ending", ["channel", "connection"])
async def test_an_auto_delete_queue_goes_when_its_consumer_dies(
    connect: Connect, connection: AbstractConnection, names: Names, ending: str
) -> None:
    owner = await connect()
    channel = await within(owner.channel())
    queue = await declare_queue(channel, names.queue(), auto_delete=True)
    await Deliveries.of(channel, queue)
    await within(channel.close() if ending == "channel" else owner.close())

    async def gone() -> bool:
        return await queue_is_gone(connection, queue)

    await eventually(gone, "the auto-delete queue is deleted")


async def test_getting_does_not_make_an_auto_delete_queue_go(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), auto_delete=True)
    await publish(channel, queue, b"x")
    await drain(channel, queue)
    assert not await queue_is_gone(connection, queue)


# Purging and deleting


async def test_purge_removes_what_is_ready_and_returns_how_many(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"held", b"a", b"b")
    held = await within(channel.basic_get(queue))
    assert (await within(channel.queue_purge(queue))).message_count == 2
    await within(channel.basic_nack(held.delivery_tag or 0))
    assert await drain(channel, queue) == [b"held"]


async def test_purging_a_missing_queue_is_404(channel: AbstractChannel, names: Names) -> None:
    with pytest.raises(NotFound, match="no queue"):
        await within(channel.queue_purge(names.queue()))


async def test_delete_returns_how_many_messages_went_with_the_queue(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    await publish(channel, queue, b"a", b"b")
    assert (await within(channel.queue_delete(queue))).message_count == 2
    assert (await within(channel.queue_delete(queue))).message_count == 0, (
        "a missing queue is deleted already"
    )


async def test_delete_if_unused_refuses_while_there_is_a_consumer(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    consumer = await Deliveries.of(channel, queue)
    with pytest.raises(PreconditionFailed, match="in use"):
        await within((await connection.channel()).queue_delete(queue, if_unused=True))
    await within(channel.basic_cancel(consumer.consumer_tag))
    await within(channel.queue_delete(queue, if_unused=True))
    assert await queue_is_gone(connection, queue)


async def test_delete_if_empty_refuses_while_a_message_is_ready(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    await publish(channel, queue, b"x")
    with pytest.raises(PreconditionFailed, match="not empty"):
        await within((await connection.channel()).queue_delete(queue, if_empty=True))
    await drain(channel, queue)
    await within(channel.queue_delete(queue, if_empty=True))
    assert await queue_is_gone(connection, queue)


async def test_deleting_a_queue_removes_its_bindings(channel: AbstractChannel, names: Names) -> None:
    queue = await declare_queue(channel, names.queue())
    await within(channel.queue_bind(queue, "amq.direct", queue))
    await within(channel.queue_delete(queue))
    await declare_queue(channel, queue)
    await within(channel.basic_publish(b"x", exchange="amq.direct", routing_key=queue))
    assert await drain(channel, queue) == []


async def test_deleting_a_queue_cancels_its_consumers_with_a_notice(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    consuming = await within(connection.channel())
    cancelled: asyncio.Queue[str] = asyncio.Queue()
    consuming.on_consumer_cancel_callbacks.add(lambda frame: cancelled.put_nowait(str(frame.consumer_tag)))
    consumer = await Deliveries.of(consuming, queue)
    await within(channel.queue_delete(queue))
    assert await within(cancelled.get()) == consumer.consumer_tag
    await assert_usable(connection)
