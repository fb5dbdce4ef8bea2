"""One channel: its consumers, unanswered deliveries, confirms, and the message being published.

Content arrives in three steps, and ``_expecting`` says which frame may come next::

    basic.publish -> EXPECT_HEADER -> content header -> EXPECT_BODY -> body ... -> EXPECT_METHOD
                                                 (body size 0) -> EXPECT_METHOD
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i16, i64

from harebell.amqp.confirms import Confirms
from harebell.amqp.delivery import ChannelConsumer
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.amqp.publishing import publish_with_care, return_unrouted
from harebell.amqp.transactions import Transaction
from harebell.amqp.unacked import UnackedWindow
from harebell.content.message import OVERHEAD, Message
from harebell.engine.consumers import ChannelCredit, Unacked
from harebell.engine.routing import Route, enqueue
from harebell.engine.samples import Samples
from harebell.errors import (
    FRAME_ERROR,
    PRECONDITION_FAILED,
    UNEXPECTED_FRAME,
    BrokerError,
)
from harebell.histograms import Sizes
from harebell.ports import Clock

if TYPE_CHECKING:
    from harebell.amqp.connection import Connection
    from harebell.engine.reply_to import ReplyQueue

EXPECT_METHOD: Final = 0
EXPECT_HEADER: Final = 1
EXPECT_BODY: Final = 2

BODY_PARTS_LIMIT: Final = 1024
"""Body pieces kept apart before they are folded into one, so that tiny frames cannot multiply memory."""


class Channel:
    """State of one channel.

    Attributes:
        number: the channel number; ``wire`` is the same as the signed short the writer takes.
        next_tag: delivery tag of the next delivery.
        prefetch: limit for consumers started from now on (``basic.qos(global=false)``).
        flow_active: False after ``channel.flow(active=false)``.
        closing: True once ``channel.close`` was sent; everything but close and close-ok is dropped.
        last_queue: the queue declared last, meant by an empty queue name.
        transaction: held publishes and acks after ``tx.select``.
        consumers: by tag.
        reply_queue: the direct reply-to addressee of this channel, if it has one.
        published, returned, dropped, delivered_no_ack, redelivered, got, got_no_ack, got_empty, acked: what
            it counted, for inspection; ``delivered`` follows from the tags.
        samples: the recent past of that, once somebody looked.
    """

    def __init__(self, connection: Connection, number: i64) -> None:
        self.connection = connection
        self.number: i64 = number
        self.wire: i16 = i16(number if number < 32768 else number - 65536)
        self.out: Outbox = connection.out
        self.clock: Clock = connection.clock
        self.credit = ChannelCredit()
        self.window = UnackedWindow()
        self.confirms = Confirms(connection.clock, connection.broker.counters.confirms)
        self.sizes: Sizes = connection.broker.counters.sizes
        self.published: i64 = 0
        self.returned: i64 = 0
        self.dropped: i64 = 0
        self.delivered_no_ack: i64 = 0
        self.redelivered: i64 = 0
        self.got: i64 = 0
        self.got_no_ack: i64 = 0
        self.got_empty: i64 = 0
        self.acked: i64 = 0
        self.samples: Samples | None = None
        self.consumers: dict[str, ChannelConsumer] = {}
        self.next_tag: i64 = 1
        self.prefetch: i64 = 0
        self.closing: bool = False
        self.flow_active: bool = True
        self.last_queue = ""
        self.transaction: Transaction | None = None
        self.reply_queue: ReplyQueue | None = None
        self.held: deque[tuple[int, bytes]] = deque()
        self._expecting: i64 = EXPECT_METHOD
        self._route: Route | None = None
        self._header: bytes = b""
        self._persistent: bool = False
        self._plain: bool = False
        self._left: i64 = 0
        self._parts: list[bytes] = []
        self._folded: list[bytes] = []

    def expects_method(self) -> bool:
        """Tell whether a method may come now."""
        return self._expecting == EXPECT_METHOD

    def begin_publish(self, arguments: bytes) -> None:
        """Take ``basic.publish``: look up its route and wait for the content.

        Args:
            arguments: exchange, routing key and flags, without the reserved short.

        Raises:
            BrokerError: FRAME_ERROR if the arguments do not add up.
        """
        if self._expecting != EXPECT_METHOD:
            raise BrokerError(UNEXPECTED_FRAME, "expected content, got a method frame")
        connection = self.connection
        route = connection.routes.get(arguments)
        if route is None:
            size: i64 = len(arguments)
            first: i64 = arguments[0] if size > 0 else 0
            if size < 3 or 1 + first >= size or first + arguments[1 + first] + 3 != size:
                raise BrokerError(FRAME_ERROR, "cannot decode the arguments of Basic.Publish")
            route = connection.resolve(arguments)
        self._route = route
        self._expecting = EXPECT_HEADER

    def begin_content(self, data: bytes, start: i64, end: i64) -> None:
        """Take the content header in ``data[start:end]``.

        Raises:
            BrokerError: UNEXPECTED_FRAME, FRAME_ERROR, or PRECONDITION_FAILED for a
                message larger than the limit.
        """
        if self._expecting != EXPECT_HEADER:
            raise BrokerError(UNEXPECTED_FRAME, "unexpected content header frame")
        if end - start < 14 or read_i32_be(data, start) != 0x003C0000:
            raise BrokerError(FRAME_ERROR, "malformed content header")
        size: i64 = read_i64_be(data, start + 4)
        if size < 0 or size > self.connection.max_message_size:
            self._expecting = EXPECT_METHOD
            if size < 0 or size > 512 * 1024 * 1024:
                raise BrokerError(FRAME_ERROR, "content size is out of bounds")
            raise BrokerError(
                PRECONDITION_FAILED,
                "message size "
                + str(size)
                + " is larger than configured max size "
                + str(self.connection.max_message_size),
            )
        flags: i64 = i64(read_i16_be(data, start + 12))
        header = data[start:end]
        if header != self._header:  # most publishers repeat theirs: queued messages then share it
            self._header = header
        if flags == 0x1000 and end - start == 15 and 1 <= data[start + 14] <= 2:
            self._persistent = data[start + 14] == 2
            self._plain = True
        elif (flags == 0 and end - start == 14) or (flags == 0x0800 and end - start == 15):
            self._persistent = False
            self._plain = True
        elif flags == 0x1800 and end - start == 16 and 1 <= data[start + 14] <= 2:
            self._persistent = data[start + 14] == 2
            self._plain = True
        else:
            self._plain = False
        self.connection.has_published = True  # from here on it takes memory
        if size == 0:
            self._publish(b"")
        else:
            self._left = size
            self._expecting = EXPECT_BODY

    def add_body(self, data: bytes, start: i64, end: i64) -> None:
        """Take a piece of the body from ``data[start:end]``; the last one publishes the message.

        Raises:
            BrokerError: UNEXPECTED_FRAME, or FRAME_ERROR if there is more than announced.
        """
        if self._expecting != EXPECT_BODY:
            raise BrokerError(UNEXPECTED_FRAME, "unexpected content body frame")
        left: i64 = self._left - (end - start)
        if left < 0:
            raise BrokerError(FRAME_ERROR, "content body is longer than its header announced")
        self._left = left
        parts = self._parts
        if left == 0 and not parts and not self._folded:
            self._publish(data[start:end])
            return
        if end > start:
            parts.append(data[start:end])
        if left == 0:
            body = b"".join(self._folded + parts)
            self._parts = []
            self._folded = []
            self._publish(body)
        elif len(parts) >= BODY_PARTS_LIMIT:
            self._folded.append(b"".join(parts))
            self._parts = []

    def _publish(self, body: bytes) -> None:
        self._expecting = EXPECT_METHOD
        route = self._route
        assert route is not None
        connection = self.connection
        vhost = connection.vhost
        if vhost is not None and route.generation != vhost.generation:
            # The topology changed between the method and the end of its content.
            route = connection.resolve(route.arguments)
        confirms = self.confirms
        if self._plain and not route.careful and self.transaction is None:
            if route.error is not None:
                raise route.error
            persistent = self._persistent or route.journals_all
            message = Message(route.address, self._header, body, persistent)
            message.arrived = self.clock.wall
            lsn: i64 = 0
            queues = route.queues
            if (route.durable and persistent) or route.counting_ids:
                lsn = enqueue(message, queues, route.durable, self.connection.journal)
            else:
                for queue in queues:
                    if not queue.push(message):
                        lsn = -1
                if not queues:
                    self.unrouted(route, message)
            tally = route.tally
            tally.received += 1
            tally.routed += len(queues)
        else:
            lsn = publish_with_care(self, route, self._header, body)
            if self.transaction is not None:
                return  # it may be rolled back: counted when it is committed
        self.published += 1
        self.sizes.add(len(body))
        if confirms.active:
            confirms.count(lsn)
            if not confirms.queued:
                confirms.queued = True
                self.connection.confirming.append(self)

    def unrouted(self, route: Route, message: Message) -> None:
        """No queue takes a message: return it if it is mandatory."""
        if route.mandatory:
            self.returned += 1
            route.tally.returned += 1
            return_unrouted(self.out, self.wire, message)
        else:
            self.dropped += 1
            route.tally.dropped += 1

    def delivered(self) -> i64:
        """Count the deliveries that consumers are to answer, so far."""
        return self.next_tag - 1 - self.delivered_no_ack - self.got - self.got_no_ack

    def ack(self, tag: i64, multiple: bool) -> None:
        """Take ``basic.ack``.

        Raises:
            BrokerError: PRECONDITION_FAILED for a tag that awaits no answer.
        """
        if not multiple and self.transaction is None:
            entry = self.window.take(tag)
            if entry is None:
                raise unknown_tag(tag)
            self.acked += 1
            entry.queue.settle(entry)
            self.return_credit(entry)
            return
        entries = self._answered(tag, multiple)
        if self.transaction is not None:
            self.transaction.acks.extend(entries)
        else:
            self.settle(entries)

    def settle(self, entries: list[Unacked]) -> None:
        """Let acknowledged deliveries go."""
        self.acked += len(entries)
        for entry in entries:
            entry.queue.settle(entry)
            self.return_credit(entry)

    def nack(self, tag: i64, multiple: bool, requeue: bool, failed: bool) -> None:
        """Take ``basic.nack`` or ``basic.reject``.

        Args:
            failed: True for ``basic.reject``: how often a message failed may decide what becomes of it.

        Raises:
            BrokerError: PRECONDITION_FAILED for a tag that awaits no answer.
        """
        entries = self._answered(tag, multiple)
        try:
            for entry in entries:
                entry.queue.refuse_return()
        except BrokerError:
            # They are unanswered still: what is not a stream's returns to its queue.
            self.window.restore(entries)
            raise
        if self.transaction is not None:
            if requeue:
                self.transaction.requeues.extend([(entry, failed) for entry in entries])
            else:
                self.transaction.rejects.extend(entries)
            return
        self.put_back(entries, requeue, failed)

    def put_back(self, entries: list[Unacked], requeue: bool, failed: bool) -> None:
        """Return deliveries to their queues, or discard them (see ``Queue.requeue``)."""
        for entry in entries:
            if requeue:
                entry.queue.requeue(entry, failed)
            else:
                entry.queue.reject(entry)
            self.return_credit(entry)

    def _answered(self, tag: i64, multiple: bool) -> list[Unacked]:
        if multiple:
            if tag != 0 and not self.window.awaits(tag):
                raise unknown_tag(tag)
            return self.window.take_up_to(tag)
        entry = self.window.take(tag)
        if entry is None:
            raise unknown_tag(tag)
        return [entry]

    def return_credit(self, entry: Unacked) -> None:
        """An unanswered delivery was answered: its consumer may get another."""
        consumer = entry.consumer
        if consumer is None:
            return
        consumer.unacked -= 1
        credit = self.credit
        credit.used -= 1
        if credit.limit != 0:
            self.unpark_all()
        elif consumer.parked:
            consumer.queue.unpark(consumer)

    def unpark_all(self) -> None:
        """Let every consumer of the channel that lacked credit try again."""
        for consumer in self.consumers.values():
            if consumer.parked:
                consumer.queue.unpark(consumer)

    def remove_consumer(self, tag: str) -> ChannelConsumer | None:
        """Take a consumer off its queue; its unanswered deliveries stay answerable."""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            consumer.cancelled = True
            consumer.queue.remove_consumer(consumer)
        return consumer

    def consumer_lost(self, consumer: ChannelConsumer) -> None:
        """The consumer's queue went: forget it and let the connection tell the client."""
        if self.consumers.pop(consumer.tag, None) is not None:
            consumer.cancelled = True
            self.connection.cancel_consumer(self, consumer.tag)

    def reply(self, payload: bytes, lsn: i64) -> None:
        """Send a method, once ``lsn`` is durable and everything held before it has gone."""
        if lsn <= self.connection.journal.durable and not self.held:
            self.out.method(self.wire, payload)
        else:
            frame = Outbox(OutboxSet())
            frame.method(self.wire, payload)
            self.hold(frame, lsn)

    def hold(self, frames: Outbox, lsn: i64) -> None:
        """Keep frames back until ``lsn`` is durable, and deliveries with them: nothing overtakes a reply."""
        self.held.append((lsn, b"".join(frames.take())))
        self.update_flow()
        self.connection.wait_for_journal(self)

    def update_flow(self) -> None:
        """Work out whether consumers of the channel may be served."""
        flowing = self.flow_active and not self.closing and not self.held
        if flowing and not self.credit.flowing:
            self.credit.flowing = True
            self.unpark_all()
        self.credit.flowing = flowing

    def release(self, durable: i64) -> bool:
        """Send held replies and confirms that became durable; True if some still wait."""
        held = self.held
        if held:
            while held and held[0][0] <= durable:
                self.out.raw(held.popleft()[1])
            self.update_flow()
        if held:
            return True
        return self.confirms.active and self.confirms.emit(self.out, self.wire, durable)

    def held_bytes(self) -> i64:
        """Bytes in no queue: content being received, publishes of an open transaction, replies held back."""
        total: i64 = len(self._header)
        for _, frames in self.held:
            total += len(frames)
        for part in self._parts:
            total += len(part)
        for part in self._folded:
            total += len(part)
        if self.transaction is not None:
            for publish in self.transaction.publishes:
                total += publish.message.size() + OVERHEAD
        return total

    def abandon_content(self) -> None:
        """Forget the message being published; the channel is closing."""
        self._expecting = EXPECT_METHOD
        self._parts = []
        self._folded = []
        self._route = None
        self._header = b""


def unknown_tag(tag: i64) -> BrokerError:
    """Build the 406 of a double or mistaken acknowledgement, in RabbitMQ's words."""
    number: int = tag
    if number < 0:  # on the wire it is unsigned
        number += 1 << 64
    return BrokerError(PRECONDITION_FAILED, "unknown delivery tag " + str(number))
