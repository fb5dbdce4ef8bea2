"""Clients for crash tests: they write down what they were promised, until the broker is gone.

Messages say who sent them: ``publisher:number:filling``, where the filling follows from both, so that every
octet can be checked.  They speak in octets, to load the broker and not themselves.
"""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from typing import Final

from pamqp import commands, frame

from tests.server.wire import RawFrame, Wire, raw_frame

WINDOW: Final = 64
DELIVER: Final = 0x003C003C
ACK: Final = 0x003C0050
COMMIT_OK: Final = 0x005A0015
BLOCKED: Final = 0x000A003C
UNBLOCKED: Final = 0x000A003D
MARK_EVERY: Final = 20
MARKS: Final = "marks"
"""The queue that takes consumers' own messages."""

HEADER_TABLE: Final = b"\x01nI\x00\x00\x00\x07"


def body_of(publisher: int, number: int) -> bytes:
    """Give the body of a publisher's message."""
    size = (number * 7919) % 300
    if number % 997 == 0:
        size = 70_000
    elif number % 97 == 0:
        size = 9000
    return b"%d:%d:" % (publisher, number) + bytes([number % 251]) * size


def header_of(body: bytes) -> bytes:
    """Give the content header of a persistent message with a header table."""
    table = struct.pack(">I", len(HEADER_TABLE)) + HEADER_TABLE
    return b"\x00\x3c\x00\x00" + struct.pack(">Q", len(body)) + b"\x30\x00" + table + b"\x02"


def message_frames(publisher: int, number: int, exchange: str, key: str, channel: int = 1) -> bytes:
    """Give the frames of a publish."""
    body = body_of(publisher, number)
    method = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=key), channel)
    return method + raw_frame(2, channel, header_of(body)) + raw_frame(3, channel, body)


