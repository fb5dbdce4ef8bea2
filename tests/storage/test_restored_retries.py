"""Messages that wait for their retry when the node goes: none is early afterwards, none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from tests.storage.test_restored_rules import Lives

RETRYING: dict[str, Any] = {"delayed_retry_type": "all", "delayed_retry_min": 5000}


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    """A data directory."""
    return Lives(tmp_path)


def returned(lives: Lives, queue: str, count: int) -> None:
    """Publish messages, get them all, and give them back."""
    lives.publish(queue, *[b"%d" % number for number in range(count)])
    for delivery in [lives.get(queue) for _ in range(count)]:
        lives.running.channel.send(commands.Basic.Reject(delivery.tag, True))
    lives.running.work()


@pytest.mark.parametrize("clean", [True, False], ids=["in order", "killed"])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_restart_makes_no_retry_early(lives: Lives, clean: bool, kind: str) -> None:
    lives.declare("q", queue_type=kind, **RETRYING)
    returned(lives, "q", 3)
    assert lives.running.channel.ready("q") == 0
    lives.restart(clean, 1000)
    lives.awake()
    assert lives.running.channel.ready("q") == 0, "a restart must not make a retry early"
    lives.wait(2000)
    assert lives.running.channel.ready("q") == 0
    lives.wait(3000)
    assert lives.running.channel.ready("q") == 3
    delivery = lives.get("q")
    assert (delivery.body, delivery.redelivered) == (b"0", True)


def test_a_retry_whose_time_came_while_the_node_was_away_is_ready_at_once(lives: Lives) -> None:
    lives.declare("q", **RETRYING)
    returned(lives, "q", 2)
    lives.restart(False, 6000)
    lives.awake()
    assert lives.running.channel.ready("q") == 2


def test_copies_of_old_segments_learn_what_waits_for_a_retry(lives: Lives) -> None:
    lives.declare("q", **RETRYING)
    returned(lives, "q", 2)
    (queue,) = lives.running.node.broker.queues()
    now = lives.running.node.clock.wall
    assert [place.until - now for _, place in queue.locate([1, 2])] == [5001, 5001]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_waits_comes_back_although_its_policy_went_before_the_restart(lives: Lives, kind: str) -> None:
    lives.declare("q", queue_type=kind)
    broker = lives.running.node.broker
    policy = {"delayed-retry-type": "all", "delayed-retry-min": 5000}
    set_policy(broker, "/", "p", "^q$", policy)
    finish(broker)
    returned(lives, "q", 2)
    assert lives.running.channel.ready("q") == 0, "they wait"
    clear_policy(broker, "/", "p")
    finish(broker)
    lives.restart(False, 1000)
    lives.awake()
    assert lives.running.channel.ready("q") == 0, "a restart must not make a retry early"
    lives.wait(5000)
    assert lives.bodies("q") == [b"0", b"1"], "without a policy, too, what waits comes back"
