"""Looking through dead letters, and sending them back: how much at a time, which ones, what came of it.

A redrive is a job, of which the node takes a step now and then, at the rate that was asked for.  Nothing of
it is kept across a restart, and nothing need be: each step is whole in the journal, and what was not sent
back is where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from harebell.administration.administration import Administration
from harebell.engine.queues.queue import Queue
from harebell.engine.redrive import MOVED, REFUSED, UNROUTABLE, Target, Waiting, origin, redrive, waiting
from harebell.engine.vhost import Vhost
from harebell.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.paging import FLAGGED, PageUnreadable
from harebell.ports import User

SLICE: Final = 100
"""Messages of a queue that are looked up at once."""

STEP_MOST: Final = 100
"""Messages sent back in one step."""

STEP_SCAN: Final = 500
"""Messages looked at in one step, most of which may not be meant."""

TICK_SECONDS: Final = 0.02
"""Between two steps of a redrive that has a rate, or has to wait for the disk."""

KEPT: Final = 100
"""Redrives that are remembered."""

RUNNING: Final = "running"
DONE: Final = "done"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Where:
    """Which dead letters are meant; what is None or empty does not matter.

    Reason, queue, exchange and routing key must all be those of one entry of a message's history.

    Attributes:
        reason: why it died.
        queue: in which queue.
        exchange, routing_key: where it had been published to.
        headers: headers that must be there with just that value, compared as text.
    """

    reason: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def fits(self, found: Waiting) -> bool:
        """Tell whether a message is meant."""
        for name, value in self.headers.items():
            if name not in found.headers or _shown(found.headers[name]) != value:
                return False
        if (self.reason, self.queue, self.exchange, self.routing_key) == (None, None, None, None):
            return True
        return any(
            self.reason in (None, death.reason)
            and self.queue in (None, death.queue)
            and self.exchange in (None, death.exchange)
            and (self.routing_key is None or self.routing_key in death.routing_keys)
            for death in found.deaths
        )

    @property
    def everything(self) -> bool:
        """Whether all messages are meant."""
        return self == Where()


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def look_through(queue: Queue, position: int) -> Iterator[Waiting]:
    """Read ready messages of a queue by position, which stay as they are, from a position to the last.

    Raises:
        PageUnreadable: one of them is on disk, and cannot be read at the moment.
    """
    while entries := queue.browse_from(position, SLICE):
        for at, message, returns in entries:
            yield waiting(at, message, returns & FLAGGED != 0)
        position = entries[-1][0] + 1


class Redrive:
    """One job.

    Args:
        number: its id.
        vhost, queue: what is redriven.
        where: which messages.
        to: where they go; None for where they came from.
        user: in whose name.
        limit: messages sent back at most; None for all that are there.
        rate: messages a second at most; None for as many as can be.

    Attributes:
        state: ``RUNNING``, ``DONE``, ``CANCELLED`` or ``FAILED``.
        scanned, matched, moved, unroutable, refused: counts of messages.
        complete: True once all messages were looked at.
        started_at, finished_at: unix milliseconds; the latter 0 while it runs.
        error: why it failed.
    """

    def __init__(
        self,
        number: int,
        vhost: Vhost,
        queue: Queue,
        where: Where,
        to: Target | None,
        user: User,
        limit: int | None,
        rate: float | None,
        started_at: int,
    ) -> None:
        self.number = number
        self.vhost = vhost
        self.queue = queue
        self.where = where
        self.to = to
        self.user = user
        self.limit = limit
        self.rate = rate
        self.state = RUNNING
        self.scanned = self.matched = self.moved = self.unroutable = self.refused = 0
        self.complete = False
        self.started_at = started_at
        self.finished_at = 0
        self.error = ""
        # What arrives while it runs is not part of it: else a message that fails at once would go round.
        self._before = int(queue.next_position)
        self._position = 1

    def due(self, now: int) -> int:
        """Give how many messages the rate allows to send back at once.

        Args:
            now: unix milliseconds.
        """
        if self.rate is None:
            return STEP_MOST
        return min(STEP_MOST, 1 + int(self.rate * max(0, now - self.started_at) / 1000) - self.moved)

    def step(self, admin: Administration, most: int = STEP_MOST) -> int:
        """Send some messages back, and return how many; the job ends when there are no more.

        Args:
            most: as many as the rate allows now.
        """
        if self.state != RUNNING or most <= 0:
            return 0
        if self.queue.deleted:
            self.fail(admin, f"queue '{self.queue.name}' was deleted")
            return 0
        if self.limit is not None:
            most = min(most, self.limit - self.moved)
        try:
            batch, more = self._next(min(most, STEP_MOST))
        except PageUnreadable:
            return 0
        allowed = [found for found in batch if self._may_write(admin, found)]
        counts = redrive(admin.broker, self.vhost, self.queue, allowed, self.to)
        self.moved += counts[MOVED]
        self.unroutable += counts[UNROUTABLE]
        self.refused += counts[REFUSED] + len(batch) - len(allowed)
        if not more or (self.limit is not None and self.moved >= self.limit):
            self._end(admin, DONE)
        return counts[MOVED]

    def counting(self, admin: Administration) -> Iterator[None]:
        """Count what would be sent back, message by message, and change nothing.

        Raises:
            PageUnreadable: one of them is on disk, and cannot be read at the moment.
        """
        for found in look_through(self.queue, 1):
            if found.position >= self._before or (self.limit is not None and self.matched >= self.limit):
                self.complete = found.position >= self._before
                break
            self.scanned += 1
            if self.where.fits(found):
                self.matched += 1
            yield
        else:
            self.complete = True
        self._end(admin, DONE)

    def cancel(self, admin: Administration) -> None:
        """End it; what was sent back stays where it is now."""
        if self.state == RUNNING:
            self._end(admin, CANCELLED)

    def fail(self, admin: Administration, why: str) -> None:
        """End it because it cannot go on."""
        if self.state == RUNNING:
            self.error = why
            self._end(admin, FAILED)

    def _end(self, admin: Administration, state: str) -> None:
        self.state = state
        self.finished_at = int(admin.broker.clock.wall)

    def _next(self, most: int) -> tuple[list[Waiting], bool]:
        """Give what is to be sent back next, and whether there may be more to look at."""
        batch: list[Waiting] = []
        looked = 0
        wanted = most if self.where.everything else STEP_SCAN
        for position, message, returns in self.queue.browse_from(self._position, wanted):
            if position >= self._before:
                break
            if len(batch) >= most:
                return batch, True
            looked += 1
            self.scanned += 1
            self._position = position + 1
            found = waiting(position, message, returns & FLAGGED != 0)
            if self.where.fits(found):
                self.matched += 1
                batch.append(found)
        self.complete = looked == 0
        return batch, looked > 0

    def _may_write(self, admin: Administration, found: Waiting) -> bool:
        at = origin(found.deaths) if self.to is None else (self.to.exchange, [self.to.routing_key])
        if at is None:
            return True
        access, vhost, (exchange, keys) = admin.broker.access, self.vhost.name, at
        if not access.allowed(self.user, vhost, "write", exchange or "amq.default"):
            return False
        known = self.vhost.exchanges.get(exchange)
        if known is None:
            return True
        if known.internal:
            return False
        if known.type_name != "topic":
            return True
        return all(access.topic_allowed(self.user, vhost, exchange, "write", key) for key in keys)


def _nobody() -> None:
    """Nobody wants to know."""


class Redrives:
    """The redrives of a node, by number; the latest are remembered after their end.

    Attributes:
        begun: called when there is one more: ``step`` is to be called then.
    """

    def __init__(self) -> None:
        self.begun: Callable[[], None] = _nobody
        self._numbers = count(1)
        self._jobs: dict[int, Redrive] = {}

    def begin(
        self,
        admin: Administration,
        vhost: Vhost,
        queue: Queue,
        where: Where,
        to: Target | None,
        user: User,
        *,
        limit: int | None = None,
        rate: float | None = None,
        dry: bool = False,
    ) -> Redrive:
        """Begin a job, which has not sent anything back yet.

        Args:
            dry: nothing will be sent back, only counted: by the caller, with ``Redrive.counting``.

        Raises:
            BrokerError: PRECONDITION_FAILED for a stream, whose messages cannot be taken out, and while
                another one works on the queue; NOT_FOUND if the exchange it is to go to does not exist,
                ACCESS_REFUSED if it is internal.
        """
        if queue.keeps_all:
            raise BrokerError(
                PRECONDITION_FAILED, f"queue '{queue.name}' is a stream: nothing can be taken out of it"
            )
        if to is not None and to.exchange and vhost.exchange(to.exchange).internal:
            raise BrokerError(
                ACCESS_REFUSED,
                f"cannot publish to internal exchange '{to.exchange}' in vhost '{vhost.name}'",
            )
        for job in self._jobs.values():
            if job.state == RUNNING and job.queue is queue:
                raise BrokerError(
                    PRECONDITION_FAILED,
                    f"queue '{queue.name}' is being redriven already, by job {job.number}",
                )
        started_at = int(admin.broker.clock.wall)
        if dry:
            return Redrive(0, vhost, queue, where, to, user, limit, rate, started_at)
        job = Redrive(next(self._numbers), vhost, queue, where, to, user, limit, rate, started_at)
        self._jobs[job.number] = job
        while len(self._jobs) > KEPT:
            oldest = next((each for each in self._jobs.values() if each.state != RUNNING), None)
            if oldest is None:
                break
            del self._jobs[oldest.number]
        self.begun()
        return job

    def step(self, admin: Administration) -> float | None:
        """Let every running job take a step, and give the seconds until the next; None if none is left."""
        now = int(admin.broker.clock.wall)
        wait: float | None = None
        for job in list(self._jobs.values()):
            if job.state == RUNNING:
                before = job.scanned
                job.step(admin, job.due(now))
                # The disk may be busy: what cannot be read now is asked for again.
                pause = 0.0 if job.rate is None and job.scanned > before else TICK_SECONDS
                wait = pause if wait is None else min(wait, pause)
        return wait

    def get(self, number: int) -> Redrive:
        """Look up a job.

        Raises:
            BrokerError: NOT_FOUND.
        """
        job = self._jobs.get(number)
        if job is None:
            raise BrokerError(NOT_FOUND, f"no redrive {number}")
        return job

    def all(self) -> list[Redrive]:
        """List the jobs, the latest first."""
        return list(reversed(self._jobs.values()))