class Client(threading.Thread):
    """A thread with a connection; ends when the broker does.

    Attributes:
        broken: what it found wrong.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.wire = Wire(port, timeout=30.0).open(channels=1)
        self.broken: list[str] = []
        self.blocked = threading.Event()
        """Set while the broker has said that it takes no messages."""

    def run(self) -> None:
        """Work until the connection breaks."""
        try:
            self.work()
        except (OSError, EOFError):
            pass
        except AssertionError as error:
            self.broken.append(str(error))
        finally:
            self.wire.close()

    def work(self) -> None:
        """What it does."""
        raise NotImplementedError

    def read_frame(self) -> RawFrame:
        """Return the next frame that is no notice about being blocked."""
        while True:
            found = self.wire.read_frame()
            if found.channel:
                return found
            kind = int.from_bytes(found.payload[:4], "big")
            if kind == BLOCKED:
                self.blocked.set()
            elif kind == UNBLOCKED:
                self.blocked.clear()
            else:
                raise AssertionError(f"expected nothing on channel 0, got {found}")


class Publisher(Client):
    """Publishes with confirms, at most ``WINDOW`` outstanding.

    Args:
        port: of the broker.
        publisher: its number.
        first: number of its first message.
        target: gives exchange and routing key of a message.

    Attributes:
        sent, confirmed: numbers of the last message sent, and of the last one confirmed.
    """

    def __init__(
        self, port: int, publisher: int, first: int, target: Callable[[int, int], tuple[str, str]]
    ) -> None:
        super().__init__(port)
        self.publisher = publisher
        self.target = target
        self.first = first
        self.sent = self.confirmed = first - 1
        self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)

    def work(self) -> None:
        while True:
            room = WINDOW - (self.sent - self.confirmed)
            frames = []
            for number in range(self.sent + 1, self.sent + 1 + room):
                frames.append(self.frames_of(number))
            self.sent += room
            self.wire.send(*frames)
            found = self.read_frame()
            assert found.payload[:4] == ACK.to_bytes(4, "big"), (
                f"expected a confirm, got {found.payload[:12]!r}"
            )
            tag = int.from_bytes(found.payload[4:12], "big")
            self.confirmed = self.first - 1 + tag

    def frames_of(self, number: int) -> bytes:
        """Give the frames of a publish."""
        return message_frames(self.publisher, number, *self.target(self.publisher, number))


class Transactor(Client):
    """Publishes in transactions of ``size`` messages to as many queues.

    Attributes:
        sent, confirmed: numbers of the last message sent, and of the last one committed.
    """

    def __init__(
        self, port: int, publisher: int, first: int, target: Callable[[int, int], tuple[str, str]], size: int
    ) -> None:
        super().__init__(port)
        self.publisher = publisher
        self.target = target
        self.size = size
        self.first = first
        self.sent = self.confirmed = first - 1
        self.wire.call(commands.Tx.Select(), 1, commands.Tx.SelectOk)

    def work(self) -> None:
        commit = frame.marshal(commands.Tx.Commit(), 1)
        while True:
            numbers = range(self.sent + 1, self.sent + 1 + self.size)
            frames = [message_frames(self.publisher, n, *self.target(self.publisher, n)) for n in numbers]
            self.sent += self.size
            self.wire.send(*frames, commit)
            found = self.read_frame()
            assert found.payload == COMMIT_OK.to_bytes(4, "big"), f"expected commit-ok, got {found}"
            self.confirmed = self.sent


class Received:
    """One delivery."""

    __slots__ = ("body", "header", "redelivered", "tag")

    def __init__(self, tag: int, redelivered: bool, header: bytes, body: bytes) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.header = header
        self.body = body


class Consumer(Client):
    """Consumes a queue and acknowledges, or not.

    Args:
        port: of the broker.
        queue: which one.
        lazy: share of deliveries it leaves unanswered.
        seed: for that.
        prefetch: as in ``basic.qos``; 0 is unlimited.
        marks: its number as a publisher, if it shall publish a message with a confirm every now and then on
            the channel of its acknowledgements: once that is confirmed, what was acknowledged before is
            durable, too.
        first: number of the first such message.

    Attributes:
        received: every delivery, in order.
        acked: indices into it of what was acknowledged.
        settled: those of them that were acknowledged before a message since confirmed.
        sent, confirmed: numbers of the last mark sent, and of the last one confirmed.
    """

    def __init__(
        self,
        port: int,
        queue: str,
        lazy: float,
        seed: int,
        prefetch: int,
        marks: int | None = None,
        first: int = 1,
    ) -> None:
        super().__init__(port)
        self.queue = queue
        self.lazy = lazy
        self.chance = random.Random(seed)
        self.received: list[Received] = []
        self.acked: set[int] = set()
        self.settled: set[int] = set()
        self.marks = marks
        self.first = first
        self.sent = self.confirmed = first - 1
        self._before_mark: set[int] = set()
        self.wire.call(commands.Basic.Qos(prefetch_count=prefetch), 1, commands.Basic.QosOk)
        if marks is not None:
            self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)

    def work(self) -> None:
        self.wire.call(commands.Basic.Consume(queue=self.queue), 1, commands.Basic.ConsumeOk)
        while True:
            received = self.next()
            if self.chance.random() >= self.lazy:
                self.acked.add(len(self.received) - 1)
                self.ack(received.tag, False)
                if len(self.acked) % MARK_EVERY == 0 and self.marks is not None:
                    self._mark(self.marks)

    def _mark(self, publisher: int) -> None:
        """Publish a mark, unless the one before is still under way."""
        if self.sent == self.confirmed:
            self._before_mark = set(self.acked)
            self.sent += 1
            self.wire.send(message_frames(publisher, self.sent, "", MARKS))

    def next(self) -> Received:
        """Wait for a delivery and write it down."""
        read = self.read_frame
        method = read().payload
        while method[:4] == ACK.to_bytes(4, "big"):
            self.confirmed += 1
            self.settled |= self._before_mark
            method = read().payload
        assert method[:4] == DELIVER.to_bytes(4, "big"), f"expected a delivery, got {method[:20]!r}"
        at = 5 + method[4]
        tag = int.from_bytes(method[at : at + 8], "big")
        header = read().payload
        size = int.from_bytes(header[4:12], "big")
        body = b""
        while len(body) < size:
            body += read().payload
        received = Received(tag, bool(method[at + 8]), header, body)
        self.received.append(received)
        return received

    def ack(self, tag: int, multiple: bool) -> None:
        """Acknowledge."""
        payload = struct.pack(">IQB", ACK, tag, multiple)
        self.wire.send(raw_frame(1, 1, payload))


class Topologist(Client):
    """Declares, binds and deletes queues, and writes down what was answered.

    Attributes:
        promised: by queue name, True if it must be there, False if it must not, None if it is not known.
    """

    def __init__(self, port: int, prefix: str, exchange: str) -> None:
        super().__init__(port)
        self.prefix = prefix
        self.exchange = exchange
        self.promised: dict[str, bool | None] = {}

    def work(self) -> None:
        number = 0
        while True:
            name = f"{self.prefix}{number}"
            self.promised[name] = None
            self.wire.call(commands.Queue.Declare(queue=name, durable=True), 1, commands.Queue.DeclareOk)
            bind = commands.Queue.Bind(queue=name, exchange=self.exchange, routing_key=name)
            self.wire.call(bind, 1, commands.Queue.BindOk)
            self.promised[name] = True
            if number % 3:
                self.promised[name] = None
                self.wire.call(commands.Queue.Delete(queue=name), 1, commands.Queue.DeleteOk)
                self.promised[name] = False
            number += 1
