"""The sums of what all queues, exchanges and channels counted, worked out a little at a time.

No sum falls from one scrape to the next: what is gone is taken at the beginning, together with the list of
what is there, and each of those is counted wherever it is by the time its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.engine.broker import Broker
from harebell.engine.counters import QueueTotals, VhostCounters
from harebell.engine.queues.queue import Queue
from harebell.histograms import Durations
from harebell.metrics.bounded import Bounded, Vector
from harebell.metrics.exposition import labels

STEP: Final = 50
"""Queues or exchanges counted between two chances to let others run."""


class Totals:
    """Sums over a node; empty before ``gather``.

    Attributes:
        counted: the sums; ``exchanges`` is over all exchanges, the default ones among them.
        connections, channels: those open at the beginning.
        queue_count: queues there were.
        publishers: channels that published.
    """

    def __init__(self) -> None:
        self.counted = VhostCounters()
        self.connections: list[Connection] = []
        self.channels: list[Channel] = []
        self.queue_count = 0
        self.publishers = 0

    def all_queues(self) -> QueueTotals:
        """Give the sum over queues of all types."""
        total = QueueTotals()
        for each in self.counted.queues.values():
            total.merge(each)
        return total

    def gather(self, broker: Broker, bounded: tuple[Bounded, ...], now: float) -> Iterator[None]:
        """Add up everything, yielding now and then.

        Args:
            bounded: look at every queue at the moment it is added.
            now: seconds that never go back.
        """
        counted = self.counted
        counted.merge(broker.counters.gone)
        for vhost in broker.vhosts.values():
            counted.merge(vhost.counters)
        queues = [(vhost.name, queue) for vhost in broker.vhosts.values() for queue in vhost.queues.values()]
        tallies = [
            exchange.tally for vhost in broker.vhosts.values() for exchange in vhost.exchanges.values()
        ]
        self.connections = [session for session in broker.sessions if isinstance(session, Connection)]
        self.channels = [channel for each in self.connections for channel in each.channels.values()]
        self.queue_count = len(queues)
        for each in bounded:
            each.begin(now)
        yield
        for index, (vhost_name, queue) in enumerate(queues):
            counted.queues[queue.type_name].add(queue)
            if queue.published or queue.got_empty:
                text = labels(("vhost", "queue"), (vhost_name, queue.name))
                for each in bounded:
                    each.look(text, queue)
            if index % STEP == STEP - 1:
                yield
        for each in bounded:
            each.end()
        yield
        for index, tally in enumerate(tallies):
            counted.exchanges.merge(tally)
            if index % STEP == STEP - 1:
                yield
        yield from self._gather_clients()

    def _gather_clients(self) -> Iterator[None]:
        counted = self.counted
        for index, connection in enumerate(self.connections):
            counted.received_octets += connection.received_octets
            counted.sent_octets += connection.out.sent_octets
            counted.received_chunks += connection.received_chunks
            counted.sent_chunks += connection.out.sent_chunks
            if index % STEP == STEP - 1:
                yield
        for index, channel in enumerate(self.channels):
            counted.confirmed += channel.confirms.confirmed
            counted.awaited += channel.confirms.published
            self.publishers += channel.published > 0
            if index % STEP == STEP - 1:
                yield


def errors_of(counted: Queue | QueueTotals) -> Vector:
    """Give what went wrong with messages: the numbers that ``ERRORS`` names, in its order."""
    deaths = counted.deaths
    if deaths is None:
        return [counted.rejected, counted.requeued, counted.refused, *[0] * 8, counted.duplicates, 0]
    return [
        counted.rejected,
        counted.requeued,
        counted.refused,
        deaths.rejected,
        deaths.expired,
        deaths.maxlen,
        deaths.delivery_limit,
        deaths.lost_rejected,
        deaths.lost_expired,
        deaths.lost_maxlen,
        deaths.lost_delivery_limit,
        counted.duplicates,
        deaths.invalid,
    ]


def error_count(queue: Queue) -> int:
    """Give how much went wrong with messages of a queue."""
    count = queue.rejected + queue.requeued + queue.refused + queue.duplicates
    return count if queue.deaths is None else sum(errors_of(queue))


def latencies_of(counted: Queue | QueueTotals) -> Vector:
    """Give both histograms of a queue as one row of numbers: the sums last."""
    return [*_durations(counted.waits), *_durations(counted.answers)]


NONE: Final = Durations()


def _durations(durations: Durations | None) -> Vector:
    if durations is None:
        durations = NONE
    return [*durations.counts(), durations.total]


def traffic(queue: Queue) -> int:
    """Give how many messages of a queue were delivered or answered."""
    return queue.delivered + queue.delivered_no_ack + queue.got + queue.got_no_ack + queue.acked
