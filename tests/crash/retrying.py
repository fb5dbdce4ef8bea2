"""Retries with backoff in the crash test: nothing early, no attempt forgotten, dead-lettered once.

Workers of three queues give most of what they get back.  A return counts for certain once something sent
later on its channel is confirmed (``workers.Delivery.firm``), or as long as the broker lives; what was
given back in the last moments before a kill may count or not.
"""

from __future__ import annotations

import random
import time
from typing import Any, Final, NamedTuple

from harebell.content.table import Table
from tests.crash.rules import drain
from tests.crash.workers import (
    ACKED,
    CAME_BACK,
    DISCARDED,
    NACKED,
    NOTHING,
    REJECTED,
    Delivery,
    Trickle,
    Worker,
    declare,
    declare_marks,
    frames_of,
    headers_in,
    join_all,
    leave,
    number_in,
)
from tests.server.wire import Wire

PUBLISHER: Final = 50
DEAD: Final = "retries.dead"
A_ROUND: Final = 60
"""Messages published in a round."""

CLOCKS: Final = 0.03
"""Seconds by which the broker's clock, read once in a turn, may be behind."""

ANSWERS: Final = {ACKED: 3, REJECTED: 3, NACKED: 4, DISCARDED: 1}
TAKES_ALL: Final = {ACKED: 1}
DRAIN_SECONDS: Final = 30.0


class Rule(NamedTuple):
    """How a queue makes its messages wait: milliseconds, and per cent that may be left out."""

    kind: str
    least: int
    most: int
    backoff: str
    jitter: int
    attempts: int

    def arguments(self) -> dict[str, Any]:
        """Give the arguments of its declaration."""
        return {
            "x-queue-type": self.kind,
            "x-delayed-retry-type": "all",
            "x-delayed-retry-min": self.least,
            "x-delayed-retry-max": self.most,
            "x-delayed-retry-backoff": self.backoff,
            "x-delayed-retry-jitter": self.jitter,
            "x-delayed-retry-attempts": self.attempts,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": DEAD,
        }

    def wait(self, returns: int) -> float:
        """Give the seconds that a message waits at least after so many returns."""
        factors: dict[str, int] = {"linear": returns, "exponential": 1 << (returns - 1), "constant": 1}
        factor = factors[self.backoff]
        return min(self.least * factor, self.most) * (100 - self.jitter) / 100_000


QUEUES: Final = {
    "retries.soon": Rule("classic", 80, 600, "exponential", 20, 6),
    "retries.late": Rule("classic", 3000, 3000, "constant", 0, 3),
    "retries.quorum": Rule("quorum", 1500, 4000, "linear", 25, 4),
}
NAMES: Final = list(QUEUES)


class RetriesBroken(AssertionError):
    """A retry came early, or too often, or a message is lost."""


def queue_of(number: int) -> str:
    """Give the queue a message is published to."""
    return NAMES[number % len(NAMES)]


def frames(number: int) -> bytes:
    """Give the frames of a publish."""
    headers: Table = {"n": number}
    return frames_of(PUBLISHER, number, "", queue_of(number), headers)


class Known:
    """What is known of one message.

    Attributes:
        seen: it was delivered.
        over: it must not come any more: what took it away is durable.
        maybe_over: it may have gone.
        died: how it may have died, by the names of ``x-death``.
        least, most: of how many returns the broker must, and may, know.
        not_before: unix seconds before which it must not come.
        last: its last delivery while this broker lives.
    """

    def __init__(self) -> None:
        self.seen = self.over = self.maybe_over = False
        self.died: set[str] = set()
        self.least = self.most = 0
        self.not_before = 0.0
        self.last: Delivery | None = None


