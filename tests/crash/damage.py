"""Damage the files of a data directory in every way a disk may, and look at what a node makes of it.

``python -m tests.crash.damage --trials 100 --seed 7``; a trial is replayed with ``--only NUMBER``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pamqp import commands

from harebell.node import Node
from harebell.settings import Settings
from harebell.storage.data_dir import JOURNAL, DataDirError
from harebell.storage.records import COMMAND, GROUP, REQUEUE, SEGMENT_HEAD_SIZE, SETTLE
from harebell.storage.snapshot import COPY, NAME
from tests.crash.clients import Consumer, Received, body_of, header_of
from tests.crash.rounds import Broken
from tests.crash.sample import QUEUES, SEGMENT_BYTES, Key, Maker, Place, Sample, queues_of

REPORT: Final = re.compile(r"(\S+): [^:]*: (\d+) octets at offset (\d+)(?:, kept as (\S+))?")
HEAD_IN_USE: Final = 28
"""Octets of a segment's head that say something."""


class Hit(NamedTuple):
    """One thing done to one file."""

    file: str
    what: str
    offset: int
    size: int


class Outcome(NamedTuple):
    """What a trial saw, beyond what must hold.

    Attributes:
        lost: messages whose record was hit.
        revived: messages that came back because what settled them was hit.
        orphaned: queues that are gone because their declaration was hit.
    """

    lost: int
    revived: int
    orphaned: list[str]


Strike = Callable[[random.Random, bytearray, int, int], None]


