"""Publish a backlog that no consumer takes, then drain it: does a broker keep its speed, and how much memory?

For transient and for persistent messages, on one broker after the other:

1. the scenario on a short queue, as the measure: publisher and consumer at the same time;
2. publish the backlog, then drain it; the consumer checks that every message comes once and in order;
3. another queue, short and at full speed, before the backlog is there and while it waits;
4. the same at 5,000 messages a second, for its latency, while a backlog half as large is built and drained.

    python -m bench.backlog [--messages 10000000] [--rabbitmq]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.arguments import brokers, load_of, parser_for
from bench.brokers import Broker, Harebell, RabbitMQ, identity
from bench.client import Client
from bench.disk import check_same_disk, folder_octets, measured, sync_line, sync_seconds
from bench.errors import BenchError
from bench.load import Load, pick
from bench.processes import forget_peak, peak_octets, resident_octets
from bench.report import machine, markdown, number, write_json

QUEUE = "harebell-bench-backlog"
LEAST_SHARE = 0.5
"""The share of the short-queue rates that is promised beside a backlog."""
MOST_MEMORY_MIB = 1024.0
"""The peak that is promised with the default budget."""
LIMIT_SECONDS = "900"
SIDE_FULL = ("--scenario", "ack-each")
SIDE_PACED = ("--scenario", "latency")
ALONE = "nothing else"
SHORT = "the scenario on a short queue"
BUILDING = "building the backlog"
DRAINING = "draining the backlog"


@dataclass(frozen=True)
class Kind:
    """One kind of backlog: how it is published, how it is drained, and which figure is its publish rate."""

    name: str
    short: tuple[str, ...]
    publish: tuple[str, ...]
    drain: tuple[str, ...]
    published: tuple[str, ...]
    durable: bool


KINDS = (
    Kind("transient", ("--scenario", "auto-ack"), (), (), ("published_per_s",), False),
    Kind(
        "persistent",
        ("--scenario", "persistent-multiple"),
        ("--persistent", "--durable", "--confirm", "2048"),
        ("--ack", "multiple:50", "--prefetch", "100"),
        ("confirmed_per_s",),
        True,
    ),
)


@dataclass
class Pace:
    """How a paced queue on the side fared: messages a second, and µs from publish to receipt."""

    rate: float
    p50: float
    p99: float


@dataclass
class Figures:
    """What was measured of one kind on one broker: rates a second, memory and disk in MiB."""

    kind: str
    messages: int
    short_publish: float = 0.0
    short_drain: float = 0.0
    publish: float = 0.0
    drain: float = 0.0
    memory_before: float = 0.0
    peak_publish: float = 0.0
    peak_drain: float = 0.0
    disk_full: float | None = None
    side_before: float = 0.0
    side_beside: float = 0.0
    times_blocked: int = 0
    paced: dict[str, Pace] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Return what is left of every rate once there is a backlog, 1 for all of it."""
        pairs = {
            "publish": (self.short_publish, self.publish),
            "drain": (self.short_drain, self.drain),
            "another queue": (self.side_before, self.side_beside),
        }
        return {name: after / before if before else 0.0 for name, (before, after) in pairs.items()}


