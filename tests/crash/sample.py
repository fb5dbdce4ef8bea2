"""Data directories with known contents, made by a real node: what is stored in them, and where."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pamqp import commands, frame

from harebell.storage.data_dir import JOURNAL
from harebell.storage.records import (
    GROUP,
    MESSAGE,
    SEGMENT_HEAD_SIZE,
    Record,
    decode_message,
    records_in_group,
    walk,
)
from harebell.storage.segments import NAME_SUFFIX
from harebell.storage.snapshot import COPY
from tests.crash.clients import Consumer, message_frames
from tests.crash.faulty_node import command, environment_of_tests
from tests.server.process import BrokerProcess, eventually
from tests.server.wire import Wire

SEGMENT_BYTES: Final = 60_000
TX_SIZE: Final = 4
AUDITS: Final = ("audit-1", "audit-2")
QUEUES: Final = ("jobs", "mail", *AUDITS, "late")
PUBLISHERS: Final = range(5)
TRANSACTOR: Final = 3

Key = tuple[int, int]
"""Publisher and number of a message."""


def queues_of(publisher: int, number: int) -> tuple[str, ...]:
    """Give the queues that take a message; there is one of one publisher in several."""
    if publisher == TRANSACTOR:
        return (("jobs", "mail")[number % 2],)
    return (("jobs",), AUDITS, ("mail",), (), ("late",))[publisher]


class Place(NamedTuple):
    """Where a record is."""

    file: str
    start: int
    end: int
    kind: int


class Sample:
    """A data directory nobody uses.

    Args:
        path: of it.
        alive: by queue, the messages in it, oldest first.
        returned: by queue, those of them that were delivered before.

    Attributes:
        files: the octets of the journal's files.
        places: all records.
        stored: by message, the records it is in.
    """

    def __init__(self, path: Path, alive: dict[str, list[Key]], returned: dict[str, set[Key]]) -> None:
        self.path = path
        self.alive = alive
        self.returned = returned
        self.files = {file.name: file.read_bytes() for file in sorted((path / JOURNAL).iterdir())}
        self.places: list[Place] = []
        self.stored: dict[Key, list[Place]] = {}
        for name in self.segments():
            self._read(name)

    def segments(self) -> list[str]:
        """Give the names of the segments, oldest first."""
        return [name for name in self.files if name.endswith(NAME_SUFFIX)]

    def _read(self, name: str) -> None:
        base = int(name.removesuffix(NAME_SUFFIX), 16)
        for found in walk(self.files[name], SEGMENT_HEAD_SIZE, base):
            assert isinstance(found, Record), f"{name} of the sample is damaged: {found}"
            start = found.lsn - base + SEGMENT_HEAD_SIZE
            place = Place(name, start, found.end - base + SEGMENT_HEAD_SIZE, found.kind)
            self.places.append(place)
            for body in bodies_in(found):
                publisher, number = body.split(b":", 2)[:2]
                self.stored.setdefault((int(publisher), int(number)), []).append(place)


def bodies_in(record: Record) -> Iterator[bytes]:
    """Give the bodies of the messages in a record."""
    if record.kind == MESSAGE:
        yield decode_message(record.payload).body
    elif record.kind == GROUP:
        for kind, payload in records_in_group(record.payload):
            if kind == MESSAGE:
                yield decode_message(payload).body


class Maker:
    """Makes two samples: of a node that was stopped in order, and of one that was killed later on.

    Args:
        folder: for them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "made"
        self.alive: dict[str, list[Key]] = {queue: [] for queue in QUEUES}
        self.returned: dict[str, set[Key]] = {queue: set() for queue in QUEUES}
        self._sent = dict.fromkeys(PUBLISHERS, 0)
        self._starts = 0

    def make(self) -> list[Sample]:
        """Make both."""
        broker = self._start()
        self._declare(broker.port, QUEUES[:-1])
        for publisher in (0, 1, 2, 3):
            self._publish(broker.port, publisher, 200)
        for queue in QUEUES[:-1]:
            self._take(broker.port, queue, acked=170, returned=5)
        copy = self.data / JOURNAL / COPY
        eventually(copy.exists, "segments are deleted, so that there is a snapshot")
        self._declare(broker.port, QUEUES[-1:])
        for publisher in (4, 2, 3, 1, 0):
            self._publish(broker.port, publisher, 300)
        self._take(broker.port, "jobs", acked=20, returned=20)
        self._end(broker, signal.SIGTERM)
        stopped = self._sample("stopped")
        broker = self._start()
        for publisher in (0, 3, 1):
            self._publish(broker.port, publisher, 100)
        self._take(broker.port, "mail", acked=30, returned=10)
        self._publish(broker.port, 4, 100)
        while self._last_size() < 1000:
            self._publish(broker.port, 4, 4)
        self._end(broker, signal.SIGKILL)
        return [stopped, self._sample("killed")]

    def _start(self) -> BrokerProcess:
        self._starts += 1
        log_file, ports_file = self.folder / f"made-{self._starts}.log", self.folder / "ports.json"
        ports_file.unlink(missing_ok=True)
        line = ["serve", "--data-dir", str(self.data), "--bind", "127.0.0.1", "--port", "0"]
        line += ["--log-format", "text", "--ports-file", str(ports_file)]
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command(self.folder / "no-faults", SEGMENT_BYTES, *line),
                cwd=self.folder,
                env=environment_of_tests(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return BrokerProcess(process, log_file, ports_file)

    def _end(self, broker: BrokerProcess, number: signal.Signals) -> None:
        broker.signal(number)
        broker.wait()

    def _last_size(self) -> int:
        """Give the size of the segment being written."""
        return max((self.data / JOURNAL).glob("*" + NAME_SUFFIX)).stat().st_size

    def _sample(self, name: str) -> Sample:
        path = self.folder / name
        shutil.copytree(self.data, path)
        alive = {queue: list(keys) for queue, keys in self.alive.items()}
        return Sample(path, alive, {queue: set(keys) for queue, keys in self.returned.items()})

    def _declare(self, port: int, queues: tuple[str, ...]) -> None:
        with Wire(port).open(channels=1) as wire:
            exchange = commands.Exchange.Declare(exchange="audit", exchange_type="fanout", durable=True)
            wire.call(exchange, 1, commands.Exchange.DeclareOk)
            for queue in queues:
                wire.declare(queue, durable=True)
                if queue in AUDITS:
                    wire.call(commands.Queue.Bind(queue=queue, exchange="audit"), 1, commands.Queue.BindOk)
            wire.close_politely()

    def _publish(self, port: int, publisher: int, count: int) -> None:
        """Publish and wait until all of it is confirmed or committed."""
        first = self._sent[publisher] + 1
        self._sent[publisher] += count
        frames: list[bytes] = []
        commit = frame.marshal(commands.Tx.Commit(), 1)
        for number in range(first, first + count):
            queues = queues_of(publisher, number)
            exchange, key = ("audit", "") if queues == AUDITS else ("", queues[0])
            frames.append(message_frames(publisher, number, exchange, key))
            if publisher == TRANSACTOR and number % TX_SIZE == 0:
                frames.append(commit)
            for queue in queues:
                self.alive[queue].append((publisher, number))
        with Wire(port).open(channels=1) as wire:
            if publisher == TRANSACTOR:
                wire.call(commands.Tx.Select(), 1, commands.Tx.SelectOk)
                wire.send(*frames)
                for _ in range(count // TX_SIZE):
                    wire.expect(commands.Tx.CommitOk)
            else:
                wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
                wire.send(*frames)
                while wire.expect(commands.Basic.Ack).delivery_tag != count:
                    pass
            wire.close_politely()

    def _take(self, port: int, queue: str, acked: int, returned: int) -> None:
        """Acknowledge the first messages of a queue for good, and give back those behind them."""
        consumer = Consumer(port, queue, 0.0, 0, acked + returned)
        with consumer.wire as wire:
            wire.call(commands.Basic.Consume(queue=queue, consumer_tag="take"), 1, commands.Basic.ConsumeOk)
            for _ in range(acked + returned):
                consumer.next()
            wire.call(commands.Basic.Cancel(consumer_tag="take"), 1, commands.Basic.CancelOk)
            consumer.ack(consumer.received[acked - 1].tag, True)
            # The answers to these are durable, so the acknowledgement before them is, too.
            wire.declare("taken", durable=True)
            wire.call(commands.Queue.Delete(queue="taken"), 1, commands.Queue.DeleteOk)
            wire.close_politely()
        keys = self.alive[queue]
        del keys[:acked]
        self.returned[queue] = {*self.returned[queue], *keys[:returned]} & set(keys)
