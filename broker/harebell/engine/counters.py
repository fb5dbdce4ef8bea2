"""What is counted beside what queues count themselves, and the totals of what is gone.

Nothing that is shown as a counter may ever go back: what an exchange, a queue, a channel or a connection
counted is added to the totals of its virtual host when it goes, and those of a virtual host to the node's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.engine.samples import KEPT_LONG, Samples
from harebell.histograms import Durations, Sizes

if TYPE_CHECKING:
    from harebell.engine.queues.queue import Queue

QUEUE_TYPES: Final = ("classic", "quorum", "stream")
"""Types whose totals are kept apart."""


class Tally:
    """The messages published to one exchange.

    Attributes:
        received: messages published to it.
        routed: queues that they were put into, each counted once for each message.
        duplicates: messages left out because their id was known to the exchange.
        dropped, returned: messages that no queue took, without and with ``mandatory``.
        invalid: messages that did not fit the schema of the exchange.
        samples: its recent past.
    """

    __slots__ = ("dropped", "duplicates", "invalid", "received", "returned", "routed", "samples")

    def __init__(self) -> None:
        self.received: i64 = 0
        self.routed: i64 = 0
        self.dropped: i64 = 0
        self.returned: i64 = 0
        self.invalid: i64 = 0
        self.duplicates: i64 = 0
        self.samples: Samples | None = None

    def merge(self, other: Tally) -> None:
        """Add what another one counted."""
        self.received += other.received
        self.routed += other.routed
        self.dropped += other.dropped
        self.returned += other.returned
        self.invalid += other.invalid
        self.duplicates += other.duplicates


class Deaths:
    """The messages that queues gave up, by reason: with a dead-letter exchange, and without (``lost``)."""

    __slots__ = (
        "delivery_limit",
        "expired",
        "invalid",
        "lost_delivery_limit",
        "lost_expired",
        "lost_maxlen",
        "lost_rejected",
        "maxlen",
        "rejected",
    )

    def __init__(self) -> None:
        self.rejected: i64 = 0
        self.expired: i64 = 0
        self.maxlen: i64 = 0
        self.delivery_limit: i64 = 0
        self.invalid: i64 = 0
        self.lost_rejected: i64 = 0
        self.lost_expired: i64 = 0
        self.lost_maxlen: i64 = 0
        self.lost_delivery_limit: i64 = 0

    def count(self, reason: str, lost: bool) -> None:
        """Count one message.

        Args:
            reason: as in ``dead_letter.py``.
            lost: True if no dead-letter exchange is named.
        """
        if reason == "expired":
            if lost:
                self.lost_expired += 1
            else:
                self.expired += 1
        elif reason == "maxlen":
            if lost:
                self.lost_maxlen += 1
            else:
                self.maxlen += 1
        elif reason == "rejected":
            if lost:
                self.lost_rejected += 1
            else:
                self.rejected += 1
        elif reason == "invalid":
            self.invalid += 1
        elif lost:
            self.lost_delivery_limit += 1
        else:
            self.delivery_limit += 1

    def merge(self, other: Deaths) -> None:
        """Add what another one counted."""
        self.rejected += other.rejected
        self.expired += other.expired
        self.maxlen += other.maxlen
        self.delivery_limit += other.delivery_limit
        self.invalid += other.invalid
        self.lost_rejected += other.lost_rejected
        self.lost_expired += other.lost_expired
        self.lost_maxlen += other.lost_maxlen
        self.lost_delivery_limit += other.lost_delivery_limit


class QueueTotals:
    """Sums over queues; each attribute is that of ``Queue``, or of what it leads to.

    Attributes:
        written: messages that durable queues took and keep on disk.
        ready, unacked: messages that are there now; not of queues that are gone.
        consumers: the same.
    """

    def __init__(self) -> None:
        self.published: i64 = 0
        self.delivered: i64 = 0
        self.delivered_no_ack: i64 = 0
        self.got: i64 = 0
        self.got_no_ack: i64 = 0
        self.got_empty: i64 = 0
        self.redelivered: i64 = 0
        self.acked: i64 = 0
        self.rejected: i64 = 0
        self.requeued: i64 = 0
        self.refused: i64 = 0
        self.duplicates: i64 = 0
        self.written: i64 = 0
        self.ready: i64 = 0
        self.unacked: i64 = 0
        self.consumers: i64 = 0
        self.deaths = Deaths()
        self.waits = Durations()
        self.answers = Durations()

    def count(self, queue: Queue) -> None:
        """Add what a queue counted, not what is in it."""
        self.published += queue.published
        self.delivered += queue.delivered
        self.delivered_no_ack += queue.delivered_no_ack
        self.got += queue.got
        self.got_no_ack += queue.got_no_ack
        self.got_empty += queue.got_empty
        self.redelivered += queue.redelivered
        self.acked += queue.acked
        self.rejected += queue.rejected
        self.requeued += queue.requeued
        self.refused += queue.refused
        self.duplicates += queue.duplicates
        self.written += queue.written()
        if queue.deaths is not None:
            self.deaths.merge(queue.deaths)
        if queue.waits is not None:
            self.waits.merge(queue.waits)
        if queue.answers is not None:
            self.answers.merge(queue.answers)

    def add(self, queue: Queue) -> None:
        """Add a queue that is there."""
        self.count(queue)
        self.ready += queue.ready_count()
        if not queue.keeps_all:
            # What a stream delivered is in it still, and was counted.
            self.unacked += queue.unacked_count
        self.consumers += queue.consumer_count()

    def merge(self, other: QueueTotals) -> None:
        """Add other sums."""
        self.published += other.published
        self.delivered += other.delivered
        self.delivered_no_ack += other.delivered_no_ack
        self.got += other.got
        self.got_no_ack += other.got_no_ack
        self.got_empty += other.got_empty
        self.redelivered += other.redelivered
        self.acked += other.acked
        self.rejected += other.rejected
        self.requeued += other.requeued
        self.refused += other.refused
        self.duplicates += other.duplicates
        self.written += other.written
        self.ready += other.ready
        self.unacked += other.unacked
        self.consumers += other.consumers
        self.deaths.merge(other.deaths)
        self.waits.merge(other.waits)
        self.answers.merge(other.answers)


def totals_by_type() -> dict[str, QueueTotals]:
    """Make empty sums for each queue type."""
    return {name: QueueTotals() for name in QUEUE_TYPES}


def sum_queues(queues: Iterable[Queue], totals: dict[str, QueueTotals]) -> None:
    """Add queues that are there to the sums of their types."""
    for queue in queues:
        totals[queue.type_name].add(queue)


class VhostCounters:
    """What one virtual host counts.

    Attributes:
        default: messages published to the default exchange.
        exchanges: sum of the exchanges that are gone.
        queues: by type, sum of the queues that are gone.
        confirmed: messages confirmed on channels that are closed.
        awaited: messages published on channels that are closed and were in confirm mode.
        received_octets, sent_octets: of connections that are closed.
        received_chunks, sent_chunks: in how many goes.
        schema_checked, schema_invalid: messages held against a schema, and those that did not fit; one that
            goes to several places with schemas counts once for each.
        redeclared_otherwise: declarations whose arguments differed and were passed over.
        queues_declared, queues_created, queues_deleted: since the node started; a queue is declared again
            without being created.
        samples: its recent past.
    """

    def __init__(self) -> None:
        self.default = Tally()
        self.exchanges = Tally()
        self.queues = totals_by_type()
        self.confirmed: i64 = 0
        self.awaited: i64 = 0
        self.received_octets: i64 = 0
        self.sent_octets: i64 = 0
        self.received_chunks: i64 = 0
        self.sent_chunks: i64 = 0
        self.schema_checked: i64 = 0
        self.schema_invalid: i64 = 0
        self.redeclared_otherwise: i64 = 0
        self.queues_declared: i64 = 0
        self.queues_created: i64 = 0
        self.queues_deleted: i64 = 0
        self.samples = Samples(KEPT_LONG)

    def queue_gone(self, queue: Queue) -> None:
        """Keep what a queue counted that is deleted."""
        self.queues_deleted += 1
        self.queues[queue.type_name].count(queue)

    def merge(self, other: VhostCounters) -> None:
        """Add what another virtual host counted, which is deleted with all that was in it."""
        self.exchanges.merge(other.default)
        self.exchanges.merge(other.exchanges)
        for name, totals in other.queues.items():
            self.queues[name].merge(totals)
        self.confirmed += other.confirmed
        self.awaited += other.awaited
        self.received_octets += other.received_octets
        self.sent_octets += other.sent_octets
        self.received_chunks += other.received_chunks
        self.sent_chunks += other.sent_chunks
        self.schema_checked += other.schema_checked
        self.schema_invalid += other.schema_invalid
        self.redeclared_otherwise += other.redeclared_otherwise
        self.queues_declared += other.queues_declared
        self.queues_created += other.queues_created
        self.queues_deleted += other.queues_deleted


class Counters:
    """What a node counts.

    Attributes:
        channels_opened, channels_closed: since the node started; connections are counted in ``sessions.py``.
        gone: sums of virtual hosts that are deleted.
        sizes: bodies of the messages published.
        confirms: how long publishers waited for confirms.
        samples: the recent past of what is above.
    """

    def __init__(self) -> None:
        self.channels_opened: i64 = 0
        self.channels_closed: i64 = 0
        self.gone = VhostCounters()
        self.sizes = Sizes()
        self.confirms = Durations()
        self.samples = Samples(KEPT_LONG)
