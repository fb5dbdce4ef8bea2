"""Length limits: what counts against them, the three ways of overflowing, and what the publisher is told."""

from __future__ import annotations

from typing import Any

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
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

ACK, NACK, RETURN = "ack", "nack", "return"


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type that has length limits."""
    return str(request.param)


async def declare(
    channel: AbstractChannel, names: Names, queue_type: str = "classic", **arguments: object
) -> str:
    """Declare a durable queue; the arguments are without their `x-` and with underscores."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    given["x-queue-type"] = queue_type
    return await declare_queue(channel, names.queue(), durable=True, arguments=given)


async def declare_with_dead_letters(
    channel: AbstractChannel, names: Names, queue_type: str = "classic", **arguments: object
) -> tuple[str, str]:
    """Declare a queue and another one for what is dead-lettered from it, and return both names."""
    dead = await declare_queue(channel)
    queue = await declare(
        channel, names, queue_type, dead_letter_exchange="", dead_letter_routing_key=dead, **arguments
    )
    return queue, dead


async def answer_to(
    channel: AbstractChannel, key: str, body: bytes, *, exchange: str = "", mandatory: bool = False
) -> str:
    """Publish in confirm mode and return what the broker answered."""
    try:
        await within(channel.basic_publish(body, exchange=exchange, routing_key=key, mandatory=mandatory))
    except aiormq.exceptions.PublishError:
        return RETURN
    except aiormq.exceptions.DeliveryError:
        return NACK
    return ACK


async def answers_to(channel: AbstractChannel, queue: str, *bodies: bytes) -> list[str]:
    """Publish to a queue, one after the other, and return what the broker answered to each."""
    return [await answer_to(channel, queue, body) for body in bodies]


async def take_dead(channel: AbstractChannel, queue: str, count: int) -> list[bytes]:
    """Wait until so many dead letters are there and return their bodies."""
    await ready_becomes(channel, queue, count)
    return await drain(channel, queue)


# Dropping the head, which is the default


@pytest.mark.parametrize("overflow", [{}, {"overflow": "drop-head"}], ids=["default", "drop-head"])
async def test_a_full_queue_drops_its_oldest_messages_and_confirms_the_new(
    channel: AbstractChannel, names: Names, queue_type: str, overflow: dict[str, str]
) -> None:
    queue = await declare(channel, names, queue_type, max_length=3, **overflow)
    assert await answers_to(channel, queue, b"0", b"1", b"2", b"3", b"4") == [ACK] * 5
    assert await drain(channel, queue) == [b"2", b"3", b"4"]


async def test_a_burst_without_confirms_leaves_the_newest(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length=5)
    fast = await within(connection.channel(publisher_confirms=False))
    for number in range(100):
        await within(fast.basic_publish(b"%d" % number, routing_key=queue))
    await answer_to(channel, queue, b"last")
    await within(fast.close())
    bodies = await drain(channel, queue)
    assert len(bodies) == 5
    # The two channels are not ordered, so the last message may have overtaken some of the burst.
    newest = [body for body in bodies if body != b"last"]
    assert newest == [b"%d" % number for number in range(100 - len(newest), 100)]


async def test_a_dropped_message_is_dead_lettered_as_maxlen(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, max_length=1)
    await publish(channel, queue, b"old", b"new")
    await ready_becomes(channel, dead, 1)
    message = await within(channel.basic_get(dead, no_ack=True))
    assert message.body == b"old"
    headers: dict[str, Any] = dict(message.header.properties.headers or {})
    (death,) = headers["x-death"]
    assert {key: death[key] for key in ("count", "reason", "queue", "exchange", "routing-keys")} == {
        "count": 1,
        "reason": "maxlen",
        "queue": queue,
        "exchange": "",
        "routing-keys": [queue],
    }
    assert headers["x-first-death-reason"] == "maxlen"
    assert headers["x-first-death-queue"] == queue
    assert headers["x-first-death-exchange"] == ""


async def test_dropped_messages_are_dead_lettered_in_their_order(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, max_length=2)
    await publish(channel, queue, b"0", b"1", b"2", b"3", b"4")
    assert await take_dead(channel, dead, 3) == [b"0", b"1", b"2"]


# What counts


