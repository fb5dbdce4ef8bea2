"""Queues that take so many messages a second: who publishes more has to wait, and nothing is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import i64

from harebell.engine.queues.queue import Queue

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel


def slow_down(channel: Channel, queues: list[Queue]) -> None:
    """Have the connection wait if it is ahead of the rate of a queue that takes its message."""
    for queue in queues:
        intake = queue.intake
        if intake is not None:
            now: i64 = channel.clock.now
            intake.spend(1)
            wait: i64 = intake.overdrawn(now)
            connection = channel.connection
            if wait > 0 and now + wait > connection.slow_until:
                connection.slow_until = now + wait
