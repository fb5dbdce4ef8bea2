"""Sums over what is there and what is gone."""

from __future__ import annotations

import asyncio

import aio_pika

from harebell.administration.vhosts import delete_vhost, put_vhost
from harebell.metrics.family import ALL
from harebell.metrics.scrape import STEP, Scraper
from harebell.metrics.totals import Totals
from tests.metrics.metered import Scrape, metered, traffic


def counters(scrape: Scrape) -> dict[str, float]:
    """Give every counter, buckets of histograms included."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in scrape.families.values()
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


async def test_no_counter_falls_when_queues_exchanges_and_connections_go() -> None:
    async with metered() as broker:
        async with traffic(broker.url):
            before = await broker.scrape()
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            for name in ("classic", "quorum", "stream", "dead"):
                await channel.queue_delete(name)
            await channel.exchange_delete("topic")
            after = await broker.scrape()
    now = counters(after)
    # Series of queues that are gone are gone, too.
    own = ("queue', 'classic", "queue', 'quorum", "queue', 'stream", "queue', 'dead")
    kept = {name: value for name, value in counters(before).items() if not any(each in name for each in own)}
    fallen = {name: (value, now.get(name)) for name, value in kept.items() if now.get(name, -1) < value}
    assert not fallen
    assert after.value("rabbitmq_channel_messages_delivered_ack_total") == 30
    assert after.value("rabbitmq_queues_deleted_total") == 5


async def test_no_counter_falls_when_a_virtual_host_goes() -> None:
    async with metered() as broker:
        assert broker.node.services is not None
        admin = broker.node.services.admin
        put_vhost(admin, "brief", creator="guest")
        async with await aio_pika.connect(broker.url + "brief") as connection:
            channel = await connection.channel()
            await channel.declare_queue("q", durable=True)
            message = aio_pika.Message(b"a", delivery_mode=2)
            await channel.default_exchange.publish(message, "q")
            closed = asyncio.Event()
            connection.close_callbacks.add(lambda *_: closed.set())
            before = counters(await broker.scrape())
            delete_vhost(admin, "brief")
            during = counters(await broker.scrape())
            await asyncio.wait_for(closed.wait(), 10)
        after = counters(await broker.scrape())
    for now in (during, after):
        assert {name: value for name, value in before.items() if now.get(name, -1) < value} == {}


async def test_a_queue_deleted_during_a_scrape_is_counted_once() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        for number in range(3 * STEP):
            await channel.declare_queue(f"q{number}")
        for number in (0, 3 * STEP - 1):
            await channel.default_exchange.publish(aio_pika.Message(b""), f"q{number}")
        totals = Totals()
        steps = totals.gather(broker.node.broker, (), 0.0)
        next(steps)
        next(steps)
        for number in (0, 3 * STEP - 1):
            await channel.queue_delete(f"q{number}")
        for _ in steps:
            pass
    assert totals.all_queues().published == 2


async def test_a_scrape_of_many_queues_is_made_in_small_pieces() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        for number in range(20 * STEP):
            await channel.declare_queue(f"q{number}")
        assert broker.node.services is not None
        scraper = Scraper(broker.node.services.admin, broker.node.services.statistics)
        for pieces in (
            list(scraper.aggregated()),
            list(scraper.per_object()),
            list(scraper.detailed({"queue_metrics", "queue_error_metrics"}, ALL)),
        ):
            assert len(pieces) > 40, "others got too few chances to run"
            most = max(piece.count("\n") for piece in pieces)
            assert most <= 20 * STEP, f"{most} lines were written in one go"