async def test_only_ready_messages_count(channel: AbstractChannel, names: Names, queue_type: str) -> None:
    queue = await declare(channel, names, queue_type, max_length=2)
    await publish(channel, queue, b"1", b"2")
    for _ in range(2):
        await within(channel.basic_get(queue))
    await publish(channel, queue, b"3", b"4")
    assert await ready_count(channel, queue) == 2, "messages that a client holds do not count"
    await publish(channel, queue, b"5")
    assert await drain(channel, queue) == [b"4", b"5"]


async def test_a_message_for_a_waiting_consumer_is_not_dropped(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length=1)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    for body in (b"a", b"b", b"c"):
        await publish(channel, queue, body)
        assert (await consumer.next()).body == body


async def test_bytes_are_those_of_the_bodies_without_properties(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length_bytes=10)
    headers = Basic.Properties(headers={"long": "x" * 100}, message_id="y" * 100)
    for body in (b"a" * 5, b"b" * 5):
        await within(channel.basic_publish(body, routing_key=queue, properties=headers))
    assert await drain(channel, queue) == [b"a" * 5, b"b" * 5], "as many bytes as the limit are fine"


async def test_one_byte_more_than_the_limit_drops_the_oldest(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length_bytes=10)
    await publish(channel, queue, b"a" * 5, b"b" * 5, b"c")
    assert await drain(channel, queue) == [b"b" * 5, b"c"]


async def test_bytes_that_a_client_holds_do_not_count(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length_bytes=10)
    await publish(channel, queue, b"a" * 8)
    await within(channel.basic_get(queue))
    await publish(channel, queue, b"b" * 8)
    assert await drain(channel, queue) == [b"b" * 8]


async def test_a_message_larger_than_the_limit_empties_the_queue_itself_included(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, max_length_bytes=10)
    assert await answers_to(channel, queue, b"a", b"b", b"c" * 11) == [ACK] * 3
    assert await drain(channel, queue) == []
    # A quorum queue of RabbitMQ dead-letters what it drops at once in reverse order.
    assert sorted(await take_dead(channel, dead, 3)) == [b"a", b"b", b"c" * 11]


async def test_empty_bodies_take_no_bytes(channel: AbstractChannel, names: Names, queue_type: str) -> None:
    queue = await declare(channel, names, queue_type, max_length_bytes=1)
    await publish(channel, queue, b"x", b"", b"", b"")
    assert await drain(channel, queue) == [b"x", b"", b"", b""]


async def test_both_limits_hold_together(channel: AbstractChannel, names: Names, queue_type: str) -> None:
    queue = await declare(channel, names, queue_type, max_length=3, max_length_bytes=10)
    await publish(channel, queue, b"a", b"b", b"c", b"d")
    assert await drain(channel, queue) == [b"b", b"c", b"d"]
    await publish(channel, queue, b"a" * 5, b"b" * 5, b"c")
    assert await drain(channel, queue) == [b"b" * 5, b"c"]


@pytest.mark.parametrize("limit", ["max_length", "max_length_bytes"])
async def test_a_limit_of_zero_keeps_nothing(
    channel: AbstractChannel, names: Names, queue_type: str, limit: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, **{limit: 0})
    assert await answers_to(channel, queue, b"1", b"2") == [ACK, ACK]
    assert await ready_count(channel, queue) == 0
    assert await take_dead(channel, dead, 2) == [b"1", b"2"]


async def test_a_limit_of_zero_hands_messages_to_a_waiting_consumer(
    channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue = await declare(channel, names, queue_type, max_length=0)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, b"1", b"2")
    assert await consumer.bodies(2) == [b"1", b"2"]


# Returning messages to a full queue


async def test_requeueing_into_a_full_queue_drops_the_oldest_which_is_the_requeued(
    channel: AbstractChannel, names: Names
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, max_length=2)
    await publish(channel, queue, b"1", b"2")
    held = await within(channel.basic_get(queue))
    await publish(channel, queue, b"3")
    await within(channel.basic_nack(held.delivery_tag or 0))
    assert await take_dead(channel, dead, 1) == [b"1"]
    assert await drain(channel, queue) == [b"2", b"3"]


