"""A million messages that wait for their retry: what they weigh, what a restart costs, how they come back.

1. publish them, persistent and confirmed, into a queue with ``x-delayed-retry-*``;
2. clients take all of them, and go without an answer, so that each waits for its retry;
3. kill the broker (SIGKILL) and start it again;
4. when their time has come, take them: every message must come, once, and none before its time.

    python -m bench.retries [--messages 1000000] [--wait 60]

The wait must be long enough for all to be taken, and the broker restarted, before the first is over.
RabbitMQ is left out: its classic queues know no such wait.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pamqp import commands, frame, header
from pamqp.common import FieldTable

from bench import columns
from bench.arguments import parser_for
from bench.brokers import Broker
from bench.client import CHANNEL, MAX_READ, Client
from bench.disk import measured
from bench.errors import BenchError
from bench.processes import peak_octets, resident_octets
from bench.report import say

QUEUE: Final = "harebell-bench-retries"
WINDOW: Final = 20_000
"""Messages that are unconfirmed at most, and that a client takes before it goes."""
GROUP: Final = 200
"""Messages of one write."""
SETTLE_SECONDS: Final = 3.0
"""How long the broker may take for what is left to do before it is weighed."""
SLACK_SECONDS: Final = 60.0
"""How long after the wait is over all must have come."""
NUMBER: Final = struct.Struct(">q")


@dataclass
class Figures(columns.Figures):
    """What was measured of one broker: memory in MiB, times in s, rates a second."""

    failed: float = 0.0
    back: float = 0.0
    peak_back_mib: float = 0.0


class Worker(Client):
    """A connection that publishes, or takes messages and fails."""

    def prepare(self, kind: str, wait: int) -> None:
        """Declare the queue, whose messages wait so many milliseconds."""
        arguments: FieldTable = {
            "x-queue-type": kind,
            "x-delayed-retry-type": "all",
            "x-delayed-retry-min": wait,
            "x-delayed-retry-backoff": "constant",
        }
        self.delete(QUEUE)
        self.declare(QUEUE, True, arguments)
        self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def publish(self, messages: int, size: int) -> None:
        """Publish messages, each with its number in front; all of them are confirmed."""
        properties = commands.Basic.Properties(delivery_mode=2)
        head = frame.marshal(commands.Basic.Publish(routing_key=QUEUE), CHANNEL)
        head += frame.marshal(header.ContentHeader(0, size, properties), CHANNEL)
        head += struct.pack(">BHI", 3, CHANNEL, size)
        rest = bytes(size - NUMBER.size) + b"\xce"
        confirmed = 0
        for first in range(0, messages, GROUP):
            numbers = range(first, min(first + GROUP, messages))
            self._socket.sendall(b"".join(head + NUMBER.pack(one) + rest for one in numbers))
            while numbers.stop - confirmed > (WINDOW if numbers.stop < messages else 0):
                _, _, method = frame.unmarshal(self._next_frame())
                if not isinstance(method, commands.Basic.Ack):
                    raise BenchError(f"the broker answered {method!r} to a message")
                confirmed = int(method.delivery_tag or 0)

    def take(self, messages: int) -> None:
        """Take so many messages and answer none; all of them are of one size."""
        self._call(commands.Basic.Qos(0, messages, False), commands.Basic.QosOk)
        self._call(commands.Basic.Consume(queue=QUEUE, consumer_tag="t"), commands.Basic.ConsumeOk)
        left = sum(len(self._next_frame()) for _ in range(3)) * (messages - 1) - len(self._received)
        while left > 0:
            more = self._socket.recv(MAX_READ)
            if not more:
                raise BenchError("the broker closed the connection")
            left -= len(more)
        self._received = b""


def measure(broker: Broker, given: argparse.Namespace) -> Figures:
    """Measure one broker. Raises BenchError, also when messages are missing."""
    figures = Figures(given.messages)
    with Worker(broker.port) as client:
        client.prepare(given.kind, given.wait * 1000)
        idle = resident_octets(broker.port)
        say(broker, f"publishing {given.messages:,}")
        client.publish(given.messages, given.size)
    began = time.time()
    say(broker, "failing")
    for first in range(0, given.messages, WINDOW):
        with Worker(broker.port) as client:
            client.take(min(WINDOW, given.messages - first))
    figures.failed = given.messages / (time.time() - began)
    time.sleep(SETTLE_SECONDS)
    figures.memory_mib = (resident_octets(broker.port) - idle) / 2**20
    figures.peak_mib = (peak_octets(broker.port) - idle) / 2**20
    say(broker, "restarting")
    broker.kill()
    figures.restart = broker.start()
    time.sleep(SETTLE_SECONDS)
    figures.memory_after_mib = (resident_octets(broker.port) - idle) / 2**20
    if time.time() > began + given.wait:
        raise BenchError("the first were due before all had failed: give a longer --wait")
    say(broker, "waiting for them")
    come_back(broker, figures, began + given.wait)
    figures.peak_back_mib = (peak_octets(broker.port) - idle) / 2**20
    return figures


def come_back(broker: Broker, figures: Figures, due: float) -> None:
    """Take all messages as they come; the first of them not before a time, unix seconds."""
    seen = bytearray(figures.messages)
    first = 0
    came = 0
    with Client(broker.port) as client:
        for at, _, body in client.deliveries(QUEUE, due - time.time() + SLACK_SECONDS):
            (one,) = NUMBER.unpack_from(body)
            figures.early += came == 0 and time.time() < due
            figures.twice += seen[one]
            seen[one] = 1
            first = first or at
            came += 1
            if came == figures.messages:
                figures.back = came / max(0.001, (at - first) / 1e9)
                break
    if sum(seen) != figures.messages:
        raise BenchError(f"{figures.messages:,} failed, and {sum(seen):,} came back")


ROWS: Final = (
    ("taken and failed, msg/s", "failed"),
    ("waiting: memory above idle, MiB", "memory_mib"),
    ("peak until then, MiB", "peak_mib"),
    ("killed: first answer, s", "restart"),
    ("memory after that, MiB", "memory_after_mib"),
    ("back, msg/s", "back"),
    ("peak until then, MiB", "peak_back_mib"),
    ("too early", "early"),
    ("twice", "twice"),
)


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "retries.json")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--wait", type=int, default=60, help="seconds until the retry (60)")
    parser.add_argument("--kind", default="classic", choices=("classic", "quorum"), help="type of the queue")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure every build, print the table, write the JSON, and return the exit code. Raises BenchError."""
    shape = f"{given.messages:,} of {given.size} octets, {given.kind}, waiting {given.wait} s"
    return columns.measure_builds(given, data, measure, ROWS, shape)


if __name__ == "__main__":
    sys.exit(main())
