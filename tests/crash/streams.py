"""Streams in the crash test: replays, named consumers, transactions, dead letters, retention, deletion.

A publisher and a transactor feed streams and the classic queues beside them; a named consumer follows one
stream and acknowledges.  After a restart every event that was confirmed must be at the offset where a reader
saw it, once and in order, and the consumer goes on without a gap.
"""

from __future__ import annotations

import random
import struct
from typing import Any, Final

from pamqp import commands, header

from tests.crash.clients import Client, Publisher, Received, Transactor, body_of, message_frames
from tests.crash.rules import Rejecter, drain
from tests.server.wire import Wire, raw_frame

PUBLISHER, TRANSACTOR, MARKER = 31, 32, 33
"""Their numbers; see ``rounds.target`` for the others."""

EVENTS, SHORT, DEAD = STREAMS = ("stream.events", "stream.short", "stream.dead")
BESIDE, DYING = "stream.beside", "stream.dying"
NAME: Final = "follower"
TX_SIZE: Final = 4
PREFETCH: Final = 200
LIMIT: Final = 200_000
"""Octets kept of the stream with retention, in segments of 64 KiB."""

AGAIN: Final = 300
"""Events before the last one known that a check reads again."""

LONG: Final = 20_000
"""A stream with more events is deleted and declared anew."""

ACK: Final = 0x003C0050
REJECT: Final = 0x003C005A


class StreamsBroken(AssertionError):
    """A stream lost, changed, moved or repeated an event."""


def target(publisher: int, number: int) -> tuple[str, str]:
    """Give the exchange and the routing key of a message."""
    if publisher == TRANSACTOR:
        return ("", (EVENTS, BESIDE)[number % 2])
    return ("", (EVENTS, SHORT, DYING, EVENTS)[number % 4])


def declare(wire: Wire) -> None:
    """Declare streams and queues, and make the name of the follower known."""
    arguments: dict[str, dict[str, Any]] = {
        EVENTS: {},
        SHORT: {"x-max-length-bytes": LIMIT, "x-stream-max-segment-size-bytes": 65536},
        DEAD: {"x-stream-max-segment-size-bytes": 65536},
    }
    for name, table in arguments.items():
        _declare(wire, name, {"x-queue-type": "stream"} | table)
    wire.declare(BESIDE, durable=True)
    _declare(wire, DYING, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD})
    _make_known(wire)


def _declare(wire: Wire, name: str, arguments: dict[str, Any]) -> None:
    question = commands.Queue.Declare(queue=name, durable=True)
    question.arguments = arguments
    wire.call(question, 1, commands.Queue.DeclareOk)


def _make_known(wire: Wire) -> None:
    wire.call(commands.Basic.Qos(prefetch_count=1), 1, commands.Basic.QosOk)
    wire.call(_consume(EVENTS, "first", NAME), 1, commands.Basic.ConsumeOk)
    wire.call(commands.Basic.Cancel(consumer_tag="c"), 1, commands.Basic.CancelOk)
    _barrier(wire)


def _barrier(wire: Wire) -> None:
    """The answers to these are durable, so what was said before is, too."""
    wire.declare("drained", durable=True)
    wire.call(commands.Queue.Delete(queue="drained"), 1, commands.Queue.DeleteOk)


def _consume(queue: str, offset: str | int | None, name: str | None) -> commands.Basic.Consume:
    question = commands.Basic.Consume(queue=queue, consumer_tag="c")
    asked = {"x-stream-offset": offset, "x-stream-consumer": name}
    question.arguments = {key: value for key, value in asked.items() if value is not None}
    return question


