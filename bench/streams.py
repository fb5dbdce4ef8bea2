"""Streams side by side: publish, replay with one and with five readers, publish under retention, memory.

All over AMQP 0-9-1, alternately on one broker and the other where there are two:

1. publish with confirms to a stream, and to one whose retention deletes old segments all the time;
2. fill a stream (not measured) and replay it from its first event, with one reader and with five at once;
   each must get every event once and in order;
3. on harebell alone, publish until a stream has grown to some gigabytes, and weigh the broker at each.

    python -m bench.streams [--rabbitmq] [--events 5000000] [--gigabytes 10] [--only replay,memory]
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

from pamqp.common import FieldTable

from bench.arguments import brokers, cpus, load_of, parser_for
from bench.brokers import Broker, Harebell, RabbitMQ, identity
from bench.ceiling import measure
from bench.disk import check_same_disk, flushes, measured
from bench.errors import BenchError
from bench.load import Load, pick
from bench.processes import forget_peak, peak_octets
from bench.report import (
    Row,
    Samples,
    factor,
    machine,
    markdown,
    missed_floors,
    note,
    number,
    say,
    table,
    write_json,
)
from bench.stream_client import StreamClient
from bench.stream_growth import GIGABYTE, Weight, growth_table, swollen, watch_growth
from bench.stream_source import serve

QUEUE = "harebell-bench-stream"
STREAM: FieldTable = {"x-queue-type": "stream"}
KEPT_OCTETS = 16_000_000
"""What retention leaves of a stream: little, so that it runs within seconds on the slower broker too."""
RETAINED: FieldTable = {
    **STREAM,
    "x-max-length-bytes": KEPT_OCTETS,
    "x-stream-max-segment-size-bytes": KEPT_OCTETS // 4,
}
PUBLISH = ("--consumers", "0", "--queue", QUEUE, "--persistent", "--confirm", "2048")
REPLAY = ("--publishers", "0", "--queue", QUEUE, "--ack", "multiple:100", "--prefetch", "1000", "--ordered")
FROM_FIRST = ("--consume-args", "x-stream-offset=first")
LIMIT_SECONDS = "3600"
SAMPLE = 1000
SEGMENTS_AT_MOST = 100
"""Segments a filled stream may have on RabbitMQ, each of which takes an offset for the log itself."""
"""Events at either end and in the middle whose offsets are looked at."""

FLOOR = 10.0
LEAST_TOGETHER = 3.0
"""How many times one reader five of them are promised to reach, unless the load generator is the limit."""
CEILING_SHARE = 0.9
LEAST_KEPT = 0.9
"""The share of the publishing rate that is promised while retention runs."""

UNIT = "events/s"
PUBLISHING = Row("publish, confirmed", unit=UNIT, floor=FLOOR)
RETAINING = Row("publish, retention running", unit=UNIT)
READERS = {
    1: Row("replay, one reader", unit=UNIT, floor=FLOOR),
    5: Row("replay, five readers", unit=UNIT),
}
PEAKS = {
    1: Row("peak memory, one reader", unit="MiB", lower_is_better=True),
    5: Row("peak memory, five readers", unit="MiB", lower_is_better=True),
}
ONLY = ("publish", "retention", "replay", "replay5", "ceiling", "memory")
NEEDS = {"retention": "publish", "replay5": "replay"}
"""What else has to be measured to judge a row."""


class Measurement:
    """Measures all brokers, which run, into ``samples``; ``ceilings`` are by the number of readers."""

    def __init__(self, given: argparse.Namespace, contestants: list[Broker], data: Path) -> None:
        self.given = given
        self.contestants = contestants
        self.data = data
        self.load: Load = load_of(given)
        self.samples: Samples = {}
        self.notes: list[str] = []
        self.ceilings: dict[int, float] = {}
        self.weights: dict[str, list[Weight]] = {}
        self.size = ("--size", str(given.size))

    def publish(self, row: Row, arguments: FieldTable) -> None:
        """Publish for some seconds to a new stream, alternately on each broker. Raises BenchError."""
        timing = ("--duration", str(self.given.seconds), "--warmup", str(self.given.warmup))
        confirmed = dict.fromkeys([broker.label for broker in self.contestants], 0.0)
        flushed = dict.fromkeys(confirmed, 0)
        for _ in range(self.given.runs):
            for broker in self.contestants:
                with StreamClient(broker.port) as client:
                    client.declare(QUEUE, durable=True, arguments=arguments)
                before = flushes(self.data)
                figures = self.load.run(broker, (*PUBLISH, *self.size, *timing))
                flushed[broker.label] += (flushes(self.data) or 0) - (before or 0)
                confirmed[broker.label] += pick(figures, ("confirmed",))
                note(self.samples, row, broker.label, pick(figures, ("confirmed_per_s",)))
                if "x-max-length-bytes" in arguments:
                    check_retention(broker)
                with StreamClient(broker.port) as client:
                    client.delete(QUEUE)
        for label, count in flushed.items():
            confirms = f"{confirmed[label]:,.0f} confirms measured"
            self.notes.append(f"{row.name}, {label}: {count:,} flushes of the disk, {confirms}")

    def replay(self, readers: tuple[int, ...]) -> None:
        """Fill a stream on each broker and replay it, alternately. Raises BenchError if any are missing."""
        for broker in self.contestants:
            self.fill(broker)
        for number_of_readers in readers:
            for _ in range(self.given.replays):
                for broker in self.contestants:
                    self.replay_once(broker, number_of_readers)
        for broker in self.contestants:
            with StreamClient(broker.port) as client:
                client.delete(QUEUE)

    def fill(self, broker: Broker) -> None:
        """Fill the stream, not measured, and look at its offsets. Raises BenchError for a gap in them."""
        events: int = self.given.events
        say(broker, f"filling a stream with {events:,} events")
        with StreamClient(broker.port) as client:
            # A run that was ended may have left one.
            client.delete(QUEUE)
            client.declare(QUEUE, durable=True, arguments=STREAM)
        counted = ("--count", str(events), "--duration", LIMIT_SECONDS)
        done = self.load.run(broker, (*PUBLISH, *self.size, "--ordered", *counted), progress=True)
        if pick(done, ("confirmed",)) != events:
            raise BenchError(f"{broker.label} did not confirm all of {events:,} events")
        with StreamClient(broker.port) as client:
            # RabbitMQ counts offsets, and a segment's first one is the log's own.
            client.wait_for_count(QUEUE, events, more=SEGMENTS_AT_MOST)
        sample = min(SAMPLE, events)
        for start, first in (("first", 0), (events // 2, events // 2), (events - sample, events - sample)):
            count = min(sample, events - first)
            with StreamClient(broker.port) as client:
                found = client.offsets(QUEUE, start, count)
            slack = SEGMENTS_AT_MOST if isinstance(broker, RabbitMQ) else 0
            if found != sorted(set(found)) or not first <= found[0] <= first + slack:
                raise BenchError(
                    f"{broker.label}: {count:,} events from {start} on have other offsets than {first:,} "
                    f"and so on: {found[:3]} … {found[-3:]}"
                )

    def replay_once(self, broker: Broker, readers: int) -> None:
        """Replay the stream once. Raises BenchError unless each reader got all of it once and in order."""
        events = self.given.events * readers
        forget_peak(broker.port)
        options = (*REPLAY, *FROM_FIRST, "--consumers", str(readers))
        done = self.load.run(
            broker, (*options, "--count", str(events), "--duration", LIMIT_SECONDS), progress=True
        )
        received, disorder = int(pick(done, ("received",))), int(pick(done, ("out_of_order",)))
        if received != events or disorder:
            raise BenchError(
                f"{broker.label}: {readers} readers should get {events:,} events, {received:,} came, "
                f"{disorder:,} of them repeated or out of order"
            )
        note(self.samples, READERS[readers], broker.label, pick(done, ("received_per_s",)))
        note(self.samples, PEAKS[readers], broker.label, peak_octets(broker.port) / 2**20)
        busy = pick(done, ("generator", "cpu"))
        self.notes.append(f"{READERS[readers].name}, {broker.label}: load generator {busy:.0%} of a core")

    def ceiling(self) -> None:
        """Replay from a server that sends ready-made blocks: the most that can be measured here."""
        server_cpu, perf_cpu = cpus(self.given)
        here, there = multiprocessing.Pipe()
        server = multiprocessing.Process(
            target=serve, args=(QUEUE, self.given.size, server_cpu, there), daemon=True
        )
        server.start()
        try:
            port = here.recv()
            timing = ["--duration", str(self.given.seconds), "--warmup", "0.5"]
            for readers in READERS:
                options = [*REPLAY, *FROM_FIRST, "--consumers", str(readers), *timing]
                figures = measure(self.load.python, port, perf_cpu, options)
                self.ceilings[readers] = figures["received_per_s"]
                shown = f"ceiling, {readers} reader{'s' if readers > 1 else ''}"
                print(f"{shown:<36}{'no broker':<20}{number(self.ceilings[readers]):>14} {UNIT}", flush=True)
        finally:
            server.terminate()
            server.join()

    def grow(self, broker: Harebell) -> None:
        """Start a harebell anew and weigh it while a stream grows. Raises BenchError."""
        gigabytes: int = self.given.gigabytes
        free = shutil.disk_usage(self.data).free
        if free < (gigabytes + 2) * GIGABYTE:
            raise BenchError(f"{gigabytes} GB need more room than there is at {self.data}: see --gigabytes")
        broker.stop()
        broker.start()
        say(broker, f"publishing until a stream has {gigabytes} GB")
        with StreamClient(broker.port) as client:
            client.declare(QUEUE, durable=True, arguments=STREAM)
            done: dict[str, object] = {}
            with self.load.beside(broker, (*PUBLISH, *self.size), done):
                self.weights[broker.label] = watch_growth(broker, client, QUEUE, gigabytes)
            client.delete(QUEUE)
        rate = pick(done, ("confirmed_per_s",))
        self.notes.append(f"{broker.label}: {number(rate)} {UNIT} confirmed while the stream grew")


def check_retention(broker: Broker) -> None:
    """Raise BenchError if the oldest event of the stream is still there."""
    with StreamClient(broker.port) as client:
        (first,) = client.offsets(QUEUE, "first", 1)
    if first == 0:
        raise BenchError(f"{broker.label} deleted nothing of the stream: try more --seconds")


def shares(samples: Samples, label: str) -> dict[str, float]:
    """Return what one broker's figures are relative to others of its own, where both were measured."""
    pairs = {RETAINING.name: (RETAINING, PUBLISHING), READERS[5].name: (READERS[5], READERS[1])}
    found = {}
    for name, (row, base) in pairs.items():
        if row.name in samples and label in samples[row.name]:
            found[name] = statistics.median(samples[row.name][label]) / statistics.median(
                samples[base.name][label]
            )
    return found