class RetriesLedger:
    """What the clients did over all rounds, and what must come of it.

    Attributes:
        retries: deliveries of messages that had come back.
        waited: those that waited through a kill.
        dead: dead letters.
    """

    def __init__(self, seed: int) -> None:
        self.retries = self.waited = self.dead = 0
        self._chance = random.Random(seed)
        self._known: dict[int, Known] = {}
        self._owed: set[int] = set()
        self._sent = 0
        self._trickle: Trickle | None = None
        self._workers: list[Worker] = []

    def declare(self, wire: Wire) -> None:
        """Declare the queues."""
        wire.declare(DEAD, durable=True)
        for name, rule in QUEUES.items():
            declare(wire, name, rule.arguments())

    def start(self, port: int) -> None:
        """Let the clients work."""
        self._trickle = Trickle(port, self._sent + 1, frames, A_ROUND)
        self._workers = self._consume(port, ANSWERS)
        for client in (self._trickle, *self._workers):
            client.start()

    def _consume(self, port: int, answers: dict[str, int]) -> list[Worker]:
        return [Worker(port, name, name, PUBLISHER, 10, self._chance, answers) for name in QUEUES]

    def finish(self) -> None:
        """The broker was killed: write down what it promised.

        Raises:
            RetriesBroken: a promise was not kept.
        """
        trickle = self._trickle
        assert trickle is not None
        join_all((trickle, *self._workers), RetriesBroken)
        self._sent = trickle.sent
        self._owed |= set(range(trickle.first, trickle.confirmed + 1))
        self._judge()
        for known in self._known.values():
            known.last = None

    def _judge(self) -> None:
        for worker in self._workers:
            for delivery in worker.deliveries:
                self._came(QUEUES[worker.queue], delivery)
        self._workers = []

    def _came(self, rule: Rule, now: Delivery) -> None:
        """Hold a delivery against what is known, and note what it says."""
        number = now.number
        known = self._known.setdefault(number, Known())
        where = f"{now.worker.queue}: message {now}"
        if number > self._sent or queue_of(number) != now.worker.queue:
            raise RetriesBroken(f"{where} was never sent there")
        if known.over:
            raise RetriesBroken(f"{where} came although it was gone for good")
        if known.seen and not now.redelivered:
            raise RetriesBroken(f"{where} was delivered before and is not flagged")
        last = known.last
        if last is not None:
            if last.answer not in CAME_BACK:
                raise RetriesBroken(f"{where} came again; the delivery before is {last}")
            known.least = known.most = last.count + 1
            known.not_before = last.answered + rule.wait(last.count + 1)
        if not known.least <= now.count <= known.most or now.count >= rule.attempts:
            raise RetriesBroken(
                f"{where} tells of {now.count} returns, which must be {known.least} to {known.most} "
                f"and less than {rule.attempts}; the delivery before is {last}"
            )
        early = known.not_before - CLOCKS - now.came
        if early > 0:
            raise RetriesBroken(f"{where} came {early * 1000:.0f} ms early; the delivery before is {last}")
        self.retries += now.count > 0
        self.waited += last is None and known.not_before > now.worker.began
        known.seen = True
        # Now it is known for certain; but none of it may be durable.
        known.most, known.last = now.count, now
        self._answered(rule, known, now)

    def _answered(self, rule: Rule, known: Known, now: Delivery) -> None:
        known.maybe_over = known.maybe_over or now.answer in (ACKED, DISCARDED)
        if now.answer == ACKED:
            known.over = now.firm
        elif now.answer == DISCARDED:
            known.died.add("rejected")
            known.over = now.firm
        elif now.answer != NOTHING:
            known.most = now.count + 1
            if now.count + 1 >= rule.attempts:
                known.died.add("delivery_limit")
                known.over = now.firm
                known.maybe_over = True
            if now.firm:
                known.least = now.count + 1
                known.not_before = now.answered + rule.wait(now.count + 1)

    def check(self, port: int, everything: bool) -> None:
        """Look at what is dead, and take all that is left out of the queues now and then.

        Raises:
            RetriesBroken: a promise was not kept.
        """
        dead = self._take_dead(port)
        if everything:
            self._drain(port, dead)
            dead |= self._take_dead(port)
        self._owed -= dead
        self.dead += len(dead)

    def _take_dead(self, port: int) -> set[int]:
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            received = drain(wire, DEAD)
            declare_marks(wire)  # the answer is durable, so what was taken is, too
            wire.close_politely()
        found: set[int] = set()
        for each in received:
            number = number_in(PUBLISHER, each.body)
            known = self._known.setdefault(number, Known())
            deaths = [(it["queue"], it["reason"], it["count"]) for it in headers_in(each.header)["x-death"]]
            if number in found or "taken" in known.died:
                raise RetriesBroken(f"message {number} was dead-lettered twice")
            if [(it[0], it[2]) for it in deaths] != [(queue_of(number), 1)] or deaths[0][1] not in known.died:
                raise RetriesBroken(f"message {number} tells of {deaths}; it may have died by {known.died}")
            known.over = True
            known.died.add("taken")
            found.add(number)
        return found

    def _drain(self, port: int, dead: set[int]) -> None:
        """Acknowledge everything, for good."""
        workers = self._workers = self._consume(port, TAKES_ALL)
        for worker in workers:
            worker.start()
        must = {
            number
            for number in self._owed - dead
            if number not in self._known or not self._known[number].maybe_over
        }
        until = time.time() + DRAIN_SECONDS
        longest = max((each.not_before for each in self._known.values()), default=0.0) + 0.3
        while True:
            seen = {delivery.number for worker in workers for delivery in worker.deliveries}
            if must <= seen and time.time() > longest and all(worker.idle() for worker in workers):
                break
            if time.time() > until or not all(worker.is_alive() for worker in workers):
                lost = sorted(must - seen)
                broken = [worker.broken for worker in workers]
                raise RetriesBroken(f"{len(lost)} messages are lost or stuck, such as {lost[:5]}; {broken}")
            time.sleep(0.02)
        leave(workers)
        self._judge()
        self._owed.clear()
