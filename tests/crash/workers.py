"""Clients of the crash test that give messages back, and say when they had what.

What they write down is held against the rules of queues afterwards.  Their clocks are read after a delivery
came and before an answer goes, so that they never make a time look longer than it was for the broker.
"""

from __future__ import annotations

import itertools
import random
import select
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from pamqp import commands, frame, header

from harebell.content.table import Table, encode_table
from tests.crash.clients import ACK, DELIVER, Client, body_of
from tests.server.wire import Wire, raw_frame

REJECT: Final = 0x003C005A
NACK: Final = 0x003C0078
MARKS: Final = "workers.marks"
"""The queue that takes workers' own messages; see ``Worker``."""

MARK_PUBLISHER: Final = 59
MARK_EVERY: Final = 5
NOTHING, ACKED, REJECTED, NACKED, DISCARDED, DROPPED = "", "ack", "reject", "nack", "discard", "drop"
CAME_BACK: Final = (REJECTED, NACKED, DROPPED)

_turns = itertools.count(1)


class Delivery:
    """One delivery, and what became of it.

    Attributes:
        number: of the message.
        worker: who got it.
        count: how often the message came back before, as the delivery says.
        came, answered: unix seconds, the latter as long as ``answer`` says something.
        begins, ends: the same as numbers that grow with each, whatever the clock does.
        answer: ``ACKED``, ...
        firm: that answer is durable: something sent later on its channel is.
        credit: how many further deliveries the broker may have sent before it read the answer.
        index: of this delivery among those of its worker.
    """

    __slots__ = (
        "answer", "answered", "begins", "came", "count", "credit", "ends", "firm", "header", "index",
        "number", "redelivered", "tag", "worker",
    )  # fmt: skip

    def __init__(self, worker: Worker, number: int, tag: int, redelivered: bool, index: int) -> None:
        self.worker = worker
        self.number = number
        self.tag = tag
        self.redelivered = redelivered
        self.index = index
        self.came = time.time()
        self.begins = next(_turns)
        self.ends = 0
        self.answer = NOTHING
        self.answered = 0.0
        self.firm = False
        self.credit = 0
        self.count = 0
        self.header: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (
            f"{self.number} (count {self.count}, came {self.came:.3f} to {self.worker.name}, "
            f"{self.answer or 'no answer'} {self.answered:.3f}{' for good' if self.firm else ''})"
        )


def join_all(clients: Iterable[Client], broken: type[Exception]) -> None:
    """Wait for clients whose broker was killed.

    Raises:
        broken: one of them found something wrong.
    """
    for client in clients:
        client.join(20)
        if client.broken:
            raise broken(f"{client.name}: {client.broken}")


def frames_of(publisher: int, number: int, exchange: str, key: str, headers: Table) -> bytes:
    """Give the frames of a publish of a persistent message with headers."""
    body = body_of(publisher, number)
    method = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key), 1)
    head = struct.pack(">HHQH", 60, 0, len(body), 0x3000) + encode_table(headers) + b"\x02"
    return method + raw_frame(2, 1, head) + raw_frame(3, 1, body)


def number_in(publisher: int, body: bytes) -> int:
    """Give the number of a message, all of whose octets must be as they were published."""
    found, number = body.split(b":", 2)[:2]
    assert int(found) == publisher and body == body_of(publisher, int(number)), f"{body[:60]!r} was changed"
    return int(number)


def headers_in(content: bytes) -> dict[str, Any]:
    """Give the headers in a content header."""
    found = header.ContentHeader()
    found.unmarshal(content)
    properties: Any = dict(found.properties)
    return dict(properties.get("headers") or {})


class Trickle(Client):
    """Publishes with confirms, a few at a time, so that others get to work.

    Args:
        port: of the broker.
        first: number of its first message.
        frames: gives the frames of a message.
        most: so many messages at most.
        batch: so many at a time.

    Attributes:
        first, sent, confirmed: numbers of messages.
    """

    def __init__(
        self, port: int, first: int, frames: Callable[[int], bytes], most: int, batch: int = 8
    ) -> None:
        super().__init__(port)
        self.first = first
        self.sent = self.confirmed = first - 1
        self._frames = frames
        self._last = first - 1 + most
        self._batch = batch
        self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)

    def work(self) -> None:
        while self.sent < self._last:
            batch = range(self.sent + 1, min(self.sent + self._batch, self._last) + 1)
            self.sent = batch[-1]
            self.wire.send(*(self._frames(number) for number in batch))
            while self.confirmed < self.sent:
                found = self.read_frame().payload
                assert found[:4] == ACK.to_bytes(4, "big"), f"expected a confirm, got {found[:40]!r}"
                self.confirmed = self.first - 1 + int.from_bytes(found[4:12], "big")
        self.read_frame()  # until the broker is gone


