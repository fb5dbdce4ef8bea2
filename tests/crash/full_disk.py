"""A disk that is full for a while, under load: publishers wait, nothing is confirmed and nothing lost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from pamqp import commands

from tests.crash.clients import MARKS, Consumer
from tests.crash.faults import BEFORE, ENOSPC, HALF, Fault
from tests.crash.points import SEGMENTS, SNAPSHOT, Points
from tests.crash.rounds import CONSUMED, Broken, Load
from tests.server.process import BrokerProcess, eventually

ATTEMPTS: Final = 3
"""How often the node must have tried in vain before we believe that it waits."""

FULL: Final = {
    "in the middle of a batch": Fault("write", SEGMENTS, HALF, 20, ENOSPC),
    "before a batch": Fault("write", SEGMENTS, BEFORE, 20, ENOSPC),
    "when a segment is made": Fault("create", SEGMENTS, BEFORE, 2, ENOSPC),
    "in the head of a segment": Fault("write-head", SEGMENTS, HALF, 2, ENOSPC),
}
NO_SNAPSHOT: Final = Fault("write", SNAPSHOT + ".tmp", HALF, 1, ENOSPC)


class FullDisk(Points):
    """A node whose disk has no space for a while.

    Args:
        folder: for everything.
        seed: decides what happens.
    """

    def outlast(self, fault: Fault, blocks: bool = True) -> None:
        """Let the disk be full under load, give space back, and kill the node later.

        Args:
            fault: what finds no space.
            blocks: whether publishers must be told to wait.

        Raises:
            Broken: a promise was not kept.
        """
        broker = self._first()
        load = Load(broker.port, self.chance, self.ledger, list(CONSUMED), "temporary-", (0.0,))
        load.start()
        consumers: list[Consumer] = []
        try:
            eventually(
                lambda: load.confirmed() > 300 and load.consumers[0].confirmed, "the clients get going"
            )
            self.faults.arm(fault)
            if blocks:
                consumers.append(self._while_full(broker, load))
            else:
                self._refused(2)
            self.faults.disarm()
            eventually(lambda: not any(each.blocked.is_set() for each in load.clients), "all are unblocked")
            before = load.confirmed()
            eventually(lambda: load.confirmed() > before + 500, "publishers are confirmed again")
            if broker.process.poll() is not None:
                raise Broken("the node did not live through a full disk")
        finally:
            self.faults.disarm()
            self._end(signal.SIGKILL)
            load.finish(forgiving=False)
        for consumer in consumers:
            self.ledger.consumed(consumer)
        for sentence in ("the disk is full", "the disk has space again"):
            if blocks and sentence not in broker.log:
                raise Broken(f"{sentence!r} is not in the log:\n{broker.log[-2000:]}")
        if "Traceback" in broker.log:
            raise Broken(f"a traceback in the log:\n{broker.log[-3000:]}")
        self._flags = True
        self._check(self._begin().port)

    def _refused(self, times: int) -> None:
        seen = len(self.faults.fired())
        eventually(lambda: len(self.faults.fired()) >= seen + times, "the node tries to write again")

    def _while_full(self, broker: BrokerProcess, load: Load) -> Consumer:
        publishers = load.publishers
        eventually(lambda: all(each.blocked.is_set() for each in publishers), "publishers are blocked")
        self._refused(1)
        confirmed = load.confirmed()
        # What is stored can be taken all the time.
        consumer = Consumer(broker.port, MARKS, 1.0, 0, 1)
        consumer.wire.method(commands.Basic.Consume(queue=MARKS), 1)
        consumer.wire.expect(commands.Basic.ConsumeOk)
        consumer.next()
        consumer.wire.close()
        self._refused(ATTEMPTS)
        if load.confirmed() != confirmed:
            raise Broken(f"{load.confirmed() - confirmed} messages were confirmed while the disk was full")
        return consumer


def run(folder: Path, seed: int, name: str) -> None:
    """Outlast one kind of full disk on a new data directory.

    Raises:
        Broken: a promise was not kept.
    """
    disk = FullDisk(folder, seed)
    try:
        disk.outlast(FULL[name])
    finally:
        disk.end()
