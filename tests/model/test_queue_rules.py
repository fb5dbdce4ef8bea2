"""Queues with any options against a plain model that follows the journal's records.

Every record must have a cause: a client's doing, a deadline that has come, a limit exceeded.  What follows
from the records must be what the queues hold, in order; nothing may be left that had to go.  So a message is
never in two places, and a replay of the journal gives the durable state.

Deadlines lie between the moments at which time stands still here, half a bucket from each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from harebell.engine.deadlines import FINE
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from tests.support.client import ClientChannel, Delivery
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000
HALF = FINE // 2
FOREVER = 1 << 60
NAMES = ("a", "b", "c", "d")
EVERYONE, DEAD = "everyone", "dead letters"
STEPS = 50
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))

Places = list[tuple[int, int]]
"""Number of a queue and position there."""

Letter = tuple[bytes, Places]
Deaths = tuple[tuple[str, frozenset[str]], ...]

AUTOMATIC = frozenset({"expired", "maxlen"})
RETURNS = ("return", "hand back")


@dataclass
class Stored:
    """A message in one queue, or taken from it and not answered."""

    body: bytes
    priority: int | None
    expiration: int | None
    deadline: int
    deaths: Deaths
    returns: int = 0
    flagged: bool = False


@dataclass
class ModelQueue:
    """A queue in the model.

    Attributes:
        ready, held: by position, what waits and what clients have.
        back: positions a quorum queue got back, in order.
        highest: the highest position given.
    """

    name: str
    arguments: dict[str, Any]
    number: int
    policy: dict[str, Any] = field(default_factory=dict)
    ready: dict[int, Stored] = field(default_factory=dict)
    held: dict[int, Stored] = field(default_factory=dict)
    back: list[int] = field(default_factory=list)
    highest: int = 0

    @property
    def quorum(self) -> bool:
        """Tell whether it is a quorum queue."""
        return self.arguments.get("x-queue-type") == "quorum"

    def number_of(self, key: str) -> int | None:
        """Give what an argument and a policy come to: the lower."""
        found = [each for each in (self.arguments.get(f"x-{key}"), self.policy.get(key)) if each is not None]
        return min(found, default=None)

    def text_of(self, key: str) -> str | None:
        """Give what an argument or else a policy says."""
        found: str | None = self.arguments.get(f"x-{key}", self.policy.get(key))
        return found

    def level(self, message: Stored) -> int:
        """Give a message's priority here."""
        highest = 31 if self.quorum else self.arguments.get("x-max-priority", 0)
        if message.priority is None:
            return 4 if self.quorum else 0
        return min(message.priority, highest)

    def order(self) -> list[int]:
        """Give the positions of what is ready, in the order in which it must leave."""
        rest = [position for position in self.ready if position not in self.back]
        return self.back + sorted(rest, key=lambda at: (-self.level(self.ready[at]), at))

    def over(self, more: int = 0, octets: int = 0) -> bool:
        """Tell whether a limit would be exceeded with so many messages and body octets more."""
        count = len(self.ready) + more
        total = sum(len(message.body) for message in self.ready.values()) + octets
        most, most_octets = self.number_of("max-length"), self.number_of("max-length-bytes")
        return (most is not None and count > most) or (most_octets is not None and total > most_octets)

    def limit(self) -> int | None:
        """Give the returns a message may have; -1 is no limit, and any limit goes before it."""
        if not self.quorum:
            return None
        found = [self.arguments.get("x-delivery-limit"), self.policy.get("delivery-limit")]
        limits = [each for each in found if each is not None and each >= 0]
        return min(limits, default=None if -1 in found else 20)

    def overflow(self) -> str:
        """Give what happens when a limit is reached."""
        return self.text_of("overflow") or "drop-head"


