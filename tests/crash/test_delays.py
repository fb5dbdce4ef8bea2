"""Delayed messages in a real process that is really killed: none early, none lost, none twice."""

from __future__ import annotations

import random
import signal
import struct
import time
from collections import Counter
from pathlib import Path

import pytest
from pamqp import commands, frame

from tests.crash.clients import DELIVER, Publisher, body_of
from tests.server.process import running_broker
from tests.server.wire import Wire, raw_frame

ROUNDS = 5
DELAYS = (20, 200, 1500, 6000)
LATE_SECONDS = 20.0


class Delayer(Publisher):
    """Publishes delayed messages with confirms until its broker is killed.

    Attributes:
        due: by body, the time in unix milliseconds before which a message must not come.
    """

    def __init__(self, port: int, first: int, chance: random.Random, due: dict[bytes, float]) -> None:
        super().__init__(port, 1, first, lambda publisher, number: ("later", ""))
        self.chance = chance
        self.due = due

    def frames_of(self, number: int) -> bytes:
        """Give the frames of a publish with a header ``x-delay``."""
        delay = self.chance.choice(DELAYS)
        body = body_of(1, number)
        self.due[body] = time.time() * 1000 + delay
        table = b"\x07x-delayl" + struct.pack(">q", delay)
        header = struct.pack(">HHQHI", 60, 0, len(body), 0x3000, len(table)) + table + b"\x02"
        method = frame.marshal(commands.Basic.Publish(exchange="later", routing_key=""), 1)
        return method + raw_frame(2, 1, header) + raw_frame(3, 1, body)


def declare(port: int) -> None:
    """Declare the exchange and its queue."""
    with Wire(port, timeout=30.0).open(channels=1) as wire:
        exchange = commands.Exchange.Declare(
            exchange="later", exchange_type="x-delayed-message", durable=True
        )
        exchange.arguments = {"x-delayed-type": "fanout"}
        wire.call(exchange, 1, commands.Exchange.DeclareOk)
        wire.declare("q", durable=True)
        wire.call(commands.Queue.Bind(queue="q", exchange="later"), 1, commands.Queue.BindOk)


def collect(port: int, due: dict[bytes, float], confirmed: set[bytes]) -> Counter[bytes]:
    """Take what comes until all that was confirmed is there and nothing can come any more."""
    seen: Counter[bytes] = Counter()
    last = max(due.values()) / 1000 + 0.5
    missing = set(confirmed)
    with Wire(port, timeout=1.0).open(channels=1) as wire:
        wire.call(commands.Basic.Consume(queue="q", no_ack=True), 1, commands.Basic.ConsumeOk)
        body = b""
        while time.time() < last or missing:
            assert time.time() < last + LATE_SECONDS, f"{len(missing)} of {len(confirmed)} never came"
            try:
                found = wire.read_frame()
            except TimeoutError:
                continue
            if found.kind == 1:
                assert found.payload[:4] == DELIVER.to_bytes(4, "big"), f"got {found}"
                body = b""
                size = 0
            elif found.kind == 2:
                size = int.from_bytes(found.payload[4:12], "big")
            else:
                body += found.payload
                if len(body) >= size:
                    early = due[body] - time.time() * 1000
                    assert early <= 1, f"message {body[:20]!r} came {early:.0f} ms early"
                    seen[body] += 1
                    missing.discard(body)
    return seen


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seed", [1, 2])
def test_delayed_messages_survive_kills_at_any_moment(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    due: dict[bytes, float] = {}
    confirmed: set[bytes] = set()
    first = 1
    data = tmp_path / "data"
    for _ in range(ROUNDS):
        with running_broker(tmp_path, data_dir=data) as broker:
            declare(broker.port)
            publisher = Delayer(broker.port, first, chance, due)
            publisher.start()
            time.sleep(chance.uniform(0.2, 1.2))
            broker.signal(signal.SIGKILL)
            broker.process.wait()
            publisher.join(30)
        assert not publisher.broken, publisher.broken
        confirmed |= {body_of(1, number) for number in range(first, publisher.confirmed + 1)}
        first = publisher.sent + 1
    with running_broker(tmp_path, data_dir=data) as broker:
        seen = collect(broker.port, due, confirmed)
    assert len(confirmed) > 50 * ROUNDS, "hardly anything was published"
    assert not [body for body, count in seen.items() if count > 1], "a message came twice"
