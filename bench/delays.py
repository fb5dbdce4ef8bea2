"""A million delayed messages: what they weigh, how punctual they are, and what a restart costs.

1. publish them, persistent and confirmed, each with a random time (``x-deliver-at``: when a delay begins
   would not be known, for a pipelined publish is under way for tens of milliseconds);
2. kill the broker (SIGKILL) and start it again;
3. take each from its queue as it comes: every message must come, once, and none before its time;
4. publish some more that are all due at one moment, and take them: how many a second that is.

    python -m bench.delays [--messages 1000000]

The delays must be long enough for all to be published, and the broker restarted, before the first is over.
RabbitMQ is left out: delays are a plugin there, of which its documentation says that it is not made for
hundreds of thousands of messages.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pamqp import commands, frame

from bench import columns
from bench.arguments import parser_for
from bench.brokers import Broker
from bench.client import CHANNEL, Client
from bench.disk import measured
from bench.errors import BenchError
from bench.processes import peak_octets, resident_octets
from bench.report import say
from harebell.perf.options import parse_range

QUEUE: Final = "harebell-bench-delays"
EXCHANGE: Final = "harebell-bench-delays"
WINDOW: Final = 20_000
"""Unconfirmed messages."""
GROUP: Final = 200
"""Messages of one write."""
SLACK_SECONDS: Final = 30.0
"""How long after the last time is over all must have come."""
STAMP: Final = struct.Struct(">qq")
"""At the front of each body: its number, and its time in unix ns."""
TIME_AT: Final = 4 + 8 + 2 + 4 + 1 + 12 + 1
"""Where the time is in a content header: behind class, size, flags, table length, key and type."""


@dataclass
class Figures(columns.Figures):
    """What was measured of one broker: rates a second, memory, lateness in ms, times in s."""

    publish: float = 0.0
    came: int = 0
    late_p50: float = 0.0
    late_p99: float = 0.0
    late_most: float = 0.0
    burst: float = 0.0


class Publisher(Client):
    """A connection that publishes delayed messages with confirms."""

    def prepare(self) -> None:
        """Declare the exchange and the queue, and ask for confirms."""
        declare = commands.Exchange.Declare(
            exchange=EXCHANGE, exchange_type="x-delayed-message", durable=True
        )
        declare.arguments = {"x-delayed-type": "direct"}
        self._call(declare, commands.Exchange.DeclareOk)
        self.declare(QUEUE, durable=True)
        bind = commands.Queue.Bind(queue=QUEUE, exchange=EXCHANGE, routing_key=QUEUE)
        self._call(bind, commands.Queue.BindOk)
        self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def publish(self, dues: Iterator[int], size: int) -> int:
        """Publish a message for each time, unix ns, and return how many, all of them confirmed."""
        first = frame.marshal(commands.Basic.Publish(exchange=EXCHANGE, routing_key=QUEUE), CHANNEL)
        table = b"\x0cx-deliver-atl" + bytes(8)
        header = struct.pack(">HHQHI", 60, 0, size, 0x3000, len(table)) + table + b"\x02"
        head = first + struct.pack(">BHI", 2, CHANNEL, len(header)) + header[:TIME_AT]
        middle = header[TIME_AT + 8 :] + b"\xce" + struct.pack(">BHI", 3, CHANNEL, size)
        rest = bytes(size - STAMP.size) + b"\xce"
        sent = confirmed = 0
        pieces: list[bytes] = []
        pack = struct.Struct(">q").pack
        for due in dues:
            pieces += (head, pack(-(-due // 1_000_000)), middle, STAMP.pack(sent, due), rest)
            sent += 1
            if sent % GROUP == 0:
                self._socket.sendall(b"".join(pieces))
                pieces.clear()
                while sent - confirmed > WINDOW:
                    confirmed = self._confirmed()
        self._socket.sendall(b"".join(pieces))
        while confirmed < sent:
            confirmed = self._confirmed()
        return sent

    def _confirmed(self) -> int:
        _, _, method = frame.unmarshal(self._next_frame())
        if not isinstance(method, commands.Basic.Ack):
            raise BenchError(f"the broker answered {method!r} to a message")
        return int(method.delivery_tag or 0)


def measure(broker: Broker, given: argparse.Namespace) -> Figures:
    """Measure one broker. Raises BenchError, also when messages are missing."""
    figures = Figures(given.messages)
    chance = random.Random(7)
    least, most = parse_range("--delay", given.delay)
    with Publisher(broker.port) as client:
        client.prepare()
        idle = resident_octets(broker.port)
        say(broker, f"publishing {given.messages:,}")
        began = time.perf_counter()
        start = time.time_ns()
        dues = (start + chance.randint(least, most) * 1_000_000 for _ in range(given.messages))
        client.publish(dues, given.size)
        figures.publish = given.messages / (time.perf_counter() - began)
        figures.memory_mib = (resident_octets(broker.port) - idle) / 2**20
        figures.peak_mib = peak_octets(broker.port) / 2**20
    say(broker, "restarting")
    broker.kill()
    figures.restart = broker.start()
    figures.memory_after_mib = resident_octets(broker.port) / 2**20
    if time.time_ns() > start + least * 1_000_000:
        raise BenchError("the first were due before all was published and restarted: give a longer --delay")
    say(broker, "waiting for them")
    take(broker, figures, given.messages, start + most * 1_000_000)
    say(broker, f"{given.burst:,} at one moment")
    with Publisher(broker.port) as client:
        client.prepare()
        at = time.time_ns() + given.lead * 1_000_000_000
        client.publish((at for _ in range(given.burst)), given.size)
        if time.time_ns() > at:
            raise BenchError("they were due before all were published: give a longer --lead")
    burst = Figures(given.burst)
    ended = take(broker, burst, given.burst, at)
    figures.burst = given.burst / max(0.001, (ended - at) / 1e9)
    return figures


def take(broker: Broker, figures: Figures, messages: int, last: int) -> int:
    """Take all messages as they come and note how late each is; give when the last came, unix ns."""
    seen = bytearray(messages)
    lateness: list[float] = []
    ended = 0
    offset = time.time_ns() - time.perf_counter_ns()
    with Client(broker.port) as client:
        for at, _, body in client.deliveries(QUEUE, (last - time.time_ns()) / 1e9 + SLACK_SECONDS):
            message, due = STAMP.unpack_from(body)
            figures.twice += seen[message]
            seen[message] = 1
            ended = at + offset
            lateness.append((ended - due) / 1e6)
            if len(lateness) == messages:
                break
    figures.came = sum(seen)
    if figures.came != messages:
        raise BenchError(f"{messages:,} were published, and {figures.came:,} came")
    figures.early = sum(late < -1.0 for late in lateness)
    lateness.sort()
    figures.late_p50 = lateness[len(lateness) // 2]
    figures.late_p99 = lateness[len(lateness) * 99 // 100]
    figures.late_most = lateness[-1]
    return ended


ROWS: Final = (
    ("publish, msg/s", "publish"),
    ("memory above idle, MiB", "memory_mib"),
    ("peak memory, MiB", "peak_mib"),
    ("killed: first answer, s", "restart"),
    ("memory after that, MiB", "memory_after_mib"),
    ("too early", "early"),
    ("twice", "twice"),
    ("late, p50, ms", "late_p50"),
    ("late, p99, ms", "late_p99"),
    ("late at most, ms", "late_most"),
    ("due at one moment, msg/s", "burst"),
)


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_for(__doc__, "delays.json")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--delay", default="90000-210000", help="their delays, ms (90000-210000)")
    parser.add_argument("--burst", type=int, default=200_000, help="messages due at one moment (200,000)")
    parser.add_argument("--lead", type=int, default=20, help="seconds until that moment (20)")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure every build, print the table, write the JSON, and return the exit code. Raises BenchError."""
    shape = f"{given.messages:,} of {given.size} octets, delayed {given.delay} ms"
    return columns.measure_builds(given, data, measure, ROWS, shape)


if __name__ == "__main__":
    sys.exit(main())