class World:
    """A broker with four durable queues, and what its journal must be saying."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.journal = DelayedJournal()
        self.journal.durable = 1 << 40
        self.node = Node(self.journal)
        self.node.clock.wall = START
        self.channel = self._connect()
        self.told: list[str] = []
        self.queues: dict[str, ModelQueue] = {}
        self.tags: dict[int, tuple[str, int]] = {}
        self.published = self._seen = 0
        # What the step under way explains: answers by queue and position, refused bodies, purged queues.
        self.answered: dict[tuple[str, int], str] = {}
        self.refused: list[tuple[str, bytes]] = []
        self.purged: set[str] = set()
        self.fresh: Stored | None = None
        self.expected: set[str] = set()
        self.letters: set[tuple[str, int]] = set()
        # Whether what is handed back counts, too.
        self.every = self.random.random() < 0.5
        self._furnish()

    def _connect(self) -> ClientChannel:
        channel = self.node.connect().channel()
        channel.confirm_select()
        return channel

    def _furnish(self) -> None:
        for exchange in (EVERYONE, DEAD):
            self.channel.declare_exchange(exchange, "fanout", durable=True)
        for name in NAMES:
            arguments = self._arguments()
            self.told.append(f"queue {name}: {arguments}")
            self.channel.declare_queue(name, durable=True, arguments=arguments)
            queue = self.node.queue(name)
            assert isinstance(queue, ClassicQueue)
            queue.counts_every_return = self.every
            self.queues[name] = ModelQueue(name, arguments, int(queue.id))
        self.bound = {
            EVERYONE: [name for name in NAMES if self.random.random() < 0.7],
            DEAD: self.random.sample(NAMES, 2),
        }
        self.told.append(f"bound: {self.bound}")
        for exchange, names in self.bound.items():
            for name in names:
                self.channel.bind(name, exchange)
        self._seen = len(self.journal.records)

    def _arguments(self) -> dict[str, Any]:
        pick = self.random
        found: dict[str, Any] = {}
        if pick.random() < 0.4:
            found["x-queue-type"] = "quorum"
            if pick.random() < 0.7:
                found["x-delivery-limit"] = pick.choice((-1, 0, 1, 2))
        elif pick.random() < 0.4:
            found["x-max-priority"] = pick.choice((0, 1, 5, 255))
        if pick.random() < 0.5:
            found["x-message-ttl"] = self._span()
        if pick.random() < 0.5:
            found[pick.choice(("x-max-length", "x-max-length-bytes"))] = pick.choice((0, 1, 3, 6, 20))
        if pick.random() < 0.5:
            modes = ["drop-head", "reject-publish"]
            if "x-queue-type" not in found:
                modes.append("reject-publish-dlx")
            found["x-overflow"] = pick.choice(modes)
        found |= self._destination()
        return found

    def _destination(self) -> dict[str, Any]:
        chance = self.random.random()
        if chance < 0.3:
            return {}
        if chance < 0.5:
            return {"x-dead-letter-exchange": DEAD}
        if chance < 0.6:
            return {"x-dead-letter-exchange": "missing"}
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.random.choice(NAMES)}

    def _span(self) -> int:
        return self.random.choice(
            (0, HALF, HALF + FINE, HALF + 10 * FINE, HALF + 100 * FINE, HALF + 2000 * FINE)
        )

    # what clients do

    def step(self) -> None:
        """Do something, and hold what came of it against the model."""
        actions = (self.publish, self.get, self.answer, self.wait, self.purge, self.policy, self.hang_up)
        self.random.choices(actions, (12, 8, 8, 6, 1, 2, 1))[0]()
        self.follow()
        self.check()

    def publish(self) -> None:
        """Publish a message to a queue or to several."""
        pick = self.random
        for _ in range(pick.choice((1, 1, 3))):
            self.published += 1
            body = b"%d:" % self.published + b"." * pick.choice((0, 0, 5))
            priority = pick.choice((None, None, 0, 1, 7))
            expiration = self._span() if pick.random() < 0.3 else None
            exchange = EVERYONE if pick.random() < 0.3 else ""
            key = pick.choice(NAMES)
            self.told.append(
                f"publish {body!r} to {exchange or key} priority {priority} expires {expiration}"
            )
            names = self.bound[EVERYONE] if exchange else [key]
            full = [name for name in names if self._refuses(self.queues[name], body)]
            self.expected = set(names) - set(full)
            self.fresh = Stored(body, priority, expiration, FOREVER, ())
            self.refused = [(name, body) for name in full if self._tells_of(self.queues[name], self.fresh)]
            properties = commands.Basic.Properties(delivery_mode=2, priority=priority)
            if expiration is not None:
                properties.expiration = str(expiration)
            self.channel.publish(body, exchange=exchange, key=key, properties=properties)
            assert self.channel.outcomes() == ["nack" if full else "ack"]
            self.follow()
            assert not self.expected, f"{body!r} did not reach {self.expected}"
            assert not self.refused, f"no dead letter of {self.refused}, which was refused"
            self.fresh = None

    def _tells_of(self, queue: ModelQueue, refused: Stored) -> bool:
        """Tell whether a refused message has a dead letter that goes somewhere."""
        if queue.overflow() != "reject-publish-dlx":
            return False
        return bool(self._destinations(queue, refused, frozenset({"maxlen"}))[0])

    def _refuses(self, queue: ModelQueue, body: bytes) -> bool:
        if queue.overflow() == "drop-head":
            return False
        most, most_octets = queue.number_of("max-length"), queue.number_of("max-length-bytes")
        total = sum(len(message.body) for message in queue.ready.values()) + len(body)
        return (most is not None and len(queue.ready) >= most) or (
            most_octets is not None and total > most_octets
        )

    def get(self) -> None:
        """Get some messages."""
        queue = self.queues[self.random.choice(NAMES)]
        for _ in range(self.random.choice((1, 1, 4))):
            order = queue.order()
            delivery = self.channel.get(queue.name)
            self.told.append(f"get from {queue.name}: {delivery}")
            if not order:
                assert delivery is None
                return
            assert delivery is not None, f"{queue.name}: {queue.ready[order[0]]} should have come"
            message = queue.ready.pop(order[0])
            queue.back = [position for position in queue.back if position != order[0]]
            queue.held[order[0]] = message
            self.tags[delivery.tag] = (queue.name, order[0])
            self._compare(queue, delivery, message)

    def _compare(self, queue: ModelQueue, delivery: Delivery, message: Stored) -> None:
        assert (delivery.body, delivery.redelivered) == (message.body, message.flagged)
        headers: Any = delivery.properties.headers or {}
        assert delivery.properties.priority == message.priority
        if queue.quorum:
            assert headers.get("x-delivery-count") == message.returns
        if not message.deaths:
            assert "x-death" not in headers
            return
        assert delivery.properties.expiration is None
        last, reasons = message.deaths[-1]
        entries = headers["x-death"]
        assert entries[0]["queue"] == last and entries[0]["reason"] in reasons
        assert sum(entry["count"] for entry in entries) == len(message.deaths)
        first, reasons = message.deaths[0]
        assert headers["x-first-death-queue"] == first and headers["x-first-death-reason"] in reasons

    def answer(self) -> None:
        """Acknowledge, reject or return some of what was got."""
        pick = self.random
        for _ in range(pick.choice((1, 1, 3))):
            if not self.tags:
                return
            tag = pick.choice(sorted(self.tags))
            how = pick.choice(("ack", "reject", "return", "hand back"))
            # basic.reject takes one; where several returns change nothing, nobody is told their order.
            multiple = (how != "return" if self.every else how in ("ack", "reject")) and pick.random() < 0.3
            covered = [each for each in sorted(self.tags) if each == tag or (multiple and each < tag)]
            self.told.append(f"{how} {[self.tags[each] for each in covered]}")
            self.answered = {self.tags.pop(each): how for each in covered}
            if how == "ack":
                self.channel.ack(tag, multiple=multiple)
            elif how == "return":
                self.channel.reject(tag)
            else:
                self.channel.nack(tag, multiple=multiple, requeue=how == "hand back")
            if how == "hand back" and not self.every:
                ((name, position),) = self.answered
                message = self.queues[name].held[position]
                if message.flagged and message.deadline > self.node.clock.wall:
                    self._returned(self.queues[name], position, False)
            self._answered()

    def _answered(self) -> None:
        self.follow()
        assert not self.answered, f"the journal says nothing of {self.answered}"

    def hang_up(self) -> None:
        """Lose the connection: everything unanswered returns."""
        self.told.append("hang up")
        self.answered = dict.fromkeys(self.tags.values(), "return")
        self.tags.clear()
        self.channel.client.hang_up()
        self._answered()
        self.channel = self._connect()

    def wait(self) -> None:
        """Let time pass."""
        span = FINE * self.random.choice((1, 2, 12, 110, 2100))
        self.told.append(f"wait {span}")
        self.node.advance(span)

    def purge(self) -> None:
        """Purge a queue."""
        name = self.random.choice(NAMES)
        self.told.append(f"purge {name}")
        self.purged = {name}
        assert self.channel.purge(name) == len(self.queues[name].ready)
        self.follow()
        self.purged = set()
        assert not self.queues[name].ready

    def policy(self) -> None:
        """Give a queue other options, or take them away."""
        pick = self.random
        queue = self.queues[pick.choice(NAMES)]
        if queue.policy and pick.random() < 0.5:
            clear_policy(self.node.broker, "/", queue.name)
            queue.policy = {}
        else:
            definition: dict[str, Any] = {}
            if pick.random() < 0.5:
                definition["message-ttl"] = self._span()
            if pick.random() < 0.5:
                definition["max-length"] = pick.choice((0, 1, 2, 5))
            if pick.random() < 0.3:
                definition |= {"dead-letter-exchange": "", "dead-letter-routing-key": pick.choice(NAMES)}
            if queue.quorum and pick.random() < 0.3:
                definition["delivery-limit"] = pick.choice((0, 1, 3))
            if not definition:
                return
            set_policy(self.node.broker, "/", queue.name, f"^{queue.name}$", definition)
            queue.policy = definition
        self.told.append(f"policy {queue.name}: {queue.policy}")
        finish(self.node.broker)
        self.node.expire()

    # what came of it

    def follow(self) -> None:
        """Apply the new records of the journal, each of which must have a cause."""
        self.letters.clear()
        records: list[Any] = list(self.journal.records[self._seen :])
        self._seen = len(self.journal.records)
        for index, (kind, *fields) in enumerate(records):
            if kind == "message":
                body, *places = fields
                if self.fresh is not None and body == self.fresh.body and self.expected:
                    self._take_published(places)
                else:
                    self._take_letter(body, places, records, index + 1)
            elif kind in ("requeue", "flag"):
                queue = self._queue(fields[0])
                assert kind == "requeue" or not queue.held[fields[1]].flagged, "it was flagged already"
                self._returned(queue, fields[1], kind == "requeue")
            elif kind == "hold":
                assert fields[1] in self._queue(fields[0]).held, "only what came back waits for a retry"
            elif kind == "settle":
                self._settled(self._queue(fields[0]), fields[1], None)

    def _take_letter(self, body: bytes, places: Places, records: list[Any], after: int) -> None:
        """A dead letter: the settle of what it was made of follows in the same transaction, if there is one.

        What has no dead-letter exchange may be settled in between, to make room.
        """
        for index in range(after, len(records)):
            kind, *fields = records[index]
            if kind in ("message", "end"):
                break
            queue = self._queue(fields[0])
            assert kind == "settle"
            source = queue.ready.get(fields[1]) or queue.held.get(fields[1])
            if queue.text_of("dead-letter-exchange") is not None:
                if source is None or source.body != body:
                    break
                found = {self._queue(number).name for number, _ in places}
                if self.refused and self._destinations(queue, source, AUTOMATIC)[0] != found:
                    break
                records[index] = ("moved",)
                self._settled(queue, fields[1], (body, places))
                return
        assert self.fresh is not None and self.refused, f"{body!r} was not settled where it was"
        name, refused = self.refused.pop(0)
        assert body == refused
        self._moved(self.queues[name], self.fresh, frozenset({"maxlen"}), (body, places))

    def _queue(self, number: int) -> ModelQueue:
        (queue,) = [each for each in self.queues.values() if each.number == number]
        return queue

    def _put(self, places: Places, message: Stored) -> None:
        for number, position in places:
            queue = self._queue(number)
            assert position > queue.highest, f"position {position} of {queue.name} was given twice"
            queue.highest = position
            limits = [
                each for each in (queue.number_of("message-ttl"), message.expiration) if each is not None
            ]
            deadline = int(self.node.clock.wall) + min(limits) if limits else FOREVER
            queue.ready[position] = Stored(
                message.body, message.priority, message.expiration, deadline, message.deaths
            )

    def _take_published(self, places: Places) -> None:
        assert self.fresh is not None
        assert {self._queue(number).name for number, _ in places} == self.expected
        self.expected = set()
        self._put(places, self.fresh)

    def _counts(self, how: str | None) -> bool:
        return how == "return" or self.every

    def _returned(self, queue: ModelQueue, position: int, counted: bool) -> None:
        how = self.answered.pop((queue.name, position), None)
        assert how in RETURNS, f"{position} of {queue.name} came back"
        assert self._counts(how) == counted, f"{position} of {queue.name} came back by a {how}"
        message = queue.held.pop(position)
        assert message.deadline > self.node.clock.wall, f"{message} came back after its time"
        message.flagged = True
        if counted:
            message.returns += 1
            limit = queue.limit()
            assert limit is None or message.returns <= limit, f"{message} came back once too often"
        queue.ready[position] = message
        if queue.quorum:
            queue.back.append(position)

    def _settled(self, queue: ModelQueue, position: int, letter: Letter | None) -> None:
        """A message left a queue, and was moved elsewhere if there is a letter."""
        now = self.node.clock.wall
        if position in queue.held:
            message = queue.held.pop(position)
            how = self.answered.pop((queue.name, position), None)
            if how == "ack":
                return
            if how == "reject":
                reasons = frozenset({"rejected"})
            else:
                limit = queue.limit()
                assert how in RETURNS, f"{message} of {queue.name} was taken from its consumer"
                if self._counts(how) and limit is not None and message.returns + 1 > limit:
                    reasons = frozenset({"delivery_limit"})
                else:
                    reasons = frozenset({"expired"})
                    assert message.deadline <= now, f"{message} of {queue.name} expired early"
        else:
            assert position in queue.ready, f"{position} of {queue.name} was settled twice"
            message = queue.ready[position]
            if queue.name not in self.purged:
                due = message.deadline <= now
                # What is told of now may have happened before a letter came, and before what is due was told.
                heads = [at for at in queue.order() if queue.ready[at].deadline > now or at == position]
                older = [at for at in heads if (queue.name, at) not in self.letters or at == position]
                first = position in (heads[0], older[0])
                pushed = queue.overflow() == "drop-head" and queue.over() and first
                assert due or pushed, f"{queue.name}: {message} at {position} left for no reason at {now}"
                reasons = AUTOMATIC if due and pushed else frozenset({"expired" if due else "maxlen"})
            del queue.ready[position]
            queue.back = [each for each in queue.back if each != position]
            if queue.name in self.purged:
                return
        self._moved(queue, message, reasons, letter)

    def _moved(
        self, queue: ModelQueue, message: Stored, reasons: frozenset[str], letter: Letter | None
    ) -> None:
        """Compare where a dead letter went with where it must go."""
        wanted, deaths = self._destinations(queue, message, reasons)
        body, places = letter or (message.body, [])
        assert body == message.body, f"{body!r} was enqueued for {message}"
        found = {self._queue(number).name for number, _ in places}
        assert found == wanted, f"the dead letter of {message} went to {found}, not to {wanted}"
        self._put(places, Stored(message.body, message.priority, None, FOREVER, deaths))
        self.letters |= {(self._queue(number).name, position) for number, position in places}

    def _destinations(
        self, queue: ModelQueue, message: Stored, reasons: frozenset[str]
    ) -> tuple[set[str], Deaths]:
        deaths = (*message.deaths, (queue.name, reasons))
        path: set[str] = set()
        for name, why in reversed(deaths):
            if "rejected" in why:
                break
            path.add(name)
        exchange, key = queue.text_of("dead-letter-exchange"), queue.text_of("dead-letter-routing-key")
        names = self.bound[DEAD] if exchange == DEAD else [str(key)] if exchange == "" else []
        return set(names) - path, deaths

    def check(self) -> None:
        """Compare what the queues hold with what the records say, and look for what had to go."""
        now = self.node.clock.wall
        for queue in self.queues.values():
            found = self.node.queue(queue.name)
            order = [queue.ready[position] for position in queue.order()]
            held = [(bytes(message.body), returned) for message, returned in found.peek(1 << 20)]
            assert held == [(message.body, message.flagged) for message in order], queue.name
            assert (found.ready_count(), found.unacked_count) == (len(order), len(queue.held)), queue.name
            assert found.next_position == queue.highest + 1 or not queue.highest
            late = [message for message in order if message.deadline <= now]
            assert not late, f"{queue.name}: the time of {late} was over before {now}"
            assert queue.overflow() != "drop-head" or not queue.over(), f"{queue.name} holds too much"


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, (1 << 32) - 1))
def test_every_record_has_a_cause_and_every_rule_is_followed(seed: int) -> None:
    world = World(Random(seed))
    try:
        for _ in range(STEPS):
            world.step()
    except AssertionError as error:
        told = "\n".join(world.told)
        raise AssertionError(f"seed {seed}: {error}\n{told}") from error


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_the_model_sees_a_message_that_is_lost_on_its_way(kind: str) -> None:
    world = World(Random(1))
    queue = next(iter(world.queues.values()))
    world.journal.records.append(("settle", queue.number, 77))
    with pytest.raises(AssertionError, match="settled twice"):
        world.follow()
