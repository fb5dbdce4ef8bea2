"""What it costs to leave out duplicates, and to give messages ids: the same publishes with and without.

One publisher with confirms and one consumer without acknowledgements; every message has a new message-id of
36 octets.  The variants take turns on one broker, several times; a figure is the median of the ratios of
neighbouring turns.  Beside rates the broker's processor time for each message is compared, which says the
same on a machine that has other things to do.

    python -m bench.deduplication [--rounds 5] [--seconds 3] [--transient]
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pamqp import commands
from pamqp import frame as wire
from pamqp.common import FieldTable

from bench.brokers import Broker
from bench.client import CHANNEL, Client
from bench.disk import measured
from bench.processes import listener_pid
from bench.variants import Variant, parser_of_turns, processor_seconds, take_turns

QUEUE = "harebell-bench-dedup"
EXCHANGE = QUEUE
BLOCK = 128
"""Messages to a write."""

ACK_OCTETS = 21
READ_OCTETS = 1 << 20


@dataclass
class Window(Variant):
    """A variant with arguments of declarations.

    Attributes:
        exchange: publish through an exchange of its own, not the default one.
        of_exchange, of_queue: arguments of the declarations.
    """

    exchange: bool = False
    of_exchange: FieldTable = field(default_factory=dict)
    of_queue: FieldTable = field(default_factory=dict)


def variants(window: int) -> list[Window]:
    """List what is compared; the first is the reference."""
    asked: FieldTable = {"x-deduplication-window": window}
    timed: FieldTable = {**asked, "x-deduplication-interval": "10m"}
    return [
        Window("without"),
        Window("queue, window", of_queue=asked),
        Window("queue, window and interval", of_queue=timed),
        Window("exchange, window", True, of_exchange=asked),
        Window("queue, `x-message-uid`", of_queue={"x-message-uid": True}),
    ]


class Publisher:
    """Publishes blocks of messages whose ids nobody had before, and waits for confirms.

    Args:
        client: a connection for this alone.
        limit: unconfirmed messages.
    """

    def __init__(self, client: Client, exchange: str, persistent: bool, size: int, limit: int) -> None:
        client._call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        self._socket: socket.socket = client._socket
        self._rest = client._received
        self._limit = limit
        pieces = [_frames(exchange, persistent, size, index).split(b"STAMP-STAMP-") for index in range(BLOCK)]
        joints = [before[1] + after[0] for before, after in pairwise(pieces)]
        self._pieces = [pieces[0][0], *joints, pieces[-1][1]]
        # It grows by less than the time does, so no later publisher has the same ids.
        self._stamp = time.time_ns() >> 16
        self.sent = self.confirmed = 0

    def run(self, seconds: float) -> float:
        """Publish for some time and return confirmed messages a second."""
        begun, before = time.perf_counter(), self.confirmed
        while (now := time.perf_counter()) - begun < seconds:
            self._stamp += 1
            self._socket.sendall((b"%012x" % self._stamp).join(self._pieces))
            self.sent += BLOCK
            while self.sent - self.confirmed > self._limit:
                self._read()
        while self.confirmed < self.sent:
            self._read()
            now = time.perf_counter()
        return (self.confirmed - before) / (now - begun)

    def _read(self) -> None:
        """Take acks: of all in a read only the last matters, but for those that are not multiple."""
        data = self._rest + self._socket.recv(READ_OCTETS)
        at = 0
        while len(data) - at >= ACK_OCTETS:
            tag, multiple = struct.unpack_from(">QB", data, at + 11)
            assert data[at + 7 : at + 11] == b"\x00\x3c\x00\x50", "the broker sent no ack"
            self.confirmed = tag if multiple else self.confirmed + 1
            at += ACK_OCTETS
        self._rest = data[at:]


def _frames(exchange: str, persistent: bool, size: int, index: int) -> bytes:
    properties = commands.Basic.Properties(
        message_id=f"STAMP-STAMP-{index:024x}", delivery_mode=2 if persistent else 1
    )
    method = commands.Basic.Publish(exchange=exchange, routing_key=QUEUE)
    header = wire.marshal(wire.header.ContentHeader(0, size, properties), CHANNEL)
    return wire.marshal(method, CHANNEL) + header + wire.marshal(wire.body.ContentBody(b"." * size), CHANNEL)


def _drain(client: Client) -> None:
    """Throw away what comes, until the connection ends."""
    try:
        while client._socket.recv(READ_OCTETS):
            pass
    except OSError:
        pass


def turn(broker: Broker, variant: Window, given: argparse.Namespace) -> None:
    """Measure one variant once."""
    pid = listener_pid(broker.port)
    with Client(broker.port) as control:
        control.declare(QUEUE, durable=True, arguments=variant.of_queue)
        if variant.exchange:
            declare = commands.Exchange.Declare(
                exchange=EXCHANGE, exchange_type="direct", durable=True, arguments=variant.of_exchange
            )
            control._call(declare, commands.Exchange.DeclareOk)
            bind = commands.Queue.Bind(queue=QUEUE, exchange=EXCHANGE, routing_key=QUEUE)
            control._call(bind, commands.Queue.BindOk)
        consumer = Client(broker.port)
        consumer._call(commands.Basic.Consume(queue=QUEUE, no_ack=True), commands.Basic.ConsumeOk)
        consumer._socket.settimeout(None)
        thread = threading.Thread(target=_drain, args=(consumer,), daemon=True)
        thread.start()
        source = Client(broker.port)
        exchange = EXCHANGE if variant.exchange else ""
        publisher = Publisher(source, exchange, not given.transient, given.size, given.unconfirmed)
        publisher.run(given.warmup)
        used, sent = processor_seconds(pid), publisher.sent
        variant.rates.append(publisher.run(given.seconds))
        variant.costs.append((processor_seconds(pid) - used) / (publisher.sent - sent) * 1e6)
        source._socket.close()
        consumer._socket.shutdown(socket.SHUT_RDWR)
        thread.join()
        consumer._socket.close()
        control.delete(QUEUE)
        if variant.exchange:
            control._call(commands.Exchange.Delete(exchange=EXCHANGE), commands.Exchange.DeleteOk)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of_turns(__doc__, "deduplication.json")
    parser.add_argument("--window", type=int, default=1_000_000, help="ids remembered (1,000,000)")
    return parser.parse_args()


def compare(given: argparse.Namespace, data: Path) -> int:
    """Measure all of it, and return the exit code. Raises BenchError."""
    return take_turns(given, data, variants(given.window), turn, "confirmed/s", f"window {given.window:,}")


def main() -> int:
    """Measure and return the exit code."""
    return measured(arguments(), compare)


if __name__ == "__main__":
    sys.exit(main())
