"""Labels of queues where there may be any number of queues: the busiest have series of their own.

The others are added up in one series.  Which queues have their own may change, but no counter ever falls:
what a queue counted before it got its series stays with the others, and so does what it counts after it lost
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Final

from harebell.engine.queues.queue import Queue
from harebell.metrics.exposition import labels

OTHER: Final = "other"
"""Name of the queue, in no virtual host, that stands for those without series of their own."""

OTHERS: Final = labels(("vhost", "queue"), ("", OTHER))

IDLE_SECONDS: Final = 600.0
"""How long a queue keeps its series without counting anything, when another one wants it."""

Vector = list[int]
"""What a queue counts: numbers that never fall."""


@dataclass(slots=True)
class _Place:
    """One queue with series of its own.

    Attributes:
        base: what it had counted before.
        counted: what it had counted at the last look.
        changed_at: seconds, when it counted something the last time.
    """

    text: str
    queue: Queue
    base: Vector
    counted: Vector
    changed_at: float


class Bounded:
    """Says which queues have series of their own; one look at all queues for each scrape.

    Args:
        limit: how many may have them.
        activity: gives a number that grows whenever any number of the vector does; 0 if all are.
        vector: gives what a queue counts.
    """

    def __init__(
        self, limit: int, activity: Callable[[Queue], int], vector: Callable[[Queue], Vector]
    ) -> None:
        self._limit = limit
        self._activity = activity
        self._vector = vector
        self._places: dict[int, _Place] = {}
        self._known: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._candidates: list[_Candidate] = []
        self._left: Vector = []
        self._now = 0.0

    def begin(self, now: float) -> None:
        """Begin to look at all queues.

        Args:
            now: seconds that never go back.
        """
        self._now = now
        self._seen = {}
        self._candidates = []

    def look(self, text: str, queue: Queue) -> None:
        """Look at one queue, whose labels are given.

        What it counts must be added to the total at the same moment.
        """
        activity = self._activity(queue)
        if activity == 0:
            return
        number = int(queue.id)
        self._seen[number] = activity
        grown = activity - self._known.get(number, 0)
        place = self._places.get(number)
        if place is not None:
            place.counted = self._vector(queue)
            if grown:
                place.changed_at = self._now
        elif grown and not queue.deleted and self._limit:
            self._apply_for(grown, number, text, queue)

    def _apply_for(self, grown: int, number: int, text: str, queue: Queue) -> None:
        """Note a queue that would get series if no more than ``limit`` others grew by more."""
        candidates = self._candidates
        if len(candidates) >= self._limit and (grown, number) < candidates[0][:2]:
            return
        counted = self._vector(queue)
        candidate = (grown, number, _Place(text, queue, counted, counted, self._now))
        if len(candidates) < self._limit:
            heappush(candidates, candidate)
        else:
            heapreplace(candidates, candidate)

    def end(self) -> None:
        """All queues were looked at: give series to those that count most."""
        for number in [number for number, place in self._places.items() if place.queue.deleted]:
            place = self._places[number]
            if number not in self._seen:
                place.counted = self._vector(place.queue)
            self._leave(number)
        for _, number, place in sorted(self._candidates, reverse=True):
            if not self._has_room():
                break
            # What was not counted yet at the last look was never told as that of the others.
            if number not in self._known:
                place.base = [0] * len(place.base)
            self._places[number] = place
        self._candidates = []
        self._known = self._seen

    def _has_room(self) -> bool:
        if len(self._places) < self._limit:
            return True
        number = min(self._places, key=lambda each: self._places[each].changed_at)
        if self._now - self._places[number].changed_at < IDLE_SECONDS:
            return False
        self._leave(number)
        return True

    def _leave(self, number: int) -> None:
        place = self._places.pop(number)
        self._left = _added(self._left, _less(place.counted, place.base))

    def rows(self, total: Vector) -> list[tuple[str, Vector]]:
        """Give labels and numbers of each queue that has series, and of all others together at the end.

        Args:
            total: what all queues counted when they were looked at, those that are gone among them.
        """
        found = [(place.text, place.counted) for place in self._places.values()]
        told = self._left
        for place in self._places.values():
            told = _added(told, _less(place.counted, place.base))
        found.append((OTHERS, _less(total, told)))
        return found


_Candidate = tuple[int, int, _Place]
"""By how much a queue's activity grew, its number, and the place it would get."""


def _added(first: Vector, second: Vector) -> Vector:
    return [one + other for one, other in zip(first, second, strict=True)] if first else second


def _less(first: Vector, second: Vector) -> Vector:
    return [one - other for one, other in zip(first, second, strict=True)] if second else first
