"""The engine's root: virtual hosts, the journal, the dispatcher and the alarms of one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from harebell.content.message import OVERHEAD
from harebell.content.table import Table
from harebell.engine.alarms import Alarms
from harebell.engine.commands import (
    ChangeAccess,
    ClearParameter,
    Command,
    CreateVhost,
    DeclareDelays,
    DeclareQueue,
    DeclareWindow,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    NoteFired,
    SetParameter,
    encode,
)
from harebell.engine.counters import Counters
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.message_uids import MessageUids
from harebell.engine.metadata import apply, delete_queue
from harebell.engine.queues.delayed import DelayedQueue
from harebell.engine.queues.queue import Queue
from harebell.engine.schemas import Schemas
from harebell.engine.sessions import Sessions
from harebell.engine.vhost import DEFAULT_VHOST, Vhost
from harebell.errors import NOT_ALLOWED, BrokerError
from harebell.paging import KeptChunk, Moved, Page, Pager, Place
from harebell.ports import AccessControl, Clock, Journal
from harebell.streaming import NoStreams, StreamLogs

OF_NO_VHOST = CreateVhost | DeleteVhost | SetParameter | ClearParameter | ChangeAccess | NoteFired
"""Commands that change nothing within one virtual host."""

Pair = tuple[int, int]
"""A queue id and a position."""


Done = Callable[[int, str, str, str, str], None]


def _not_told(text: str) -> None:
    """Nobody is told."""


def _not_noted(session_id: int, user: str, action: str, vhost: str, name: str) -> None:
    """Nobody keeps account of who did what."""


class Recovery(Protocol):
    """What recovery found, as the engine sees it."""

    def deadlines(self, queue_id: int, limited: bool, ordered: bool) -> Iterable[tuple[int, int, int]]:
        """Give position, arrival and expiration (-1: none) of messages whose deadline is to be noted.

        Args:
            limited: True if messages without an expiration have a deadline, too.
            ordered: True if of neighbours without an expiration only the last matters.
        """

    def waiting(self, queue_id: int, now: int) -> Iterable[tuple[int, int, int, int, int, int]]:
        """Give what waits for a retry, which is in no page then; before ``pages``.

        Args:
            now: unix milliseconds.

        Returns:
            Position, location, segment, share, time and returns (``paging.RETURN``) of each.
        """

    def pages(self, queue_id: int, highest: int, absent: int) -> dict[int, list[Page]]:
        """Give the messages of a queue by priority."""

    def timed(self, queue_id: int) -> Iterable[tuple[int, int, int, int, int]]:
        """Give position, location, segment, share and arrival of a queue's messages, instead of pages."""

    def chunks(self, queue_id: int) -> list[KeptChunk]:
        """Give the chunks of a stream, oldest first."""


class Limits:
    """Bounds and defaults of the engine, all from settings.

    Args:
        max_message_size: largest body, bytes.
        max_transaction_size: most header and body bytes published in one transaction.
        max_queues: queues in one virtual host; 0 is unlimited.
        max_exchanges: exchanges in one virtual host; 0 is unlimited.
        max_channels: channels on all connections together; 0 is unlimited.
        consumer_timeout: milliseconds a delivery may stay unanswered; 0 is for ever.
        default_queue_type: type of a queue declared without ``x-queue-type``.
        continue_death_history: whether dead-lettering continues an ``x-death`` that a client published.
        count_every_return: whether returns count that say nothing of a failure, such as ``basic.nack``.
    """

    def __init__(
        self,
        max_message_size: int = 16 * 1024 * 1024,
        max_transaction_size: int = 256 * 1024 * 1024,
        max_queues: int = 0,
        max_exchanges: int = 0,
        consumer_timeout: int = 1_800_000,
        default_queue_type: str = "classic",
        continue_death_history: bool = True,
        count_every_return: bool = True,
        max_channels: int = 0,
    ) -> None:
        self.max_message_size = max_message_size
        self.max_transaction_size = max_transaction_size
        self.max_queues = max_queues
        self.max_exchanges = max_exchanges
        self.consumer_timeout = consumer_timeout
        self.default_queue_type = default_queue_type
        self.continue_death_history = continue_death_history
        self.count_every_return = count_every_return
        self.max_channels = max_channels


