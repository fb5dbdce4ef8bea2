"""Options of one queue together, chosen and changed at random, over restarts and kills.

Retries, groups, fair share, filters, browsers, de-duplication, limits, priorities, time limits, brakes,
delayed dead letters and transactions meet in one queue.  After every step, when the broker is at rest:

- each message that was taken and not answered for good is in exactly one place: ready, waiting for its retry,
  with a client, delayed, or a dead letter; all the others are nowhere;
- what is nowhere was acknowledged, purged, or counted as given up;
- counters and gauges say what is there;
- nothing comes before its time, and no message of a group overtakes another or is with a second client.

At the end everything can be had, and neither memory nor the journal keeps anything of it.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from harebell.engine.commands import PauseQueue
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from harebell.engine.queues.stock import Entry
from tests.model.lives import START, Life
from tests.model.queue_options import POLICIES, arguments_of
from tests.storage.stream_node import Disks
from tests.support.client import ClientChannel
from tests.support.node import Node

SEEDS = int(os.environ.get("MODEL_EXAMPLES", "60"))
STEPS = 60
DELAY = 3000
FOR_EVER = (1 << 63) - 1
EVERYTHING = 100_000


def number_of(body: bytes | memoryview) -> int:
    """Give the number of a message."""
    return int(bytes(body).split(b":")[0])


@dataclass
class Worker:
    """A client with one consumer or browser, or with none that only gets.

    Attributes:
        held: by delivery tag, the message it has to answer.
    """

    name: int
    channel: ClientChannel
    consuming: bool
    no_ack: bool = False
    browser: bool = False
    in_transactions: bool = False
    held: dict[int, int] = field(default_factory=dict)


class World:
    """A broker with the queue ``q``, its dead letters, its clients, and what they must have.

    Attributes:
        live: messages that must be somewhere.
        gone: those that must not.
        direct: those whose id the queue's window knows.
        due: when each may come at the earliest, unix milliseconds; of those that an exchange delays by the
            number's negative.
        lost_before: messages that the queue of this life had given up when it was looked at.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = chance = random.Random(seed)
        self.folder = folder
        self.budget = chance.choice([500, 4000, 1 << 62])
        self.segment_octets = chance.choice([1500, 6000, 60_000])
        self.told: list[str] = []
        self.number = 0
        self.live: set[int] = set()
        self.gone: set[int] = set()
        self.direct: set[int] = set()
        self.transient: set[int] = set()
        self.groups: dict[int, Any] = {}
        self.due: dict[int, int] = {}
        self.policy: dict[str, Any] = {}
        self.regrouped = False
        self.workers: list[Worker] = []
        self.lost_before = 0
        self.life = Life(folder, Disks(), self.segment_octets, self.budget, START)
        self.dead_letters = chance.choice(["dead", "dead", "loop", "none"])
        self.arguments = arguments_of(chance)
        if self.dead_letters == "dead":
            self.arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        elif self.dead_letters == "loop":
            self.arguments |= {"x-dead-letter-exchange": "later", "x-dead-letter-routing-key": "q"}
        self.say(f"budget {self.budget} segments {self.segment_octets} {self.arguments}")
        exchange = commands.Exchange.Declare(exchange="later", exchange_type="direct", durable=True)
        exchange.arguments = {"x-delay": DELAY}
        dead = commands.Queue.Declare(queue="dead", durable=True)
        queue = commands.Queue.Declare(queue="q", durable=True)
        queue.arguments = dict(self.arguments)
        bind = commands.Queue.Bind(queue="q", exchange="later", routing_key="q")
        for method in (exchange, dead, queue, bind):
            self.life.ask(lambda method=method: self.channel.send(method))  # type: ignore[misc]

    def say(self, text: str) -> None:
        """Note what was done, for who has to find out why it failed."""
        self.told.append(text)

    @property
    def channel(self) -> ClientChannel:
        """The publisher's channel."""
        return self.life.channel

    @property
    def node(self) -> Node:
        """The broker."""
        return self.life.node

    @property
    def wall(self) -> int:
        """What time it is."""
        return int(self.node.clock.wall)

    @property
    def queue(self) -> ClassicQueue:
        """The queue."""
        found = self.node.queue("q")
        assert isinstance(found, ClassicQueue)
        return found

    def waiting(self) -> list[Entry]:
        """List what waits for its retry."""
        queue = self.queue
        return [(at, message, returns) for at, message, returns, _ in queue.browse_waiting(1, 1 << 30)]

    def refusing(self) -> bool:
        """Tell whether the queue may refuse messages."""
        return "reject-publish" in (*self.arguments.values(), *self.policy.values())

    # what must hold

    def rest(self) -> None:
        """Let the broker come to rest."""
        for _ in range(6):
            self.life.work()
            self.node.expire()
        assert not self.life.failures, self.life.failures

    def places(self) -> dict[int, str]:
        """Tell where each message is."""
        found: dict[int, str] = {}

        def add(number: int, where: str) -> None:
            assert number not in found, f"{number} is {found[number]} and {where}"
            found[number] = where

        for _, message, _ in self.queue.browse(EVERYTHING):
            add(number_of(message.body), "ready")
        for _, message, _ in self.waiting():
            add(number_of(message.body), "waiting")
        for _, message, _ in self.node.queue("dead").browse(EVERYTHING):
            add(number_of(message.body), "dead")
        assert self.node.vhost.delays is not None
        for queue in self.node.vhost.delays.queues.values():
            for delayed in queue.store.read(queue.store.rows.positions()):
                assert delayed is not None, "a delayed message cannot be read"
                add(number_of(delayed.body), "later")
        for worker in self.workers:
            for number in worker.held.values():
                add(number, "held")
        return found

    def check(self) -> None:
        """Look at everything."""
        places = self.places()
        for number, place in places.items():
            assert number in self.live, f"{number} is {place}, although it was answered or never taken"
            if place == "later":
                self.due.setdefault(-number, self.wall + DELAY)
            elif -number in self.due:
                assert self.wall >= self.due.pop(-number), f"{number} was not delayed for long enough"
        self.miss(places)
        queue = self.queue
        kinds = Counter(places.values())
        gauges = (queue.ready_count(), queue.unacked_count, queue.delayed_count())
        assert gauges == (kinds["ready"], kinds["held"], kinds["waiting"]), f"{gauges} is not {kinds}"
        bodies = sum(len(message.body) for _, message, _ in queue.browse(EVERYTHING))
        assert queue.ready_bodies() == bodies
        assert queue.unacked_bytes >= 0 and self.life.store.pager.used >= 0
        if kinds["held"] == 0:
            assert (queue.unacked_bytes, queue.unacked_bodies) == (0, 0)

    def lost(self) -> int:
        """Give how many messages the queue gave up for good since the last look."""
        deaths = self.queue.deaths
        if deaths is None:
            return 0
        of_limits = deaths.lost_maxlen + deaths.lost_delivery_limit
        return int(deaths.lost_rejected + deaths.lost_expired + of_limits) - self.lost_before

    def miss(self, places: dict[int, str]) -> None:
        """Forget messages that were given up, which must be as many as the queue says."""
        missing = self.live - places.keys()
        lost = self.lost()
        assert len(missing) == lost, f"{sorted(missing)} are nowhere, and {lost} were given up"
        self.lost_before += lost
        self.over(missing)

    def over(self, numbers: set[int]) -> None:
        """Messages must be nowhere from now on."""
        self.live -= numbers
        self.gone |= numbers

    def collect(self) -> None:
        """Take in what was delivered."""
        for worker in self.workers:
            for delivery in worker.channel.deliveries():
                if not worker.browser:
                    self.came(worker, number_of(delivery.body), delivery.tag, worker.no_ack)

    def came(self, worker: Worker, number: int, tag: int, no_ack: bool) -> None:
        """A client got a message."""
        assert number in self.live, f"{number} came, although it was answered or never taken"
        due = self.due.pop(number, 0)
        assert self.wall >= due, f"{number} came {due - self.wall} ms before its time"
        if no_ack:
            self.over({number})
            return
        self.check_group(worker, number, tag)
        worker.held[tag] = number

    def group_of(self, number: int) -> Any:
        """Give the group of a message; None if it has none, or if nobody can tell."""
        arguments = self.arguments
        untold = self.regrouped or "x-single-active-consumer" in arguments
        key, tenant = self.groups.get(number, (None, None))
        if untold or "x-group-header" not in arguments or key is None:
            return None
        return (key, tenant if "x-fair-header" in arguments else None)

    def check_group(self, worker: Worker, number: int, tag: int) -> None:
        """Check that a message of a group comes to who has the group, and after those before it."""
        group = self.group_of(number)
        if group is None:
            return
        for other in self.workers:
            if other is not worker:
                theirs = {self.group_of(held) for held in other.held.values()}
                assert group not in theirs, f"{number} came to {worker.name}, {other.name} has its group"
        entries = next(iter(worker.channel.client.connection.channels.values())).window._entries
        mine = next(entry.position for entry in entries if entry.tag == tag)
        for position, message, _ in (*self.queue.browse(EVERYTHING), *self.waiting()):
            if position < mine:
                behind = number_of(message.body)
                assert self.group_of(behind) != group, f"{number} overtook {behind} of its group"

    # steps

    def step(self) -> None:
        """Do something."""
        does: list[Any] = [self.publish] * 4 + [self.answer] * 4 + [self.join] * 2 + [self.wait] * 2
        does += [self.leave, self.get, self.change_policy, self.maintain, self.pause, self.transact]
        does += [self.restart, self.purge, self.retry_now, self.press]
        self.chance.choice(does)()
        self.rest()
        self.collect()
        self.check()

    def publish(self) -> None:
        """Publish some messages, and some of them again."""
        pick = self.chance.choice
        for _ in range(pick([1, 3, 10])):
            known = sorted(self.direct) if "x-deduplication-window" in self.arguments else []
            again = bool(known) and self.chance.random() < 0.2
            if not again:
                self.number += 1
            number = pick(known) if again else self.number
            chosen = {"key": pick("ab-"), "tenant": pick("tu-"), "kind": pick("xy-")}
            headers: dict[str, Any] = {name: value for name, value in chosen.items() if value != "-"}
            mode = 1 if self.chance.random() < 0.15 and not again else 2
            properties = commands.Basic.Properties(
                delivery_mode=mode, headers=headers, message_id=f"id-{number}"
            )
            if self.chance.random() < 0.2:
                properties.expiration = pick(["0", "100", "5000", "50000"])
            if self.chance.random() < 0.2:
                properties.priority = pick([1, 3, 9])
            exchange = "later" if self.chance.random() < 0.15 and not again else ""
            self.say(f"publish {number} {headers} {mode} {properties.expiration} {exchange} again {again}")
            if not again:
                self.groups[number] = (headers.get("key"), headers.get("tenant"))
            body = b"%d:" % number + b"x" * pick([0, 10, 300])
            self.channel.publish(body, exchange=exchange, key="q", properties=properties)
            self.life.work()
            self.node.expire()
            (outcome,) = self.channel.outcomes()
            assert outcome == "ack" or (self.refusing() and not again), f"{number} was refused"
            if outcome == "ack" and not again:
                self.live.add(number)
                if mode == 1:
                    self.transient.add(number)
                elif not exchange:
                    self.direct.add(number)

    def answer(self) -> None:
        """Answer something."""
        holding = [worker for worker in self.workers if worker.held and not worker.in_transactions]
        if not holding:
            return
        worker = self.chance.choice(holding)
        held, channel = worker.held, worker.channel
        tag = self.chance.choice(list(held))
        how = self.chance.choice(["ack", "ack", "drop", "nack", "nack", "reject", "recover", "nack many"])
        self.say(f"{worker.name} {how} {held[tag]}")
        if how == "recover":
            for number in held.values():
                self.returned(number, False)
            held.clear()
            channel.call(commands.Basic.Recover(requeue=True), commands.Basic.RecoverOk)
        elif how == "nack many":
            for each in [each for each in held if each <= tag]:
                self.returned(held.pop(each), False)
            channel.nack(tag, multiple=True)
        elif how == "ack":
            self.over({held.pop(tag)})
            channel.ack(tag)
        elif how == "drop":
            del held[tag]
            channel.reject(tag, requeue=False)
        else:
            self.returned(held.pop(tag), how == "reject")
            (channel.reject if how == "reject" else channel.nack)(tag)

    def returned(self, number: int, failed: bool) -> None:
        """A message comes back, and may have to wait."""
        options = self.queue.options
        if options.delayed_retry_type in ("all", "failed" if failed else "returned"):
            jitter = max(0, int(options.delayed_retry_jitter))
            self.due[number] = self.wall + int(options.delayed_retry_min) * (100 - jitter) // 100

    def join(self) -> None:
        """Bring in another client."""
        if len(self.workers) >= 5:
            return
        chance = self.chance
        channel = self.node.connect().channel()
        worker = Worker(len(self.told), channel, chance.random() < 0.75)
        self.workers.append(worker)
        arguments: dict[str, Any] = {}
        if not worker.consuming:
            worker.in_transactions = chance.random() < 0.3
            if worker.in_transactions:
                channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
            self.say(f"join {worker}")
            return
        worker.browser = chance.random() < 0.25
        worker.no_ack = chance.random() < 0.1 and not worker.browser
        if worker.browser:
            arguments["x-browse"] = True
        elif chance.random() < 0.2:
            arguments["x-priority"] = chance.choice([-1, 3])
        if chance.random() < 0.3:
            arguments["x-filter"] = chance.choice(["kind = 'x'", {"kind": "y"}])
        if worker.browser or chance.random() < 0.8:
            channel.qos(chance.choice([1, 2, 5]))
        self.say(f"join {worker} {arguments}")
        channel.consume("q", "t", no_ack=worker.no_ack, arguments=arguments)

    def leave(self) -> None:
        """Cancel a consumer, or end a client."""
        if not self.workers:
            return
        worker = self.chance.choice(self.workers)
        if worker.consuming and self.chance.random() < 0.4:
            self.say(f"{worker.name} cancels")
            worker.consuming = False
            worker.channel.cancel("t")
            return
        self.say(f"{worker.name} goes")
        self.part(worker)

    def part(self, worker: Worker) -> None:
        """A client goes."""
        self.workers.remove(worker)
        for number in worker.held.values():
            self.returned(number, True)
        if self.chance.random() < 0.5:
            worker.channel.client.hang_up()
        else:
            worker.channel.client.close()

    def get(self) -> None:
        """Get one message."""
        free = [worker for worker in self.workers if not worker.consuming and not worker.browser]
        single_quorum = self.queue.single_active and self.queue.type_name == "quorum"
        if not free or single_quorum:
            return
        worker = self.chance.choice(free)
        no_ack = self.chance.random() < 0.2 and not worker.in_transactions
        found = worker.channel.get("q", no_ack=no_ack)
        self.say(f"{worker.name} gets {found}")
        if found is not None:
            self.came(worker, number_of(found.body), found.tag, no_ack)

    def transact(self) -> None:
        """Publish and answer in a transaction."""
        pick = self.chance.choice
        found = [worker for worker in self.workers if worker.in_transactions]
        if not found:
            return
        worker = pick(found)
        first = self.number + 1
        self.number += pick([0, 1, 3])
        news = set(range(first, self.number + 1))
        self.say(f"{worker.name} publishes {news} in a transaction, and answers {worker.held}")
        for number in sorted(news):
            properties = commands.Basic.Properties(delivery_mode=2, message_id=f"id-{number}")
            exchange = pick(["", "later"])
            worker.channel.publish(b"%d:" % number, exchange=exchange, key="q", properties=properties)
        for tag in list(worker.held):
            how = pick(["ack", "nack", "drop", None])
            if how is None:
                continue
            number = worker.held.pop(tag)
            if how == "ack":
                self.over({number})
                worker.channel.ack(tag)
            elif how == "nack":
                self.returned(number, False)
                worker.channel.nack(tag)
            else:
                worker.channel.reject(tag, requeue=False)
        self.live |= news
        worker.channel.send(commands.Tx.Commit())
        self.life.work()
        (answer,) = worker.channel.take(commands.Tx.CommitOk, commands.Channel.Close)
        if isinstance(answer.frame, commands.Channel.Close):
            assert self.refusing() and answer.frame.reply_code == 406, f"the commit failed: {answer}"
            self.workers.remove(worker)
            for number in worker.held.values():
                self.returned(number, True)
            worker.channel.client.hang_up()
            self.rest()
            self.collect()
            # What the full queue refused is not there.
            self.live -= news - self.places().keys()

    def change_policy(self) -> None:
        """Have options come and go."""
        definition: dict[str, Any] = {}
        for one in self.chance.sample(POLICIES, self.chance.choice([0, 1, 2, 3])):
            definition |= one
        self.say(f"policy {definition}")
        if "group-header" in definition or "fair-header" in definition:
            self.regrouped = True
        self.set_policy(definition)

    def set_policy(self, definition: dict[str, Any]) -> None:
        """Have the queue go by a policy, or by none."""
        broker = self.node.broker
        if definition:
            set_policy(broker, "/", "p", "^q$", definition)
        elif self.policy:
            clear_policy(broker, "/", "p")
        self.policy = definition
        for _ in range(3):
            finish(broker)
            self.node.turn()

    def wait(self) -> None:
        """Let time pass."""
        milliseconds = self.chance.choice([1, 200, 1500, 5000, 30_000])
        self.say(f"{milliseconds} ms pass")
        self.node.advance(milliseconds)

    def maintain(self) -> None:
        """Let the journal be reclaimed."""
        self.say("reclaim")
        self.life.maintain(self.chance.choice([1, 5, 30]))

    def pause(self) -> None:
        """Pause the queue, or resume it."""
        until = self.chance.choice([0, 0, 0, self.wall + 3000, FOR_EVER])
        self.say(f"pause until {until}")
        self.node.broker.commit(PauseQueue("/", "q", until, ""), True)

    def purge(self) -> None:
        """Purge the queue, or its dead letters."""
        queue = self.chance.choice(["q", "dead"])
        of = ("dead",) if queue == "dead" else ("ready", "waiting")
        found = {number for number, place in self.places().items() if place in of}
        self.say(f"purge {queue}")
        assert self.channel.purge(queue) == len(found)
        self.over(found)

    def retry_now(self) -> None:
        """End the wait of a message that came back."""
        found = self.waiting()
        if found:
            position, message, _ = self.chance.choice(found)
            self.say(f"retry {number_of(message.body)} now")
            self.due.pop(number_of(message.body), None)
            assert self.queue.retry_now(position)

    def press(self) -> None:
        """Let the queue make room: what waits for long goes to the disk."""
        self.say("memory is short")
        self.queue.offer()

    def restart(self) -> None:
        """Stop the broker in order, or kill it, and start it again."""
        clean = self.chance.random() < 0.5
        wall = self.wall + self.chance.choice([0, 0, 1000, 20_000])
        self.say(f"restart, in order {clean}")
        self.rest()
        self.collect()
        self.check()
        if clean:
            self.end_clients()
        self.workers.clear()
        self.life.stop(clean)
        lost = self.lost()
        self.lost_before = 0
        self.life = Life(self.folder, self.life.disks, self.segment_octets, self.budget, wall)
        assert not self.life.damage, self.life.damage
        missing = self.live - self.places().keys()
        # A quorum queue keeps transient ones, too.
        assert len(missing - self.transient) <= lost, f"{missing} are gone, {lost} were given up at the end"
        self.over(missing)

    def end_clients(self) -> None:
        """All clients go, and nobody gets what others give back without an answer."""
        for worker in sorted(self.workers, key=lambda each: not each.no_ack):
            self.part(worker)

    def end(self) -> None:
        """Get everything, and see that nothing is left of it."""
        self.say("end")
        self.end_clients()
        self.set_policy({})
        self.node.broker.commit(PauseQueue("/", "q", 0, ""), True)
        self.rest()
        self.check()
        channel = self.node.connect().channel()
        channel.consume("q", no_ack=True)
        channel.consume("dead", no_ack=True)
        got: list[int] = []
        for _ in range(300 if "x-delivery-rate" in self.arguments else 40):
            self.node.advance(10_000)
            self.rest()
            got += [number_of(body) for body in channel.bodies()]
        assert len(got) == len(set(got)) and set(got) <= self.live, "something came that must not"
        self.live -= set(got)
        assert self.node.vhost.delays is not None
        if self.dead_letters == "loop":
            # A queue that gives up all it gets, such as one of length 0, sends them round for ever.
            for delayed in self.node.vhost.delays.queues.values():
                self.live -= set(self.places())
                delayed.purge()
        self.miss({})
        queue = self.queue
        gauges = (queue.ready_count(), queue.unacked_count, queue.delayed_count(), queue.ready_octets())
        assert (*gauges, queue.unacked_bytes) == (0, 0, 0, 0, 0)
        assert self.life.store.pager.used == 0, "memory is counted for messages that are gone"
        self.life.maintain()
        segments = len(self.life.store.segments.bases)
        assert segments <= 3, f"{segments} segments are kept for nothing"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_doubled_or_early_whatever_a_queue_goes_by(seed: int, tmp_path: Path) -> None:
    world = World(seed, tmp_path)
    try:
        for _ in range(STEPS):
            world.step()
        world.end()
    except AssertionError as error:
        told = "\n".join(world.told)
        raise AssertionError(f"seed {seed}: {error}\n{told}") from error


def test_the_model_sees_a_message_that_is_lost(tmp_path: Path) -> None:
    world = World(1, tmp_path)
    world.live.add(1000)
    with pytest.raises(AssertionError, match="nowhere"):
        world.check()
