"""Every family of metrics, in the order in which they are written."""

from __future__ import annotations

from typing import Any, Final

from harebell.metrics import (
    client_families,
    flow_families,
    global_families,
    message_families,
    node_families,
    own_families,
    queue_families,
    schema_families,
)
from harebell.metrics.family import Family

FAMILIES: Final[tuple[Family[Any], ...]] = (
    node_families.START,
    node_families.ALARMS,
    node_families.CHURN,
    node_families.NODE_COARSE,
    node_families.NODE,
    node_families.PERSISTER,
    node_families.LOGINS,
    node_families.LOGINS_BY_SOURCE,
    queue_families.QUEUE_COARSE,
    queue_families.QUEUE_CONSUMER_COUNT,
    queue_families.QUEUE_METRICS,
    queue_families.QUEUE_INFO,
    client_families.CHANNEL,
    message_families.CHANNEL_EXCHANGE,
    message_families.CHANNEL_QUEUE,
    message_families.CHANNEL_QUEUE_EXCHANGE,
    client_families.CONNECTION_COARSE,
    client_families.CONNECTION,
    message_families.EXCHANGE,
    message_families.QUEUE_DELIVERY,
    message_families.QUEUE_EXCHANGE,
    queue_families.STREAM_READERS,
    global_families.OBJECTS,
    global_families.PROTOCOL,
    global_families.QUEUE_TYPES,
    global_families.DEATHS,
    global_families.SIZES,
    node_families.VHOST_STATUS,
    node_families.EXCHANGE_BINDINGS,
    node_families.EXCHANGE_NAMES,
    own_families.NODE,
    own_families.JOURNAL,
    own_families.CONFIRMS,
    own_families.LATENCIES,
    own_families.ERRORS,
    own_families.DUPLICATES,
    own_families.QUEUE_LATENCIES,
    own_families.READERS,
    own_families.DELAYS,
    schema_families.CHECKS,
    flow_families.FLOW,
)

BREAKDOWN: Final = node_families.BREAKDOWN

INFOS: Final = (global_families.BUILD, global_families.IDENTITY)
"""At the end of every answer: dashboards join with them."""