class Measurement:
    """Measures one broker with a load generator; ``seconds`` for the rates that need a time."""

    def __init__(self, broker: Broker, load: Load, seconds: float, size: int) -> None:
        self.broker = broker
        self.load = load
        self.timing = ("--warmup", "0.5", "--duration", str(seconds))
        self.size = ("--size", str(size))

    def kind(self, kind: Kind, messages: int, beside: int) -> Figures:
        """Measure one kind with a backlog of ``messages``, and of ``beside`` (0 to leave that out).

        Raises BenchError, also when messages are missing, repeated or out of order.
        """
        figures = Figures(kind.name, messages)
        self.say(kind, "short queue")
        short = self.load.run(self.broker, (*kind.short, *self.size, *self.timing))
        figures.short_publish = pick(short, kind.published)
        figures.short_drain = pick(short, ("received_per_s",))
        figures.side_before = self.side()
        with Client(self.broker.port) as client:
            client.delete(QUEUE)
            client.declare(QUEUE, kind.durable)
        figures.memory_before = resident_octets(self.broker.port) / 2**20
        forget_peak(self.broker.port)
        self.publish(kind, messages, figures)
        figures.peak_publish = peak_octets(self.broker.port) / 2**20
        if isinstance(self.broker, Harebell) and self.broker.data is not None:
            figures.disk_full = folder_octets(self.broker.data) / 2**20
        self.say(kind, "another queue beside the backlog")
        figures.side_beside = self.side()
        forget_peak(self.broker.port)
        self.drain(kind, messages, figures)
        figures.peak_drain = peak_octets(self.broker.port) / 2**20
        if beside:
            self.pace(kind, beside, figures)
        with Client(self.broker.port) as client:
            client.delete(QUEUE)
        return figures

    def publish(self, kind: Kind, messages: int, figures: Figures | None = None) -> None:
        """Publish a backlog. Raises BenchError unless all of it waits afterwards."""
        self.say(kind, f"publishing {messages:,}")
        options = ("--consumers", "0", "--queue", QUEUE, "--ordered", *self.size, *kind.publish)
        done = self.load.run(self.broker, (*options, *counted(messages)), progress=True)
        with Client(self.broker.port) as client:
            client.wait_for_count(QUEUE, messages)
        if figures is not None:
            figures.publish = pick(done, kind.published)
            figures.times_blocked = int(pick(done, ("times_blocked",)))

    def drain(self, kind: Kind, messages: int, figures: Figures | None = None) -> None:
        """Drain a backlog. Raises BenchError unless every message came once and in order."""
        self.say(kind, f"draining {messages:,}")
        options = ("--publishers", "0", "--queue", QUEUE, "--ordered", *kind.drain)
        done = self.load.run(self.broker, (*options, *counted(messages)), progress=True)
        received = int(pick(done, ("received",)))
        disorder = int(pick(done, ("out_of_order",)))
        if received != messages or disorder:
            raise BenchError(
                f"{self.broker.label}, {kind.name}: {messages:,} were published, {received:,} came, "
                f"{disorder:,} of them repeated or out of order"
            )
        with Client(self.broker.port) as client:
            client.wait_for_count(QUEUE, 0)
        if figures is not None:
            figures.drain = pick(done, ("received_per_s",))

    def side(self) -> float:
        """Return the rate of another queue, kept short, at full speed."""
        return pick(self.load.run(self.broker, (*SIDE_FULL, *self.timing)), ("received_per_s",))

    def pace(self, kind: Kind, messages: int, figures: Figures) -> None:
        """Measure a paced queue beside nothing, the scenario, and a backlog being built and drained."""
        self.say(kind, "a paced queue on the side")
        alone = self.load.run(self.broker, (*SIDE_PACED, *self.timing))
        figures.paced[ALONE] = pace_of(alone)
        others: tuple[tuple[str, Callable[[], object]], ...] = (
            (SHORT, lambda: self.load.run(self.broker, (*kind.short, *self.size, *self.timing))),
            (BUILDING, lambda: self.publish(kind, messages)),
            (DRAINING, lambda: self.drain(kind, messages)),
        )
        for name, run in others:
            paced: dict[str, object] = {}
            with self.load.beside(self.broker, SIDE_PACED, paced):
                run()
            figures.paced[name] = pace_of(paced)

    def say(self, kind: Kind, text: str) -> None:
        """Tell what happens now."""
        print(f"{self.broker.label}, {kind.name}: {text}", file=sys.stderr, flush=True)


def counted(messages: int) -> tuple[str, ...]:
    """Return the options of a run that ends after ``messages``, or fails to in time."""
    return ("--count", str(messages), "--duration", LIMIT_SECONDS)


def pace_of(figures: object) -> Pace:
    latency = ("latency_us", "publish_to_receive")
    return Pace(
        pick(figures, ("received_per_s",)), pick(figures, (*latency, "p50")), pick(figures, (*latency, "p99"))
    )


