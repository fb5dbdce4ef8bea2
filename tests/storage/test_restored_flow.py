"""Pauses, rates and changed arguments after a restart, in order or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harebell.engine.pausing import pause_queue, resume_queue
from harebell.engine.redeclaring import change_queue
from harebell.engine.topology import Caller
from harebell.ports import User
from tests.storage.test_restored_rules import Lives
from tests.support.client import ClientChannel

BODIES = [b"%d" % number for number in range(12)]


@pytest.fixture(params=[True, False], ids=["in order", "killed"])
def clean(request: pytest.FixtureRequest) -> bool:
    """Whether the node stops in order."""
    return bool(request.param)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    """A data directory."""
    return Lives(tmp_path)


def caller(lives: Lives) -> Caller:
    node = lives.running.node
    return Caller(node.broker, node.vhost, User("guest", frozenset()), 0)


def consume(lives: Lives) -> ClientChannel:
    channel = lives.running.node.connect().channel()
    channel.consume("q", no_ack=True)
    return channel


def work(lives: Lives) -> None:
    """Let pages be read, and what was in them be delivered."""
    for _ in range(3):
        lives.running.work()
        lives.running.node.turn()


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_a_paused_queue_is_paused_until_it_is_resumed(lives: Lives, clean: bool, queue_type: str) -> None:
    lives.declare("q", queue_type=queue_type)
    pause_queue(caller(lives), "q", None, "why")
    lives.publish("q", *BODIES)
    lives.restart(clean, away=1_000_000)
    channel = consume(lives)
    work(lives)
    assert channel.bodies() == []
    resume_queue(caller(lives), "q")
    work(lives)
    assert channel.bodies() == BODIES
    lives.restart(clean)
    assert lives.running.node.queue("q").brake is None


def test_a_pause_for_a_time_ends_at_that_time(lives: Lives, clean: bool) -> None:
    lives.declare("q")
    pause_queue(caller(lives), "q", 10_000, "")
    lives.publish("q", *BODIES)
    lives.restart(clean, away=4_000)
    channel = consume(lives)
    lives.wait(5_999)
    assert channel.bodies() == []
    lives.wait(1)
    work(lives)
    assert channel.bodies() == BODIES


@pytest.mark.parametrize("arguments", [{}, {"queue_type": "quorum"}, {"group_header": "k"}])
def test_what_is_on_disk_leaves_at_the_rate(lives: Lives, clean: bool, arguments: dict[str, str]) -> None:
    lives.declare("q", delivery_rate=5, **arguments)
    lives.publish("q", *BODIES)
    lives.restart(clean)
    channel = consume(lives)
    work(lives)
    found = channel.bodies()
    assert found == BODIES[:1]
    while len(found) < len(BODIES):
        lives.wait(200)
        work(lives)
        more = channel.bodies()
        assert len(more) == 1, "one in a fifth of a second"
        found += more
    assert found == BODIES


def test_changed_arguments_hold_for_messages_from_before(lives: Lives, clean: bool) -> None:
    lives.declare("q", message_ttl=1_000)
    lives.publish("q", b"kept")
    change_queue(caller(lives), lives.running.node.queue("q"), {"x-message-ttl": 60_000})
    lives.restart(clean, away=30_000)
    lives.awake()
    assert lives.running.node.queue("q").arguments == {"x-message-ttl": 60_000}
    assert lives.running.node.queue("q").ready_count() == 1
    lives.wait(31_000)
    assert lives.running.node.queue("q").ready_count() == 0


def test_a_limit_that_was_taken_away_stays_away(lives: Lives, clean: bool) -> None:
    lives.declare("q", max_length=3)
    lives.publish("q", *BODIES)
    change_queue(caller(lives), lives.running.node.queue("q"), {"x-max-length": None})
    lives.publish("q", *BODIES)
    lives.restart(clean)
    assert lives.bodies("q") == BODIES[-3:] + BODIES
