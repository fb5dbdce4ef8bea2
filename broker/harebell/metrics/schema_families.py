"""Metrics of messages held against schemas; one row for each virtual host that has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.engine.counters import VhostCounters
from harebell.metrics.exposition import COUNTER, Number, labels
from harebell.metrics.family import Family, Metric, Objects, Selection

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources


def _checking(sources: Sources, _selection: Selection) -> Objects[VhostCounters]:
    """Go through the virtual hosts that ever held a message against a schema."""
    for vhost in list(sources.broker.vhosts.values()):
        if vhost.counters.schema_checked:
            yield labels(("vhost",), (vhost.name,)), vhost.counters
        else:
            yield None


def _checked(counters: VhostCounters) -> Number:
    return int(counters.schema_checked)


def _invalid(counters: VhostCounters) -> Number:
    return int(counters.schema_invalid)


CHECKS: Final = Family(
    "schema_metrics",
    ("vhost",),
    (
        Metric(
            "schema_checked_total",
            COUNTER,
            "Published messages held against a schema, once for each exchange and queue that asks for it",
            _checked,
        ),
        Metric("schema_invalid_total", COUNTER, "Those that did not fit", _invalid),
    ),
    _checking,
    summed=False,
    prefix="harebell_",
    detailed="",
)
