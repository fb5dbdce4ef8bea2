"""Brokers that are measured one after the other, with a table that has a column for each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from bench.arguments import brokers
from bench.brokers import Broker
from bench.report import machine, markdown, number, write_json


@dataclass
class Figures:
    """What was measured of one broker, as far as all such benches have it.

    Attributes:
        messages: how many there were.
        early, twice: those that came before their time, and more than once.
        memory_mib, peak_mib, memory_after_mib: of the broker while they wait, at most, and after a restart.
        restart: seconds from the start after a kill to the first answer.
    """

    messages: int
    early: int = 0
    twice: int = 0
    memory_mib: float = 0.0
    peak_mib: float = 0.0
    memory_after_mib: float = 0.0
    restart: float = 0.0


AnyFigures = TypeVar("AnyFigures", bound=Figures)


def columns(results: Mapping[str, object], rows: Sequence[tuple[str, str]]) -> str:
    """Return figures as Markdown, a broker in each column.

    Args:
        rows: what is said of a figure, and its attribute.
    """
    lines = [[text, *(number(getattr(one, name)) for one in results.values())] for text, name in rows]
    return "\n".join(markdown(["", *results], "l" + "r" * len(results), lines))


def measure_builds(
    given: argparse.Namespace,
    data: Path,
    measure: Callable[[Broker, argparse.Namespace], AnyFigures],
    rows: Sequence[tuple[str, str]],
    shape: str,
) -> int:
    """Measure every build, print the table, write the JSON, and return the exit code.

    Args:
        measure: measures one broker, which runs.
        rows: as for ``columns``.
        shape: what the load was.

    Raises:
        BenchError: something went wrong.
    """
    results: dict[str, AnyFigures] = {}
    for broker in brokers(given, data, rabbitmq=False):
        try:
            broker.start()
            results[broker.label] = measure(broker, given)
        finally:
            broker.stop()
    print(f"\n{columns(results, rows)}\n\n{machine()}; cores: {given.cpus}; {shape}")
    samples = {label: asdict(one) for label, one in results.items()}
    write_json(given.json, {"machine": machine(), "samples": samples, "arguments": vars(given)})
    return 1 if given.check and any(one.early or one.twice for one in results.values()) else 0
