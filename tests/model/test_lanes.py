"""Queues with groups, fair share and filters against a model that says who may hold what.

After every step, when the broker is at rest:

- no message is lost or in two places, and none is twice with clients;
- the messages of a group that clients hold are with one consumer, and came in order of the group;
- whatever could be delivered has been: where a group's first message waits, its holder, or everybody if it
  has none, lacks credit or does not want it.
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
from pamqp.common import FieldTable

from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from tests.support.client import ClientChannel
from tests.support.node import Node

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "60"))
STEPS = 60
KEYS = ("a", "b", "c", None)
KINDS = ("x", "y", None)
QUEUE = "q"


@dataclass
class Sent:
    """A message: its number, which is also its place in the queue, and what is looked at."""

    number: int
    key: str | None
    tenant: str | None
    kind: str | None
    level: int


@dataclass
class Worker:
    """A client with one consumer, or with none that only gets.

    Attributes:
        prefetch: 0 for a client that gets.
        wants: the kind it asks for; None for any.
        held: by delivery tag, what it has.
        consuming: False once it cancelled.
    """

    name: int
    channel: ClientChannel
    prefetch: int
    wants: str | None
    no_ack: bool = False
    held: dict[int, Sent] = field(default_factory=dict)
    consuming: bool = True

    def may(self, message: Sent) -> bool:
        """Tell whether it would take a message now."""
        credit = self.no_ack or len(self.held) < self.prefetch
        return self.consuming and credit and (self.wants is None or self.wants == message.kind)


class World:
    """A broker with one queue, its clients, and what they must have."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.node = Node()
        self.publisher = self.node.connect().channel()
        self.told: list[str] = []
        self.ready: dict[int, Sent] = {}
        self.workers: list[Worker] = []
        self.sent: list[Sent] = []
        self.numbers = 0
        self.arguments: FieldTable = {"x-queue-type": random.choice(("classic", "quorum"))}
        self.grouped = random.random() < 0.8
        if self.grouped:
            self.arguments["x-group-header"] = "key"
        if random.random() < 0.4:
            self.arguments["x-fair-header"] = "tenant"
        if random.random() < 0.3 and self.arguments["x-queue-type"] == "classic":
            self.arguments["x-max-priority"] = 3
        if self.arguments["x-queue-type"] == "quorum":
            self.arguments["x-delivery-limit"] = -1
        self.told.append(str(self.arguments))
        self.publisher.declare_queue(QUEUE, durable=True, arguments=self.arguments)

    @property
    def queue(self) -> ClassicQueue:
        """The queue."""
        found = self.node.queue(QUEUE)
        assert isinstance(found, ClassicQueue)
        return found

    def group_of(self, message: Sent) -> tuple[str | None, str] | None:
        """Give what is ordered and held together; groups are within tenants."""
        if not self.grouped or message.key is None:
            return None
        return (message.tenant if "x-fair-header" in self.arguments else None, message.key)

    # steps

    def step(self) -> None:
        """Do something."""
        does: list[Any] = [self.publish, self.publish, self.publish, self.answer, self.answer, self.join]
        does += [self.leave, self.get, self.squeeze]
        self.random.choice(does)()
        self.node.turn()
        self.collect()
        self.check()

    def publish(self) -> None:
        """Publish some messages."""
        frames = b""
        for _ in range(self.random.choice((1, 1, 3, 10))):
            self.numbers += 1
            pick = self.random.choice
            message = Sent(self.numbers, pick(KEYS), pick(("t", "u", None)), pick(KINDS), pick((0, 0, 0, 2)))
            named = {"key": message.key, "tenant": message.tenant, "kind": message.kind}
            headers: FieldTable = {name: value for name, value in named.items() if value is not None}
            properties = commands.Basic.Properties(headers=headers, delivery_mode=2)
            if message.level:
                properties.priority = message.level
            self.told.append(f"publish {message}")
            self.ready[message.number] = message
            self.sent.append(message)
            frames += self.publisher.message(b"%d" % message.number, key=QUEUE, properties=properties)
        self.publisher.client.feed(frames)

    def answer(self) -> None:
        """Acknowledge, discard or give back something."""
        holding = [worker for worker in self.workers if worker.held]
        if not holding:
            return
        worker = self.random.choice(holding)
        tag = self.random.choice(list(worker.held))
        how = self.random.choice(("ack", "ack", "reject", "nack", "recover"))
        self.told.append(f"{worker.name} {how} {worker.held[tag]}")
        if how == "recover":
            for message in worker.held.values():
                self.ready[message.number] = message
            worker.held.clear()
            worker.channel.call(commands.Basic.Recover(requeue=True), commands.Basic.RecoverOk)
            return
        message = worker.held.pop(tag)
        if how == "ack":
            worker.channel.ack(tag)
        elif how == "reject":
            worker.channel.reject(tag, requeue=False)
        else:
            self.ready[message.number] = message
            worker.channel.nack(tag)

    def join(self) -> None:
        """Bring in another client."""
        if len(self.workers) >= 5:
            return
        pick = self.random
        worker = Worker(
            len(self.told),
            self.node.connect().channel(),
            pick.choice((0, 1, 2, 5)),
            pick.choice((*KINDS, None)),
        )
        worker.consuming = worker.prefetch > 0
        arguments: FieldTable = {}
        if worker.wants is not None:
            selector: Any = pick.choice((f"kind = '{worker.wants}'", {"kind": worker.wants}))
            arguments["x-filter"] = selector
        if pick.random() < 0.3:
            arguments["x-priority"] = pick.choice((-1, 2))
        worker.no_ack = pick.random() < 0.1
        self.told.append(f"join {worker.name} {worker.prefetch} {arguments} {worker.no_ack}")
        self.workers.append(worker)
        if worker.consuming:
            worker.channel.qos(worker.prefetch)
            worker.channel.consume(QUEUE, "t", no_ack=worker.no_ack, arguments=arguments)

    def leave(self) -> None:
        """Cancel a consumer, or hang up."""
        if not self.workers or self.random.random() < 0.4:
            return
        worker = self.random.choice(self.workers)
        if worker.consuming and self.random.random() < 0.5:
            self.told.append(f"{worker.name} cancels")
            worker.consuming = False
            worker.channel.cancel("t")
            return
        self.told.append(f"{worker.name} hangs up")
        self.workers.remove(worker)
        for message in worker.held.values():
            self.ready[message.number] = message
        worker.channel.client.hang_up()

    def get(self) -> None:
        """Get one message."""
        if not self.workers:
            return
        worker = self.random.choice(self.workers)
        if worker.no_ack or worker.prefetch:
            return
        free = [each for each in self.ready.values() if self._is_first(each) and not self._holders(each)]
        found = worker.channel.get(QUEUE)
        self.told.append(f"{worker.name} gets {found}")
        assert (found is None) == (not free), "get finds a message exactly if one is free"
        if found is not None:
            message = self.ready[int(found.body)]
            assert message in free, f"{message} was not free"
            del self.ready[message.number]
            worker.held[found.tag] = message

    def squeeze(self) -> None:
        """Have next to nothing in lanes, or change what the queue goes by and back."""
        lanes = self.queue.lanes()
        if lanes is None:
            return
        if self.random.random() < 0.7 or self.grouped:
            keep = self.random.choice((0, 1, 5))
            self.told.append(f"keep {keep} in lanes")
            lanes.spill(keep)
            for tenant in lanes.tenants.values():
                tenant.allowed = self.random.choice((1, 3, 64))
            self.node.broker.dispatcher.schedule(self.queue)
            return
        self.told.append("a policy comes and goes")
        set_policy(self.node.broker, "/", "p", QUEUE, {"group-header": "other"})
        finish(self.node.broker)
        self.node.turn()
        clear_policy(self.node.broker, "/", "p")
        finish(self.node.broker)

    # what must hold

    def collect(self) -> None:
        """Take in what was delivered, in the order in which it was."""
        # What leaves at once, without an answer, may have gone before anything else.
        for worker in sorted(self.workers, key=lambda each: not each.no_ack):
            for delivery in worker.channel.deliveries():
                message = self.ready.get(int(delivery.body))
                assert message is not None, f"{delivery} was not waiting"
                assert worker.wants is None or worker.wants == message.kind, f"{message} was not wanted"
                if not worker.no_ack:
                    assert self._is_first(message), f"{message} overtook another of its group"
                    worker.held[delivery.tag] = message
                del self.ready[message.number]

    def _holders(self, message: Sent) -> list[Worker]:
        group = self.group_of(message)
        if group is None:
            return []
        return [
            worker
            for worker in self.workers
            if any(self.group_of(held) == group for held in worker.held.values())
        ]

    def _is_first(self, message: Sent) -> bool:
        group = self.group_of(message)
        return group is None or not any(
            number < message.number and self.group_of(other) == group for number, other in self.ready.items()
        )

    def check(self) -> None:
        """Look at everything."""
        held = [message.number for worker in self.workers for message in worker.held.values()]
        assert len(held) == len(set(held)), "a message is with two clients"
        queue = self.queue
        assert int(queue.unacked_count) == len(held)
        assert int(queue.ready_count()) == len(self.ready)
        waiting = {int(entry[1].body) for entry in queue.browse(10_000)}
        assert waiting == set(self.ready), "what waits is not what must"
        lanes = queue.lanes()
        if lanes is not None:
            lanes.refresh()
            assert int(queue.ready_count()) == len(self.ready), "the count was wrong"
        for message in self.ready.values():
            holders = self._holders(message)
            assert len(holders) <= 1, f"the group of {message} is with two clients"
            if self._is_first(message):
                takers = [worker for worker in (holders or self.workers) if worker.may(message)]
                assert not takers, f"{message} waits although {takers} could have it"


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_groups_turns_and_filters_hold_whatever_happens(seed: int) -> None:
    world = World(Random(seed))
    try:
        for _ in range(STEPS):
            world.step()
    except AssertionError as error:
        told = "\n".join(world.told)
        raise AssertionError(f"seed {seed}: {error}\n{told}") from error


def test_the_model_sees_a_message_that_is_lost_on_its_way() -> None:
    world = World(Random(1))
    world.arguments.clear()
    while not world.ready:
        world.publish()
    world.ready.popitem()
    with pytest.raises(AssertionError):
        world.check()


def test_the_model_sees_a_message_that_could_have_been_delivered() -> None:
    world = World(Random(1))
    world.workers.append(Worker(1, world.node.connect().channel(), 1, None))
    world.publish()
    with pytest.raises(AssertionError, match="could have it"):
        world.check()
