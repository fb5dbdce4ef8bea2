"""Deadlines, priorities, returns and dead letters after a restart, in order or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from harebell.engine.queues.classic import ClassicQueue
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
        self.running = self._start(FakeDisk())

    def _start(self, disk: FakeDisk) -> Running:
        return Running(self.folder, disk, wall=self.wall)

    def restart(self, clean: bool, away: int = 0) -> None:
        """Stop it, or kill it with all it wrote on disk, and start it again some milliseconds later."""
        self.running.work()
        self.wall = int(self.running.node.clock.wall) + away
        self.running = self._start(self.running.stop(clean))

    def awake(self) -> None:
        """Let queues look at their deadlines, as the server does when it starts."""
        for _ in range(3):
            self.running.node.expire()
            self.running.work()

    def wait(self, milliseconds: int) -> None:
        self.running.node.advance(milliseconds)
        self.awake()

    def declare(self, name: str, to: str | None = None, **arguments: Any) -> None:
        table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        if to is not None:
            table |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": to}
        channel = self.running.channel
        question = commands.Queue.Declare(queue=name, durable=True)
        question.arguments = dict(table)
        self.running.ask(lambda: channel.send(question))

    def publish(self, key: str, *bodies: bytes, **properties: Any) -> None:
        for body in bodies:
            found = commands.Basic.Properties(delivery_mode=2, **properties)
            self.running.channel.publish(body, key=key, properties=found)
        self.running.work()

    def get(self, queue: str) -> Any:
        delivery = self.running.channel.get(queue)
        assert delivery is not None, f"{queue} should not be empty"
        return delivery

    def bodies(self, queue: str) -> list[bytes]:
        return self.running.bodies(queue)


@pytest.fixture(params=[True, False], ids=["in order", "killed"])
def clean(request: pytest.FixtureRequest) -> bool:
    """Whether the node stops in order."""
    return bool(request.param)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    """A data directory."""
    return Lives(tmp_path)


def test_deadlines_count_from_arrival_and_go_on_after_a_restart(lives: Lives, clean: bool) -> None:
    lives.declare("q", message_ttl=10_000)
    lives.publish("q", b"early")
    lives.wait(4000)
    lives.publish("q", b"late")
    lives.restart(clean, away=5000)
    lives.awake()
    assert lives.bodies("q") == [b"early", b"late"], "nothing is early"
    lives.wait(1500)
    assert lives.bodies("q") == [b"late"]
    lives.wait(4000)
    assert lives.bodies("q") == []


def test_what_expired_meanwhile_dies_at_the_start_and_is_dead_lettered(lives: Lives, clean: bool) -> None:
    lives.declare("dead")
    lives.declare("q", "dead", message_ttl=1000)
    lives.publish("q", b"a", b"b")
    lives.restart(clean, away=60_000)
    lives.awake()
    assert (lives.bodies("q"), lives.bodies("dead")) == ([], [b"a", b"b"])
    (death,) = lives.get("dead").properties.headers["x-death"]
    assert (death["reason"], death["count"]) == ("expired", 1)
    assert int(death["time"].timestamp()) * 1000 == lives.wall, "the death is told with the time of the start"
    lives.restart(clean)
    assert lives.bodies("dead") == [b"a", b"b"]


@pytest.mark.parametrize("expiration", ["500", "+500", "00000000000000000500"])
def test_an_expiration_in_the_middle_is_known_after_a_restart(
    lives: Lives, clean: bool, expiration: str
) -> None:
    lives.declare("q")
    lives.publish("q", b"first")
    lives.publish("q", b"brief", b"brief too", expiration=expiration)
    lives.publish("q", b"last")
    lives.restart(clean)
    lives.awake()
    assert lives.bodies("q") == [b"first", b"brief", b"brief too", b"last"]
    lives.wait(510)
    assert lives.bodies("q") == [b"first", b"last"]


def test_nobody_gets_what_expired_before_the_first_look_at_deadlines(lives: Lives, clean: bool) -> None:
    lives.declare("q", message_ttl=1000)
    lives.publish("q", b"old")
    lives.restart(clean, away=2000)
    assert lives.running.channel.get("q") is None


def test_priorities_and_their_order_survive(lives: Lives, clean: bool) -> None:
    for name, arguments in (("p", {"max_priority": 10}), ("quorum", {"queue_type": "quorum"})):
        lives.declare(name, **arguments)
        lives.publish(name, b"none")
        for body, priority in ((b"low", 1), (b"high", 9), (b"high too", 9)):
            lives.publish(name, body, priority=priority)
    lives.restart(clean)
    assert lives.bodies("p") == [b"high", b"high too", b"low", b"none"]
    assert lives.bodies("quorum") == [b"high", b"high too", b"none", b"low"]


def test_deadlines_behind_higher_priorities_are_kept(lives: Lives, clean: bool) -> None:
    for name, arguments in (("p", {"max_priority": 10}), ("quorum", {"queue_type": "quorum"})):
        lives.declare(name, message_ttl=1000, **arguments)
        lives.publish(name, b"low", priority=1)
        lives.wait(500)
        lives.publish(name, b"high", priority=9)
    lives.restart(clean)
    lives.awake()
    assert lives.bodies("quorum") == [b"high", b"low"]
    lives.wait(510)
    assert (lives.bodies("p"), lives.bodies("quorum")) == ([], [b"high"])
    lives.wait(500)
    assert lives.bodies("quorum") == []


def test_returns_are_counted_on_and_the_limit_holds(lives: Lives, clean: bool) -> None:
    lives.declare("dead")
    lives.declare("q", "dead", queue_type="quorum", delivery_limit=2)
    lives.publish("q", b"a")
    for count in (0, 1):
        delivery = lives.get("q")
        assert delivery.properties.headers["x-delivery-count"] == count
        lives.running.channel.nack(delivery.tag)
        lives.restart(clean)
    delivery = lives.get("q")
    assert (delivery.redelivered, delivery.properties.headers["x-delivery-count"]) == (True, 2)
    lives.running.channel.nack(delivery.tag)
    lives.restart(clean)
    assert (lives.bodies("q"), lives.bodies("dead")) == ([], [b"a"])


def count_failures(lives: Lives, name: str) -> None:
    queue = lives.running.node.queue(name)
    assert isinstance(queue, ClassicQueue)
    queue.counts_every_return = False


def test_what_was_handed_back_is_flagged_but_not_counted_if_failures_alone_count(
    lives: Lives, clean: bool
) -> None:
    lives.declare("dead")
    lives.declare("q", "dead", queue_type="quorum", delivery_limit=1)
    lives.publish("q", b"a", b"untouched")
    told = []
    for reject in (False, False, False, True, False, False, True):
        count_failures(lives, "q")
        delivery = lives.get("q")
        told.append((delivery.body, delivery.redelivered, delivery.properties.headers["x-delivery-count"]))
        answer = lives.running.channel.reject if reject else lives.running.channel.nack
        answer(delivery.tag)
        lives.restart(clean)
    assert told == [(b"a", False, 0)] + [(b"a", True, 0)] * 3 + [(b"a", True, 1)] * 3
    assert (lives.bodies("q"), lives.bodies("dead")) == ([b"untouched"], [b"a"])


def test_what_was_handed_back_and_failed_before_anything_was_written_counts_once(
    lives: Lives, clean: bool
) -> None:
    lives.declare("q", queue_type="quorum")
    lives.publish("q", b"a")
    count_failures(lives, "q")
    channel = lives.running.channel
    channel.nack(lives.get("q").tag)
    channel.reject(lives.get("q").tag)
    channel.nack(lives.get("q").tag)
    lives.restart(clean)
    delivery = lives.get("q")
    assert (delivery.redelivered, delivery.properties.headers["x-delivery-count"]) == (True, 1)


def test_a_flag_without_a_count_outlives_copying_forward(lives: Lives) -> None:
    lives.declare("q", queue_type="quorum")
    lives.declare("others")
    lives.publish("q", b"a")
    count_failures(lives, "q")
    lives.running.channel.nack(lives.get("q").tag)
    first = min(lives.running.disk.names())
    for _ in range(30):
        lives.publish("others", bytes(500))
        assert lives.running.channel.get("others", no_ack=True) is not None
        lives.running.maintain(3)
    assert first not in lives.running.disk.names(), "the record it was published with is gone"
    lives.restart(clean=True)
    count_failures(lives, "q")
    for count in (0, 1):
        delivery = lives.get("q")
        assert (delivery.redelivered, delivery.properties.headers["x-delivery-count"]) == (True, count)
        lives.running.channel.reject(delivery.tag)
        lives.restart(clean=True)
        count_failures(lives, "q")


def test_the_history_of_deaths_is_continued(lives: Lives, clean: bool) -> None:
    lives.declare("a", "b")
    lives.declare("b", "a")
    lives.publish("a", b"m")
    for name, other in (("a", "b"), ("b", "a"), ("a", "b")):
        lives.running.channel.reject(lives.get(name).tag, requeue=False)
        lives.restart(clean)
        assert (lives.bodies(name), lives.bodies(other)) == ([], [b"m"])
    deaths = lives.get("b").properties.headers["x-death"]
    assert [(each["queue"], each["count"]) for each in deaths] == [("a", 2), ("b", 1)]


def test_what_was_out_makes_a_limited_queue_overflow_into_one_restored_later(lives: Lives) -> None:
    lives.declare("q", "z", max_length=2)
    lives.declare("z")
    lives.publish("z", b"z1", b"z2")
    lives.publish("q", b"a", b"b")
    for _ in range(2):
        lives.get("q")
    lives.publish("q", b"c", b"d")
    lives.restart(False)
    lives.awake()
    assert (lives.bodies("q"), lives.bodies("z")) == ([b"c", b"d"], [b"z1", b"z2", b"a", b"b"])
    lives.restart(False)
    lives.awake()
    assert (lives.bodies("q"), lives.bodies("z")) == ([b"c", b"d"], [b"z1", b"z2", b"a", b"b"])


def test_a_message_given_up_on_arrival_leaves_the_others_where_they_are(lives: Lives, clean: bool) -> None:
    lives.declare("q")
    lives.publish("q", b"a")
    lives.publish("q", b"over at once", expiration="0")
    lives.publish("q", b"b", b"c")
    lives.running.channel.ack(lives.get("q").tag)
    lives.running.channel.ack(lives.get("q").tag)
    lives.restart(clean)
    assert lives.bodies("q") == [b"c"]
