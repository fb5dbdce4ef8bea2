"""Queues, exchanges and bindings as the HTTP API shows them: what the engine says, with rates."""

from __future__ import annotations

from datetime import UTC, datetime

from harebell.amqp.delivery import ChannelConsumer
from harebell.amqp.inspection import consumer_table
from harebell.content.table import Table
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.inspection import exchange_table, queue_table, stream_readers
from harebell.engine.lane_inspection import lanes_table
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.samples import Samples
from harebell.engine.vhost import Vhost
from harebell.statistics.rates import Ages, Rates
from harebell.statistics.sampling import DELIVERIES, EXCHANGES, LENGTHS, PUBLISH, PUBLISHES


def queue_view(
    rates: Rates, vhost: Vhost, queue: Queue, node: str, sessions: dict[int, str], detail: bool, ages: Ages
) -> Table:
    """Show a queue.

    Args:
        rates: what looks found.
        vhost: where it is.
        node: the node's name.
        sessions: names of connections by id, to name the owner of an exclusive queue.
        detail: True for a queue asked for by name: its consumers, too.
        ages: how much of the past to show.
    """
    table = queue_table(vhost, queue, node)
    samples = queue.samples
    for field, (_, details) in enumerate(LENGTHS):
        table[details] = rates.details(samples, field, ages.lengths)
    stats = queue_messages(rates, queue, ages)
    if stats:
        table["message_stats"] = stats
    if not isinstance(queue, StreamQueue):
        table["consumer_utilisation"] = table["consumer_capacity"] = capacity(rates, queue)
    idle = idle_since(rates, samples)
    if idle is not None:
        table["idle_since"] = idle
    if queue.owner:
        table["owner_pid_details"] = owner_details(sessions.get(int(queue.owner), ""))
    if detail:
        table["consumer_details"] = [
            consumer_table(consumer, vhost.name)
            for consumer in [*queue.consumers(), *queue.browsers()]
            if isinstance(consumer, ChannelConsumer)
        ]
        table["incoming"] = []
        table["deliveries"] = []
        table["errors"] = queue_errors(queue)
        if isinstance(queue, StreamQueue):
            table["stream_readers"] = stream_readers(queue)
        lanes = lanes_table(queue)
        if lanes is not None:
            table["lanes"] = lanes
    return table


def queue_messages(rates: Rates, queue: Queue, ages: Ages) -> Table:
    """Give a queue's ``message_stats``; as on RabbitMQ, groups of counters are absent until one counts."""
    stats: Table = {}
    samples = queue.samples
    delivered = int(queue.delivered + queue.delivered_no_ack + queue.got + queue.got_no_ack)
    if delivered or queue.got_empty or queue.acked:
        values = (
            int(queue.delivered),
            int(queue.delivered_no_ack),
            int(queue.got),
            int(queue.got_no_ack),
            int(queue.got_empty),
            int(queue.redelivered),
            int(queue.acked),
            delivered,
        )
        rates.put_all(stats, samples, len(LENGTHS), DELIVERIES, values, ages.messages)
    if queue.published:
        rates.put_all(stats, samples, PUBLISH, PUBLISHES, (int(queue.published),), ages.messages)
    return stats


def queue_errors(queue: Queue) -> Table:
    """Count what went wrong with a queue's messages, by what it was; not known to RabbitMQ."""
    deaths = queue.deaths
    errors: Table = {
        "rejected": int(queue.rejected),
        "requeued": int(queue.requeued),
        "refused": int(queue.refused),
        "duplicates": int(queue.duplicates),
        "invalid": int(queue.invalid),
    }
    dead: Table = dict.fromkeys(("rejected", "expired", "maxlen", "delivery_limit"), 0)
    lost: Table = dict(dead)
    dead["invalid"] = 0
    if deaths is not None:
        dead = {
            "rejected": int(deaths.rejected),
            "expired": int(deaths.expired),
            "maxlen": int(deaths.maxlen),
            "delivery_limit": int(deaths.delivery_limit),
            "invalid": int(deaths.invalid),
        }
        lost = {
            "rejected": int(deaths.lost_rejected),
            "expired": int(deaths.lost_expired),
            "maxlen": int(deaths.lost_maxlen),
            "delivery_limit": int(deaths.lost_delivery_limit),
        }
    errors["dead_lettered"] = dead
    errors["dropped"] = lost
    return errors


def capacity(rates: Rates, queue: Queue) -> object:
    """Give the share of time in which consumers could take messages; the integer 0 without consumers.

    RabbitMQ shows the same number under two names, ``consumer_utilisation`` and ``consumer_capacity``.
    """
    samples = queue.samples
    if queue.consumer_count() == 0 or samples is None:
        return 0
    starved = int(samples.starved - samples.starved_before)
    return min(1.0, max(0.0, 1.0 - starved / 1000 / rates.period()))


def idle_since(rates: Rates, samples: Samples | None) -> str | None:
    """Say since when nothing happened; None while something does, or if nobody looked yet."""
    if samples is None or samples.changed >= rates.number or not samples.changed:
        return None
    return iso_time(int(samples.changed_at))


def iso_time(wall: int) -> str:
    """Write a time as RabbitMQ does: ISO 8601 with milliseconds, UTC.

    Args:
        wall: unix milliseconds.
    """
    return datetime.fromtimestamp(wall / 1000, UTC).isoformat(timespec="milliseconds")


def owner_details(name: str) -> Table:
    """Describe the connection that an exclusive queue belongs to."""
    peer, _, _ = name.partition(" -> ")
    host, _, port = peer.rpartition(":")
    return {"name": name, "peer_host": host.strip("[]"), "peer_port": int(port) if port.isdigit() else 0}


def exchange_view(rates: Rates, vhost: Vhost, exchange: Exchange | None, detail: bool, ages: Ages) -> Table:
    """Show an exchange; None is the default one."""
    table = exchange_table(vhost, exchange)
    tally = vhost.counters.default if exchange is None else exchange.tally
    if tally.received:
        stats: Table = {}
        values = (int(tally.received), int(tally.routed))
        rates.put_all(stats, tally.samples, 0, EXCHANGES, values, ages.messages)
        table["message_stats"] = stats
    if tally.duplicates or (exchange is not None and exchange.ids is not None):
        table["duplicates"] = int(tally.duplicates)
    if tally.invalid or (exchange is not None and exchange.options is not None and exchange.options.schema):
        table["invalid"] = int(tally.invalid)
    if exchange is not None and vhost.delays is not None:
        delayed = vhost.delays.count_of(exchange.name)
        if delayed or (exchange.options is not None and exchange.options.delayed):
            table["messages_delayed"] = int(delayed)
    if detail:
        table["incoming"] = []
        table["outgoing"] = []
    return table