def relations(samples: Samples, labels: list[str], ceilings: dict[int, float]) -> list[str]:
    """Return the Markdown lines of what is relative within each broker, and of the ceilings."""
    relative = {label: shares(samples, label) for label in labels}
    lines = []
    for row, text, write in (
        (RETAINING, "publishing kept while retention runs", "{:.0%}".format),
        (READERS[5], "five readers, times one", factor),
    ):
        if any(row.name in found for found in relative.values()):
            lines.append([text, *(write(relative[label][row.name]) for label in labels)])
    for readers, ceiling in ceilings.items():
        name = READERS[readers].name
        if name in samples:
            cells = [statistics.median(samples[name][label]) / ceiling for label in labels]
            lines.append([f"{name}, of the ceiling {number(ceiling)}", *(f"{cell:.0%}" for cell in cells)])
    return markdown(["", *labels], "l" + "r" * len(labels), lines) if lines else []


def missed(measured: Measurement, label: str) -> list[str]:
    """Return a line for each promise about harebell alone that its figures do not keep."""
    lines = []
    found = shares(measured.samples, label)
    kept = found.get(RETAINING.name)
    if kept is not None and kept < LEAST_KEPT:
        lines.append(f"below the floor: retention leaves {kept:.0%} of the publishing rate")
    times = found.get(READERS[5].name)
    if times is not None and times < LEAST_TOGETHER:
        ceiling = measured.ceilings.get(5)
        rate = statistics.median(measured.samples[READERS[5].name][label])
        if ceiling is None or rate < CEILING_SHARE * ceiling:
            promised = f"promised {LEAST_TOGETHER:g}x"
            lines.append(f"below the floor: five readers are {factor(times)} one, {promised}")
    return lines + swollen(measured.weights.get(label, []))


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "streams.json")
    parser.add_argument("--events", type=int, default=5_000_000, help="how many to replay (5,000,000)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--gigabytes", type=int, default=10, help="how far a stream grows (10)")
    parser.add_argument("--runs", type=int, default=3, help="runs of what has no count (3)")
    parser.add_argument("--replays", type=int, default=1, help="runs of each replay (1)")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured seconds of a run (4)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring (1)")
    parser.add_argument("--only", default="", help=f"comma-separated: {', '.join(ONLY)}")
    parser.add_argument("--rabbitmq", action="store_true", help="RabbitMQ too")
    parser.add_argument("--no-harebell", action="store_true", help="leave harebell out")
    return parser.parse_args()


