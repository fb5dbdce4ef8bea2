"""What groups, fair share and filters cost: the same messages through queues with and without.

One publisher with confirms and several consumers that acknowledge each message; every message has a header
with one of many keys.  The variants take turns on one broker, several times; a figure is the median of the
ratios of neighbouring turns.  Beside rates the broker's processor time for each message is compared, which
says the same on a machine that has other things to do.

    python -m bench.lanes [--rounds 5] [--seconds 3] [--keys 1000] [--consumers 4] [--transient]
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pamqp import commands
from pamqp import frame as wire
from pamqp.common import FieldTable

from bench.brokers import Broker
from bench.client import CHANNEL, Client
from bench.deduplication import ACK_OCTETS, READ_OCTETS
from bench.disk import measured
from bench.processes import listener_pid
from bench.variants import Variant, parser_of_turns, processor_seconds, take_turns

QUEUE = "harebell-bench-lanes"
BLOCK = 256
"""Messages to a write."""

DELIVER = b"\x00\x3c\x00\x3c"
FRAME_HEAD = 7


@dataclass
class Lanes(Variant):
    """A variant with arguments of the queue and of its consumers."""

    of_queue: FieldTable = field(default_factory=dict)
    of_consumer: FieldTable = field(default_factory=dict)


VARIANTS = (
    Lanes("without"),
    Lanes("`x-group-header`", {"x-group-header": "key"}),
    Lanes("`x-fair-header`", {"x-fair-header": "key"}),
    Lanes("`x-filter`, all match", {}, {"x-filter": "key IS NOT NULL"}),
)


class Consumer(threading.Thread):
    """Takes messages and acknowledges each; a thread of its own."""

    def __init__(self, port: int, prefetch: int, arguments: FieldTable) -> None:
        super().__init__(daemon=True)
        self._client = Client(port)
        self._client._call(commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk)
        consume = commands.Basic.Consume(queue=QUEUE)
        consume.arguments = arguments
        self._client._call(consume, commands.Basic.ConsumeOk)
        self._socket: socket.socket = self._client._socket
        self._socket.settimeout(None)
        self.count = 0

    def run(self) -> None:
        """Take and answer until the connection ends."""
        data = self._client._received
        try:
            while True:
                read = self._socket.recv(READ_OCTETS)
                if not read:
                    return
                data += read
                at, before = 0, self.count
                while len(data) - at >= FRAME_HEAD + 4:
                    size = int.from_bytes(data[at + 3 : at + 7], "big") + FRAME_HEAD + 1
                    if len(data) - at < size:
                        break
                    if data[at] == 1 and data[at + 7 : at + 11] == DELIVER:
                        self.count += 1
                    at += size
                data = data[at:]
                tags = range(before + 1, self.count + 1)
                self._socket.sendall(b"".join([ACK + struct.pack(">QBB", tag, 0, 0xCE) for tag in tags]))
        except OSError:
            return

    def end(self) -> None:
        """Hang up."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self._socket.close()


ACK = struct.pack(">BHII", 1, CHANNEL, 13, 60 << 16 | 80)


class Publisher:
    """Publishes blocks of messages with random keys, at most so many ahead of confirms and consumers."""

    def __init__(self, client: Client, given: argparse.Namespace) -> None:
        client._call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        self._socket: socket.socket = client._socket
        self._rest = client._received
        self._limit = given.unconfirmed
        keys = random.Random(1)
        self._blocks = [
            b"".join(_frames(given, keys.randrange(given.keys)) for _ in range(BLOCK)) for _ in range(64)
        ]
        self.sent = self.confirmed = 0

    def run(self, seconds: float, consumers: list[Consumer]) -> float:
        """Publish for some time, let consumers take it all, and return messages a second."""
        begun, before = time.perf_counter(), self.sent
        while time.perf_counter() - begun < seconds:
            self._socket.sendall(self._blocks[self.sent // BLOCK % len(self._blocks)])
            self.sent += BLOCK
            while self.sent - self.confirmed > self._limit:
                self._read()
            while self.sent - sum(consumer.count for consumer in consumers) > self._limit:
                time.sleep(0.0005)
        while self.confirmed < self.sent:
            self._read()
        while sum(consumer.count for consumer in consumers) < self.sent:
            time.sleep(0.0005)
        return (self.sent - before) / (time.perf_counter() - begun)

    def _read(self) -> None:
        """Take acks."""
        data = self._rest + self._socket.recv(READ_OCTETS)
        at = 0
        while len(data) - at >= ACK_OCTETS:
            tag, multiple = struct.unpack_from(">QB", data, at + 11)
            self.confirmed = tag if multiple else self.confirmed + 1
            at += ACK_OCTETS
        self._rest = data[at:]


def _frames(given: argparse.Namespace, key: int) -> bytes:
    headers: FieldTable = {"trace": "0123456789abcdef", "key": f"customer-{key}"}
    properties = commands.Basic.Properties(headers=headers, delivery_mode=1 if given.transient else 2)
    method = commands.Basic.Publish(exchange="", routing_key=QUEUE)
    header = wire.marshal(wire.header.ContentHeader(0, given.size, properties), CHANNEL)
    return (
        wire.marshal(method, CHANNEL)
        + header
        + wire.marshal(wire.body.ContentBody(b"." * given.size), CHANNEL)
    )


def turn(broker: Broker, variant: Lanes, given: argparse.Namespace) -> None:
    """Measure one variant once."""
    pid = listener_pid(broker.port)
    with Client(broker.port) as control:
        control.declare(QUEUE, durable=True, arguments=variant.of_queue)
        consumers = [
            Consumer(broker.port, given.prefetch, variant.of_consumer) for _ in range(given.consumers)
        ]
        for consumer in consumers:
            consumer.start()
        source = Client(broker.port)
        publisher = Publisher(source, given)
        publisher.run(given.warmup, consumers)
        used, sent = processor_seconds(pid), publisher.sent
        variant.rates.append(publisher.run(given.seconds, consumers))
        variant.costs.append((processor_seconds(pid) - used) / (publisher.sent - sent) * 1e6)
        source._socket.close()
        for consumer in consumers:
            consumer.end()
        control.delete(QUEUE)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of_turns(__doc__, "lanes.json")
    parser.add_argument("--keys", type=int, default=1000, help="values of the header (1000)")
    parser.add_argument("--consumers", type=int, default=4, help="consumers (4)")
    parser.add_argument("--prefetch", type=int, default=100, help="prefetch of each (100)")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure all of it, and return the exit code. Raises BenchError."""
    shape = f"{given.keys:,} keys, {given.consumers} consumers, prefetch {given.prefetch}"
    return take_turns(given, data, VARIANTS, turn, "messages/s", shape)


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


if __name__ == "__main__":
    sys.exit(main())
