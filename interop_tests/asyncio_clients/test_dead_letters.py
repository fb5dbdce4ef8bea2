"""Dead letters: which messages become one, where they go, and what their headers tell."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

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
from interop_tests.asyncio_clients.test_expiry import expires, time_passes
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

CLOCK_TOLERANCE = timedelta(seconds=5)


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    """Each queue type that has dead letters."""
    return str(request.param)


class Queues:
    """Declares the queues of one test, of one type; the arguments are without `x-` and with underscores."""

    def __init__(self, channel: AbstractChannel, names: Names, queue_type: str) -> None:
        self.channel = channel
        self.names = names
        self.queue_type = queue_type

    async def declare(self, name: str = "", /, **arguments: object) -> str:
        """Declare a durable queue."""
        given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        given["x-queue-type"] = self.queue_type
        return await declare_queue(self.channel, name or self.names.queue(), durable=True, arguments=given)

    async def to(self, queue: str, name: str = "", /, **arguments: object) -> str:
        """Declare a queue whose dead letters go to another queue."""
        return await self.declare(name, dead_letter_exchange="", dead_letter_routing_key=queue, **arguments)

    async def exchange(self, kind: str, name: str = "", **options: object) -> str:
        """Declare an exchange."""
        exchange = name or self.names.exchange()
        await within(
            self.channel.exchange_declare(exchange, exchange_type=kind, **options)  # type: ignore[call-overload]
        )
        return exchange


@pytest.fixture
def queues(channel: AbstractChannel, names: Names, queue_type: str) -> Queues:
    """Declares queues of each type."""
    return Queues(channel, names, queue_type)


async def get(channel: AbstractChannel, queue: str, *, no_ack: bool = True) -> DeliveredMessage:
    """Wait for a message of a queue and get it."""

    async def there() -> DeliveredMessage | None:
        message = await within(channel.basic_get(queue, no_ack=no_ack))
        return None if message.delivery_tag is None else message

    message = await eventually(there, f"a message in {queue}")
    assert message is not None
    return message


async def reject(channel: AbstractChannel, queue: str) -> DeliveredMessage:
    """Get a message, reject it, and return it."""
    message = await get(channel, queue, no_ack=False)
    await within(channel.basic_reject(message.delivery_tag or 0, requeue=False))
    return message


async def publish_with(
    channel: AbstractChannel, queue: str, body: bytes = b"x", *, exchange: str = "", **properties: Any
) -> None:
    """Publish with properties, confirmed."""
    await within(
        channel.basic_publish(
            body, exchange=exchange, routing_key=queue, properties=Basic.Properties(**properties)
        )
    )


def headers_of(message: DeliveredMessage) -> dict[str, Any]:
    """Return the headers, without what RabbitMQ 4 adds to those of 3 and what a quorum queue adds."""
    headers: dict[str, Any] = dict(message.header.properties.headers or {})
    headers.pop("x-delivery-count", None)
    if headers.get("x-death"):
        newest = headers["x-death"][0]
        for name in ("queue", "reason"):
            told = headers.pop(f"x-last-death-{name}", newest[name])
            assert told == newest[name], f"x-last-death-{name} is not that of the newest death"
        headers.pop("x-last-death-exchange", None)
    return headers


def deaths(message: DeliveredMessage) -> list[tuple[str, str, int]]:
    """Return queue, reason and count of each entry of x-death."""
    return [
        (entry["queue"], entry["reason"], entry["count"]) for entry in headers_of(message).get("x-death", [])
    ]


def assert_is_now(time: datetime) -> None:
    """Check a time in a header: whole seconds, and not long ago."""
    assert time.microsecond == 0
    assert abs(datetime.now(UTC) - time) < CLOCK_TOLERANCE


# What the headers tell


async def test_a_rejected_message_tells_how_it_died(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish_with(channel, queue, headers={"mine": 1, "a": "b"})
    await reject(channel, queue)
    message = await get(channel, dead)
    headers = headers_of(message)
    assert_is_now(headers["x-death"][0].pop("time"))
    assert headers == {
        "mine": 1,
        "a": "b",
        "x-death": [
            {
                "count": 1,
                "reason": "rejected",
                "queue": queue,
                "exchange": "",
                "routing-keys": [queue],
            }
        ],
        "x-first-death-queue": queue,
        "x-first-death-reason": "rejected",
        "x-first-death-exchange": "",
    }
    assert isinstance(message.delivery, Basic.GetOk)
    assert message.delivery.redelivered is False
    assert (message.exchange, message.routing_key) == ("", dead)


async def test_an_expired_message_tells_its_expiration_and_loses_it(
    channel: AbstractChannel, queues: Queues
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish_with(channel, queue, expiration="50")
    message = await get(channel, dead)
    assert message.header.properties.expiration is None
    headers = headers_of(message)
    assert_is_now(headers["x-death"][0].pop("time"))
    assert headers["x-death"] == [
        {
            "count": 1,
            "reason": "expired",
            "queue": queue,
            "exchange": "",
            "routing-keys": [queue],
            "original-expiration": "50",
        }
    ]


async def test_the_expiration_goes_whatever_the_reason_and_is_told_once(
    channel: AbstractChannel, queues: Queues
) -> None:
    dead = await declare_queue(channel)
    second = await queues.to(dead)
    first = await queues.to(second, message_ttl=50)
    await publish_with(channel, first, expiration="60000")
    consumed = await reject(channel, second)
    assert consumed.header.properties.expiration is None
    newest, oldest = headers_of(await get(channel, dead))["x-death"]
    assert (newest["reason"], "original-expiration" in newest) == ("rejected", False)
    assert (oldest["reason"], oldest["original-expiration"]) == ("expired", "60000")


async def test_the_fields_have_these_types_on_the_wire(
    channel: AbstractChannel, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish_with(channel, queue, expiration="50", headers={"CC": [dead + "x"]})
    await ready_becomes(channel, dead, 1)
    seen: list[bytes] = []
    unmarshal = ContentHeader.unmarshal

    def record(header: ContentHeader, data: bytes) -> None:
        seen.append(data)
        unmarshal(header, data)

    monkeypatch.setattr(ContentHeader, "unmarshal", record)
    await get(channel, dead)
    (raw,) = seen
    for field in (
        b"\x07x-deathA",
        b"\x05countl\0\0\0\0\0\0\0\1",
        b"\x06reasonS\0\0\0\7expired",
        b"\x05queueS" + len(queue).to_bytes(4, "big") + queue.encode(),
        b"\x04timeT\0\0\0\0",
        b"\x08exchangeS\0\0\0\0",
        b"\x0crouting-keysA",
        b"\x13original-expirationS\0\0\0\x0250",
        b"\x14x-first-death-reasonS\0\0\0\7expired",
        b"\x13x-first-death-queueS",
        b"\x16x-first-death-exchangeS\0\0\0\0",
    ):
        assert field in raw


async def test_the_exchange_and_key_told_are_those_of_the_publish(
    channel: AbstractChannel, queues: Queues
) -> None:
    exchange = await queues.exchange("topic")
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await within(channel.queue_bind(queue, exchange, "#"))
    await publish_with(channel, "the.key", exchange=exchange)
    consumed = await reject(channel, queue)
    assert (consumed.exchange, consumed.routing_key) == (exchange, "the.key")
    headers = headers_of(await get(channel, dead))
    assert headers["x-first-death-exchange"] == exchange
    (entry,) = headers["x-death"]
    assert (entry["exchange"], entry["routing-keys"]) == (exchange, ["the.key"])


async def test_the_latest_death_comes_first(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    second = await queues.to(dead)
    first = await queues.to(second, message_ttl=50)
    await publish(channel, first, b"x")
    await reject(channel, second)
    message = await get(channel, dead)
    assert deaths(message) == [(second, "rejected", 1), (first, "expired", 1)]
    headers = headers_of(message)
    assert headers["x-first-death-queue"] == first
    assert headers["x-first-death-reason"] == "expired"
    assert headers["x-death"][0]["routing-keys"] == [second]


async def test_of_many_deaths_the_latest_comes_first(channel: AbstractChannel, queues: Queues) -> None:
    journey, message = await journey_through_four_queues(channel, queues)
    told = deaths(message)
    assert told[0] == (journey[-1], "rejected", 1)
    assert sorted(told) == sorted((queue, "rejected", 1) for queue in journey)
    assert headers_of(message)["x-first-death-queue"] == journey[0]


async def test_all_deaths_are_in_order_the_latest_first(channel: AbstractChannel, queues: Queues) -> None:
    """On RabbitMQ 3 the older ones are reversed at each death; RabbitMQ 4 orders them all."""
    journey, message = await journey_through_four_queues(channel, queues)
    assert deaths(message) == [(queue, "rejected", 1) for queue in reversed(journey)]


async def journey_through_four_queues(
    channel: AbstractChannel, queues: Queues
) -> tuple[list[str], DeliveredMessage]:
    """Let a message be rejected in four queues; return their names and the dead letter."""
    dead = following = await declare_queue(channel)
    journey: list[str] = []
    for _ in range(4):
        following = await queues.to(following)
        journey.insert(0, following)
    await publish(channel, journey[0], b"x")
    for queue in journey:
        await reject(channel, queue)
    return journey, await get(channel, dead)


async def test_a_repeat_raises_the_count_and_moves_to_the_front(
    channel: AbstractChannel, names: Names, queues: Queues
) -> None:
    wait_name = names.queue()
    work = await queues.to(wait_name)
    wait = await queues.to(work, wait_name, message_ttl=50)
    await publish_with(channel, work, expiration="60000", headers={"mine": 1})
    first_time = None
    for round_number in range(1, 4):
        await reject(channel, work)
        message = await get(channel, work, no_ack=False)
        assert deaths(message) == [(wait, "expired", round_number), (work, "rejected", round_number)]
        headers = headers_of(message)
        rejected = headers["x-death"][1]
        assert rejected["original-expiration"] == "60000"
        first_time = first_time or rejected["time"]
        assert rejected["time"] == first_time, "the time is that of the first death of its kind"
        assert headers["x-first-death-queue"] == work
        assert headers["mine"] == 1
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=True))


async def test_the_same_queue_has_an_entry_for_each_reason(
    channel: AbstractChannel, queues: Queues, names: Names
) -> None:
    dead_name = names.queue()
    queue = await queues.to(dead_name, max_length=1)
    dead = await queues.to(queue, dead_name)
    await publish(channel, queue, b"1")
    await reject(channel, queue)
    await reject(channel, dead)
    await ready_becomes(channel, queue, 1)
    await publish(channel, queue, b"2")
    message = await get(channel, dead)
    assert message.body == b"1"
    assert deaths(message)[0] == (queue, "maxlen", 1)
    assert set(deaths(message)[1:]) == {(dead, "rejected", 1), (queue, "rejected", 1)}


async def test_a_republished_history_keeps_counting(channel: AbstractChannel, queues: Queues) -> None:
    """RabbitMQ 4 starts again at 1; retry counters of applications rely on this."""
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish(channel, queue, b"x")
    for count in (1, 2, 3):
        await reject(channel, queue)
        message = await get(channel, dead)
        assert deaths(message) == [(queue, "rejected", count)]
        await publish_with(channel, queue, headers=message.header.properties.headers)


@pytest.mark.parametrize("forged", ["text", 5, None, {"queue": "q"}], ids=str)
async def test_a_history_of_another_type_is_replaced(
    channel: AbstractChannel, queues: Queues, forged: object
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish_with(channel, queue, headers={"x-death": forged})
    await reject(channel, queue)
    assert deaths(await get(channel, dead)) == [(queue, "rejected", 1)]


async def test_properties_and_body_are_kept(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    sent: dict[str, Any] = {
        "content_type": "application/json",
        "content_encoding": "gzip",
        "delivery_mode": 2,
        "priority": 7,
        "correlation_id": "correlation",
        "reply_to": "somebody",
        "message_id": "message",
        "timestamp": datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
        "message_type": "order.created",
        "app_id": "interop",
    }
    body = bytes(range(256)) * 1000
    await publish_with(channel, queue, body, **sent)
    await reject(channel, queue)
    message = await get(channel, dead)
    assert message.body == body
    properties = dict(message.header.properties)
    properties.pop("headers")
    assert {name: value for name, value in properties.items() if value} == sent


# Reasons


@pytest.mark.parametrize("settle", ["reject", "nack"])
async def test_rejecting_without_requeue_dead_letters(
    channel: AbstractChannel, queues: Queues, settle: str
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish(channel, queue, b"x")
    tag = (await get(channel, queue, no_ack=False)).delivery_tag or 0
    if settle == "reject":
        await within(channel.basic_reject(tag, requeue=False))
    else:
        await within(channel.basic_nack(tag, requeue=False))
    assert deaths(await get(channel, dead)) == [(queue, "rejected", 1)]


async def test_a_multiple_nack_dead_letters_in_order(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish(channel, queue, b"1", b"2", b"3", b"4")
    tags = [(await get(channel, queue, no_ack=False)).delivery_tag or 0 for _ in range(4)]
    await within(channel.basic_nack(tags[2], multiple=True, requeue=False))
    messages = [await get(channel, dead) for _ in range(3)]
    assert [message.body for message in messages] == [b"1", b"2", b"3"]
    assert {death for message in messages for death in deaths(message)} == {(queue, "rejected", 1)}
    await within(channel.basic_ack(tags[3]))
    assert await get_body(channel, dead) is None


async def test_requeueing_and_acknowledging_do_not_dead_letter(
    connection: AbstractConnection, channel: AbstractChannel, queues: Queues
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    working = await within(connection.channel())
    await publish(channel, queue, b"1", b"2", b"3")
    await within(working.basic_nack((await get(working, queue, no_ack=False)).delivery_tag or 0))
    await within(working.basic_recover(requeue=True))
    await within(working.basic_ack((await get(working, queue, no_ack=False)).delivery_tag or 0))
    await get(working, queue, no_ack=False)
    await within(working.close())
    await ready_becomes(channel, queue, 2)
    last = await reject(channel, queue)
    assert (await get(channel, dead)).body == last.body
    assert await ready_count(channel, dead) == 0


async def test_a_rejection_in_a_transaction_dead_letters_at_its_commit(
    connection: AbstractConnection, channel: AbstractChannel, queues: Queues
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead)
    await publish(channel, queue, b"rolled back", b"committed")
    working = await within(connection.channel(publisher_confirms=False))
    await within(working.tx_select())
    for end in (working.tx_rollback, working.tx_commit):
        await reject(working, queue)
        assert await ready_count(channel, dead) == 0
        await within(end())
    assert (await get(channel, dead)).body == b"committed"
    assert await ready_count(channel, dead) == 0


@pytest.mark.parametrize("limit", [{"max_length": 2}, {"max_length_bytes": 10}], ids=["messages", "bytes"])
async def test_a_full_queue_dead_letters_its_oldest_messages(
    channel: AbstractChannel, queues: Queues, limit: dict[str, int]
) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead, **limit)
    await publish(channel, queue, b"five1", b"five2", b"five3", b"five4")
    for body in (b"five1", b"five2"):
        message = await get(channel, dead)
        assert message.body == body
        assert deaths(message) == [(queue, "maxlen", 1)]
    assert await drain(channel, queue) == [b"five3", b"five4"]
    assert await ready_count(channel, dead) == 0


async def test_a_queue_of_no_length_dead_letters_at_once(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead, max_length=0)
    confirmation = await within(channel.basic_publish(b"x", routing_key=queue, mandatory=True))
    assert isinstance(confirmation, Basic.Ack)
    assert deaths(await get(channel, dead)) == [(queue, "maxlen", 1)]


async def test_a_refused_publish_is_no_dead_letter(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead, max_length=1, overflow="reject-publish")

    async def refused() -> bool:
        try:
            await publish(channel, queue, b"x")
        except aiormq.exceptions.DeliveryError:
            return True
        return False

    # A quorum queue takes a few more before it refuses.
    await eventually(refused, "a full queue refuses")
    ready = await ready_count(channel, queue)
    await reject(channel, queue)
    assert deaths(await get(channel, dead)) == [(queue, "rejected", 1)]
    assert await ready_count(channel, dead) == 0
    assert await ready_count(channel, queue) == ready - 1


async def test_a_refused_publish_is_a_dead_letter_if_the_queue_says_so(
    channel: AbstractChannel, names: Names
) -> None:
    queues = Queues(channel, names, "classic")
    dead = await declare_queue(channel)
    queue = await queues.to(dead, max_length=1, overflow="reject-publish-dlx")
    await publish(channel, queue, b"1")
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await publish(channel, queue, b"2")
    message = await get(channel, dead)
    assert (message.body, deaths(message)) == (b"2", [(queue, "maxlen", 1)])
    assert await drain(channel, queue) == [b"1"]


async def test_too_many_deliveries_dead_letter(channel: AbstractChannel, names: Names) -> None:
    queues = Queues(channel, names, "quorum")
    dead = await declare_queue(channel)
    queue = await queues.to(dead, delivery_limit=2)
    await publish(channel, queue, b"x")
    for attempt in range(3):
        message = await get(channel, queue, no_ack=False)
        headers = message.header.properties.headers or {}
        assert headers["x-delivery-count"] == attempt
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=True))
    message = await get(channel, dead)
    assert deaths(message) == [(queue, "delivery_limit", 1)]
    assert "x-delivery-count" not in (message.header.properties.headers or {})
    assert await ready_count(channel, queue) == 0


async def test_too_many_deliveries_without_dead_letter_exchange_drop(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await Queues(channel, names, "quorum").declare(delivery_limit=1)
    await publish(channel, queue, b"x", b"next")
    for _ in range(2):
        message = await get(channel, queue, no_ack=False)
        assert message.body == b"x"
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=True))
    assert (await get(channel, queue)).body == b"next"


async def test_a_consumer_sees_the_delivery_count_from_the_second_delivery_on(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await Queues(channel, names, "quorum").declare()
    await publish_with(channel, queue, headers={"mine": 1})
    consumer = await Deliveries.of(channel, queue)
    seen = []
    for _ in range(3):
        message = await consumer.next()
        seen.append(message.header.properties.headers)
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=True))
    assert seen == [{"mine": 1}, {"mine": 1, "x-delivery-count": 1}, {"mine": 1, "x-delivery-count": 2}]


# Not dead letters


@pytest.mark.parametrize("how", ["purge", "delete", "delete while unacknowledged", "expiry of the queue"])
async def test_messages_that_go_with_others_are_no_dead_letters(
    connection: AbstractConnection, channel: AbstractChannel, queues: Queues, how: str
) -> None:
    dead = await declare_queue(channel)
    other = await queues.to(dead)
    limits = {"expires": 300} if how == "expiry of the queue" else {}
    queue = await queues.to(dead, **limits)
    await publish(channel, queue, b"1", b"2", b"3")
    match how:
        case "purge":
            await within(channel.queue_purge(queue))
        case "delete while unacknowledged":
            await get(await within(connection.channel()), queue, no_ack=False)
            await within(channel.queue_delete(queue))
        case "delete":
            await within(channel.queue_delete(queue))
        case _:
            await expires(channel, queue, 300)
    await publish(channel, other, b"witness")
    await reject(channel, other)
    assert (await get(channel, dead)).body == b"witness"
    assert await ready_count(channel, dead) == 0


# Where they go


async def test_without_a_key_of_its_own_the_dead_letter_keeps_its_key(
    channel: AbstractChannel, queues: Queues
) -> None:
    exchange = await queues.exchange("direct")
    queue, dead = await queues.declare(dead_letter_exchange=exchange), await declare_queue(channel)
    await within(channel.queue_bind(dead, exchange, queue))
    await publish(channel, queue, b"x")
    await reject(channel, queue)
    message = await get(channel, dead)
    assert (message.exchange, message.routing_key) == (exchange, queue)


async def test_with_a_key_of_its_own_the_dead_letter_has_only_that(
    channel: AbstractChannel, queues: Queues
) -> None:
    exchange = await queues.exchange("direct")
    queue = await queues.declare(dead_letter_exchange=exchange, dead_letter_routing_key="dead")
    dead, by_old_key, by_cc = [await declare_queue(channel) for _ in range(3)]
    for target, key in ((dead, "dead"), (by_old_key, queue), (by_cc, "copy")):
        await within(channel.queue_bind(target, exchange, key))
    await publish_with(channel, queue, headers={"CC": ["copy"], "mine": 1})
    await reject(channel, queue)
    message = await get(channel, dead)
    assert (message.exchange, message.routing_key) == (exchange, "dead")
    headers = headers_of(message)
    assert "CC" not in headers
    assert headers["mine"] == 1
    assert headers["x-death"][0]["routing-keys"] == [queue, "copy"], "they are those it was published with"
    assert await ready_count(channel, by_old_key) == await ready_count(channel, by_cc) == 0


async def test_the_keys_of_cc_are_kept_and_told(channel: AbstractChannel, queues: Queues) -> None:
    exchange = await queues.exchange("direct")
    queue = await queues.declare(dead_letter_exchange=exchange)
    by_key, by_cc = [await declare_queue(channel) for _ in range(2)]
    await within(channel.queue_bind(by_key, exchange, queue))
    await within(channel.queue_bind(by_cc, exchange, "copy"))
    await publish_with(channel, queue, headers={"CC": ["copy"], "BCC": ["hidden"]})
    await reject(channel, queue)
    for dead in (by_key, by_cc):
        message = await get(channel, dead)
        assert message.routing_key == queue
        headers = headers_of(message)
        assert headers["CC"] == ["copy"]
        assert "BCC" not in headers
        assert headers["x-death"][0]["routing-keys"] == [queue, "copy"]


async def test_the_keys_of_bcc_are_not_those_of_a_dead_letter(
    channel: AbstractChannel, queues: Queues
) -> None:
    exchange = await queues.exchange("direct")
    queue = await queues.declare(dead_letter_exchange=exchange)
    by_key, by_bcc = [await declare_queue(channel) for _ in range(2)]
    await within(channel.queue_bind(by_key, exchange, queue))
    await within(channel.queue_bind(by_bcc, exchange, "hidden"))
    await publish_with(channel, queue, headers={"BCC": ["hidden"]})
    await reject(channel, queue)
    message = await get(channel, by_key)
    headers = headers_of(message)
    assert "BCC" not in headers
    assert headers["x-death"][0]["routing-keys"] == [queue]
    assert message.routing_key == queue
    assert await ready_count(channel, by_bcc) == 0


async def test_a_fanout_gives_every_queue_a_dead_letter(channel: AbstractChannel, queues: Queues) -> None:
    exchange = await queues.exchange("fanout")
    queue = await queues.declare(dead_letter_exchange=exchange)
    targets = [await declare_queue(channel) for _ in range(3)]
    for target in targets:
        await within(channel.queue_bind(target, exchange))
    await publish(channel, queue, b"x")
    await reject(channel, queue)
    for target in targets:
        assert deaths(await get(channel, target)) == [(queue, "rejected", 1)]


async def test_each_queue_that_took_a_message_makes_its_own_dead_letter(
    channel: AbstractChannel, queues: Queues
) -> None:
    exchange = await queues.exchange("fanout")
    dead = await declare_queue(channel)
    first, second = await queues.to(dead), await queues.to(dead)
    for queue in (first, second):
        await within(channel.queue_bind(queue, exchange))
    await publish_with(channel, "key", exchange=exchange)
    for queue in (first, second):
        await reject(channel, queue)
        message = await get(channel, dead)
        assert deaths(message) == [(queue, "rejected", 1)]
        assert headers_of(message)["x-death"][0]["exchange"] == exchange
        assert headers_of(message)["x-death"][0]["routing-keys"] == ["key"]


async def test_an_internal_exchange_takes_dead_letters(channel: AbstractChannel, queues: Queues) -> None:
    exchange = await queues.exchange("fanout", internal=True)
    queue, dead = await queues.declare(dead_letter_exchange=exchange), await declare_queue(channel)
    await within(channel.queue_bind(dead, exchange))
    await publish(channel, queue, b"x")
    await reject(channel, queue)
    assert (await get(channel, dead)).exchange == exchange


async def test_an_alternate_exchange_takes_dead_letters_that_are_not_routed(
    channel: AbstractChannel, queues: Queues
) -> None:
    alternate = await queues.exchange("fanout")
    exchange = await queues.exchange("direct", arguments={"alternate-exchange": alternate})
    queue, dead = await queues.declare(dead_letter_exchange=exchange), await declare_queue(channel)
    await within(channel.queue_bind(dead, alternate))
    await publish(channel, queue, b"x")
    await reject(channel, queue)
    assert (await get(channel, dead)).exchange == exchange


async def test_a_dead_letter_that_is_not_routed_is_dropped(channel: AbstractChannel, queues: Queues) -> None:
    source, exchange = await queues.exchange("fanout"), await queues.exchange("direct")
    queue, dead = await queues.declare(dead_letter_exchange=exchange), await declare_queue(channel)
    await within(channel.queue_bind(queue, source))
    await within(channel.queue_bind(dead, exchange, "kept"))
    for key in ("lost", "kept"):
        await publish_with(channel, key, key.encode(), exchange=source)
    for _ in range(2):
        await reject(channel, queue)
    assert (await get(channel, dead)).body == b"kept"
    assert await ready_count(channel, queue) == 0


async def test_without_the_dead_letter_exchange_dead_letters_are_dropped(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, queues: Queues
) -> None:
    exchange = names.exchange()
    queue, dead = await queues.declare(dead_letter_exchange=exchange), await declare_queue(channel)
    await publish(channel, queue, b"too early", b"in time", b"too late", b"in time again")
    for kept in (b"in time", b"in time again"):
        await reject(channel, queue)
        # Nothing shows that the message was dropped, and the exchange must not come too early for it.
        await time_passes(channel, 200)
        await queues.exchange("fanout", exchange)
        await within(channel.queue_bind(dead, exchange))
        await reject(channel, queue)
        assert (await get(channel, dead)).body == kept
        await within(channel.exchange_delete(exchange))
    assert await ready_count(channel, dead) == 0
    await assert_usable(connection)


# Chains and cycles


async def test_a_chain_of_queues_is_passed_in_turn(channel: AbstractChannel, queues: Queues) -> None:
    dead = following = await declare_queue(channel)
    chain: list[str] = []
    for _ in range(5):
        following = await queues.to(following, message_ttl=30)
        chain.insert(0, following)
    bodies = [str(number).encode() for number in range(10)]
    await publish(channel, chain[0], *bodies)
    for body in bodies:
        message = await get(channel, dead)
        assert message.body == body
        assert deaths(message)[0] == (chain[-1], "expired", 1)
        assert set(deaths(message)) == {(queue, "expired", 1) for queue in chain}


async def test_time_starts_again_in_each_queue_of_a_chain(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    second = await queues.to(dead, message_ttl=60_000)
    first = await queues.to(second, message_ttl=50)
    await publish(channel, first, b"x")
    await ready_becomes(channel, second, 1)
    await time_passes(channel, 200)
    assert deaths(await get(channel, second)) == [(first, "expired", 1)]


async def test_a_rejected_message_may_come_back_to_its_queue(
    channel: AbstractChannel, names: Names, queues: Queues
) -> None:
    name = names.queue()
    queue = await queues.to(name, name)
    await publish(channel, queue, b"x")
    for count in (1, 2, 3):
        await reject(channel, queue)
        message = await get(channel, queue, no_ack=False)
        assert deaths(message) == [(queue, "rejected", count)]
        await within(channel.basic_reject(message.delivery_tag or 0, requeue=True))


async def test_the_default_exchange_without_a_key_leads_back_to_the_queue(
    channel: AbstractChannel, queues: Queues
) -> None:
    queue = await queues.declare(dead_letter_exchange="")
    await publish(channel, queue, b"x")
    await reject(channel, queue)
    assert deaths(await get(channel, queue)) == [(queue, "rejected", 1)]


async def test_a_message_that_would_expire_in_a_circle_is_dropped(
    channel: AbstractChannel, names: Names, queues: Queues
) -> None:
    name = names.queue()
    second = await queues.to(name, message_ttl=50)
    first = await queues.to(second, name, message_ttl=50)
    await publish(channel, first, b"x")
    await time_passes(channel, 500)
    assert await ready_count(channel, first) + await ready_count(channel, second) == 0


async def test_a_cycle_is_dropped_for_that_target_only(channel: AbstractChannel, queues: Queues) -> None:
    exchange = await queues.exchange("fanout")
    queue, other = (
        await queues.declare(dead_letter_exchange=exchange, message_ttl=50),
        await declare_queue(channel),
    )
    for target in (queue, other):
        await within(channel.queue_bind(target, exchange))
    for body in (b"1", b"2", b"3"):
        await publish(channel, queue, body)
        message = await get(channel, other)
        assert (message.body, deaths(message)) == (body, [(queue, "expired", 1)])
    assert await ready_count(channel, queue) == 0


async def test_a_history_with_a_rejection_allows_the_circle(
    channel: AbstractChannel, names: Names, queues: Queues
) -> None:
    dead = names.queue()
    queue = await queues.to(dead, message_ttl=50)
    await queues.declare(dead)
    for reason, arrives in (("rejected", True), ("expired", False), ("rejected", True)):
        await publish_with(
            channel,
            queue,
            reason.encode(),
            headers={"x-death": [{"queue": dead, "reason": reason, "count": 1}]},
        )
        if arrives:
            assert (await get(channel, dead)).body == reason.encode()
    await ready_becomes(channel, queue, 0)
    assert await ready_count(channel, dead) == 0


async def test_many_dead_letters_arrive_all_and_in_order(channel: AbstractChannel, queues: Queues) -> None:
    dead = await declare_queue(channel)
    queue = await queues.to(dead, message_ttl=100)
    bodies = [str(number).encode() for number in range(500)]
    await within(asyncio.gather(*(channel.basic_publish(body, routing_key=queue) for body in bodies)))
    consumer = await Deliveries.of(channel, dead, no_ack=True)
    assert await consumer.bodies(500) == bodies


# Declaring


async def test_a_dead_letter_key_without_an_exchange_is_406(
    connection: AbstractConnection, channel: AbstractChannel, queues: Queues
) -> None:
    with pytest.raises(PreconditionFailed, match="routing_key_but_no_dlx_defined"):
        await queues.declare(dead_letter_routing_key="key")
    await assert_usable(connection)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dead_letter_exchange": 5},
        {"dead_letter_exchange": None},
        {"dead_letter_exchange": "", "dead_letter_routing_key": 5},
    ],
    ids=str,
)
async def test_names_of_another_type_are_406(
    connection: AbstractConnection, queues: Queues, wrong: dict[str, object]
) -> None:
    with pytest.raises(PreconditionFailed, match="arg 'x-dead-letter-"):
        await queues.declare(**wrong)
    await assert_usable(connection)
