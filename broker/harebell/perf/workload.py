"""One run from connecting to cleaning up."""

import asyncio
import contextlib
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from pamqp import commands

from harebell.perf import methods
from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.connection import Connection
from harebell.perf.consumer import Consumer
from harebell.perf.errors import PerfError
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import STAMP_OCTETS, Inbound
from harebell.perf.messages import MessageShape, PublishBlocks
from harebell.perf.options import Options
from harebell.perf.publisher import Publisher
from harebell.perf.summary import Direction, Summary
from harebell.perf.topology import Topology, share

TICK_SECONDS = 0.001
"""How often a rate limit looks at the clock, and ``--count`` at the counters."""

QUIET_SECONDS = 5.0
"""With ``--count``: when everything is published and nothing has arrived for so long, nothing will."""


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


@dataclass(frozen=True)
class Interval:
    """One line of live progress: what happened in ``seconds`` up to ``elapsed``. Latencies in nanoseconds."""

    elapsed: float
    seconds: float
    counts: Counts
    before: Counts
    p50: int
    p99: int
    warming_up: bool
    held: bool


class Workload:
    """Runs ``options`` once; ``execute`` may be called a single time.

    ``on_interval`` is called every ``interval`` seconds (0 for never).
    """

    def __init__(
        self, options: Options, interval: float = 0.0, on_interval: Callable[[Interval], None] | None = None
    ) -> None:
        self.options = options
        self._interval = interval
        self._on_interval = on_interval
        self._run_key = struct.unpack(">i", secrets.token_bytes(4))[0]
        self._topology = Topology.plan(options, f"harebell-perf-{secrets.token_hex(4)}")
        self._publishers: list[Publisher] = []
        self._consumers: list[Consumer] = []
        self._recent_receive = Histogram()
        self._recent_confirm = Histogram()
        self._to_receive = Histogram()
        self._to_confirm = Histogram()
        self._ended: asyncio.Future[str] | None = None
        self._start = Counts()
        self._failure: PerfError | None = None
        self._measuring = False

    def interrupt(self) -> bool:
        """End the run early, with a summary of what happened so far.

        Returns False when there is nothing to end: still connecting, or ended already.
        """
        running = self._measuring and self._ended is not None and not self._ended.done()
        self._end("interrupted")
        return running

    async def execute(self) -> tuple[Summary, PerfError | None]:
        """Run, clean up, and return the summary, with the reason when something broke in the middle.

        Raises PerfError when the run could not start.
        """
        self._ended = asyncio.get_running_loop().create_future()
        control = Connection(self._inbound(None), self._broke)
        ended = ""
        try:
            await control.open(self.options.url, self.options.heartbeat)
            await self._topology.declare(control, self.options)
            await self._connect_consumers()
            await self._connect_publishers()
            ended = await self._measure()
            summary = self._summarise(ended)
        finally:
            await self._clean_up(control, quiet=not ended or self._failure is not None)
        return summary, self._failure

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    def _broke(self, reason: PerfError) -> None:
        if self._failure is None:
            self._failure = reason
        self._end("failed")

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _inbound(self, window: ConfirmWindow | None) -> Inbound:
        return Inbound(131_072, self._run_key, self.options.ack_every, self._recent_receive, window)

    async def _connect_consumers(self) -> None:
        options = self.options
        for number in range(options.consumers):
            consumer = Consumer(self._inbound(None), self._broke)
            self._consumers.append(consumer)
            await consumer.open(options.url, options.heartbeat)
            if options.prefetch:
                payload = struct.pack(">HHIHB", 60, 10, 0, options.prefetch, 0)
                await consumer.call(payload, commands.Basic.QosOk)
            for queue in share(self._topology.queues, options.consumers, number):
                payload = methods.basic_consume(queue, no_ack=options.ack_every == 0)
                await consumer.call(payload, commands.Basic.ConsumeOk)
            self._check_alive()

    async def _connect_publishers(self) -> None:
        options = self.options
        for _ in range(options.publishers):
            window = ConfirmWindow(options.confirm, self._recent_confirm) if options.confirm else None
            publisher = Publisher(self._inbound(window), self._broke, window)
            self._publishers.append(publisher)
            await publisher.open(options.url, options.heartbeat)
            if window is not None:
                await publisher.call(struct.pack(">HHB", 85, 10, 0), commands.Confirm.SelectOk)
            self._check_alive()

    def _begin_publishing(self) -> None:
        options = self.options
        shape = MessageShape(
            size=options.size,
            persistent=options.persistent,
            mandatory=options.mandatory,
            headers=dict(self._topology.headers),
            stamped=options.stamped and options.consumers > 0,
            run_key=self._run_key,
        )
        ready: list[tuple[Publisher, PublishBlocks]] = []
        for number, publisher in enumerate(self._publishers):
            addresses = share(self._topology.addresses, options.publishers, number)
            ready.append((publisher, PublishBlocks(addresses, shape, publisher.frame_max)))
        room_in_flight = None
        if options.in_flight:
            room_in_flight = self._room_in_flight
            for consumer in self._consumers:
                consumer.on_deliveries = self._wake_publishers
        for number, (publisher, blocks) in enumerate(ready):
            count = None
            if options.count is not None:
                count = options.count // len(ready) + (1 if number < options.count % len(ready) else 0)
            publisher.begin(blocks, options.rate / len(ready), count, room_in_flight)

    def _room_in_flight(self) -> int:
        """Return how many more publishes ``--in-flight`` allows; 0 until there is room for a good write."""
        gone = sum(publisher.published - publisher.inbound.returned for publisher in self._publishers)
        gone -= sum(publisher.window.nacked for publisher in self._publishers if publisher.window is not None)
        received = sum(consumer.inbound.received for consumer in self._consumers)
        limit = self.options.in_flight
        room = limit - gone + received // self._topology.copies
        return room if room >= min(limit, max(1, limit // 8)) else 0

    def _wake_publishers(self) -> None:
        for publisher in self._publishers:
            publisher.wake()

    async def _measure(self) -> str:
        """Publish until the end, and return why it ended."""
        assert self._ended is not None
        loop = asyncio.get_running_loop()
        options = self.options
        self._start = self._counts()
        self._measuring = True
        self._begin_publishing()
        warm_at = time.perf_counter() + options.warmup
        timers = [asyncio.create_task(self._tick())] if options.rate or options.count is not None else []
        if self._interval and self._on_interval is not None:
            timers.append(asyncio.create_task(self._report(self._on_interval, warm_at)))
        if options.warmup:
            await asyncio.wait((self._ended,), timeout=options.warmup)
            self._restart_counting()
        if options.seconds is not None:
            deadline = loop.call_later(options.seconds, self._end, "duration")
            timers_done = await self._wait_for_end(timers)
            deadline.cancel()
            return timers_done
        return await self._wait_for_end(timers)

    async def _wait_for_end(self, timers: list[asyncio.Task[None]]) -> str:
        assert self._ended is not None
        try:
            return await self._ended
        finally:
            for publisher in self._publishers:
                publisher.stop()
            for timer in timers:
                timer.cancel()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + TICK_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())
            if self.options.rate:
                for publisher in self._publishers:
                    publisher.pump()
            if self.options.count is not None:
                self._check_count(self.options.count)

    def _check_count(self, count: int) -> None:
        if not all(publisher.done for publisher in self._publishers):
            return
        if not self._consumers:
            self._end("count")
            return
        counts = self._counts()
        lost = counts.returned + counts.nacked
        if counts.received >= (count - lost) * (self._topology.copies if self._publishers else 1):
            self._end("count")
        elif self._publishers:
            latest = max(
                max(publisher.last_publish for publisher in self._publishers),
                max(consumer.inbound.last_delivery for consumer in self._consumers),
            )
            if time.perf_counter_ns() - latest > int(QUIET_SECONDS * 1e9):
                self._end("quiet")

    async def _report(self, on_interval: Callable[[Interval], None], warm_at: float) -> None:
        began = time.perf_counter()
        before = self._counts()
        while True:
            await asyncio.sleep(self._interval)
            counts = self._counts()
            elapsed = time.perf_counter() - began
            latency = self._recent_receive if self._recent_receive.count else self._recent_confirm
            interval = Interval(
                elapsed=elapsed,
                seconds=(counts.at - before.at) / 1e9,
                counts=counts,
                before=before,
                p50=latency.percentile(50_000),
                p99=latency.percentile(99_000),
                warming_up=time.perf_counter() < warm_at,
                held=any(publisher.held_by_server for publisher in self._publishers),
            )
            self._merge_recent()
            on_interval(interval)
            before = counts

    def _merge_recent(self) -> None:
        self._to_receive.merge(self._recent_receive)
        self._to_confirm.merge(self._recent_confirm)
        self._recent_receive.clear()
        self._recent_confirm.clear()

    def _restart_counting(self) -> None:
        self._start = self._counts()
        for histogram in (self._to_receive, self._to_confirm, self._recent_receive, self._recent_confirm):
            histogram.clear()

    def _counts(self) -> Counts:
        windows = [publisher.window for publisher in self._publishers if publisher.window is not None]
        return Counts(
            at=time.perf_counter_ns(),
            published=sum(publisher.published for publisher in self._publishers),
            received=sum(consumer.inbound.received for consumer in self._consumers),
            received_octets=sum(consumer.inbound.received_octets for consumer in self._consumers),
            confirmed=sum(window.confirmed for window in windows),
            nacked=sum(window.nacked for window in windows),
            returned=sum(publisher.inbound.returned for publisher in self._publishers),
        )

    def _summarise(self, ended: str) -> Summary:
        self._merge_recent()
        start = self._start
        end = self._counts()
        seconds = (end.at - start.at) / 1e9
        publishing = receiving = confirming = seconds
        if self.options.count is not None:
            publishing = self._until([publisher.last_publish for publisher in self._publishers])
            receiving = self._until([consumer.inbound.last_delivery for consumer in self._consumers])
            windows = [publisher.window for publisher in self._publishers if publisher.window is not None]
            confirming = self._until([window.last_settle for window in windows])
        notes = []
        if self.options.latency and self.options.publishers > 0 and self.options.size < STAMP_OCTETS:
            notes.append(f"bodies below {STAMP_OCTETS} octets carry no stamp: no latency to the receiver")
        if ended == "quiet":
            notes.append(f"nothing arrived for {QUIET_SECONDS:g} s although messages are missing")
        kept = [queue for queue in self._topology.queues if queue not in self._topology.created]
        if kept:
            notes.append(f"{len(kept)} of the queues existed before and were kept")
        return Summary(
            options=self.options,
            ended=ended,
            seconds=seconds,
            published=Direction(end.published - start.published, publishing),
            received=Direction(end.received - start.received, receiving),
            confirmed=Direction(end.confirmed - start.confirmed, confirming),
            nacked=end.nacked - start.nacked,
            returned=end.returned - start.returned,
            received_octets=end.received_octets - start.received_octets,
            times_blocked=sum(publisher.times_blocked for publisher in self._publishers),
            to_receive=self._to_receive,
            to_confirm=self._to_confirm,
            notes=notes,
        )

    def _until(self, latest: list[int]) -> float:
        return max(0.0, (max(latest, default=0) - self._start.at) / 1e9)

    async def _clean_up(self, control: Connection, quiet: bool) -> None:
        """Close everything and delete what was made; with ``quiet`` the first error has been told already."""
        for publisher in self._publishers:
            publisher.stop()
        await asyncio.gather(*(connection.close() for connection in (*self._publishers, *self._consumers)))
        with contextlib.suppress(PerfError) if quiet else contextlib.nullcontext():
            await self._topology.delete(control)
        await control.close()
