"""Metrics of the node as a whole, under RabbitMQ's names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from harebell.auth.attempts import AttemptCounts
from harebell.content.table import Table
from harebell.engine.alarms import DISK, DISK_FULL, MEMORY
from harebell.metrics.exposition import COUNTER, GAUGE, UNTYPED, labels
from harebell.metrics.family import Family, Objects, Selection, rows

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

EXCHANGE: Final = ("vhost", "exchange", "type")
PROTOCOLS: Final = {"amqp": "amqp091", "http": "http"}
"""What RabbitMQ calls the protocols that logins are counted by."""


def _node(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", node(sources)


def _churn(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", churn(sources)


def _storage(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", storage(sources)


def _nothing(_sources: Sources, _selection: Selection) -> Objects[Table]:
    return iter(())


CHURN: Final = Family(
    "connection_churn_metrics",
    (),
    rows(
        ("connections_opened_total", COUNTER, "connection_created", "Total number of connections opened"),
        (
            "connections_closed_total",
            COUNTER,
            "connection_closed",
            "Total number of connections closed or terminated",
        ),
        ("channels_opened_total", COUNTER, "channel_created", "Total number of channels opened"),
        ("channels_closed_total", COUNTER, "channel_closed", "Total number of channels closed"),
        ("queues_declared_total", COUNTER, "queue_declared", "Total number of queues declared"),
        ("queues_created_total", COUNTER, "queue_created", "Total number of queues created"),
        ("queues_deleted_total", COUNTER, "queue_deleted", "Total number of queues deleted"),
    ),
    _churn,
)

NODE_COARSE: Final = Family(
    "node_coarse_metrics",
    (),
    rows(
        ("process_open_fds", GAUGE, "fd_used", "Open file descriptors"),
        ("process_open_tcp_sockets", GAUGE, "sockets_used", "Open TCP sockets"),
        ("process_resident_memory_bytes", GAUGE, "mem_used", "Memory used in bytes"),
        ("disk_space_available_bytes", GAUGE, "disk_free", "Disk space available in bytes"),
    ),
    _node,
)

NODE: Final = Family(
    "node_metrics",
    (),
    rows(
        ("process_max_fds", GAUGE, "fd_total", "Open file descriptors limit"),
        ("process_max_tcp_sockets", GAUGE, "sockets_total", "Open TCP sockets limit"),
        ("resident_memory_limit_bytes", GAUGE, "mem_limit", "Memory high watermark in bytes"),
        (
            "disk_space_available_limit_bytes",
            GAUGE,
            "disk_free_limit",
            "Free disk space low watermark in bytes",
        ),
        ("erlang_uptime_seconds", GAUGE, "uptime", "Node uptime"),
    ),
    _node,
)


def node(sources: Sources) -> Table:
    """Tell what the process uses, and which alarms are set."""
    host = sources.admin.host
    resources = host.resources()
    alarms = sources.broker.alarms
    descriptors_short = 0 < resources.descriptors_limit <= resources.descriptors_used
    return {
        "fd_used": resources.descriptors_used,
        "fd_total": resources.descriptors_limit,
        "sockets_used": resources.sockets_used,
        "sockets_total": resources.descriptors_limit,
        "mem_used": resources.memory_used,
        "mem_limit": resources.memory_limit,
        "disk_free": resources.disk_free,
        "disk_free_limit": resources.disk_free_limit,
        "started": host.started_at / 1000,
        "uptime": max(0.0, round(time.time() - host.started_at / 1000, 3)),
        "loop_lag": resources.loop_lag,
        "memory": int(alarms.is_set(MEMORY)),
        "disk": int(alarms.is_set(DISK) or alarms.is_set(DISK_FULL)),
        "file_descriptor_limit": int(descriptors_short),
    }


def churn(sources: Sources) -> Table:
    """Tell how often connections, channels and queues came and went."""
    counters, sessions = sources.broker.counters, sources.broker.sessions
    each = [counters.gone, *[vhost.counters for vhost in sources.broker.vhosts.values()]]
    return {
        "connection_created": sessions.total_opened,
        "connection_closed": sessions.total_closed,
        "channel_created": counters.channels_opened,
        "channel_closed": counters.channels_closed,
        "queue_declared": sum(one.queues_declared for one in each),
        "queue_created": sum(one.queues_created for one in each),
        "queue_deleted": sum(one.queues_deleted for one in each),
    }


def storage(sources: Sources) -> Table:
    """Tell what was read and written."""
    commits = sources.broker.journal.commits
    return {
        "writes": sum(commits.batches.counts()),
        "written": int(commits.batches.total),
        "syncs": sum(commits.syncs.counts()),
        "sync_seconds": round(commits.syncs.total, 6),
        "zero": 0,
    }


def memory(sources: Sources) -> Table:
    """Tell what takes the memory, as far as it is known."""
    broker = sources.broker
    messages = broker.held_bytes()
    used = sources.admin.host.resources().memory_used
    return {"messages": messages, "other": max(0, used - messages)}


def _logins(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the protocols that users log in by."""
    counts = sources.admin.directory.attempts.counts
    for protocol, name in PROTOCOLS.items():
        found = counts.get(protocol) or AttemptCounts()
        yield (
            labels(("protocol",), (name,)),
            {
                "attempts": found.succeeded + found.failed,
                "succeeded": found.succeeded,
                "failed": found.failed,
                "slowed": found.slowed,
            },
        )


