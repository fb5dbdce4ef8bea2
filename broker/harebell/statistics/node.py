"""The node as the HTTP API shows it: what the process uses, its churn, and the work of its disk."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Final, Protocol

from harebell import __version__
from harebell.content.table import Table
from harebell.engine.alarms import DISK, DISK_FULL, MEMORY
from harebell.engine.broker import Broker
from harebell.engine.exchanges.registry import EXCHANGE_TYPES
from harebell.engine.samples import KEPT_LONG, Samples, row_of
from harebell.statistics.rates import Ages, Rates, with_rates
from harebell.statistics.sampling import Totals

USED: Final = with_rates("mem_used", "fd_used", "sockets_used", "proc_used", "disk_free")
CHURN: Final = with_rates(
    "connection_created",
    "connection_closed",
    "channel_created",
    "channel_closed",
    "queue_declared",
    "queue_created",
    "queue_deleted",
)
DISK_WORK: Final = with_rates(
    "io_sync_count", "io_write_count", "io_write_bytes", "gc_num", "context_switches"
)
FIELDS: Final = (*USED, *CHURN, *DISK_WORK)
"""The fields of the node's row."""

NOT_COUNTED: Final = (
    "io_read_count",
    "io_read_bytes",
    "io_seek_count",
    "io_reopen_count",
    "mnesia_ram_tx_count",
    "mnesia_disk_tx_count",
    "msg_store_read_count",
    "msg_store_write_count",
    "queue_index_read_count",
    "queue_index_write_count",
    "gc_bytes_reclaimed",
)
"""What RabbitMQ counts and this broker has nothing like; shown as 0, for dashboards that read it."""

AVERAGES: Final = ("io_read_avg_time", "io_seek_avg_time")
"""The same of times."""

COLLECTED: Final = (
    "connection_closed",
    "channel_closed",
    "consumer_deleted",
    "exchange_deleted",
    "queue_deleted",
    "vhost_deleted",
    "node_node_deleted",
    "channel_consumer_deleted",
)
"""Queues of RabbitMQ's own statistics; always empty here."""

PROCESSES: Final = 1_048_576
"""Erlang processes RabbitMQ may have; clients only compare."""


class Usage(Protocol):
    """What the process uses and may use, as ``administration`` tells it; octets, 0 for what is not known."""

    @property
    def memory_used(self) -> int:
        """Resident."""

    @property
    def memory_limit(self) -> int:
        """Where publishers are blocked."""

    @property
    def disk_free(self) -> int:
        """Free where the data is."""

    @property
    def disk_free_limit(self) -> int:
        """Below which publishers are blocked."""

    @property
    def descriptors_used(self) -> int:
        """Open files and sockets."""

    @property
    def descriptors_limit(self) -> int:
        """How many may be open."""

    @property
    def sockets_used(self) -> int:
        """Client connections."""


class Surroundings(Protocol):
    """The node around the broker, as ``administration.host.Host`` has it."""

    name: str
    started_at: int
    data_dir: str

    def resources(self) -> Usage:
        """Tell what the process uses now."""


class NodeView:
    """The node and its recent past."""

    def __init__(self, broker: Broker, rates: Rates) -> None:
        self._broker = broker
        self._rates = rates
        self.samples = Samples(KEPT_LONG)

    def numbers(self, usage: Usage | None, totals: Totals) -> list[int]:
        """Give the numbers of the node's row."""
        return [
            0 if usage is None else usage.memory_used,
            0 if usage is None else usage.descriptors_used,
            0 if usage is None else usage.sockets_used,
            threading.active_count(),
            0 if usage is None else usage.disk_free,
            *self.churn(totals),
            *self._disk_work(),
        ]

    def churn(self, totals: Totals) -> list[int]:
        """Count what came and went."""
        sessions, counters = self._broker.sessions, self._broker.counters
        return [
            sessions.total_opened,
            sessions.total_closed,
            int(counters.channels_opened),
            int(counters.channels_closed),
            int(totals.queues_declared),
            int(totals.queues_created),
            int(totals.queues_deleted),
        ]

    def _disk_work(self) -> list[int]:
        commits = self._broker.journal.commits
        return [
            sum(commits.syncs.counts()),
            sum(commits.batches.counts()),
            int(commits.batches.total),
            sum(int(generation["collections"]) for generation in gc.get_stats()),
            _switches(),
        ]

    def note(self, number: int, wall: int, numbers: list[int]) -> None:
        """Take the row of a look."""
        self.samples.note(number, wall, row_of(numbers))

    def churn_table(self, totals: Totals, ages: Ages) -> Table:
        """Show what came and went, with rates."""
        table: Table = {}
        self._rates.put_all(table, self.samples, len(USED), CHURN, self.churn(totals), ages.messages)
        return table

    def table(self, surroundings: Surroundings, totals: Totals, ages: Ages) -> Table:
        """Show the node, without what only its settings say (listeners, files, plugins)."""
        broker = self._broker
        usage = surroundings.resources()
        alarms = broker.alarms
        table: Table = {
            "name": surroundings.name,
            "type": "disc",
            "running": True,
            "being_drained": False,
            "os_pid": str(os.getpid()),
            "uptime": max(0, int(broker.clock.wall) - surroundings.started_at),
            "processors": os.cpu_count() or 1,
            "run_queue": 0,
            "rates_mode": "basic",
            "fd_total": usage.descriptors_limit,
            "sockets_total": usage.descriptors_limit,
            "proc_total": PROCESSES,
            "mem_limit": usage.memory_limit,
            "mem_alarm": alarms.is_set(MEMORY),
            "mem_calculation_strategy": "rss",
            "disk_free_limit": usage.disk_free_limit,
            "disk_free_alarm": alarms.is_set(DISK) or alarms.is_set(DISK_FULL),
            "db_dir": surroundings.data_dir,
            "partitions": [],
            "cluster_links": [],
            "net_ticktime": 60,
            "applications": [{"name": "harebell", "description": "Message broker", "version": __version__}],
            "exchange_types": exchange_types(),
            "metrics_gc_queue_length": dict.fromkeys(COLLECTED, 0),
            "ra_open_file_metrics": {"ra_log_wal": 0, "ra_log_segment_writer": 0},
        }
        numbers = self.numbers(usage, totals)
        self._rates.put_all(table, self.samples, 0, FIELDS, numbers, ages.node)
        syncs = broker.journal.commits.syncs
        count = sum(syncs.counts())
        self._put_average(table, "io_sync_avg_time", 1000 * syncs.total / count if count else 0.0)
        self._put_average(table, "io_write_avg_time", 0.0)
        for name in NOT_COUNTED:
            table[name] = 0
            table[name + "_details"] = {"rate": 0.0}
        for name in AVERAGES:
            self._put_average(table, name, 0.0)
        return table

    def _put_average(self, table: Table, name: str, milliseconds: float) -> None:
        table[name] = milliseconds
        table[name + "_details"] = {"rate": 0.0}


def _switches() -> int:
    """Count how often the process was switched; 0 where that is not known."""
    if sys.platform == "win32":
        return 0
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw + usage.ru_nivcsw


def exchange_types() -> list[Table]:
    """List the exchange types, each with the first sentence said of it."""
    return [
        {"name": name, "description": (kind.__doc__ or name).strip().splitlines()[0], "enabled": True}
        for name, kind in EXCHANGE_TYPES.items()
    ]
