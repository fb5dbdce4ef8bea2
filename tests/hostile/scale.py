"""How much memory each thing takes, at full size: ``python -m tests.hostile.scale --connections 10000``.

Starts brokers of its own and prints what an idle connection, a channel, a queue, a consumer and a message
take, and how long the others' answers take meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pamqp import commands, frame

from tests.hostile import crowd
from tests.hostile.campaign import StandingConnection
from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import Wire, publish


class Stage:
    """One broker for one kind of thing: memory that another gave back would hide what this one takes."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        self._standing = StandingConnection(broker.port)
        self._standing.start()
        eventually(lambda: self._standing.rounds > 50, "the standing connection is at work")

    @contextmanager
    def measured(self, what: str, count: int) -> Iterator[None]:
        """Print what the block costs for each of ``count``."""
        before, started = self.broker.resident_bytes(), time.perf_counter()
        self._standing.slowest = 0.0
        yield
        seconds, each = time.perf_counter() - started, (self.broker.resident_bytes() - before) / count
        slowest = f"slowest answer to another {self._standing.slowest * 1000:6.1f} ms"
        print(
            f"{count:>9,} {what:<24} {each:>8,.0f} B each {count / seconds:>10,.0f}/s   {slowest}", flush=True
        )

    def end(self) -> None:
        """Check the broker and the connection that was there all the time."""
        self._standing.stop()
        self.broker.assert_unharmed()


@contextmanager
def stage() -> Iterator[Stage]:
    """Start a broker for one stage."""
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder)) as broker:
        found = Stage(broker)
        yield found
        found.end()


def connections(count: int) -> None:
    """Idle connections, and their end."""
    crowd.allow_descriptors(count)
    with stage() as at:
        print(f"idle broker: {at.broker.resident_bytes() / 1e6:.1f} MB")
        descriptors = at.broker.descriptors()
        with ExitStack() as stack:
            with at.measured("connections", count):
                stack.enter_context(crowd.open_connections(at.broker.port, count))
            with at.measured("seconds with them idle", 5):
                time.sleep(5)
            with at.measured("connections closed", count):
                stack.close()
                eventually(lambda: at.broker.descriptors() <= descriptors, "all are closed", 60)


def channels(count: int) -> None:
    """Channels of one connection."""
    with stage() as at, Wire(at.broker.port, timeout=120).open() as client:
        with at.measured("channels", count):
            crowd.open_channels(client, count)
        with at.measured("channels closed", count):
            crowd.close_channels(client, count)


def queues(count: int) -> None:
    """Queues with a binding and a consumer each."""
    names = [f"queue-{number}" for number in range(count)]
    with stage() as at, Wire(at.broker.port, timeout=120).open(channels=1) as client:
        with at.measured("queues", count):
            crowd.declare_queues(client, names)
        with at.measured("bindings", count):
            crowd.bind_queues(client, names, "amq.fanout")
        methods = [commands.Basic.Consume(queue=name) for name in names]
        with at.measured("consumers", count):
            crowd.call_all(client, methods, [1] * count, commands.Basic.ConsumeOk)
        with at.measured("queues deleted", count):
            client.send(*(frame.marshal(commands.Queue.Delete(queue=name), 1) for name in names))
            for _ in range(2 * count):  # each with a basic.cancel
                client.read_method()


def messages(count: int) -> None:
    """A backlog."""
    with stage() as at, Wire(at.broker.port, timeout=120).open(channels=1) as client:
        client.declare("backlog")
        piece = publish("backlog", b"x" * 100) * 1000
        with at.measured("messages of 100 octets", count // 1000 * 1000):
            for _ in range(count // 1000):
                client.send(piece)
            client.round_trip()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.scale", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=2047)
    parser.add_argument("--queues", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    chosen = parser.parse_args()
    connections(chosen.connections)
    channels(chosen.channels)
    queues(chosen.queues)
    messages(chosen.messages)


if __name__ == "__main__":
    main()
