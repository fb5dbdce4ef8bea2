"""Every metric of RabbitMQ is there, with its type and labels."""

from __future__ import annotations

import pytest

from tests.metrics.metered import Scrape, metered, traffic
from tests.metrics.rabbitmq_names import AGGREGATED, DETAILED, PER_OBJECT

WITHOUT_SAMPLES = {
    # Nobody sent a timestamp; RabbitMQ writes NaN.
    "queue_head_message_timestamp",
    # Counted for all queues or exchanges together.
    "queue_disk_reads_total",
    "channel_messages_confirmed_total",
}
MORE_LABELS = {
    "rabbitmq_build_info": {"product_name", "product_version"},
    "rabbitmq_identity_info": {"rabbitmq_endpoint"},
}


def check(scrape: Scrape, expected: dict[str, tuple[str, tuple[str, ...]]]) -> list[str]:
    """List what differs from RabbitMQ."""
    problems = []
    for name, (kind, labels) in expected.items():
        if name.startswith("telemetry_"):
            continue
        if scrape.kind(name) != kind:
            problems.append(f"{name} is a {scrape.kind(name)}, on RabbitMQ a {kind}")
        wanted = set(labels) | MORE_LABELS.get(name, set())
        found = [set(each) for each, _ in scrape.samples(name)]
        if not found and not name.endswith(tuple(WITHOUT_SAMPLES)) and labels:
            problems.append(f"{name} has no sample")
        problems += [f"{name} has labels {each}, on RabbitMQ {wanted}" for each in found if each != wanted]
    return problems


async def test_sums_have_rabbitmqs_names_types_and_labels() -> None:
    async with metered() as broker, traffic(broker.url):
        assert not check(await broker.scrape(), AGGREGATED)


async def test_objects_have_rabbitmqs_names_types_and_labels() -> None:
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape("/metrics/per-object")
    alike = {name: row for name, row in AGGREGATED.items() if name not in PER_OBJECT}
    assert not check(scrape, alike)
    assert not check(scrape, PER_OBJECT)


async def test_families_have_rabbitmqs_names_types_and_labels() -> None:
    problems = []
    async with metered() as broker, traffic(broker.url):
        for family, expected in DETAILED.items():
            scrape = await broker.scrape(f"/metrics/detailed?family={family}")
            problems += check(scrape, expected)
    assert not problems


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("queue_delivery_metrics", "rabbitmq_detailed_queue_messages_delivered_ack_total"),
        ("queue_exchange_metrics", "rabbitmq_detailed_queue_exchange_messages_published_total"),
        ("exchange_metrics", "rabbitmq_detailed_exchange_messages_published_total"),
        ("stream_consumer_metrics", "rabbitmq_detailed_stream_consumer_max_offset_lag"),
        ("queue_coarse_metrics", "rabbitmq_detailed_queue_info"),
    ],
)
async def test_families_of_later_releases_are_there(name: str, kind: str) -> None:
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape(f"/metrics/detailed?family={name}")
    assert list(scrape.samples(kind)), f"no sample of {kind} in family {name}"


async def test_the_numbers_are_those_of_the_traffic() -> None:
    """The same traffic gave these on RabbitMQ."""
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape()
    expected = {
        "rabbitmq_queue_messages_ready": 64,
        "rabbitmq_queue_messages_unacked": 10,
        "rabbitmq_queue_messages": 74,
        "rabbitmq_consumers": 3,
        "rabbitmq_queues": 5,
        "rabbitmq_connections": 1,
        "rabbitmq_channels": 2,
        "rabbitmq_channel_messages_published_total": 81,
        "rabbitmq_channel_messages_confirmed_total": 81,
        "rabbitmq_channel_messages_unroutable_dropped_total": 1,
        "rabbitmq_channel_get_ack_total": 12,
        "rabbitmq_channel_get_total": 3,
        "rabbitmq_channel_get_empty_total": 1,
        "rabbitmq_channel_messages_delivered_ack_total": 30,
        "rabbitmq_channel_messages_acked_total": 23,
        "rabbitmq_queue_messages_published_total": 80,
        "rabbitmq_queues_created_total": 5,
    }
    assert {name: scrape.value(name) for name in expected} == expected
    by_type = "rabbitmq_global_messages_delivered_total"
    found = {labels["queue_type"]: value for labels, value in scrape.samples(by_type)}
    assert found == {"rabbit_classic_queue": 14, "rabbit_quorum_queue": 11, "rabbit_stream_queue": 20}
    rejected = "rabbitmq_global_messages_dead_lettered_rejected_total"
    moved = sum(value for _, value in scrape.samples(rejected))
    assert moved == 6
    assert scrape.value("rabbitmq_message_size_bytes_count", protocol="amqp091") == 81
    assert scrape.value("harebell_queue_rejected_total", queue="classic") == 3
    assert scrape.value("harebell_queue_requeued_total", queue="quorum") == 3
    assert scrape.value("harebell_queue_dead_lettered_total", queue="quorum", reason="rejected") == 3
    answers = "harebell_delivery_to_ack_seconds_count"
    assert scrape.value(answers, queue_type="rabbit_stream_queue") == 20


async def test_the_sums_of_all_objects_are_those_without_labels() -> None:
    async with metered() as broker, traffic(broker.url):
        sums = await broker.scrape()
        objects = await broker.scrape("/metrics/per-object")
    names = [name for name in PER_OBJECT if name in AGGREGATED and list(objects.samples(name))]
    # Octets were sent in between; these have labels in both; queues count dead letters, channels do not.
    changing = ("rabbitmq_connection_", "rabbitmq_auth_", "rabbitmq_build", "rabbitmq_identity")
    other = ("rabbitmq_global", "rabbitmq_queue_messages_published_total")
    for name in names:
        if not name.startswith(changing + other):
            assert sums.value(name) == sum(value for _, value in objects.samples(name)), name
