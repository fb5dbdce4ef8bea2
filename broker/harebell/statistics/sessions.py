"""Connections and channels as the HTTP API shows them: what the protocol says, with rates."""

from __future__ import annotations

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.inspection import channel_table, connection_table, consumer_table
from harebell.content.table import Table
from harebell.engine.reply_to import ReplyQueue
from harebell.statistics.queues import idle_since
from harebell.statistics.rates import Ages, Rates
from harebell.statistics.sampling import CHANNEL_PUBLISHES, DELIVERIES, OCTETS


def connection_view(rates: Rates, connection: Connection, node: str, ages: Ages) -> Table:
    """Show a connection."""
    table = connection_table(connection)
    table["node"] = node
    for field, (_, details) in enumerate(OCTETS):
        table[details] = rates.details(connection.samples, field, ages.data)
    return table


def channel_view(rates: Rates, channel: Channel, node: str, detail: bool, ages: Ages) -> Table:
    """Show a channel.

    Args:
        detail: True for a channel asked for by name: its consumers, too.
    """
    table = channel_table(channel)
    table["node"] = node
    stats = channel_messages(rates, channel, ages)
    if stats:
        table["message_stats"] = stats
    idle = idle_since(rates, channel.samples)
    if idle is not None:
        table["idle_since"] = idle
    if detail:
        table["consumer_details"] = consumers_of(channel)
        table["publishes"] = []
        table["deliveries"] = []
    return table


def consumers_of(channel: Channel) -> list[Table]:
    """Show the consumers of a channel; direct reply-to is none (as on RabbitMQ)."""
    vhost = channel.connection.vhost
    name = "" if vhost is None else vhost.name
    return [
        consumer_table(consumer, name)
        for consumer in list(channel.consumers.values())
        if not isinstance(consumer.queue, ReplyQueue)
    ]


def channel_messages(rates: Rates, channel: Channel, ages: Ages) -> Table:
    """Give a channel's ``message_stats``; as on RabbitMQ, groups of counters are absent until one counts."""
    stats: Table = {}
    samples = channel.samples
    delivered = int(channel.delivered())
    handed = delivered + int(channel.delivered_no_ack + channel.got + channel.got_no_ack)
    if handed or channel.got_empty or channel.acked:
        values = (
            delivered,
            int(channel.delivered_no_ack),
            int(channel.got),
            int(channel.got_no_ack),
            int(channel.got_empty),
            int(channel.redelivered),
            int(channel.acked),
            handed,
        )
        rates.put_all(stats, samples, 0, DELIVERIES, values, ages.messages)
    if channel.published:
        published = (
            int(channel.published),
            int(channel.confirms.confirmed),
            int(channel.returned),
            int(channel.dropped),
        )
        rates.put_all(stats, samples, len(DELIVERIES), CHANNEL_PUBLISHES, published, ages.messages)
    return stats
