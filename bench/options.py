"""Compare queues with options side by side with RabbitMQ: priorities, limits of time and length, quorum.

The same load on queues with the same arguments, alternately on one broker and the other; the table shows
medians. harebell keeps its data on the disk of RabbitMQ's in all rows, though only the quorum row needs it.

    python -m bench.options [--only priority,quorum]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.arguments import brokers, parser_for
from bench.brokers import identity
from bench.compare import measure_rows
from bench.disk import check_same_disk, measured
from bench.errors import BenchError
from bench.report import Row, Samples, machine, missed_floors, table, write_json

FLOOR = 10.0
"""The ratio promised for a queue with options."""

CONFIRMED = ("confirmed_per_s",)
ACK_EACH = ("--scenario", "ack-each")
PRIORITIES = (*ACK_EACH, "--queue-args", "x-max-priority=10", "--priority", "0-10")
FULL = ("--queue-args", "x-max-length=10000", "--confirm", "2048")
REJECTING = ("--dead-letters", "rejected", "--prefetch", "100", "--in-flight", "10000")
RANDOM_EXPIRATIONS = ("--expiration", "60000-600000")
QUORUM = ("--scenario", "persistent-multiple", "--queue-args", "x-queue-type=quorum")

ROWS = {
    "plain": Row("no option", ACK_EACH),
    "priority": Row("priorities 0 to 10", PRIORITIES, floor=FLOOR),
    "ttl": Row("time limit, 60 s", (*ACK_EACH, "--queue-args", "x-message-ttl=60000"), floor=FLOOR),
    "expiration": Row("expirations, 1 to 10 min", (*ACK_EACH, *RANDOM_EXPIRATIONS), floor=FLOOR),
    "limit": Row("10,000 at most, full", (*FULL, "--consumers", "0"), CONFIRMED, floor=FLOOR),
    "limit-consumed": Row(
        "10,000 at most, a slow consumer", (*FULL, "--ack", "each", "--prefetch", "1"), CONFIRMED, floor=FLOOR
    ),
    "limit-dead": Row("10,000 at most, dead-lettered", (*FULL, "--dead-letters", "dropped"), floor=FLOOR),
    "reject": Row("rejected, dead-lettered", REJECTING, floor=FLOOR),
    "quorum": Row("quorum, persistent", QUORUM, CONFIRMED, floor=FLOOR),
}
"""By the name that ``--only`` knows."""


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "options.json")
    parser.add_argument("--runs", type=int, default=3, help="runs of each row (3)")
    parser.add_argument("--seconds", type=float, default=2.5, help="measured seconds of each run (2.5)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring (1)")
    parser.add_argument("--only", default="", help=f"comma-separated: {', '.join(ROWS)}")
    parser.add_argument("--no-rabbitmq", action="store_true", help="leave RabbitMQ out")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure every row, print the table, write the JSON, and return the exit code. Raises BenchError."""
    names = [name.strip() for name in given.only.split(",") if name.strip()]
    if not set(names) <= ROWS.keys():
        raise BenchError(f"--only knows {', '.join(ROWS)}")
    rows = [row for name, row in ROWS.items() if not names or name in names]
    contestants = brokers(given, data, not given.no_rabbitmq)
    samples: Samples = {}
    try:
        for broker in contestants:
            broker.start()
        check_same_disk(data, contestants)
        who = {broker.label: identity(broker.port) for broker in contestants}
        measure_rows(given, contestants, rows, samples)
    finally:
        for broker in contestants:
            broker.stop()
    conditions = f"{given.runs} runs of {given.seconds:g} s after {given.warmup:g} s; cores: {given.cpus}"
    print("\n" + "\n".join([table(rows, contestants, samples), "", f"{machine()}; {conditions}"]))
    report = {"machine": machine(), "brokers": who, "samples": samples, "arguments": vars(given)}
    write_json(given.json, report)
    missed = missed_floors(rows, contestants, samples)
    for line in missed:
        print(line)
    return 1 if given.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
