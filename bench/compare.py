"""Compare harebell with a RabbitMQ, side by side in one run: `make bench`.

Both brokers run at the same time; each scenario is run alternately (A B A B …) with the same load generator,
and the table shows medians. Before that every broker is started several times for its start time, and
weighed while idle.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from bench.arguments import brokers, load_of, parser_for
from bench.brokers import Broker, identity
from bench.disk import check_same_disk, data_folder, sync_evidence, sync_line, sync_seconds
from bench.errors import BenchError
from bench.load import pick
from bench.processes import resident_octets
from bench.report import Row, Samples, machine, missed_floors, note, table, write_json

SETTLE_SECONDS = 3.0


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
"""With harebell in memory: nothing here may need an fsync."""

CONFIRMED = ("confirmed_per_s",)
DURABLE_ROWS = (
    Row("persistent, window 256, ack each", ("--scenario", "persistent"), CONFIRMED, floor=8),
    Row("persistent, window 2048, ack 50", ("--scenario", "persistent-multiple"), CONFIRMED, floor=12),
    Row("persistent, window 1, no consumer", ("--scenario", "persistent-single"), CONFIRMED, floor=1.2),
)
"""With harebell on the disk of RabbitMQ: both confirm what they have synced."""

START = Row("start to first answer", (), (), "s", lower_is_better=True, floor=20)
IDLE = Row("idle memory", (), (), "MiB", lower_is_better=True, floor=2)
LOADED = Row("memory after the load", (), (), "MiB", lower_is_better=True)


def main() -> int:
    """Run the comparison and return the exit code."""
    given = arguments()
    try:
        with contextlib.ExitStack() as stack:
            data = stack.enter_context(data_folder(given.data_dir)) if given.durable else None
            return compare(given, data)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "bench.json")
    parser.add_argument("--durable", action="store_true", help="the rows with persistent messages and fsync")
    parser.add_argument("--runs", type=int, default=3, help="runs of each scenario and starts (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of each run (5)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring (1)")
    parser.add_argument("--only", default="", help="comma-separated names of rows or scenarios")
    parser.add_argument("--no-rabbitmq", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--no-harebell", action="store_true", help="leave harebell out")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path | None) -> int:
    """Measure everything, print the table, write the JSON, and return the exit code.

    harebell runs in memory where ``data`` is None, else with its data in that folder. Raises BenchError.
    """
    contestants = brokers(given, data, not given.no_rabbitmq, not given.no_harebell)
    rows = wanted_rows(given)
    samples: Samples = {}
    notes: list[str] = []
    try:
        for broker in contestants:
            measure_start(broker, given.runs if data is None else 1, samples)
        who = {broker.label: identity(broker.port) for broker in contestants}
        if data is not None:
            check_same_disk(data, contestants)
            notes += [sync_evidence(data, broker, load_of(given)) for broker in contestants]
            notes.append(sync_line(sync_seconds(data, appended=True), sync_seconds(data, appended=False)))
        measure_rows(given, contestants, rows, samples)
        for broker in contestants:
            note(samples, LOADED, broker.label, resident_octets(broker.port) / 2**20)
    finally:
        for broker in contestants:
            broker.stop()
    shown = [*rows, START, IDLE, LOADED] if data is None else [*rows, LOADED]
    conditions = f"{given.runs} runs of {given.seconds:g} s after {given.warmup:g} s; cores: {given.cpus}"
    print("\n" + "\n".join([table(shown, contestants, samples), "", f"{machine()}; {conditions}", *notes]))
    report = {"machine": machine(), "notes": notes, "brokers": who, "samples": samples}
    write_json(given.json, {**report, "arguments": vars(given)})
    missed = missed_floors(shown, contestants, samples)
    for line in missed:
        print(line)
    return 1 if given.check and missed else 0


def wanted_rows(given: argparse.Namespace) -> list[Row]:
    """Return the rows to measure. Raises BenchError if ``--only`` names none."""
    known = DURABLE_ROWS if given.durable else ROWS
    wanted = {name.strip() for name in given.only.split(",") if name.strip()}
    rows = [row for row in known if not wanted or row.name in wanted or row.arguments[1] in wanted]
    if not rows:
        raise BenchError(f"--only knows {', '.join(dict.fromkeys(row.arguments[1] for row in known))}")
    return rows


def measure_start(broker: Broker, runs: int, samples: Samples) -> None:
    """Start ``broker`` several times, leave it running, and weigh it."""
    for run in range(runs):
        if run:
            broker.stop()
        note(samples, START, broker.label, broker.start())
    time.sleep(SETTLE_SECONDS)
    note(samples, IDLE, broker.label, resident_octets(broker.port) / 2**20)


def measure_rows(
    given: argparse.Namespace, contestants: list[Broker], rows: list[Row], samples: Samples
) -> None:
    """Run every scenario alternately; rows of one scenario share its runs."""
    load = load_of(given)
    timing = ("--duration", str(given.seconds), "--warmup", str(given.warmup))
    for arguments_of_row in dict.fromkeys(row.arguments for row in rows):
        for _ in range(given.runs):
            for broker in contestants:
                figures = load.run(broker, arguments_of_row + timing)
                for row in rows:
                    if row.arguments == arguments_of_row:
                        note(samples, row, broker.label, pick(figures, row.path))


if __name__ == "__main__":
    sys.exit(main())
