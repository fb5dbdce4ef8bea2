"""Where metrics come from: the node and the objects in it, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from harebell.administration.administration import Administration
from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.vhost import Vhost
from harebell.metrics.bounded import Bounded
from harebell.metrics.family import Objects, Selection
from harebell.metrics.totals import Totals
from harebell.statistics.statistics import Statistics

T = TypeVar("T")


class Sources:
    """What one scrape reads.

    Args:
        admin: the node.
        statistics: builds what the HTTP API shows.
        endpoint: what RabbitMQ calls the path asked for.
        totals: sums over the node; empty where the scrape needs none.
        bounded: which queues have series of their own for errors, and for latencies; None for all.
    """

    def __init__(
        self,
        admin: Administration,
        statistics: Statistics,
        endpoint: str,
        totals: Totals,
        bounded: tuple[Bounded, Bounded] | None = None,
    ) -> None:
        self.admin = admin
        self.statistics = statistics
        self.broker = admin.broker
        self.endpoint = endpoint
        self.totals = totals
        self.bounded = bounded

    def vhosts(self, selection: Selection) -> list[Vhost]:
        """List the virtual hosts selected."""
        found = list(self.broker.vhosts.values())
        if selection.vhosts is None:
            return found
        return [vhost for vhost in found if vhost.name in selection.vhosts]

    def each_queue(
        self, selection: Selection, show: Callable[[Vhost, Queue], tuple[str, T] | None]
    ) -> Objects[T]:
        """Go through queues and show each; one that is deleted meanwhile is left out."""
        for vhost in self.vhosts(selection):
            for queue in list(vhost.queues.values()):
                left_out = selection.queue is not None and not selection.queue.matches(queue.name)
                yield None if queue.deleted or left_out else show(vhost, queue)

    def streams(self, selection: Selection) -> Iterator[tuple[Vhost, StreamQueue] | None]:
        """Go through streams; None in place of each other queue."""

        def show(vhost: Vhost, queue: Queue) -> tuple[str, tuple[Vhost, StreamQueue]] | None:
            return ("", (vhost, queue)) if isinstance(queue, StreamQueue) else None

        for each in self.each_queue(selection, show):
            yield None if each is None else each[1]

    def connections(self) -> list[Connection]:
        """List the connections: those that the totals are of, if there are any."""
        found = self.totals.connections
        return found or [each for each in self.broker.sessions if isinstance(each, Connection)]

    def channels(self) -> list[Channel]:
        """List the channels in the same way."""
        found = self.totals.channels
        return found or [channel for each in self.connections() for channel in each.channels.values()]
