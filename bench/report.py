"""Rows, medians, ratios and the table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.brokers import Broker, Harebell, RabbitMQ


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``path`` leads to the figure in the JSON of ``harebell perf``. ``floor`` is the ratio promised for the
    compiled broker, and ``lower_is_better`` turns the ratio round.
    """

    name: str
    arguments: tuple[str, ...] = ()
    path: tuple[str, ...] = ("received_per_s",)
    unit: str = "msg/s"
    lower_is_better: bool = False
    floor: float | None = None


Samples = dict[str, dict[str, list[float]]]
"""Row name, then broker label, then one figure per run."""


def note(samples: Samples, row: Row, label: str, value: float) -> None:
    """Keep one figure and show it."""
    samples.setdefault(row.name, {}).setdefault(label, []).append(value)
    print(f"{row.name:<36}{label:<20}{number(value):>14} {row.unit}", flush=True)


def ratio(row: Row, reference: float, value: float) -> float | None:
    """Return how many times better ``value`` is, None if that cannot be said."""
    if not reference or not value:
        return None
    return reference / value if row.lower_is_better else value / reference


def table(rows: list[Row], contestants: list[Broker], samples: Samples) -> str:
    """Return the medians as a Markdown table, with the ratio to the first contestant."""
    first, *others = contestants
    heads = ["scenario", "unit", first.label]
    for other in others:
        heads += [other.label, "ratio"]
    lines = []
    for row in rows:
        medians = {label: statistics.median(values) for label, values in samples[row.name].items()}
        cells = [row.name, row.unit, number(medians[first.label])]
        for other in others:
            times = ratio(row, medians[first.label], medians[other.label])
            cells += [number(medians[other.label]), "" if times is None else factor(times)]
        lines.append(cells)
    return "\n".join(markdown(heads, "ll" + "r" * (len(heads) - 2), lines))


def factor(times: float) -> str:
    """Write a ratio; two builds of one broker differ by little."""
    return f"{times:.2f}x" if times < 2 else f"{times:.1f}x"


def markdown(heads: list[str], alignment: str, cells: list[list[str]]) -> list[str]:
    """Return the lines of a table; ``alignment`` has an l or r for each column."""
    rules = ["---:" if side == "r" else "---" for side in alignment]
    return [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|", *(f"| {' | '.join(row)} |" for row in cells)]


def missed_floors(rows: list[Row], contestants: list[Broker], samples: Samples) -> list[str]:
    """Return a line for each floor that the first harebell beside a RabbitMQ does not reach."""
    reference = next((broker for broker in contestants if isinstance(broker, RabbitMQ)), None)
    ours = next((broker for broker in contestants if isinstance(broker, Harebell)), None)
    if reference is None or ours is None:
        return []
    missed = []
    for row in rows:
        values = samples[row.name]
        times = ratio(row, statistics.median(values[reference.label]), statistics.median(values[ours.label]))
        if row.floor is not None and (times is None or times < row.floor):
            missed.append(f"below the floor: {row.name} is {times or 0:.1f}x, promised {row.floor:g}x")
    return missed


def say(broker: Broker, text: str) -> None:
    """Tell what happens now."""
    print(f"{broker.label}: {text}", file=sys.stderr, flush=True)


def number(value: float) -> str:
    """Write a figure with three or more significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine() -> str:
    """Return what the machine is."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{os.cpu_count()} cores, {model}; {platform.system()} {platform.release()}"


def write_json(path: Path, report: Mapping[str, object]) -> None:
    """Write every figure to ``path`` and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(f"figures of every run: {path}")
