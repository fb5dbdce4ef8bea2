"""Metrics of queues and exchanges, under RabbitMQ's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.content.table import Table
from harebell.engine.inspection import queue_table
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.metrics.exposition import COUNTER, GAUGE, Number, labels
from harebell.metrics.family import Family, Metric, Objects, Selection, rows

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

QUEUE: Final = ("vhost", "queue")


def _queues(sources: Sources, selection: Selection) -> Objects[Queue]:
    """Go through queues."""

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Queue] | None:
        return labels(QUEUE, (vhost.name, queue.name)), queue

    return sources.each_queue(selection, show)


def _described(sources: Sources, selection: Selection) -> Objects[Table]:
    """Go through queues, described in RabbitMQ's field names."""
    node, statistics = sources.admin.host.name, sources.statistics

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Table]:
        # Only what has consumers has a rate that is shown here.
        table = statistics.queue(vhost, queue) if queue.consumer_count() else queue_table(vhost, queue, node)
        if queue.type_name == "classic":
            table["disk_writes"] = int(queue.written())
        return labels(QUEUE, (vhost.name, queue.name)), table

    return sources.each_queue(selection, show)


def _written(sources: Sources) -> dict[str, Number]:
    return {"queue_disk_writes_total": sources.totals.counted.queues["classic"].written}


def _infos(sources: Sources, selection: Selection) -> Objects[Table]:
    """Go through queues and tell their types."""
    names = (*QUEUE, "queue_type", "membership")

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Table]:
        values = (vhost.name, queue.name, f"rabbit_{queue.type_name}_queue", "leader")
        return labels(names, values), {"one": 1}

    return sources.each_queue(selection, show)


def _lags(sources: Sources, selection: Selection) -> Objects[int]:
    """Go through the streams that are read, and give the lag of the reader that is behind the most."""
    for each in sources.streams(selection):
        yield None
        if each is not None:
            vhost, queue = each
            lags = [int(reading.lag) for reading in queue.readings() if reading.consumers]
            if lags:
                yield labels(QUEUE, (vhost.name, queue.name)), max(lags)


def _ready(queue: Queue) -> Number:
    return queue.ready_count()


def _unacked(queue: Queue) -> Number:
    return queue.unacked_count


def _all(queue: Queue) -> Number:
    return queue.ready_count() + queue.unacked_count


def _consumers(queue: Queue) -> Number:
    return queue.consumer_count()


def _lengths(sources: Sources) -> dict[str, Number]:
    counted = sources.totals.all_queues()
    return {
        "queue_messages_ready": counted.ready,
        "queue_messages_unacked": counted.unacked,
        "queue_messages": counted.ready + counted.unacked,
    }


QUEUE_COARSE: Final = Family(
    "queue_coarse_metrics",
    QUEUE,
    (
        Metric("queue_messages_ready", GAUGE, "Messages ready to be delivered to consumers", _ready),
        Metric(
            "queue_messages_unacked",
            GAUGE,
            "Messages delivered to consumers but not yet acknowledged",
            _unacked,
        ),
        Metric(
            "queue_messages",
            GAUGE,
            "Sum of ready and unacknowledged messages - total queue depth",
            _all,
        ),
    ),
    _queues,
    totals=_lengths,
)

QUEUE_CONSUMER_COUNT: Final = Family(
    "queue_consumer_count",
    QUEUE,
    (Metric("queue_consumers", GAUGE, "Consumers on a queue", _consumers),),
    _queues,
    aggregated=False,
    per_object=False,
)

QUEUE_METRICS: Final = Family(
    "queue_metrics",
    QUEUE,
    rows(
        ("queue_consumers", GAUGE, "consumers", "Consumers on a queue"),
        ("queue_consumer_capacity", GAUGE, "consumer_capacity", "Consumer capacity"),
        ("queue_consumer_utilisation", GAUGE, "consumer_utilisation", "Same as consumer capacity"),
        ("queue_process_memory_bytes", GAUGE, "memory", "Memory in bytes used by the queue"),
        (
            "queue_messages_ram",
            GAUGE,
            "messages_ram",
            "Ready and unacknowledged messages stored in memory",
        ),
        (
            "queue_messages_ram_bytes",
            GAUGE,
            "message_bytes_ram",
            "Size of ready and unacknowledged messages stored in memory",
        ),
        ("queue_messages_ready_ram", GAUGE, "messages_ready_ram", "Ready messages stored in memory"),
        (
            "queue_messages_unacked_ram",
            GAUGE,
            "messages_unacknowledged_ram",
            "Unacknowledged messages stored in memory",
        ),
        ("queue_messages_persistent", GAUGE, "messages_persistent", "Persistent messages"),
        (
            "queue_messages_persistent_bytes",
            GAUGE,
            "message_bytes_persistent",
            "Size in bytes of persistent messages",
        ),
        (
            "queue_messages_bytes",
            GAUGE,
            "message_bytes",
            "Size in bytes of ready and unacknowledged messages",
        ),
        (
            "queue_messages_ready_bytes",
            GAUGE,
            "message_bytes_ready",
            "Size in bytes of ready messages",
        ),
        (
            "queue_messages_unacked_bytes",
            GAUGE,
            "message_bytes_unacknowledged",
            "Size in bytes of all unacknowledged messages",
        ),
        ("queue_messages_paged_out", GAUGE, "messages_paged_out", "Messages paged out to disk"),
        (
            "queue_messages_paged_out_bytes",
            GAUGE,
            "message_bytes_paged_out",
            "Size in bytes of messages paged out to disk",
        ),
        (
            "queue_head_message_timestamp",
            GAUGE,
            "head_message_timestamp",
            "Timestamp of the first message in the queue, if any",
        ),
        (
            "queue_disk_reads_total",
            COUNTER,
            "disk_reads",
            "Total number of times queue read messages from disk",
        ),
        (
            "queue_disk_writes_total",
            COUNTER,
            "disk_writes",
            "Total number of times queue wrote messages to disk",
        ),
        ("stream_segments", COUNTER, "segments", "Total number of stream segment files"),
    ),
    _described,
    kept=_written,
)


def _same(value: int) -> Number:
    return value


QUEUE_INFO: Final = Family(
    "queue_info",
    (*QUEUE, "queue_type", "membership"),
    rows(
        (
            "queue_info",
            GAUGE,
            "one",
            "A metric with a constant '1' value and labels that provide some queue details",
        )
    ),
    _infos,
    aggregated=False,
)

STREAM_READERS: Final = Family(
    "stream_consumer_metrics",
    QUEUE,
    (Metric("stream_consumer_max_offset_lag", GAUGE, "Highest consumer offset lag", _same),),
    _lags,
)
