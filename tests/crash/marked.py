"""A data directory with records of all that retries, windows of ids and delays need, to be damaged.

The node that made it was killed before it wrote a snapshot: what was declared is in the log alone.
``python -m tests.crash.marked --trials 100 --seed 7`` damages many copies.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pamqp import commands

from harebell.engine.broker import Broker
from harebell.engine.commands import DeleteDelays, decode
from harebell.node import Node
from harebell.restoring import RECOVERED_PREFIX
from harebell.settings import Settings
from harebell.storage.data_dir import JOURNAL, DataDirError
from harebell.storage.records import COMMAND, HOLDS, RECORD_HEAD_SIZE, Record, decode_holds, walk
from tests.crash import damage
from tests.crash.clients import DELIVER
from tests.crash.damage import Trial, logged
from tests.crash.rounds import Broken
from tests.crash.rules import drain
from tests.crash.sample import Place, Sample
from tests.crash.workers import NACK, declare, frames_of, number_in
from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import Wire, raw_frame

HOUR: Final = 3_600_000
PLAIN, HELD, ONCE, DUE, ROUTED, RENEWED = QUEUES = ("plain", "held", "once", "due", "routed", "renewed")
PUBLISHERS: Final = {queue: 60 + number for number, queue in enumerate(QUEUES)}
COUNTS: Final = {PLAIN: 8, HELD: 8, ONCE: 1500, DUE: 6, ROUTED: 3, RENEWED: 2}
WAITING: Final = 5
"""Of the messages in ``HELD``, so many wait for a retry."""

WINDOW: Final = {"x-deduplication-window": 5000, "x-deduplication-header": "order"}
ARGUMENTS: Final = {
    HELD: {"x-delayed-retry-type": "all", "x-delayed-retry-min": HOUR},
    ONCE: WINDOW,
    RENEWED: WINDOW,
}
LATER, OVER = "later", "over"
"""Exchanges: one delays for an hour; one did so for a moment, and is gone."""

GONE: Final = "gone"
"""A virtual host that was deleted while messages of it were delayed."""

SETTINGS: Final = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}
STRIKES: Final = ("flip a bit", "flip bits", "zero", "scribble", "misdirect", "truncate")


class Target(NamedTuple):
    """A record that may be damaged: what it is, and where."""

    what: str
    place: Place


class Marked(Sample):
    """The data directory.

    Attributes:
        targets: records that retries, windows and delays need, by what they are.
        waiting: by number of a message that waits for its retry, the record that says until when.
        logs: names of the files of windows, and their octets.
    """

    def __init__(self, path: Path) -> None:
        self.targets: list[Target] = []
        self.waiting: dict[int, Place] = {}
        super().__init__(path, {}, {})
        self.logs = {file.name: file.read_bytes() for file in sorted((path / "streams").glob("*.stream"))}

    def _read(self, name: str) -> None:
        super()._read(name)
        for record in walk(self.files[name], 32, int(name.partition(".")[0], 16)):
            assert isinstance(record, Record)
            place = next(each for each in self.places if each.file == name and each.start == at(name, record))
            if record.kind == HOLDS:
                self.targets.append(Target("HOLDS", place))
                for _, position, _ in decode_holds(record.payload):
                    self.waiting[position] = place
            elif record.kind == COMMAND:
                kind = type(decode(record.payload)).__name__
                if kind.endswith(("Window", "Delays")):
                    self.targets.append(Target(kind, place))

    def named(self, what: str) -> list[Target]:
        """Give the targets of a kind."""
        return [target for target in self.targets if target.what == what]


def at(name: str, record: Record) -> int:
    """Give where in its file a record begins."""
    return record.lsn - int(name.partition(".")[0], 16) + 32


def make(folder: Path) -> Marked:
    """Make the data directory."""
    data = folder / "made"
    with running_broker(folder, data_dir=data, settings=SETTINGS) as broker:
        with Wire(broker.port, timeout=30.0).open(channels=1) as wire:
            for name in QUEUES:
                declare(wire, name, dict(ARGUMENTS.get(name, {})))
            _declare_exchanges(wire)
            for name in (PLAIN, HELD, RENEWED, ONCE, DUE, ROUTED):
                _publish(broker.port, name, range(1, COUNTS[name] + 1))
            _renew(wire, broker.port)
            eventually(lambda: _ready(wire, ROUTED) == COUNTS[ROUTED], "the delayed messages come")
            wire.call(commands.Exchange.Delete(exchange=OVER), 1, commands.Exchange.DeleteOk)
            wire.close_politely()
        _give_back(broker.port)
        _make_and_delete_vhost(broker)
        policy = {"pattern": f"^{PLAIN}$", "apply-to": "queues", "definition": {"deduplication-window": 10}}
        _request(broker.ports["http"], "PUT", "/api/policies/%2F/once", policy)
        _request(broker.ports["http"], "DELETE", "/api/policies/%2F/once")
        journal = data / JOURNAL
        eventually(lambda: any(_commands(journal, DeleteDelays)), "the empty queue of delays is deleted")
        broker.signal(signal.SIGKILL)
        broker.wait()
    (data / "management.sock").unlink()
    return Marked(data)


def _declare_exchanges(wire: Wire) -> None:
    for name, queue in ((LATER, DUE), (OVER, ROUTED)):
        exchange = commands.Exchange.Declare(exchange=name, exchange_type="fanout", durable=True)
        exchange.arguments = {"x-delay": HOUR if name == LATER else 20}
        wire.call(exchange, 1, commands.Exchange.DeclareOk)
        wire.call(commands.Queue.Bind(queue=queue, exchange=name), 1, commands.Queue.BindOk)


def _publish(port: int, queue: str, numbers: range) -> None:
    """Publish and wait for the confirms."""
    exchange = {DUE: LATER, ROUTED: OVER}.get(queue, "")
    key = "" if exchange else queue
    publisher = PUBLISHERS[queue]
    with Wire(port, timeout=30.0).open(channels=1) as wire:
        wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
        wire.send(*(frames_of(publisher, number, exchange, key, {"order": number}) for number in numbers))
        while wire.expect(commands.Basic.Ack).delivery_tag != len(numbers):
            pass
        wire.close_politely()


def _ready(wire: Wire, queue: str) -> int:
    return int(wire.declare(queue, durable=True, passive=True).message_count or 0)


def _renew(wire: Wire, port: int) -> None:
    """Make a queue with a window anew, and publish the same ids."""
    wire.call(commands.Queue.Delete(queue=RENEWED), 1, commands.Queue.DeleteOk)
    declare(wire, RENEWED, dict(ARGUMENTS[RENEWED]))
    _publish(port, RENEWED, range(1, COUNTS[RENEWED] + 1))


def _give_back(port: int) -> None:
    """Have messages wait for their retry, each with a record of its own."""
    for _ in range(WAITING):
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            wire.call(commands.Basic.Qos(prefetch_count=1), 1, commands.Basic.QosOk)
            wire.call(commands.Basic.Consume(queue=HELD, consumer_tag="c"), 1, commands.Basic.ConsumeOk)
            method = wire.read_frame().payload
            assert method[:4] == DELIVER.to_bytes(4, "big")
            tag = method[5 + method[4] : 13 + method[4]]
            wire.read_frame()
            wire.read_frame()
            wire.call(commands.Basic.Cancel(consumer_tag="c"), 1, commands.Basic.CancelOk)
            wire.send(raw_frame(1, 1, NACK.to_bytes(4, "big") + tag + b"\2"))
            # The answer is durable, and so is what came before it.
            wire.declare("given-back", durable=True)
            wire.call(commands.Queue.Delete(queue="given-back"), 1, commands.Queue.DeleteOk)
            wire.close_politely()


def _make_and_delete_vhost(broker: BrokerProcess) -> None:
    _request(broker.ports["http"], "PUT", f"/api/vhosts/{GONE}")
    with Wire(broker.port, timeout=30.0).open(GONE, channels=1) as wire:
        exchange = commands.Exchange.Declare(exchange=LATER, exchange_type="fanout", durable=True)
        exchange.arguments = {"x-delay": HOUR}
        wire.call(exchange, 1, commands.Exchange.DeclareOk)
        wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
        wire.send(frames_of(PUBLISHERS[PLAIN], 99, LATER, "", {"order": 0}))
        wire.expect(commands.Basic.Ack)
        wire.close_politely()
    _request(broker.ports["http"], "DELETE", f"/api/vhosts/{GONE}")


def _request(port: int, method: str, path: str, body: object = None) -> None:
    api = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()}
    api.request(method, path, json.dumps(body or {}), headers)
    answer = api.getresponse()
    assert answer.status in (201, 204), f"{method} {path} gave {answer.status}: {answer.read()!r}"
    api.close()


def _commands(journal: Path, kind: type) -> Iterator[bool]:
    for file in sorted(journal.glob("*.wal")):
        for record in walk(file.read_bytes(), 32, int(file.stem, 16)):
            if isinstance(record, Record) and record.kind == COMMAND:
                yield isinstance(decode(record.payload), kind)


class Found(NamedTuple):
    """What a node makes of a damaged copy.

    Attributes:
        ready: by queue, numbers of the messages that were delivered; None for one that is not there.
        waiting: how many wait for their retry.
        delayed: how many wait in the exchange that delays.
        recovered: by queue that is there under another name, what it holds: publisher and number.
        forgotten: numbers of ids that were taken once more, although their messages are there.
    """

    ready: dict[str, list[int] | None]
    waiting: int
    delayed: int
    recovered: dict[str, list[tuple[int, int]]]
    forgotten: list[int]


class MarkedTrial(Trial):
    """One damaged copy.

    Args:
        marked: what is damaged.
        path: for the copy.
    """

    def __init__(self, marked: Marked, path: Path) -> None:
        super().__init__(marked, path)
        self.marked = marked
        self.logs = {name: bytearray(data) for name, data in marked.logs.items()}

    def strike(self, chance: random.Random, target: Target, what: str) -> None:
        """Damage a record, and nothing before it."""
        start, end = target.place.start, target.place.end
        if end > len(self.files[target.place.file]):
            return  # it was cut off before
        if what in ("flip a bit", "flip bits"):
            start = chance.choice((start, start + RECORD_HEAD_SIZE))  # head and payload, or payload alone
        self.hit(chance, target.place.file, what, start, end - start)

    def strike_log(self, chance: random.Random, name: str, what: str) -> None:
        """Damage the file of a window, in its middle."""
        data = self.logs[name]
        damage.STRIKES[what](chance, data, len(data) // 2, len(data) // 2 + 100)

    def write(self) -> None:
        """Make the damaged copy."""
        super().write()
        for name, data in self.logs.items():
            (self.path / "streams" / name).write_bytes(data)

    def look(self) -> Found:
        """Start a node on the copy, and look at everything.

        Raises:
            Broken: it does not start, or does not say what is damaged.
        """
        with logged() as lines:
            try:
                found = asyncio.run(asyncio.wait_for(_serve(self.path), 60))
            except DataDirError as error:
                raise Broken(f"the node refuses to start: {error}") from None
        self.log = lines
        self._check_log()
        odd = [line for line in lines if "could not be applied" in line or "Traceback" in line]
        if odd:
            raise Broken(f"the log says: {odd}")
        return found

    def judge(self, found: Found) -> None:
        """Compare what was found with what is not damaged.

        Raises:
            Broken: something else is gone, or there twice, or early without a word.
        """
        elsewhere = {each for kept in found.recovered.values() for each in kept}
        struck = {target.what for target in self.marked.targets if self.is_hit(target.place)}
        for queue, there in found.ready.items():
            publisher = PUBLISHERS[queue]
            if there is None:
                continue
            if len(set(there)) < len(there):
                raise Broken(f"{queue}: {sorted(there)} has something twice")
            numbers = range(1, COUNTS[queue] + 1)
            kept = {number for number in numbers if self._kept(publisher, number)}
            # What was done to it later may be lost.
            may = {number for number in numbers if not self.is_hit(self.marked.stored[publisher, number][0])}
            if queue == HELD:
                kept = may = self._judge_held(found, kept)
            elif queue == DUE:
                if len(kept) != found.delayed and not {(publisher, each) for each in kept} <= elsewhere:
                    raise Broken(f"{found.delayed} of {len(kept)} delayed messages wait")
                kept = may = set()
            lost = {each for each in kept - set(there) if (publisher, each) not in elsewhere}
            if lost:
                raise Broken(f"{queue}: {sorted(lost)} are gone, although nothing hit them")
            if set(there) - may - kept:
                raise Broken(f"{queue}: {sorted(set(there) - may - kept)} should not be there")
        if found.forgotten and "DeclareWindow" not in struck and self.logs == self.marked.logs:
            raise Broken(f"ids {found.forgotten[:5]} were taken twice, although nothing hit them")
        if "DeclareDelays" not in struck and (PUBLISHERS[PLAIN], 99) in elsewhere:
            raise Broken(f"what went with its virtual host is there again: {found.recovered}")

    def _kept(self, publisher: int, number: int) -> bool:
        # What is stored twice was published to a queue that is gone, or waited elsewhere before.
        return not self.is_hit(self.marked.stored[publisher, number][-1])

    def _judge_held(self, found: Found, kept: set[int]) -> set[int]:
        """Only what waits for a retry, and whose record of that was hit, may come early."""
        waiting = {
            each for each in kept & set(self.marked.waiting) if not self.is_hit(self.marked.waiting[each])
        }
        if found.waiting != len(waiting):
            raise Broken(f"{found.waiting} messages wait for their retry, which must be {sorted(waiting)}")
        return kept - waiting


async def _serve(path: Path) -> Found:
    settings = Settings.model_validate({"server": {"port": 0, "bind": ["127.0.0.1"], "shutdown_timeout": 1}})
    node = Node(settings, path)
    await node.start()
    try:
        return await asyncio.to_thread(_look, node.broker, node.addresses[0][1])
    finally:
        await node.stop()


def _look(broker: Broker, port: int) -> Found:
    vhost = broker.vhosts["/"]
    held = vhost.queues.get(HELD)
    waiting = 0 if held is None else int(held.delayed_count())
    delayed = 0 if vhost.delays is None else int(vhost.delays.count_of(LATER))
    with Wire(port, timeout=30.0).open(channels=1) as wire:
        ready: dict[str, list[int] | None] = dict.fromkeys(QUEUES)
        for queue in QUEUES:
            if queue in vhost.queues:
                ready[queue] = [number_in(PUBLISHERS[queue], each.body) for each in drain(wire, queue)]
        recovered: dict[str, list[tuple[int, int]]] = {}
        for name in [name for name in vhost.queues if name.startswith(RECOVERED_PREFIX)]:
            recovered[name] = []
            if vhost.queues[name].type_name != "stream":
                bodies = [each.body.split(b":", 2) for each in drain(wire, name)]
                recovered[name] = [(int(body[0]), int(body[1])) for body in bodies]
        forgotten: list[int] = []
        there = ready[ONCE]
        if there is not None:
            _publish(port, ONCE, range(1, COUNTS[ONCE] + 1))
            again = [number_in(PUBLISHERS[ONCE], each.body) for each in drain(wire, ONCE)]
            forgotten = sorted(set(again) & set(there))
        wire.close_politely()
    return Found(ready, waiting, delayed, recovered, forgotten)


def run(seed: int, trials: int) -> int:
    """Damage copies at random; give the exit code.

    Args:
        seed: decides what happens.
        trials: how many.
    """
    chance = random.Random(seed)
    early = forgotten = 0
    folder = Path(tempfile.mkdtemp(prefix="harebell-marked-"))
    sample = make(folder)
    for number in range(trials):
        trial = MarkedTrial(sample, folder / f"trial-{number}")
        for _ in range(chance.choice((1, 1, 2))):
            if chance.random() < 0.2:
                trial.strike_log(chance, chance.choice(list(sample.logs)), chance.choice(STRIKES))
            else:
                trial.strike(chance, chance.choice(sample.targets), chance.choice(STRIKES))
        trial.write()
        try:
            found = trial.look()
            trial.judge(found)
        except Broken as error:
            print(
                f"trial {number}: {trial.hits}\n{error}\nthe log says: {trial.log}\n"
                f"the sample is kept: {folder}\n"
                f"replay: python -m tests.crash.marked --trials {number + 1} --seed {seed}"
            )
            return 1
        early += WAITING - found.waiting
        forgotten += len(found.forgotten)
        shutil.rmtree(trial.path)
    shutil.rmtree(folder)
    print(
        f"{trials} trials with records of retries, windows and delays (seed {seed}): {early} waits and "
        f"{forgotten} ids lost with their records, nothing else",
        flush=True,
    )
    return 0


def main() -> int:
    """Run trials from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    arguments = parser.parse_args()
    return run(arguments.seed, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
