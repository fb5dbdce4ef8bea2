"""Lanes over a backlog on disk: nothing is lost, order within a key is kept, memory is accounted for."""

from __future__ import annotations

from random import Random

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.classic import ClassicQueue
from tests.support.client import ClientChannel
from tests.support.node import Node
from tests.support.pager import ShelfPager

MESSAGES = 9000
KEYS = 40


class Rig:
    """A node whose pager keeps nothing in memory that it may page."""

    def __init__(self, **arguments: object) -> None:
        self.pager = ShelfPager()
        self.node = Node(pager=self.pager)
        self.random = Random(5)
        self.channel = self.node.connect().channel()
        named: FieldTable = {"x-" + key.replace("_", "-"): str(value) for key, value in arguments.items()}
        self.channel.declare_queue("q", durable=True, arguments=named)

    @property
    def queue(self) -> ClassicQueue:
        found = self.node.queue("q")
        assert isinstance(found, ClassicQueue)
        return found

    def publish(self, count: int) -> None:
        """Publish, and have paged what may be."""
        frames = b""
        for number in range(count):
            key = self.random.randrange(KEYS)
            properties = commands.Basic.Properties(headers={"k": key, "t": key % 3}, delivery_mode=2)
            frames += self.channel.message(b"%d:%d" % (key, number), key="q", properties=properties)
        self.channel.client.feed(frames)
        self.relieve()

    def relieve(self) -> None:
        """Page what may be."""
        self.queue.offer()
        for _ in range(40):
            self.node.broker.dispatcher.residency.relieve()

    def consume(self, prefetch: int) -> ClientChannel:
        """Bring in a consumer."""
        channel = self.node.connect().channel()
        channel.qos(prefetch)
        channel.consume("q")
        return channel

    def rest(self) -> None:
        """Let the disk and the broker catch up."""
        for _ in range(100):
            if not self.pager.asked:
                return
            self.pager.hand_back()
            self.node.turn()


def drain(rig: Rig, consumers: list[ClientChannel], expected: int) -> list[bytes]:
    """Acknowledge in bunches, sometimes giving something back, until all is gone."""
    done: list[bytes] = []
    last: dict[bytes, int] = {}
    for _ in range(4 * MESSAGES):
        rig.rest()
        busy = False
        for channel in consumers:
            deliveries = channel.deliveries()
            if not deliveries:
                continue
            busy = True
            if rig.random.random() < 0.05:
                channel.nack(deliveries[-1].tag, multiple=True)
                continue
            for delivery in deliveries:
                key, number = delivery.body.split(b":")
                assert int(number) > last.get(key, -1), f"{delivery.body!r} came too late"
                last[key] = int(number)
                done.append(delivery.body)
            channel.ack(deliveries[-1].tag, multiple=True)
        if rig.random.random() < 0.02:
            rig.relieve()
        if not busy and not rig.pager.asked:
            break
    assert len(done) == len(set(done)) == expected
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        {"group_header": "k"},
        {"group_header": "k", "queue_type": "quorum"},
        {"group_header": "k", "fair_header": "t"},
    ],
    ids=str,
)
def test_groups_leave_a_paged_backlog_in_order(arguments: dict[str, str]) -> None:
    rig = Rig(**arguments)
    rig.publish(MESSAGES)
    assert rig.queue.paged_count() > MESSAGES // 4
    drain(rig, [rig.consume(50) for _ in range(4)], MESSAGES)
    assert rig.queue.ready_count() == rig.queue.unacked_count == 0
    assert (rig.queue.ready_octets(), rig.queue.ready_bodies()) == (0, 0)
    assert rig.pager.used == 0


def test_fair_share_by_policy_sorts_a_paged_backlog() -> None:
    rig = Rig()
    rig.publish(MESSAGES)
    set_policy(rig.node.broker, "/", "p", "q", {"fair-header": "t"})
    finish(rig.node.broker)
    rig.node.turn()
    rig.rest()
    assert drain(rig, [rig.consume(60)], MESSAGES)
    assert rig.pager.used == 0
    clear_policy(rig.node.broker, "/", "p")
    finish(rig.node.broker)
    rig.publish(10)
    assert rig.queue.lanes() is None


def test_groups_by_policy_come_and_go_over_a_paged_backlog() -> None:
    rig = Rig()
    rig.publish(MESSAGES)
    consumers = [rig.consume(50) for _ in range(2)]
    set_policy(rig.node.broker, "/", "p", "q", {"group-header": "k"})
    finish(rig.node.broker)
    rig.rest()
    clear_policy(rig.node.broker, "/", "p")
    finish(rig.node.broker)
    assert rig.queue.ready_count() + rig.queue.unacked_count == MESSAGES
    done = 0
    for _ in range(MESSAGES):
        rig.rest()
        for channel in consumers:
            for delivery in channel.deliveries():
                done += 1
                channel.ack(delivery.tag)
        if done == MESSAGES:
            break
    assert done == MESSAGES
    assert rig.pager.used == 0


@pytest.mark.parametrize("header", ["group_header", "fair_header"])
def test_purging_lets_go_of_pages_and_memory(header: str) -> None:
    rig = Rig(**{header: "t"})
    rig.publish(MESSAGES)
    channel = rig.consume(10)
    rig.rest()
    channel.client.hang_up()
    assert rig.channel.purge("q") == MESSAGES
    assert rig.pager.used == 0
    assert rig.queue.peek(10) == []
    rig.publish(10)
    assert len(rig.channel.drain("q")) == 10


@pytest.mark.parametrize("header", ["group_header", "fair_header"])
def test_messages_are_found_wherever_they_are(header: str) -> None:
    rig = Rig(**{header: "t"})
    rig.publish(MESSAGES)
    queue = rig.queue
    wanted = list(range(1, MESSAGES + 1, 7))
    assert [position for position, _ in sorted(queue.locate(wanted))] == wanted
    assert [entry[0] for entry in queue.browse(500)] == list(range(1, 501))
    assert [entry[0] for entry in queue.browse_from(5000, 300)] == list(range(5000, 5300))
    taken = queue.withdraw(wanted)
    assert [entry[0] for entry in taken] == wanted
    assert queue.ready_count() == MESSAGES - len(wanted)
    for entry in taken:
        queue.reinstate(entry)
    assert queue.ready_count() == MESSAGES
    found = 0
    consumer = rig.consume(1000)
    while deliveries := consumer.deliveries():
        found += len(deliveries)
        consumer.ack(0, multiple=True)
        rig.rest()
    assert found == MESSAGES
