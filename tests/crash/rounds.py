"""Kill the broker under load, start it again, and hold what comes back against what clients were promised.

``python -m tests.crash.rounds --rounds 200 --seed 7`` runs many rounds; the seed says what happens in them,
not when the system lets it happen.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pamqp import commands

from harebell.node import UPKEEP_SECONDS
from tests.crash import repeats, rules, streams
from tests.crash.clients import (
    MARKS,
    Consumer,
    Publisher,
    Received,
    Topologist,
    Transactor,
    body_of,
    header_of,
)
from tests.crash.faulty_node import command as faulty_command
from tests.crash.faulty_node import environment_of_tests
from tests.server.process import BrokerProcess, command
from tests.server.wire import Wire

CONSUMED: Final = ("jobs", "mail", "audit-1", "audit-2")
QUEUES: Final = (*CONSUMED, MARKS)
FIRST_CONSUMER: Final = 10
"""Consumers publish, too: under this number and those that follow."""

FANOUT: Final = "audit"
TX_SIZE: Final = 4
DELETED_KEPT: Final = 200
"""Deleted queues that are looked for again later on."""

LITTLE_MEMORY: Final = {"LIMITS__MESSAGE_MEMORY": "64KiB"}
"""So little that backlogs stay on disk and come back from there."""

SLOWEST_START: Final = 8.0
"""Seconds until a broker with little to recover must serve, on a loaded machine."""


class Broken(AssertionError):
    """A promise was not kept."""


def target(publisher: int, number: int) -> tuple[str, str]:
    """Give the exchange and the routing key of a message."""
    if publisher == 0:
        return ("", "jobs")
    if publisher == 1:
        return (FANOUT, "")
    if publisher >= FIRST_CONSUMER:
        return ("", MARKS)
    return ("", QUEUES[number % 2])


def queues_of(publisher: int, number: int) -> tuple[str, ...]:
    """Give the queues a message must reach."""
    exchange, key = target(publisher, number)
    return ("audit-1", "audit-2") if exchange else (key,)


class Ledger:
    """What clients were promised, and what they got, over all rounds.

    Attributes:
        sent, confirmed: by publisher, the last message sent, and the numbers confirmed.
        acked: by queue, what was acknowledged, so need not come back.
        settled: those of them that must not come back: something sent later on that channel was durable.
        delivered: by queue, what some client saw.
        promised: topology.
    """

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.confirmed: dict[int, list[range]] = {}
        self.acked: dict[str, set[tuple[int, int]]] = {queue: set() for queue in QUEUES}
        self.delivered: dict[str, set[tuple[int, int]]] = {queue: set() for queue in QUEUES}
        self.settled: dict[str, set[tuple[int, int]]] = {queue: set() for queue in QUEUES}
        self.promised: dict[str, bool | None] = {}
        self.confirms = self.messages = self.duplicates = 0
        self._owed: dict[str, set[tuple[int, int]]] = {queue: set() for queue in QUEUES}

    def published(self, publisher: int, first: int, confirmed: int, sent: int) -> None:
        """Take note of a publisher's part of a round."""
        self.sent[publisher] = sent
        self.confirms += confirmed - first + 1
        for number in range(first, confirmed + 1):
            for queue in queues_of(publisher, number):
                self._owed[queue].add((publisher, number))

    def identify(self, queue: str, received: Received) -> tuple[int, int]:
        """Find out which message a delivery is, and check every octet and its flag.

        Raises:
            Broken: it is none that was published, or not as it was, or a duplicate that is not flagged.
        """
        try:
            publisher, number = (int(part) for part in received.body.split(b":", 2)[:2])
        except ValueError:
            raise Broken(f"{queue}: a message nobody published: {received.body[:60]!r}") from None
        if number > self.sent.get(publisher, 0) or queue not in queues_of(publisher, number):
            raise Broken(f"{queue}: message {number} of publisher {publisher} was never sent there")
        body = body_of(publisher, number)
        if received.body != body or received.header != header_of(body):
            raise Broken(f"{queue}: message {number} of publisher {publisher} changed")
        key = (publisher, number)
        if key in self.settled[queue]:
            raise Broken(f"{queue}: {key} was acknowledged for good and came back")
        self.messages += 1
        if key in self.delivered[queue]:
            self.duplicates += 1
            if not received.redelivered:
                raise Broken(f"{queue}: {key} was delivered before and is not flagged")
        self.delivered[queue].add(key)
        return key

    def consumed(self, consumer: Consumer) -> None:
        """Take note of what a consumer did in a round."""
        keys = [self.identify(consumer.queue, received) for received in consumer.received]
        self.acked[consumer.queue] |= {keys[index] for index in consumer.acked}
        self.settled[consumer.queue] |= {keys[index] for index in consumer.settled}

    def drained(self, queue: str, received: list[Received], flags: bool | None) -> None:
        """Compare all that was in a queue, acknowledged since and for good, with what must be.

        Args:
            queue: which one.
            received: everything in it, in order.
            flags: how a message nobody saw must be flagged; None if either way is fine.

        Raises:
            Broken: a promise was not kept.
        """
        last: dict[int, int] = {}
        present: set[tuple[int, int]] = set()
        for each in received:
            before = len(self.delivered[queue])
            key = self.identify(queue, each)
            unseen = len(self.delivered[queue]) > before
            if unseen and flags is not None and each.redelivered != flags:
                raise Broken(f"{queue}: {key} was never delivered, and is flagged {each.redelivered}")
            if key in present:
                raise Broken(f"{queue}: {key} is there twice")
            if key[1] <= last.get(key[0], 0):
                raise Broken(f"{queue}: {key} came after message {last[key[0]]} of the same publisher")
            last[key[0]] = key[1]
            present.add(key)
        lost = self._owed[queue] - present - self.acked[queue]
        if lost:
            raise Broken(f"{queue}: {len(lost)} confirmed messages are lost, such as {sorted(lost)[:5]}")
        self._check_transactions(queue, present)
        self.acked[queue] |= present
        self.settled[queue] |= present
        self._owed[queue].clear()

    def _check_transactions(self, queue: str, present: set[tuple[int, int]]) -> None:
        """Half a transaction in one queue would show as a missing neighbour."""
        known = present | self.acked[queue]
        for publisher, number in present:
            if publisher == 3:
                first = number - (number - 1) % TX_SIZE
                mates = {(3, n) for n in range(first, first + TX_SIZE) if queue in queues_of(3, n)}
                if not mates <= known:
                    raise Broken(f"{queue}: only half of the transaction of {sorted(mates)} is there")


