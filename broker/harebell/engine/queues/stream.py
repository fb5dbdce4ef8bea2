"""Streams: a log that each consumer reads at its own place, and that nothing is taken from.

What is published goes through the journal like the messages of any queue, its offset as position.  It is
encoded at once into the open chunk; when the journal is durable behind a chunk, readers may have it and the
stream's log keeps it (see ``streaming.py``).  Acknowledgements only return credit, as in RabbitMQ over
AMQP 0-9-1, and say how far a named consumer is.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import parse_properties
from harebell.content.scanning import FLAGS_AT, HAS_HEADERS
from harebell.content.table import Table, find_entry
from harebell.engine.arguments import (
    EXPECTED_OFFSET,
    SINGLE_ACTIVE_CONSUMER,
    STREAM_CONSUMER,
    STREAM_OFFSET,
)
from harebell.engine.consumers import Consumer, Unacked
from harebell.engine.deadlines import NEVER
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.options import QueueOptions
from harebell.engine.queues.accounts import STORED, Accounts
from harebell.engine.queues.cursor import (
    AT_END,
    READING,
    READY,
    STANDBY,
    WITHOUT_CREDIT,
    Cursor,
    Reading,
    Tracking,
    filter_of,
)
from harebell.engine.queues.deduplication import Deduplication, window_of
from harebell.engine.queues.intake import Intake
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.reader_group import ReaderGroup, partition_of
from harebell.engine.queues.stream_offset import begin_time, check_offset, first_offset
from harebell.engine.queues.stream_restore import StreamRestore
from harebell.errors import NOT_IMPLEMENTED, PRECONDITION_FAILED, BrokerError
from harebell.paging import KeptChunk, Page, Pager
from harebell.ports import Clock, Journal
from harebell.streaming import StreamLog, StreamReader

EXPECTED_KEY: Final = EXPECTED_OFFSET.encode()

LEAST_SHARE: Final = 64
"""Messages one reader may get in its turn, however many readers there are."""

RETENTION_MS: Final = 5000
"""Milliseconds between two looks at the age of segments."""

OFFSETS_MS: Final = 200
"""Milliseconds for which acknowledgements of named consumers may gather before they are journaled."""


class StreamReaders(StreamReader):
    """Tells a queue what its log tells."""

    def __init__(self, queue: StreamQueue) -> None:
        self._queue = queue

    def block_arrived(self) -> None:
        """A block was read."""
        self._queue.block_arrived()

    def stored(self, following: i64) -> None:
        """The log's files hold all before an offset."""
        self._queue.stored(following)


