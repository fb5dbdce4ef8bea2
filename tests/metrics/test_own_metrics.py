"""What only this broker tells: latencies, errors of queues, lags, its own troubles."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from harebell.engine.alarms import DAMAGE, DISK_FULL, MEMORY, UNREADABLE
from tests.metrics.metered import metered, traffic


async def test_the_disk_and_the_confirms_that_wait_for_it_are_timed(tmp_path: Path) -> None:
    async with metered(tmp_path) as broker, traffic(broker.url):
        scrape = await broker.scrape()
    syncs = scrape.value("harebell_fsync_seconds_count")
    assert syncs > 0
    assert scrape.value("harebell_fsync_seconds_sum") > 0
    assert scrape.value("rabbitmq_io_sync_ops_total") == syncs
    assert scrape.value("harebell_commit_batch_bytes_count") >= syncs
    assert scrape.value("harebell_commit_batch_bytes_sum") == scrape.value("rabbitmq_io_write_bytes_total")
    assert scrape.value("harebell_publish_to_confirm_seconds_count") == 81


async def test_latencies_of_queues_add_up_to_those_of_their_types() -> None:
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape()
    for name in ("time_in_queue_seconds_count", "delivery_to_ack_seconds_count"):
        by_type = sum(value for _, value in scrape.samples(f"harebell_{name}"))
        by_queue = sum(value for _, value in scrape.samples(f"harebell_queue_{name}"))
        assert by_type == by_queue > 0


async def test_queues_beyond_the_bound_are_added_up() -> None:
    async with metered(max_labels=1) as broker, traffic(broker.url):
        scrape = await broker.scrape()
        detailed = await broker.scrape("/metrics/detailed?family=queue_error_metrics")
    # Six of the quorum queue's deliveries went wrong, three of the classic queue's.
    errors = {labels["queue"]: value for labels, value in scrape.samples("harebell_queue_rejected_total")}
    assert errors == {"quorum": 3, "other": 3}
    name = "harebell_detailed_queue_rejected_total"
    assert {labels["queue"]: value for labels, value in detailed.samples(name)} == {"quorum": 3, "classic": 3}


async def test_a_full_queue_and_one_without_a_dead_letter_exchange_are_told_apart() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await channel.declare_queue("short", arguments={"x-max-length": 1})
        for name in ("full", "short"):
            for _ in range(3):
                try:
                    await channel.default_exchange.publish(aio_pika.Message(b""), name)
                except AMQPError:
                    assert name == "full"
        scrape = await broker.scrape()
    assert scrape.value("harebell_queue_refused_total", queue="full") == 2
    assert scrape.value("harebell_queue_dropped_total", queue="short", reason="maxlen") == 2
    assert scrape.value("harebell_queue_dead_lettered_total", queue="short", reason="maxlen") == 0


async def test_delayed_messages_are_counted_apart() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("later", "direct", arguments={"x-delayed": True})
        queue = await channel.declare_queue("q")
        await queue.bind(exchange, "k")
        for delay, key in ((3_600_000, "k"), (1, "nowhere"), (2, "k")):
            await exchange.publish(aio_pika.Message(b"", headers={"x-delay": delay}), key)
        async with asyncio.timeout(10), queue.iterator(no_ack=True) as messages:
            await anext(messages)
        scrape = await broker.scrape()
    assert scrape.value("harebell_delayed_messages", vhost="/") == 1
    assert scrape.value("harebell_delayed_messages_on_disk", vhost="/") == 0
    assert scrape.value("harebell_delayed_messages_routed_total", vhost="/") == 1
    assert scrape.value("harebell_delayed_messages_dropped_total", vhost="/") == 1


async def test_what_waits_for_its_retry_and_keys_that_somebody_has_are_counted() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        retrying: dict[str, Any] = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 3_600_000}
        again = await channel.declare_queue("again", arguments=retrying)
        await channel.default_exchange.publish(aio_pika.Message(b""), "again")
        await (await again.get()).reject(requeue=True)
        grouped = await channel.declare_queue("grouped", arguments={"x-group-header": "k"})
        await channel.default_exchange.publish(aio_pika.Message(b"", headers={"k": "a"}), "grouped")
        held = await grouped.get()
        scrape = await broker.scrape()
        await held.ack()
    assert scrape.value("harebell_messages_retrying", vhost="/") == 1
    assert scrape.value("harebell_groups_locked", vhost="/") == 1


async def test_a_reader_that_does_not_acknowledge_falls_behind() -> None:
    got = asyncio.Event()

    async def hold(_: AbstractIncomingMessage) -> None:
        got.set()

    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(1)
        stream = await channel.declare_queue("s", durable=True, arguments={"x-queue-type": "stream"})
        for _ in range(5):
            await channel.default_exchange.publish(aio_pika.Message(b""), "s")
        await stream.consume(hold, consumer_tag="slow", arguments={"x-stream-offset": "first"})
        async with asyncio.timeout(10):
            await got.wait()
        scrape = await broker.scrape()
    lag = scrape.value("harebell_stream_consumer_lag_messages", queue="s", consumer="slow")
    assert lag in (4, 5)
    assert scrape.value("rabbitmq_stream_consumer_max_offset_lag") == lag


@pytest.mark.parametrize(
    ("alarm", "name"),
    [
        (MEMORY, "rabbitmq_alarms_memory_used_watermark"),
        (DISK_FULL, "rabbitmq_alarms_free_disk_space_watermark"),
        (DISK_FULL, "harebell_alarm_disk_full"),
        (DAMAGE, "harebell_alarm_journal_damage"),
        (UNREADABLE, "harebell_alarm_disk_unreadable"),
    ],
)
async def test_alarms_are_shown(alarm: str, name: str) -> None:
    async with metered() as broker:
        before = await broker.scrape()
        broker.node.broker.alarms.update(alarm, True)
        after = await broker.scrape()
    assert (before.value(name), after.value(name)) == (0, 1)


async def test_logins_are_counted_by_protocol() -> None:
    async with metered() as broker:
        async with await aio_pika.connect(broker.url):
            pass
        with pytest.raises(AMQPError):
            await aio_pika.connect(broker.url.replace("guest:guest", "guest:wrong"))
        scrape = await broker.scrape()
    found = {
        name: scrape.value(f"rabbitmq_auth_attempts{name}_total", protocol="amqp091")
        for name in ("", "_succeeded", "_failed")
    }
    assert found == {"": 2, "_succeeded": 1, "_failed": 1}
