"""One run from connecting to cleaning up."""

import asyncio
import contextlib
import random
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any

from pamqp import commands

from harebell.perf import methods
from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.connection import FRAME_MAX, Connection
from harebell.perf.consumer import Consumer
from harebell.perf.errors import PerfError
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import ORDERED_KEY, STAMP_OCTETS, Inbound
from harebell.perf.measurement import Interval, Measurement
from harebell.perf.messages import MessageShape, OrderedBlocks, PublishBlocks
from harebell.perf.options import REJECTED, Options
from harebell.perf.publisher import Publisher
from harebell.perf.summary import Summary
from harebell.perf.topology import Topology, share

TICK_SECONDS = 0.001
"""How often a rate limit looks at the clock, and ``--count`` at the counters."""

QUIET_SECONDS = 5.0
"""With ``--count``: when everything is published and nothing has arrived for so long, nothing will."""

PICKS = 4096
"""Random priorities and expirations a run repeats."""

BUSY_SHARE = 0.9
"""Share of a core from which the load generator is suspected of being the limit."""


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
        random_key = struct.unpack(">i", secrets.token_bytes(4))[0]
        self._run_key = ORDERED_KEY if options.ordered else random_key
        self._topology = Topology.plan(options, f"harebell-perf-{secrets.token_hex(4)}")
        if options.dead_letters is not None:
            self._topology.with_dead_letters()
        self._measurement = Measurement()
        self._publishers = self._measurement.publishers
        self._consumers = self._measurement.consumers
        self._rejecting: list[Consumer] = []
        self._ended: asyncio.Future[str] | None = None
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
            if not self.options.publishers:
                # What waits in the queue arrives as soon as a consumer is there, and counts.
                self._measurement.begin()
            for number in range(self.options.consumers):
                await self._connect_consumer(number)
                if self.options.dead_letters == REJECTED:
                    await self._connect_rejecting(number)
            for _ in range(self.options.publishers):
                await self._connect_publisher()
            ended = await self._measure(self._ended)
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
        options = self.options
        # What another run published carries its age, which is no latency of this one.
        latency = self._measurement.receive if options.stamped else Histogram()
        return Inbound(FRAME_MAX, self._run_key, options.ack_every, latency, window, options.ordered)

    async def _connect_consumer(self, number: int) -> None:
        consumer = Consumer(self._inbound(None), self._broke)
        self._consumers.append(consumer)
        queues = self._topology.dead or self._topology.queues
        await self._consume(consumer, queues, number, self.options.ack_every == 0)

    async def _connect_rejecting(self, number: int) -> None:
        """Connect what rejects every message, so that it becomes a dead letter."""
        inbound = Inbound(FRAME_MAX, self._run_key, 1, Histogram(), None, reject=True)
        consumer = Consumer(inbound, self._broke)
        self._rejecting.append(consumer)
        await self._consume(consumer, self._topology.queues, number, no_ack=False)

    async def _consume(self, consumer: Consumer, queues: list[str], number: int, no_ack: bool) -> None:
        options = self.options
        await consumer.open(options.url, options.heartbeat)
        if options.prefetch:
            payload = struct.pack(">HHIHB", 60, 10, 0, options.prefetch, 0)
            await consumer.call(payload, commands.Basic.QosOk)
        for queue in share(queues, options.consumers, number):
            payload = methods.basic_consume(queue, options.consume_args, no_ack=no_ack)
            await consumer.call(payload, commands.Basic.ConsumeOk)
        self._check_alive()

    async def _connect_publisher(self) -> None:
        options = self.options
        window = ConfirmWindow(options.confirm, self._measurement.confirm) if options.confirm else None
        publisher = Publisher(self._inbound(window), self._broke, window)
        self._publishers.append(publisher)
        await publisher.open(options.url, options.heartbeat)
        if window is not None:
            await publisher.call(struct.pack(">HHB", 85, 10, 0), commands.Confirm.SelectOk)
        self._check_alive()

    def _begin_publishing(self) -> None:
        options = self.options
        # What has an expiration may be a dead letter that another program looks at.
        wanted = options.consumers > 0 or options.expiration is not None
        shape = MessageShape(
            size=options.size,
            persistent=options.persistent,
            mandatory=options.mandatory,
            headers=dict(self._topology.headers),
            stamped=options.ordered or (options.stamped and wanted),
            run_key=self._run_key,
            ordered=options.ordered,
            priorities=self._picks(options.priority),
            expirations=self._picks(options.expiration),
        )
        workers = len(self._publishers)
        ready: list[PublishBlocks] = []
        for number, publisher in enumerate(self._publishers):
            addresses = share(self._topology.addresses, workers, number)
            if options.ordered:
                ready.append(OrderedBlocks(addresses[0], shape, publisher.frame_max))
            else:
                ready.append(PublishBlocks(addresses, shape, publisher.frame_max))
        room_in_flight = None
        if options.in_flight:
            room_in_flight = self._room_in_flight
            for consumer in self._consumers:
                consumer.on_deliveries = self._wake_publishers
        for number, (publisher, blocks) in enumerate(zip(self._publishers, ready, strict=True)):
            count = None
            if options.count is not None:
                count = options.count // workers + (1 if number < options.count % workers else 0)
            publisher.begin(blocks, options.rate / workers, count, room_in_flight)

    def _picks(self, among: tuple[int, int] | None) -> tuple[int, ...]:
        """Return random numbers, of which each address of the run has as many; a single one needs no more."""
        if among is None:
            return ()
        if among[0] == among[1]:
            return (among[0],)
        addresses = len(self._topology.addresses)
        chance = random.Random()
        return tuple(chance.randint(*among) for _ in range(addresses * max(1, PICKS // addresses)))

    def _room_in_flight(self) -> int:
        """Return how many more publishes ``--in-flight`` allows; 0 until there is room for a good write."""
        counts = self._measurement.counts()
        gone = counts.published - counts.returned - counts.nacked
        limit = self.options.in_flight
        room = limit - gone + counts.received // self._topology.copies
        return room if room >= max(1, limit // 8) else 0

    def _wake_publishers(self) -> None:
        for publisher in self._publishers:
            publisher.wake()

    async def _measure(self, ended: asyncio.Future[str]) -> str:
        """Publish until the end, and return why it ended."""
        options = self.options
        if options.publishers:
            self._measurement.begin()
        self._measuring = True
        self._begin_publishing()
        warm_at = time.perf_counter() + options.warmup
        clocks: list[asyncio.Task[None]] = []
        if options.rate or options.count is not None:
            clocks.append(asyncio.create_task(self._tick()))
        if self._interval and self._on_interval is not None:
            clocks.append(asyncio.create_task(self._report(self._on_interval, warm_at)))
        clocks.append(asyncio.create_task(self._time_out()))
        try:
            waited: list[asyncio.Future[Any]] = [ended, *clocks]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for clock in clocks:
                if clock.done():
                    clock.result()
            return ended.result()
        finally:
            for publisher in self._publishers:
                publisher.stop()
            for clock in clocks:
                clock.cancel()

    async def _time_out(self) -> None:
        """Count anew after the warm-up, and end the run after its duration."""
        if self.options.warmup:
            await asyncio.sleep(self.options.warmup)
            self._measurement.restart()
        seconds = self.options.seconds
        if seconds is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(seconds)
        self._end("duration")

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
        counts = self._measurement.counts()
        expected = count - counts.returned - counts.nacked
        if counts.received >= expected * (self._topology.copies if self._publishers else 1):
            self._end("count")
        elif self._publishers and counts.at - self._measurement.last_event() > int(QUIET_SECONDS * 1e9):
            self._end("quiet")

    async def _report(self, on_interval: Callable[[Interval], None], warm_at: float) -> None:
        while True:
            await asyncio.sleep(self._interval)
            on_interval(self._measurement.end_interval(time.perf_counter() < warm_at))

    def _summarise(self, ended: str) -> Summary:
        counted = self._measurement.finish()
        processor_share = self._measurement.processor_share(counted)
        until_last = self.options.count is not None
        published, received, confirmed = self._measurement.directions(counted, until_last)
        return Summary(
            options=self.options,
            ended=ended,
            seconds=counted.at / 1e9,
            published=published,
            received=received,
            confirmed=confirmed,
            nacked=counted.nacked,
            returned=counted.returned,
            received_octets=counted.received_octets,
            times_blocked=sum(publisher.times_blocked for publisher in self._publishers),
            to_receive=self._measurement.to_receive,
            to_confirm=self._measurement.to_confirm,
            processor_share=processor_share,
            out_of_order=sum(consumer.inbound.out_of_order for consumer in self._consumers),
            notes=self._notes(ended, processor_share),
        )

    def _notes(self, ended: str, processor_share: float) -> list[str]:
        options = self.options
        notes = []
        if processor_share >= BUSY_SHARE:
            notes.append(
                f"the load generator used {processor_share:.0%} of a core: it may be what limits the rate"
            )
        if options.latency and options.publishers and options.consumers and not options.stamped:
            notes.append(f"bodies below {STAMP_OCTETS} octets carry no stamp: no latency to the receiver")
        if ended == "quiet":
            notes.append(f"nothing arrived for {QUIET_SECONDS:g} s although messages are missing")
        kept = [queue for queue in self._topology.queues if queue not in self._topology.created]
        if kept:
            notes.append(f"{len(kept)} of {len(self._topology.queues)} queues existed before and are kept")
        return notes

    async def _clean_up(self, control: Connection, quiet: bool) -> None:
        """Close everything and delete what was made; with ``quiet`` the first error has been told already."""
        connections = (*self._publishers, *self._rejecting, *self._consumers)
        await asyncio.gather(*(connection.close() for connection in connections))
        with contextlib.suppress(PerfError) if quiet else contextlib.nullcontext():
            await self._topology.delete(control)
        await control.close()