async def test_a_quorum_queue_with_a_delivery_limit_drops_the_requeued_too(
    channel: AbstractChannel, names: Names
) -> None:
    # Without a delivery limit RabbitMQ 3.10 puts a requeued message at the tail, and so drops another one.
    queue, dead = await declare_with_dead_letters(channel, names, "quorum", max_length=2, delivery_limit=50)
    await publish(channel, queue, b"1", b"2")
    held = await within(channel.basic_get(queue))
    await publish(channel, queue, b"3")
    await within(channel.basic_nack(held.delivery_tag or 0))
    assert await take_dead(channel, dead, 1) == [b"1"]
    assert await drain(channel, queue) == [b"2", b"3"]


async def test_what_a_closed_channel_held_is_dropped_as_far_as_it_does_not_fit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queue_type: str
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, queue_type, max_length=2)
    await publish(channel, queue, b"1", b"2")
    holding = await within(connection.channel())
    for _ in range(2):
        await within(holding.basic_get(queue))
    await publish(channel, queue, b"3")
    await within(holding.close())
    assert await take_dead(channel, dead, 1) == [b"1"]
    message = await within(channel.basic_get(queue, no_ack=True))
    assert (message.body, message.redelivered) == (b"2", True)
    assert await drain(channel, queue) == [b"3"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
async def test_requeueing_is_never_refused(channel: AbstractChannel, names: Names, overflow: str) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, max_length=2, overflow=overflow)
    await publish(channel, queue, b"1", b"2")
    held = await within(channel.basic_get(queue))
    await publish(channel, queue, b"3")
    await within(channel.basic_nack(held.delivery_tag or 0))
    await ready_becomes(channel, queue, 3)
    assert await answer_to(channel, queue, b"4") == NACK, "the queue is over its limit"
    assert await drain(channel, queue) == [b"1", b"2", b"3"]
    assert await drain(channel, dead) == ([b"4"] if overflow == "reject-publish-dlx" else [])


# Refusing what is published


async def test_reject_publish_refuses_the_new_and_keeps_the_old(
    channel: AbstractChannel, names: Names
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, max_length=2, overflow="reject-publish")
    assert await answers_to(channel, queue, b"0", b"1", b"2", b"3") == [ACK, ACK, NACK, NACK]
    assert await drain(channel, queue) == [b"0", b"1"]
    assert await drain(channel, dead) == [], "a refused message stays with its publisher"
    assert await answer_to(channel, queue, b"4") == ACK, "there is room again"


async def test_reject_publish_dlx_refuses_the_new_and_dead_letters_it(
    channel: AbstractChannel, names: Names
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, max_length=2, overflow="reject-publish-dlx")
    assert await answers_to(channel, queue, b"0", b"1", b"2", b"3") == [ACK, ACK, NACK, NACK]
    assert await drain(channel, queue) == [b"0", b"1"]
    await ready_becomes(channel, dead, 2)
    message = await within(channel.basic_get(dead, no_ack=True))
    assert message.body == b"2"
    assert (message.header.properties.headers or {})["x-first-death-reason"] == "maxlen"
    assert await drain(channel, dead) == [b"3"]


@pytest.mark.parametrize(
    ("overflow", "dead_letters"), [("reject-publish", 0), ("reject-publish-dlx", 4)], ids=str
)
async def test_without_confirms_a_refused_message_is_gone_silently(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, overflow: str, dead_letters: int
) -> None:
    queue, dead = await declare_with_dead_letters(channel, names, max_length=2, overflow=overflow)
    fast = await within(connection.channel(publisher_confirms=False))
    for number in range(6):
        await within(fast.basic_publish(b"%d" % number, routing_key=queue, mandatory=True))
    await within(fast.close())
    await ready_becomes(channel, queue, 2)
    assert await take_dead(channel, dead, dead_letters) == [b"2", b"3", b"4", b"5"][:dead_letters]
    assert await drain(channel, queue) == [b"0", b"1"]
    await assert_usable(connection)


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
async def test_a_byte_limit_refuses_what_does_not_fit_and_takes_what_does(
    channel: AbstractChannel, names: Names, overflow: str
) -> None:
    queue = await declare(channel, names, max_length_bytes=10, overflow=overflow)
    bodies = b"a" * 6, b"b" * 6, b"c" * 4, b"d", b"e" * 11
    assert await answers_to(channel, queue, *bodies) == [ACK, NACK, ACK, NACK, NACK]
    assert await drain(channel, queue) == [b"a" * 6, b"c" * 4]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
