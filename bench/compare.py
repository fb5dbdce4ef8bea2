"""Compare harebell with a RabbitMQ, side by side in one run: `make bench`.

Both brokers run at the same time; each scenario is run alternately (A B A B …) with the same load generator,
and the table shows medians. Before that every broker is started several times for its start time, and
weighed while idle.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.brokers import BenchError, Broker, Harebell, RabbitMQ, identity, resident_octets

PROJECT = Path(__file__).resolve().parent.parent
SETTLE_SECONDS = 3.0
BUSY_SHARE = 0.9


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``path`` leads to the figure in the JSON of ``harebell perf``. ``floor`` is the ratio promised for the
    compiled broker, and ``lower_is_better`` turns the ratio round.
    """

    name: str
    arguments: tuple[str, ...]
    path: tuple[str, ...] = ("received_per_s",)
    unit: str = "msg/s"
    lower_is_better: bool = False
    floor: float | None = None


def latency(percentile: str) -> tuple[str, ...]:
    return ("latency_us", "publish_to_receive", percentile)


LATENCY = ("--scenario", "latency")
ROWS = (
    Row("auto-ack", ("--scenario", "auto-ack"), floor=15),
    Row("ack-each", ("--scenario", "ack-each"), floor=7),
    Row("ack-each, publisher not held back", ("--scenario", "ack-each", "--in-flight", "0")),
    Row("ack-multiple", ("--scenario", "ack-multiple")),
    Row("fanout5", ("--scenario", "fanout5"), floor=20),
    Row("1k", ("--scenario", "1k"), floor=8),
    Row("confirm", ("--scenario", "confirm"), ("confirmed_per_s",)),
    Row("latency p50", LATENCY, latency("p50"), "µs", lower_is_better=True, floor=1),
    Row("latency p99", LATENCY, latency("p99"), "µs", lower_is_better=True, floor=1),
)
"""Without `persistent`: harebell runs in memory here, which must not be compared with an fsync."""

START = Row("start to first answer", (), (), "s", lower_is_better=True, floor=20)
IDLE = Row("idle memory", (), (), "MiB", lower_is_better=True, floor=2)
LOADED = Row("memory after the load", (), (), "MiB", lower_is_better=True)

Samples = dict[str, dict[str, list[float]]]
"""Row name, then broker label, then one figure per run."""


