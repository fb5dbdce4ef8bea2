"""Metrics of connections and channels, under RabbitMQ's names.

RabbitMQ names both by a label ``channel`` whose value is the number of an Erlang process; here it is the name
of the connection or channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.amqp.inspection import channel_name, channel_table, connection_table
from harebell.content.table import Table
from harebell.metrics.exposition import COUNTER, GAUGE, Number, labels
from harebell.metrics.family import Family, Objects, Selection, rows

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources

LABELS: Final = ("channel",)


def _connections(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the connections."""
    for connection in sources.connections():
        yield labels(("channel",), (connection.peer,)), connection_table(connection)


def _channels(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the channels."""
    for channel in sources.channels():
        yield labels(("channel",), (channel_name(channel),)), channel_table(channel)


def _connection_totals(sources: Sources) -> dict[str, Number]:
    counted = sources.totals.counted
    return {
        "connection_incoming_bytes_total": counted.received_octets,
        "connection_outgoing_bytes_total": counted.sent_octets,
    }


def _packet_totals(sources: Sources) -> dict[str, Number]:
    counted = sources.totals.counted
    return {
        "connection_incoming_packets_total": counted.received_chunks,
        "connection_outgoing_packets_total": counted.sent_chunks,
    }


CONNECTION_COARSE: Final = Family(
    "connection_coarse_metrics",
    LABELS,
    rows(
        (
            "connection_incoming_bytes_total",
            COUNTER,
            "recv_oct",
            "Total number of bytes received on a connection",
        ),
        (
            "connection_outgoing_bytes_total",
            COUNTER,
            "send_oct",
            "Total number of bytes sent on a connection",
        ),
    ),
    _connections,
    totals=_connection_totals,
)

CONNECTION: Final = Family(
    "connection_metrics",
    LABELS,
    rows(
        (
            "connection_incoming_packets_total",
            COUNTER,
            "recv_cnt",
            "Total number of packets received on a connection",
        ),
        (
            "connection_outgoing_packets_total",
            COUNTER,
            "send_cnt",
            "Total number of packets sent on a connection",
        ),
        (
            "connection_pending_packets",
            GAUGE,
            "send_pend",
            "Number of packets waiting to be sent on a connection",
        ),
        ("connection_channels", GAUGE, "channels", "Channels on a connection"),
    ),
    _connections,
    kept=_packet_totals,
)

CHANNEL: Final = Family(
    "channel_metrics",
    LABELS,
    rows(
        ("channel_consumers", GAUGE, "consumer_count", "Consumers on a channel"),
        (
            "channel_messages_unacked",
            GAUGE,
            "messages_unacknowledged",
            "Delivered but not yet acknowledged messages",
        ),
        (
            "channel_messages_unconfirmed",
            GAUGE,
            "messages_unconfirmed",
            "Published but not yet confirmed messages",
        ),
        (
            "channel_messages_uncommitted",
            GAUGE,
            "messages_uncommitted",
            "Messages received in a transaction but not yet committed",
        ),
        (
            "channel_acks_uncommitted",
            GAUGE,
            "acks_uncommitted",
            "Message acknowledgements in a transaction not yet committed",
        ),
        (
            "consumer_prefetch",
            GAUGE,
            "prefetch_count",
            "Limit of unacknowledged messages for each consumer",
        ),
        (
            "channel_prefetch",
            GAUGE,
            "global_prefetch_count",
            "Total limit of unacknowledged messages for all consumers on a channel",
        ),
    ),
    _channels,
)
