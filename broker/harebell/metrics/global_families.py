"""Counters of the whole node that never fall, by protocol and type of queue, under RabbitMQ's names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from harebell import __version__
from harebell.content.table import Table
from harebell.histograms import SIZE_BOUNDS, Sizes
from harebell.metrics.exposition import COUNTER, GAUGE, UNTYPED, Number, labels
from harebell.metrics.family import Buckets, Family, Objects, Selection, rows

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources


def _objects(sources: Sources, _selection: Selection) -> Objects[Table]:
    yield "", object_totals(sources)


def _build(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Tell the versions."""
    compat = sources.admin.settings.compat
    versions = {
        "rabbitmq_version": compat.version,
        "prometheus_plugin_version": compat.version,
        "prometheus_client_version": __version__,
        "erlang_version": "n/a",
        "product_version": __version__,
        "product_name": "harebell",
    }
    yield labels(versions.keys(), versions.values()), {"one": 1}


def _identity(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Tell which node this is, and what was asked of it."""
    cluster = _parameter(sources, "cluster_name") or str(sources.broker.server_properties["cluster_name"])
    digest = base64.urlsafe_b64encode(hashlib.sha256(cluster.encode()).digest()[:16]).decode().rstrip("=")
    identity = {
        "rabbitmq_node": sources.admin.host.name,
        "rabbitmq_cluster": cluster,
        "rabbitmq_cluster_permanent_id": _parameter(sources, "internal_cluster_id")
        or f"rabbitmq-cluster-id-{digest}",
        "rabbitmq_endpoint": sources.endpoint,
    }
    yield labels(identity.keys(), identity.values()), {"one": 1}


def _parameter(sources: Sources, name: str) -> str:
    """Give the text of a global parameter; empty if it is not set to a text."""
    encoded = sources.broker.parameters.get(("", "", name))
    found = None if encoded is None else orjson.loads(encoded)
    return found if isinstance(found, str) else ""


def object_totals(sources: Sources) -> Table:
    """Count what there is."""
    return {
        "connections": len(sources.totals.connections),
        "channels": len(sources.totals.channels),
        "consumers": sources.totals.all_queues().consumers,
        "queues": sources.totals.queue_count,
        "unreachable": 0,
    }


def _protocol(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the protocols that messages are published by: there is one."""
    counted = sources.totals.counted
    published = counted.exchanges
    yield (
        labels(("protocol",), ("amqp091",)),
        {
            "received": published.received,
            "received_confirm": counted.awaited,
            "confirmed": counted.confirmed,
            "routed": published.routed,
            "dropped": published.dropped,
            "returned": published.returned,
            "publishers": sources.totals.publishers,
            "consumers": sources.totals.all_queues().consumers,
        },
    )


def _queue_types(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the types of queues."""
    for name, one in sources.totals.counted.queues.items():
        yield (
            labels(("protocol", "queue_type"), ("amqp091", f"rabbit_{name}_queue")),
            {
                "all": one.delivered + one.delivered_no_ack + one.got + one.got_no_ack,
                "delivered": one.delivered,
                "delivered_no_ack": one.delivered_no_ack,
                "got": one.got,
                "got_no_ack": one.got_no_ack,
                "got_empty": one.got_empty,
                "redelivered": one.redelivered,
                "acked": one.acked,
            },
        )


def _deaths(sources: Sources, _selection: Selection) -> Objects[Table]:
    """Go through the types of queues and the ways of dead-lettering.

    Moves of quorum queues are one step of the journal, which is what at-least-once stands for.
    """
    names = ("queue_type", "dead_letter_strategy")
    for name, moved in (("classic", "at_most_once"), ("quorum", "at_least_once")):
        deaths = sources.totals.counted.queues[name].deaths
        done: Table = {"expired": deaths.expired, "maxlen": deaths.maxlen, "rejected": deaths.rejected}
        lost: Table = {
            "expired": deaths.lost_expired,
            "maxlen": deaths.lost_maxlen,
            "rejected": deaths.lost_rejected,
        }
        queue_type = f"rabbit_{name}_queue"
        if name == "quorum":
            done["delivery_limit"] = deaths.delivery_limit
            done["confirmed"] = deaths.expired + deaths.maxlen + deaths.rejected + deaths.delivery_limit
            lost["delivery_limit"] = deaths.lost_delivery_limit
            never = dict.fromkeys(("expired", "maxlen", "rejected", "delivery_limit"), 0)
            yield labels(names, (queue_type, "at_most_once")), {**never}
        yield labels(names, (queue_type, moved)), done
        yield labels(names, (queue_type, "disabled")), lost


def _sizes(sources: Sources, _selection: Selection) -> Objects[Sizes]:
    """Give the sizes of published messages."""
    yield labels(("protocol",), ("amqp091",)), sources.broker.counters.sizes


def _counts(sizes: Sizes) -> tuple[Sequence[int], Number]:
    return sizes.counts(), sizes.total


OBJECTS: Final = Family(
    "object_totals",
    (),
    rows(
        ("connections", GAUGE, "connections", "Connections currently open"),
        ("channels", GAUGE, "channels", "Channels currently open"),
        ("consumers", GAUGE, "consumers", "Consumers currently connected"),
        ("queues", GAUGE, "queues", "Queues available"),
        (
            "unreachable_cluster_peers_count",
            GAUGE,
            "unreachable",
            "Number of peers in the cluster the current node cannot reach.",
        ),
    ),
    _objects,
    summed=False,
    detailed="",
)

BUILD: Final = Family(
    "build_info",
    (
        "rabbitmq_version",
        "prometheus_plugin_version",
        "prometheus_client_version",
        "erlang_version",
        "product_version",
        "product_name",
    ),
    rows(("build_info", UNTYPED, "one", "Versions of the broker and of what it is compatible with")),
    _build,
    summed=False,
    detailed="",
)

IDENTITY: Final = Family(
    "identity_info",
    ("rabbitmq_node", "rabbitmq_cluster", "rabbitmq_cluster_permanent_id", "rabbitmq_endpoint"),
    rows(("identity_info", UNTYPED, "one", "RabbitMQ node & cluster identity info")),
    _identity,
    summed=False,
    detailed="",
)

PROTOCOL: Final = Family(
    "global_protocol_counters",
    ("protocol",),
    rows(
        (
            "global_messages_received_total",
            COUNTER,
            "received",
            "Total number of messages received from publishers",
        ),
        (
            "global_messages_received_confirm_total",
            COUNTER,
            "received_confirm",
            "Total number of messages received from publishers expecting confirmations",
        ),
        (
            "global_messages_confirmed_total",
            COUNTER,
            "confirmed",
            "Total number of messages confirmed to publishers",
        ),
        (
            "global_messages_routed_total",
            COUNTER,
            "routed",
            "Total number of messages routed to queues or streams",
        ),
        (
            "global_messages_unroutable_dropped_total",
            COUNTER,
            "dropped",
            "Total number of messages published as non-mandatory into an exchange and dropped as unroutable",
        ),
        (
            "global_messages_unroutable_returned_total",
            COUNTER,
            "returned",
            "Total number of messages published as mandatory into an exchange and returned to the publisher "
            "as unroutable",
        ),
        ("global_publishers", GAUGE, "publishers", "Current number of publishers"),
        ("global_consumers", GAUGE, "consumers", "Current number of consumers"),
    ),
    _protocol,
    summed=False,
    detailed="",
)

QUEUE_TYPES: Final = Family(
    "global_queue_type_counters",
    ("protocol", "queue_type"),
    rows(
        (
            "global_messages_delivered_total",
            COUNTER,
            "all",
            "Total number of messages delivered to consumers",
        ),
        (
            "global_messages_delivered_consume_manual_ack_total",
            COUNTER,
            "delivered",
            "Total number of messages delivered to consumers using basic.consume with manual acknowledgment",
        ),
        (
            "global_messages_delivered_consume_auto_ack_total",
            COUNTER,
            "delivered_no_ack",
            "Total number of messages delivered to consumers using basic.consume with automatic "
            "acknowledgment",
        ),
        (
            "global_messages_delivered_get_manual_ack_total",
            COUNTER,
            "got",
            "Total number of messages delivered to consumers using basic.get with manual acknowledgment",
        ),
        (
            "global_messages_delivered_get_auto_ack_total",
            COUNTER,
            "got_no_ack",
            "Total number of messages delivered to consumers using basic.get with automatic acknowledgment",
        ),
        (
            "global_messages_get_empty_total",
            COUNTER,
            "got_empty",
            "Total number of times basic.get operations fetched no message",
        ),
        (
            "global_messages_redelivered_total",
            COUNTER,
            "redelivered",
            "Total number of messages redelivered to consumers",
        ),
        (
            "global_messages_acknowledged_total",
            COUNTER,
            "acked",
            "Total number of messages acknowledged by consumers",
        ),
    ),
    _queue_types,
    summed=False,
    detailed="",
)

DEATHS: Final = Family(
    "global_dead_letter_counters",
    ("queue_type", "dead_letter_strategy"),
    rows(
        (
            "global_messages_dead_lettered_confirmed_total",
            COUNTER,
            "confirmed",
            "Total number of messages dead-lettered and confirmed by target queues",
        ),
        (
            "global_messages_dead_lettered_delivery_limit_total",
            COUNTER,
            "delivery_limit",
            "Total number of messages dead-lettered due to delivery-limit exceeded",
        ),
        (
            "global_messages_dead_lettered_expired_total",
            COUNTER,
            "expired",
            "Total number of messages dead-lettered due to message TTL exceeded",
        ),
        (
            "global_messages_dead_lettered_maxlen_total",
            COUNTER,
            "maxlen",
            "Total number of messages dead-lettered due to overflow drop-head or reject-publish-dlx",
        ),
        (
            "global_messages_dead_lettered_rejected_total",
            COUNTER,
            "rejected",
            "Total number of messages dead-lettered due to basic.reject or basic.nack",
        ),
    ),
    _deaths,
    summed=False,
    detailed="",
)

SIZES: Final = Family(
    "message_size",
    ("protocol",),
    (Buckets("message_size_bytes", "Size of messages received from publishers", SIZE_BOUNDS, _counts),),
    _sizes,
    summed=False,
    detailed="",
)
