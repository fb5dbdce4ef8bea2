"""Counters of messages by queue and by exchange, under RabbitMQ's names.

RabbitMQ counts once more for each channel.  Here a queue or exchange counts for all channels together, so the
label ``channel`` of those metrics is always ``all``: sums by queue or exchange are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from harebell.engine.counters import QueueTotals, Tally
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.metrics.exposition import COUNTER, Number, labels
from harebell.metrics.family import Family, Metric, Objects, Row, Selection

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

T = TypeVar("T")

ALL_OF_THEM: Final = "all"
"""In place of a channel or exchange, where the broker counts by queue or exchange only."""

Deliveries = tuple[tuple[str, Callable[[Queue | QueueTotals], Number], str], ...]


def _by_queue(sources: Sources, selection: Selection) -> Objects[Queue]:
    """Go through queues, but those that never had a message."""

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Queue] | None:
        if not (queue.published or queue.got_empty or queue.delivered or queue.acked):
            return None
        return labels(("vhost", "queue"), (vhost.name, queue.name)), queue

    return sources.each_queue(selection, show)


def _published_queues(sources: Sources, selection: Selection, names: tuple[str, ...]) -> Objects[Queue]:
    """Go through queues that got messages, with labels for where they came from.

    Args:
        names: of the labels, those of the queue's virtual host and of the queue first, that of the
            exchange last; if there are four, its virtual host before it.
    """

    def show(vhost: Vhost, queue: Queue) -> tuple[str, Queue] | None:
        if not queue.published:
            return None
        values = (vhost.name, queue.name, *([vhost.name] if len(names) == 4 else ()), ALL_OF_THEM)
        return labels(names, values), queue

    return sources.each_queue(selection, show)


def _by_exchange(sources: Sources, selection: Selection) -> Objects[Tally]:
    """Go through exchanges that messages were published to."""
    for vhost in sources.vhosts(selection):
        yield labels(("vhost", "exchange"), (vhost.name, "")), vhost.counters.default
        for exchange in list(vhost.exchanges.values()):
            if exchange.tally.received:
                yield labels(("vhost", "exchange"), (vhost.name, exchange.name)), exchange.tally
            else:
                yield None


def _of_all_channels(objects: Objects[T]) -> Objects[T]:
    for each in objects:
        yield None if each is None else (f'channel="{ALL_OF_THEM}",{each[0]}', each[1])


def _by_channel_and_queue(sources: Sources, selection: Selection) -> Objects[Queue]:
    return _of_all_channels(_by_queue(sources, selection))


def _by_channel_and_exchange(sources: Sources, selection: Selection) -> Objects[Tally]:
    return _of_all_channels(_by_exchange(sources, selection))


def _published(sources: Sources, selection: Selection) -> Objects[Queue]:
    return _published_queues(sources, selection, ("vhost", "queue", "exchange"))


def _published_by_channel(sources: Sources, selection: Selection) -> Objects[Queue]:
    names = ("queue_vhost", "queue", "exchange_vhost", "exchange")
    return _of_all_channels(_published_queues(sources, selection, names))


def _got(counted: Queue | QueueTotals) -> Number:
    return counted.got


def _got_no_ack(counted: Queue | QueueTotals) -> Number:
    return counted.got_no_ack


def _delivered(counted: Queue | QueueTotals) -> Number:
    return counted.delivered


def _delivered_no_ack(counted: Queue | QueueTotals) -> Number:
    return counted.delivered_no_ack


def _redelivered(counted: Queue | QueueTotals) -> Number:
    return counted.redelivered


def _acked(counted: Queue | QueueTotals) -> Number:
    return counted.acked


def _got_empty(counted: Queue | QueueTotals) -> Number:
    return counted.got_empty


DELIVERIES: Final[Deliveries] = (
    ("get_ack_total", _got, "fetched{} with basic.get in manual acknowledgement mode"),
    ("get_total", _got_no_ack, "fetched{} with basic.get in automatic acknowledgement mode"),
    ("messages_delivered_ack_total", _delivered, "delivered{} to consumers in manual acknowledgement mode"),
    (
        "messages_delivered_total",
        _delivered_no_ack,
        "delivered{} to consumers in automatic acknowledgement mode",
    ),
    ("messages_redelivered_total", _redelivered, "redelivered{} to consumers"),
    ("messages_acked_total", _acked, "acknowledged by consumers{}"),
)


def _deliveries(prefix: str, where: str) -> tuple[Row[Queue], ...]:
    rows: list[Row[Queue]] = [
        Metric(prefix + name, COUNTER, "Total number of messages " + text.format(where), value)
        for name, value, text in DELIVERIES
    ]
    text = "Total number of times basic.get operations fetched no message"
    rows.append(Metric(prefix + "get_empty_total", COUNTER, text, _got_empty))
    return tuple(rows)


def _sums(prefix: str) -> Callable[[Sources], dict[str, Number]]:
    def totals(sources: Sources) -> dict[str, Number]:
        counted = sources.totals.all_queues()
        sums = {prefix + name: value(counted) for name, value, _ in DELIVERIES}
        sums[prefix + "get_empty_total"] = counted.got_empty
        return sums

    return totals


def _received(tally: Tally) -> Number:
    return tally.received


def _returned(tally: Tally) -> Number:
    return tally.returned


def _dropped(tally: Tally) -> Number:
    return tally.dropped


def _unknown(_tally: Tally) -> None:
    return None


def _publishes(prefix: str, where: str) -> tuple[Row[Tally], ...]:
    unroutable = "into an exchange and {} as unroutable"
    return (
        Metric(
            f"{prefix}_messages_published_total",
            COUNTER,
            f"Total number of messages published into an exchange{where}",
            _received,
        ),
        Metric(
            f"{prefix}_messages_confirmed_total",
            COUNTER,
            f"Total number of messages published into an exchange and confirmed{where}; counted for all "
            "exchanges together only",
            _unknown,
        ),
        Metric(
            f"{prefix}_messages_unroutable_returned_total",
            COUNTER,
            "Total number of messages published as mandatory "
            + unroutable.format("returned to the publisher"),
            _returned,
        ),
        Metric(
            f"{prefix}_messages_unroutable_dropped_total",
            COUNTER,
            "Total number of messages published as non-mandatory " + unroutable.format("dropped"),
            _dropped,
        ),
    )


def _publish_sums(prefix: str) -> Callable[[Sources], dict[str, Number]]:
    def totals(sources: Sources) -> dict[str, Number]:
        counted = sources.totals.counted
        return {
            f"{prefix}_messages_published_total": counted.exchanges.received,
            f"{prefix}_messages_confirmed_total": counted.confirmed,
            f"{prefix}_messages_unroutable_returned_total": counted.exchanges.returned,
            f"{prefix}_messages_unroutable_dropped_total": counted.exchanges.dropped,
        }

    return totals


def _routed(name: str) -> Callable[[Sources], dict[str, Number]]:
    return lambda sources: {name: sources.totals.counted.exchanges.routed}


def _enqueued(queue: Queue) -> Number:
    return queue.published


CHANNEL_EXCHANGE: Final = Family(
    "channel_exchange_metrics",
    ("channel", "vhost", "exchange"),
    _publishes("channel", " on a channel"),
    _by_channel_and_exchange,
    totals=_publish_sums("channel"),
)

CHANNEL_QUEUE: Final = Family(
    "channel_queue_metrics",
    ("channel", "vhost", "queue"),
    _deliveries("channel_", ""),
    _by_channel_and_queue,
    totals=_sums("channel_"),
)

CHANNEL_QUEUE_EXCHANGE: Final = Family(
    "channel_queue_exchange_metrics",
    ("channel", "queue_vhost", "queue", "exchange_vhost", "exchange"),
    (
        Metric(
            "queue_messages_published_total",
            COUNTER,
            "Total number of messages published to queues",
            _enqueued,
        ),
    ),
    _published_by_channel,
    totals=_routed("queue_messages_published_total"),
)

EXCHANGE: Final = Family(
    "exchange_metrics",
    ("vhost", "exchange"),
    _publishes("exchange", ""),
    _by_exchange,
    totals=_publish_sums("exchange"),
)

QUEUE_DELIVERY: Final = Family(
    "queue_delivery_metrics",
    ("vhost", "queue"),
    _deliveries("queue_", " from a queue"),
    _by_queue,
    totals=_sums("queue_"),
)

QUEUE_EXCHANGE: Final = Family(
    "queue_exchange_metrics",
    ("vhost", "queue", "exchange"),
    (
        Metric(
            "queue_exchange_messages_published_total",
            COUNTER,
            "Total number of messages published into a queue through an exchange; the exchange is always "
            "'all'",
            _enqueued,
        ),
    ),
    _published,
    totals=_routed("queue_exchange_messages_published_total"),
)
