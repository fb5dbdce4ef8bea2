"""Named points of a node's life at which it is killed, or at which its disk fails, under load.

``python -m tests.crash.points --seed 7`` goes through all of them; ``--points NAME ...`` through some.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.crash.faults import AFTER, BEFORE, EIO, ENOSPC, HALF, KILL, Control, Fault
from tests.crash.rounds import CONSUMED, Broken, Crashes, Load
from tests.server.process import BrokerProcess, eventually

SEGMENTS: Final = "*.wal"
SNAPSHOT: Final = "metadata.snapshot"
COPY: Final = "metadata.snapshot.copy"

RUNNING, STOPPING, STARTING, STARTING_TORN = "running", "stopping", "starting", "starting after a torn write"

SEGMENT_BYTES: Final = 40_000
LAZY: Final = (0.0, 0.01)
"""Nearly everything is acknowledged, so that segments can go."""

REACH_SECONDS: Final = 20.0
AT_ONCE: Final = 3.0
"""Seconds a node may take to end after its disk failed, on a loaded machine."""

CANNOT_USE: Final = 73
"""Exit code of a node that cannot use its data directory."""


class Point(NamedTuple):
    """Where a node ends.

    Attributes:
        fault: what ends it.
        phase: when that is in force.
        code: what the process then ends with.
        spread: the fault strikes at any of so many such operations.
    """

    fault: Fault
    phase: str = RUNNING
    code: int = -signal.SIGKILL
    spread: int = 1


POINTS: Final = {
    "before a batch is written": Point(Fault("write", SEGMENTS, BEFORE), spread=60),
    "with half a batch written": Point(Fault("write", SEGMENTS, HALF), spread=60),
    "with a batch written and not synced": Point(Fault("write", SEGMENTS, AFTER), spread=60),
    "before a sync": Point(Fault("sync", SEGMENTS, BEFORE), spread=60),
    "with a batch synced and not reported": Point(Fault("sync", SEGMENTS, AFTER), spread=60),
    "before a segment is closed": Point(Fault("close", SEGMENTS, BEFORE), spread=5),
    "before a segment is made": Point(Fault("create", SEGMENTS, BEFORE), spread=5),
    "with an empty segment made": Point(Fault("create", SEGMENTS, AFTER), spread=5),
    "with half a segment head written": Point(Fault("write-head", SEGMENTS, HALF), spread=5),
    "with a segment head written": Point(Fault("write-head", SEGMENTS, AFTER), spread=5),
    "before the folder of a new segment is synced": Point(Fault("sync_folder", "", BEFORE), spread=5),
    "after the folder of a new segment is synced": Point(Fault("sync_folder", "", AFTER), spread=5),
    "before the snapshot is replaced": Point(Fault("replace", SNAPSHOT, BEFORE), spread=2),
    "with half the snapshot written": Point(Fault("write", SNAPSHOT + ".tmp", HALF), spread=2),
    "with the snapshot written and not renamed": Point(Fault("sync", SNAPSHOT + ".tmp", AFTER), spread=2),
    "between the two copies of the snapshot": Point(Fault("replace", SNAPSHOT, AFTER), spread=2),
    "with half the second copy written": Point(Fault("write", COPY + ".tmp", HALF), spread=2),
    "after both copies of the snapshot": Point(Fault("replace", COPY, AFTER), spread=2),
    "before a segment is removed": Point(Fault("remove", SEGMENTS, BEFORE), spread=2),
    "between two removals": Point(Fault("remove", SEGMENTS, AFTER), spread=3),
    "while a segment is read at the start": Point(Fault("read", SEGMENTS, BEFORE), STARTING, spread=2),
    "while the snapshot is read at the start": Point(Fault("read", SNAPSHOT, BEFORE), STARTING),
    "while a torn tail is set aside": Point(Fault("write", "*.torn.tmp", HALF), STARTING_TORN),
    "with a torn tail set aside": Point(Fault("replace", "*.torn", AFTER), STARTING_TORN),
    "before a torn tail is cut": Point(Fault("truncate", SEGMENTS, BEFORE), STARTING_TORN),
    "with a torn tail cut and not synced": Point(Fault("truncate", SEGMENTS, AFTER), STARTING_TORN),
    "while the first segment of a start is made": Point(Fault("create", SEGMENTS, AFTER), STARTING),
    "before the last record of an orderly stop": Point(Fault("finish", SEGMENTS, BEFORE), STOPPING),
    "with half the last write of an orderly stop": Point(Fault("finish", SEGMENTS, HALF), STOPPING),
    "after the last write of an orderly stop": Point(Fault("finish", SEGMENTS, AFTER), STOPPING),
    "when the last segment is closed": Point(Fault("close", SEGMENTS, BEFORE), STOPPING),
    "a write fails": Point(Fault("write", SEGMENTS, BEFORE, effect=EIO), code=1, spread=60),
    "half a write fails": Point(Fault("write", SEGMENTS, HALF, effect=EIO), code=1, spread=60),
    "a sync fails": Point(Fault("sync", SEGMENTS, BEFORE, effect=EIO), code=1, spread=60),
    "a segment cannot be made": Point(Fault("create", SEGMENTS, BEFORE, effect=EIO), code=1, spread=5),
    "the snapshot cannot be written": Point(Fault("write", SNAPSHOT + ".tmp", effect=EIO), code=1),
    "the snapshot cannot be synced": Point(Fault("sync", SNAPSHOT + ".tmp", effect=EIO), code=1),
    "a segment cannot be removed": Point(Fault("remove", SEGMENTS, effect=EIO), code=1),
    "a segment cannot be read at the start": Point(
        Fault("read", SEGMENTS, effect=EIO), STARTING, CANNOT_USE, spread=2
    ),
    "the disk is full during an orderly stop": Point(Fault("write", SEGMENTS, effect=ENOSPC), STOPPING, 0),
}


class Points(Crashes):
    """A data directory whose nodes end at named points, one after the other.

    Args:
        folder: for everything.
        seed: decides what happens.
        second_start: how often a node is killed and started again after its content was checked.
    """

    def __init__(self, folder: Path, seed: int, second_start: float = 0.25) -> None:
        super().__init__(folder, seed, segment_bytes=SEGMENT_BYTES)
        self.faults = Control(self.control)
        self.second_start = second_start
        self.history: list[str] = []
        self._broker: BrokerProcess | None = None

    def end(self) -> None:
        """End what runs."""
        self._end(signal.SIGKILL)

    def survive(self, name: str) -> None:
        """Let the node end at a point, start it again, and check what is there.

        Raises:
            Broken: a promise was not kept, or the point was not reached.
        """
        self._round += 1
        self.history.append(name)
        point = POINTS[name]
        fault = point.fault._replace(nth=self.chance.randint(1, point.spread))
        broker = self._broker or self._first()
        self._broker = None
        if point.phase in (RUNNING, STOPPING):
            self._end_under_load(broker, point, fault)
        else:
            half = Fault("write", SEGMENTS, HALF, self.chance.randint(1, 60))
            torn = half if point.phase == STARTING_TORN else half._replace(moment=AFTER)
            self._end_under_load(broker, Point(torn), torn)
            self._end_at_the_start(point, fault)
        self._flags = True if point.phase == RUNNING else None
        self._broker = self._begin()
        self._check(self._broker.port)
        if fault.moment != HALF and point.phase in (RUNNING, STOPPING):
            self._expect_no_damage(self._broker)
        if self.chance.random() < self.second_start:
            self._end(signal.SIGKILL)
            self._broker = self._begin()
            self._check(self._broker.port)
            self._expect_no_damage(self._broker)

    def _expect_no_damage(self, broker: BrokerProcess) -> None:
        found = re.search(r"journal: .*(octets|damaged|missing).*", broker.log)
        if found is not None:
            raise Broken(f"nothing is torn or damaged, and the log says: {found[0]}")

    def _first(self) -> BrokerProcess:
        broker = self._begin()
        self._declare(broker.port)
        return broker

    def _begin(self) -> BrokerProcess:
        try:
            return BrokerProcess(*self._spawn())
        except AssertionError as error:
            raise Broken(f"the node does not start again: {error}") from None

    def _end_under_load(self, broker: BrokerProcess, point: Point, fault: Fault) -> None:
        prefix = f"temporary-{self._round}-"
        load = Load(broker.port, self.chance, self.ledger, list(CONSUMED), prefix, LAZY)
        load.start()
        try:
            eventually(lambda: load.confirmed() > 300, "the publishers get going", REACH_SECONDS)
            self.faults.arm(fault)
            if point.phase == STOPPING:
                broker.signal(signal.SIGTERM)
            self._expect_end(broker.process, point, broker.log_file)
        finally:
            self._end(signal.SIGKILL)
            self.faults.disarm()
            load.finish(forgiving=point.code >= 0 or point.phase == STOPPING)

    def _end_at_the_start(self, point: Point, fault: Fault) -> None:
        self.faults.arm(fault)
        process, log_file, _ = self._spawn()
        try:
            self._expect_end(process, point, log_file)
        finally:
            self._end(signal.SIGKILL)
            self.faults.disarm()

    def _expect_end(self, process: subprocess.Popen[bytes], point: Point, log_file: Path) -> None:
        try:
            code = process.wait(REACH_SECONDS)
        except subprocess.TimeoutExpired:
            raise Broken(f"not reached, or survived, in {REACH_SECONDS} s: {point}") from None
        ended = time.time()
        fired = self.faults.fired()
        log = log_file.read_text(errors="replace")
        if not fired or code != point.code:
            raise Broken(
                f"ended with {code} instead of {point.code}; faults: {fired}; {point}\n{log[-2000:]}"
            )
        if point.fault.effect == EIO:
            took = ended - float(fired[0].split()[0])
            if took > AT_ONCE:
                raise Broken(f"the node took {took:.1f} s to end after its disk failed")
            if point.phase == RUNNING and not re.search(r"\[critical\].* journal cannot be written", log):
                raise Broken(f"no critical line says that the journal cannot be written:\n{log[-2000:]}")
        if "Traceback" in log:
            raise Broken(f"a traceback in the log:\n{log[-3000:]}")
        if point.fault.effect == KILL:
            self.kills += 1

    def replay(self, seed: int) -> str:
        """Give the command line that does the same again."""
        names = " ".join(f'"{name}"' for name in self.history)
        return f"python -m tests.crash.points --seed {seed} --points {names}"


def main() -> int:
    """Go through points from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--times", type=int, default=1, help="how often all of them, in any order")
    parser.add_argument("--points", nargs="+", choices=POINTS, metavar="NAME", help="; ".join(POINTS))
    arguments = parser.parse_args()
    return run(arguments.seed, arguments.times, arguments.points)


def run(seed: int, times: int, names: list[str] | None = None) -> int:
    """Go through points; give the exit code.

    Args:
        seed: decides what happens.
        times: how often all of them, in any order, each time on a new data directory.
        names: these instead, in this order.
    """
    chance = random.Random(seed)
    for _ in range(times):
        order = names or chance.sample(list(POINTS), len(POINTS))
        own_seed = seed if names else chance.randrange(1 << 30)
        with tempfile.TemporaryDirectory() as folder:
            points = Points(Path(folder), own_seed)
            try:
                for name in order:
                    points.survive(name)
            except (Broken, AssertionError) as error:
                print(f"{points.history[-1]}: {error}\nreplay: {points.replay(own_seed)}", flush=True)
                return 1
            finally:
                points.end()
            ledger = points.ledger
            print(
                f"{len(order)} points (seed {own_seed}), {ledger.confirms} confirms, "
                f"{ledger.messages} deliveries, "
                f"{ledger.duplicates} duplicates, all flagged; nothing confirmed was lost",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
