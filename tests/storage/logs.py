"""Small pieces of a log for tests: segments made by hand, and a store in memory that a test drives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harebell.content.message import Message, address
from harebell.engine.commands import encode
from harebell.engine.metadata import snapshot
from harebell.paging import NO_LIMIT
from harebell.restoring import restore
from harebell.storage.committer import Committer
from harebell.storage.records import (
    CLEAN,
    MESSAGE,
    RUN,
    StoredMessage,
    encode_message,
    encode_record,
    encode_segment_head,
)
from harebell.storage.segments import segment_name
from harebell.storage.store import Events, Store
from tests.storage.fake_disk import FakeDisk
from tests.support.node import Node

NODE = 77


def message(body: bytes = b"body", header: bytes = b"header") -> Message:
    """Make a persistent message."""
    return Message(address("", "q"), header, body, True)


def message_payload(body: bytes, *enqueues: tuple[int, int]) -> bytes:
    """Encode a MESSAGE payload."""
    return encode_message(StoredMessage(True, address("", "q"), b"header", body, list(enqueues)))


def runs(*found: tuple[int, int, int]) -> bytes:
    """Encode runs."""
    return b"".join(RUN.pack(*run) for run in found)


class Segment:
    """One segment made by hand.

    Attributes:
        starts: offset of each record in the file.
    """

    def __init__(self, base: int, node: int = NODE) -> None:
        self.base = self.end = base
        self.octets = bytearray(encode_segment_head(base, node))
        self.starts: list[int] = []

    @property
    def name(self) -> str:
        """Its file's name."""
        return segment_name(self.base)

    def add(self, kind: int, payload: bytes, marks: int = 0) -> Segment:
        """Append a record."""
        record = encode_record(self.end, kind, payload, marks)
        self.starts.append(len(self.octets))
        self.octets += record
        self.end += len(record)
        return self

    def message(self, body: bytes, *enqueues: tuple[int, int]) -> Segment:
        """Append a MESSAGE record."""
        return self.add(MESSAGE, message_payload(body, *enqueues))

    def clean(self) -> Segment:
        """Append the mark of an orderly stop."""
        return self.add(CLEAN, b"")

    def put(self, disk: FakeDisk) -> Segment:
        """Put it on a disk."""
        disk.put(self.name, bytes(self.octets))
        return self


class Running:
    """A broker with a store on a fake disk, whose committer works when the test says so.

    Args:
        folder: the data directory; only its lock and its identity are real.
        disk: what survived.
        segment_bytes: size of a full segment.
        strict: refuse damage.
        budget: octets of ready messages that stay in memory.
        wall: what time it is, unix milliseconds; the real time if None.
    """

    def __init__(
        self,
        folder: Path,
        disk: FakeDisk,
        segment_bytes: int = 2000,
        strict: bool = False,
        budget: int = NO_LIMIT,
        wall: int | None = None,
    ) -> None:
        self.disk = disk
        self.failures: list[Exception] = []
        self.fullness: list[bool] = []
        self.spill = FakeDisk()
        self.store = Store(
            folder, strict, lambda text: None, disk, segment_bytes, budget=budget, spill=self.spill
        )
        self.clean = self.store.recovered.clean
        self.damage = [*map(str, self.store.recovered.damage), *self.store.recovered.missing]
        self.node = Node(self.store.journal, pager=self.store.pager)
        if wall is not None:
            self.node.clock.wall = wall
        recovered = self.store.recovered
        restore(self.node.broker, self.store)
        self.missing = list(recovered.missing)
        events = Events(
            lambda: self.node.sync(self.store.journal.durable),
            lambda error: self.fullness.append(error is not None),
            self.failures.append,
        )
        self.store.begin(lambda function, *arguments: function(*arguments), events, threaded=False)
        self.channel = self.node.connect().channel()
        self.channel.confirm_select()

    @property
    def committer(self) -> Committer:
        """The store's committer."""
        assert self.store.committer is not None
        return self.store.committer

    def work(self) -> None:
        """End the turn and let the committer finish."""
        self.store.journal.flush()
        self.node.broker.dispatcher.residency.relieve()
        self.committer.work()
        self.store.pager.work()

    def maintain(self, times: int = 50) -> None:
        """Let reclaim run until it has nothing left to do."""
        broker = self.node.broker
        for _ in range(times):
            self.store.maintain(broker, lambda: [encode(command) for command in snapshot(broker)])
            self.work()

    def ask(self, question: Callable[[], None]) -> None:
        """Send something whose -ok waits for the disk, and let it come."""
        question()
        self.work()
        self.node.clients[-1].received()

    def bodies(self, queue: str) -> list[bytes]:
        """List what is ready in a queue."""
        return [bytes(stored.body) for stored, _ in self.node.queue(queue).peek(1 << 30)]

    def flags(self, queue: str) -> list[bool]:
        """List whether what is ready was delivered before."""
        return [returned for _, returned in self.node.queue(queue).peek(1 << 30)]

    def stop(self, clean: bool = True) -> FakeDisk:
        """End it: in order, or as by a kill, when everything written stays."""
        if clean:
            for client in self.node.clients:
                client.hang_up()
            self.store.close(clean=True)
        else:
            self.store.data_dir.close()
        return self.disk
