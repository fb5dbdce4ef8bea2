"""A seeded workload with streams on a store whose disks lose power together, held against a model.

One ``History`` is a data directory that lives several times: journal and stream files lose power at the same
operation, or the process is killed and both keep what was written, or it stops in order.  Events go to two
streams (one with retention), to a classic queue beside them, in transactions, and as dead letters; a named
consumer reads.  Segments of the journal and of streams are tiny, so that the journal forgets all the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pamqp import commands

from harebell.storage.data_dir import DataDirError
from tests.storage.fake_disk import PowerCut
from tests.storage.stream_node import Disks, StreamNode, declare, offset_of
from tests.support.client import ClientChannel

KEPT, SHORT = STREAMS = ("kept", "short")
QUEUE, DYING = CLASSIC = ("beside", "dying")
FANOUT = "all"
READER = "reader"
MOST_OCTETS = 6000
PERSISTENT = commands.Basic.Properties(delivery_mode=2, headers={"n": 7})
TRANSIENT = commands.Basic.Properties(delivery_mode=1, headers={"n": 7})


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass
class Model:
    """What is known of one stream.

    Attributes:
        events: by offset, all that was taken and is not known to be lost.
        safe: everything before was promised, or seen by a reader.
        first: retention deleted what is before.
    """

    events: dict[int, bytes] = field(default_factory=dict)
    safe: int = 0
    first: int = 0


@dataclass
class Group:
    """Messages that must be there all or not at all: in streams by offset, in queues by body."""

    events: list[tuple[str, int, bytes]]
    messages: list[tuple[str, bytes]]


class Life:
    """One start of the broker, with its clients."""

    def __init__(self, history: History) -> None:
        chance = history.chance
        self.history, self.chance = history, chance
        self.rig = StreamNode(history.folder, history.disks, sync_octets=chance.choice((500, 5000, 1 << 40)))
        self.rig.store.journal.ahead = chance.choice((0, 400, 1 << 40))
        client = self.rig.client
        self.confirming, self.transactional = client.channel(2), client.channel(3)
        self.dying = client.channel(4)
        self.confirming.confirm_select()
        self.transactional.call(commands.Tx.Select(), commands.Tx.SelectOk)
        self.waiting: list[list[tuple[str, int]]] = []
        self.reader: ClientChannel | None = None
        self.held: list[tuple[int, int]] = []

    def turn(self) -> None:
        """End a turn; each thread may be slow."""
        rig, chance = self.rig, self.chance
        rig.store.journal.flush()
        if chance.random() < 0.6:
            rig.commit()
        if chance.random() < 0.6:
            rig.store.pager.work()
        if chance.random() < 0.5:
            rig.store.streams.work()
        if chance.random() < 0.6:
            rig.maintain()
        rig.node.turn()
        self.listen()
        if rig.failures:
            raise Broken(f"the disk failed: {rig.failures[0]!r}") from rig.failures[0]

    def settle(self) -> None:
        """Let everything become durable and be reported."""
        self.rig.work()
        self.listen()

    def listen(self) -> None:
        """Take confirms: promises given."""
        for outcome in self.confirming.outcomes():
            if outcome != "ack":
                raise Broken("a message was refused")
            self.history.confirms += 1
            for name, offset in self.waiting.pop(0):
                model = self.history.models[name]
                model.safe = max(model.safe, offset + 1)

    def _taken(self, body: bytes, before: dict[str, int]) -> list[tuple[str, int]]:
        """Note which streams took a message just now, and where."""
        found = []
        for name in STREAMS:
            after = int(self.rig.stream(name).next_position)
            for offset in range(before[name], after):
                self.history.models[name].events[offset] = body
                found.append((name, offset))
            before[name] = after
        return found

    def _places(self) -> dict[str, int]:
        return {name: int(self.rig.stream(name).next_position) for name in STREAMS}

    def publish(self) -> None:
        """Publish to a stream, or to all there is."""
        for _ in range(self.chance.choice((1, 1, 2, 8))):
            body, before = self.history.body(), self._places()
            exchange, key = self.chance.choice(((FANOUT, ""), ("", KEPT), ("", SHORT)))
            properties = TRANSIENT if self.chance.random() < 0.2 else PERSISTENT
            self.confirming.publish(body, exchange=exchange, key=key, properties=properties)
            self.waiting.append(self._taken(body, before))

    def commit(self) -> None:
        """Publish to streams and to a queue, all or nothing."""
        self.settle()
        before = self._places()
        bodies: list[tuple[str, bytes]] = []
        for _ in range(self.chance.randint(2, 5)):
            key = self.chance.choice((KEPT, KEPT, SHORT, QUEUE))
            bodies.append((key, self.history.body()))
            self.transactional.publish(bodies[-1][1], key=key, properties=PERSISTENT)
        self.transactional.send(commands.Tx.Commit())
        group = Group([], [])
        for key, body in bodies:
            if key == QUEUE:
                group.messages.append((key, body))
                continue
            self.history.models[key].events[before[key]] = body
            group.events.append((key, before[key], body))
            before[key] += 1
        if before != self._places():
            raise Broken(f"a commit took other offsets than {before}: {self._places()}")
        self.history.groups.append(group)
        for _ in range(self.chance.choice((0, 1, 4))):
            self.turn()
            if self.transactional.take(commands.Tx.CommitOk):
                self._promised(group)
                return
        self.settle()
        if not self.transactional.take(commands.Tx.CommitOk):
            raise Broken("a commit was never answered")
        self._promised(group)

    def _promised(self, group: Group) -> None:
        for name, offset, _ in group.events:
            model = self.history.models[name]
            model.safe = max(model.safe, offset + 1)
        self.history.owed |= set(group.messages)
        self.history.groups.remove(group)

    def die(self) -> None:
        """Let a message become a dead letter in a stream."""
        self.settle()
        body, before = self.history.body(), self._places()
        self.confirming.publish(body, key=DYING, properties=PERSISTENT)
        self.waiting.append([])
        self.settle()
        self.history.dying[body] = None
        delivery = self.dying.get(DYING)
        if delivery is None:
            raise Broken("a confirmed message cannot be taken")
        self.dying.reject(delivery.tag, requeue=False)
        for _, offset in self._taken(bytes(delivery.body), before):
            self.history.dying[bytes(delivery.body)] = offset

    def read(self) -> None:
        """Read a stream from anywhere, as a consumer that begins there."""
        self.settle()
        name = self.chance.choice(STREAMS)
        model = self.history.models[name]
        log = self.rig.stream(name).log
        # A power cut may bring back some of the segments that retention deleted.
        lowest = min(max(int(log.first), model.first), int(log.next))
        offset = self.chance.randint(lowest, int(log.next))
        found = self.rig.events(name, offset)
        expected = [each for each in sorted(model.events.items()) if offset <= each[0] < log.next]
        if found != expected:
            raise Broken(f"{name} from {offset} on gives {found}, expected {expected}")
        model.safe = max(model.safe, int(log.next))

    def follow(self) -> None:
        """Let the named consumer take and answer some."""
        history = self.history
        if self.reader is None:
            self._subscribe()
            return
        self.rig.node.turn()
        for delivery in self.reader.deliveries():
            offset = offset_of(delivery)
            history.check_event(KEPT, offset, delivery.body)
            if history.next_read >= 0 and offset != history.event_from(history.next_read):
                raise Broken(f"the named reader got {offset} after {history.next_read - 1}")
            if history.next_read < 0:
                history.resumed(offset)
            history.next_read = offset + 1
            self.held.append((offset, delivery.tag))
        self.chance.shuffle(self.held)
        for _ in range(self.chance.choice((1, 3, 9))):
            if self.held:
                offset, tag = self.held.pop()
                self.reader.ack(tag)
                history.acked.add(offset)
        if self.chance.random() < 0.3:
            self.rig.node.advance(250)
            if self.chance.random() < 0.5:
                self.settle()
                history.noted = history.lowest_unanswered()

    def _subscribe(self) -> None:
        self.settle()
        self.reader = self.rig.client.channel(5)
        self.reader.qos(5)
        arguments: dict[str, object] = {"x-stream-consumer": READER}
        if READER not in self.rig.stream(KEPT).offsets:
            if self.history.noted >= 0:
                raise Broken("how far the named reader was is forgotten")
            arguments["x-stream-offset"] = "first"
        self.history.next_read = -1
        self.reader.consume(KEPT, "r", arguments=arguments)  # type: ignore[arg-type]
        self.settle()
        self.history.noted = max(self.history.noted, 0)

    def retain(self) -> None:
        """Time passes; note what retention left."""
        self.rig.node.advance(1000)

    def recreate(self) -> None:
        """Delete the stream with retention, and declare it anew."""
        self.settle()
        self.history.deleting = True
        self.rig.ask(commands.Queue.Delete(queue=SHORT))
        self.history.declare_short(self.rig)

    def full_disk(self) -> None:
        """One of the disks has no space for a while."""
        disk = self.chance.choice(self.rig.disks.both())
        disk.space = self.chance.choice((0, 10, 200))
        attempts = disk.refusals + self.chance.randint(1, 4)

        def refused() -> None:
            if disk.refusals >= attempts:
                disk.space = None

        disk.on_full = refused
        self.publish()
        for _ in range(3):
            self.turn()
        disk.space, disk.on_full = None, None
        self.settle()


class History:
    """All lives of one data directory, and what its clients were promised.

    Args:
        seed: everything follows from it.
        folder: the data directory; only its lock and its identity are real.
        skip_sync: stream files are never synced, although they say so; the model must then report loss.
    """

    def __init__(self, seed: int, folder: Path, skip_sync: bool = False) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.disks = Disks()
        self.skip_sync = skip_sync
        self.models = {name: Model() for name in STREAMS}
        self.groups: list[Group] = []
        self.owed: set[tuple[str, bytes]] = set()
        self.dying: dict[bytes, int | None] = {}
        self.acked: set[int] = set()
        self.noted = -1
        self.next_read = -1
        self.declared = False
        self.deleting = True
        self.cuts = self.kills = self.confirms = self.gaps = 0
        self._number = 0
        self._life: Life | None = None

    def _note_retention(self) -> None:
        if self._life is not None and SHORT in self._life.rig.node.vhost.queues:
            model = self.models[SHORT]
            model.first = max(model.first, int(self._life.rig.stream(SHORT).log.first))

    def body(self) -> bytes:
        """Make a body that is like no other."""
        self._number += 1
        return b"%d:" % self._number + self.chance.randbytes(self.chance.choice((0, 20, 20, 90, 700)))

    def lowest_unanswered(self) -> int:
        """Give the lowest offset the named reader did not acknowledge."""
        offset = self.event_from(0)
        while offset in self.acked:
            offset = self.event_from(offset + 1)
        return offset

    def event_from(self, offset: int) -> int:
        """Give the offset of the first event at an offset or behind it."""
        events = self.models[KEPT].events
        while offset not in events and offset <= max(events, default=-1):
            offset += 1
        return offset

    def resumed(self, offset: int) -> None:
        """The named reader begins, or begins again."""
        if offset > self.lowest_unanswered():
            raise Broken(f"the named reader resumes at {offset}, but {self.lowest_unanswered()} is open")
        if offset < self.noted:
            raise Broken(f"the named reader resumes at {offset}, although {self.noted} was kept")
        self.acked = {each for each in self.acked if each < offset}

    def check_event(self, name: str, offset: int, body: bytes) -> None:
        """A reader saw an event."""
        model = self.models[name]
        if model.events.get(offset) != body:
            raise Broken(
                f"{name}: {offset} is {body[:20]!r}, expected {model.events.get(offset, b'')[:20]!r}"
            )
        model.safe = max(model.safe, offset + 1)

    def run(self, lives: int) -> None:
        """Live several times.

        Raises:
            Broken: a promise was not kept.
        """
        for number in range(lives):
            self.disks.streams.skip_sync = self.skip_sync
            for disk in self.disks.both():
                disk.space = disk.on_full = None
                disk.short_writes = self.chance.choice((None, random.Random(number)))
            clean = self.chance.random() < 0.2
            self.disks.before(None if clean else self._cut_after(self.chance.choice((3, 20, 80, 300, 900))))
            try:
                self._live(clean)
            except DataDirError as error:
                raise Broken(f"it does not start: {error}") from error
            except PowerCut:
                self.disks.before(None)
                if self.chance.random() < 0.7:
                    self.cuts += 1
                    self.disks = self.disks.power_cut(self.chance)
                else:
                    self.kills += 1
        self.disks.before(None)
        life = Life(self)
        try:
            self.check(life)
        finally:
            life.rig.store.data_dir.close()

    def _cut_after(self, operations: int) -> Callable[[str, str], None]:
        last = self.chance.randint(1, operations)

        def before(kind: str, name: str) -> None:
            nonlocal last
            last -= 1
            if last <= 0:
                self._note_retention()
                raise PowerCut

        return before

    def _live(self, clean: bool) -> None:
        self._life = None
        life = self._life = Life(self)
        try:
            self.check(life)
            self._declare(life.rig)
            while True:
                actions = (
                    life.publish,
                    life.commit,
                    life.die,
                    life.read,
                    life.follow,
                    life.retain,
                    life.recreate,
                    life.full_disk,
                )
                self.chance.choices(actions, (12, 3, 2, 2, 6, 1, 0.2, 0.6))[0]()
                life.turn()
                if clean and self.chance.random() < 0.03:
                    life.settle()
                    life.rig.stop(clean=True)
                    return
        finally:
            life.rig.store.data_dir.close()

    def _declare(self, rig: StreamNode) -> None:
        if not self.declared:
            exchange = commands.Exchange.Declare(exchange=FANOUT, exchange_type="fanout", durable=True)
            dead = {"dead_letter_exchange": "", "dead_letter_routing_key": KEPT}
            rig.ask(exchange, declare(KEPT), declare(QUEUE, "classic"), declare(DYING, "classic", **dead))
            rig.ask(*(commands.Queue.Bind(queue=name, exchange=FANOUT) for name in (KEPT, QUEUE)))
            self.declared = True
        if SHORT not in rig.node.vhost.queues or self.deleting:
            self.declare_short(rig)

    def declare_short(self, rig: StreamNode) -> None:
        """Declare the stream with retention."""
        if SHORT not in rig.node.vhost.queues:
            self.models[SHORT] = Model()
        bind = commands.Queue.Bind(queue=SHORT, exchange=FANOUT)
        rig.ask(declare(SHORT, max_length_bytes=MOST_OCTETS), bind)
        self.deleting = False

    # what must hold after a start

    def check(self, life: Life) -> None:
        """Hold what was recovered against what was promised, and learn what became of the rest.

        Raises:
            Broken: a promise was not kept.
        """
        rig = life.rig
        extra = [name for name in rig.node.vhost.queues if name not in (*STREAMS, *CLASSIC)]
        if extra:
            raise Broken(f"queues nobody declared: {extra}")
        if rig.found or rig.missing:
            raise Broken(f"damage is reported without any: {rig.found} {rig.missing}")
        for name in STREAMS:
            if name in rig.node.vhost.queues:
                self._check_stream(rig, name)
            elif self.declared and not (name == SHORT and self.deleting):
                raise Broken(f"{name} is gone")
        if not self.declared:
            return
        present = {name: rig.bodies(name) for name in CLASSIC}
        for name, body in self.owed:
            if body not in present[name]:
                raise Broken(f"{name}: {body[:20]!r} was committed and is lost")
        for group in self.groups:
            self._check_group(rig, group, present)
        self.groups.clear()
        self._check_dying(rig, present[DYING])

    def _check_stream(self, rig: StreamNode, name: str) -> None:
        model, log = self.models[name], rig.stream(name).log
        if name == SHORT and self.deleting:
            # It may be there still, but nobody knows what in it.
            model.events, model.safe, model.first = dict(rig.events(name)), 0, int(log.first)
            return
        found = rig.events(name)
        for offset, body in found:
            if model.events.get(offset) != body:
                expected = model.events.get(offset, b"")[:20]
                raise Broken(f"{name}: {offset} is {body[:20]!r} after a restart, not {expected!r}")
        if log.next < model.safe:
            raise Broken(f"{name} ends at {log.next}, {model.safe} was promised")
        if rig.stream(name).next_position != log.next:
            raise Broken(f"{name} goes on at {rig.stream(name).next_position}, with a gap from {log.next}")
        offsets = [offset for offset, _ in found]
        lowest = 0 if name == KEPT else max(model.first, int(log.first))
        # What was never synced may be lost before something that is not.
        lost = [at for at in model.events if lowest <= at < model.safe and at not in set(offsets)]
        if lost:
            raise Broken(f"{name}: {lost} are lost, {model.safe} was promised")
        self.gaps += len(offsets) < log.next - log.first
        if offsets != sorted(set(offsets)) or (offsets and offsets[-1] != log.next - 1):
            raise Broken(f"{name}: {offsets} are out of order, or end before {log.next}")
        if name == SHORT and log.first > model.first:
            model.first = lowest
        model.events = {at: body for at, body in model.events.items() if at < lowest} | dict(found)

    def _check_group(self, rig: StreamNode, group: Group, present: dict[str, list[bytes]]) -> None:
        fates = {body in present[name] for name, body in group.messages}
        for name, offset, body in group.events:
            if name == KEPT:
                fates.add(self.models[name].events.get(offset) == body)
        if len(fates) > 1:
            raise Broken(f"half of a transaction is there: {group}")
        if fates == {True}:
            self.owed |= set(group.messages)

    def _check_dying(self, rig: StreamNode, dying: list[bytes]) -> None:
        bodies = {body: at for at, body in self.models[KEPT].events.items()}
        for body in list(self.dying):
            places = (body in dying) + (body in bodies)
            if places != 1:
                raise Broken(f"the dead letter {body[:20]!r} is in {places} places")
            if body in bodies:
                del self.dying[body]
