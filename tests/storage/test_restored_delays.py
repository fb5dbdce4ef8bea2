"""Delayed messages after a restart, in order or not, and while the journal gives up old segments."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import Running

START = 1_700_000_000_000


class Lives:
    """One data directory and the node that runs on it.

    Attributes:
        running: the node of now.
        wall: what time it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wall = START
        self.running = Running(folder, FakeDisk(), wall=self.wall)
        channel = self.running.channel
        declare = commands.Exchange.Declare(exchange="later", exchange_type="x-delayed-message", durable=True)
        declare.arguments = {"x-delayed-type": "direct"}
        self.running.ask(lambda: channel.send(declare))
        self.running.ask(lambda: channel.send(commands.Queue.Declare(queue="q", durable=True)))
        bind = commands.Queue.Bind(queue="q", exchange="later", routing_key="k")
        self.running.ask(lambda: channel.send(bind))

    def restart(self, clean: bool, away: int = 0) -> None:
        self.running.work()
        self.wall = int(self.running.node.clock.wall) + away
        self.running = Running(self.folder, self.running.stop(clean), wall=self.wall)

    def publish(self, body: bytes, delay: int, mode: int = 2) -> None:
        properties = commands.Basic.Properties(delivery_mode=mode, headers={"x-delay": delay})
        self.running.channel.publish(body, exchange="later", key="k", properties=properties)
        self.running.work()

    def wait(self, milliseconds: int) -> None:
        self.running.node.advance(milliseconds)
        for _ in range(5):
            self.running.work()
            self.running.node.expire()

    def store(self) -> Any:
        delays = self.running.node.vhost.delays
        assert delays is not None
        return delays.queues["later"].store

    def bodies(self) -> list[bytes]:
        return self.running.bodies("q")


@pytest.fixture(params=[True, False], ids=["in order", "killed"])
def clean(request: pytest.FixtureRequest) -> bool:
    """Whether the node stops in order."""
    return bool(request.param)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    """A data directory."""
    return Lives(tmp_path)


def test_delays_go_on_after_a_restart(lives: Lives, clean: bool) -> None:
    lives.publish(b"soon", 1000)
    lives.publish(b"transient", 5000, mode=1)
    lives.publish(b"late", 10_000)
    lives.restart(clean, away=500)
    lives.wait(499)
    assert lives.bodies() == [], "it came early"
    lives.wait(1)
    assert lives.bodies() == [b"soon"]
    lives.wait(9_000)
    assert lives.bodies() == [b"soon", b"late"], "a transient one does not outlive the node"
    lives.restart(clean)
    lives.wait(100_000)
    assert lives.bodies() == [b"soon", b"late"], "it came twice"


def test_what_became_due_meanwhile_comes_at_the_start(lives: Lives, clean: bool) -> None:
    lives.publish(b"b", 2000)
    lives.publish(b"a", 1000)
    lives.restart(clean, away=3000)
    lives.wait(0)
    assert lives.bodies() == [b"a", b"b"]


def test_what_was_cancelled_stays_away(lives: Lives, clean: bool) -> None:
    for body in (b"a", b"b", b"c"):
        lives.publish(body, 1000)
    lives.restart(True)
    delays = lives.running.node.vhost.delays
    assert delays is not None
    queue = delays.queues["later"]
    assert queue.cancel(2)
    lives.restart(clean)
    lives.wait(1000)
    assert lives.bodies() == [b"a", b"c"]
    lives.publish(b"d", 1000)
    delays = lives.running.node.vhost.delays
    assert delays is not None and delays.queues["later"].purge() == 1
    lives.restart(clean)
    lives.wait(1000)
    assert lives.bodies() == [b"a", b"c"]


def test_the_queue_of_a_deleted_exchange_goes_for_good(lives: Lives, clean: bool) -> None:
    lives.publish(b"a", 1000)
    lives.running.ask(lambda: lives.running.channel.send(commands.Exchange.Delete(exchange="later")))
    lives.wait(1000)
    lives.running.node.broker.relieve()
    lives.restart(clean)
    delays = lives.running.node.vhost.delays
    assert delays is not None and not delays.queues and lives.bodies() == []


def test_they_hold_no_old_segments(lives: Lives, clean: bool) -> None:
    """Few delayed messages among many others: their records are copied forward, on disk or in memory."""
    for number in range(40):
        lives.publish(b"%d" % number, 100_000 + number * 10)
        if number == 20:
            lives.running.work()
            lives.store().page_out(0)
        for _ in range(10):
            lives.running.channel.publish(
                b"x" * 300, key="q", properties=commands.Basic.Properties(delivery_mode=2)
            )
        lives.running.work()
        lives.running.channel.purge("q")
        lives.running.maintain(3)
    lives.running.maintain()
    segments = len(lives.running.store.segments.bases)
    assert segments < 20, f"{segments} segments are kept for 40 small messages"
    lives.restart(clean)
    lives.running.maintain()
    lives.wait(100_000)
    assert lives.bodies() == [b"0"]
    lives.wait(1000)
    assert lives.bodies() == [b"%d" % number for number in range(40)]


def test_what_is_known_of_very_many_goes_to_scratch_and_is_made_again(lives: Lives, clean: bool) -> None:
    count = 9000
    for number in range(count):
        delay = 100_000 + number * 7919 % count
        properties = commands.Basic.Properties(delivery_mode=2, headers={"x-delay": delay})
        lives.running.channel.publish(b"%d" % delay, exchange="later", key="k", properties=properties)
        if number % 500 == 0:
            lives.running.work()
    lives.running.work()
    lives.store().page_out(0)
    assert lives.running.spill.scratches, "all is kept in memory"
    lives.restart(clean)
    assert lives.store().rows.count == count
    scratch = lives.running.spill.scratches[-1]
    assert scratch.octets, "nothing was moved to scratch at the start"
    for _ in range(30):
        lives.wait(5000)
    assert [int(body) for body in lives.bodies()] == list(range(100_000, 100_000 + count))
    assert not scratch.octets, "space is not given back"


@pytest.mark.parametrize("seed", range(6))
def test_none_is_early_lost_or_doubled_in_many_lives(lives: Lives, seed: int) -> None:
    chance = random.Random(seed)
    due: dict[bytes, int] = {}
    number = 0
    for _ in range(12):
        for _ in range(chance.randint(0, 30)):
            number += 1
            delay = chance.choice([1, 50, 2000, 30_000, 400_000])
            due[b"%d" % number] = int(lives.running.node.clock.wall) + delay
            lives.publish(b"%d" % number, delay)
        if chance.random() < 0.5 and number:
            lives.store().page_out(0)
        for _ in range(chance.randint(0, 4)):
            lives.wait(chance.choice([1, 100, 5000, 60_000]))
            lives.running.maintain(2)
            now = int(lives.running.node.clock.wall)
            here = lives.bodies()
            assert max(Counter(here).values(), default=0) <= 1, "a message came twice"
            assert all(due[body] <= now for body in here), "a message came early"
            assert set(here) == {body for body, at in due.items() if at <= now}, "a message is missing"
        lives.restart(chance.random() < 0.5, chance.choice([0, 1000, 100_000]))
        lives.wait(0)
    lives.wait(1 << 32)
    assert sorted(lives.bodies()) == sorted(due)
