"""A broker on fake disks that is ended and started again: one life of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harebell.engine.commands import encode
from harebell.engine.metadata import snapshot
from harebell.restoring import restore
from harebell.storage.store import Events, Store
from tests.storage.fake_disk import FakeDisk
from tests.storage.stream_node import Disks
from tests.support.node import Node

START = 1_700_000_000_000


class Life:
    """A broker from a start to its end; threads work when the test says so.

    Args:
        folder: the data directory; only its lock and its identity are real.
        disks: what survived.
        segment_octets: size of a full segment of the journal.
        budget: octets of ready messages that stay in memory.
        wall: what time it is, unix milliseconds.
    """

    def __init__(self, folder: Path, disks: Disks, segment_octets: int, budget: int, wall: int) -> None:
        for disk in disks.both():
            disk.readers.clear()
        self.disks = disks
        self.failures: list[Exception] = []
        self.store = Store(
            folder,
            False,
            lambda text: None,
            disks.journal,
            segment_octets,
            budget=budget,
            spill=FakeDisk(),
            streams=disks.streams,
        )
        self.node = Node(self.store.journal, pager=self.store.pager)
        self.node.broker.streams = self.store.streams
        self.node.clock.wall = wall
        self.node.clock.now = wall - START + 1_000_000
        restore(self.node.broker, self.store)
        recovered = self.store.recovered
        self.damage = [*(str(each) for each in recovered.damage), *recovered.missing]
        events = Events(
            lambda: self.node.sync(self.store.journal.durable),
            lambda error: None,
            self.failures.append,
            damaged=lambda found: self.damage.extend(str(each) for each in found),
        )
        self.store.begin(lambda function, *arguments: function(*arguments), events, threaded=False)
        self.channel = self.node.connect().channel()
        self.channel.confirm_select()

    def work(self) -> None:
        """End the turn, and let all threads finish."""
        self.store.journal.flush()
        self.node.broker.dispatcher.residency.relieve()
        assert self.store.committer is not None
        self.store.committer.work()
        self.store.pager.work()
        self.store.streams.work()
        self.node.turn()

    def maintain(self, times: int = 50) -> None:
        """Let reclaim run."""
        broker = self.node.broker
        for _ in range(times):
            self.store.maintain(broker, lambda: [encode(command) for command in snapshot(broker)])
            self.work()

    def ask(self, question: Callable[[], None]) -> None:
        """Send something whose -ok waits for the disk, and let it come."""
        question()
        self.work()
        self.node.clients[-1].received()

    def stop(self, clean: bool) -> None:
        """End it: in order, or as by a kill, when everything written stays."""
        if clean:
            for client in self.node.clients:
                client.hang_up()
            self.store.close(clean=True)
        else:
            self.store.data_dir.close()
