"""What dashboards cost: message rates while three of them poll the HTTP API and metrics every second.

The same load on one broker, alternately with nobody looking and with three pollers, each a process of its
own that asks for what a dashboard, a monitoring agent and a scraper ask for.  The table has the rates of both
and how much of the rate is left; there are ``--queues`` idle queues to list beside the busy one.

    python -m bench.dashboards [--queues 1000]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.arguments import brokers, load_of, parser_for
from bench.brokers import HOST, Broker, identity
from bench.disk import measured
from bench.errors import BenchError
from bench.load import pick
from bench.report import Row, Samples, machine, markdown, note, number, write_json

DASHBOARDS = 3
FLOOR = 0.95
"""Share of the rate that is to be left."""

ROWS = (
    Row("auto-ack", ("--scenario", "auto-ack")),
    Row("ack-each", ("--scenario", "ack-each")),
    Row("persistent", ("--scenario", "persistent-multiple"), ("confirmed_per_s",)),
)
WATCHED = ", watched"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()}
PATHS = (
    "/api/overview",
    "/api/nodes",
    "/api/queues?page=1&page_size=100",
    "/api/queues/%2F",
    "/api/connections",
    "/api/channels",
    "/api/exchanges",
)


def poll(http_port: int, metrics_port: int) -> int:
    """Be a dashboard: ask for everything every second until killed; print how long each round took."""
    while True:
        began = time.perf_counter()
        octets = sum(fetch(http_port, path) for path in PATHS) + fetch(metrics_port, "/metrics")
        took = time.perf_counter() - began
        print(f"{took:.4f} {octets}", flush=True)
        time.sleep(max(0.0, 1.0 - took))


def fetch(port: int, path: str) -> int:
    """Get a page and return its octets; raise BenchError if it is no page."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=LOGIN)
        answer = connection.getresponse()
        octets = len(answer.read())
        if answer.status != 200:
            raise BenchError(f"{path} answered {answer.status}")
        return octets


def make_queues(broker: Broker, count: int) -> None:
    """Declare idle queues."""
    connection = http.client.HTTPConnection(HOST, broker.http_port, timeout=60)
    with contextlib.closing(connection):
        for index in range(count):
            path = f"/api/queues/%2F/idle-{index}"
            headers = {**LOGIN, "Content-Type": "application/json"}
            connection.request("PUT", path, json.dumps({"durable": True}), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (201, 204):
                raise BenchError(f"PUT {path} answered {answer.status}")


@contextlib.contextmanager
def watched(broker: Broker, rounds: list[float]) -> Iterator[None]:
    """Have the dashboards look at a broker while the body runs, and collect how long their rounds took."""
    line = [sys.executable, "-m", "bench.dashboards", "--poll", f"{broker.http_port},{broker.metrics_port}"]
    pollers = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(DASHBOARDS)]
    try:
        yield
        ended = [poller for poller in pollers if poller.poll() is not None]
        if ended:
            raise BenchError(f"a dashboard ended while it looked at {broker.label}")
    finally:
        for poller in pollers:
            poller.kill()
            output, _ = poller.communicate()
            rounds.extend(float(each.split()[0]) for each in output.splitlines())


def main() -> int:
    """Measure and return the exit code."""
    given = arguments()
    if given.poll:
        http_port, metrics_port = map(int, given.poll.split(","))
        return poll(http_port, metrics_port)
    return measured(given, compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "dashboards.json")
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs of each row (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured seconds of each run (4)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before measuring (1)")
    parser.add_argument("--queues", type=int, default=1000, help="idle queues there are (1000)")
    parser.add_argument("--no-rabbitmq", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--poll", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure pairs, print the table, write the JSON, and return the exit code. Raises BenchError."""
    contestants = brokers(given, data, not given.no_rabbitmq)
    samples: Samples = {}
    rounds: dict[str, list[float]] = {}
    try:
        for broker in contestants:
            broker.start()
            make_queues(broker, given.queues)
        who = {broker.label: identity(broker.port) for broker in contestants}
        measure(given, contestants, samples, rounds)
    finally:
        for broker in contestants:
            broker.stop()
    left = shares(contestants, samples)
    print("\n" + "\n".join([*table(contestants, samples, left), "", *round_times(rounds)]))
    print(f"{machine()}; {given.runs} pairs of {given.seconds:g} s; {given.queues} idle queues")
    report = {"machine": machine(), "brokers": who, "samples": samples, "left": left, "rounds": rounds}
    write_json(given.json, report)
    ours = contestants[-1].label
    missed = [row.name for row in ROWS if left[row.name][ours] < FLOOR]
    for name in missed:
        print(f"below the floor: of {name} {left[name][ours]:.1%} is left, promised {FLOOR:.0%}")
    return 1 if given.check and missed else 0


def measure(
    given: argparse.Namespace, contestants: list[Broker], samples: Samples, rounds: dict[str, list[float]]
) -> None:
    """Run every row in pairs, unwatched and watched in turn."""
    load = load_of(given)
    duration = ("--duration", str(given.seconds), "--warmup", str(given.warmup))
    for row in ROWS:
        for run in range(given.runs):
            for broker in contestants:
                for looked in (False, True) if run % 2 == 0 else (True, False):
                    with watched(broker, rounds.setdefault(broker.label, [])) if looked else quiet():
                        figures = load.run(broker, (*row.arguments, *duration))
                    shown = Row(row.name + (WATCHED if looked else ""))
                    note(samples, shown, broker.label, pick(figures, row.path))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nobody looks."""
    yield


def shares(contestants: list[Broker], samples: Samples) -> dict[str, dict[str, float]]:
    """Work out how much of each rate is left, as the median of the pairs."""
    found: dict[str, dict[str, float]] = {}
    for row in ROWS:
        for broker in contestants:
            alone, seen = samples[row.name][broker.label], samples[row.name + WATCHED][broker.label]
            pairs = [after / before for before, after in zip(alone, seen, strict=True) if before]
            found.setdefault(row.name, {})[broker.label] = statistics.median(pairs) if pairs else 0.0
    return found


def table(contestants: list[Broker], samples: Samples, left: dict[str, dict[str, float]]) -> list[str]:
    """Return the table: for each broker the rate alone, watched, and what is left."""
    heads = ["scenario"]
    for broker in contestants:
        heads += [broker.label, "watched", "left"]
    lines = []
    for row in ROWS:
        cells = [row.name]
        for broker in contestants:
            for name in (row.name, row.name + WATCHED):
                cells.append(number(statistics.median(samples[name][broker.label])))
            cells.append(f"{left[row.name][broker.label]:.1%}")
        lines.append(cells)
    return markdown(heads, "l" + "r" * (len(heads) - 1), lines)


def round_times(rounds: dict[str, list[float]]) -> list[str]:
    """Say how long a dashboard waited for a round of its requests."""
    return [
        f"{label}: a round of {len(PATHS) + 1} requests took {statistics.median(times) * 1000:,.0f} ms, "
        f"at most {max(times) * 1000:,.0f} ms"
        for label, times in rounds.items()
        if times
    ]


if __name__ == "__main__":
    sys.exit(main())