def _flip(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[chance.randrange(start, end)] ^= 1 << chance.randrange(8)


def _flip_many(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    for _ in range(20):
        _flip(chance, data, start, end)


def _zero(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[start:end] = bytes(end - start)


def _scribble(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data[start:end] = chance.randbytes(end - start)


def _misdirect(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    """Octets that belong elsewhere in the file."""
    other = chance.randrange(len(data) - (end - start) + 1)
    data[start:end] = data[other : other + end - start]


def _truncate(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    del data[start:]


def _append(chance: random.Random, data: bytearray, start: int, end: int) -> None:
    data += chance.randbytes(end - start)


STRIKES: Final[dict[str, Strike]] = {
    "flip a bit": _flip,
    "flip bits": _flip_many,
    "zero": _zero,
    "scribble": _scribble,
    "misdirect": _misdirect,
    "truncate": _truncate,
    "append garbage": _append,
}


class Trial:
    """One damaged copy of a sample.

    Args:
        sample: what is damaged.
        path: for the copy.
    """

    def __init__(self, sample: Sample, path: Path) -> None:
        self.sample = sample
        self.path = path
        self.hits: list[Hit] = []
        self.files = {name: bytearray(data) for name, data in sample.files.items()}
        self.log: list[str] = []

    def hit(self, chance: random.Random, file: str, what: str, start: int, size: int) -> None:
        """Damage one range of one file."""
        data = self.files[file]
        end = min(start + size, len(data)) if what != "append garbage" else start + size
        STRIKES[what](chance, data, start, end)
        self.hits.append(Hit(file, what, start, end - start))

    def hit_at_random(self, chance: random.Random) -> None:
        """Damage one range of any file: often a segment, sometimes its head, sometimes a snapshot."""
        names = self.sample.segments()
        # With both copies of the snapshot gone a node refuses to start, which is a test of its own.
        snapshots = [] if any(hit.file in (NAME, COPY) for hit in self.hits) else [NAME, COPY]
        pick = chance.random()
        file = names[-1] if pick < 0.2 else chance.choice(snapshots) if pick < 0.35 and snapshots else ""
        file = file or chance.choice(names)
        size = len(self.files[file])
        start = chance.randrange(size) if size else 0
        if chance.random() < 0.1:
            start = chance.randrange(min(size, SEGMENT_HEAD_SIZE)) if size else 0
        what = chance.choice(list(STRIKES)) if start < size else "append garbage"
        self.hit(chance, file, what, start, chance.choice([1, 12, 100, 1000, 10_000]))

    def write(self) -> None:
        """Make the damaged copy."""
        shutil.copytree(self.sample.path, self.path)
        for name, data in self.files.items():
            if data != self.sample.files[name]:
                (self.path / JOURNAL / name).write_bytes(data)

    def is_hit(self, place: Place) -> bool:
        """Tell whether a record is not as it was."""
        before = self.sample.files[place.file][place.start : place.end]
        return self.files[place.file][place.start : place.end] != before

    def start(self) -> dict[str, list[Received] | None]:
        """Start a node on the copy and take everything out of it; None for a queue that is not there."""
        with logged() as lines:
            found = asyncio.run(asyncio.wait_for(_serve(self.path, _take_everything), 60))
        self.log = lines
        return found

    def run(self) -> Outcome:
        """Start a node on the copy and check what it delivers and says.

        Raises:
            Broken: something is wrong.
        """
        try:
            found = self.start()
        except DataDirError as error:
            raise Broken(f"the node refuses to start: {error}") from None
        outcome = self.check(found)
        self._check_log()
        return outcome

    def check(self, found: dict[str, list[Received] | None]) -> Outcome:
        """Compare what was delivered with what is stored outside of the damage."""
        broken = [place for place in self.sample.places if self.is_hit(place)]
        kinds = {place.kind for place in broken}
        lost = revived = 0
        orphaned = []
        for queue, received in found.items():
            if received is None:
                if COMMAND not in kinds:
                    raise Broken(f"{queue} is gone, although no record of a declaration was hit")
                orphaned.append(queue)
                continue
            keys = [self._identify(queue, each) for each in received]
            missing, surplus = self._compare(queue, keys)
            lost += missing
            revived += surplus
            if surplus and not kinds & {SETTLE, GROUP}:
                raise Broken(f"{queue}: {surplus} messages came back, although no settlement was hit")
            if REQUEUE not in kinds:
                self._check_flags(queue, keys, received)
        self._check_transactions(broken, found)
        return Outcome(lost, revived, orphaned)

    def _check_transactions(self, broken: list[Place], found: dict[str, list[Received] | None]) -> None:
        """Nothing of a transaction whose record was hit may be there, unless it is stored once more."""
        hit = {place for place in broken if place.kind == GROUP}
        for queue, received in found.items():
            for each in received or []:
                key = self._identify(queue, each)
                if hit.issuperset(self.sample.stored[key]):
                    raise Broken(f"{queue}: {key} is there, although the record of its transaction was hit")

    def _identify(self, queue: str, received: Received) -> Key:
        try:
            publisher, number = (int(part) for part in received.body.split(b":", 2)[:2])
        except ValueError:
            raise Broken(f"{queue}: a message nobody published: {received.body[:60]!r}") from None
        if (publisher, number) not in self.sample.stored or queue not in queues_of(publisher, number):
            raise Broken(f"{queue}: message {number} of publisher {publisher} was not stored there")
        if received.body != body_of(publisher, number) or received.header != header_of(received.body):
            raise Broken(f"{queue}: message {number} of publisher {publisher} changed")
        return publisher, number

    def _compare(self, queue: str, keys: list[Key]) -> tuple[int, int]:
        present = set(keys)
        if len(keys) > len(present):
            raise Broken(f"{queue}: {len(keys) - len(present)} messages are there twice")
        alive = self.sample.alive[queue]
        missing = [key for key in alive if key not in present]
        for key in missing:
            untouched = [place for place in self.sample.stored[key] if not self.is_hit(place)]
            if untouched:
                raise Broken(
                    f"{queue}: {key} is gone, although nothing hit it: {untouched}; {len(missing)} missing"
                )
        expected = [key for key in alive if key in present]
        of_these = set(expected)
        if [key for key in keys if key in of_these] != expected:
            raise Broken(f"{queue}: the order changed")
        return len(missing), len(present - of_these)

    def _check_flags(self, queue: str, keys: list[Key], received: list[Received]) -> None:
        for key, each in zip(keys, received, strict=True):
            seen = key in self.sample.returned[queue] or key not in self.sample.alive[queue]
            if seen and not each.redelivered:
                raise Broken(f"{queue}: {key} was delivered before and is not flagged")

    def _check_log(self) -> None:
        text = "\n".join(self.log)
        for file in {hit.file for hit in self.hits}:
            if self.files[file] == self.sample.files[file]:
                continue
            if file in (NAME, COPY):
                if file not in text:
                    raise Broken(f"nothing is said about {file}:\n{text}")
                continue
            for start, end in self._damaged_ranges(file):
                self._check_named(file, start, end)
        for name in re.findall(r"kept as (\S+)", text):
            if not (self.path / JOURNAL / name).exists():
                raise Broken(f"{name} is not kept:\n{text}")

    def _damaged_ranges(self, file: str) -> Iterator[tuple[int, int]]:
        """Give the ranges of a segment that the log must name: of records hit, and of appended garbage."""
        size, before = len(self.files[file]), len(self.sample.files[file])
        if file == self.sample.segments()[-1] and size <= SEGMENT_HEAD_SIZE:
            return  # no different from a segment that a crash left half made, which holds nothing
        if self.files[file][:HEAD_IN_USE] != self.sample.files[file][:HEAD_IN_USE]:
            yield 0, min(HEAD_IN_USE, size)
        for place in self.sample.places:
            if place.file == file and self.is_hit(place) and place.start < size:
                yield place.start, min(place.end, size)
        if size > before:
            yield before, size

    def _check_named(self, file: str, start: int, end: int) -> None:
        for line in self.log:
            for name, size, offset, _ in REPORT.findall(line):
                if name.endswith(file) and int(offset) <= start and int(offset) + int(size) >= end:
                    return
        said = "\n".join(self.log) or "nothing"
        raise Broken(f"{file}: the loss of octets {start} to {end} is not named; the log says:\n{said}")


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the warnings and errors that nodes in this process log."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("harebell")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


async def _serve(
    path: Path, work: Callable[[int], dict[str, list[Received] | None]]
) -> dict[str, list[Received] | None]:
    settings = Settings.model_validate({"server": {"port": 0, "bind": ["127.0.0.1"], "shutdown_timeout": 1}})
    node = Node(settings, path, segment_bytes=SEGMENT_BYTES)
    await node.start()
    try:
        return await asyncio.to_thread(work, node.addresses[0][1])
    finally:
        await node.stop()


def _take_everything(port: int) -> dict[str, list[Received] | None]:
    return {queue: _take(port, queue) for queue in QUEUES}


def _take(port: int, queue: str) -> list[Received] | None:
    consumer = Consumer(port, queue, 0.0, 0, 0)
    with consumer.wire as wire:
        wire.method(commands.Queue.Declare(queue=queue, passive=True), 1)
        answer = wire.read_method()
        if not isinstance(answer, commands.Queue.DeclareOk):
            return None
        wire.call(commands.Basic.Consume(queue=queue, no_ack=True), 1, commands.Basic.ConsumeOk)
        for _ in range(answer.message_count or 0):
            consumer.next()
        wire.close_politely()
    return consumer.received


class Campaign:
    """Many trials on the same samples.

    Args:
        folder: for everything.
        seed: decides what is damaged; a trial depends on nothing but this and its number.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.samples = Maker(folder).make()
        self.lost = self.revived = self.trials = 0
        self.orphaned: list[str] = []

    def trial(self, number: int) -> None:
        """Damage a copy, start a node on it, check, and start another one now and then.

        Raises:
            Broken: something is wrong; the text says how to do it again.
        """
        chance = random.Random(f"{self.seed}/{number}")
        sample = chance.choice(self.samples)
        trial = Trial(sample, self.folder / f"trial-{number}")
        for _ in range(chance.choice([1, 1, 2])):
            trial.hit_at_random(chance)
        trial.write()
        try:
            outcome = trial.run()
            if chance.random() < 0.15:
                again = trial.start()
                left = {queue: len(received) for queue, received in again.items() if received}
                if left:
                    raise Broken(f"all was taken, and a second start brings back {left}")
        except Broken as error:
            # Where records lie depends on the clock, so the seed alone does not bring the same files back.
            shutil.rmtree(trial.path)
            trial.write()
            raise Broken(
                f"trial {number} of seed {self.seed}, on the node {sample.path.name}: {trial.hits}\n{error}\n"
                f"the damaged data directory is kept: {trial.path}\n"
                f"replay: python -m tests.crash.damage --seed {self.seed} --only {number}"
            ) from None
        shutil.rmtree(trial.path)
        self.trials += 1
        self.lost += outcome.lost
        self.revived += outcome.revived
        self.orphaned += outcome.orphaned


def main() -> int:
    """Run trials from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--only", type=int, help="do only the trial of this number")
    arguments = parser.parse_args()
    numbers = range(arguments.trials) if arguments.only is None else [arguments.only]
    return run(arguments.seed, numbers)


def run(seed: int, numbers: range | list[int]) -> int:
    """Run the trials of some numbers; give the exit code."""
    began = time.monotonic()
    failures = 0
    folder = Path(tempfile.mkdtemp(prefix="harebell-damage-"))
    campaign = Campaign(folder, seed)
    for number in numbers:
        try:
            campaign.trial(number)
        except Broken as error:
            failures += 1
            print(error, flush=True)
    if not failures:
        shutil.rmtree(folder)
    print(
        f"{campaign.trials} of {len(numbers)} trials (seed {seed}) in {time.monotonic() - began:.0f} s: "
        f"{campaign.lost} messages lost with their records, {campaign.revived} came back with theirs, "
        f"{len(campaign.orphaned)} queues lost with their declaration"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