class StreamQueue(Queue):
    """A stream.

    Args:
        vhost: name of its virtual host.
        log: keeps it.
        pager: reads what recovery finds in the journal only.

    Attributes:
        log: keeps it.
        missing: offsets before the end that recovery found neither in the files nor in the journal.
        retains_for: the queue whose messages it retains, if it is there for that.
        accounts: how far named consumers are.
        offsets: those of the accounts: by name of a consumer, the first offset it did not acknowledge.
    """

    def __init__(
        self,
        queue_id: i64,
        vhost: str,
        name: str,
        arguments: Table,
        log: StreamLog,
        dispatcher: Dispatcher,
        journal: Journal,
        clock: Clock,
        expiry: Expiry,
        pager: Pager,
    ) -> None:
        super().__init__(queue_id, name, "stream", True, 0, False, arguments)
        self.log = log
        self.plain = False
        self.keeps_all = True
        self.journals_all = True
        self.next_position = log.next
        self.accounts = Accounts(journal, vhost, name)
        self.offsets = self.accounts.offsets
        self._vhost = vhost
        self.missing: i64 = 0
        self.retains_for: Queue | None = None
        self._intake = Intake(self, journal, dispatcher)
        self.claims = self._intake.claims
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = clock
        self._expiry = expiry
        self._pager = pager
        self._kept: list[KeptChunk] = []
        self._members: list[Consumer] = []
        self._cursors: dict[Consumer, Cursor] = {}
        self._leaving: dict[Consumer, Cursor] = {}
        self._due: list[Cursor] = []
        self._gone_at: i64 = -1
        self._log_deleted: bool = False
        self._groups: dict[str, ReaderGroup] = {}
        self._deduplication: Deduplication | None = None
        log.reader = StreamReaders(self)

    # -- publishing

    def push(self, message: Message) -> bool:
        """Take a message."""
        self.take_in(message)
        return True

    def duplicate(self, message: Message) -> bool:
        """Tell whether one of the last messages had the same id (``x-deduplication-window``).

        A stream that retains what a queue gets leaves out what the queue leaves out.
        """
        if self.retains_for is not None:
            return self.retains_for.duplicate(message)
        known = self._deduplication
        return known is not None and known.knows(message.header, self._clock.wall)

    def behind_all(self) -> i64:
        """Give the lsn behind everything taken; 0 if all of it is durable."""
        return self._intake.behind_all()

    def refuses(self, message: Message) -> bool:
        """Tell whether a publisher expected another offset than the next (``x-expected-offset``).

        A stream that retains what a queue gets refuses what the queue refuses.
        """
        if self.retains_for is not None:
            return self.retains_for.refuses(message)
        header = message.header
        return bool(header[FLAGS_AT] & HAS_HEADERS) and not self._expected(header)

    def _expected(self, header: bytes) -> bool:
        properties = parse_properties(header)
        if find_entry(properties.raw_headers(), EXPECTED_KEY) is None:
            return True
        expected = properties.headers().get(EXPECTED_OFFSET)
        return type(expected) is int and expected == self.next_position

    def take_alone(self, message: Message) -> i64:
        """Append a message that only this stream takes; the journal gets it in a chunk if it may."""
        offset = self._next_offset(message)
        # The latest arrival: a reader from a time on shall miss nothing that came later.
        return self._intake.append(offset, message, self._clock.wall)

    def take_in(self, message: Message) -> None:
        """Append a message; journal it if nobody did, for a stream keeps transient ones too."""
        offset = self._next_offset(message)
        if message.persistent:
            self._intake.add(offset, message, self._clock.wall)
            return
        # A copy: other queues of the message have nothing in the journal.
        kept = Message(message.address, message.header, message.body, True)
        kept.arrived = message.arrived
        self._intake.append(offset, kept, self._clock.wall)

    def _next_offset(self, message: Message) -> i64:
        known = self._deduplication
        if known is not None:
            known.remember(message.header, self._clock.wall)
        offset: i64 = self.next_position
        self.next_position = offset + 1
        self.published += 1
        return offset

    def _commit(self) -> None:
        """Hand chunks to the log behind which the journal is durable."""
        if self._intake.hand_over(self.log):
            self._wake(AT_END)
            limit: i64 = self.options.max_length_bytes
            if limit >= 0 and self.log.octets > limit:
                self._retain()

    def stored(self, following: i64) -> None:
        """The log's own files hold all before an offset: the journal may forget it, but not the offset."""
        if following > self.offsets.get(STORED, 0):
            self.accounts.keep(STORED, following)
        self.claims.release(following)

    # -- consuming

    def check_consumer(self, no_ack: bool, limit: i64, arguments: Table) -> None:
        """Refuse a consumer that a stream cannot serve (observed on RabbitMQ).

        Raises:
            BrokerError: NOT_IMPLEMENTED for no-ack, PRECONDITION_FAILED without a prefetch limit of its own.
        """
        where = f"queue '{self.name}' in vhost '{self._vhost}'"
        if limit == 0:
            raise BrokerError(PRECONDITION_FAILED, f"consumer prefetch count is not set for '{where}'")
        if no_ack:
            raise BrokerError(
                NOT_IMPLEMENTED, f"automatic acknowledgement not supported by stream queues {where}"
            )
        check_offset(arguments, self.name, self._vhost)
        self.accounts.check(arguments)

    def add_consumer(self, consumer: Consumer) -> None:
        """Begin where the consumer asks, else where its name is kept, else behind the last message."""
        arguments = consumer.arguments
        cursor = Cursor(consumer, 0, filter_of(arguments))
        name = arguments.get(STREAM_CONSUMER)
        if isinstance(name, str):
            cursor.name = name
        begins = self._begin(arguments, cursor.name)
        cursor.offset = begins
        since: i64 = begin_time(arguments.get(STREAM_OFFSET), self._clock.wall)
        # A time to come means what comes, as on RabbitMQ.
        cursor.since = since if since <= self._clock.wall else 0
        consumer.parked = False
        self._members.append(consumer)
        self._cursors[consumer] = cursor
        if cursor.name and arguments.get(SINGLE_ACTIVE_CONSUMER) is True:
            group = self._groups.get(cursor.name)
            if group is None:
                group = self._groups[cursor.name] = ReaderGroup(partition_of(self.name))
                self.accounts.open(cursor)
            group.join(cursor)
            self._balance(group, cursor.name)
            return
        if cursor.name:
            cursor.tracking = Tracking(cursor.offset)
            self.accounts.open(cursor)
        self._list(cursor)

    def _begin(self, arguments: Table, name: str) -> int:
        if STREAM_OFFSET not in arguments and name in self.offsets:
            return self.offsets[name]
        asked = arguments.get(STREAM_OFFSET)
        if asked is None or asked == "next":
            # Behind what was published before, although the journal may not be durable for it yet.
            return int(self.next_position)
        return first_offset(asked, self.log, self._clock.wall)

    def _balance(self, group: ReaderGroup, name: str) -> None:
        """Let the member of a group whose turn it is go on where the group is."""
        if group.active is not None:
            self.accounts.note(group.active)
        cursor = group.balance(self.offsets[name])
        if cursor is not None:
            self._list(cursor)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Forget a reader; what it acknowledged is kept under its name."""
        cursor = self._cursors.pop(consumer, None)
        if cursor is not None:
            self._members.remove(consumer)
            cursor.leave()
            if self.deleted:
                return
            self.accounts.note(cursor)
            if cursor.tracking is not None and cursor.tracking.awaits():
                # A consumer that is cancelled first and acknowledges then has done its work, too.
                self._leaving[consumer] = cursor
            group = self._groups.get(cursor.name)
            if group is not None and cursor in group.members:
                group.leave(cursor)
                self._balance(group, cursor.name)
                if not group.members:
                    del self._groups[cursor.name]
        self.last_used = self._clock.now

    def unpark(self, consumer: Consumer) -> None:
        """Credit came back: let the consumer go on."""
        consumer.parked = False
        cursor = self._cursors.get(consumer)
        if cursor is not None and cursor.state == WITHOUT_CREDIT:
            self._list(cursor)

    def block_arrived(self) -> None:
        """Something was read: whoever waits for the disk may go on."""
        self._wake(READING)

    def _wake(self, state: i64) -> None:
        for cursor in self._cursors.values():
            if cursor.state == state:
                self._list(cursor)

    def _list(self, cursor: Cursor) -> None:
        cursor.state = READY
        if not cursor.listed:
            cursor.listed = True
            self._due.append(cursor)
        if not self.scheduled:
            self._dispatcher.schedule(self)

    def dispatch(self, budget: i64) -> bool:
        """Let readers have what is there, each in its turn; True if more could go at once."""
        if self.deleted:
            self._delete_log()
            return False
        self._commit()
        due = self._due
        if not due:
            return False
        self._due = []
        share: i64 = max(LEAST_SHARE, budget // len(due))
        for cursor in due:
            cursor.listed = False
        for cursor in due:
            if cursor.consumer.cancelled or cursor.state == STANDBY:
                continue
            before: i64 = cursor.consumer.unacked
            self.unacked_bytes += cursor.run(self.log, share)
            sent: i64 = cursor.consumer.unacked - before
            self.delivered += sent
            self.unacked_count += sent
            if cursor.state == READY:
                self._list(cursor)
        return len(self._due) > 0

    def settle(self, entry: Unacked) -> None:
        """Note how far a named consumer is; the message stays."""
        self.acked += 1
        self.have_answers().add(self._clock.now - entry.delivered_at, 1)
        self._answered(entry)
        consumer = entry.consumer
        if consumer is None:
            return
        cursor = self._cursors.get(consumer)
        if cursor is None and self._leaving:
            self._left(consumer, entry.position)
        elif cursor is not None and cursor.tracking is not None:
            cursor.tracking.acknowledged(entry.position)
            if cursor.state == STANDBY and not cursor.tracking.awaits():
                self._balance(self._groups[cursor.name], cursor.name)
            if self.wakes_at == NEVER or self.wakes_at > self._clock.wall + OFFSETS_MS:
                self._expiry.wake(self, self._clock.wall + OFFSETS_MS)

    def _answered(self, entry: Unacked) -> None:
        self.unacked_count -= 1
        self.unacked_bytes -= entry.message.size()

    def _left(self, consumer: Consumer, offset: i64) -> None:
        cursor = self._leaving.get(consumer)
        if cursor is not None and cursor.tracking is not None:
            cursor.tracking.acknowledged(offset)
            if not cursor.tracking.awaits():
                del self._leaving[consumer]
                if not self.deleted:
                    self.accounts.note(cursor)

    def requeue(self, entry: Unacked, failed: bool) -> None:
        """The message stays; its reader has gone, or will not get it again."""
        self.requeued += 1
        self._answered(entry)
        consumer = entry.consumer
        if consumer is not None and self._leaving:
            cursor = self._leaving.pop(consumer, None)
            if cursor is not None and not self.deleted:
                self.accounts.note(cursor)

    def readings(self) -> list[Reading]:
        """List how far the readers are."""
        return self.accounts.readings(self._cursors.values(), int(self.log.first), int(self.log.next))

    # -- upkeep

    def apply_options(self, options: QueueOptions) -> None:
        """Go by other limits from now on."""
        super().apply_options(options)
        self._deduplicate()
        self.log.compact_by(options.compact_key or "")
        self._retain()

    def _deduplicate(self) -> None:
        """Remember as many ids as the options say; those of another header than before are not known."""
        window: i64 = window_of(self.options.deduplication_window, self.options.deduplication_interval)
        header = self.options.deduplication_header or ""
        known = self._deduplication
        if window <= 0:
            known = None
        elif known is None or known.header != header:
            known = Deduplication(window, header)
        elif known.window != window:
            known = known.resized(window)
        if known is not None:
            known.forget_after(self.options.deduplication_interval, self._clock.wall)
        self._deduplication = known

    def expire_messages(self) -> i64:
        """Journal the offsets of named consumers, delete what is too old, and return when to look again."""
        for cursor in self._cursors.values():
            self.accounts.note(cursor)
        self._retain()
        return self._clock.wall + RETENTION_MS if self.options.max_age >= 0 else NEVER

    def _retain(self) -> None:
        options = self.options
        age: i64 = options.max_age
        if age >= 0:
            self.log.retain(options.max_length_bytes, self._clock.wall - age)
            if self.wakes_at == NEVER:
                self._expiry.wake(self, self._clock.wall + RETENTION_MS)
        elif options.max_length_bytes >= 0:
            self.log.retain(options.max_length_bytes, -1)

    def sync_before(self, segment: i64) -> bool:
        """Have the log's files synced if the journal keeps an older segment for them; True if it does."""
        if self.claims.oldest() < segment:
            self._commit()
            self.log.sync()
            return True
        return False

    def restore_chunks(self, chunks: list[KeptChunk]) -> None:
        """Note the chunks that the journal holds."""
        self._kept = chunks

    def restore(self, levels: dict[int, list[Page]], next_position: i64) -> None:
        """Append what the journal holds and the log's files do not."""
        self.log.settle_end(self.offsets.get(STORED, 0))
        self.missing = max(0, self.offsets.get(STORED, 0) - self.log.next)
        found = StreamRestore(self.log, self._pager, self.claims, self._kept)
        self._kept = []
        for pages in levels.values():
            for page in pages:
                found.page(page)
        found.finish()
        self.missing += found.lost
        self.next_position = max(self.log.next, self.offsets.get(STORED, 0))
        if next_position > 1 and next_position > self.next_position:
            self.next_position = next_position
        known = self._deduplication
        if known is not None:
            for message in self.log.since(max(self.log.first, self.log.next - known.window)):
                known.remember(message.header, message.arrived)

    def drop_all(self) -> None:
        """The stream is deleted; its files go when the journal is durable behind the command."""
        self.deleted = True
        self._deduplication = None
        self._intake.drop()
        self._dispatcher.schedule(self)

    def _delete_log(self) -> None:
        if self._gone_at < 0:
            self._gone_at = self._journal.appended
        if self._gone_at > self._journal.durable:
            self._dispatcher.wait_for_journal(self)
        elif not self._log_deleted:
            self._log_deleted = True
            self.log.delete()

    # -- what channels and listings ask

    def ready_count(self) -> i64:
        """Messages kept."""
        return max(0, self.log.next - self.log.first)

    def ready_octets(self) -> i64:
        """Octets of its segments; none of them is in memory for long."""
        return self.log.octets

    def peek(self, count: i64) -> list[tuple[Message, bool]]:
        """List the first messages kept, waiting for the disk; none counts as delivered before."""
        found: list[tuple[Message, bool]] = []
        for message in self.log.since(self.log.first):
            if len(found) >= count:
                break
            found.append((message, False))
        return found

    def consumer_count(self) -> i64:
        """Readers."""
        return len(self._members)

    def consumers(self) -> list[Consumer]:
        """The readers, in order of arrival."""
        return self._members

    def can_deliver_now(self) -> bool:
        """A stream has what it takes; ``immediate`` asks for a reader, of a history that of its queue."""
        return self.retains_for is None and len(self._members) > 0

    def refuse_return(self) -> None:
        """Refuse a nack or a reject.

        Raises:
            BrokerError: NOT_IMPLEMENTED.
        """
        raise self._unsupported("basic.nack and basic.reject")

    def _unsupported(self, what: str) -> BrokerError:
        return BrokerError(
            NOT_IMPLEMENTED,
            f"{what} not supported by stream queues queue '{self.name}' in vhost '{self._vhost}'",
        )

    def get(self, no_ack: bool, tag: i64, now: i64) -> Unacked | None:
        """Refuse: a stream has no first message to take.

        Raises:
            BrokerError: NOT_IMPLEMENTED.
        """
        raise self._unsupported("basic.get")

    def purge(self) -> i64:
        """Refuse, as RabbitMQ does.

        Raises:
            BrokerError: NOT_IMPLEMENTED.
        """
        raise self._unsupported("queue.purge")