def main() -> int:
    """Run the comparison and return the exit code."""
    given = arguments()
    try:
        contestants = brokers(given)
        return compare(given, contestants)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each scenario and starts (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of each run (5)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring (1)")
    parser.add_argument("--only", default="", help="comma-separated names of rows, as the table shows them")
    parser.add_argument(
        "--harebell-python",
        action="append",
        metavar="[LABEL=]PATH",
        help="an interpreter that has harebell; repeat it to compare builds (default: this interpreter)",
    )
    parser.add_argument("--perf-python", default=sys.executable, help="the interpreter of the load generator")
    parser.add_argument("--no-rabbitmq", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--no-harebell", action="store_true", help="leave harebell out")
    parser.add_argument(
        "--oracle", type=Path, default=PROJECT / "tools" / "oracle", help="what starts RabbitMQ"
    )
    parser.add_argument(
        "--cpus",
        default="any",
        help="cores of the brokers and of the load generator, as 0,1; 'any' pins nothing (any)",
    )
    parser.add_argument(
        "--json", type=Path, default=PROJECT / "build" / "bench.json", help="where the figures go"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 if the first harebell misses a floor")
    return parser.parse_args()


def cpus(given: argparse.Namespace) -> tuple[int | None, int | None]:
    """Return the cores of the brokers and of the load generator."""
    if given.cpus == "any":
        return None, None
    if shutil.which("taskset") is None:
        raise BenchError("--cpus needs taskset (Debian: util-linux)")
    try:
        broker, perf = map(int, given.cpus.split(","))
    except ValueError as error:
        raise BenchError("--cpus must be 'any' or two numbers, as 0,1") from error
    return broker, perf


def brokers(given: argparse.Namespace) -> list[Broker]:
    """Return the contestants, the reference first."""
    cpu = cpus(given)[0]
    found: list[Broker] = [] if given.no_rabbitmq else [RabbitMQ("RabbitMQ", cpu, given.oracle)]
    for text in [] if given.no_harebell else given.harebell_python or [f"harebell={sys.executable}"]:
        label, separator, path = text.partition("=")
        found.append(Harebell(label if separator else "harebell", cpu, path if separator else text))
    if not found or len({broker.label for broker in found}) < len(found):
        raise BenchError("nothing to compare, or two contestants with one label")
    return found


def compare(given: argparse.Namespace, contestants: list[Broker]) -> int:
    """Measure everything, print the table, write the JSON, and return the exit code."""
    wanted = [name.strip() for name in given.only.split(",") if name.strip()]
    rows = [row for row in ROWS if not wanted or row.name in wanted or row.arguments[1] in wanted]
    if wanted and not rows:
        raise BenchError(f"--only knows {', '.join(row.name for row in ROWS)}")
    samples: Samples = {}
    try:
        for broker in contestants:
            measure_start(broker, given.runs, samples)
        who = {broker.label: identity(broker.port) for broker in contestants}
        measure_rows(given, contestants, rows, samples)
        for broker in contestants:
            note(samples, LOADED, broker, resident_octets(broker.port) / 2**20)
    finally:
        for broker in contestants:
            broker.stop()
    shown = [*rows, START, IDLE, LOADED]
    print()
    print(table(shown, contestants, samples))
    report = {"machine": machine(given), "brokers": who, "samples": samples, "arguments": vars(given)}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(f"\n{machine(given)}\nfigures of every run: {given.json}")
    missed = missed_floors(shown, contestants, samples)
    for line in missed:
        print(line)
    return 1 if given.check and missed else 0


def measure_start(broker: Broker, runs: int, samples: Samples) -> None:
    """Start ``broker`` several times, leave it running, and weigh it."""
    for run in range(runs):
        if run:
            broker.stop()
        note(samples, START, broker, broker.start())
    time.sleep(SETTLE_SECONDS)
    note(samples, IDLE, broker, resident_octets(broker.port) / 2**20)


def measure_rows(
    given: argparse.Namespace, contestants: list[Broker], rows: list[Row], samples: Samples
) -> None:
    """Run every scenario alternately; rows of one scenario share its runs."""
    for arguments_of_row in dict.fromkeys(row.arguments for row in rows):
        for _ in range(given.runs):
            for broker in contestants:
                figures = load(given, broker, arguments_of_row)
                for row in rows:
                    if row.arguments == arguments_of_row:
                        note(samples, row, broker, pick(figures, row.path))


def note(samples: Samples, row: Row, broker: Broker, value: float) -> None:
    """Keep one figure and show it."""
    samples.setdefault(row.name, {}).setdefault(broker.label, []).append(value)
    print(f"{row.name:<36}{broker.label:<20}{number(value):>14} {row.unit}", flush=True)


def load(given: argparse.Namespace, broker: Broker, scenario: tuple[str, ...]) -> object:
    """Run the load generator once and return its JSON. Raises BenchError."""
    cpu = cpus(given)[1]
    command = [] if cpu is None else ["taskset", "-c", str(cpu)]
    command += [given.perf_python, "-m", "harebell.perf", "--url", broker.url, "--json", "--interval", "0"]
    command += ["--duration", str(given.seconds), "--warmup", str(given.warmup), *scenario]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(scenario)} on {broker.label}: {done.stderr.strip()}")
    figures: object = json.loads(done.stdout)
    share = pick(figures, ("generator", "cpu"))
    if share >= BUSY_SHARE:
        print(
            f"  the load generator used {share:.0%} of a core: it may be what limits this figure", flush=True
        )
    return figures


def pick(figures: object, path: tuple[str, ...]) -> float:
    """Follow ``path`` into the figures; what is missing counts as 0."""
    for name in path:
        figures = figures.get(name) if isinstance(figures, dict) else None
    return float(figures) if isinstance(figures, int | float) else 0.0


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
    lines = [f"| {' | '.join(heads)} |", "|---|---" + "|---:" * (len(heads) - 2) + "|"]
    for row in rows:
        medians = {label: statistics.median(values) for label, values in samples[row.name].items()}
        cells = [row.name, row.unit, number(medians[first.label])]
        for other in others:
            times = ratio(row, medians[first.label], medians[other.label])
            cells += [number(medians[other.label]), "" if times is None else f"{times:.1f}x"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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


def number(value: float) -> str:
    """Write a figure with three or more significant digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine(given: argparse.Namespace) -> str:
    """Return the conditions of the run in one line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{os.cpu_count()} cores, {model}; {platform.system()} {platform.release()}; "
        f"{given.runs} runs of {given.seconds:g} s after {given.warmup:g} s; cores: {given.cpus}"
    )


if __name__ == "__main__":
    sys.exit(main())
