"""A broker with streams on fake disks that lose power together; threads work when the test says so."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from pamqp import commands

from harebell.engine.commands import encode
from harebell.engine.metadata import snapshot
from harebell.engine.queues.stream import StreamQueue
from harebell.paging import NO_LIMIT
from harebell.restoring import restore
from harebell.storage.page_thread import Damage
from harebell.storage.store import Events, Store
from harebell.streaming import StreamLog, StreamLogs
from tests.storage.fake_disk import FakeDisk
from tests.storage.streams.stream_rig import read
from tests.support.client import Delivery
from tests.support.node import Node

SEGMENT_BYTES = 3000
STREAM_SEGMENT = 1500


class SmallSegments(StreamLogs):
    """Logs with segments smaller than anybody may ask for.

    Args:
        logs: keeps them.
    """

    def __init__(self, logs: StreamLogs, segment_octets: int = STREAM_SEGMENT) -> None:
        self._logs = logs
        self._segment_octets = segment_octets

    def open(self, queue_id: int, segment_octets: int) -> StreamLog:
        return self._logs.open(queue_id, self._segment_octets)


class Disks:
    """The journal's disk and that of streams, in one machine.

    Attributes:
        journal, streams: the two.
    """

    def __init__(self, journal: FakeDisk | None = None, streams: FakeDisk | None = None) -> None:
        self.journal = journal or FakeDisk()
        self.streams = streams or FakeDisk()

    def both(self) -> tuple[FakeDisk, FakeDisk]:
        """Give both."""
        return self.journal, self.streams

    def before(self, hook: Callable[[str, str], None] | None) -> None:
        """Have a hook called before each operation of either."""
        for disk in self.both():
            disk.before = hook

    def power_cut(self, chance: random.Random) -> Disks:
        """Give both as they may be found after losing power now."""
        block = chance.choice((64, 512))
        return Disks(*(disk.power_cut(chance, block) for disk in self.both()))


class StreamNode:
    """A broker with a store on fake disks; nothing is written until the test says so.

    Args:
        folder: the data directory; only its lock and its identity are real.
        disks: what survived.
        segment_bytes: size of a full segment of the journal.
        sync_octets: streams are synced after so much.
        segment_octets: size of a full segment of a stream.

    Attributes:
        missing, damage, found: what recovery said, and what was reported since.
    """

    def __init__(
        self,
        folder: Path,
        disks: Disks,
        segment_bytes: int = SEGMENT_BYTES,
        sync_octets: int = 1 << 40,
        segment_octets: int = STREAM_SEGMENT,
    ) -> None:
        self.disks = disks
        self.failures: list[Exception] = []
        self.fullness: list[bool] = []
        self.found: list[Damage] = []
        for disk in disks.both():
            disk.readers.clear()
        self.store = Store(
            folder,
            False,
            lambda text: None,
            disks.journal,
            segment_bytes,
            budget=NO_LIMIT,
            spill=FakeDisk(),
            streams=disks.streams,
        )
        try:
            self._start(sync_octets, segment_octets)
        except BaseException:
            self.store.data_dir.close()
            raise

    def _start(self, sync_octets: int, segment_octets: int) -> None:
        store = self.store
        store.streams.writer._sync_octets = sync_octets
        self.node = Node(store.journal, pager=store.pager)
        self.node.broker.streams = SmallSegments(store.streams, segment_octets)
        recovered = store.recovered
        self.clean = recovered.clean
        restore(self.node.broker, store)
        self.missing = [*(str(each) for each in recovered.damage if not each.harmless), *recovered.missing]
        events = Events(
            lambda: self.node.sync(store.journal.durable),
            lambda error: self.fullness.append(error is not None),
            self.failures.append,
            damaged=self.found.extend,
        )
        store.begin(lambda function, *arguments: function(*arguments), events, threaded=False)
        assert store.committer is not None
        store.committer._retry_seconds = 0.0
        self.commit = store.committer.work
        self.client = self.node.connect()
        self.channel = self.client.channel()

    def stream(self, name: str) -> StreamQueue:
        """Give a stream."""
        queue = self.node.queue(name)
        assert isinstance(queue, StreamQueue), f"{name} is no stream any more"
        return queue

    def work(self) -> None:
        """End the turn, and let all threads finish."""
        for _ in range(3):
            self.store.journal.flush()
            self.commit()
            self.store.pager.work()
            self.store.streams.work()
            self.node.turn()

    def maintain(self, times: int = 1) -> None:
        """Let the journal reclaim, copy forward, and forget what streams hold."""
        broker = self.node.broker
        for _ in range(times):
            self.store.maintain(broker, lambda: [encode(command) for command in snapshot(broker)])

    def forget(self) -> None:
        """Let the journal forget all it may."""
        for _ in range(30):
            self.maintain()
            self.work()

    def ask(self, *methods: object) -> None:
        """Send methods whose answers wait for the disk, and let these come."""
        for method in methods:
            self.channel.send(method)  # type: ignore[arg-type]
            self.work()
        kinds = (commands.Exchange.DeclareOk, commands.Queue.DeclareOk, commands.Queue.DeleteOk)
        answers = self.channel.take(*kinds, commands.Queue.BindOk)
        assert len(answers) == len(methods), f"{len(methods)} methods got {answers}"

    def events(self, name: str, offset: int = 0) -> list[tuple[int, bytes]]:
        """Read a stream's log to its end."""
        return [(at, bytes(body)) for at, body in read(self.stream(name).log, self.work, offset)]

    def bodies(self, name: str) -> list[bytes]:
        """List what is ready in a classic queue."""
        return [bytes(stored.body) for stored, _ in self.node.queue(name).peek(1 << 30)]

    def stop(self, clean: bool) -> None:
        """End it: in order, or as by a kill, when everything written stays."""
        if clean:
            self.work()
            for client in self.node.clients:
                client.hang_up()
            self.store.close(clean=True)
        else:
            self.store.data_dir.close()


def declare(name: str, kind: str = "stream", **arguments: object) -> commands.Queue.Declare:
    """Make a declaration of a durable queue."""
    table = {"x-queue-type": kind} | {f"x-{key.replace('_', '-')}": it for key, it in arguments.items()}
    method = commands.Queue.Declare(queue=name, durable=True)
    method.arguments = dict(table)  # type: ignore[arg-type]
    return method


def offset_of(delivery: Delivery) -> int:
    """Give the offset a delivery tells."""
    found = (delivery.properties.headers or {})["x-stream-offset"]
    assert isinstance(found, int)
    return found
