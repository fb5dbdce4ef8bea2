"""The base of every queue type: identity, counters, and what channels ask of a queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mypy_extensions import i64, mypyc_attr

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.counters import Deaths
from harebell.engine.deadlines import NEVER
from harebell.engine.destination import Destination
from harebell.engine.options import NOTHING_SET, QueueOptions
from harebell.engine.samples import Samples
from harebell.histograms import Durations
from harebell.paging import FLAGGED, KeptChunk, Moved, Page, Place

if TYPE_CHECKING:
    from harebell.engine.consumers import Consumer, Unacked
    from harebell.engine.queues.brakes import Brake, Bucket
    from harebell.engine.queues.browsing import BrowseView
    from harebell.engine.queues.id_window import IdWindow


@mypyc_attr(allow_interpreted_subclasses=True)
class DeadLetterSink(ABC):
    """Where messages go that a queue gives up."""

    @abstractmethod
    def dead(self, queue: Queue, message: Message, position: i64, reason: str) -> None:
        """Settle a message that a queue gave up, and move it to the dead-letter exchange if there is one.

        Args:
            position: where it was; 0 if the queue never took it.
            reason: as in ``dead_letter.py``.
        """

    def dead_at_once(self, queue: Queue, message: Message, reason: str) -> None:
        """Dead-letter a message that a queue did not take after a delay; no exchange delays it again."""
        raise NotImplementedError

    def divert(self, message: Message, exchange: str, routing_key: str | None) -> i64:
        """Dead-letter a message that was put into no queue, for the exchange it was published to.

        Args:
            exchange: the dead-letter exchange.
            routing_key: the dead-letter routing key; None to keep the keys.

        Returns:
            The lsn that its confirm waits for.
        """
        raise NotImplementedError

    @abstractmethod
    def hold(self) -> None:
        """Move nothing until ``release``: queues are about to take messages at positions promised."""

    @abstractmethod
    def release(self) -> None:
        """Move what was given up since ``hold``."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Queue(Destination):
    """A queue as exchanges and channels see it.

    Attributes:
        id: number of the queue in the journal, unique on the node.
        durable, auto_delete, arguments: as declared.
        owner: id of the connection an exclusive queue belongs to; 0 if it is not exclusive.
        type_name: ``classic``, ``quorum``, ...
        next_position: the position the next message will get; positions only grow.
        expires: milliseconds of disuse after which the queue goes; 0 is never.
        last_used: clock milliseconds of the last consumer, get or declare.
        options: what the queue goes by; changed through ``apply_options`` only.
        policy, operator_policy: names of those that apply to it.
        counts_returns: True if deliveries tell how often the message came back (``x-delivery-count``).
        wakes_at: unix milliseconds when it wants to look at deadlines.
        ordered: True if messages leave in order of arrival.
        highest_level, absent_level: priorities told apart, and that of messages that say none.
        keeps_all: True if it keeps messages in files of its own, and sees to what the journal keeps for them.
        journals_all: True if it keeps transient messages as it does persistent ones.
        plain: True while no option asks for more than first in, first out.
        careful: True if messages for it must be looked at one by one before they are routed to it.
        ids: those of the messages it took lately, if it leaves out what is published again.
        brake: what holds its deliveries back; None if nothing does.
        intake: what may be published to it a second; None for no such limit.
        view: what its browsers see; None unless there was one.
        history: a stream that gets what is published to it, too; None unless it retains messages.
        dead_letters: takes what the queue gives up, if it ever does that; the same for a virtual host.
        scheduled: True while the dispatcher has it listed.
        deleted: True once it is gone; late settles are then ignored.
        duplicates: messages left out because their id was known.
        published, delivered, delivered_no_ack, got, got_no_ack, redelivered, acked, unacked_count,
        unacked_bytes: counters and gauges for inspection.
        got_empty: ``basic.get`` that found nothing.
        rejected, requeued: deliveries that clients rejected for good, and that came back.
        refused: messages refused for a length limit; ``published`` counts them, too.
        invalid: messages that did not fit its schema, and were not put into it.
        transient: messages taken that a durable queue does not keep over a restart.
        unacked_bodies: body octets of what is unacked.
        deaths: messages given up, by reason; None while there is none.
        waits: how long messages waited for their delivery; None before the first.
        answers: how long deliveries waited for their acknowledgement; None before the first.
        samples: the recent past of the counters, once somebody looked.
    """

    def __init__(
        self,
        queue_id: i64,
        name: str,
        type_name: str,
        durable: bool,
        owner: i64,
        auto_delete: bool,
        arguments: Table,
    ) -> None:
        super().__init__(name, True)
        self.id: i64 = queue_id
        self.type_name = type_name
        self.durable: bool = durable
        self.owner: i64 = owner
        self.auto_delete: bool = auto_delete
        self.arguments = arguments
        self.next_position: i64 = 1
        self.expires: i64 = 0
        self.last_used: i64 = 0
        self.options: QueueOptions = NOTHING_SET
        self.policy: str | None = None
        self.operator_policy: str | None = None
        self.keeps_all: bool = False
        self.journals_all: bool = False
        self.plain: bool = True
        self.careful: bool = False
        self.history: Queue | None = None
        self.view: BrowseView | None = None
        self.ids: IdWindow | None = None
        self.brake: Brake | None = None
        self.intake: Bucket | None = None
        self.dead_letters: DeadLetterSink | None = None
        self.counts_returns: bool = False
        self.wakes_at: i64 = NEVER
        self.ordered: bool = True
        self.highest_level: i64 = 0
        self.absent_level: i64 = 0
        self.scheduled: bool = False
        self.deleted: bool = False
        self.duplicates: i64 = 0
        self.published: i64 = 0
        self.delivered: i64 = 0
        self.delivered_no_ack: i64 = 0
        self.got: i64 = 0
        self.got_no_ack: i64 = 0
        self.redelivered: i64 = 0
        self.acked: i64 = 0
        self.unacked_count: i64 = 0
        self.unacked_bytes: i64 = 0
        self.got_empty: i64 = 0
        self.rejected: i64 = 0
        self.requeued: i64 = 0
        self.refused: i64 = 0
        self.invalid: i64 = 0
        self.transient: i64 = 0
        self.unacked_bodies: i64 = 0
        self.deaths: Deaths | None = None
        self.waits: Durations | None = None
        self.answers: Durations | None = None
        self.samples: Samples | None = None

    def count_death(self, reason: str) -> None:
        """Count a message that is given up (see ``dead_letter.py`` for reasons)."""
        deaths = self.deaths
        if deaths is None:
            deaths = self.deaths = Deaths()
        deaths.count(reason, self.options.dead_letter_exchange is None)

    def have_waits(self) -> Durations:
        """Give ``waits``, made if missing."""
        if self.waits is None:
            self.waits = Durations()
        return self.waits

    def have_answers(self) -> Durations:
        """Give ``answers``, made if missing."""
        if self.answers is None:
            self.answers = Durations()
        return self.answers

    def apply_options(self, options: QueueOptions) -> None:
        """Go by other options from now on: called when it is declared, and when policies change."""
        self.options = options
        self.careful = options.schema is not None or options.message_uid or options.publish_rate >= 0

    def use_window(self, ids: IdWindow | None) -> None:
        """Leave out what is published again, as a window knows it; None: take everything."""
        self.ids = ids
        self.plain = ids is None

    def ready_count(self) -> i64:
        """Messages that wait for a consumer."""
        raise NotImplementedError

    def ready_octets(self) -> i64:
        """Header and body octets of the messages that wait."""
        raise NotImplementedError

    def ready_bodies(self) -> i64:
        """Body octets of the messages that wait."""
        return self.ready_octets()

    def paged_count(self) -> i64:
        """Messages that wait and are on disk only."""
        return 0

    def paged_bodies(self) -> i64:
        """Body octets of those."""
        return 0

    def starved_for(self) -> i64:
        """Milliseconds for which messages waited for consumers that took none, until now."""
        return 0

    def delayed_count(self) -> i64:
        """Messages that wait for their retry."""
        return 0

    def glance(self) -> Message | None:
        """Give the next message if it is in memory; reads nothing."""
        return None

    def active_consumer(self) -> Consumer | None:
        """Give the one consumer that is served, of a queue that serves one at a time."""
        return None

    def consumer_count(self) -> i64:
        """Consumers subscribed."""
        raise NotImplementedError

    def consumers(self) -> list[Consumer]:
        """The consumers subscribed, in order of arrival."""
        raise NotImplementedError

    def check_consumer(self, no_ack: bool, limit: i64, arguments: Table) -> None:
        """Refuse a consumer that the queue's type cannot serve.

        Args:
            limit: its own prefetch limit; 0 is unlimited.

        Raises:
            BrokerError: as the type says.
        """

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer; deliveries start at the end of the turn."""
        raise NotImplementedError

    def remove_consumer(self, consumer: Consumer) -> None:
        """Unsubscribe a consumer; its unacked messages stay with its channel."""
        raise NotImplementedError

    def unpark(self, consumer: Consumer) -> None:
        """A consumer got credit back."""
        raise NotImplementedError

    def push(self, message: Message) -> bool:
        """Take a routed message; False if the queue refuses it (the publisher gets a nack)."""
        raise NotImplementedError

    def written(self) -> i64:
        """Count the messages it took that are kept on disk, those that are gone by now among them."""
        return self.published - self.refused - self.transient if self.durable else 0

    def duplicate(self, message: Message) -> bool:
        """Tell whether a message published now has the id of one that the queue took lately.

        It is confirmed to its publisher and left out.  Asked only of queues that are not ``plain``.
        """
        ids = self.ids
        return ids is not None and ids.knows(message.header)

    def behind_all(self) -> i64:
        """Give the lsn that the confirm of a duplicate waits for; 0 if all the queue took is durable."""
        ids = self.ids
        return 0 if ids is None else ids.behind_all()

    def refuses(self, message: Message) -> bool:
        """Tell whether the queue would refuse a message published now (``x-overflow``)."""
        return False

    def refuse(self, message: Message) -> None:
        """A published message was refused: dead-letter it if the queue does that."""

    def take_in(self, message: Message) -> None:
        """Take a routed message that must not be refused."""
        self.push(message)

    def take_alone(self, message: Message) -> i64:
        """Take a persistent message that goes nowhere else and that nobody journaled.

        Asked only of queues that keep all.

        Returns:
            The lsn its confirm waits for.
        """
        raise NotImplementedError

    def settle_dead(self, message: Message, position: i64) -> None:
        """The journal is to forget a message that was given up."""

    def expire_messages(self) -> i64:
        """Give up messages whose time is over, and return when to look again (``deadlines.NEVER``: never)."""
        return NEVER

    def can_deliver_now(self) -> bool:
        """Tell whether a message pushed now goes straight to a consumer (``immediate``)."""
        raise NotImplementedError

    def get(self, no_ack: bool, tag: i64, now: i64) -> Unacked | None:
        """Take the first ready message for ``basic.get``; ``no_ack`` settles it at once."""
        raise NotImplementedError

    def peek(self, count: i64) -> list[tuple[Message, bool]]:
        """List the first ready messages and whether each was delivered before; they stay as they are."""
        return [(message, returns & FLAGGED != 0) for _, message, returns in self.browse(count)]

    def browse(self, count: i64) -> list[tuple[int, Message, int]]:
        """List position, message and returns (``paging.RETURN``) of the first ready messages."""
        return []

    def browse_from(self, position: i64, most: i64) -> list[tuple[int, Message, int]]:
        """List position, message and returns of ready messages from a position on, by position.

        Where messages are large there are fewer than ``most``, but none only if there is none.

        Raises:
            PageUnreadable: one of them is on disk, and cannot be read at the moment.
        """
        return []

    def is_over(self, message: Message, position: i64) -> bool:
        """Tell whether the time of a ready message is over, so that nobody will get it."""
        return False

    def waits_until(self, position: i64) -> i64:
        """Give until when a message waits for its retry, unix milliseconds; 0 if it does not."""
        return 0

    def browse_waiting(self, position: i64, most: i64) -> list[tuple[int, Message, int, int]]:
        """List messages that wait for their retry from a position on, by position, and until when each does.

        Where messages are large there are fewer than ``most``, but none only if there is none.

        Raises:
            PageUnreadable: one of them is on disk, and cannot be read at the moment.
        """
        return []

    def withdraw_waiting(self, position: int) -> tuple[int, Message, int] | None:
        """Take out what waits for its retry, for who settles it; None if none waits at this position.

        Raises:
            PageUnreadable: it is on disk, and cannot be read at the moment.
        """
        return None

    def wait_again(self, entry: tuple[int, Message, int], until: int) -> None:
        """Put back what was taken out while it waited for its retry, to wait as before."""
        raise NotImplementedError

    def retry_now(self, position: i64) -> bool:
        """End the wait of a message that came back; False if none waits at this position.

        Raises:
            PageUnreadable: it is on disk, and cannot be read at the moment.
        """
        return False

    def view_left(self) -> None:
        """The last browser went."""

    def browsers(self) -> list[Consumer]:
        """The consumers that look only, in order of arrival; they are not among its ``consumers``."""
        return [] if self.view is None else self.view.consumers()

    def have_view(self, vhost: str) -> Queue:
        """Give ``view``, made if missing; what cannot be browsed gives itself.

        Args:
            vhost: name of its virtual host.
        """
        return self

    def withdraw(self, positions: list[int]) -> list[tuple[int, Message, int]]:
        """Take out ready messages for who settles them, by ascending position; pass over what is not here."""
        return []

    def reinstate(self, entry: tuple[int, Message, int]) -> None:
        """Put back what was withdrawn."""
        raise NotImplementedError

    def refuse_return(self) -> None:
        """Refuse that a client rejects or returns a message, if the queue's type does.

        Raises:
            BrokerError: as the type says.
        """

    def settle(self, entry: Unacked) -> None:
        """An unacked message was acknowledged: forget it."""
        raise NotImplementedError

    def reject(self, entry: Unacked) -> None:
        """An unacked message was rejected without requeue: discard or dead-letter it."""
        raise NotImplementedError

    def requeue(self, entry: Unacked, failed: bool) -> None:
        """An unacked message comes back to its original position, flagged redelivered.

        Args:
            failed: True if it was rejected or its consumer went, False if ``basic.nack`` or ``basic.recover``
                handed it back, or a timeout took it.
        """
        raise NotImplementedError

    def purge(self) -> i64:
        """Remove every ready message and return how many there were."""
        raise NotImplementedError

    def dispatch(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages; True if more could go at once."""
        raise NotImplementedError

    def restore(self, levels: dict[int, list[Page]], next_position: i64) -> None:
        """Take in what recovery found: pages by priority, oldest first."""
        raise NotImplementedError

    def restore_chunks(self, chunks: list[KeptChunk]) -> None:
        """Note the chunks that recovery found in the journal, oldest first; before ``restore``."""

    def restore_deadline(self, arrived: i64, expiration: i64, position: i64) -> None:
        """Note the deadline of a message that recovery found; in order of position, before ``restore``."""

    def restore_waiting(self, rows: Iterable[tuple[int, int, int, int, int, int]]) -> None:
        """Take in what recovery found waiting for its retry; before ``restore``.

        Args:
            rows: position, location, segment, share, time and returns (``paging.RETURN``) of each.
        """

    def expect_deadlines(self) -> None:
        """A message with an expiration is going to come."""

    def offer(self) -> None:
        """Memory is short: be listed for paging if there is anything to page."""

    def stocked(self) -> None:
        """Messages that had to be read from disk are in memory."""

    def lost(self, position: i64) -> None:
        """The record of a ready message is damaged, which the pager reported: the message is gone."""

    def locate(self, wanted: list[int]) -> list[tuple[int, Place]]:
        """Find ready messages by position, ascending."""
        return []

    def relocate(self, moved: list[Moved], segment: int, to_segment: int) -> list[int]:
        """Note that the records of messages that are on disk only were copied forward.

        Args:
            moved: by ascending position.
            segment, to_segment: numbers of the journal's segments.

        Returns:
            The positions whose location changed; the others are on disk no more.
        """
        return []

    def sync_before(self, segment: i64) -> bool:
        """Have files of its own synced if the journal keeps segments before this for them; True if so."""
        return False

    def drop_all(self) -> None:
        """The queue is deleted: let go of everything."""
        raise NotImplementedError