def _vhosts(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the virtual hosts; none is ever down."""
    for name in list(sources.broker.vhosts):
        yield labels(("vhost",), (name,)), {"running": 1}


def _exchanges(sources: Sources, selection: Selection) -> Objects[Table]:
    """Go through the exchanges."""
    for vhost in sources.vhosts(selection):
        # Every queue is bound to the default exchange.
        default: Table = {"one": 1, "bindings": len(vhost.queues)}
        yield labels(EXCHANGE, (vhost.name, "", "direct")), default
        for exchange in list(vhost.exchanges.values()):
            text = labels(EXCHANGE, (vhost.name, exchange.name, exchange.type_name))
            yield text, {"one": 1, "bindings": len(exchange.bindings)}


START: Final = Family(
    "process_start",
    (),
    rows(
        (
            "process_start_time_seconds",
            GAUGE,
            "started",
            "Start time of the process since unix epoch in seconds.",
        )
    ),
    _node,
    summed=False,
    prefix="",
    detailed="",
)

PERSISTER: Final = Family(
    "node_persister_metrics",
    (),
    rows(
        ("io_write_ops_total", COUNTER, "writes", "Total number of I/O write operations"),
        ("io_write_bytes_total", COUNTER, "written", "Total number of I/O bytes written"),
        ("io_sync_ops_total", COUNTER, "syncs", "Total number of I/O sync operations"),
        ("io_sync_time_seconds_total", COUNTER, "sync_seconds", "Total I/O sync time"),
        *[
            (name, COUNTER, "zero", f"Total number of {what}; not counted, always 0")
            for name, what in (
                ("io_read_ops_total", "I/O read operations"),
                ("io_read_bytes_total", "I/O bytes read"),
                ("io_seek_ops_total", "I/O seek operations"),
                ("io_reopen_ops_total", "times files have been reopened"),
                ("io_read_time_seconds_total", "seconds of I/O reads"),
                ("io_write_time_seconds_total", "seconds of I/O writes"),
                ("io_seek_time_seconds_total", "seconds of I/O seeks"),
                ("schema_db_ram_tx_total", "Schema DB memory transactions"),
                ("schema_db_disk_tx_total", "Schema DB disk transactions"),
                ("msg_store_read_total", "Message Store read operations"),
                ("msg_store_write_total", "Message Store write operations"),
                ("queue_index_read_ops_total", "Queue Index read operations"),
                ("queue_index_write_ops_total", "Queue Index write operations"),
            )
        ],
    ),
    _storage,
)

LOGINS: Final = Family(
    "auth_attempt_metrics",
    ("protocol",),
    rows(
        ("auth_attempts_total", COUNTER, "attempts", "Total number of authentication attempts"),
        (
            "auth_attempts_succeeded_total",
            COUNTER,
            "succeeded",
            "Total number of successful authentication attempts",
        ),
        (
            "auth_attempts_failed_total",
            COUNTER,
            "failed",
            "Total number of failed authentication attempts",
        ),
    ),
    _logins,
    summed=False,
)

LOGINS_BY_SOURCE: Final = Family(
    "auth_attempt_detailed_metrics",
    ("remote_address", "username", "protocol"),
    rows(
        (
            "auth_attempts_detailed_total",
            COUNTER,
            "attempts",
            "Total number of authentication attempts with source info; not counted by source",
        ),
        (
            "auth_attempts_detailed_succeeded_total",
            COUNTER,
            "succeeded",
            "Total number of successful authentication attempts with source info; not counted by source",
        ),
        (
            "auth_attempts_detailed_failed_total",
            COUNTER,
            "failed",
            "Total number of failed authentication attempts with source info; not counted by source",
        ),
    ),
    _nothing,
    summed=False,
)

ALARMS: Final = Family(
    "alarms",
    (),
    rows(
        (
            "alarms_file_descriptor_limit",
            UNTYPED,
            "file_descriptor_limit",
            "is 1 if file descriptor limit alarm is in effect",
        ),
        (
            "alarms_free_disk_space_watermark",
            UNTYPED,
            "disk",
            "is 1 if free disk space watermark alarm is in effect",
        ),
        (
            "alarms_memory_used_watermark",
            UNTYPED,
            "memory",
            "is 1 if VM memory watermark alarm is in effect",
        ),
    ),
    _node,
    detailed="",
)

VHOST_STATUS: Final = Family(
    "vhost_status",
    ("vhost",),
    rows(("vhost_status", GAUGE, "running", "Whether a given vhost is running")),
    _vhosts,
    aggregated=False,
    per_object=False,
    detailed="rabbitmq_cluster_",
)

EXCHANGE_BINDINGS: Final = Family(
    "exchange_bindings",
    EXCHANGE,
    rows(
        (
            "exchange_bindings",
            GAUGE,
            "bindings",
            "Number of bindings for an exchange. This value is cluster-wide.",
        )
    ),
    _exchanges,
    aggregated=False,
    per_object=False,
    detailed="rabbitmq_cluster_",
)

EXCHANGE_NAMES: Final = Family(
    "exchange_names",
    EXCHANGE,
    rows(
        (
            "exchange_name",
            GAUGE,
            "one",
            "Enumerates exchanges without any additional info. This value is cluster-wide. "
            "A cheaper alternative to `exchange_bindings`",
        )
    ),
    _exchanges,
    aggregated=False,
    per_object=False,
    detailed="rabbitmq_cluster_",
)


def _memory(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", memory(sources)


BREAKDOWN: Final = Family(
    "node_memory",
    (),
    rows(
        ("memory_binary_heap_bytes", GAUGE, "messages", "Messages in memory, in bytes"),
        ("memory_other_system_bytes", GAUGE, "other", "All other memory of the process, in bytes"),
    ),
    _memory,
    aggregated=False,
    per_object=False,
    summed=False,
    detailed="",
)
