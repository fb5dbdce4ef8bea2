"""Metrics of queues that are held back, and of declarations that differed; one row for each virtual host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from harebell.metrics.exposition import COUNTER, GAUGE, labels
from harebell.metrics.family import Family, Metric, Objects, Selection

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources


class _HeldBack(NamedTuple):
    """What a virtual host has of it: queues that are paused, and declarations that were passed over."""

    paused: int
    redeclared: int


def _vhosts(sources: Sources, _selection: Selection) -> Objects[_HeldBack]:
    """Go through the virtual hosts that have a paused queue, or passed over a declaration."""
    for vhost in list(sources.broker.vhosts.values()):
        paused = 0
        for queue in list(vhost.queues.values()):
            if queue.brake is not None and queue.brake.paused_until != 0:
                paused += 1
            yield None
        redeclared = int(vhost.counters.redeclared_otherwise)
        if paused or redeclared:
            yield labels(("vhost",), (vhost.name,)), _HeldBack(paused, redeclared)


FLOW: Final = Family(
    "flow_metrics",
    ("vhost",),
    (
        Metric("queues_paused", GAUGE, "Queues that are paused", lambda found: found.paused),
        Metric(
            "redeclared_otherwise_total",
            COUNTER,
            "Declarations whose arguments differed from what is there and that were passed over",
            lambda found: found.redeclared,
        ),
    ),
    _vhosts,
    summed=False,
    prefix="harebell_",
    detailed="",
)
