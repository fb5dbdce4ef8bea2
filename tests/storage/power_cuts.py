"""A seeded workload against a real broker on a fake disk, cut off at any operation and held against a model.

One ``History`` is a data directory that lives several times: each life recovers (and may be cut meanwhile),
is compared with what clients were promised, and works until the power goes, or stops in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pamqp import commands

from harebell.engine.commands import encode
from harebell.engine.metadata import snapshot
from harebell.paging import NO_LIMIT
from harebell.restoring import restore
from harebell.storage.data_dir import DataDirError
from harebell.storage.store import Events, Store
from tests.storage.fake_disk import FakeDisk, PowerCut
from tests.storage.relay import Relay
from tests.support.client import ClientChannel, Delivery
from tests.support.node import Node

QUEUES = ("a", "b", "c", "d")
FANOUT = "all"
SEGMENT_BYTES = 3000

NO, PERHAPS, YES = 0, 1, 2
"""What is known of a promise: not given, asked for and unanswered, given."""


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass
class Copy:
    """One message in one queue, as the clients know it.

    Attributes:
        gone: whether it was settled.
        gone_at: number of the step that settled it.
        delivered: whether a client saw it.
    """

    gone: int = NO
    gone_at: int = 0
    delivered: bool = False


@dataclass
class Published:
    """One message as the clients know it."""

    number: int
    body: bytes
    header: bytes
    promised: int = PERHAPS
    copies: dict[str, Copy] = field(default_factory=dict)


@dataclass
class Commit:
    """A transaction whose fate is not known: numbers of its messages, and what it acknowledged."""

    published: list[int]
    acked: list[tuple[str, int]]


class Life:
    """One start of the broker, with its clients.

    Args:
        history: what went before.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.disk = history.disk
        self.chance = history.chance
        self.store = Store(
            history.folder,
            False,
            lambda text: None,
            history.disk,
            SEGMENT_BYTES,
            budget=self.chance.choice([0, 2000, NO_LIMIT]),
            spill=FakeDisk(),
        )
        try:
            self._start()
        except BaseException:
            self.store.data_dir.close()
            raise

    def _start(self) -> None:
        self.store.journal.ahead = self.chance.choice([0, 400, NO_LIMIT])
        self.node = Node(self.store.journal, pager=self.store.pager)
        self.clean = self.store.recovered.clean
        gaps = {name for name in self.disk.files if name.endswith(".unsynced")}
        self.gap = bool(gaps - self.history.gaps)
        restore(self.node.broker, self.store)
        self.history.relay.begin(self.node)
        self.store.begin(
            lambda function, *arguments: function(*arguments),
            Events(lambda: self.node.sync(self.store.journal.durable), lambda full: None, self._failed),
            threaded=False,
        )
        committer = self.store.committer
        assert committer is not None
        self.work: Callable[[], None] = committer.work
        committer._retry_seconds = 0.0
        client = self.node.connect()
        self.plain, self.confirming, self.transactional = (client.channel(number) for number in (1, 2, 3))
        self.confirming.confirm_select()
        self.relaying = client.channel(4)
        self.relaying.confirm_select()
        self.transactional.call(commands.Tx.Select(), commands.Tx.SelectOk)
        self.waiting: list[int] = []
        self.unacked: list[tuple[str, Published, int]] = []
        self.unanswered: list[tuple[int, Callable[[], None]]] = []

    def _failed(self, error: Exception) -> None:
        raise Broken(f"the disk failed: {error}") from error

    def turn(self) -> None:
        """End a turn; the committer may be slow."""
        self.store.journal.flush()
        self.node.broker.dispatcher.residency.relieve()
        if self.chance.random() < 0.6:
            self.work()
        if self.chance.random() < 0.6:
            self.store.pager.work()
        if self.chance.random() < 0.2:
            self.maintain()
        self.listen()

    def maintain(self) -> None:
        """Let the store reclaim and copy forward."""
        broker = self.node.broker
        self.store.maintain(broker, lambda: [encode(command) for command in snapshot(broker)])

    def settle_down(self) -> None:
        """Let everything become durable and be reported."""
        for _ in range(3):
            self.store.journal.flush()
            self.work()
        self.listen()

    def listen(self) -> None:
        """Take confirms and -oks: promises given."""
        history = self.history
        history.relay.listen(self.relaying)
        for outcome in self.confirming.outcomes():
            number = self.waiting.pop(0)
            if outcome != "ack":
                raise Broken(f"message {number} was refused")
            history.confirms += 1
            history.messages[number].promised = YES
            if history.messages[number].copies:  # else nothing had to be written
                history.durable_step = max(history.durable_step, number)
        for channel in (self.plain, self.transactional):
            kinds = (
                commands.Queue.DeclareOk,
                commands.Queue.DeleteOk,
                commands.Queue.BindOk,
                commands.Exchange.DeclareOk,
                commands.Tx.CommitOk,
            )
            for _ in channel.take(*kinds):
                at = next(i for i, (number, _) in enumerate(self.unanswered) if number == id(channel))
                self.unanswered.pop(at)[1]()

    def ask(self, channel: ClientChannel, method: object, promise: Callable[[], None]) -> None:
        """Send a method whose -ok is a promise."""
        self.unanswered.append((id(channel), promise))
        channel.send(method)  # type: ignore[arg-type]

    # what clients do

    def declare(self) -> None:
        """Declare a queue and bind it to the fanout exchange; or do it again."""
        history = self.history
        name = self.chance.choice(QUEUES)
        step = history.next_step()
        if history.queues.get(name, NO) == NO:
            history.queues[name] = PERHAPS
            history.fates[name] = "declared"

            def declared() -> None:
                history.queues[name] = YES
                history.durable_step = max(history.durable_step, step)

            self.ask(self.plain, commands.Queue.Declare(queue=name, durable=True), declared)
        elif history.bound.get(name, NO) == NO and history.fates[name] == "declared":
            history.bound[name] = PERHAPS

            def bound() -> None:
                history.bound[name] = YES
                history.durable_step = max(history.durable_step, step)

            self.ask(self.plain, commands.Queue.Bind(queue=name, exchange=FANOUT), bound)

    def delete(self) -> None:
        """Delete a queue."""
        history = self.history
        name = self.chance.choice(QUEUES)
        if history.queues.get(name) != YES or history.fates[name] != "declared":
            return
        step = history.next_step()
        history.fates[name] = "deleted"
        history.queues[name] = PERHAPS
        self.unacked = [each for each in self.unacked if each[0] != name]
        for message in history.messages.values():
            if name in message.copies:
                copy = message.copies[name]
                copy.gone, copy.gone_at = max(copy.gone, PERHAPS), step

        def deleted() -> None:
            history.forget_queue(name)
            history.durable_step = max(history.durable_step, step)

        self.ask(self.plain, commands.Queue.Delete(queue=name), deleted)

    def publish(self) -> None:
        """Publish to one queue, or to all that are bound."""
        for _ in range(self.chance.choice((1, 1, 2, 5))):
            exchange = FANOUT if self.chance.random() < 0.4 else ""
            key = self.chance.choice(QUEUES)
            message = self._message(exchange, key)
            self.waiting.append(message.number)
            self._send(self.confirming, message, exchange, key)

    def _message(self, exchange: str, key: str) -> Published:
        history = self.history
        number = history.next_step()
        size = self.chance.choice((0, 1, 30, 30, 30, 700))
        body = b"%d:" % number + self.chance.randbytes(size)
        message = history.messages[number] = Published(number, body, b"")
        # What clients cannot know for sure is asked from the engine: whether an unanswered declare counts.
        if exchange == "":
            names = [key] if key in self.node.vhost.queues else []
        else:
            bindings = self.node.vhost.exchanges[FANOUT].bindings.values()
            names = [binding.destination.name for binding in bindings]
        message.copies = {name: Copy() for name in names}
        return message

    def _send(self, channel: ClientChannel, message: Published, exchange: str, key: str) -> None:
        properties = commands.Basic.Properties(
            delivery_mode=2, message_id=str(message.number), headers={"n": message.number}
        )
        channel.publish(message.body, exchange=exchange, key=key, properties=properties)
        for name in message.copies:
            held = [m for m, _ in self.node.queue(name).peek(1 << 30) if m.body == message.body]
            if held:
                message.header = held[0].header

    def consume(self) -> None:
        """Get some messages and answer some of them, in any order."""
        history = self.history
        names = [
            name for name in QUEUES if name in self.node.vhost.queues and history.fates[name] == "declared"
        ]
        if not names:
            return
        name = self.chance.choice(names)
        for _ in range(self.chance.choice((1, 3, 8))):
            no_ack = self.chance.random() < 0.2
            delivery = self._get(self.plain, name, no_ack)
            if delivery is None:
                break
            message = history.received(name, delivery)
            step = history.next_step()
            if no_ack:
                message.copies[name].gone, message.copies[name].gone_at = PERHAPS, step
            else:
                self.unacked.append((name, message, delivery.tag))

    def _get(self, channel: ClientChannel, name: str, no_ack: bool) -> Delivery | None:
        # Held replies of the same channel go first, so let them.
        while self.unanswered:
            self.store.journal.flush()
            self.work()
            self.listen()
        return channel.get(name, no_ack=no_ack)

    def answer(self) -> None:
        """Acknowledge, reject or requeue what was delivered."""
        self.chance.shuffle(self.unacked)
        for _ in range(self.chance.choice((1, 4, 20))):
            if not self.unacked:
                return
            name, message, tag = self.unacked.pop()
            if self.chance.random() < 0.25:
                self.plain.nack(tag, requeue=True)
                continue
            copy = message.copies[name]
            copy.gone, copy.gone_at = PERHAPS, self.history.next_step()
            if self.chance.random() < 0.3:
                self.plain.reject(tag, requeue=False)
            else:
                self.plain.ack(tag)

    def purge(self) -> None:
        """Purge a queue."""
        history = self.history
        name = self.chance.choice(QUEUES)
        if name not in self.node.vhost.queues or history.fates[name] != "declared":
            return
        while self.unanswered:
            self.store.journal.flush()
            self.work()
            self.listen()
        step = history.next_step()
        for message, _ in self.node.queue(name).peek(1 << 30):
            copy = history.find(bytes(message.body)).copies[name]
            copy.gone, copy.gone_at = PERHAPS, step
        self.plain.purge(name)

    def commit(self) -> None:
        """Publish to several queues and acknowledge from several, all or nothing."""
        history = self.history
        while self.unanswered:
            self.store.journal.flush()
            self.work()
            self.listen()
        commit = Commit([], [])
        for _ in range(self.chance.randint(0, 3)):
            key = self.chance.choice(QUEUES)
            message = self._message("", key)
            self._send(self.transactional, message, "", key)
            message.header = b"?"
            commit.published.append(message.number)
        for name in QUEUES:
            if name in self.node.vhost.queues and history.fates[name] == "declared":
                for _ in range(self.chance.randint(0, 2)):
                    delivery = self.transactional.get(name)
                    if delivery is not None:
                        message = history.received(name, delivery)
                        self.transactional.ack(delivery.tag)
                        commit.acked.append((name, message.number))
        step = history.next_step()
        for name, number in commit.acked:
            copy = history.messages[number].copies[name]
            copy.gone, copy.gone_at = PERHAPS, step
        history.commits.append(commit)
        written = bool(commit.acked) or any(history.messages[number].copies for number in commit.published)

        def committed() -> None:
            history.commits.remove(commit)
            for number in commit.published:
                history.messages[number].promised = YES
            if written:
                history.durable_step = max(history.durable_step, step)

        self.ask(self.transactional, commands.Tx.Commit(), committed)

    def relay(self) -> None:
        """Let messages pass through queues as dead letters."""
        for _ in range(self.chance.choice((1, 4))):
            self.history.relay.work(self.node, self.relaying)

    def full_disk(self) -> None:
        """The disk has no space for some attempts: nothing may be confirmed meanwhile."""
        disk = self.disk
        disk.space = self.chance.choice((0, 10, 200))
        attempts = disk.refusals + self.chance.randint(1, 4)

        def refused() -> None:
            if disk.refusals >= attempts:
                disk.space = None

        disk.on_full = refused
        self.publish()
        self.settle_down()
        disk.space = None


