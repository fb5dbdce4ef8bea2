"""Dashboards show something: every metric and label their queries need is there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.metrics.dashboards import Query, problems, queries
from tests.metrics.metered import metered, traffic

OWN: Final = Path(__file__).parents[2] / "config/grafana/harebell.json"

OVERVIEW: Final = (
    "rabbitmq_channels",
    "rabbitmq_channels_closed_total",
    "rabbitmq_channels_opened_total",
    "rabbitmq_connections",
    "rabbitmq_connections_closed_total",
    "rabbitmq_connections_opened_total",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_erlang_uptime_seconds",
    "rabbitmq_global_consumers",
    "rabbitmq_global_messages_acknowledged_total",
    "rabbitmq_global_messages_confirmed_total",
    "rabbitmq_global_messages_delivered_consume_auto_ack_total",
    "rabbitmq_global_messages_delivered_consume_manual_ack_total",
    "rabbitmq_global_messages_delivered_get_auto_ack_total",
    "rabbitmq_global_messages_delivered_get_manual_ack_total",
    "rabbitmq_global_messages_delivered_total",
    "rabbitmq_global_messages_get_empty_total",
    "rabbitmq_global_messages_received_confirm_total",
    "rabbitmq_global_messages_received_total",
    "rabbitmq_global_messages_redelivered_total",
    "rabbitmq_global_messages_routed_total",
    "rabbitmq_global_messages_unroutable_dropped_total",
    "rabbitmq_global_messages_unroutable_returned_total",
    "rabbitmq_global_publishers",
    "rabbitmq_message_size_bytes_bucket",
    "rabbitmq_message_size_bytes_count",
    "rabbitmq_message_size_bytes_sum",
    "rabbitmq_process_max_fds",
    "rabbitmq_process_open_fds",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_queue_messages_ready",
    "rabbitmq_queue_messages_unacked",
    "rabbitmq_queues",
    "rabbitmq_queues_created_total",
    "rabbitmq_queues_declared_total",
    "rabbitmq_queues_deleted_total",
    "rabbitmq_resident_memory_limit_bytes",
)
"""What RabbitMQ's Overview dashboard (10991) reads, each joined with ``rabbitmq_identity_info``."""

SIZES: Final = ("100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf")
"""Bounds of message sizes in its queries."""

ALIKE: Final = (
    ("rabbitmq_global_messages_received_confirm_total", "rabbitmq_global_messages_confirmed_total"),
    (
        "rabbitmq_global_messages_delivered_consume_auto_ack_total",
        "rabbitmq_global_messages_delivered_consume_manual_ack_total",
    ),
    ("rabbitmq_resident_memory_limit_bytes", "rabbitmq_process_resident_memory_bytes"),
    ("rabbitmq_disk_space_available_bytes", "rabbitmq_disk_space_available_limit_bytes"),
    ("rabbitmq_process_max_fds", "rabbitmq_process_open_fds"),
)
"""Metrics it adds or subtracts, which must have the same labels."""


@pytest.mark.parametrize("path", ["/metrics", "/metrics/per-object"])
async def test_rabbitmqs_overview_dashboard_finds_what_it_reads(path: str) -> None:
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape(path)
    assert not [name for name in OVERVIEW if not list(scrape.samples(name))]
    bounds = [labels["le"] for labels, _ in scrape.samples("rabbitmq_message_size_bytes_bucket")]
    assert bounds == list(SIZES)
    for first, second in ALIKE:
        one, other = ([labels for labels, _ in scrape.samples(name)] for name in (first, second))
        assert one == other, f"{first} and {second} do not match"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/per-object"])
async def test_every_sample_can_be_joined_with_what_tells_the_node(path: str) -> None:
    """``* on(instance, job) group_left(...)`` needs exactly one series on the right."""
    async with metered() as broker:
        scrape = await broker.scrape(path)
    for name, needed in (
        ("rabbitmq_identity_info", {"rabbitmq_cluster", "rabbitmq_node", "rabbitmq_endpoint"}),
        ("rabbitmq_build_info", {"rabbitmq_version", "erlang_version"}),
    ):
        ((labels, value),) = scrape.samples(name)
        assert value == 1
        assert needed <= labels.keys()


async def test_our_own_dashboard_finds_what_it_reads() -> None:
    async with metered() as broker, traffic(broker.url):
        scrape = await broker.scrape()
    found = [problem for query in queries(OWN) for problem in problems(query, scrape)]
    assert not found
    assert len(list(queries(OWN))) > 30


async def test_a_query_of_what_is_not_there_is_noticed() -> None:
    async with metered() as broker:
        scrape = await broker.scrape()
    wrong = [
        Query("p", "sum(rate(harebell_nothing_total[5m]))", ""),
        Query("p", "sum by (colour) (rabbitmq_queues)", ""),
        Query("p", 'rabbitmq_message_size_bytes_bucket{le="101.0"}', ""),
        Query("p", "rabbitmq_queues", "{{colour}}"),
    ]
    assert [len(list(problems(query, scrape))) for query in wrong] == [1, 1, 1, 1]
