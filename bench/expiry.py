"""A million messages with random time limits in one queue: what they weigh, and how punctual their ends are.

1. publish them, each with an expiration of its own, unconfirmed ones held back to a window;
2. for some time watch the dead-letter queue: each message should come there when its time is over, wherever
   it is in the queue;
3. drain most of what is left.

    python -m bench.expiry [--messages 1000000] [--rabbitmq]

RabbitMQ looks at the head of a classic queue only, so few of its messages come in time.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pamqp.common import FieldTable

from bench.arguments import brokers, load_of, parser_for
from bench.brokers import Broker
from bench.client import Client
from bench.disk import measured
from bench.errors import BenchError
from bench.load import Load, pick
from bench.processes import peak_octets, resident_octets
from bench.report import machine, markdown, number, say, write_json
from harebell.perf.options import parse_range

QUEUE = "harebell-bench-expiry"
DEAD = QUEUE + "-dead"
WINDOW = "2048"
"""Unconfirmed messages: few, so that they are with the broker soon after they are stamped."""
STAMP_AT = 4
"""Where the time of its publish stands in a body, in ns."""
ORIGINAL_EXPIRATION = b"\x13original-expirationS"
LIMIT_SECONDS = "600"
COUNT_SECONDS = 20.0
DRAINED_SHARE = 0.9
"""The rest keeps expiring meanwhile, so that nobody can say how many messages there are to drain."""


@dataclass
class Figures:
    """What was measured of one broker: rates a second, memory, lateness in ms."""

    messages: int
    publish: float = 0.0
    octets_each: float = 0.0
    peak_mib: float = 0.0
    due: float = 0.0
    came: int = 0
    early: int = 0
    late_p50: float = 0.0
    late_p99: float = 0.0
    late_most: float = 0.0
    drain: float = 0.0


def measure(broker: Broker, load: Load, given: argparse.Namespace) -> Figures:
    """Measure one broker. Raises BenchError, also when messages are missing."""
    figures = Figures(given.messages)
    least, most = parse_range("--expiration", given.expiration)
    with Client(broker.port) as client:
        client.declare(DEAD, durable=False)
        dead: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
        client.declare(QUEUE, durable=False, arguments=dead)
        before = resident_octets(broker.port)
        say(broker, f"publishing {given.messages:,}")
        options = ("--queue", QUEUE, "--size", str(given.size), "--expiration", given.expiration)
        publish = (*options, "--consumers", "0", "--confirm", WINDOW, *counted(given.messages))
        figures.publish = pick(load.run(broker, publish), ("confirmed_per_s",))
        wait_for_all(client, given.messages)
        figures.octets_each = (resident_octets(broker.port) - before) / given.messages
        say(broker, f"watching {given.watch:g} s")
        figures.due = given.messages * min(1.0, given.watch * 1000 / max(1, most - least))
        with Client(broker.port) as watcher:
            lateness = watch(watcher, given.watch)
        figures.came = len(lateness)
        figures.early = sum(late < 0 for late in lateness)
        if lateness:
            lateness.sort()
            figures.late_p50 = lateness[len(lateness) // 2]
            figures.late_p99 = lateness[len(lateness) * 99 // 100]
            figures.late_most = lateness[-1]
        say(broker, "draining")
        left = int(client.message_count(QUEUE) * DRAINED_SHARE)
        drain = ("--publishers", "0", "--queue", QUEUE, "--ack", "multiple:50", "--prefetch", "1000")
        if left > 0:
            figures.drain = pick(load.run(broker, (*drain, *counted(left))), ("received_per_s",))
        figures.peak_mib = peak_octets(broker.port) / 2**20
        client.delete(QUEUE)
        client.delete(DEAD)
    return figures


def watch(client: Client, seconds: float) -> list[float]:
    """Return by how many ms each message came after its end, of those whose end is within the time."""
    began = time.perf_counter_ns()
    lateness = []
    for at, header, body in client.deliveries(DEAD, seconds):
        (sent,) = struct.unpack_from(">q", body, STAMP_AT)
        place = header.index(ORIGINAL_EXPIRATION) + len(ORIGINAL_EXPIRATION)
        (size,) = struct.unpack_from(">I", header, place)
        end = sent + int(header[place + 4 : place + 4 + size]) * 1_000_000
        if end >= began:
            lateness.append((at - end) / 1e6)
    return lateness


def wait_for_all(client: Client, messages: int) -> None:
    """Wait until every message is in one of the queues. Raises BenchError."""
    until = time.perf_counter() + COUNT_SECONDS
    while (found := client.message_count(DEAD) + client.message_count(QUEUE)) != messages:
        if time.perf_counter() > until:
            raise BenchError(f"{messages:,} were published, and {found:,} are there")
        time.sleep(0.01)


def counted(messages: int) -> tuple[str, ...]:
    """Return the options of a run that ends after ``messages``, or fails to in time."""
    return ("--count", str(messages), "--duration", LIMIT_SECONDS)


def tables(results: dict[str, Figures]) -> str:
    """Return the figures as Markdown, a broker in each column."""
    lines = [
        ["publish, msg/s", *(number(one.publish) for one in results.values())],
        ["memory for a message, octets", *(number(one.octets_each) for one in results.values())],
        ["peak memory, MiB", *(number(one.peak_mib) for one in results.values())],
        ["due while watched, about", *(number(one.due) for one in results.values())],
        ["came meanwhile", *(number(one.came) for one in results.values())],
        ["of these too early", *(str(one.early) for one in results.values())],
        ["late, p50, ms", *(number(one.late_p50) for one in results.values())],
        ["late, p99, ms", *(number(one.late_p99) for one in results.values())],
        ["late at most, ms", *(number(one.late_most) for one in results.values())],
        ["drain, msg/s", *(number(one.drain) for one in results.values())],
    ]
    return "\n".join(markdown(["", *results], "l" + "r" * len(results), lines))


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "expiry.json")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--expiration", default="1000-600000", help="their limits, ms (1000-600000)")
    parser.add_argument("--watch", type=float, default=60.0, help="seconds to watch them expire (60)")
    parser.add_argument("--rabbitmq", action="store_true", help="RabbitMQ too, before harebell")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure every broker, print the table, write the JSON, and return the exit code. Raises BenchError."""
    load = load_of(given)
    results: dict[str, Figures] = {}
    for broker in brokers(given, data, rabbitmq=given.rabbitmq):
        try:
            broker.start()
            results[broker.label] = measure(broker, load, given)
        finally:
            broker.stop()
    print(
        f"\n{tables(results)}\n\n{machine()}; cores: {given.cpus}; {given.messages:,} of {given.size} octets"
    )
    samples = {label: asdict(one) for label, one in results.items()}
    write_json(given.json, {"machine": machine(), "samples": samples, "arguments": vars(given)})
    early = [label for label, one in results.items() if one.early]
    for label in early:
        print(f"{label}: messages came before their time")
    return 1 if given.check and early else 0


if __name__ == "__main__":
    sys.exit(main())
