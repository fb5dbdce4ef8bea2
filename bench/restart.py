"""Restart with a full durable queue: how long until a client is answered, and until it has a message?

Each broker takes persistent messages into a durable queue. Then, in turn (A B A B …), each is killed
(SIGKILL, after more messages went through another queue) or stopped, and started again. A client connects
as soon as the broker answers, consumes, and waits for the first message. In the end everything is drained:
every message must come, once and in order.

    python -m bench.restart [--messages 1000000] [--runs 2]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.arguments import brokers, load_of, parser_for
from bench.brokers import Broker, identity
from bench.client import Client
from bench.disk import check_same_disk, measured
from bench.errors import BenchError
from bench.load import Load, pick
from bench.processes import peak_octets
from bench.report import Row, Samples, machine, missed_floors, note, say, table, write_json

QUEUE = "harebell-bench-restart"
LIMIT_SECONDS = "900"
PERSISTENT = ("--persistent", "--durable", "--confirm", "2048", "--ordered")
ACKNOWLEDGED = ("--ack", "multiple:50", "--prefetch", "100")
BEFORE_KILL = ("--scenario", "persistent-multiple", "--count", "20000")
KILLED = "killed"
STOPPED = "stopped"
PROMISED = 5.0
"""How many times sooner than RabbitMQ the first delivery is promised."""


def answer_row(how: str) -> Row:
    return Row(f"{how}: first answer", unit="s", lower_is_better=True)


def delivery_row(how: str) -> Row:
    return Row(f"{how}: first delivery", unit="s", lower_is_better=True, floor=PROMISED)


def memory_row(how: str) -> Row:
    return Row(f"{how}: peak memory", unit="MiB", lower_is_better=True)


DRAIN = Row("drain afterwards")
STOP = Row("orderly stop", unit="s", lower_is_better=True)
ROWS = [
    *(make(how) for how in (KILLED, STOPPED) for make in (answer_row, delivery_row, memory_row)),
    STOP,
    DRAIN,
]


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), measure)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "restart.json")
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages in the queue (1,000,000)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--runs", type=int, default=2, help="kills and stops of each broker (2)")
    parser.add_argument("--no-rabbitmq", action="store_true", help="leave RabbitMQ out")
    parser.add_argument("--no-harebell", action="store_true", help="leave harebell out")
    return parser.parse_args()


def measure(given: argparse.Namespace, data: Path) -> int:
    """Fill, restart, check and drain; print the table and return the exit code. Raises BenchError."""
    contestants = brokers(given, data, not given.no_rabbitmq, not given.no_harebell)
    load = load_of(given)
    samples: Samples = {}
    try:
        for broker in contestants:
            broker.start()
        check_same_disk(data, contestants)
        who = {broker.label: identity(broker.port) for broker in contestants}
        for broker in contestants:
            fill(broker, load, given)
        for _ in range(given.runs):
            for how in (KILLED, STOPPED):
                for broker in contestants:
                    restart(broker, load, how, given.messages, samples)
        for broker in contestants:
            note(samples, DRAIN, broker.label, drain(broker, load, given.messages))
    finally:
        for broker in contestants:
            broker.stop()
    queue = f"{given.messages:,} persistent messages of {given.size} octets"
    conditions = f"{machine()}; {queue}; {given.runs} runs; cores: {given.cpus}"
    print(f"\n{table(ROWS, contestants, samples)}\n\n{conditions}")
    report = {"machine": machine(), "brokers": who, "samples": samples, "arguments": vars(given)}
    write_json(given.json, report)
    lines = missed_floors(ROWS, contestants, samples)
    for line in lines:
        print(line)
    return 1 if given.check and lines else 0


def fill(broker: Broker, load: Load, given: argparse.Namespace) -> None:
    """Publish the messages, all of them confirmed."""
    say(broker, f"publishing {given.messages:,}")
    with Client(broker.port) as client:
        client.delete(QUEUE)
        client.declare(QUEUE, durable=True)
    options = ("--consumers", "0", "--queue", QUEUE, "--size", str(given.size), *PERSISTENT)
    load.run(broker, (*options, "--count", str(given.messages), "--duration", LIMIT_SECONDS), progress=True)
    with Client(broker.port) as client:
        client.wait_for_count(QUEUE, given.messages)


def restart(broker: Broker, load: Load, how: str, messages: int, samples: Samples) -> None:
    """Kill or stop ``broker``, start it, and measure. Raises BenchError when messages are missing."""
    if how == KILLED:
        load.run(broker, BEFORE_KILL)
        broker.kill()
    else:
        began = time.perf_counter()
        broker.stop()
        note(samples, STOP, broker.label, time.perf_counter() - began)
    note(samples, answer_row(how), broker.label, broker.start())
    with Client(broker.port) as client:
        client.await_delivery(QUEUE)
        note(samples, delivery_row(how), broker.label, time.perf_counter() - broker.began)
    with Client(broker.port) as client:
        client.wait_for_count(QUEUE, messages)
    note(samples, memory_row(how), broker.label, peak_octets(broker.port) / 2**20)


def drain(broker: Broker, load: Load, messages: int) -> float:
    """Take everything out and return the rate a second.

    Raises BenchError unless every message came once and in order.
    """
    say(broker, f"draining {messages:,}")
    options = ("--publishers", "0", "--queue", QUEUE, "--ordered", *ACKNOWLEDGED)
    done = load.run(broker, (*options, "--count", str(messages), "--duration", LIMIT_SECONDS), progress=True)
    received, disorder = int(pick(done, ("received",))), int(pick(done, ("out_of_order",)))
    if received != messages or disorder:
        raise BenchError(
            f"{broker.label}: of {messages:,} messages {received:,} came, "
            f"{disorder:,} repeated or out of order"
        )
    with Client(broker.port) as client:
        client.delete(QUEUE)
    return pick(done, ("received_per_s",))


if __name__ == "__main__":
    sys.exit(main())