class Load:
    """Clients that keep a broker busy.

    Args:
        port: of the broker.
        chance: decides how consumers behave.
        ledger: gets what they were promised.
        queues: those with a consumer.
        prefix: of the names of the queues that come and go.
        lazy: shares of deliveries that consumers may leave unanswered; as these fill the prefetch window, a
            large share brings a consumer to a halt.
    """

    def __init__(
        self,
        port: int,
        chance: random.Random,
        ledger: Ledger,
        queues: list[str],
        prefix: str,
        lazy: tuple[float, ...] = (0.0, 0.1),
    ) -> None:
        self._ledger = ledger
        first = {number: sent + 1 for number, sent in ledger.sent.items()}
        self.publishers: list[Publisher | Transactor] = [
            Publisher(port, number, first.get(number, 1), target) for number in range(3)
        ]
        self.publishers.append(Transactor(port, 3, first.get(3, 1), target, TX_SIZE))
        self.consumers = [
            Consumer(
                port,
                queue,
                chance.choice(lazy),
                chance.randrange(1 << 30),
                100,
                FIRST_CONSUMER + number,
                first.get(FIRST_CONSUMER + number, 1),
            )
            for number, queue in enumerate(CONSUMED)
            if queue in queues
        ]
        self.topologist = Topologist(port, prefix, "topology")
        self.clients = [*self.publishers, *self.consumers, self.topologist]

    def start(self) -> None:
        """Let them work."""
        for client in self.clients:
            client.start()

    def confirmed(self) -> int:
        """Give how many messages of publishers were confirmed so far."""
        return sum(publisher.confirmed - publisher.first + 1 for publisher in self.publishers)

    def finish(self, forgiving: bool) -> None:
        """The broker is gone: write down what it promised.

        Args:
            forgiving: clients may have been told that the broker goes.
        """
        for client in self.clients:
            client.wire.end()
            client.join(20)
            if client.broken and not forgiving:
                raise Broken(f"{client}: {client.broken}")
        ledger = self._ledger
        for publisher in self.publishers:
            ledger.published(publisher.publisher, publisher.first, publisher.confirmed, publisher.sent)
        for consumer in self.consumers:
            assert consumer.marks is not None
            ledger.published(consumer.marks, consumer.first, consumer.confirmed, consumer.sent)
        for consumer in self.consumers:
            ledger.consumed(consumer)
        ledger.promised |= self.topologist.promised