def tables(broker: Broker, measured: list[Figures]) -> str:
    """Return the figures of one broker as Markdown."""
    rates = []
    memory = []
    paced = []
    for one in measured:
        for name, before, after in (
            ("publish", one.short_publish, one.publish),
            ("drain", one.short_drain, one.drain),
            ("another queue", one.side_before, one.side_beside),
        ):
            what = [one.kind, f"{one.messages:,}", name]
            rates.append([*what, number(before), number(after), f"{one.shares[name]:.0%}"])
        disk = "" if one.disk_full is None else number(one.disk_full)
        octets = (one.memory_before, one.peak_publish, one.peak_drain)
        memory.append([one.kind, *map(number, octets), disk])
        for beside, pace in one.paced.items():
            paced.append([one.kind, beside, *map(number, (pace.rate, pace.p50, pace.p99))])
    lines = [f"### {broker.label}, {identity(broker.port)}", ""]
    heads = ["kind", "backlog of", "", "short queue, msg/s", "backlog, msg/s", "share"]
    lines += markdown(heads, "lrlrrr", rates)
    heads = ["kind", "MiB before", "peak publishing", "peak draining", "disk when full"]
    lines += ["", *markdown(heads, "lrrrr", memory)]
    if paced:
        heads = ["kind", "beside 5,000 msg/s on another queue", "its msg/s", "p50, µs", "p99, µs"]
        lines += ["", *markdown(heads, "llrrr", paced)]
    blocked = [one.kind for one in measured if one.times_blocked]
    if blocked:
        lines += ["", f"publishers were blocked by an alarm: {', '.join(blocked)}"]
    return "\n".join(lines)


def missed(measured: list[Figures]) -> list[str]:
    """Return a line for each promise that harebell's figures do not keep."""
    lines = []
    for one in measured:
        for name in ("publish", "drain"):
            share = one.shares[name]
            if share < LEAST_SHARE:
                lines.append(f"below the floor: {one.kind} {name} keeps {share:.0%} of the short-queue rate")
        peak = max(one.peak_publish, one.peak_drain)
        if peak >= MOST_MEMORY_MIB:
            lines.append(f"above the ceiling: {one.kind} takes {peak:,.0f} MiB")
    return lines


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), measure)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "backlog.json")
    parser.add_argument("--messages", type=int, default=10_000_000, help="the backlog (10,000,000)")
    parser.add_argument(
        "--beside",
        type=int,
        help="the backlog beside a paced queue, 0 for none (half of --messages)",
    )
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of what has no count (3)")
    parser.add_argument("--only", choices=[kind.name for kind in KINDS], help="one kind alone")
    parser.add_argument("--rabbitmq", action="store_true", help="RabbitMQ too, before harebell")
    parser.add_argument("--rabbitmq-messages", type=int, default=1_000_000, help="its backlog (1,000,000)")
    return parser.parse_args()


def measure(given: argparse.Namespace, data: Path) -> int:
    """Measure every broker, print the tables, write the JSON, and return the exit code. Raises BenchError."""
    contestants = brokers(given, data, rabbitmq=given.rabbitmq)
    load = load_of(given)
    kinds = [kind for kind in KINDS if given.only in (None, kind.name)]
    results: dict[str, list[Figures]] = {}
    syncs = sync_line(sync_seconds(data, appended=True), sync_seconds(data, appended=False))
    for broker in contestants:
        messages = given.rabbitmq_messages if isinstance(broker, RabbitMQ) else given.messages
        beside = messages // 2 if given.beside is None else min(given.beside, messages)
        try:
            broker.start()
            check_same_disk(data, [broker])
            measurement = Measurement(broker, load, given.seconds, given.size)
            results[broker.label] = [measurement.kind(kind, messages, beside) for kind in kinds]
            print(f"\n{tables(broker, results[broker.label])}\n", flush=True)
        finally:
            broker.stop()
    print(f"{machine()}; cores: {given.cpus}; {given.size} octets\n{syncs}")
    samples = {label: [asdict(one) for one in measured] for label, measured in results.items()}
    write_json(
        given.json, {"machine": machine(), "notes": [syncs], "samples": samples, "arguments": vars(given)}
    )
    ours = next(broker for broker in contestants if isinstance(broker, Harebell))
    lines = missed(results[ours.label])
    for line in lines:
        print(line)
    return 1 if given.check and lines else 0


if __name__ == "__main__":
    sys.exit(main())
