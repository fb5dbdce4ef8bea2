"""Exchanges that delay, bound to each other at random, over restarts and kills.

After every step each queue holds just what a plain description of the rules says, and each exchange delays
just as many messages: an exchange that delays a message hands it on when its time has come, with the bindings
of that moment, and what has waited is delayed by no exchange behind.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from tests.model.lives import START, Life
from tests.storage.stream_node import Disks
from tests.support.client import ClientChannel

SEEDS = int(os.environ.get("MODEL_EXAMPLES", "60"))
STEPS = 40
KEYS = ("a", "b")
NOTHING: list[str] = []


@dataclass(frozen=True)
class Sent:
    """A message as it is on its way.

    Attributes:
        number: which one.
        key: what it is routed with.
        delay: the header ``x-delay``; None without one.
        at: the header ``x-deliver-at``; None without one.
    """

    number: int
    key: str
    delay: int | None = None
    at: int | None = None


@dataclass
class Exchange:
    """What is declared."""

    name: str
    fanout: bool
    delayed: bool
    own: int
    alternate: str | None
    bindings: list[tuple[str, str]]

    def delay(self, sent: Sent, now: int) -> int | None:
        """Give the time until which it delays a message."""
        if not self.delayed:
            return None
        if sent.delay is not None and sent.delay > 0:
            return now + sent.delay
        if sent.at is not None and sent.at > now:
            return sent.at
        return now + self.own if self.own and sent.delay != 0 else None


class World:
    """A broker, and what must be in it.

    Attributes:
        ready: what each queue holds.
        waits: time, exchange and message of what waits.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = chance = random.Random(seed)
        self.folder = folder
        self.life = Life(folder, Disks(), chance.choice([1500, 60_000]), 1 << 62, START)
        self.told: list[str] = []
        self.number = 0
        names = [f"x{number}" for number in range(chance.randint(2, 5))]
        self.exchanges = {name: self._exchange(name, names) for name in names}
        self.queues: dict[str, str | None] = {
            f"q{number}": chance.choice([None, *names]) for number in range(3)
        }
        self.ready: dict[str, Counter[int]] = {name: Counter() for name in self.queues}
        self.sent: dict[tuple[str, int], list[Sent]] = {}
        self.waits: list[tuple[int, str, Sent]] = []
        for exchange in self.exchanges.values():
            self._declare(exchange)
        for name, dead in self.queues.items():
            declare = commands.Queue.Declare(queue=name, durable=True)
            declare.arguments = {} if dead is None else {"x-dead-letter-exchange": dead}
            self.ask(declare)
            self.bind(self.chance.choice(names), name)
        for _ in range(chance.randint(1, 8)):
            self.bind(chance.choice(names), chance.choice([*names, *self.queues]))

    def _exchange(self, name: str, names: list[str]) -> Exchange:
        chance = self.chance
        own = chance.choice([0, 0, 1000, 3000])
        delayed = own > 0 or chance.random() < 0.5
        alternate = chance.choice([None, *names])
        return Exchange(name, chance.random() < 0.4, delayed, own, alternate, [])

    def _declare(self, exchange: Exchange) -> None:
        arguments: dict[str, Any] = {}
        if exchange.delayed:
            arguments = {"x-delay": exchange.own} if exchange.own else {"x-delayed": True}
        if exchange.alternate is not None:
            arguments["alternate-exchange"] = exchange.alternate
        kind = "fanout" if exchange.fanout else "direct"
        declare = commands.Exchange.Declare(exchange=exchange.name, exchange_type=kind, durable=True)
        declare.arguments = arguments
        self.told.append(str(exchange))
        self.ask(declare)

    @property
    def channel(self) -> ClientChannel:
        """The client's channel."""
        return self.life.channel

    @property
    def wall(self) -> int:
        """What time it is."""
        return int(self.life.node.clock.wall)

    def ask(self, method: Any) -> None:
        """Declare or bind something."""
        self.channel.send(method)
        self.life.work()
        self.channel.client.received()

    def bind(self, source: str, destination: str) -> None:
        """Bind a queue or an exchange."""
        key = self.chance.choice(KEYS)
        if (destination, key) in self.exchanges[source].bindings:
            return
        self.told.append(f"bind {destination} to {source} by {key}")
        self.exchanges[source].bindings.append((destination, key))
        if destination in self.exchanges:
            self.ask(commands.Exchange.Bind(destination=destination, source=source, routing_key=key))
        else:
            self.ask(commands.Queue.Bind(queue=destination, exchange=source, routing_key=key))

    def unbind(self) -> None:
        """Remove a binding."""
        source = self.chance.choice(list(self.exchanges.values()))
        if not source.bindings:
            return
        destination, key = source.bindings.pop(self.chance.randrange(len(source.bindings)))
        self.told.append(f"unbind {destination} from {source.name} by {key}")
        if destination in self.exchanges:
            method: Any = commands.Exchange.Unbind(
                destination=destination, source=source.name, routing_key=key
            )
        else:
            method = commands.Queue.Unbind(queue=destination, exchange=source.name, routing_key=key)
        self.ask(method)

    def route(self, start: str, sent: Sent, delaying: bool) -> None:
        """Say where a message goes."""
        seen: set[str] = set()
        queues: set[str] = set()
        todo = [start]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            exchange = self.exchanges[name]
            until = exchange.delay(sent, self.wall) if delaying else None
            if until is not None:
                self.waits.append((until, name, sent))
                continue
            found = [where for where, key in exchange.bindings if exchange.fanout or key == sent.key]
            queues.update(where for where in found if where in self.queues)
            todo += [where for where in found if where in self.exchanges]
            if not found and exchange.alternate is not None:
                todo.append(exchange.alternate)
        for queue in queues:
            self.ready[queue][sent.number] += 1
            self.sent.setdefault((queue, sent.number), []).append(sent)

    def publish(self) -> None:
        """Publish a few messages, at times in a transaction that takes a while."""
        exchange = self.chance.choice(list(self.exchanges))
        batch = [self._message() for _ in range(self.chance.randint(1, 3))]
        late = self.chance.choice([0, 0, 0, 400])
        self.told.append(f"{self.wall - START}: publish {batch} to {exchange}, committed after {late}")
        channel = self.channel
        if late:
            channel = self.life.node.connect().channel()
            channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
        for sent in batch:
            headers: dict[str, Any] = {}
            if sent.delay is not None:
                headers["x-delay"] = sent.delay
            if sent.at is not None:
                headers["x-deliver-at"] = sent.at
            properties = commands.Basic.Properties(delivery_mode=2, headers=headers or None)
            body = str(sent.number).encode()
            channel.publish(body, exchange=exchange, key=sent.key, properties=properties)
        if late:
            # Times are looked at when it is published.
            for sent in batch:
                before = len(self.waits)
                self.route(exchange, sent, True)
                for at in range(before, len(self.waits)):
                    until, where, waiting = self.waits[at]
                    if until != waiting.at:
                        self.waits[at] = (until + late, where, waiting)
            self.advance(late)
            channel.send(commands.Tx.Commit())
            self.life.work()
            channel.client.hang_up()
            # What was due before the commit comes with it.
            self.life.node.advance(0)
        else:
            for sent in batch:
                self.route(exchange, sent, True)

    def _message(self) -> Sent:
        self.number += 1
        chance = self.chance
        delay = chance.choice([None, None, None, 0, -700, 500, 2000])
        at = chance.choice([None, None, None, self.wall - 5, self.wall + 1500])
        return Sent(self.number, chance.choice(KEYS), delay, at)

    def reject(self) -> None:
        """Reject what is in a queue."""
        queue = self.chance.choice(list(self.queues))
        self.told.append(f"{self.wall - START}: reject what is in {queue}")
        while (delivery := self.channel.get(queue)) is not None:
            number = int(delivery.body)
            found = self.sent[(queue, number)]
            headers = delivery.properties.headers or {}
            sent = next(each for each in found if headers.get("x-delay") == each.delay)
            found.remove(sent)
            self.ready[queue][number] -= 1
            self.channel.reject(delivery.tag, requeue=False)
            dead = self.queues[queue]
            if dead is not None:
                self.route(dead, sent, True)
            if sum(self.ready[queue].values()) == 0 or self.chance.random() < 0.1:
                break

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.life.node.advance(milliseconds)
        self.come()

    def come(self) -> None:
        """Say what has come by now."""
        due = [each for each in self.waits if each[0] <= self.wall]
        self.waits = [each for each in self.waits if each[0] > self.wall]
        for _, exchange, sent in due:
            if sent.delay is not None and sent.delay > 0:
                sent = Sent(sent.number, sent.key, -sent.delay, sent.at)
            self.route(exchange, sent, False)

    def restart(self) -> None:
        """End the broker, and start it again a little later."""
        clean, away = self.chance.random() < 0.5, self.chance.choice([0, 800])
        self.told.append(f"{self.wall - START}: {'stop' if clean else 'kill'}, away for {away}")
        self.life.work()
        wall = self.wall + away
        self.life.stop(clean)
        self.life = Life(self.folder, self.life.disks, 60_000, 1 << 62, wall)
        assert self.life.damage == NOTHING, "a restart found damage"
        self.life.work()
        self.life.node.advance(0)
        self.come()

    def step(self) -> None:
        """Do one thing."""
        pick = self.chance.random()
        if pick < 0.45:
            self.publish()
        elif pick < 0.7:
            self.advance(self.chance.choice([100, 500, 1000, 2500]))
        elif pick < 0.8:
            self.reject()
        elif pick < 0.87:
            self.bind(
                self.chance.choice(list(self.exchanges)), self.chance.choice([*self.exchanges, *self.queues])
            )
        elif pick < 0.92:
            self.unbind()
        else:
            self.restart()
        self.life.work()
        self.life.maintain(1)

    def check(self) -> None:
        """Compare what is with what must be."""
        for _ in range(3):
            self.life.work()
            self.life.node.expire()
        for name, expected in self.ready.items():
            found = Counter(
                int(bytes(message.body)) for _, message, _ in self.life.node.queue(name).browse(9999)
            )
            assert found == +expected, f"in {name}"
        delays = self.life.node.vhost.delays
        assert delays is not None
        waiting = Counter({name: int(queue.ready_count()) for name, queue in delays.queues.items()})
        assert +waiting == Counter(name for _, name, _ in self.waits), "what waits"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_messages_wait_where_they_must_and_go_where_they_must(seed: int, tmp_path: Path) -> None:
    world = World(seed, tmp_path)
    try:
        for _ in range(STEPS):
            world.step()
            world.check()
        world.advance(10_000)
        world.check()
        assert world.waits == []
    except BaseException:
        print("\n".join(world.told))
        raise
    finally:
        world.life.stop(False)
