"""What a run has counted so far, between any two moments."""

import time
from dataclasses import dataclass

from harebell.perf.consumer import Consumer
from harebell.perf.histogram import Histogram
from harebell.perf.publisher import Publisher
from harebell.perf.summary import Direction


@dataclass(frozen=True)
class Counts:
    """What all connections have counted, at ``at`` (ns)."""

    at: int = 0
    published: int = 0
    received: int = 0
    received_octets: int = 0
    confirmed: int = 0
    nacked: int = 0
    returned: int = 0

    def since(self, earlier: "Counts") -> "Counts":
        """Return what was counted since ``earlier``; ``at`` becomes the nanoseconds between."""
        return Counts(
            at=self.at - earlier.at,
            published=self.published - earlier.published,
            received=self.received - earlier.received,
            received_octets=self.received_octets - earlier.received_octets,
            confirmed=self.confirmed - earlier.confirmed,
            nacked=self.nacked - earlier.nacked,
            returned=self.returned - earlier.returned,
        )


@dataclass(frozen=True)
class Interval:
    """One line of live progress: what was counted in an interval that ended ``elapsed`` seconds into the run.

    Percentiles, of the interval alone, are in nanoseconds, 0 when nothing was measured.
    """

    elapsed: float
    counts: Counts
    total: Counts
    p50: int
    p99: int
    warming_up: bool
    held: bool


class Measurement:
    """Adds up the counters of ``publishers`` and ``consumers``; connections may join until ``begin``.

    Connections record latencies into ``receive`` and ``confirm``; these hold the current interval, and are
    merged into ``to_receive`` and ``to_confirm``.
    """

    def __init__(self) -> None:
        self.publishers: list[Publisher] = []
        self.consumers: list[Consumer] = []
        self.receive = Histogram()
        self.confirm = Histogram()
        self.to_receive = Histogram()
        self.to_confirm = Histogram()
        self._first = Counts()
        self._start = Counts()
        self._previous = Counts()
        self._processor_seconds = 0.0

    def begin(self) -> None:
        """Count from now on."""
        self._first = self._start = self._previous = self.counts()
        self._processor_seconds = time.process_time()

    def restart(self) -> None:
        """Forget what was counted so far: the warm-up is over."""
        self._start = self.counts()
        self._processor_seconds = time.process_time()
        for histogram in (self.receive, self.confirm, self.to_receive, self.to_confirm):
            histogram.clear()

    def counts(self) -> Counts:
        """Return all counters, from the very beginning."""
        windows = [publisher.window for publisher in self.publishers if publisher.window is not None]
        return Counts(
            at=time.perf_counter_ns(),
            published=sum(publisher.published for publisher in self.publishers),
            received=sum(consumer.inbound.received for consumer in self.consumers),
            received_octets=sum(consumer.inbound.received_octets for consumer in self.consumers),
            confirmed=sum(window.confirmed for window in windows),
            nacked=sum(window.nacked for window in windows),
            returned=sum(publisher.inbound.returned for publisher in self.publishers),
        )

    def end_interval(self, warming_up: bool) -> Interval:
        """Return what was counted since the last interval ended."""
        counts = self.counts()
        latency = self.receive if self.receive.count else self.confirm
        interval = Interval(
            elapsed=(counts.at - self._first.at) / 1e9,
            counts=counts.since(self._previous),
            total=counts,
            p50=latency.percentile(50_000),
            p99=latency.percentile(99_000),
            warming_up=warming_up,
            held=any(publisher.held_by_server for publisher in self.publishers),
        )
        self._previous = counts
        self._merge()
        return interval

    def finish(self) -> Counts:
        """Return what was counted since ``begin`` or ``restart``, with the histograms complete."""
        self._merge()
        return self.counts().since(self._start)

    def processor_share(self, counted: Counts) -> float:
        """Return how much of one core this process used, over the time of ``counted``."""
        return (time.process_time() - self._processor_seconds) / (counted.at / 1e9) if counted.at > 0 else 0.0

    def directions(self, counted: Counts, until_last: bool) -> tuple[Direction, Direction, Direction]:
        """Return what was published, received and confirmed.

        Each over the whole time, or ``until_last`` over the time until its last message, as a fixed number
        of messages asks for.
        """
        published = received = confirmed = counted.at / 1e9
        if until_last:
            windows = [publisher.window for publisher in self.publishers if publisher.window is not None]
            published = self._until([publisher.last_publish for publisher in self.publishers])
            received = self._until([consumer.inbound.last_delivery for consumer in self.consumers])
            confirmed = self._until([window.last_settle for window in windows])
        return (
            Direction(counted.published, published),
            Direction(counted.received, received),
            Direction(counted.confirmed, confirmed),
        )

    def last_event(self) -> int:
        """Return when (ns) something was last published or received."""
        published = [publisher.last_publish for publisher in self.publishers]
        return max([*published, *(consumer.inbound.last_delivery for consumer in self.consumers)], default=0)

    def _until(self, latest: list[int]) -> float:
        return max(0.0, (max(latest, default=0) - self._start.at) / 1e9)

    def _merge(self) -> None:
        self.to_receive.merge(self.receive)
        self.to_confirm.merge(self.confirm)
        self.receive.clear()
        self.confirm.clear()