def _identify(received: Received) -> tuple[int, int, int]:
    """Give offset, publisher and number of an event, and check its octets.

    Raises:
        StreamsBroken: it is not as it was published.
    """
    found = header.ContentHeader()
    found.unmarshal(received.header)
    headers: Any = dict(found.properties)["headers"]
    try:
        publisher, number = (int(part) for part in received.body.split(b":", 2)[:2])
    except ValueError:
        raise StreamsBroken(f"an event nobody published: {received.body[:60]!r}") from None
    if received.body != body_of(publisher, number) or headers.get("n") != 7:
        raise StreamsBroken(f"event {number} of publisher {publisher} changed: {headers}")
    if dict(found.properties)["delivery_mode"] != 2 or received.redelivered:
        raise StreamsBroken(f"event {number} of publisher {publisher} is not persistent, or redelivered")
    return headers["x-stream-offset"], publisher, number


class Reader(Client):
    """Consumes a stream.

    Args:
        port: of the broker.
        question: how.
        prefetch: as in ``basic.qos``.

    Attributes:
        events: offset, publisher and number of what came.
        acked: offsets acknowledged.
    """

    def __init__(self, port: int, question: commands.Basic.Consume, prefetch: int) -> None:
        super().__init__(port)
        self.events: list[tuple[int, int, int]] = []
        self.acked: set[int] = set()
        self._tags: dict[int, int] = {}
        self._question = question
        self._chance = random.Random(prefetch)
        self.wire.call(commands.Basic.Qos(prefetch_count=prefetch), 1, commands.Basic.QosOk)

    def begin(self) -> None:
        """Subscribe."""
        self.wire.call(self._question, 1, commands.Basic.ConsumeOk)

    def next(self) -> int:
        """Wait for an event, and give its delivery tag."""
        method = self.read_frame().payload
        at = 5 + method[4]
        tag, redelivered = struct.unpack_from(">QB", method, at)
        head = self.read_frame().payload
        body = b""
        while len(body) < int.from_bytes(head[4:12], "big"):
            body += self.read_frame().payload
        self.events.append(_identify(Received(tag, bool(redelivered), head, body)))
        return int(tag)

    def ack(self, tag: int, multiple: bool) -> None:
        """Acknowledge."""
        self.wire.send(raw_frame(1, 1, struct.pack(">IQB", ACK, tag, multiple)))

    def work(self) -> None:
        """Follow, and acknowledge out of order."""
        self.begin()
        waiting: list[tuple[int, int]] = []
        while True:
            tag = self.next()
            waiting.append((self.events[-1][0], tag))
            if len(waiting) == 8:
                self._chance.shuffle(waiting)
                for offset, each in waiting[:7]:
                    self.acked.add(offset)
                    self.ack(each, False)
                del waiting[:7]

    def read_to(self, publisher: int, number: int) -> None:
        """Read until an event comes."""
        self.begin()
        while not self.events or self.events[-1][1:] != (publisher, number):
            tag = self.next()
            if len(self.events) % (PREFETCH // 2) == 0:
                self.ack(tag, True)
        self.wire.close_politely()


class StreamsLedger:
    """What clients of streams were promised and saw, over all rounds.

    Attributes:
        events: how many events were compared.
    """

    def __init__(self) -> None:
        self.events = 0
        self._sent = {PUBLISHER: 0, TRANSACTOR: 0, MARKER: 0}
        self._owed: dict[str, set[tuple[int, int]]] = {name: set() for name in (*STREAMS, BESIDE, DYING)}
        self._known: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in STREAMS}
        self._checked = dict.fromkeys(STREAMS, 0)
        self._dead: set[int] = set()
        self._beside: set[int] = set()
        self._transactions: set[int] = set()
        self._acked: set[int] = set()
        self._resumed = 0
        self._clients: tuple[Publisher, Transactor, Reader, Rejecter] | None = None

    def start(self, port: int) -> None:
        """Let the clients work."""
        self._clients = (
            Publisher(port, PUBLISHER, self._sent[PUBLISHER] + 1, target),
            Transactor(port, TRANSACTOR, self._sent[TRANSACTOR] + 1, target, TX_SIZE),
            Reader(port, _consume(EVENTS, None, NAME), 50),
            Rejecter(port, DYING, False),
        )
        for client in self._clients:
            client.start()

    def finish(self, forgiving: bool) -> None:
        """The broker is gone: write down what it promised.

        Args:
            forgiving: clients may have been told that the broker goes.

        Raises:
            StreamsBroken: a client got something odd.
        """
        assert self._clients is not None
        for client in self._clients:
            client.wire.end()
            client.join(20)
            if client.broken and not forgiving:
                raise StreamsBroken(f"{client}: {client.broken}")
        publisher, transactor, reader, _ = self._clients
        for each in (publisher, transactor):
            for number in range(each.first, each.confirmed + 1):
                name = target(each.publisher, number)[1]
                self._owed[name].add((each.publisher, number))
            self._sent[each.publisher] = each.sent
        self._followed(reader)

    def _followed(self, reader: Reader) -> None:
        if not reader.events:
            return
        first = reader.events[0][0]
        # Up to here everything is acknowledged.
        opened = self._resumed
        while opened in self._acked:
            opened += 1
        if first > opened:
            raise StreamsBroken(f"the named consumer goes on at {first}, and did not answer {opened}")
        if first < self._resumed:
            raise StreamsBroken(f"the named consumer goes on at {first}, it was at {self._resumed} before")
        self._check_order(EVENTS, reader.events)
        self._note(EVENTS, reader.events)
        self._resumed = first
        self._acked = {offset for offset in self._acked if offset < first} | reader.acked

    def check(self, port: int) -> None:
        """Compare what is in streams and queues with what must be there.

        Raises:
            StreamsBroken: an event is lost, moved, or there twice.
        """
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            beside, dying = drain(wire, BESIDE), drain(wire, DYING)
            _barrier(wire)
            wire.close_politely()
        found = {name: self._replay(port, name) for name in STREAMS}
        self._check_beside({_number(BESIDE, each, self._sent) for each in beside}, found[EVENTS])
        self._check_dying([_number(DYING, each, self._sent) for each in dying], found[DEAD])
        for name in (EVENTS, SHORT):
            present = {event[1:] for event in found[name]} | set(self._known[name].values())
            lost = self._owed[name] - present
            if name == SHORT:  # retention takes the oldest
                least = min((event[2] for event in found[name] if event[1] == PUBLISHER), default=0)
                lost = {each for each in lost if each[1] > least}
            if lost:
                raise StreamsBroken(
                    f"{name}: {len(lost)} confirmed events are lost, such as {sorted(lost)[:5]}"
                )
            self._owed[name].clear()
        for name in STREAMS:
            least = self._checked[name] - 2 * AGAIN
            self._known[name] = {at: it for at, it in self._known[name].items() if at > least}
        if self._checked[EVENTS] > LONG:
            self._begin_anew(port)

    def _replay(self, port: int, name: str) -> list[tuple[int, int, int]]:
        """Read a stream from a bit before what is known, or from its beginning, to its end."""
        self._sent[MARKER] += 1
        number = self._sent[MARKER]
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
            wire.send(message_frames(MARKER, number, "", name))
            wire.expect(commands.Basic.Ack)
            wire.close_politely()
        known = self._known[name]
        begin: str | int = "first"
        if name != SHORT and number % 5:
            begin = max(0, self._checked[name] - AGAIN)
        reader = Reader(port, _consume(name, begin, None), PREFETCH)
        with reader.wire:
            reader.read_to(MARKER, number)
        events = reader.events
        self.events += len(events)
        if isinstance(begin, int) and events[0][0] != begin:
            raise StreamsBroken(f"{name}: asked for {begin}, got {events[0][0]}")
        if begin == "first" and name != SHORT and events[0][0] != 0:
            raise StreamsBroken(f"{name} begins at {events[0][0]}")
        self._check_order(name, events)
        if known and events[-1][0] <= max(known):
            raise StreamsBroken(f"{name}: the last offset is {events[-1][0]}, {max(known)} was seen before")
        self._note(name, events)
        self._checked[name] = events[-1][0]
        return events

    def _check_order(self, name: str, events: list[tuple[int, int, int]]) -> None:
        last: dict[int, int] = {}
        for index, (offset, publisher, number) in enumerate(events):
            if offset != events[0][0] + index:
                raise StreamsBroken(f"{name}: {offset} follows {events[index - 1][0]}")
            if number <= last.get(publisher, 0):
                raise StreamsBroken(f"{name}: {publisher}:{number} at {offset} came after {last[publisher]}")
            last[publisher] = number

    def _note(self, name: str, events: list[tuple[int, int, int]]) -> None:
        known = self._known[name]
        for offset, publisher, number in events:
            before = known.setdefault(offset, (publisher, number))
            if before != (publisher, number):
                raise StreamsBroken(f"{name}: {offset} was {before} and is {publisher}:{number} now")
            if number > self._sent.get(publisher, 0) and publisher == MARKER:
                raise StreamsBroken(f"{name}: {publisher}:{number} was never sent")

    def _check_beside(self, numbers: set[int], events: list[tuple[int, int, int]]) -> None:
        """Half of a transaction is in a stream, half in a queue."""
        twice = numbers & self._beside
        if twice:
            raise StreamsBroken(f"{BESIDE}: {sorted(twice)[:5]} came back")
        lost = {number for _, number in self._owed[BESIDE]} - numbers
        if lost:
            raise StreamsBroken(f"{BESIDE}: {len(lost)} committed messages are lost, such as {min(lost)}")
        self._beside |= numbers
        self._owed[BESIDE].clear()
        self._transactions |= {number for _, publisher, number in events if publisher == TRANSACTOR}
        for number in numbers:
            first = number - (number - 1) % TX_SIZE
            mates = {each for each in range(first, first + TX_SIZE) if target(TRANSACTOR, each)[1] == EVENTS}
            if not mates <= self._transactions:
                raise StreamsBroken(f"only half of the transaction of {first} is there: {mates} are not")
        halves = {n for n in self._transactions if not {n - 1, n + 1} & self._beside}
        if halves:
            raise StreamsBroken(f"{EVENTS}: {sorted(halves)[:5]} are of transactions that are not there")
        most = max(self._transactions | self._beside, default=0)
        self._transactions = {number for number in self._transactions if number > most - 10_000}
        self._beside = {number for number in self._beside if number > most - 11_000}

    def _check_dying(self, dying: list[int], events: list[tuple[int, int, int]]) -> None:
        dead = {number for _, publisher, number in events if publisher == PUBLISHER} - self._dead
        both = set(dying) & (dead | self._dead)
        if both:
            raise StreamsBroken(f"{sorted(both)[:5]} are in {DYING} and in {DEAD}")
        lost = {number for _, number in self._owed[DYING]} - set(dying) - dead - self._dead
        if lost:
            raise StreamsBroken(f"{len(lost)} messages are neither in {DYING} nor in {DEAD}: {min(lost)}")
        self._owed[DYING].clear()
        self._dead |= dead | set(dying)

    def _begin_anew(self, port: int) -> None:
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            wire.call(commands.Queue.Delete(queue=EVENTS), 1, commands.Queue.DeleteOk)
            _declare(wire, EVENTS, {"x-queue-type": "stream"})
            _make_known(wire)
            wire.close_politely()
        self._known[EVENTS].clear()
        self._acked.clear()
        self._resumed = self._checked[EVENTS] = 0


def _number(queue: str, received: Received, sent: dict[int, int]) -> int:
    """Give the number of a message of a classic queue."""
    publisher, number = (int(part) for part in received.body.split(b":", 2)[:2])
    if received.body != body_of(publisher, number) or target(publisher, number)[1] != queue:
        raise StreamsBroken(f"{queue}: a message nobody sent there: {received.body[:40]!r}")
    if number > sent[publisher]:
        raise StreamsBroken(f"{queue}: message {number} was never sent")
    return number
