"""Messages published again and again in the crash test, to a queue and an exchange that remember their ids.

The publisher does what the documentation asks for: after a restart it publishes once more whatever was not
confirmed, and much that was, so that a gap in what the broker remembers, or an id without its message, shows.
"""

from __future__ import annotations

import random
import struct
import time
from typing import Final

from pamqp import commands, frame

from tests.crash.clients import ACK, Client, Received, body_of
from tests.crash.rules import drain
from tests.server.wire import Wire, raw_frame

PUBLISHER: Final = 40
"""Its number; see ``rounds.target`` for the others."""

QUEUE, BESIDE, EXCHANGE = "repeats.queue", "repeats.beside", "repeats"
BATCH: Final = 24
WINDOW: Final = 96
LATELY: Final = 3000
"""How far back messages are published again."""


class RepeatsBroken(AssertionError):
    """A message was lost, or taken twice."""


def target(number: int) -> tuple[str, str, str]:
    """Give the exchange and the routing key of a message, and the queue it must be in."""
    return (EXCHANGE, "", BESIDE) if number % 2 else ("", QUEUE, QUEUE)


def message_frames(number: int) -> bytes:
    """Give the frames of a publish: persistent, its number is its message-id."""
    body = body_of(PUBLISHER, number)
    exchange, key, _ = target(number)
    method = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key), 1)
    name = b"%d" % number
    head = b"\x00\x3c\x00\x00" + struct.pack(">QH", len(body), 0x1080) + b"\x02" + bytes([len(name)]) + name
    return method + raw_frame(2, 1, head) + raw_frame(3, 1, body)


def declare(wire: Wire) -> None:
    """Declare the queues and the exchange."""
    asked = {"x-deduplication-window": 1_000_000}
    queue = commands.Queue.Declare(queue=QUEUE, durable=True)
    queue.arguments = {**asked, "x-queue-type": "quorum"}
    wire.call(queue, 1, commands.Queue.DeclareOk)
    wire.declare(BESIDE, durable=True)
    exchange = commands.Exchange.Declare(exchange=EXCHANGE, exchange_type="fanout", durable=True)
    exchange.arguments = {**asked, "x-deduplication-interval": "1D"}
    wire.call(exchange, 1, commands.Exchange.DeclareOk)
    wire.call(commands.Queue.Bind(queue=BESIDE, exchange=EXCHANGE), 1, commands.Queue.BindOk)


class Repeater(Client):
    """Publishes with confirms, much of it more than once.

    Args:
        port: of the broker.
        sent: number of the last message ever sent.
        owing: numbers that were sent and not confirmed.
        seed: decides what is repeated.
        pause: seconds between two batches, at least.

    Attributes:
        sent: as above.
        confirmed: numbers that were confirmed.
    """

    def __init__(self, port: int, sent: int, owing: list[int], seed: int, pause: float = 0.0) -> None:
        super().__init__(port)
        self.sent = sent
        self.confirmed: set[int] = set()
        self._owing = owing
        self._chance = random.Random(seed)
        self._pause = pause
        self._waiting: dict[int, int] = {}
        self._tag = 0
        self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)

    def work(self) -> None:
        while True:
            if len(self._waiting) <= WINDOW - BATCH:
                batch = self._batch()
                for number in batch:
                    self._tag += 1
                    self._waiting[self._tag] = number
                self.wire.send(b"".join(message_frames(number) for number in batch))
                time.sleep(self._pause)
            found = self.read_frame().payload
            assert found[:4] == ACK.to_bytes(4, "big"), f"expected a confirm, got {found[:12]!r}"
            tag, multiple = struct.unpack_from(">QB", found, 4)
            tags = [each for each in self._waiting if each <= tag] if multiple else [tag]
            for each in tags:
                self.confirmed.add(self._waiting.pop(each))

    def _batch(self) -> list[int]:
        batch, self._owing = self._owing[:BATCH], self._owing[BATCH:]
        while len(batch) < BATCH:
            if self.sent and self._chance.random() < 0.5:
                batch.append(self._chance.randint(max(1, self.sent - LATELY), self.sent))
            else:
                self.sent += 1
                batch.append(self.sent)
        return batch


class RepeatsLedger:
    """What the publisher was promised, and what the queues had, over all rounds.

    Args:
        pause: seconds between two batches, at least.

    Attributes:
        taken: how many messages were there, each once.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self.taken = 0
        self._pause = pause
        self._sent = 0
        self._confirmed: set[int] = set()
        self._seen: set[int] = set()
        self._client: Repeater | None = None

    def start(self, port: int) -> None:
        """Let the publisher work."""
        owing = [number for number in range(1, self._sent + 1) if number not in self._confirmed]
        self._client = Repeater(port, self._sent, owing, self._sent, self._pause)
        self._client.start()

    def finish(self, forgiving: bool) -> None:
        """The broker is gone: write down what it promised.

        Args:
            forgiving: the client may have been told that the broker goes.

        Raises:
            RepeatsBroken: it got something odd.
        """
        client = self._client
        assert client is not None
        client.wire.end()
        client.join(20)
        if client.broken and not forgiving:
            raise RepeatsBroken(f"{client}: {client.broken}")
        self._sent = client.sent
        self._confirmed |= client.confirmed

    def check(self, port: int) -> None:
        """Take out what is in the queues, for good, and compare it with what must be there.

        Raises:
            RepeatsBroken: a message is lost, or there twice.
        """
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            for queue in (QUEUE, BESIDE):
                self._look(queue, drain(wire, queue))
            # The answers to these are durable, so what was taken out is, too.
            wire.declare("drained", durable=True)
            wire.call(commands.Queue.Delete(queue="drained"), 1, commands.Queue.DeleteOk)
            wire.close_politely()
        lost = self._confirmed - self._seen
        if lost:
            raise RepeatsBroken(f"{len(lost)} confirmed messages are lost, such as {sorted(lost)[:5]}")
        self.taken = len(self._seen)

    def _look(self, queue: str, received: list[Received]) -> None:
        for each in received:
            body = each.body
            number = int(body.split(b":", 2)[1])
            if body != body_of(PUBLISHER, number) or target(number)[2] != queue or number > self._sent:
                raise RepeatsBroken(f"{queue}: a message nobody sent there: {body[:40]!r}")
            if number in self._seen:
                raise RepeatsBroken(f"{queue}: message {number} was taken twice")
            self._seen.add(number)