async def test_a_limit_of_zero_refuses_everything_even_with_a_consumer_waiting(
    channel: AbstractChannel, names: Names, overflow: str
) -> None:
    queue = await declare(channel, names, max_length=0, overflow=overflow)
    assert await answer_to(channel, queue, b"1") == NACK
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert await answer_to(channel, queue, b"2") == NACK
    assert consumer.count() == 0


async def test_messages_a_consumer_holds_leave_room_for_more(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names, max_length=1, overflow="reject-publish")
    await within(channel.basic_qos(prefetch_count=1))
    consumer = await Deliveries.of(channel, queue)
    assert await answer_to(channel, queue, b"1") == ACK
    held = await consumer.next()
    assert await answers_to(channel, queue, b"2", b"3") == [ACK, NACK]
    await within(channel.basic_ack(held.delivery_tag or 0))
    assert await consumer.bodies(1) == [b"2"]
    assert await answer_to(channel, queue, b"4") == ACK


async def test_purging_makes_room(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names, max_length=1, overflow="reject-publish")
    assert await answers_to(channel, queue, b"1", b"2") == [ACK, NACK]
    await within(channel.queue_purge(queue))
    assert await answers_to(channel, queue, b"3", b"4") == [ACK, NACK]


async def test_one_queue_that_refuses_makes_a_nack_while_the_others_keep_the_message(
    channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="fanout"))
    full = await declare(channel, names, max_length=1, overflow="reject-publish")
    other = await declare(channel, names)
    for queue in (full, other):
        await within(channel.queue_bind(queue, exchange))
    answers = [await answer_to(channel, "", body, exchange=exchange) for body in (b"1", b"2", b"3")]
    assert answers == [ACK, NACK, NACK]
    assert await drain(channel, full) == [b"1"]
    assert await drain(channel, other) == [b"1", b"2", b"3"]


async def test_a_refused_mandatory_message_is_not_returned(channel: AbstractChannel, names: Names) -> None:
    queue = await declare(channel, names, max_length=0, overflow="reject-publish")
    assert await answer_to(channel, queue, b"x", mandatory=True) == NACK, "it had a queue, so it was routed"


async def test_a_commit_that_a_queue_refuses_in_part_is_406_and_keeps_the_rest(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, max_length=1, overflow="reject-publish")
    transaction = await within(connection.channel(publisher_confirms=False))
    await within(transaction.tx_select())
    for body in (b"1", b"2"):
        await within(transaction.basic_publish(body, routing_key=queue))
    with pytest.raises(PreconditionFailed, match="PRECONDITION_FAILED - partial tx completion"):
        await within(transaction.tx_commit())
    assert await get_body(channel, queue) == b"1"
    assert await get_body(channel, queue) is None
    await assert_usable(connection)


async def test_a_commit_into_a_full_queue_that_drops_its_head_succeeds(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, max_length=1)
    transaction = await within(connection.channel(publisher_confirms=False))
    await within(transaction.tx_select())
    for body in (b"1", b"2", b"3"):
        await within(transaction.basic_publish(body, routing_key=queue))
    await within(transaction.tx_commit())
    assert await drain(channel, queue) == [b"3"]


# Refusing by a quorum queue, which RabbitMQ does a message late and for confirmed publishing only


@pytest.mark.parametrize(
    ("arguments", "bodies"),
    [({"max_length": 2}, [b"0", b"1", b"2"]), ({"max_length_bytes": 10}, [b"a" * 5, b"b" * 5, b"c" * 5])],
    ids=["messages", "bytes"],
)
async def test_a_quorum_queue_refuses_at_the_limit_or_one_message_later(
    channel: AbstractChannel, names: Names, arguments: dict[str, int], bodies: list[bytes]
) -> None:
    queue, dead = await declare_with_dead_letters(
        channel, names, "quorum", overflow="reject-publish", **arguments
    )
    answers = await answers_to(channel, queue, *bodies, b"over.", b"over.")
    assert answers in ([ACK, ACK, NACK, NACK, NACK], [ACK, ACK, ACK, NACK, NACK]), answers
    assert await drain(channel, queue) == bodies[: answers.count(ACK)], "exactly what was confirmed is kept"
    assert await drain(channel, dead) == []


