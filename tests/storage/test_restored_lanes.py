"""Groups and fair share after a restart, in order or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.storage.test_restored_rules import Lives
from tests.support.client import ClientChannel


@pytest.fixture(params=[True, False], ids=["in order", "killed"])
def clean(request: pytest.FixtureRequest) -> bool:
    """Whether the node stops in order."""
    return bool(request.param)


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    """A data directory."""
    return Lives(tmp_path)


def send(lives: Lives, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        lives.publish("q", body, headers={"k": body[:1].decode()}, **properties)


def consume(lives: Lives, prefetch: int) -> ClientChannel:
    channel = lives.running.node.connect().channel()
    channel.qos(prefetch)
    channel.consume("q")
    # Pages are read, and what was in them is delivered.
    for _ in range(3):
        lives.running.work()
        lives.running.node.turn()
    return channel


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_groups_are_in_order_again_and_what_was_unanswered_is_first(
    lives: Lives, clean: bool, queue_type: str
) -> None:
    lives.declare("q", group_header="k", queue_type=queue_type)
    send(lives, b"a1", b"a2", b"b1", b"a3")
    assert consume(lives, 2).bodies() == [b"a1", b"a2"]
    lives.restart(clean)
    first, second = consume(lives, 2), consume(lives, 2)
    deliveries = first.deliveries()
    assert [(one.body, one.redelivered) for one in deliveries] == [(b"a1", True), (b"a2", True)]
    assert second.bodies() == [b"b1"]
    first.ack(deliveries[-1].tag, multiple=True)
    lives.running.work()
    assert first.bodies() + second.bodies() == [b"a3"]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_priorities_of_groups_count_again(lives: Lives, clean: bool, queue_type: str) -> None:
    lives.declare("q", group_header="k", queue_type=queue_type, **_levels(queue_type))
    send(lives, b"a1", priority=1)
    send(lives, b"a2", priority=9)
    send(lives, b"b1", priority=5)
    lives.restart(clean)
    assert consume(lives, 9).bodies() == [b"b1", b"a1", b"a2"]


def _levels(queue_type: str) -> dict[str, Any]:
    return {"max_priority": 9} if queue_type == "classic" else {}


def test_turns_are_taken_again(lives: Lives, clean: bool) -> None:
    lives.declare("q", fair_header="k")
    send(lives, *[b"a%d" % number for number in range(20)], b"b1")
    lives.restart(clean)
    channel = consume(lives, 3)
    assert channel.bodies() == [b"a0", b"b1", b"a1"]
    lives.restart(clean)
    assert consume(lives, 3).bodies() == [b"a0", b"b1", b"a1"]


def test_a_message_that_waits_for_its_retry_keeps_its_key(lives: Lives, clean: bool) -> None:
    lives.declare("q", group_header="k", delayed_retry_type="all", delayed_retry_min=5000)
    send(lives, b"a1", b"a2", b"b1")
    lives.running.channel.reject(lives.get("q").tag, requeue=True)
    lives.restart(clean)
    channel = consume(lives, 9)
    assert channel.bodies() == [b"b1"]
    lives.wait(6000)
    assert channel.bodies() == [b"a1", b"a2"]
