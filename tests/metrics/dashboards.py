"""What queries of dashboards need of the metrics they read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.metrics.metered import Scrape

SELECTOR: Final = re.compile(r"\b((?:rabbitmq|harebell)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPING: Final = re.compile(r"\b(?:by|group_left)\s*\(([^)]*)\)")
LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")

FROM_PROMETHEUS: Final = frozenset({"instance", "job", "namespace"})
"""Labels that Prometheus, not the broker, adds."""


class Query(NamedTuple):
    """One query of a panel, and what its legend shows."""

    panel: str
    expression: str
    legend: str


def queries(path: Path) -> Iterator[Query]:
    """Go through the queries of a dashboard."""
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield Query(panel["title"], target["expr"], target["legendFormat"])


def problems(query: Query, scrape: Scrape) -> Iterator[str]:
    """Say which metrics and labels of a query are not there."""
    grouped = {name.strip() for names in GROUPING.findall(query.expression) for name in names.split(",")}
    shown = set(LEGEND.findall(query.legend))
    offered: set[str] = set()
    without_groups = GROUPING.sub("", query.expression)
    for name, matchers in SELECTOR.findall(without_groups):
        samples = list(scrape.samples(name))
        if not samples:
            yield f"{query.panel}: there is no {name}"
            continue
        offered |= {label for labels, _ in samples for label in labels}
        for label, value in MATCHER.findall(matchers):
            values = {labels.get(label) for labels, _ in samples}
            if label in FROM_PROMETHEUS:
                continue
            if values == {None} or ("$" not in value and value not in values):
                yield f"{query.panel}: no {name} has {label}={value!r}, only {sorted(map(str, values))}"
    for label in (grouped | shown) - offered - FROM_PROMETHEUS:
        yield f"{query.panel}: nothing has the label {label}"