async def test_a_quorum_queue_takes_messages_again_when_it_has_room(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare(channel, names, "quorum", max_length=2, overflow="reject-publish")
    while await answer_to(channel, queue, b"x") == ACK:
        pass
    await drain(channel, queue)
    assert await answer_to(channel, queue, b"y") == ACK
    assert await drain(channel, queue) == [b"y"]


# Declaring


@pytest.mark.parametrize("argument", ["x-max-length", "x-max-length-bytes"])
@pytest.mark.parametrize("value", [-1, 1.5, 5.0, True, "1", "", None, [1], {"a": 1}], ids=repr)
async def test_a_limit_that_is_no_whole_number_from_zero_on_is_406(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    queue_type: str,
    argument: str,
    value: object,
) -> None:
    arguments = {"x-queue-type": queue_type, argument: value}
    queue = names.queue()
    with pytest.raises(
        PreconditionFailed,
        match=f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{queue}' in vhost '/'",
    ):
        await declare_queue(channel, queue, durable=True, arguments=arguments)
    await assert_usable(connection)


@pytest.mark.parametrize("argument", ["x-max-length", "x-max-length-bytes"])
async def test_a_limit_may_be_any_number_from_zero_to_the_largest(
    channel: AbstractChannel, names: Names, queue_type: str, argument: str
) -> None:
    for value in (0, 1, 2**31, 2**32, 2**63 - 1):
        arguments = {"x-queue-type": queue_type, argument: value}
        await declare_queue(channel, names.queue(), durable=True, arguments=arguments)


@pytest.mark.parametrize("value", ["", "DROP-HEAD", "explode", 1, True, None], ids=repr)
async def test_an_unknown_overflow_is_406(
    channel: AbstractChannel, names: Names, queue_type: str, value: object
) -> None:
    arguments = {"x-queue-type": queue_type, "x-overflow": value}
    with pytest.raises(PreconditionFailed, match="invalid arg 'x-overflow' for queue"):
        await declare_queue(channel, names.queue(), durable=True, arguments=arguments)


@pytest.mark.parametrize(
    ("argument", "value", "other", "named"),
    [
        ("x-max-length", 5, 6, ("'6'", "'5'")),
        ("x-max-length-bytes", 5, 6, ("'6'", "'5'")),
        ("x-overflow", "drop-head", "reject-publish", ("'reject-publish'", "'drop-head'")),
    ],
)
async def test_a_redeclare_must_repeat_the_limits(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    queue_type: str,
    argument: str,
    value: object,
    other: object,
    named: tuple[str, str],
) -> None:
    kind = {"x-queue-type": queue_type}
    queue = await declare_queue(channel, names.queue(), durable=True, arguments={**kind, argument: value})
    await declare_queue(channel, queue, durable=True, arguments={**kind, argument: value})
    received, current = named
    where = f"inequivalent arg '{argument}' for queue '{queue}' in vhost '/'"
    with pytest.raises(PreconditionFailed, match=f"{where}: received {received} but current is {current}"):
        await declare_queue(
            await connection.channel(), queue, durable=True, arguments={**kind, argument: other}
        )
    with pytest.raises(PreconditionFailed, match=f"{where}: received none but current is the value"):
        await declare_queue(await connection.channel(), queue, durable=True, arguments=kind)
    without = await declare_queue(channel, names.queue(), durable=True, arguments=kind)
    with pytest.raises(PreconditionFailed, match=f"inequivalent arg '{argument}' .* but current is none"):
        await declare_queue(
            await connection.channel(), without, durable=True, arguments={**kind, argument: value}
        )


async def test_a_limit_is_compared_by_value_whatever_its_width_on_the_wire(
    channel: AbstractChannel, names: Names
) -> None:
    queue = names.queue()
    for encoded in (b"b\x05", b"s\x00\x05", b"I\x00\x00\x00\x05", b"l" + bytes(7) + b"\x05"):
        await within(channel.rpc(_DeclareWithRawLimit(queue, encoded)))  # type: ignore[attr-defined]


class _DeclareWithRawLimit(aiormq.spec.Queue.Declare):
    """A declare whose x-max-length is the given bytes, type letter first."""

    def __init__(self, queue: str, encoded: bytes) -> None:
        super().__init__(queue=queue, durable=True)
        self._encoded = encoded

    def marshal(self) -> bytes:
        """Return the arguments of the method as they go on the wire."""
        name = self.queue.encode()
        field = bytes([len(b"x-max-length")]) + b"x-max-length" + self._encoded
        durable = b"\x02"
        return b"\x00\x00" + bytes([len(name)]) + name + durable + len(field).to_bytes(4, "big") + field
