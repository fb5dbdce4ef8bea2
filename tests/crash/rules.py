"""Queues with rules in the crash test: time, length and delivery limits, priorities, and dead letters.

One publisher feeds four queues; three of them give messages up to others.  After a restart a message must
be in one of the two queues it may be in by then, once, and in order; its dead letter must tell what happened.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from pamqp import commands, frame, header

from tests.crash.clients import HEADER_TABLE, Client, Publisher, Received, body_of
from tests.server.wire import Wire, raw_frame

PUBLISHER: Final = 30
"""Its number; see ``rounds.target`` for the others."""

BRIEF, SMALL, RANKED, TRIES = SOURCES = ("rules.brief", "rules.small", "rules.ranked", "rules.tries")
TARGETS: Final = {BRIEF: "rules.expired", SMALL: "rules.pushed-out", TRIES: "rules.failed"}
REASONS: Final = {"rules.expired": "expired", "rules.pushed-out": "maxlen", "rules.failed": "delivery_limit"}
LEVELS: Final = 3
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    BRIEF: {"x-message-ttl": 150},
    SMALL: {"x-max-length": 50},
    RANKED: {"x-max-priority": LEVELS - 1},
    TRIES: {"x-queue-type": "quorum", "x-delivery-limit": 1},
}
REJECT: Final = 0x003C005A
GET_OK: Final = 0x003C0047
GETS: Final = 200
"""How many messages are asked for at once."""


class RulesBroken(AssertionError):
    """A rule was not kept, or a message was lost or doubled on its way."""


def source_of(number: int) -> str:
    """Give the queue a message is published to."""
    return SOURCES[number % len(SOURCES)]


def level_of(number: int) -> int:
    """Give the priority of a message."""
    return number // len(SOURCES) % LEVELS


def declare(wire: Wire) -> None:
    """Declare the queues."""
    for name in TARGETS.values():
        wire.declare(name, durable=True)
    for name in SOURCES:
        question = commands.Queue.Declare(queue=name, durable=True)
        question.arguments = dict(ARGUMENTS[name])
        if name in TARGETS:
            dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": TARGETS[name]}
            question.arguments |= dead
        wire.call(question, 1, commands.Queue.DeclareOk)


def drain(wire: Wire, queue: str) -> list[Received]:
    """Take everything out of a queue."""
    found: list[Received] = []
    question = frame.marshal(commands.Basic.Get(queue=queue, no_ack=True), 1)
    empty = False
    while not empty:
        wire.send(question * GETS)
        for _ in range(GETS):
            method = wire.read_frame().payload
            if int.from_bytes(method[:4], "big") != GET_OK:
                empty = True
                continue
            head = wire.read_frame().payload
            body = b""
            while len(body) < int.from_bytes(head[4:12], "big"):
                body += wire.read_frame().payload
            found.append(Received(0, bool(method[12]), head, body))
    return found


class RulesPublisher(Publisher):
    """Publishes to the queues in turns, with priorities."""

    def __init__(self, port: int, first: int) -> None:
        super().__init__(port, PUBLISHER, first, lambda publisher, number: ("", source_of(number)))

    def frames_of(self, number: int) -> bytes:
        """Give the frames of a publish."""
        body = body_of(self.publisher, number)
        method = frame.marshal(commands.Basic.Publish(exchange="", routing_key=source_of(number)), 1)
        table = struct.pack(">I", len(HEADER_TABLE)) + HEADER_TABLE
        head = b"\x00\x3c\x00\x00" + struct.pack(">Q", len(body)) + b"\x38\x00" + table
        properties = b"\x02" + bytes([level_of(number)])
        return method + raw_frame(2, 1, head + properties) + raw_frame(3, 1, body)


class Rejecter(Client):
    """Consumes a queue and rejects everything.

    Args:
        queue: its name.
        requeue: True to hand it back, False to have it dead-lettered.
    """

    def __init__(self, port: int, queue: str, requeue: bool) -> None:
        super().__init__(port)
        self._queue = queue
        self._requeue = requeue

    def work(self) -> None:
        self.wire.call(commands.Basic.Qos(prefetch_count=20), 1, commands.Basic.QosOk)
        self.wire.call(commands.Basic.Consume(queue=self._queue), 1, commands.Basic.ConsumeOk)
        while True:
            method = self.read_frame().payload
            size = int.from_bytes(self.read_frame().payload[4:12], "big")
            while size > 0:
                size -= len(self.read_frame().payload)
            at = 5 + method[4]
            self.wire.send(
                raw_frame(1, 1, struct.pack(">I", REJECT) + method[at : at + 8] + bytes([self._requeue]))
            )


class RulesLedger:
    """What the publisher was promised, over all rounds, and what became of it.

    Attributes:
        moves: dead letters seen.
    """

    def __init__(self) -> None:
        self.moves = 0
        self._sent = 0
        self._owed: set[int] = set()
        self._taken: set[int] = set()
        self._clients: tuple[RulesPublisher, Rejecter] | None = None

    def start(self, port: int) -> None:
        """Let the clients work."""
        self._clients = RulesPublisher(port, self._sent + 1), Rejecter(port, TRIES, True)
        for client in self._clients:
            client.start()

    def finish(self, forgiving: bool) -> None:
        """The broker is gone: write down what it promised.

        Args:
            forgiving: clients may have been told that the broker goes.

        Raises:
            RulesBroken: a client got something odd.
        """
        assert self._clients is not None
        for client in self._clients:
            client.wire.end()
            client.join(20)
            if client.broken and not forgiving:
                raise RulesBroken(f"{client}: {client.broken}")
        publisher, _ = self._clients
        self._owed |= set(range(publisher.first, publisher.confirmed + 1))
        self._sent = publisher.sent

    def check(self, port: int) -> None:
        """Take everything out of all queues, and compare it with what must be there.

        Raises:
            RulesBroken: a message is lost, or there twice, or where it should not be.
        """
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            # What expires meanwhile is found in its target, so targets come last.
            found = {queue: drain(wire, queue) for queue in (*SOURCES, *TARGETS.values())}
            # The answer to this is durable, so what was taken before is, too.
            wire.declare("drained", durable=True)
            wire.call(commands.Queue.Delete(queue="drained"), 1, commands.Queue.DeleteOk)
            wire.close_politely()
        seen: dict[int, str] = {}
        for queue, messages in found.items():
            numbers = [self._identify(queue, received) for received in messages]
            self._check_order(queue, numbers)
            for number in numbers:
                if number in seen:
                    raise RulesBroken(f"message {number} is in {seen[number]} and in {queue}")
                if number in self._taken:
                    raise RulesBroken(f"{queue}: message {number} was acknowledged for good and came back")
                seen[number] = queue
        lost = sorted(self._owed - seen.keys())
        if lost:
            where = {source_of(number) for number in lost}
            raise RulesBroken(f"{len(lost)} confirmed messages are lost from {where}, such as {lost[:5]}")
        self._owed.clear()
        self._taken |= seen.keys()

    def _identify(self, queue: str, received: Received) -> int:
        """Find out which message a delivery is, and check its octets and its deaths."""
        publisher, number = (int(part) for part in received.body.split(b":", 2)[:2])
        if publisher != PUBLISHER or received.body != body_of(publisher, number) or number > self._sent:
            raise RulesBroken(f"{queue}: message {received.body[:40]!r} is none that was published")
        if queue not in (source_of(number), TARGETS.get(source_of(number))):
            raise RulesBroken(f"{queue}: message {number} should be in {source_of(number)}")
        found = header.ContentHeader()
        found.unmarshal(received.header)
        headers: Any = dict(found.properties)["headers"]
        if headers.get("n") != 7 or dict(found.properties)["priority"] != level_of(number):
            raise RulesBroken(f"{queue}: the header of message {number} changed: {headers}")
        deaths = [(each["queue"], each["reason"], each["count"]) for each in headers.get("x-death", ())]
        if deaths != ([(source_of(number), REASONS[queue], 1)] if queue in REASONS else []):
            raise RulesBroken(f"{queue}: message {number} tells of deaths that were not: {deaths}")
        self.moves += queue in REASONS
        return number

    def _check_order(self, queue: str, numbers: list[int]) -> None:
        """What came back goes before the others, and may be given up later: no order there."""
        if queue in (TRIES, TARGETS[TRIES]):
            return
        order = [(-level_of(number) if queue == RANKED else 0, number) for number in numbers]
        if order != sorted(order):
            raise RulesBroken(f"{queue}: messages are out of order: {numbers[:50]}")