class History:
    """All lives of one data directory, and what its clients were promised.

    Args:
        seed: everything follows from it.
        folder: the data directory; only its lock and its identity are real.
        skip_sync: a disk that lies about syncs; the model must then report loss.
    """

    def __init__(self, seed: int, folder: Path, skip_sync: bool = False) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.skip_sync = skip_sync
        self.disk = FakeDisk()
        self.queues: dict[str, int] = {}
        self.fates: dict[str, str] = {}
        self.bound: dict[str, int] = {}
        self.exchange = NO
        self.messages: dict[int, Published] = {}
        self.commits: list[Commit] = []
        self.durable_step = 0
        self.step = 0
        self.cuts = 0
        # Its own chance, so that the rest of a history does not depend on it.
        self.relay = Relay(random.Random(seed))
        self.gaps: set[str] = set()
        self.confirms = 0

    def next_step(self) -> int:
        """Number what clients do."""
        self.step += 1
        return self.step

    def find(self, body: bytes) -> Published:
        """Find a message by its body, byte for byte."""
        number = body.split(b":", 1)[0]
        message = self.messages.get(int(number)) if number.isdigit() else None
        if message is None or message.body != body:
            raise Broken(f"a message nobody published: {body[:40]!r}")
        return message

    def received(self, name: str, delivery: Delivery) -> Published:
        """A client got a message."""
        message = self.find(delivery.body)
        if name not in message.copies:
            raise Broken(f"message {message.number} turned up in {name}")
        copy = message.copies[name]
        if copy.gone:
            raise Broken(f"message {message.number} was settled in {name} and was delivered again")
        if copy.delivered and not delivery.redelivered:
            raise Broken(f"message {message.number} was delivered before from {name}, and is not flagged")
        copy.delivered = True
        return message

    def forget_queue(self, name: str) -> None:
        """A queue is gone for good, with all it held."""
        self.queues[name] = NO
        self.fates.pop(name, None)
        self.bound[name] = NO
        for message in self.messages.values():
            message.copies.pop(name, None)

    def run(self, lives: int) -> None:
        """Live several times.

        Raises:
            Broken: a promise was not kept.
        """
        for number in range(lives):
            self.disk.skip_sync = self.skip_sync
            self.disk.before = None
            if self.chance.random() < 0.5:
                self.disk.short_writes = random.Random(number)
            clean = number + 1 < lives and self.chance.random() < 0.2
            if not clean:
                self._cut_after(self.chance.choice((3, 10, 40, 120, 300)))
            try:
                self._live(clean)
            except DataDirError as error:
                raise Broken(f"it does not start: {error}") from error
            except PowerCut:
                self.cuts += 1
                self.disk = self.disk.power_cut(self.chance, self.chance.choice((64, 512)))
        self.disk.before = None
        try:
            life = Life(self)
        except DataDirError as error:
            raise Broken(f"it does not start: {error}") from error
        try:
            self.check(life)
        finally:
            life.store.data_dir.close()

    def _cut_after(self, operations: int) -> None:
        last = self.chance.randint(1, operations)

        def before(kind: str, name: str) -> None:
            nonlocal last
            last -= 1
            if last <= 0:
                raise PowerCut

        self.disk.before = before

    def _live(self, clean: bool) -> None:
        life = Life(self)
        try:
            self.check(life)
            if self.exchange != YES:
                self._declare_exchange(life)
            if not self.relay.declared:
                self._declare_relay(life)
            while True:
                weights = (4, 1, 12, 6, 6, 1, 2, 1, 6)
                actions = (
                    life.declare,
                    life.delete,
                    life.publish,
                    life.consume,
                    life.answer,
                    life.purge,
                    life.commit,
                    life.full_disk,
                    life.relay,
                )
                self.chance.choices(actions, weights)[0]()
                life.turn()
                if clean and self.chance.random() < 0.02:
                    life.settle_down()
                    life.node.clients[0].hang_up()
                    life.store.close(clean=True)
                    return
        finally:
            life.store.data_dir.close()

    def _declare_exchange(self, life: Life) -> None:
        self.exchange = PERHAPS

        def declared() -> None:
            self.exchange = YES

        method = commands.Exchange.Declare(exchange=FANOUT, exchange_type="fanout", durable=True)
        life.ask(life.plain, method, declared)
        life.settle_down()

    def _declare_relay(self, life: Life) -> None:
        answered: list[None] = []
        for method in self.relay.declarations():
            life.ask(life.plain, method, lambda: answered.append(None))
        life.settle_down()
        self.relay.declared = len(answered) == len(self.relay.declarations())

    # what must hold after a start

    def check(self, life: Life) -> None:
        """Hold what was recovered against what was promised, and learn what became of the rest.

        Raises:
            Broken: a promise was not kept.
        """
        vhost = life.node.vhost
        if self.exchange == YES and FANOUT not in vhost.exchanges:
            raise Broken("the exchange is gone")
        self.exchange = YES if FANOUT in vhost.exchanges else NO
        for name in QUEUES:
            self._check_queue(life, name)
        problem = self.relay.check(life.node, life.gap)
        self.gaps |= {name for name in life.disk.files if name.endswith(".unsynced")}
        if problem is not None:
            raise Broken(problem)
        self._check_commits(life)
        self.commits.clear()
        for number in [number for number, message in self.messages.items() if not message.copies]:
            del self.messages[number]

    def _check_queue(self, life: Life, name: str) -> None:
        known, present = self.queues.get(name, NO), name in life.node.vhost.queues
        if present and known == NO:
            raise Broken(f"queue {name} was deleted and is back")
        if not present:
            if known == YES:
                raise Broken(f"queue {name} is gone")
            self.forget_queue(name)
            return
        self.queues[name] = YES
        self.fates[name] = "declared"
        bindings = life.node.vhost.exchanges[FANOUT].bindings.values() if self.exchange == YES else ()
        bound = any(binding.destination.name == name for binding in bindings)
        if bound != (self.bound.get(name, NO) == YES) and self.bound.get(name, NO) != PERHAPS:
            raise Broken(f"queue {name} is {'' if bound else 'not '}bound")
        self.bound[name] = YES if bound else NO
        self._check_messages(life, name)

    def _check_messages(self, life: Life, name: str) -> None:
        last = 0
        found: set[int] = set()
        for stored, redelivered in life.node.queue(name).peek(1 << 30):
            message = self.find(bytes(stored.body))
            copy = message.copies.get(name)
            if copy is None or message.number in found:
                raise Broken(f"message {message.number} should not be in {name}, or is there twice")
            if copy.gone == PERHAPS and copy.gone_at < self.durable_step:
                raise Broken(
                    f"message {message.number} was settled in {name} at {copy.gone_at} and is back, although "
                    f"{self.durable_step} is durable"
                )
            if message.number < last:
                raise Broken(f"{name}: message {message.number} came after {last}")
            if message.header not in (b"", b"?", stored.header):
                raise Broken(f"the header of message {message.number} changed")
            if copy.delivered and not redelivered:
                raise Broken(f"{name}: message {message.number} was delivered before and is not flagged")
            if not life.clean and not redelivered:
                raise Broken(f"{name}: message {message.number} is not flagged after a crash")
            last = message.number
            found.add(message.number)
        for number, message in self.messages.items():
            copy = message.copies.get(name)
            if copy is None or number in found:
                continue
            if message.promised == YES and copy.gone == NO:
                raise Broken(f"message {number} is lost from {name}")

    def _check_commits(self, life: Life) -> None:
        present = {
            name: {self.find(bytes(stored.body)).number for stored, _ in queue.peek(1 << 30)}
            for name, queue in life.node.vhost.queues.items()
            if name in QUEUES
        }
        for commit in self.commits:
            took_effect: set[bool] = set()
            for number in commit.published:
                for name, copy in self.messages[number].copies.items() if number in self.messages else ():
                    if name in present and (number in present[name] or copy.gone == NO):
                        took_effect.add(number in present[name])
            for name, number in commit.acked:
                message = self.messages.get(number)
                # One that was never confirmed may have been lost for itself.
                if (
                    name in present
                    and message is not None
                    and message.promised == YES
                    and name in message.copies
                ):
                    took_effect.add(number not in present[name])
            if len(took_effect) > 1:
                raise Broken(f"half of a transaction is there: {commit}")
        for number, message in list(self.messages.items()):
            for name in list(message.copies):
                if number in present.get(name, ()):
                    message.promised = YES
                    message.copies[name].gone = NO
                else:
                    del message.copies[name]
