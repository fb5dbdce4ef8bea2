"""Groups, fair share and filters of a queue in fields of the HTTP API; RabbitMQ has none of them."""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table
from harebell.engine.queues.laned import LanedQueue
from harebell.engine.queues.queue import Queue

MOST_GROUPS: Final = 10_000
"""Groups listed at most."""


def lanes_table(queue: Queue) -> Table | None:
    """Tell how many keys, tenants and filters a queue tells apart; None if it looks at none."""
    lanes = queue.lanes() if isinstance(queue, LanedQueue) else None
    if lanes is None:
        return None
    return {
        "groups": lanes.group_count(),
        "groups_locked": lanes.locked(),
        "tenants": lanes.tenant_count() if queue.options.fair_header is not None else 0,
        "filters": len({consumer.wants for consumer in queue.consumers() if int(consumer.wants) != 1}),
        "messages_looked_at": int(lanes.in_lanes),
    }


def groups_of(queue: Queue, most: int = MOST_GROUPS) -> list[Table]:
    """List the groups of a queue whose messages are near its head, or with somebody.

    ``consumer_tag`` is None for a key that nobody has, and for one that came by ``basic.get`` or waits for
    its retry: then ``messages_unacknowledged`` is not 0.
    """
    lanes = queue.lanes() if isinstance(queue, LanedQueue) else None
    if lanes is None:
        return []
    return [
        {
            "tenant": tenant,
            "key": key,
            "consumer_tag": owner,
            "messages_waiting": waiting,
            "messages_unacknowledged": held,
        }
        for tenant, key, owner, waiting, held in lanes.groups(most)
    ]
