"""Prometheus' text format, version 0.0.4: how names, labels and numbers are written.

Everything here works on pieces of text that a caller can put between turns of the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4"

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
SUMMARY: Final = "summary"
UNTYPED: Final = "untyped"

PIECE_LINES: Final = 100
"""Samples written between two chances to let others run."""

Number = int | float


def escape_label(text: str) -> str:
    """Write a label's value: backslash, quote and line feed are escaped."""
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def escape_help(text: str) -> str:
    """Write a help text: backslash and line feed are escaped."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def labels(names: Iterable[str], values: Iterable[str]) -> str:
    """Write labels as they stand behind a metric's name, without the braces."""
    return ",".join(f'{name}="{escape_label(value)}"' for name, value in zip(names, values, strict=True))


def number(value: Number) -> str:
    """Write a sample's value.

    Values that are not finite are written as Prometheus reads them: ``NaN``, ``+Inf``, ``-Inf``.
    """
    if isinstance(value, int):
        return str(int(value))
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def bound(value: Number) -> str:
    """Write the upper bound of a bucket as RabbitMQ does: ``100.0``, ``100000.0``, ``1e+06``, ``+Inf``.

    Dashboards ask for ``le`` by these spellings.
    """
    if value == float("inf"):
        return "+Inf"
    short = f"{value:g}"
    if value < 1_000_000 or float(short) != value:
        return repr(float(value))
    return short


def head(name: str, kind: str, text: str) -> str:
    """Write what stands before the samples of a metric."""
    return f"# TYPE {name} {kind}\n# HELP {name} {escape_help(text)}\n"


def sample(name: str, label_text: str, value: Number) -> str:
    """Write one sample.

    Args:
        label_text: what ``labels`` gave; may be empty.
    """
    if label_text:
        return f"{name}{{{label_text}}} {number(value)}\n"
    return f"{name} {number(value)}\n"


def histogram(
    name: str, label_text: str, bounds: Iterable[Number], counts: Iterable[int], total: Number
) -> str:
    """Write the samples of one histogram.

    Args:
        bounds: upper bounds of the buckets, ascending, without infinity.
        counts: how many fell into each bucket and not into one before, the one to infinity last.
        total: the sum of what was observed, in the metric's unit.
    """
    comma = "," if label_text else ""
    lines = []
    below = 0
    for upper, count in zip((*bounds, float("inf")), counts, strict=True):
        below += count
        lines.append(f'{name}_bucket{{{label_text}{comma}le="{bound(upper)}"}} {below}\n')
    lines.append(sample(f"{name}_count", label_text, below))
    lines.append(sample(f"{name}_sum", label_text, total))
    return "".join(lines)


def pieces(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to pieces that are written in well under a millisecond."""
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if len(gathered) >= PIECE_LINES:
            yield "".join(gathered)
            gathered.clear()
    yield "".join(gathered)
