"""Time limits: of messages, of queues, and what a consumer sees of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

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
from interop_tests.deadlines import POLL_INTERVAL, eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

TEN_YEARS = 315_360_000_000
LONG = 60_000
IDLE = 1500
"""Milliseconds after which a queue expires, long enough to be used in time on a busy machine."""
QUORUM_CHECKS = 30.0
"""Seconds until RabbitMQ surely noticed that a quorum queue is out of use: it looks every few seconds."""


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type that has time limits."""
    return str(request.param)


async def declare(channel: AbstractChannel, names: Names, queue_type: str, **arguments: object) -> str:
    """Declare a durable queue; the arguments are without their `x-` and with underscores."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    given["x-queue-type"] = queue_type
    return await declare_queue(channel, names.queue(), durable=True, arguments=given)


async def declare_with_dead_letters(
    channel: AbstractChannel, names: Names, queue_type: str, **arguments: object
) -> tuple[str, Deliveries]:
    """Declare a queue, and consume what dies in it; an expired message is seen to leave that way."""
    dead = await declare_queue(channel)
    queue = await declare(
        channel, names, queue_type, dead_letter_exchange="", dead_letter_routing_key=dead, **arguments
    )
    return queue, await Deliveries.of(channel, dead, no_ack=True)


async def publish_expiring(channel: AbstractChannel, queue: str, body: bytes, expiration: str) -> None:
    """Publish with a time limit, confirmed; a return would raise."""
    properties = Basic.Properties(expiration=expiration)
    await within(channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=True))


async def time_passes(channel: AbstractChannel, milliseconds: int) -> None:
    """Wait until a message that was given so long has expired in an idle queue: the broker's own clock."""
    dead = await declare_queue(channel)
    idle = await declare_queue(
        channel, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    )
    await publish_expiring(channel, idle, b"now", str(milliseconds))
    await ready_becomes(channel, dead, 1)
    await within(channel.queue_delete(idle))
    await within(channel.queue_delete(dead))


async def exists(channel: AbstractChannel, queue: str) -> bool:
    """Return whether a queue is there, asked by a passive declare on a channel of its own."""
    probe = await within(channel.connection.channel())
    try:
        await within(probe.queue_declare(queue, passive=True))
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await within(probe.close())
    return True


async def expires(channel: AbstractChannel, queue: str, milliseconds: int) -> None:
    """Wait until a queue that expires after so long is gone.

    It is looked at more seldom than that, since a look may count as use. Publishing to it would not, but a
    publish that meets a vanishing quorum queue makes RabbitMQ close the connection with 541.
    """

    async def gone() -> bool:
        await time_passes(channel, milliseconds + 200)
        return not await exists(channel, queue)

    await eventually(gone, f"{queue} expires", seconds=QUORUM_CHECKS)


# Messages


