"""Everything the HTTP API and metrics show of a broker: objects in RabbitMQ's fields, rates, totals.

Each view is built from what the engine and the protocol count anyway, when it is asked for; a list of
thousands of objects can be built in pieces.  Rates come from looks at the counters every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.counting import SessionTotals, sum_sessions
from harebell.amqp.delivery import ChannelConsumer
from harebell.amqp.inspection import consumer_table
from harebell.content.table import Table
from harebell.engine.broker import Broker
from harebell.engine.consumers import Consumer
from harebell.engine.counters import QueueTotals, sum_queues, totals_by_type
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.inspection import (
    binding_table,
    bindings_from,
    bindings_of,
    bindings_to,
    default_binding_table,
    vhost_table,
)
from harebell.engine.queues.queue import Queue
from harebell.engine.samples import Samples, row_of
from harebell.engine.vhost import Vhost
from harebell.statistics.node import NodeView, Surroundings
from harebell.statistics.queues import exchange_view, queue_view
from harebell.statistics.rates import NOW, Ages, Rates, with_rates
from harebell.statistics.sampling import CHANNEL_PUBLISHES, DELIVERIES, LENGTHS, OCTETS, PUBLISH, Look, Totals
from harebell.statistics.sessions import channel_view, connection_view, consumers_of

SLICE: Final = 500
"""Objects looked at in one go: well below a millisecond, compiled."""

NO_PAST: Final = Samples(1)
"""Of totals that nobody looks at."""

NOT_COUNTED: Final = with_rates("disk_reads", "disk_writes")
"""Messages that RabbitMQ's queues read and wrote; here the journal writes batches, and pages are read."""


