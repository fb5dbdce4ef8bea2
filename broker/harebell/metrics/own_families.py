"""Metrics that RabbitMQ does not have: latencies, errors of queues, lags, and the node's own troubles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from harebell.content.table import Table
from harebell.engine.alarms import DAMAGE, DISK_FULL, UNREADABLE
from harebell.engine.counters import QueueTotals, Tally
from harebell.engine.delays import Delays
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.histograms import BATCH_BOUNDS, DURATION_BOUNDS, SYNC_BOUNDS, Commits, Durations
from harebell.metrics.bounded import OTHER, Vector
from harebell.metrics.exposition import COUNTER, GAUGE, Number, labels
from harebell.metrics.family import Buckets, Family, Metric, Objects, Selection, Split, rows
from harebell.metrics.node_families import node
from harebell.metrics.totals import error_count, errors_of, latencies_of, traffic

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

READER: Final = ("vhost", "queue", "consumer")

PREFIX: Final = "harebell_"
DETAILED: Final = "harebell_detailed_"

ROW: Final = len(DURATION_BOUNDS) + 2
"""Numbers of one histogram in what ``latencies_of`` gives: the buckets and the sum."""


def _at(index: int) -> Callable[[Vector], Number]:
    return lambda counted: counted[index]


def _durations(first: int) -> Callable[[Vector], tuple[Sequence[int], Number]]:
    return lambda counted: (counted[first : first + ROW - 1], counted[first + ROW - 1] / 1000)


def _node(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", {**node(sources), **_alarms(sources), **_refusals(sources)}


def _seconds(durations: Durations) -> tuple[Sequence[int], Number]:
    return durations.counts(), durations.total / 1000


def _syncs(commits: Commits) -> tuple[Sequence[int], Number]:
    return commits.syncs.counts(), round(commits.syncs.total, 6)


def _batches(commits: Commits) -> tuple[Sequence[int], Number]:
    return commits.batches.counts(), int(commits.batches.total)


def _errors(sources: Sources, selection: Selection) -> Objects[Vector]:
    """Go through what went wrong in queues: those with series of their own, or all where it did."""
    if sources.bounded is not None:
        yield from sources.bounded[0].rows(errors_of(sources.totals.all_queues()))
        return

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Vector] | None:
        found = error_count(queue) > 0
        return (labels(("vhost", "queue"), (vhost.name, queue.name)), errors_of(queue)) if found else None

    yield from sources.each_queue(selection, show)


def _latencies(sources: Sources, selection: Selection) -> Objects[Vector]:
    """Go through the latencies of queues: those with series of their own, or all that have any."""
    if sources.bounded is not None:
        yield from sources.bounded[1].rows(latencies_of(sources.totals.all_queues()))
        return

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Vector] | None:
        found = traffic(queue) > 0
        return (labels(("vhost", "queue"), (vhost.name, queue.name)), latencies_of(queue)) if found else None

    yield from sources.each_queue(selection, show)


def _readers(sources: Sources, selection: Selection) -> Objects[int]:
    """Go through the readers of streams and give their lags, messages.

    Where queues are bounded, the readers that are behind the most, and the worst of all others.
    """
    if sources.bounded is None:
        yield from _all_readers(sources, selection)
        return
    limit = sources.admin.settings.metrics.max_labels
    worst: list[tuple[int, str]] = []
    for each in _all_readers(sources, selection):
        yield None
        if each is not None:
            heappush(worst, (each[1], each[0]))
            if len(worst) > limit + 1:
                heappop(worst)
    if len(worst) > limit:
        yield labels(READER, ("", OTHER, OTHER)), heappop(worst)[0]
    for lag, text in worst:
        yield text, lag


def _all_readers(sources: Sources, selection: Selection) -> Objects[int]:
    for each in sources.streams(selection):
        yield None
        if each is not None:
            vhost, queue = each
            lags: dict[str, int] = {}
            for reading in queue.readings():
                # Tags of consumers on several channels may be the same.
                lags[reading.name] = max(int(reading.lag), lags.get(reading.name, 0))
            for name, lag in lags.items():
                yield labels(READER, (vhost.name, queue.name, name)), lag


def _exchanges(sources: Sources, selection: Selection) -> Objects[Tally]:
    """Go through the exchanges that left out messages published again."""
    for vhost in sources.vhosts(selection):
        for exchange in list(vhost.exchanges.values()):
            if exchange.tally.duplicates:
                yield labels(("vhost", "exchange"), (vhost.name, exchange.name)), exchange.tally
            else:
                yield None


def _known(tally: Tally) -> Number:
    return int(tally.duplicates)


def _delays(sources: Sources, _selection: Selection) -> Objects[Delays]:
    """Go through the virtual hosts that ever delayed a message."""
    for vhost in list(sources.broker.vhosts.values()):
        delays = vhost.delays
        if delays is not None and (delays.queues or delays.routed or delays.dropped):
            yield labels(("vhost",), (vhost.name,)), delays


def _waiting(delays: Delays) -> Number:
    return int(delays.count())


def _paged(delays: Delays) -> Number:
    return sum(int(queue.paged_count()) for queue in delays.queues.values())


def _routed(delays: Delays) -> Number:
    return int(delays.routed)


def _dropped(delays: Delays) -> Number:
    return int(delays.dropped)


def _commits(sources: Sources, _selection: Selection) -> Objects[Commits]:
    """Give how long the disk took."""
    yield "", sources.broker.journal.commits


def _confirms(sources: Sources, _selection: Selection) -> Objects[Durations]:
    """Give how long publishers waited."""
    yield "", sources.broker.counters.confirms


def _alarms(sources: Sources) -> Table:
    """Tell which alarms are set that RabbitMQ does not have."""
    alarms = sources.broker.alarms
    names = {"disk_full": DISK_FULL, "journal_damage": DAMAGE, "disk_unreadable": UNREADABLE}
    return {key: int(alarms.is_set(name)) for key, name in names.items()}


def _refusals(sources: Sources) -> Table:
    """Tell what was refused of clients."""
    return {"slowed": sum(each.slowed for each in sources.admin.directory.attempts.counts.values())}


def _by_type(sources: Sources, _selection: Selection) -> Objects[QueueTotals]:
    """Go through the sums over queues by their type."""
    for name, one in sources.totals.counted.queues.items():
        yield labels(("queue_type",), (f"rabbit_{name}_queue",)), one


def _same(value: int) -> Number:
    return value


def _waits(totals: QueueTotals) -> tuple[Sequence[int], Number]:
    return totals.waits.counts(), totals.waits.total / 1000


def _answers(totals: QueueTotals) -> tuple[Sequence[int], Number]:
    return totals.answers.counts(), totals.answers.total / 1000


ERRORS: Final = Family(
    "queue_error_metrics",
    ("vhost", "queue"),
    (
        Metric("queue_rejected_total", COUNTER, "Deliveries that consumers rejected for good", _at(0)),
        Metric("queue_requeued_total", COUNTER, "Deliveries that came back to the queue", _at(1)),
        Metric(
            "queue_refused_total",
            COUNTER,
            "Published messages that the queue refused because it was full",
            _at(2),
        ),
        Metric(
            "queue_duplicates_total",
            COUNTER,
            "Published messages left out because the queue had taken their id",
            _at(11),
        ),
        Split(
            "queue_dead_lettered_total",
            COUNTER,
            "Messages the queue gave up and handed to its dead-letter exchange",
            "reason",
            (
                ("rejected", _at(3)),
                ("expired", _at(4)),
                ("maxlen", _at(5)),
                ("delivery_limit", _at(6)),
                ("invalid", _at(12)),
            ),
        ),
        Split(
            "queue_dropped_total",
            COUNTER,
            "Messages the queue gave up without a dead-letter exchange",
            "reason",
            (("rejected", _at(7)), ("expired", _at(8)), ("maxlen", _at(9)), ("delivery_limit", _at(10))),
        ),
    ),
    _errors,
    summed=False,
    prefix=PREFIX,
    detailed=DETAILED,
)

DUPLICATES: Final = Family(
    "exchange_duplicate_metrics",
    ("vhost", "exchange"),
    (
        Metric(
            "exchange_duplicates_total",
            COUNTER,
            "Published messages that went nowhere because the exchange had taken their id",
            _known,
        ),
    ),
    _exchanges,
    summed=False,
    prefix=PREFIX,
    detailed=DETAILED,
)

QUEUE_LATENCIES: Final = Family(
    "queue_latency_metrics",
    ("vhost", "queue"),
    (
        Buckets(
            "queue_time_in_queue_seconds",
            "How long messages of a queue had been there when they were delivered",
            DURATION_BOUNDS,
            _durations(0),
        ),
        Buckets(
            "queue_delivery_to_ack_seconds",
            "How long deliveries of a queue waited for their acknowledgement",
            DURATION_BOUNDS,
            _durations(ROW),
        ),
    ),
    _latencies,
    summed=False,
    prefix=PREFIX,
    detailed=DETAILED,
)

LATENCIES: Final = Family(
    "latency_metrics",
    ("queue_type",),
    (
        Buckets(
            "time_in_queue_seconds",
            "How long messages had been in queues when they were delivered",
            DURATION_BOUNDS,
            _waits,
        ),
        Buckets(
            "delivery_to_ack_seconds",
            "How long deliveries waited for their acknowledgement",
            DURATION_BOUNDS,
            _answers,
        ),
    ),
    _by_type,
    summed=False,
    prefix=PREFIX,
    detailed="",
)

CONFIRMS: Final = Family(
    "confirm_metrics",
    (),
    (
        Buckets(
            "publish_to_confirm_seconds",
            "How long publishers waited for their confirms",
            DURATION_BOUNDS,
            _seconds,
        ),
    ),
    _confirms,
    summed=False,
    prefix=PREFIX,
    detailed="",
)

JOURNAL: Final = Family(
    "journal_metrics",
    (),
    (
        Buckets("fsync_seconds", "How long the disk took to make the journal durable", SYNC_BOUNDS, _syncs),
        Buckets(
            "commit_batch_bytes",
            "Octets written to the journal in one go",
            BATCH_BOUNDS,
            _batches,
        ),
    ),
    _commits,
    summed=False,
    prefix=PREFIX,
    detailed="",
)

DELAYS: Final = Family(
    "delayed_message_metrics",
    ("vhost",),
    (
        Metric("delayed_messages", GAUGE, "Messages that wait at their exchanges for their time", _waiting),
        Metric(
            "delayed_messages_on_disk",
            GAUGE,
            "Those of them that are on disk only until then",
            _paged,
        ),
        Metric(
            "delayed_messages_routed_total",
            COUNTER,
            "Delayed messages that some queue took, or gave up as dead letters",
            _routed,
        ),
        Metric(
            "delayed_messages_dropped_total",
            COUNTER,
            "Delayed messages whose exchange was gone at their time, or that no queue took",
            _dropped,
        ),
    ),
    _delays,
    summed=False,
    prefix=PREFIX,
    detailed=DETAILED,
)

READERS: Final = Family(
    "stream_reader_metrics",
    ("vhost", "queue", "consumer"),
    (
        Metric(
            "stream_consumer_lag_messages",
            GAUGE,
            "Messages between what a reader of a stream has acknowledged and the stream's end",
            _same,
        ),
    ),
    _readers,
    summed=False,
    prefix=PREFIX,
    detailed=DETAILED,
)

NODE: Final = Family(
    "node_health_metrics",
    (),
    rows(
        (
            "event_loop_lag_seconds",
            GAUGE,
            "loop_lag",
            "By how much the event loop was late lately; it runs all connections and queues",
        ),
        (
            "alarm_disk_full",
            GAUGE,
            "disk_full",
            "1 while the journal finds no space and publishers wait",
        ),
        (
            "alarm_journal_damage",
            GAUGE,
            "journal_damage",
            "1 while losses of the journal are not acknowledged",
        ),
        (
            "alarm_disk_unreadable",
            GAUGE,
            "disk_unreadable",
            "1 while messages on disk cannot be read and their queues wait",
        ),
        (
            "logins_slowed_total",
            COUNTER,
            "slowed",
            "Logins refused unseen because too many wrong passwords came before",
        ),
    ),
    _node,
    summed=False,
    prefix=PREFIX,
    detailed="",
)
