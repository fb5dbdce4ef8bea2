"""Where a reader of a stream begins (`x-stream-offset`), and what it asks for (`x-stream-filter`)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.deliveries import Deliveries, assert_usable, publish
from interop_tests.asyncio_clients.streams import clock_shows, declare_stream, offsets, read
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

TEN = [b"%d" % number for number in range(10)]


async def declare_with_ten(channel: AbstractChannel, names: Names) -> str:
    """Declare a stream and publish ten messages to it, whose bodies are their offsets."""
    stream = await declare_stream(channel, names)
    await publish(channel, stream, *TEN)
    return stream


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("first", [*TEN, b"new"]),
        ("last", [b"9", b"new"]),
        ("next", [b"new"]),
        (0, [*TEN, b"new"]),
        (5, [*TEN[5:], b"new"]),
        (9, [b"9", b"new"]),
        (10, [b"new"]),
        ("1h", [*TEN, b"new"]),
        ("7D", [*TEN, b"new"]),
    ],
)
async def test_a_reader_begins_where_it_asks(
    channel: AbstractChannel, names: Names, begin: object, expected: list[bytes]
) -> None:
    stream = await declare_with_ten(channel, names)
    reader = await read(channel, stream, begin)
    await publish(channel, stream, b"new")
    messages = await reader.take(len(expected))
    assert [message.body for message in messages] == expected
    assert offsets(messages) == list(range(11 - len(expected), 11))


async def test_a_reader_that_does_not_say_gets_what_comes(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_with_ten(channel, names)
    await within(channel.basic_qos(prefetch_count=10))
    reader = await Deliveries.of(channel, stream)
    await publish(channel, stream, b"new")
    assert offsets(await reader.take(1)) == [10]


@pytest.mark.parametrize("begin", ["first", "last", "next", 0, "1h", datetime(2020, 1, 1, tzinfo=UTC)])
async def test_in_an_empty_stream_all_begin_with_what_comes(
    channel: AbstractChannel, names: Names, begin: object
) -> None:
    stream = await declare_stream(channel, names)
    reader = await read(channel, stream, begin)
    await publish(channel, stream, b"a", b"b")
    assert offsets(await reader.take(2)) == [0, 1]


@pytest.mark.parametrize("there", [0, 3])
async def test_an_offset_beyond_the_end_is_waited_for(
    channel: AbstractChannel, names: Names, there: int
) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, *TEN[:there])
    reader = await read(channel, stream, 6)
    await publish(channel, stream, *TEN[there:])
    assert offsets(await reader.take(4)) == [6, 7, 8, 9]


async def test_a_negative_offset_asks_for_the_last_messages(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_with_ten(channel, names)
    assert offsets(await (await read(channel, stream, -3)).take(3)) == [7, 8, 9]


async def test_a_timestamp_leads_to_what_came_from_then_on(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"before")
    second = int(time.time()) + 1
    await clock_shows(second + 0.1)
    await publish(channel, stream, b"after", b"later")
    began = datetime.fromtimestamp(second, UTC)
    assert await (await read(channel, stream, began)).bodies(2) == [b"after", b"later"]
    assert await (await read(channel, stream, began - timedelta(hours=1))).bodies(1) == [b"before"]


async def test_a_timestamp_to_come_leads_to_what_comes(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_with_ten(channel, names)
    reader = await read(channel, stream, datetime.now(UTC) + timedelta(hours=1))
    await publish(channel, stream, b"new")
    assert await reader.bodies(1) == [b"new"]


async def test_an_interval_leads_to_what_came_within_it(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish(channel, stream, b"before")
    await clock_shows(time.time() + 2.2)
    await publish(channel, stream, b"after")
    assert await (await read(channel, stream, "2s")).bodies(1) == [b"after"]
    assert await (await read(channel, stream, "1m")).bodies(1) == [b"before"]


@pytest.mark.parametrize(
    "begin",
    ["5", "0s", "1x", "1.5h", "1d", "1H", "", "abc", "First", "-1h", None, True, [1], 1.5],
    ids=repr,
)
async def test_anything_else_is_no_offset(
    connection: AbstractConnection, channel: AbstractChannel, names: Names, begin: object
) -> None:
    stream = await declare_with_ten(channel, names)
    words = f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue '{stream}' in vhost '/': "
    with pytest.raises(PreconditionFailed, match=words):
        await read(channel, stream, begin)
    await assert_usable(connection)


async def publish_filtered(channel: AbstractChannel, stream: str, *values: str) -> None:
    """Publish a message with each filter value as body; an empty one without."""
    for value in values:
        properties = Basic.Properties(headers={"x-stream-filter-value": value} if value else {})
        await within(channel.basic_publish(value.encode(), routing_key=stream, properties=properties))


@pytest.mark.parametrize(
    ("wanted", "unfiltered", "expected"),
    [
        ("eu", False, [b"eu", b"eu"]),
        (["eu", "us"], False, [b"us", b"eu", b"us", b"eu"]),
        ("eu", True, [b"", b"eu", b"", b"eu"]),
    ],
    ids=["one", "two", "one and without"],
)
async def test_a_reader_gets_what_its_filter_lets_through_and_nothing_else(
    channel: AbstractChannel, names: Names, wanted: object, unfiltered: bool, expected: list[bytes]
) -> None:
    stream = await declare_stream(channel, names)
    await publish_filtered(channel, stream, "asia", "", "us", "eu", "us", "", "asia", "eu")
    reader = await read(channel, stream, stream_filter=wanted, stream_match_unfiltered=unfiltered)
    assert await reader.bodies(len(expected)) == expected


async def test_without_a_filter_a_reader_gets_all(channel: AbstractChannel, names: Names) -> None:
    stream = await declare_stream(channel, names)
    await publish_filtered(channel, stream, "asia", "", "us")
    assert await (await read(channel, stream)).bodies(3) == [b"asia", b"", b"us"]
