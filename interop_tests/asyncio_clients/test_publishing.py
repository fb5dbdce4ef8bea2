"""Publishing: confirms, returns, properties, sizes, CC and BCC, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

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
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

FRAME_MAX = 131_072


# Confirms and returns


async def test_a_publish_is_confirmed_with_the_next_sequence_number(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    tags = []
    for _ in range(3):
        confirmation = await within(channel.basic_publish(b"x", routing_key=queue))
        assert isinstance(confirmation, Basic.Ack)
        tags.append(confirmation.delivery_tag)
    assert tags == [1, 2, 3]


async def test_a_thousand_publishes_in_flight_are_all_confirmed(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    await within(
        asyncio.gather(
            *(channel.basic_publish(str(number).encode(), routing_key=queue) for number in range(1000))
        )
    )
    assert await drain(channel, queue) == [str(number).encode() for number in range(1000)]


async def test_persistent_messages_to_a_durable_queue_are_confirmed(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue(), durable=True)
    properties = Basic.Properties(delivery_mode=2)
    await within(
        asyncio.gather(
            *(channel.basic_publish(b"x", routing_key=queue, properties=properties) for _ in range(100))
        )
    )
    assert await ready_count(channel, queue) == 100


async def test_confirms_stay_in_step_when_some_messages_are_returned(
    channel: AbstractChannel, names: Names
) -> None:
    queue, nowhere = await declare_queue(channel), names.unique("nowhere")
    keys = [queue if number % 3 else nowhere for number in range(30)]
    results = await within(
        asyncio.gather(
            *(channel.basic_publish(b"x", routing_key=key, mandatory=True) for key in keys),
            return_exceptions=True,
        )
    )
    returned = [isinstance(result, aiormq.exceptions.PublishError) for result in results]
    assert returned == [key == nowhere for key in keys]
    assert await ready_count(channel, queue) == 20


async def test_an_unroutable_mandatory_message_is_returned_before_its_confirm(
    channel: AbstractChannel, names: Names
) -> None:
    nowhere = names.unique("nowhere")
    properties = Basic.Properties(content_type="text/plain", headers={"k": "v"})
    # aiormq raises this only if the return comes before the ack of the same message.
    with pytest.raises(aiormq.exceptions.PublishError) as returned:
        await within(
            channel.basic_publish(
                b"body", exchange="amq.direct", routing_key=nowhere, mandatory=True, properties=properties
            )
        )
    message = returned.value.message
    assert message is not None
    delivery = message.delivery
    assert isinstance(delivery, Basic.Return)
    assert (delivery.reply_code, delivery.reply_text) == (312, "NO_ROUTE")
    assert (delivery.exchange, delivery.routing_key) == ("amq.direct", nowhere)
    assert message.body == b"body"
    assert message.header.properties.content_type == "text/plain"
    assert message.header.properties.headers == {"k": "v"}


async def test_an_unroutable_message_is_dropped_and_confirmed(channel: AbstractChannel, names: Names) -> None:
    confirmation = await within(channel.basic_publish(b"x", routing_key=names.unique("nowhere")))
    assert isinstance(confirmation, Basic.Ack)


async def test_a_publish_to_a_missing_exchange_is_404_and_closes_the_channel_only(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="no exchange '.*' in vhost '/'"):
        await within(channel.basic_publish(b"x", exchange=names.exchange()))
    await assert_usable(connection)


async def test_an_immediate_message_that_no_consumer_takes_is_returned_with_313(
    channel: AbstractChannel,
) -> None:
    queue = await declare_queue(channel)
    with pytest.raises(aiormq.exceptions.PublishError) as returned:
        await within(channel.basic_publish(b"x", routing_key=queue, immediate=True))
    message = returned.value.message
    assert message is not None
    assert isinstance(message.delivery, Basic.Return)
    assert message.delivery.reply_code == 313
    assert await ready_count(channel, queue) == 0


async def test_an_immediate_message_reaches_a_waiting_consumer(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await within(channel.basic_publish(b"now", routing_key=queue, immediate=True))
    assert await consumer.bodies(1) == [b"now"]


async def test_publishing_does_not_wait_for_answers(connection: AbstractConnection) -> None:
    channel = await within(connection.channel(publisher_confirms=False))
    queue = await declare_queue(channel)
    for number in range(5000):
        await channel.basic_publish(str(number).encode(), routing_key=queue)
    await ready_becomes(channel, queue, 5000)
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert await consumer.bodies(5000) == [str(number).encode() for number in range(5000)]


# Content


async def test_every_property_arrives_as_it_was_sent(
    broker: BrokerUnderTest, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    sent = Basic.Properties(
        content_type="application/json",
        content_encoding="gzip",
        headers={"key": "value"},
        delivery_mode=2,
        priority=7,
        correlation_id="correlation",
        reply_to="somebody",
        expiration="60000",
        message_id="message",
        timestamp=datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
        message_type="order.created",
        user_id=broker.user,
        app_id="interop",
    )
    await within(channel.basic_publish(b"{}", routing_key=queue, properties=sent))
    message = await within(channel.basic_get(queue, no_ack=True))
    assert dict(message.header.properties) == dict(sent)


async def test_headers_of_every_type_arrive_as_they_were_sent(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    headers = {
        "boolean": True,
        "small": 5,
        "negative": -70_000,
        "long": 2**62,
        "double": 1.5,
        "decimal": Decimal("3.14"),
        "text": "grüße 🐇",
        "long text": "x" * 70_000,
        "bytes": bytearray(b"\x00\xff"),
        "time": datetime(2024, 2, 29, 12, 0, tzinfo=UTC),
        "none": None,
        "list": [1, "two", [3, {"four": 4}], None, True],
        "table": {"inner": {"innermost": [1, 2, 3]}},
    }
    properties = Basic.Properties(headers=headers)  # type: ignore[arg-type]
    await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    message = await within(channel.basic_get(queue, no_ack=True))
    assert message.header.properties.headers == headers


@pytest.mark.parametrize(
    "size",
    [0, 1, 4096, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 2 * (FRAME_MAX - 8), 1_000_003],
)
async def test_a_body_of_any_size_arrives_whole(channel: AbstractChannel, size: int) -> None:
    queue = await declare_queue(channel)
    body = bytes(index * 31 % 251 for index in range(size))
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    await publish(channel, queue, body)
    assert (await consumer.bodies(1))[0] == body


async def test_a_five_megabyte_body_arrives_whole_by_delivery_and_by_get(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    body = bytes(range(256)) * 20_480
    await publish(channel, queue, body, body)
    message = await within(channel.basic_get(queue, no_ack=True))
    assert message.body == body
    consumer = await Deliveries.of(channel, queue, no_ack=True)
    assert (await consumer.bodies(1))[0] == body


async def test_large_bodies_on_several_channels_do_not_mix(connection: AbstractConnection) -> None:
    channels = [await within(connection.channel()) for _ in range(4)]
    queues = [await declare_queue(channel) for channel in channels]
    bodies = [bytes([number]) * 400_000 for number in range(4)]
    consumers = [
        await Deliveries.of(channel, queue, no_ack=True)
        for channel, queue in zip(channels, queues, strict=True)
    ]
    await within(
        asyncio.gather(
            *(
                publish(channel, queue, body, body, body)
                for channel, queue, body in zip(channels, queues, bodies, strict=True)
            )
        )
    )
    for consumer, body in zip(consumers, bodies, strict=True):
        assert await consumer.bodies(3) == [body] * 3


# CC, BCC


async def test_cc_and_bcc_are_further_keys_and_bcc_is_hidden(channel: AbstractChannel) -> None:
    to, cc, bcc = [await declare_queue(channel) for _ in range(3)]
    properties = Basic.Properties(headers={"CC": [cc], "BCC": [bcc], "other": 1})
    await within(channel.basic_publish(b"x", routing_key=to, properties=properties))
    for queue in (to, cc, bcc):
        message = await within(channel.basic_get(queue, no_ack=True))
        assert message.body == b"x", f"nothing in {queue}"
        assert message.routing_key == to
        assert message.header.properties.headers == {"CC": [cc], "other": 1}


async def test_cc_naming_the_same_queue_gives_one_copy(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    properties = Basic.Properties(headers={"CC": [queue, queue], "BCC": [queue]})
    await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    assert await drain(channel, queue) == [b"x"]


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize("value", ["not-a-list", 5, {"a": "table"}], ids=str)
async def test_a_malformed_cc_or_bcc_is_406(channel: AbstractChannel, header: str, value: object) -> None:
    properties = Basic.Properties(headers={header: value})  # type: ignore[dict-item]
    with pytest.raises(PreconditionFailed, match=header):
        await within(channel.basic_publish(b"x", routing_key="anything", properties=properties))


async def test_entries_of_cc_that_are_no_strings_are_passed_over(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    properties = Basic.Properties(headers={"CC": [1, queue, None]})
    await within(channel.basic_publish(b"x", routing_key="nowhere", properties=properties))
    assert await drain(channel, queue) == [b"x"]


# What is refused


async def test_a_user_id_must_be_the_one_logged_in(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    properties = Basic.Properties(user_id="somebody-else")
    with pytest.raises(PreconditionFailed, match="user_id property set to 'somebody-else'"):
        await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    await assert_usable(connection)


@pytest.mark.parametrize("expiration", ["-1", "soon", "1.5", "99999999999999"])
async def test_a_bad_expiration_is_406(
    connection: AbstractConnection, channel: AbstractChannel, expiration: str
) -> None:
    queue = await declare_queue(channel)
    properties = Basic.Properties(expiration=expiration)
    with pytest.raises(PreconditionFailed, match="invalid expiration"):
        await within(channel.basic_publish(b"x", routing_key=queue, properties=properties))
    await assert_usable(connection)


async def test_what_was_published_before_a_channel_error_stays(
    connection: AbstractConnection, names: Names
) -> None:
    channel = await within(connection.channel(publisher_confirms=False))
    queue = await declare_queue(channel, names.queue())
    await channel.basic_publish(b"before", routing_key=queue)
    await channel.basic_publish(b"bad", exchange=names.exchange(), routing_key=queue)
    with pytest.raises(NotFound):
        await within(channel.closing)
    other = await within(connection.channel())
    assert await drain(other, queue) == [b"before"]