class Statistics:
    """What one broker has to show.

    Args:
        broker: the engine.
        interval_ms: milliseconds between two looks (``sample``).
        host: the node around; without it nothing is known of the process.
    """

    def __init__(self, broker: Broker, interval_ms: int = 5000, host: Surroundings | None = None) -> None:
        self.broker = broker
        self._host = host
        if host is not None:
            broker.node_name = host.name
        self._rates = Rates(interval_ms)
        self._node = NodeView(broker, self._rates)
        self._samples = broker.counters.samples
        self._look: Iterator[None] | None = None

    # -- looking

    def sample(self) -> None:
        """Look at all counters; called every interval.

        Where there may be very many objects, ``sample_some`` does the same in pieces.
        """
        while self.sample_some():
            pass

    def sample_some(self) -> bool:
        """Look at some counters, or begin another look; True if that look goes on."""
        if self._look is None:
            self._look = self._looking()
        if next(self._look, self) is self:
            self._look = None
            return False
        return True

    def _looking(self) -> Iterator[None]:
        broker, rates = self.broker, self._rates
        wall, now = int(broker.clock.wall), int(broker.clock.now)
        look = Look(rates.number + 1, wall)
        for vhost in list(broker.vhosts.values()):
            queues = list(vhost.queues.values())
            for start in range(0, len(queues), SLICE):
                look.queues(queues[start : start + SLICE])
                yield
            tallies = [vhost.counters.default, *[exchange.tally for exchange in vhost.exchanges.values()]]
            for index, tally in enumerate(tallies):
                look.tally(tally)
                if index % SLICE == SLICE - 1:
                    yield
        for index, session in enumerate(broker.sessions):
            if isinstance(session, Connection):
                look.connection(session)
            if index % SLICE == SLICE - 1:
                yield
        self._look_at_totals(look)
        rates.look(wall, now)

    def _look_at_totals(self, look: Look) -> None:
        number, wall = int(look.number), int(look.wall)
        of_vhosts = self._totals_by_vhost()
        everything = self._everything(of_vhosts.values())
        for name, totals in of_vhosts.items():
            self.broker.vhosts[name].counters.samples.note(number, wall, row_of(totals.numbers()))
        self._samples.note(number, wall, row_of(everything.numbers()))
        usage = None if self._host is None else self._host.resources()
        self._node.note(number, wall, self._node.numbers(usage, everything))

    # -- totals

    def totals(self, vhost: Vhost | None = None) -> Totals:
        """Sum up what was counted in a virtual host, or in all since the node started."""
        if vhost is None:
            return self._everything(self._totals_by_vhost().values())
        return self._vhost_totals(vhost, sum_sessions(self.broker.sessions, vhost).get(vhost.name))

    def queue_totals(self) -> dict[str, QueueTotals]:
        """Sum up queues by type (``classic``, ``quorum``, ``stream``), those that are gone included."""
        found = totals_by_type()
        for counters in (
            self.broker.counters.gone,
            *[vhost.counters for vhost in self.broker.vhosts.values()],
        ):
            for name, totals in counters.queues.items():
                found[name].merge(totals)
        for vhost in self.broker.vhosts.values():
            sum_queues(vhost.queues.values(), found)
        return found

    def _totals_by_vhost(self) -> dict[str, Totals]:
        sessions = sum_sessions(self.broker.sessions)
        return {
            name: self._vhost_totals(vhost, sessions.get(name)) for name, vhost in self.broker.vhosts.items()
        }

    def _vhost_totals(self, vhost: Vhost, sessions: SessionTotals | None) -> Totals:
        totals = Totals()
        totals.add_counters(vhost.counters)
        for exchange in vhost.exchanges.values():
            totals.tally.merge(exchange.tally)
        by_type = totals_by_type()
        sum_queues(vhost.queues.values(), by_type)
        for each in by_type.values():
            totals.queues.merge(each)
        if sessions is not None:
            totals.add_sessions(sessions)
        return totals

    def _everything(self, of_vhosts: Iterable[Totals]) -> Totals:
        totals = Totals()
        totals.add_counters(self.broker.counters.gone)
        for each in of_vhosts:
            totals.merge(each)
        return totals

    # -- objects

    def queue(self, vhost: Vhost, queue: Queue, detail: bool = False, ages: Ages | None = None) -> Table:
        """Show a queue; ``detail`` adds what RabbitMQ shows of a single one."""
        names: dict[int, str] = {}
        if queue.owner:
            owner = self.broker.sessions.get(int(queue.owner))
            if isinstance(owner, Connection):
                names[int(queue.owner)] = owner.peer
        return queue_view(self._rates, vhost, queue, self.broker.node_name, names, detail, ages or NOW)

    def exchange(
        self, vhost: Vhost, exchange: Exchange | None, detail: bool = False, ages: Ages | None = None
    ) -> Table:
        """Show an exchange; None is the default one."""
        return exchange_view(self._rates, vhost, exchange, detail, ages or NOW)

    def exchanges(self, vhost: Vhost) -> Iterator[Exchange | None]:
        """Go through the exchanges of a virtual host, the default one (None) first."""
        yield None
        yield from list(vhost.exchanges.values())

    def binding(self, vhost: Vhost, binding: Binding) -> Table:
        """Show a binding."""
        return binding_table(vhost, binding)

    def default_binding(self, vhost: Vhost, queue: str) -> Table:
        """Show the binding a queue has to the default exchange."""
        return default_binding_table(vhost, queue)

    def bindings(self, vhost: Vhost) -> Iterator[Table]:
        """Show the bindings of a virtual host."""
        return bindings_of(vhost)

    def bindings_from(self, vhost: Vhost, exchange: Exchange | None) -> Iterator[Table]:
        """Show the bindings from an exchange; None is the default one."""
        return bindings_from(vhost, exchange)

    def bindings_to(self, vhost: Vhost, destination: Destination) -> Iterator[Table]:
        """Show the bindings to a queue or an exchange."""
        return bindings_to(vhost, destination)

    def vhost(self, vhost: Vhost, ages: Ages | None = None) -> Table:
        """Show a virtual host."""
        ages = ages or NOW
        totals = self.totals(vhost)
        table = vhost_table(vhost, self.broker.node_name)
        if vhost.delays is not None and vhost.delays.queues:
            table["messages_delayed"] = int(vhost.delays.count())
        samples = vhost.counters.samples
        if vhost.queues or totals.queues_created:
            self._put_lengths(table, samples, totals, ages)
        stats = self._messages(samples, totals, ages)
        if stats:
            table["message_stats"] = stats
        numbers = totals.numbers()
        first = len(numbers) - len(OCTETS)
        if any(numbers[first:]):
            self._rates.put_all(table, samples, first, OCTETS, numbers[first:], ages.data)
        return table

    # -- connections

    def sessions(self) -> list[Connection]:
        """List the connections that are open."""
        return [session for session in self.broker.sessions if isinstance(session, Connection)]

    def connection(self, connection: Connection, ages: Ages | None = None) -> Table:
        """Show a connection."""
        return connection_view(self._rates, connection, self.broker.node_name, ages or NOW)

    def connections(self, vhost: Vhost | None = None) -> list[Table]:
        """Show all connections, or those to a virtual host."""
        return [
            self.connection(session) for session in self.sessions() if vhost is None or session.vhost is vhost
        ]

    def channel(self, channel: Channel, detail: bool = False, ages: Ages | None = None) -> Table:
        """Show a channel; ``detail`` adds what RabbitMQ shows of a single one."""
        return channel_view(self._rates, channel, self.broker.node_name, detail, ages or NOW)

    def channels(self, vhost: Vhost | None = None, connection: Connection | None = None) -> list[Table]:
        """Show all channels, or those of a virtual host or of a connection."""
        sessions = self.sessions() if connection is None else [connection]
        return [
            self.channel(channel)
            for session in sessions
            if vhost is None or session.vhost is vhost
            for channel in list(session.channels.values())
        ]

    def consumer(self, vhost: Vhost, consumer: Consumer) -> Table:
        """Show a consumer of a queue in a virtual host."""
        return consumer_table(consumer, vhost.name) if isinstance(consumer, ChannelConsumer) else {}

    def consumers(self, vhost: Vhost | None = None) -> list[Table]:
        """Show all consumers, or those of a virtual host."""
        return [
            consumer
            for session in self.sessions()
            if vhost is None or session.vhost is vhost
            for channel in list(session.channels.values())
            for consumer in consumers_of(channel)
        ]

    # -- the node

    def overview(
        self, ages: Ages | None = None, *, vhosts: Iterable[Vhost] | None = None, user: str = ""
    ) -> Table:
        """Show what is counted on the node: ``message_stats``, ``churn_rates`` and totals.

        Args:
            ages: how much of the past to show.
            vhosts: whose totals to show to a user who may not see everything; None for those of the node.
            user: that user, whose connections are counted.
        """
        ages = ages or NOW
        totals = self.totals() if vhosts is None else self._totals_for(vhosts, user)
        samples = self._samples if vhosts is None else NO_PAST
        stats = self._messages(samples, totals, ages)
        self._rates.put_all(stats, NO_PAST, 0, NOT_COUNTED, (0, 0), ages.messages)
        lengths: Table = {}
        self._put_lengths(lengths, samples, totals, ages)
        shown = list(self.broker.vhosts.values() if vhosts is None else vhosts)
        delays = [vhost.delays for vhost in shown if vhost.delays is not None and vhost.delays.queues]
        if delays:
            lengths["messages_delayed"] = sum(int(one.count()) for one in delays)
        return {
            "message_stats": stats,
            "churn_rates": self._node.churn_table(totals, ages),
            "queue_totals": lengths,
            "object_totals": object_totals(shown, totals),
            "statistics_db_event_queue": 0,
        }

    def _totals_for(self, vhosts: Iterable[Vhost], user: str) -> Totals:
        of_vhosts = self._totals_by_vhost()
        totals = Totals()
        for vhost in vhosts:
            totals.merge(of_vhosts[vhost.name])
        totals.sessions = SessionTotals()
        for session in self.broker.sessions.of(user):
            if isinstance(session, Connection):
                totals.sessions.add(session)
        return totals

    def node(self, host: Surroundings, ages: Ages | None = None) -> Table:
        """Show the node; what its settings say (listeners, contexts, files, plugins) is added elsewhere."""
        return self._node.table(host, self.totals(), ages or NOW)

    def _put_lengths(self, table: Table, samples: Samples, totals: Totals, ages: Ages) -> None:
        self._rates.put_all(table, samples, 0, LENGTHS, totals.numbers(), ages.lengths)

    def _messages(self, samples: Samples, totals: Totals, ages: Ages) -> Table:
        stats: Table = {}
        numbers = totals.numbers()
        deliveries = numbers[len(LENGTHS) : PUBLISH]
        if any(deliveries):
            self._rates.put_all(stats, samples, len(LENGTHS), DELIVERIES, deliveries, ages.messages)
        publishes = numbers[PUBLISH : PUBLISH + len(CHANNEL_PUBLISHES)]
        if any(publishes):
            self._rates.put_all(stats, samples, PUBLISH, CHANNEL_PUBLISHES, publishes, ages.messages)
        return stats


def object_totals(vhosts: Iterable[Vhost], totals: Totals) -> Table:
    """Count the objects of each kind."""
    vhosts = list(vhosts)
    return {
        "channels": int(totals.sessions.channels),
        "connections": int(totals.sessions.connections),
        "consumers": int(totals.queues.consumers),
        "exchanges": sum(len(vhost.exchanges) + 1 for vhost in vhosts),
        "queues": sum(len(vhost.queues) for vhost in vhosts),
    }
