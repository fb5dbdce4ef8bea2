"""Runs against a real broker, in this process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from pamqp import commands

from harebell.perf import methods
from harebell.perf.connection import Connection
from harebell.perf.errors import ClosedByServer, PerfError
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import Inbound
from harebell.perf.measurement import Interval
from harebell.perf.options import Options
from harebell.perf.summary import Summary
from harebell.perf.url import parse_url
from harebell.perf.workload import Workload


@pytest.fixture
def options(broker_url: str) -> Options:
    return Options(url=parse_url(broker_url), count=3_000)


@pytest.fixture
async def client(broker_url: str) -> AsyncIterator[Connection]:
    """Give a second connection, to look at the broker from beside the run."""
    connection = Connection(Inbound(131_072, 0, 0, Histogram(), None), lambda reason: None)
    await connection.open(parse_url(broker_url), 0)
    yield connection
    await connection.close()


async def run(options: Options) -> Summary:
    options.check()
    summary, failure = await Workload(options).execute()
    assert failure is None
    return summary


async def queue_depth(client: Connection, queue: str) -> int | None:
    """Return how many messages a queue holds, None when there is no such queue."""
    try:
        answer = await client.call(methods.queue_declare(queue, {}, passive=True), commands.Queue.DeclareOk)
    except ClosedByServer as error:
        assert error.reply_code == 404
        await client.open_channel()
        return None
    return answer.message_count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ack_every": 1, "prefetch": 10},
        {"ack_every": 7, "prefetch": 10},
        {"ack_every": 1, "prefetch": 10, "in_flight": 100},
        {"confirm": 1, "count": 200},
        {"confirm": 64, "ack_every": 1, "prefetch": 10},
        {"persistent": True, "durable": True, "confirm": 64},
        {"publishers": 3, "consumers": 2, "queues": 4, "confirm": 10},
        {"publishers": 2, "consumers": 5, "queues": 3},
        {"size": 0},
        {"size": 11},
        {"size": 12},
        {"size": 300_000, "count": 40},
        {"latency": False},
        {"ordered": True, "confirm": 50, "in_flight": 100},
        {"priority": (0, 10), "queue_args": {"x-max-priority": 10}, "confirm": 64},
        {"expiration": (60_000, 90_000), "queues": 3},
        {"dead_letters": "rejected", "in_flight": 100, "ack_every": 1, "prefetch": 10},
        {"dead_letters": "rejected", "queues": 2, "consumers": 2, "prefetch": 10},
        {"dead_letters": "dropped", "expiration": (0, 20)},
        {"dead_letters": "dropped", "queue_args": {"x-max-length": 0}},
        {"exchange_type": "direct", "queues": 2, "consumers": 2},
        {"exchange_type": "topic", "queues": 2, "consumers": 2},
        {"rate": 20_000, "count": 1_000},
        {"heartbeat": 0},
        {"queue": "a|b*é"},
    ],
    ids=str,
)
async def test_every_message_arrives_once(options: Options, changes: dict[str, object]) -> None:
    asked = replace(options, **changes)  # type: ignore[arg-type]
    summary = await run(asked)
    assert summary.ended == "count"
    assert (summary.published.count, summary.received.count) == (asked.count, asked.count)
    assert summary.received_octets == (asked.count or 0) * asked.size
    assert summary.confirmed.count == (asked.count if asked.confirm else 0)
    assert summary.to_receive.count == (asked.count if asked.stamped else 0)
    assert summary.to_confirm.count == summary.confirmed.count


@pytest.mark.parametrize("kind", ["fanout", "headers"])
async def test_every_queue_of_a_fanout_gets_every_message(options: Options, kind: str) -> None:
    summary = await run(replace(options, exchange_type=kind, queues=3, consumers=3))
    assert (summary.published.count, summary.received.count) == (3_000, 9_000)


async def test_a_shared_routing_key_reaches_every_queue(options: Options) -> None:
    asked = replace(options, exchange_type="topic", routing_key="a.b", queues=2, consumers=2)
    assert (await run(asked)).received.count == 6_000


async def test_nothing_is_left_behind(options: Options, client: Connection) -> None:
    await run(replace(options, queue="mine", exchange="mine.x", exchange_type="fanout", count=10))
    assert await queue_depth(client, "mine") is None
    with pytest.raises(ClosedByServer, match="404"):
        await client.call(methods.exchange_declare("mine.x", "", passive=True), commands.Exchange.DeclareOk)


async def test_a_queue_that_was_there_before_is_kept(options: Options, client: Connection) -> None:
    await client.call(methods.queue_declare("kept", {}), commands.Queue.DeclareOk)
    published = await run(replace(options, queue="kept", consumers=0, confirm=10, count=50))
    assert any("kept" in note for note in published.notes)
    assert await queue_depth(client, "kept") == 50
    received = await run(replace(options, queue="kept", publishers=0, count=50, ack_every=20))
    assert received.received.count == 50
    assert await queue_depth(client, "kept") == 0
    await client.call(methods.queue_delete("kept"), commands.Queue.DeleteOk)


async def test_what_one_run_publishes_in_order_another_consumes_in_order(
    options: Options, client: Connection
) -> None:
    asked = replace(options, queue="ordered", ordered=True)
    await client.call(methods.queue_declare("ordered", {}), commands.Queue.DeclareOk)
    await run(replace(asked, consumers=0, confirm=64))
    drained = await run(replace(asked, publishers=0, ack_every=50, prefetch=100))
    assert (drained.received.count, drained.out_of_order) == (options.count, 0)
    await run(replace(options, queue="ordered", consumers=0, count=3))
    strange = await run(replace(asked, publishers=0, count=3))
    assert (strange.received.count, strange.out_of_order) == (3, 3)
    await client.call(methods.queue_delete("ordered"), commands.Queue.DeleteOk)


async def test_consumers_have_the_arguments_they_were_given(options: Options) -> None:
    asked = replace(options, ack_every=1, consume_args={"x-priority": 5})
    assert (await run(asked)).received.count == options.count
    with pytest.raises(PerfError, match="x-priority"):
        await run(replace(options, consume_args={"x-priority": "high"}))


async def test_messages_that_nobody_wants_are_counted_as_returned(options: Options) -> None:
    summary = await run(replace(options, routing_key="nowhere", mandatory=True, confirm=10, count=100))
    assert (summary.returned, summary.received.count, summary.ended) == (100, 0, "count")


async def test_a_rate_is_kept(options: Options) -> None:
    summary = await run(replace(options, count=None, duration=1.0, rate=2_000, publishers=2))
    assert summary.ended == "duration"
    assert 1_500 < summary.published.count <= 2_100


async def test_the_warm_up_does_not_count(options: Options) -> None:
    summary = await run(replace(options, count=None, warmup=0.5, duration=0.25, rate=1_000))
    assert 0.2 < summary.seconds < 0.45
    assert summary.published.count < 500


async def test_no_more_than_asked_for_is_in_flight(options: Options) -> None:
    intervals: list[Interval] = []
    asked = replace(options, count=None, duration=0.5, in_flight=50)
    await Workload(asked, 0.02, intervals.append).execute()
    assert intervals
    assert all(one.total.published - one.total.received <= 50 for one in intervals)
    assert intervals[-1].total.received > 50


async def test_intervals_add_up_to_the_whole(options: Options) -> None:
    intervals: list[Interval] = []
    summary, _ = await Workload(replace(options, rate=10_000), 0.05, intervals.append).execute()
    assert sum(one.counts.received for one in intervals) <= summary.received.count == 3_000
    assert summary.to_receive.count == 3_000


async def test_a_run_can_be_interrupted(options: Options) -> None:
    workload = Workload(replace(options, count=None, duration=60, rate=100), 0.05, lambda _: stop())

    def stop() -> None:
        assert workload.interrupt()
        assert not workload.interrupt()

    summary, failure = await workload.execute()
    assert (summary.ended, failure) == ("interrupted", None)


async def test_a_queue_deleted_under_the_run_ends_it_with_the_reason(
    options: Options, client: Connection
) -> None:
    deletions: list[asyncio.Task[commands.Queue.DeleteOk]] = []

    def delete(_: Interval) -> None:
        if not deletions:
            call = client.call(methods.queue_delete("doomed"), commands.Queue.DeleteOk)
            deletions.append(asyncio.ensure_future(call))

    asked = replace(options, queue="doomed", count=None, duration=30, rate=100)
    summary, failure = await Workload(asked, 0.05, delete).execute()
    await deletions[0]
    assert summary.ended == "failed"
    assert "cancelled a consumer" in str(failure)


async def test_publishing_to_a_missing_exchange_ends_the_run_with_the_reply_text(
    options: Options, client: Connection
) -> None:
    deletions: list[asyncio.Task[commands.Exchange.DeleteOk]] = []

    def delete(_: Interval) -> None:
        if not deletions:
            call = client.call(methods.exchange_delete("doomed.x"), commands.Exchange.DeleteOk)
            deletions.append(asyncio.ensure_future(call))

    asked = replace(options, exchange="doomed.x", count=None, duration=30, rate=100)
    summary, failure = await Workload(asked, 0.05, delete).execute()
    await deletions[0]
    assert summary.ended == "failed"
    assert str(failure).startswith("channel closed by the server: 404 NOT_FOUND")


async def test_a_run_that_cannot_start_raises_and_leaves_nothing(
    options: Options, client: Connection
) -> None:
    asked = replace(options, queue="half", queues=2, queue_args={"x-max-length": -1})
    with pytest.raises(PerfError, match="406"):
        await Workload(asked).execute()
    assert await queue_depth(client, "half-1") is None
