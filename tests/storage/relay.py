"""Messages that pass through queues as dead letters, beside the workload of the power cuts.

They are published to a queue with a time limit, move on to one that holds three, and end in a third.  At any
moment a message is in one of them: never in two, and in none only if it was never confirmed or was taken.

One exception: if the power went while moves were on their way to the disk, and later ones arrived without
the earlier ones, recovery cannot tell that from damage and keeps what it finds: a message may then be where
it came from and where it got to.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from pamqp import commands

from tests.support.client import ClientChannel
from tests.support.node import Node

BRIEF, SMALL, DEAD = QUEUES = ("relay.brief", "relay.small", "relay.dead")
TTL: Final = 100
ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    BRIEF: {
        "x-message-ttl": TTL,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": SMALL,
    },
    SMALL: {"x-max-length": 3, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD},
    DEAD: {"x-queue-type": "quorum"},
}


@dataclass
class Runner:
    """One message.

    Attributes:
        confirmed: whether its publisher was told that it is safe.
        taken: whether a client took it.
        gap: whether recovery found a gap that may have swallowed a move of it.
    """

    confirmed: bool = False
    taken: bool = False
    gap: bool = False


class Relay:
    """What is known of the messages under way, over all lives.

    Args:
        chance: decides what happens.

    Attributes:
        wall: what time it is.
        declared: True once all queues are known to be there.
    """

    def __init__(self, chance: random.Random) -> None:
        self.wall = 1_700_000_000_000
        self.declared = False
        self.moves = self.doubles = 0
        self._chance = chance
        self._runners: dict[int, Runner] = {}
        self._last = 0
        self._waiting: list[int] = []

    def declarations(self) -> list[commands.Queue.Declare]:
        """Give the methods that declare the queues."""
        found = []
        for name in QUEUES:
            method = commands.Queue.Declare(queue=name, durable=True)
            method.arguments = dict(ARGUMENTS[name])
            found.append(method)
        return found

    def begin(self, node: Node) -> None:
        """A node starts, some time later."""
        self._waiting.clear()
        self.wall += self._chance.choice((0, 10, 500))
        node.clock.wall = self.wall

    def work(self, node: Node, channel: ClientChannel) -> None:
        """Publish, let time pass, or take a message."""
        if not self.declared:
            return
        action = self._chance.choice(("publish", "publish", "wait", "wait", "take"))
        if action == "publish":
            for _ in range(self._chance.choice((1, 3))):
                self._last += 1
                self._runners[self._last] = Runner()
                self._waiting.append(self._last)
                properties = commands.Basic.Properties(delivery_mode=2)
                channel.publish(b"%d" % self._last, key=BRIEF, properties=properties)
        elif action == "wait":
            self.wall += self._chance.choice((10, TTL // 2, 3 * TTL))
            node.clock.wall = self.wall
            node.expire()
        else:
            delivery = channel.get(self._chance.choice(QUEUES))
            if delivery is not None:
                self._runners[int(delivery.body)].taken = True
                channel.ack(delivery.tag)

    def listen(self, channel: ClientChannel) -> None:
        """Take confirms."""
        for outcome in channel.outcomes():
            assert outcome == "ack"
            self._runners[self._waiting.pop(0)].confirmed = True

    def check(self, node: Node, gap: bool) -> str | None:
        """Compare what recovery found with what must be there, and learn what became of the rest.

        Args:
            gap: True if records reached the disk, but not those in front of them.

        Returns:
            What is wrong.
        """
        node.clock.wall = self.wall
        # Time limits and lengths count again as soon as the node starts.
        problem = self._compare(node, gap)
        node.expire()
        return problem or self._compare(node, False)

    def _compare(self, node: Node, gap: bool) -> str | None:
        seen: dict[int, str] = {}
        for name in QUEUES:
            if name not in node.vhost.queues:
                if self.declared:
                    return f"queue {name} is gone"
                continue
            last = 0
            for message, _ in node.queue(name).peek(1 << 30):
                number = int(message.body)
                runner = self._runners[number]
                runner.gap = runner.gap or gap
                if runner.gap:
                    self.doubles += number in seen
                    seen[number] = name
                    continue
                if number in seen:
                    return f"message {number} is in {seen[number]} and in {name}"
                if number < last:
                    return f"{name}: message {number} came after {last}"
                seen[number], last = name, number
        for number, runner in list(self._runners.items()):
            if number in seen:
                runner.confirmed, runner.taken = True, False
                self.moves += seen[number] != BRIEF
            elif runner.confirmed and not runner.taken:
                return f"message {number} is lost on its way"
            else:
                del self._runners[number]
        return None