async def test_a_message_expires_after_its_own_time(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    start = time.monotonic()
    await publish_expiring(channel, queue, b"short", "200")
    assert (await dead.next()).body == b"short"
    assert time.monotonic() - start >= 0.199
    assert await ready_count(channel, queue) == 0


async def test_a_message_expires_after_the_time_of_its_queue(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=200)
    start = time.monotonic()
    await publish(channel, queue, b"short")
    assert (await dead.next()).body == b"short"
    assert time.monotonic() - start >= 0.199


@pytest.mark.parametrize(("of_queue", "of_message"), [(200, LONG), (LONG, 200), (200, 200)])
async def test_the_shorter_of_both_times_counts(
    channel: AbstractChannel, names: Names, queue_type: str, of_queue: int, of_message: int
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=of_queue)
    start = time.monotonic()
    await publish_expiring(channel, queue, b"x", str(of_message))
    assert (await dead.next()).body == b"x"
    assert time.monotonic() - start >= 0.199


async def test_an_expired_message_without_dead_letter_exchange_is_gone(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, message_ttl=50)
    await publish(channel, queue, b"a", b"b")
    await ready_becomes(channel, queue, 0)
    assert await drain(channel, queue) == []


async def test_messages_of_one_queue_time_expire_in_order(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=100)
    bodies = [str(number).encode() for number in range(20)]
    await publish(channel, queue, *bodies)
    assert await dead.bodies(20) == bodies


async def test_a_get_passes_over_expired_messages(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    for body in (b"1", b"2", b"3"):
        await publish_expiring(channel, queue, body, "50")
    await publish(channel, queue, b"kept")
    assert await dead.bodies(3) == [b"1", b"2", b"3"]
    message = await within(channel.basic_get(queue, no_ack=True))
    assert isinstance(message.delivery, Basic.GetOk)
    assert (message.body, message.delivery.message_count, message.delivery.redelivered) == (b"kept", 0, False)


async def test_expired_messages_are_not_counted_or_purged(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    for body in (b"1", b"2", b"3"):
        await publish_expiring(channel, queue, body, "50")
    await publish(channel, queue, b"kept")
    await ready_becomes(channel, queue, 1)
    assert (await within(channel.queue_purge(queue))).message_count == 1


async def test_a_message_expired_behind_a_longer_lived_one_is_never_delivered(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    await publish(channel, queue, b"first")
    await publish_expiring(channel, queue, b"expired", "50")
    await publish(channel, queue, b"last")
    await time_passes(channel, 200)
    assert await drain(channel, queue) == [b"first", b"last"]


async def test_a_message_expired_behind_a_longer_lived_one_is_not_given_to_a_consumer(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    await publish(channel, queue, b"first")
    await publish_expiring(channel, queue, b"expired", "50")
    await publish(channel, queue, b"last")
    await time_passes(channel, 200)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert await consumer.bodies(2) == [b"first", b"last"]
    assert (await dead.next()).body == b"expired"


async def test_messages_with_various_times_all_expire(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    for milliseconds in (300, 100, 200):
        await publish_expiring(channel, queue, str(milliseconds).encode(), str(milliseconds))
    assert set(await dead.bodies(3)) == {b"100", b"200", b"300"}


# What harebell does and RabbitMQ, which looks at the head of a queue only, does not


async def test_a_message_expires_behind_a_longer_lived_one(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    await publish(channel, queue, b"first")
    await publish_expiring(channel, queue, b"expired", "50")
    await publish(channel, queue, b"last")
    await time_passes(channel, 500)
    assert await ready_count(channel, queue) == 2, "the expired message still counts as ready"
    assert (await dead.next()).body == b"expired"
    assert await drain(channel, queue) == [b"first", b"last"]


async def test_messages_with_various_times_expire_in_the_order_of_their_deadlines(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    for milliseconds in (900, 300, 600):
        await publish_expiring(channel, queue, str(milliseconds).encode(), str(milliseconds))
    assert await dead.bodies(3) == [b"300", b"600", b"900"]


# No time at all


@pytest.mark.parametrize("limit", ["queue", "message"])
async def test_a_message_with_no_time_expires_at_once_if_nobody_waits(
    channel: AbstractChannel, names: Names, queue_type: str, limit: str
) -> None:
    arguments = {"message_ttl": 0} if limit == "queue" else {}
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, **arguments)
    properties = Basic.Properties(expiration="0" if limit == "message" else None)
    # Mandatory: it is routed, so it is not returned.
    confirmation = await within(
        channel.basic_publish(b"x", routing_key=queue, properties=properties, mandatory=True)
    )
    assert isinstance(confirmation, Basic.Ack)
    # Asked at once, a busy RabbitMQ may still hand it out of a quorum queue.
    assert (await dead.next()).body == b"x"
    assert await get_body(channel, queue) is None


async def test_a_message_with_no_time_reaches_a_waiting_consumer(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=0)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, b"a", b"b")
    assert await consumer.bodies(2) == [b"a", b"b"]
    assert dead.count() == 0


async def test_a_message_with_no_time_that_comes_back_expires(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=0)
    working = await within(connection.channel())
    consumer = await Deliveries.of(working, queue)
    await publish(channel, queue, b"x")
    message = await consumer.next()
    await within(working.basic_cancel(consumer.consumer_tag))
    await within(working.basic_nack(message.delivery_tag or 0, requeue=True))
    assert (await dead.next()).body == b"x"


# Consumers


async def test_a_message_expires_while_its_consumer_is_busy(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type)
    working = await within(connection.channel())
    await within(working.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(working, queue)
    await publish(channel, queue, b"held")
    held = await consumer.next()
    await publish_expiring(channel, queue, b"expired", "100")
    await publish(channel, queue, b"next")
    assert (await dead.next()).body == b"expired"
    await within(working.basic_ack(held.delivery_tag or 0))
    assert (await consumer.next()).body == b"next"


async def test_a_delivered_message_does_not_expire(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=100)
    await publish(channel, queue, b"held")
    message = await within(channel.basic_get(queue))
    await time_passes(channel, 300)
    await within(channel.basic_ack(message.delivery_tag or 0))
    await publish(channel, queue, b"later")
    assert (await dead.next()).body == b"later"
    assert dead.count() == 0


async def test_a_requeued_message_keeps_its_deadline(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, message_ttl=1500)
    await publish(channel, queue, b"x")
    working = await within(connection.channel())
    message = await within(working.basic_get(queue))
    await within(working.basic_reject(message.delivery_tag or 0, requeue=True))
    assert await eventually(lambda: get_redelivered(working, queue), "it is there again")
    await time_passes(channel, 1600)
    assert dead.count() == 0
    await within(working.close())
    assert (await dead.next()).body == b"x"
    assert await get_body(channel, queue) is None, "coming back gave it more time"


async def get_redelivered(channel: AbstractChannel, queue: str) -> bool:
    """Get a message without acknowledging it and return whether it is a redelivered one."""
    message = await within(channel.basic_get(queue))
    return isinstance(message.delivery, Basic.GetOk) and bool(message.delivery.redelivered)


async def test_time_counts_from_the_commit_of_a_transaction(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type)
    committing = await within(connection.channel(publisher_confirms=False))
    await within(committing.tx_select())
    properties = Basic.Properties(expiration="1000")
    await within(committing.basic_publish(b"x", routing_key=queue, properties=properties))
    await time_passes(channel, 1100)
    await within(committing.tx_commit())
    assert await get_body(channel, queue) == b"x"


@pytest.mark.parametrize("expiration", ["60000", "+60000", "0060000", str(TEN_YEARS)])
async def test_the_expiration_is_delivered_as_it_was_sent(
    channel: AbstractChannel, names: Names, queue_type: str, expiration: str
) -> None:
    queue = await declare(channel, names, queue_type, message_ttl=LONG)
    await publish_expiring(channel, queue, b"x", expiration)
    message = await within(channel.basic_get(queue, no_ack=True))
    assert message.header.properties.expiration == expiration


@pytest.mark.parametrize("expiration", [" 5", "5 ", "+", "1e3", "0x10", "5.0", "٣", str(TEN_YEARS + 1)])
async def test_an_expiration_that_is_no_number_of_milliseconds_is_406(
    connection: AbstractConnection, channel: AbstractChannel, expiration: str
) -> None:
    queue = await declare_queue(channel)
    properties = Basic.Properties(expiration=expiration)
    with pytest.raises(PreconditionFailed, match="invalid expiration"):
        await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    await assert_usable(connection)


# Queues


@pytest.mark.parametrize("argument", ["x-message-ttl", "x-expires"])
@pytest.mark.parametrize("value", [-1, TEN_YEARS + 1, "5", True, None, 1.5, [5]], ids=str)
async def test_a_time_that_is_no_number_of_milliseconds_is_406(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    queue_type: str,
    argument: str,
    value: object,
) -> None:
    arguments = {"x-queue-type": queue_type, argument: value}
    with pytest.raises(PreconditionFailed, match=f"invalid arg '{argument}' for queue"):
        await declare_queue(channel, names.queue(), durable=True, arguments=arguments)
    await assert_usable(connection)


@pytest.mark.parametrize("milliseconds", [1 << 31, 1 << 32, TEN_YEARS])
async def test_times_may_be_long(
    channel: AbstractChannel, names: Names, queue_type: str, milliseconds: int
) -> None:
    queue = await declare(channel, names, queue_type, message_ttl=milliseconds, expires=milliseconds)
    await publish_expiring(channel, queue, b"x", str(milliseconds))
    assert await drain(channel, queue) == [b"x"]


async def test_a_queue_expires_with_its_messages(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, expires=300)
    await publish(channel, queue, b"x")
    await expires(channel, queue, 300)
    await declare_queue(
        channel, queue, durable=True, arguments={"x-expires": LONG, "x-queue-type": queue_type}
    )
    assert await ready_count(channel, queue) == 0


async def test_an_unacknowledged_message_does_not_keep_a_queue(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    # On RabbitMQ a quorum queue differs: it stays while a message that was got is unacknowledged.
    queue = await declare(channel, names, "classic", expires=300)
    await publish(channel, queue, b"x")
    message = await within(channel.basic_get(queue))
    await expires(channel, queue, 300)
    await within(channel.basic_ack(message.delivery_tag or 0))
    await assert_usable(connection)


async def test_a_consumer_keeps_a_queue_until_it_is_cancelled(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    consumed, idle = [await declare(channel, names, queue_type, expires=300) for _ in range(2)]
    consumer = await Deliveries.of(channel, consumed, no_ack=True)
    await expires(channel, idle, 300)
    assert await exists(channel, consumed)
    await within(channel.basic_cancel(consumer.consumer_tag))
    await expires(channel, consumed, 300)


async def test_a_get_and_a_declare_count_as_use(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    arguments = {"x-expires": IDLE, "x-queue-type": queue_type}
    got, declared, idle = [await declare(channel, names, queue_type, expires=IDLE) for _ in range(3)]
    await while_it_expires(
        channel,
        idle,
        lambda: channel.basic_get(got, no_ack=True),
        lambda: channel.queue_declare(declared, durable=True, arguments=arguments),  # type: ignore[arg-type]
    )
    assert [await exists(channel, queue) for queue in (got, declared)] == [True, True]


async def test_a_passive_declare_counts_as_use(channel: AbstractChannel, names: Names) -> None:
    # On RabbitMQ not for a quorum queue.
    declared, idle = [await declare(channel, names, "classic", expires=IDLE) for _ in range(2)]
    await while_it_expires(channel, idle, lambda: channel.queue_declare(declared, passive=True))
    assert await exists(channel, declared)


async def test_a_publish_does_not_count_as_use(channel: AbstractChannel, names: Names) -> None:
    published_to, idle = [await declare(channel, names, "classic", expires=IDLE) for _ in range(2)]
    await while_it_expires(channel, idle, lambda: channel.basic_publish(b"x", routing_key=published_to))
    assert not await exists(channel, published_to)


async def while_it_expires(
    channel: AbstractChannel, idle: str, *touches: Callable[[], Awaitable[object]]
) -> None:
    """Do things again and again until a queue is gone that nothing is done with."""
    gone = asyncio.ensure_future(expires(channel, idle, IDLE))
    while not gone.done():
        for touch in touches:
            await within(touch())
        await asyncio.sleep(POLL_INTERVAL)
    await gone
