"""Delayed messages of one virtual host: which messages wait, where they wait, and where they go then.

A message is delayed at each exchange it is routed through that is of the type ``x-delayed-message`` or has
the option ``delayed`` or ``delay``.  It is routed on from there when its time has come, with the bindings of
that moment, and no exchange behind delays it once more: so whatever is bound to what, it waits once on each
way.  Leaving the hidden queue and entering the others is one step in the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties, parse_properties, without_headers
from harebell.content.table import find_entry
from harebell.engine.commands import DeclareDelays, DeleteDelays
from harebell.engine.dead_letter import DEATH, INVALID
from harebell.engine.delay import Wait, WaitingCopy
from harebell.engine.queues.delayed import DelayedQueue, DueSink
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.routing import (
    Routing,
    any_durable,
    any_journaling_all,
    enqueue,
    enqueue_again,
    traverse,
    with_histories,
)
from harebell.engine.schema_checks import asks_for_check, explained, problems_of
from harebell.errors import MalformedContent

if TYPE_CHECKING:
    from harebell.engine.broker import Broker
    from harebell.engine.exchanges.exchange import Exchange
    from harebell.engine.exchanges.recent_history import RecentHistoryExchange
    from harebell.engine.vhost import Vhost

DEATH_ENTRY: Final = bytes([len(DEATH)]) + DEATH

CARBON_COPIES: Final = ("CC", "BCC")


class _Way:
    """Where the latest message of an exchange went: the next one is often its like."""

    def __init__(self, exchange: Exchange, address: bytes, generation: i64, targets: list[Queue]) -> None:
        self.exchange = exchange
        self.address = address
        self.generation: i64 = generation
        self.targets = targets


class Delays(DueSink):
    """The delayed messages of one virtual host.

    Args:
        broker: journals the command that makes a hidden queue.
        vhost: where exchanges are looked up when a time has come.

    Attributes:
        queues: the hidden queues by the name of their exchange.
        routed: delayed messages that some queue took, or gave up as dead letters.
        dropped: those that none took: no exchange, no binding, or a schema.
    """

    def __init__(self, broker: Broker, vhost: Vhost) -> None:
        self.queues: dict[str, DelayedQueue] = {}
        self.routed: i64 = 0
        self.dropped: i64 = 0
        self._broker = broker
        self._vhost = vhost
        self._way: _Way | None = None

    def queue_of(self, exchange: str) -> DelayedQueue:
        """Give the hidden queue of an exchange, made if it is missing."""
        found = self.queues.get(exchange)
        if found is None:
            number = self._broker.next_queue_id()
            self._broker.commit(DeclareDelays(self._vhost.name, exchange, number), True)
            found = self.queues[exchange]
        return found

    def copies(self, message: Message, keys: list[str], waits: list[Wait]) -> tuple[WaitingCopy, ...]:
        """Make the copies of a message that wait.

        Args:
            message: as queues get it that take it at once.
            keys: what it is routed with.
            waits: the exchanges that delay it.
        """
        found: list[WaitingCopy] = []
        for wait in waits:
            queue = self.queue_of(wait.exchange.name)
            found.append(WaitingCopy(wait.copy(message, keys), queue, wait.milliseconds))
        return tuple(found)

    def count(self) -> i64:
        """Messages that wait."""
        total: i64 = 0
        for queue in self.queues.values():
            total += queue.ready_count()
        return total

    def count_of(self, exchange: str) -> i64:
        """Messages that an exchange delays."""
        found = self.queues.get(exchange)
        return 0 if found is None else found.ready_count()

    def forget_unused(self) -> None:
        """Let go of empty queues whose exchange is gone; called now and then."""
        for name in list(self.queues):
            if name not in self._vhost.exchanges and self.queues[name].ready_count() == 0:
                self._broker.commit(DeleteDelays(self._vhost.name, name), True)

    def due(self, queue: DelayedQueue, entries: list[Entry]) -> None:
        """Route messages whose time has come, and settle them where they waited."""
        broker = self._broker
        broker.journal.begin_transaction()
        try:
            for position, message, _ in entries:
                self._route(queue.name, message)
                queue.settle_dead(message, position)
        finally:
            broker.journal.end_transaction()

    def _route(self, name: str, waited: Message) -> None:
        vhost = self._vhost
        exchange = vhost.exchanges.get(name)
        if exchange is None:
            self.dropped += 1
            return
        try:
            properties = parse_properties(waited.header)
        except MalformedContent:
            properties = Properties(waited.header)
        header = waited.header
        keys = [waited.routing_key()]
        if properties.headers_start >= 0:
            header = _copied(properties, header, keys)
        message = Message(waited.address, header, waited.body, waited.persistent)
        message.arrived = self._broker.clock.wall
        way = self._way
        remembering: list[RecentHistoryExchange] = []
        plain = len(keys) == 1
        if (
            plain
            and way is not None
            and way.exchange is exchange
            and way.generation == vhost.generation
            and way.address == waited.address
        ):
            targets = way.targets
        else:
            routing = Routing()
            traverse(exchange, keys, properties, vhost.exchanges.get, routing)
            targets = with_histories(list(routing.queues))
            remembering = routing.remembering
            if plain and not routing.dynamic:
                self._way = _Way(exchange, waited.address, vhost.generation, targets)
        letter = properties.headers_start >= 0 and _is_dead_letter(properties)
        unfit = False
        dead = False
        if asks_for_check(targets):
            fitting, dead = self._fitting(message, properties, targets, letter)
            unfit = not fitting
            targets = fitting
        if not unfit:
            for each in remembering:
                each.remember(message, properties)
        exchange.tally.routed += len(targets)
        if not targets and not dead:
            self.dropped += 1
            exchange.tally.dropped += 1
            return
        self.routed += 1
        if properties.expiration_at >= 0:
            for target in targets:
                target.expect_deadlines()
        self._enqueue(message, targets, letter)

    def _fitting(
        self, message: Message, properties: Properties, targets: list[Queue], letter: bool
    ) -> tuple[list[Queue], bool]:
        """Hold a message against the schemas of its queues: nobody is left to be told that it does not fit.

        It is dead-lettered, at once even if that exchange delays, or dropped.  A dead letter that would be
        dropped is taken: dead letters are not lost for a schema.

        Returns:
            The queues that take it, and whether it was dead-lettered.
        """
        vhost = self._vhost
        problems = problems_of(vhost, self._broker.schemas.of(vhost.name), properties, message, targets)
        dead = False
        left: dict[Queue, None] = {}
        for queue, found in problems.items():
            sink = queue.dead_letters
            dies = sink is not None and queue.options.dead_letter_exchange is not None
            if letter and not dies:
                continue
            queue.invalid += 1
            queue.count_death(INVALID)
            left[queue] = None
            if queue.history is not None:
                left[queue.history] = None
            if dies and sink is not None:
                sink.dead_at_once(queue, _told(message, found), INVALID)
                dead = True
        return [queue for queue in targets if queue not in left], dead

    def _enqueue(self, message: Message, targets: list[Queue], letter: bool) -> None:
        """Put a message into its queues; a full one must not refuse it: its publisher was told it is safe.

        Args:
            letter: True if it is a dead letter: the queue that gave it up knows its id, and takes it back.
        """
        journal = self._broker.journal
        if any_journaling_all(targets):
            message.persistent = True
        full: list[Queue] = []
        for target in targets:
            if target.plain:
                continue
            if letter or (target.refuses(message) and not target.duplicate(message)):
                full.append(target)
        if full:
            again = Message(message.address, message.header, message.body, message.persistent)
            again.arrived = message.arrived
            enqueue_again(again, full, journal)
            targets = [target for target in targets if target not in full]
        if targets:
            enqueue(message, targets, any_durable(targets), journal)


def declare_delays(broker: Broker, vhost: Vhost, command: DeclareDelays) -> None:
    """Make the hidden queue of an exchange; one with that number stays (recovery repeats a snapshot's)."""
    delays = vhost.delays
    assert delays is not None
    existing = delays.queues.get(command.exchange)
    if existing is not None:
        if existing.id == command.queue_id:
            return
        existing.drop_all()
    delays.queues[command.exchange] = DelayedQueue(
        command.queue_id,
        command.exchange,
        broker.dispatcher.residency.pager,
        broker.journal,
        broker.clock,
        broker.expiry,
        delays,
    )


def delete_delays(vhost: Vhost, exchange: str) -> None:
    """Remove the hidden queue of an exchange, with what waits in it."""
    if vhost.delays is not None:
        queue = vhost.delays.queues.pop(exchange, None)
        if queue is not None:
            queue.drop_all()


def _told(message: Message, found: str) -> Message:
    try:
        return explained(message, found)
    except MalformedContent:
        # It was accepted once, so it travels on; there is no place in it for an explanation.
        return message


def _is_dead_letter(properties: Properties) -> bool:
    raw = properties.raw_headers()
    return raw.find(DEATH_ENTRY) >= 0 and find_entry(raw, DEATH) is not None


def _copied(properties: Properties, header: bytes, keys: list[str]) -> bytes:
    """Add the keys of CC and BCC, checked when it was published, and give the header without BCC."""
    raw = properties.raw_headers()
    if raw.find(b"\x02CC") < 0 and raw.find(b"\x03BCC") < 0:
        return header
    headers = properties.headers()
    for name in CARBON_COPIES:
        value = headers.get(name)
        if isinstance(value, list):
            for key in value:
                if isinstance(key, str) and key not in keys:
                    keys.append(key)
    return without_headers(header, [b"BCC"]) if "BCC" in headers else header
