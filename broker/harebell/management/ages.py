"""How far back samples are asked for: ``lengths_age=60&lengths_incr=5`` and its like."""

from __future__ import annotations

from typing import Final

from harebell.management.queries import Query
from harebell.statistics.rates import Ages, Past

LONGEST: Final = 10_000_000
"""Seconds."""


def ages_of(query: Query) -> Ages:
    """Read what samples a query asks for; what makes no sense asks for none, as on RabbitMQ."""
    return Ages(
        _past(query, "lengths"),
        _past(query, "msg_rates"),
        _past(query, "data_rates"),
        _past(query, "node_stats"),
    )


def _past(query: Query, kind: str) -> Past | None:
    age, step = query.get(f"{kind}_age"), query.get(f"{kind}_incr")
    if age is None or step is None or not (age + step).isascii() or len(age + step) > 16:
        return None
    if not (age.isdigit() and step.isdigit() and 0 < int(step) <= int(age) <= LONGEST):
        return None
    return Past(int(age), int(step))
