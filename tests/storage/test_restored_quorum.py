"""Quorum queues keep what they confirmed, transient messages too, as RabbitMQ's do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.test_waiting_retries import Node


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize(("kind", "kept"), [("quorum", 5), ("classic", 0)])
def test_transient_messages_of_quorum_queues_outlive_the_node(
    tmp_path: Path, kind: str, kept: int, clean: bool
) -> None:
    node = Node(tmp_path)
    node.declare(kind)
    node.publish(5, persistent=False)
    node.restart(clean)
    assert [int(message.body[:6]) for _, message, _ in node.queue.browse(9)] == list(range(kept))
    if kept:
        got = node.now.channel.get("q")
        assert got is not None
        assert got.properties.delivery_mode == 1, "they look as they were published"
    node.now.stop(True)


def test_a_returned_transient_message_of_a_quorum_queue_waits_over_a_kill(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.declare("quorum")
    node.publish(3, persistent=False)
    node.fail(3)
    node.restart()
    assert node.queue.delayed_count() == 3
    node.now.stop(True)
