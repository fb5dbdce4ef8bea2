"""Pausing queues: they take messages and deliver none, until they are resumed or a time comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.engine.commands import PauseQueue
from harebell.engine.deadlines import NEVER
from harebell.engine.queues.classic import ClassicQueue
from harebell.errors import PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.engine.topology import Caller

MOST_REASON: Final = 1024
"""Characters of a reason."""

LONGEST_PAUSE: Final = 1 << 52
"""Milliseconds; longer is until it is resumed."""


def pause_queue(caller: Caller, name: str, for_ms: int | None, reason: str) -> int:
    """Have a queue deliver nothing for a while; one that is paused goes by the new time and reason.

    Args:
        for_ms: milliseconds; None until it is resumed.
        reason: for who looks at the queue.

    Returns:
        The lsn to wait for.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED; PRECONDITION_FAILED for a stream.
    """
    if len(reason) > MOST_REASON:
        raise BrokerError(PRECONDITION_FAILED, f"a reason has {MOST_REASON} characters at most")
    lasts = for_ms is None or for_ms > LONGEST_PAUSE
    until = NEVER if lasts or for_ms is None else int(caller.broker.clock.wall) + for_ms
    return _pause(caller, name, until, reason)


def resume_queue(caller: Caller, name: str) -> int:
    """Have a paused queue deliver again; resuming one that is not paused is fine.

    Returns, raises:
        As ``pause_queue``.
    """
    return _pause(caller, name, 0, "")


def _pause(caller: Caller, name: str, until: int, reason: str) -> int:
    caller.require("configure", "queue", name)
    queue = caller.own(caller.vhost.queue(name))
    if not isinstance(queue, ClassicQueue):
        raise BrokerError(
            PRECONDITION_FAILED,
            f"queue '{name}' in vhost '{caller.vhost.name}' is a stream: those cannot be paused",
        )
    brake = queue.brake
    if until == 0 and (brake is None or brake.paused_until == 0):
        return 0
    lasting = queue.durable and not queue.owner
    lsn = caller.broker.commit(PauseQueue(caller.vhost.name, name, until, reason), lasting)
    caller.done("queue.paused" if until else "queue.resumed", name, lasting)
    return lsn