class Worker(Client):
    """Consumes, keeps some deliveries for a moment, and answers them in any order.

    Every now and then it publishes a message with a confirm on the same channel.  Once that is confirmed
    what was answered before is durable, too: the answers are *firm*.

    Args:
        port: of the broker.
        name: for messages of what went wrong.
        queue: consumed.
        publisher: whose messages these are.
        prefetch: as in ``basic.qos``.
        chance: decides what it does.
        answers: what it does, and how often, as weights.
        arguments: of its consumer.
        marks: number of its first mark less one.

    Attributes:
        deliveries: in order.
        marks: number of its last mark.
        leaving: set to have it close its connection, without a word, in the middle of its work.
    """

    def __init__(
        self,
        port: int,
        name: str,
        queue: str,
        publisher: int,
        prefetch: int,
        chance: random.Random,
        answers: dict[str, int],
        arguments: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(port)
        self.name = name
        self.queue = queue
        self.prefetch = prefetch
        self.deliveries: list[Delivery] = []
        self.leaving = False
        self.began = time.time()
        self.keeps: int = chance.randint(1, prefetch)
        self._publisher = publisher
        self._chance = random.Random(chance.randrange(1 << 30))
        self._answers = list(answers)
        self._weights = list(answers.values())
        self._held: list[Delivery] = []
        self._sent = self._confirmed = 0
        self._unmarked: list[Delivery] = []
        self._marked: list[Delivery] = []
        self.wire.call(commands.Basic.Qos(prefetch_count=prefetch), 1, commands.Basic.QosOk)
        self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
        question = commands.Basic.Consume(queue=queue)
        question.arguments = arguments or {}
        self.wire.call(question, 1, commands.Basic.ConsumeOk)

    def work(self) -> None:
        held = self._held
        while not self.leaving:
            # With nothing in hand only the broker can go on; else what came, or an answer.
            if held and not select.select([self.wire.socket], [], [], 0.004)[0]:
                self._answer(self._chance.randrange(len(held)))
            elif self._waiting():
                continue
            else:
                self._next()
                if len(held) >= self.keeps:
                    self._answer(self._chance.randrange(len(held)))
        for each in held:
            each.answer, each.answered, each.ends = DROPPED, time.time(), next(_turns)

    def _waiting(self) -> bool:
        """Wait for the broker for a moment, for there may be a reason to leave."""
        if self.wire.buffered() or select.select([self.wire.socket], [], [], 0.03)[0]:
            return False
        if self._unmarked and self._sent == self._confirmed:
            self._mark()
        return True

    def _next(self) -> None:
        method = self.read_frame().payload
        if method[:4] == ACK.to_bytes(4, "big"):
            self._confirmed += 1
            for each in self._marked:
                each.firm = True
            self._marked = []
            if self._unmarked:
                self._mark()
            return
        assert method[:4] == DELIVER.to_bytes(4, "big"), f"expected a delivery, got {method[:60]!r}"
        at = 5 + method[4]
        tag, redelivered = struct.unpack_from(">QB", method, at)
        content = self.read_frame().payload
        body = b""
        while len(body) < int.from_bytes(content[4:12], "big"):
            body += self.read_frame().payload
        number = number_in(self._publisher, body)
        found = Delivery(self, number, tag, bool(redelivered), len(self.deliveries))
        found.header = headers_in(content)
        found.count = int(found.header.get("x-delivery-count", 0))
        self.deliveries.append(found)
        self._held.append(found)

    def _answer(self, index: int) -> None:
        """Answer one of the deliveries in hand."""
        credit = self.prefetch - len(self._held)
        found = self._held.pop(index)
        found.credit = credit
        answer = self._chance.choices(self._answers, self._weights)[0]
        found.answer, found.answered, found.ends = answer, time.time(), next(_turns)
        tag = struct.pack(">Q", found.tag)
        if answer == ACKED:
            payload = struct.pack(">I", ACK) + tag + b"\0"
        elif answer == NACKED:
            payload = struct.pack(">I", NACK) + tag + b"\2"
        else:
            payload = struct.pack(">I", REJECT) + tag + bytes([answer == REJECTED])
        self._unmarked.append(found)
        self.wire.send(raw_frame(1, 1, payload))
        if len(self._unmarked) >= MARK_EVERY and self._sent == self._confirmed:
            self._mark()

    def _mark(self) -> None:
        self._marked, self._unmarked = self._unmarked, []
        self._sent += 1
        self.wire.send(frames_of(MARK_PUBLISHER, self._sent, "", MARKS, {}))

    def idle(self) -> bool:
        """Tell whether all it got is answered, for good."""
        return not (self._held or self._unmarked or self._marked)


def declare_marks(wire: Wire) -> None:
    """Declare, or empty, the queue of marks."""
    wire.declare(MARKS, durable=True)
    wire.call(commands.Queue.Purge(queue=MARKS), 1, commands.Queue.PurgeOk)


def declare(wire: Wire, queue: str, arguments: dict[str, Any]) -> None:
    """Declare a durable queue with arguments."""
    question = commands.Queue.Declare(queue=queue, durable=True)
    question.arguments = arguments
    wire.call(question, 1, commands.Queue.DeclareOk)


def leave(workers: list[Worker]) -> None:
    """Have workers go while the broker lives, and wait for that."""
    for worker in workers:
        worker.leaving = True
    for worker in workers:
        worker.join(20)
        assert not worker.broken, f"{worker.name}: {worker.broken}"