class Crashes:
    """Rounds of load, kill and check on one data directory.

    Args:
        folder: for the data directory, logs and ports files.
        seed: decides what happens.
        settings: more settings of the broker.
        segment_bytes: size of the journal's segments, which go with little memory for messages; None for what
            users get.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        settings: Mapping[str, str] | None = None,
        segment_bytes: int | None = None,
    ) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.settings = ({} if segment_bytes is None else LITTLE_MEMORY) | dict(settings or {})
        self.segment_bytes = segment_bytes
        self.upkeep = UPKEEP_SECONDS
        self.control = folder / "faults.json"
        self.ledger = Ledger()
        self.rules = rules.RulesLedger()
        self.streams = streams.StreamsLedger()
        self.repeats = repeats.RepeatsLedger()
        self.kills = self.starts = 0
        self.slowest = 0.0
        self._round = 0
        self._flags: bool | None = False
        """How a message nobody saw must be flagged; None if either way is fine."""
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, rounds: int) -> None:
        """Run that many rounds and one last check.

        Raises:
            Broken: a promise was not kept.
        """
        broker = self._start()
        self._declare(broker.port)
        try:
            for _ in range(rounds):
                self._round += 1
                self._load_and_end(broker)
                broker = self._start()
                # A backlog that lives through several crashes is what the next recovery has to do with.
                if self.chance.random() < 0.7:
                    self._check(broker.port)
                else:
                    self._check_topology(broker.port)
            self._end(signal.SIGKILL)
            self._check(self._start().port)
        finally:
            self._end(signal.SIGKILL)

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Path, Path]:
        self.starts += 1
        ports_file, log_file = self.folder / "ports.json", self.folder / f"broker-{self.starts}.log"
        ports_file.unlink(missing_ok=True)
        line = ["serve", "--data-dir", str(self.folder / "data"), "--bind", "127.0.0.1", "--port", "0"]
        line += ["--log-format", "text", "--ports-file", str(ports_file)]
        if self.segment_bytes is None:
            line = command(*line)
        else:
            line = faulty_command(self.control, self.segment_bytes, *line, upkeep=self.upkeep)
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                line,
                cwd=self.folder,
                env=environment_of_tests(self.settings),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        return process, log_file, ports_file

    def _start(self) -> BrokerProcess:
        if self.starts and self.chance.random() < 0.25:
            self._spawn()
            time.sleep(self.chance.uniform(0.05, 0.8))  # any moment of the start will do
            self._end(signal.SIGKILL)
            self.kills += 1
            self._flags = None  # who knows whether it had come to the journal
        began = time.monotonic()
        broker = BrokerProcess(*self._spawn())
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        if took > SLOWEST_START:
            raise Broken(f"the broker took {took:.1f} s to start")
        return broker

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        self._flags = True if number == signal.SIGKILL else None if self._flags else self._flags
        process.send_signal(number)
        code = process.wait(20)
        if number == signal.SIGTERM and code:
            raise Broken(f"the broker ended with {code} after SIGTERM")

    def _declare(self, port: int) -> None:
        with Wire(port).open(channels=1) as wire:
            exchange = commands.Exchange.Declare(exchange=FANOUT, exchange_type="fanout", durable=True)
            wire.call(exchange, 1, commands.Exchange.DeclareOk)
            topics = commands.Exchange.Declare(exchange="topology", exchange_type="direct", durable=True)
            wire.call(topics, 1, commands.Exchange.DeclareOk)
            for queue in QUEUES:
                wire.declare(queue, durable=True)
                if queue.startswith(FANOUT):
                    wire.call(commands.Queue.Bind(queue=queue, exchange=FANOUT), 1, commands.Queue.BindOk)
            rules.declare(wire)
            streams.declare(wire)
            repeats.declare(wire)

    def _load_and_end(self, broker: BrokerProcess) -> None:
        """Let clients work for a while, then end the broker: mostly by a kill, sometimes in order."""
        queues = [queue for queue in CONSUMED if self.chance.random() < 0.6]
        load = Load(broker.port, self.chance, self.ledger, queues, f"temporary-{self._round}-")
        self.rules.start(broker.port)
        self.streams.start(broker.port)
        self.repeats.start(broker.port)
        load.start()
        time.sleep(self.chance.uniform(0.02, 0.7))  # the load; any moment will do for the kill
        stop = self.chance.random() < 0.2
        self._end(signal.SIGTERM if stop else signal.SIGKILL)
        self.kills += not stop
        load.finish(forgiving=stop)
        self.rules.finish(forgiving=stop)
        try:
            self.streams.finish(forgiving=stop)
            self.repeats.finish(forgiving=stop)
        except (streams.StreamsBroken, repeats.RepeatsBroken) as error:
            raise Broken(str(error)) from None

    def _check(self, port: int) -> None:
        self._check_topology(port)
        for queue in QUEUES:
            self.ledger.drained(queue, self._drain(port, queue), self._flags)
        try:
            self.rules.check(port)
            self.streams.check(port)
            self.repeats.check(port)
        except (rules.RulesBroken, streams.StreamsBroken, repeats.RepeatsBroken) as error:
            raise Broken(str(error)) from None
        self._flags = False

    def _drain(self, port: int, queue: str) -> list[Received]:
        """Take everything out of a queue and have that acknowledged for good."""
        consumer = Consumer(port, queue, 0.0, 0, 0)
        with consumer.wire as wire:
            ready = wire.declare(queue, durable=True).message_count or 0
            wire.call(commands.Basic.Consume(queue=queue, consumer_tag="drain"), 1, commands.Basic.ConsumeOk)
            for _ in range(ready):
                consumer.next()
            if consumer.received:
                consumer.ack(consumer.received[-1].tag, True)
            wire.call(commands.Basic.Cancel(consumer_tag="drain"), 1, commands.Basic.CancelOk)
            # The answers to these are durable, so the acknowledgement before them is, too.
            wire.declare("drained", durable=True)
            wire.call(commands.Queue.Delete(queue="drained"), 1, commands.Queue.DeleteOk)
            left = wire.declare(queue, durable=True).message_count
            if left:
                raise Broken(f"{queue}: {left} messages turned up after {ready} were taken")
            wire.close_politely()
        return consumer.received

    def _check_topology(self, port: int) -> None:
        with Wire(port).open() as wire:
            for name, present in self.ledger.promised.items():
                wire.call(commands.Channel.Open(), 1, commands.Channel.OpenOk)
                wire.method(commands.Queue.Declare(queue=name, passive=True), 1)
                found = isinstance(wire.read_method(), commands.Queue.DeclareOk)
                if present is not None and found != present:
                    raise Broken(f"queue {name} is {'there' if found else 'gone'}, against the -ok before")
                if found:
                    wire.call(commands.Queue.Delete(queue=name), 1, commands.Queue.DeleteOk)
                    wire.call(commands.Channel.Close(200, "", 0, 0), 1, commands.Channel.CloseOk)
                else:
                    wire.method(commands.Channel.CloseOk(), 1)
            # All of them are deleted now, and must not come back either.
            names = list(self.ledger.promised)[-DELETED_KEPT:]
            self.ledger.promised = dict.fromkeys(names, False)
            wire.close_politely()


def main() -> int:
    """Run rounds from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--segment-bytes", type=int, help="size of the journal's segments")
    arguments = parser.parse_args()
    return run(arguments.seed, arguments.rounds, arguments.segment_bytes)


def run(seed: int, rounds: int, segment_bytes: int | None) -> int:
    """Run rounds on a new data directory; give the exit code.

    Args:
        seed: decides what happens.
        rounds: how many.
        segment_bytes: size of the journal's segments; None for what users get.
    """
    small = "" if segment_bytes is None else f" --segment-bytes {segment_bytes}"
    replay = f"python -m tests.crash.rounds --rounds {rounds} --seed {seed}{small}"
    print(replay, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        crashes = Crashes(Path(folder), seed, segment_bytes=segment_bytes)
        try:
            crashes.run(rounds)
        except (Broken, AssertionError) as error:
            log = max(Path(folder).glob("broker-*.log"), key=lambda path: path.stat().st_mtime)
            print(f"{error}\n{log.read_text()[-3000:]}\nreplay: {replay}")
            return 1
        ledger = crashes.ledger
        print(
            f"{crashes.kills} kills, {crashes.starts} starts (slowest {crashes.slowest:.1f} s), "
            f"{ledger.confirms} confirms, {ledger.messages} deliveries, {ledger.duplicates} duplicates, "
            f"{crashes.streams.events} events of streams, {crashes.repeats.taken} repeated messages, "
            "all flagged; nothing confirmed was lost",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
