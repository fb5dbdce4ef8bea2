"""What each path answers, as pieces of text: none takes more than about a millisecond to make."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any, Final

from harebell.administration.administration import Administration
from harebell.metrics import registry
from harebell.metrics.bounded import Bounded
from harebell.metrics.exposition import Number, head, sample
from harebell.metrics.family import ALL, Family, Metric, Selection
from harebell.metrics.sources import Sources
from harebell.metrics.totals import Totals, error_count, errors_of, latencies_of, traffic
from harebell.statistics.statistics import Statistics

AGGREGATED: Final = "aggregated"
PER_OBJECT: Final = "per-object"
DETAILED: Final = "detailed"
MEMORY_BREAKDOWN: Final = "memory-breakdown"

WITH_INFO: Final = frozenset({"queue_coarse_metrics", "queue_consumer_count", "queue_metrics"})
"""Families that bring ``queue_info`` along."""

STEP: Final = 50
"""Objects looked at, or written, for one piece."""


class Scraper:
    """Writes metrics of one node.

    One answer after the other: what queues have series of their own is settled while ``aggregated`` runs.

    Args:
        admin: the node.
        statistics: builds what the HTTP API shows.
    """

    def __init__(self, admin: Administration, statistics: Statistics) -> None:
        self._admin = admin
        self._statistics = statistics
        limit = admin.settings.metrics.max_labels
        self._errors = Bounded(limit, error_count, errors_of)
        self._latencies = Bounded(limit, traffic, latencies_of)

    def aggregated(self) -> Iterator[str]:
        """Write sums over all objects, and series of few of them."""
        sources = self._sources(AGGREGATED)
        yield from self._gather(sources)
        for family in registry.FAMILIES:
            if family.aggregated and family.summed:
                yield from _summed(family, sources)
            elif family.aggregated:
                yield from _each(family, family.prefix, sources, ALL)
        yield from _infos(sources)

    def per_object(self) -> Iterator[str]:
        """Write every object, but errors and latencies of few queues, as in the sums."""
        sources = self._sources(PER_OBJECT)
        yield from self._gather(sources)
        for family in registry.FAMILIES:
            if family.per_object:
                yield from _each(family, family.prefix, sources, ALL)
        yield from _infos(sources)

    def _sources(self, endpoint: str) -> Sources:
        bounded = (self._errors, self._latencies)
        return Sources(self._admin, self._statistics, endpoint, Totals(), bounded)

    def _gather(self, sources: Sources) -> Iterator[str]:
        bounded = (self._errors, self._latencies)
        for _ in sources.totals.gather(self._admin.broker, bounded, time.monotonic()):
            yield ""

    def detailed(self, names: Collection[str], selection: Selection) -> Iterator[str]:
        """Write the objects of some families.

        Args:
            names: of families; those that nobody knows are passed over, as RabbitMQ does.
        """
        sources = Sources(self._admin, self._statistics, DETAILED, Totals())
        wanted = set(names)
        if not wanted.isdisjoint(WITH_INFO):
            wanted.add("queue_info")
        asked = [family for family in registry.FAMILIES if family.detailed and family.name in wanted]
        if any(family.name == "queue_metrics" for family in asked):
            # The consumers are among what that family has.
            asked = [family for family in asked if family.name != "queue_consumer_count"]
        for family in asked:
            yield from _each(family, family.detailed, sources, selection)
        yield from _infos(sources)

    def memory_breakdown(self) -> Iterator[str]:
        """Write what takes the memory."""
        sources = Sources(self._admin, self._statistics, MEMORY_BREAKDOWN, Totals())
        yield from _each(registry.BREAKDOWN, registry.BREAKDOWN.prefix, sources, ALL)
        yield from _infos(sources)


def _infos(sources: Sources) -> Iterator[str]:
    for family in registry.INFOS:
        yield from _each(family, family.prefix, sources, ALL)


def _each(family: Family[Any], prefix: str, sources: Sources, selection: Selection) -> Iterator[str]:
    """Write a family with its objects.

    Of each only what is written is kept: many large objects would make the garbage collector take long.
    """
    rows = family.metrics
    found: list[tuple[str, tuple[Any, ...]]] = []
    # Whoever asks chose the pattern, and may have chosen one that takes its time.
    step = STEP if selection.queue is None else 1
    for index, each in enumerate(family.objects(sources, selection)):
        if each is not None:
            text, shown = each
            found.append((text, tuple([row.read(shown) for row in rows])))
        if index % step == step - 1:
            yield ""
    for index, row in enumerate(rows):
        name = prefix + row.name
        yield head(name, row.kind, row.help)
        write = row.write
        for first in range(0, len(found), STEP):
            yield "".join([write(name, text, read[index]) for text, read in found[first : first + STEP]])


def _summed(family: Family[Any], sources: Sources) -> Iterator[str]:
    """Write a family without its objects."""
    if family.totals is not None:
        totals = family.totals(sources)
    else:
        totals = {}
        yield from _sums(family, sources, totals)
    if family.kept is not None:
        totals |= family.kept(sources)
    for row in family.metrics:
        name = family.prefix + row.name
        written = sample(name, "", totals[row.name]) if row.name in totals else ""
        yield head(name, row.kind, row.help) + written


def _sums(family: Family[Any], sources: Sources, totals: dict[str, Number]) -> Iterator[str]:
    """Add up the objects; what none of them has stays out, unless there is no object at all."""
    rows = [row for row in family.metrics if isinstance(row, Metric)]
    reads = [row.read for row in rows]
    sums: list[Number | None] = [None] * len(rows)
    found = False
    for index, each in enumerate(family.objects(sources, ALL)):
        if each is not None:
            found = True
            shown = each[1]
            for place, read in enumerate(reads):
                value = read(shown)
                # Most are 0 where there are many.
                if value or (value == 0 and sums[place] is None):
                    sums[place] = (sums[place] or 0) + value
        if index % STEP == STEP - 1:
            yield ""
    for row, total in zip(rows, sums, strict=True):
        if total is not None or not found:
            totals[row.name] = total or 0
