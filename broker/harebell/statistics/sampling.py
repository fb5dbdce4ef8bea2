"""Looking at the counters of many objects, one after the other.

Each kind of object has a row of numbers; the names of its fields, in their order, are here, too.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i64_be
from mypy_extensions import i64

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.counting import SessionTotals
from harebell.engine.counters import QueueTotals, Tally, VhostCounters
from harebell.engine.queues.queue import Queue
from harebell.engine.samples import KEPT, Samples
from harebell.statistics.rates import with_rates

LENGTHS: Final = with_rates("messages_ready", "messages_unacknowledged", "messages")
"""Fields 0 to 2 of queues and virtual hosts."""

DELIVERIES: Final = with_rates(
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "get_empty",
    "redeliver",
    "ack",
    "deliver_get",
)
"""Fields 3 to 10 of queues and virtual hosts, 0 to 7 of channels."""

PUBLISHES: Final = with_rates("publish")
PUBLISH: Final = 11
"""The field of queues and virtual hosts behind those, and its number."""

CHANNEL_PUBLISHES: Final = with_rates("publish", "confirm", "return_unroutable", "drop_unroutable")
"""Fields 8 to 11 of channels, 11 to 14 of virtual hosts."""

OCTETS: Final = with_rates("recv_oct", "send_oct")
"""Fields of connections, and 15 to 16 of virtual hosts."""

EXCHANGES: Final = with_rates("publish_in", "publish_out")
"""Fields of exchanges."""

NOTHING_PUBLISHED: Final = bytes(16)
"""The row of an exchange at first."""


def queue_row(queue: Queue) -> bytes:
    """Give the numbers of a queue."""
    w = BytesWriter()
    ready: i64 = queue.ready_count()
    unacked: i64 = 0 if queue.keeps_all else queue.unacked_count
    write_i64_be(w, ready)
    write_i64_be(w, unacked)
    write_i64_be(w, ready + unacked + queue.delayed_count())
    write_i64_be(w, queue.delivered)
    write_i64_be(w, queue.delivered_no_ack)
    write_i64_be(w, queue.got)
    write_i64_be(w, queue.got_no_ack)
    write_i64_be(w, queue.got_empty)
    write_i64_be(w, queue.redelivered)
    write_i64_be(w, queue.acked)
    write_i64_be(w, queue.delivered + queue.delivered_no_ack + queue.got + queue.got_no_ack)
    write_i64_be(w, queue.published)
    return w.getvalue()


def tally_row(tally: Tally) -> bytes:
    """Give the numbers of an exchange."""
    w = BytesWriter()
    write_i64_be(w, tally.received)
    write_i64_be(w, tally.routed)
    return w.getvalue()


def channel_row(channel: Channel) -> bytes:
    """Give the numbers of a channel."""
    w = BytesWriter()
    delivered: i64 = channel.delivered()
    write_i64_be(w, delivered)
    write_i64_be(w, channel.delivered_no_ack)
    write_i64_be(w, channel.got)
    write_i64_be(w, channel.got_no_ack)
    write_i64_be(w, channel.got_empty)
    write_i64_be(w, channel.redelivered)
    write_i64_be(w, channel.acked)
    write_i64_be(w, delivered + channel.delivered_no_ack + channel.got + channel.got_no_ack)
    write_i64_be(w, channel.published)
    write_i64_be(w, channel.confirms.confirmed)
    write_i64_be(w, channel.returned)
    write_i64_be(w, channel.dropped)
    return w.getvalue()


def connection_row(connection: Connection) -> bytes:
    """Give the numbers of a connection."""
    w = BytesWriter()
    write_i64_be(w, connection.received_octets)
    write_i64_be(w, connection.out.sent_octets)
    return w.getvalue()


class Totals:
    """What is counted in one virtual host, or in all: those that are gone and those that are there.

    Attributes:
        tally: sum over exchanges.
        queues: sum over queues.
        sessions: sum over connections.
        confirmed, awaited, received_octets, sent_octets: those of closed connections included.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.queues = QueueTotals()
        self.sessions = SessionTotals()
        self.confirmed: i64 = 0
        self.awaited: i64 = 0
        self.received_octets: i64 = 0
        self.sent_octets: i64 = 0
        self.queues_declared: i64 = 0
        self.queues_created: i64 = 0
        self.queues_deleted: i64 = 0

    def add_counters(self, counters: VhostCounters) -> None:
        """Add what a virtual host counted itself."""
        self.tally.merge(counters.default)
        self.tally.merge(counters.exchanges)
        for totals in counters.queues.values():
            self.queues.merge(totals)
        self.confirmed += counters.confirmed
        self.awaited += counters.awaited
        self.received_octets += counters.received_octets
        self.sent_octets += counters.sent_octets
        self.queues_declared += counters.queues_declared
        self.queues_created += counters.queues_created
        self.queues_deleted += counters.queues_deleted

    def add_sessions(self, sessions: SessionTotals) -> None:
        """Add what open connections counted."""
        self.sessions.merge(sessions)
        self.confirmed += sessions.confirmed
        self.awaited += sessions.awaited
        self.received_octets += sessions.received_octets
        self.sent_octets += sessions.sent_octets

    def merge(self, other: Totals) -> None:
        """Add other totals."""
        self.tally.merge(other.tally)
        self.queues.merge(other.queues)
        self.sessions.merge(other.sessions)
        self.confirmed += other.confirmed
        self.awaited += other.awaited
        self.received_octets += other.received_octets
        self.sent_octets += other.sent_octets
        self.queues_declared += other.queues_declared
        self.queues_created += other.queues_created
        self.queues_deleted += other.queues_deleted

    def numbers(self) -> list[int]:
        """Give the numbers of a virtual host's row: lengths, deliveries, publishes, octets."""
        queues = self.queues
        tally = self.tally
        return [
            queues.ready,
            queues.unacked,
            queues.ready + queues.unacked,
            queues.delivered,
            queues.delivered_no_ack,
            queues.got,
            queues.got_no_ack,
            queues.got_empty,
            queues.redelivered,
            queues.acked,
            queues.delivered + queues.delivered_no_ack + queues.got + queues.got_no_ack,
            tally.received,
            self.confirmed,
            tally.returned,
            tally.dropped,
            self.received_octets,
            self.sent_octets,
        ]


class Look:
    """One look at everything, in pieces.

    Args:
        number: of the look.
        wall: its time, unix milliseconds.
    """

    def __init__(self, number: i64, wall: i64) -> None:
        self.number: i64 = number
        self.wall: i64 = wall

    def queues(self, queues: list[Queue]) -> None:
        """Look at queues."""
        for queue in queues:
            samples = queue.samples
            if samples is None:
                samples = queue.samples = Samples(KEPT)
            samples.note(self.number, self.wall, queue_row(queue))
            samples.starved_before = samples.starved
            samples.starved = queue.starved_for()

    def tally(self, tally: Tally) -> None:
        """Look at an exchange; one that nothing was published to has no past."""
        samples = tally.samples
        if samples is None:
            if tally.received == 0:
                return
            samples = tally.samples = Samples(KEPT)
            samples.note(self.number - 1, self.wall, NOTHING_PUBLISHED)
        samples.note(self.number, self.wall, tally_row(tally))

    def connection(self, connection: Connection) -> None:
        """Look at a connection and its channels."""
        samples = connection.samples
        if samples is None:
            samples = connection.samples = Samples(KEPT)
        samples.note(self.number, self.wall, connection_row(connection))
        for channel in connection.channels.values():
            past = channel.samples
            if past is None:
                past = channel.samples = Samples(KEPT)
            past.note(self.number, self.wall, channel_row(channel))