def wanted_parts(only: str) -> set[str]:
    """Return what to measure. Raises BenchError if ``--only`` names something else."""
    names = {name.strip() for name in only.split(",") if name.strip()}
    if not names <= set(ONLY):
        raise BenchError(f"--only knows {', '.join(ONLY)}")
    return (names | {NEEDS[name] for name in names & NEEDS.keys()}) or set(ONLY)


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure every part, print the tables, write the JSON, and return the exit code. Raises BenchError."""
    parts = wanted_parts(given.only)
    contestants = brokers(given, data, given.rabbitmq, not given.no_harebell)
    measured = Measurement(given, contestants, data)
    rows = []
    try:
        for broker in contestants:
            broker.start()
        check_same_disk(data, contestants)
        who = {broker.label: identity(broker.port) for broker in contestants}
        for part, row, queue_arguments in (
            ("publish", PUBLISHING, STREAM),
            ("retention", RETAINING, RETAINED),
        ):
            if part in parts:
                measured.publish(row, queue_arguments)
                rows.append(row)
        readers = tuple(count for name, count in (("replay", 1), ("replay5", 5)) if name in parts)
        if "ceiling" in parts:
            measured.ceiling()
        if readers:
            measured.replay(readers)
            rows += [kind[count] for kind in (READERS, PEAKS) for count in readers]
        if "memory" in parts:
            for broker in contestants:
                if isinstance(broker, Harebell):
                    measured.grow(broker)
    finally:
        for broker in contestants:
            broker.stop()
    return report(measured, rows, who)


def report(measured: Measurement, rows: list[Row], who: dict[str, str]) -> int:
    """Print the tables, write the JSON, and return the exit code."""
    given, contestants = measured.given, measured.contestants
    lines = [table(rows, contestants, measured.samples)] if rows else []
    lines += ["", *relations(measured.samples, [one.label for one in contestants], measured.ceilings)]
    for label, weights in measured.weights.items():
        lines += ["", f"{label}, while a stream grows:", "", *growth_table(weights)]
    conditions = (
        f"{given.events:,} events of {given.size} octets; {given.runs} runs of {given.seconds:g} s after "
        f"{given.warmup:g} s; cores: {given.cpus}"
    )
    print("\n" + "\n".join([*lines, "", f"{machine()}; {conditions}", *measured.notes]))
    figures = {
        "machine": machine(),
        "brokers": who,
        "notes": measured.notes,
        "samples": measured.samples,
        "ceilings": measured.ceilings,
        "memory": {label: [asdict(one) for one in found] for label, found in measured.weights.items()},
    }
    write_json(given.json, {**figures, "arguments": vars(given)})
    ours = next((broker for broker in contestants if isinstance(broker, Harebell)), None)
    below = missed_floors(rows, contestants, measured.samples)
    below += missed(measured, ours.label) if ours is not None else []
    for line in below:
        print(line)
    return 1 if given.check and below else 0


if __name__ == "__main__":
    sys.exit(main())
