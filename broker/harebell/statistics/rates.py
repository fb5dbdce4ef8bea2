"""Rates, and the past on request, in the shape of RabbitMQ's ``*_details`` objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from harebell.content.table import Table
from harebell.engine.samples import KEPT_LONG, Samples

MOST_SAMPLES: Final = 1000
"""Points of one field that an answer holds at most."""


Names = tuple[str, str]
"""A field, and the one that holds its rate."""


def with_rates(*names: str) -> tuple[Names, ...]:
    """Name the fields that hold the rates of numbers."""
    return tuple([(name, name + "_details") for name in names])


class Past(NamedTuple):
    """How much of the past a request wants of some fields.

    Attributes:
        age: seconds back from now.
        step: seconds between two points.
    """

    age: int
    step: int


class Ages(NamedTuple):
    """What a request wants to know of the past: ``lengths_age`` and ``lengths_incr``, and so on.

    Attributes:
        lengths: of queues' messages.
        messages: of message counters.
        data: of connections' octets.
        node: of what the process uses.
    """

    lengths: Past | None = None
    messages: Past | None = None
    data: Past | None = None
    node: Past | None = None


NOW: Final = Ages()
"""Rates, and nothing of the past."""


class Rates:
    """The looks that were taken, and what follows from two of them.

    Args:
        interval: milliseconds between two looks.

    Attributes:
        number: of the latest look; 0 before the first.
        wall: its time, unix milliseconds.
    """

    def __init__(self, interval: int) -> None:
        self.number = 0
        self.wall = 0
        self._interval = interval
        self._period = interval
        self._now = 0
        self._times: deque[int] = deque(maxlen=KEPT_LONG)

    def look(self, wall: int, now: int) -> None:
        """A look is complete.

        Args:
            wall: its time, unix milliseconds.
            now: the same in milliseconds of the clock that never goes back.
        """
        self._period = max(1, now - self._now) if self.number else self._interval
        self._now = now
        self.number += 1
        self.wall = wall
        self._times.append(wall)

    def period(self) -> float:
        """Give the seconds between the latest two looks."""
        return self._period / 1000

    def rate(self, samples: Samples | None, field: int) -> float:
        """Give the change of a number each second, between the latest two looks."""
        if samples is None or samples.changed < self.number:
            return 0.0
        return float(samples.grown(self.number, field)) / self.period()

    def details(self, samples: Samples | None, field: int, past: Past | None) -> Table:
        """Give the rate of a number and, if asked for, its past."""
        details: Table = {"rate": self.rate(samples, field)}
        if past is None or not self._times:
            return details
        points = self._points(samples, field, past)
        newest, oldest = points[0], points[-1]
        apart = (newest[1] - oldest[1]) / 1000
        details["samples"] = [{"sample": value, "timestamp": time} for value, time in points]
        details["avg_rate"] = (newest[0] - oldest[0]) / apart if apart else 0.0
        details["avg"] = sum(value for value, _ in points) / len(points)
        return details

    def _points(self, samples: Samples | None, field: int, past: Past) -> list[tuple[int, int]]:
        """List values and times, newest first; a number was 0 before anybody looked."""
        step = max(past.step, 1)
        points: list[tuple[int, int]] = []
        index = len(self._times) - 1
        for back in range(min(past.age // step, MOST_SAMPLES) + 1):
            time = self.wall - 1000 * step * back
            # A look may have been some milliseconds late.
            while index >= 0 and self._times[index] > time + self._interval // 2:
                index -= 1
            value = -1
            if samples is not None and index >= 0:
                value = int(samples.at(self.number - (len(self._times) - 1 - index), field))
            points.append((max(value, 0), time))
        return points

    def put_all(
        self,
        table: Table,
        samples: Samples | None,
        first: int,
        names: Sequence[Names],
        values: Sequence[int],
        past: Past | None,
    ) -> None:
        """Put neighbouring numbers of a row and their rates into a table."""
        if past is None and (samples is None or samples.changed < self.number):
            for index, (name, details) in enumerate(names):
                table[name] = values[index]
                table[details] = {"rate": 0.0}
            return
        for index, (name, details) in enumerate(names):
            table[name] = values[index]
            table[details] = self.details(samples, first + index, past)
