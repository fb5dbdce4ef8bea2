"""Metrics of queues and messages that are held back, and of declarations that differed: one row a vhost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from harebell.engine.queues.laned import LanedQueue
from harebell.metrics.exposition import COUNTER, GAUGE, labels
from harebell.metrics.family import Family, Metric, Objects, Selection

if TYPE_CHECKING:
    from harebell.metrics.sources import Sources


class _HeldBack(NamedTuple):
    """What a virtual host has of it.

    Attributes:
        paused: queues.
        retrying: messages that wait for their retry.
        locked: keys of groups that a client has.
        redeclared: declarations that were passed over.
    """

    paused: int
    retrying: int
    locked: int
    redeclared: int


def _vhosts(sources: Sources, _selection: Selection) -> Objects[_HeldBack]:
    """Go through the virtual hosts that have any of it."""
    for vhost in list(sources.broker.vhosts.values()):
        paused = retrying = locked = 0
        for queue in list(vhost.queues.values()):
            if queue.brake is not None and queue.brake.paused_until != 0:
                paused += 1
            retrying += int(queue.delayed_count())
            lanes = queue.lanes() if isinstance(queue, LanedQueue) else None
            if lanes is not None:
                locked += lanes.locked()
            yield None
        redeclared = int(vhost.counters.redeclared_otherwise)
        found = _HeldBack(paused, retrying, locked, redeclared)
        if any(found):
            yield labels(("vhost",), (vhost.name,)), found


FLOW: Final = Family(
    "flow_metrics",
    ("vhost",),
    (
        Metric("queues_paused", GAUGE, "Queues that are paused", lambda found: found.paused),
        Metric(
            "messages_retrying",
            GAUGE,
            "Messages that came back and wait for their retry",
            lambda found: found.retrying,
        ),
        Metric(
            "groups_locked",
            GAUGE,
            "Keys of message groups that a client has, so that others wait for it",
            lambda found: found.locked,
        ),
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
