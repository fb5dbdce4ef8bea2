"""Kill the broker while queues retry, group, pause, slow down and remember, and look what comes of it.

``python -m tests.crash.features --rounds 50 --seed 7``.  The journal's segments are small and there is little
memory, so that what must be remembered is copied forward, and what is in queues is on disk.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from harebell.storage.data_dir import JOURNAL
from tests.crash import repeats
from tests.crash.flowing import FlowBroken, FlowLedger
from tests.crash.grouped import GroupsBroken, GroupsLedger
from tests.crash.renewed import WindowsBroken, WindowsLedger
from tests.crash.retrying import RetriesBroken, RetriesLedger
from tests.crash.rounds import Broken, Crashes
from tests.crash.workers import declare_marks
from tests.server.process import BrokerProcess
from tests.server.wire import Wire

SEGMENT_BYTES: Final = 50_000
SETTINGS: Final = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}
OFTEN: Final = 0.02
"""Seconds between two looks at what may be copied forward."""

SHORTEST, LONGEST = 0.3, 1.8
"""Seconds of load in a round."""

BROKEN: Final = (RetriesBroken, GroupsBroken, FlowBroken, WindowsBroken, repeats.RepeatsBroken)


class Features(Crashes):
    """Rounds of load, kill and check on one data directory.

    Args:
        folder: for the data directory, logs and ports files.
        seed: decides what happens.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed, SETTINGS, SEGMENT_BYTES)
        self.upkeep = OFTEN
        self.retries = RetriesLedger(seed)
        self.groups = GroupsLedger(seed + 1)
        self.flow = FlowLedger(seed + 2)
        self.windows = WindowsLedger()
        # The journal shall not grow faster than what is alive can be copied forward.
        self.repeats = repeats.RepeatsLedger(0.02)

    def run(self, rounds: int) -> None:
        """Run that many rounds; at the end, and now and then, everything is taken out.

        Raises:
            Broken: a promise was not kept.
        """
        try:
            broker = self._live()
            with Wire(broker.port).open(channels=1) as wire:
                declare_marks(wire)
                for each in (self.retries, self.groups, self.flow, self.windows):
                    each.declare(wire)
                repeats.declare(wire)
            for number in range(1, rounds + 1):
                self._load_and_end(broker)
                broker = self._live()
                self._look(broker, number == rounds or self.chance.random() < 0.15)
            self._end(signal.SIGKILL)
        except BROKEN as error:
            raise Broken(f"{type(error).__name__}: {error}") from None
        finally:
            self._end(signal.SIGKILL)

    def reclaimed(self) -> int:
        """Give how many octets of the journal are gone."""
        return int(min((self.folder / "data" / JOURNAL).glob("*.wal")).stem, 16)

    def _live(self) -> BrokerProcess:
        self.flow.lives()
        broker = self._start()
        if "Traceback" in broker.log:
            raise Broken(f"a traceback in the log:\n{broker.log[-3000:]}")
        return broker

    def _load_and_end(self, broker: BrokerProcess) -> None:
        self.retries.start(broker.port)
        self.groups.start(broker.port)
        self.flow.start(broker.port, broker.ports["http"])
        self.windows.start(broker.port)
        self.repeats.start(broker.port)
        seconds = self.chance.uniform(SHORTEST, LONGEST)
        time.sleep(seconds / 2)  # the load; any moment will do for the kill
        self.groups.disturb(broker.port)
        time.sleep(seconds / 2)
        self._end(signal.SIGKILL)
        self.kills += 1
        for each in (self.retries, self.groups, self.flow, self.windows):
            each.finish()
        self.repeats.finish(False)
        if "Traceback" in broker.log:
            raise Broken(f"a traceback in the log:\n{broker.log[-3000:]}")

    def _look(self, broker: BrokerProcess, everything: bool) -> None:
        self.windows.check(broker.port)
        self.repeats.check(broker.port)
        self.flow.check(broker.port, broker.ports["http"], everything)
        self.groups.check(broker.port, everything)
        self.retries.check(broker.port, everything)
        with Wire(broker.port, timeout=30.0).open(channels=1) as wire:
            declare_marks(wire)
            wire.close_politely()

    def table(self) -> str:
        """Say what was done, a row for each kind."""
        retries, groups, flow = self.retries, self.groups, self.flow
        rows = {
            "kills": f"{self.kills}, {self.starts} starts (slowest {self.slowest:.1f} s)",
            "retries": f"{retries.retries}, {retries.waited} through a kill, {retries.dead} dead letters",
            "groups": f"{groups.deliveries} deliveries, {groups.repeats} again, {groups.handovers} handovers",
            "flow": f"{flow.deliveries} deliveries, paused at {flow.paused} starts, {flow.timeouts} leases "
            f"over, at most {flow.fastest:.0%} of the rate",
            "windows": f"{self.repeats.taken} repeated messages, {self.windows.renewed} windows made anew",
            "reclaimed": f"{self.reclaimed() / 1e6:.1f} MB of the journal",
        }
        return "\n".join(f"  {name:10} {row}" for name, row in rows.items())


def main() -> int:
    """Run rounds from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    arguments = parser.parse_args()
    return run(arguments.seed, arguments.rounds)


def run(seed: int, rounds: int) -> int:
    """Run rounds on a new data directory; give the exit code."""
    replay = f"python -m tests.crash.features --rounds {rounds} --seed {seed}"
    print(replay, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        features = Features(Path(folder), seed)
        try:
            features.run(rounds)
        except (Broken, AssertionError) as error:
            log = max(Path(folder).glob("broker-*.log"), key=lambda path: path.stat().st_mtime)
            print(f"{error}\n{log.read_text()[-3000:]}\nafter {features.kills} kills; replay: {replay}")
            return 1
        print(features.table(), flush=True)
        print("  nothing early, out of turn, twice, or lost", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