class Broker:
    """Everything one node knows; owned by one event loop, so without locks.

    Attributes:
        node_name: what the node is called where it is shown.
        counters: what the node counts.
        schemas: what messages have to look like, by virtual host; follows the parameters.
        uids: gives messages ids (``x-message-uid``).
        parameters: JSON values by virtual host, component and name; the first two are empty for global ones.
        fired: when a schedule was fired the last time, by virtual host and name.
        schedules_changed: True until somebody who follows parameters that are schedules did so.
        done: told the id of the connection (0: none), user, action, virtual host and object of what clients
            changed that lasts.
        warned: told in words what an operator should know of.
        policies_changed: True while queues and exchanges have yet to follow a change of policies.
        own_timeouts: True once a queue or a consumer had an acknowledgement timeout of its own.

    Args:
        access: who may do what.
        journal: where durable changes go.
        limits: bounds from the settings.
        new_token: gives an unguessable name part (server-named queues, consumer tags, reply-to).
        server_properties: what ``connection.start`` tells clients.
        clock: the time, set by the rim.
        pager: where messages go that do not fit in memory; None to keep all in memory.
        streams: keeps the logs of streams; None to have none.
    """

    def __init__(
        self,
        access: AccessControl,
        journal: Journal,
        limits: Limits,
        new_token: Callable[[], str],
        server_properties: Table,
        clock: Clock | None = None,
        pager: Pager | None = None,
        streams: StreamLogs | None = None,
    ) -> None:
        self.streams = streams or NoStreams()
        self.access = access
        self.journal = journal
        self.limits = limits
        self.new_token = new_token
        self.server_properties = server_properties
        self.clock = clock or Clock()
        self.dispatcher = Dispatcher(pager)
        self.expiry = Expiry(self.clock)
        self.alarms = Alarms()
        self.sessions = Sessions()
        self.vhosts: dict[str, Vhost] = {}
        self.node_name = "rabbit@localhost"
        self.counters = Counters()
        self.parameters: dict[tuple[str, str, str], str] = {}
        self.fired: dict[tuple[str, str], int] = {}
        self.schedules_changed = True
        self.schemas = Schemas()
        self.done: Done = _not_noted
        self.warned: Callable[[str], None] = _not_told
        self.uids = MessageUids()
        self.not_replayed: list[str] = []
        self.policies_changed = False
        self.own_timeouts = False
        self._last_queue_id = 0
        apply(self, CreateVhost(DEFAULT_VHOST))

    def ensure_vhost(self, name: str) -> None:
        """Create a virtual host unless it is there."""
        if name not in self.vhosts:
            self.commit(CreateVhost(name), durable=True)

    def next_queue_id(self) -> int:
        """Give the journal's number of a new queue; never given twice on a node."""
        self._last_queue_id += 1
        return self._last_queue_id

    def numbers_used(self, numbers: Iterable[int]) -> None:
        """Give none of these numbers again: what was deleted may have left messages in the log."""
        self._last_queue_id = max(self._last_queue_id, *numbers, 0)

    def vhost(self, name: str) -> Vhost:
        """Look up a virtual host.

        Raises:
            BrokerError: NOT_ALLOWED if there is none (``connection.open`` to a missing one is 530).
        """
        found = self.vhosts.get(name)
        if found is None:
            raise BrokerError(NOT_ALLOWED, f"vhost {name} not found")
        return found

    def commit(self, command: Command, durable: bool) -> int:
        """Apply a checked command, journal it if it is durable, and return the lsn its reply waits for.

        Applied first: what cannot be applied must not be in the journal, where every start would meet it.
        """
        encoded = encode(command) if durable else b""
        apply(self, command)
        lsn = int(self.journal.command(encoded)) if durable else 0
        if isinstance(command, OF_NO_VHOST):
            return lsn
        return max(lsn, self._journal_auto_deleted(self.vhosts[command.vhost]))

    def _journal_auto_deleted(self, vhost: Vhost) -> int:
        """Journal the durable exchanges that just went with their last binding.

        Recovery could not tell: bindings of transient queues and exchanges are not in the journal.
        """
        lsn = 0
        while vhost.auto_deleted:
            lsn = int(self.journal.command(encode(DeleteExchange(vhost.name, vhost.auto_deleted.pop(0)))))
        return lsn

    def replay(self, command: Command) -> None:
        """Apply a command that recovery read; one that no longer fits is passed over.

        A snapshot may hold what a command repeats, so declaring what is there and deleting what is not are
        no errors here.
        """
        if isinstance(command, DeclareQueue | DeclareWindow | DeclareDelays):
            self._last_queue_id = max(self._last_queue_id, command.queue_id)
        vhost = None if isinstance(command, OF_NO_VHOST) else self.vhosts.get(command.vhost)
        if vhost is not None:
            vhost.replaying = True
        try:
            apply(self, command)
        except (KeyError, BrokerError):
            return
        except OSError:
            # A stream that cannot be read now must not be taken for one that does not exist.
            raise
        except Exception as error:
            # One command must never keep a node from starting; the operator is told.
            self.not_replayed.append(f"{command}: {error!r}")
        finally:
            if vhost is not None:
                vhost.replaying = False

    def restore(self, store: Recovery, highest: dict[int, int]) -> int:
        """Give recovered messages to their queues; those of deleted queues are dropped.

        Args:
            store: knows what is alive.
            highest: the highest position each queue ever gave.

        Returns:
            How many messages were restored.
        """
        self.numbers_used(highest)
        count = 0
        for queue in self.keepers():
            if isinstance(queue, DelayedQueue):
                queue.restore_timed(store.timed(int(queue.id)))
                queue.restore({}, highest.get(queue.id, 0) + 1)
                count += int(queue.ready_count())
                continue
            limited = bool(queue.options.message_ttl >= 0)
            for at, arrived, expiration in store.deadlines(int(queue.id), limited, queue.ordered):
                queue.restore_deadline(arrived, expiration, at)
            queue.restore_waiting(store.waiting(int(queue.id), int(self.clock.wall)))
            chunks = store.chunks(int(queue.id))
            if chunks:
                queue.restore_chunks(chunks)
            levels = store.pages(int(queue.id), int(queue.highest_level), int(queue.absent_level))
            queue.restore(levels, highest.get(queue.id, 0) + 1)
            count += int(queue.ready_count() + queue.delayed_count())
        return count

    def queues(self) -> Iterator[Queue]:
        """Go through the queues of all virtual hosts."""
        for vhost in self.vhosts.values():
            yield from vhost.queues.values()

    def keepers(self) -> Iterator[Queue]:
        """Go through whatever the journal knows by a number: queues, windows of ids, delayed messages."""
        for vhost in self.vhosts.values():
            yield from vhost.queues.values()
            yield from vhost.windows.values()
            if vhost.delays is not None:
                yield from vhost.delays.queues.values()

    def relieve(self) -> None:
        """Look whether memory is short although no queue is deep; called now and then."""
        residency = self.dispatcher.residency
        residency.forget_shallow()
        if residency.press():
            for queue in self.keepers():
                queue.offer()
        for vhost in self.vhosts.values():
            if vhost.delays is not None:
                vhost.delays.forget_unused()

    def locate(self, pairs: set[Pair], segment: int = -1) -> dict[Pair, Place]:
        """Find what is alive among some messages: ready, or delivered and not answered.

        Args:
            pairs: queue id and position of each.
            segment: number of the journal's segment their records are in; -1 if it is not known.
        """
        found: dict[Pair, Place] = {}
        for session in self.sessions:
            for queue_id, position, message, returns in session.unacked_messages(segment):
                if (queue_id, position) in pairs:
                    found[(queue_id, position)] = Place(message, int(message.location), returns)
        asked: dict[int, list[int]] = {}
        for queue_id, position in sorted(pairs):
            asked.setdefault(queue_id, []).append(position)
        for queue in self.keepers():
            wanted = asked.get(queue.id)
            if wanted is not None:
                for position, place in queue.locate(wanted):
                    found[(int(queue.id), position)] = place
        return found

    def sync_streams(self, segment: int) -> bool:
        """Have files of streams synced for which the journal keeps segments before this; True if any does."""
        waits = False
        for queue in self.keepers():
            if queue.keeps_all and queue.sync_before(segment):
                waits = True
        return waits

    def relocate(self, moves: dict[int, list[Moved]], segment: int, to_segment: int) -> dict[int, list[int]]:
        """Note where the records of messages that are on disk only were copied.

        Args:
            moves: by queue id, what moved, by ascending position.
            segment, to_segment: numbers of the journal's segments it moved between.

        Returns:
            By queue id, the positions whose location changed; the others are on disk no more.
        """
        changed: dict[int, list[int]] = {}
        for queue in self.keepers():
            moved = moves.get(queue.id)
            if moved:
                changed[int(queue.id)] = queue.relocate(moved, segment, to_segment)
        return changed

    def session_closed(self, session_id: int, vhost: Vhost) -> None:
        """Delete the exclusive queues of a connection that ended."""
        vhost.connections -= 1
        for name in list(vhost.exclusives.get(session_id, ())):
            delete_queue(vhost, vhost.queues[name])
            vhost.topology_changed()
        self._journal_auto_deleted(vhost)

    def expire_queues(self) -> None:
        """Delete queues that were not used for their ``x-expires``; called by the clock's tick."""
        now = self.clock.now
        for vhost in self.vhosts.values():
            for queue in list(vhost.expiring):
                if queue.consumer_count() == 0 and now - queue.last_used >= queue.expires:
                    self.delete_queue_now(vhost, queue.name)

    def delete_queue_now(self, vhost: Vhost, name: str) -> int:
        """Delete a queue by a rule of its own: expiry or auto-delete."""
        queue = vhost.queues[name]
        return self.commit(DeleteQueue(vhost.name, name), queue.durable and not queue.owner)

    def held_bytes(self) -> int:
        """Estimate the memory that queued and unacked messages take."""
        pager = self.dispatcher.residency.pager
        total = int(pager.used + pager.pending)
        for vhost in self.vhosts.values():
            for queue in vhost.queues.values():
                total += queue.unacked_bytes + OVERHEAD * queue.unacked_count
                if queue.keeps_all and self.streams.in_memory:
                    total += queue.ready_octets()
            for replies in vhost.reply_queues.values():
                total += replies.ready_octets()
        return total
