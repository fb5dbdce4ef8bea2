"""Delayed messages of one virtual host: which messages wait, where they wait, and where they go then.

A message is delayed at the exchange it is published or dead-lettered to, if that is of the type
``x-delayed-message`` or has the option ``delayed`` or ``delay``.  It is routed when its time has come, with
the bindings of that moment.  Leaving the hidden queue and entering the others is one step in the journal.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties, parse_properties, with_header, without_headers
from harebell.content.table import Timestamp, encode_value, find_entry
from harebell.engine.arguments import DELAY, DELIVER_AT
from harebell.engine.commands import DeclareDelays, DeleteDelays
from harebell.engine.dead_letter import DEATH
from harebell.engine.options import ExchangeOptions
from harebell.engine.queues.delayed import DelayedQueue, DueSink
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.routing import (
    Routing,
    any_durable,
    any_keeping_all,
    enqueue,
    enqueue_again,
    traverse,
    with_histories,
)
from harebell.errors import MalformedContent

if TYPE_CHECKING:
    from harebell.engine.broker import Broker
    from harebell.engine.vhost import Vhost

LONGEST: Final = 1 << 50
"""Milliseconds of the longest delay, and the latest time: some ten thousand years."""

_DELAY_KEY: Final = DELAY.encode()
_DELAY_ENTRY: Final = bytes([len(_DELAY_KEY)]) + _DELAY_KEY
DEATH_ENTRY: Final = bytes([len(DEATH)]) + DEATH
_DELIVER_AT_KEY: Final = DELIVER_AT.encode()
_DELIVER_AT_ENTRY: Final = bytes([len(_DELIVER_AT_KEY)]) + _DELIVER_AT_KEY

CARBON_COPIES: Final = ("CC", "BCC")


class Delay:
    """For how long a message is delayed.

    Attributes:
        milliseconds: from now on; 0 if it is delayed until a time.
        until: unix milliseconds when it is to be routed.
        header: its content header from now on.
    """

    def __init__(self, milliseconds: i64, until: i64, header: bytes) -> None:
        self.milliseconds: i64 = milliseconds
        self.until: i64 = until
        self.header = header


def delay_of(properties: Properties, header: bytes, options: ExchangeOptions, now: i64) -> Delay | None:
    """Tell for how long an exchange delays a message; None if it does not.

    The header ``x-delay`` counts if it is a positive number, in any form a newer plugin takes, and comes out
    negative (so the plugin marks it); else ``x-deliver-at`` if it is later than now; else the exchange's own
    delay, unless ``x-delay`` is zero or no number.

    Args:
        properties: the message's.
        header: its content header, as it is to be sent on.
        options: the exchange's.
        now: unix milliseconds.
    """
    default = True
    if properties.headers_start >= 0:
        raw = properties.raw_headers()
        if raw.find(_DELAY_ENTRY) >= 0 or raw.find(_DELIVER_AT_ENTRY) >= 0:
            headers = properties.headers()
            if DELAY in headers:
                milliseconds = whole_number(headers[DELAY])
                if milliseconds is not None and milliseconds > 0:
                    marked = with_header(header, _DELAY_KEY, encode_value(-milliseconds))
                    return Delay(milliseconds, now + milliseconds, marked)
                # A negative one tells of an earlier delay that is over.
                default = milliseconds is not None and milliseconds < 0
            if DELIVER_AT in headers:
                until = _time(headers[DELIVER_AT])
                if until > now:
                    return Delay(0, until, header)
    own: i64 = options.delay
    if own > 0 and default:
        return Delay(own, now + own, header)
    return None


def whole_number(value: object) -> int | None:
    """Read a delay: a number, or a text that is one, cut off at its point; None if it is neither."""
    if isinstance(value, (bool, Timestamp)):
        return None
    number: int | None = None
    if isinstance(value, int):
        number = value
    elif isinstance(value, (float, Decimal)):
        try:
            number = int(value)
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, (str, bytes)) and 0 < len(value) <= 20:
        try:
            number = int(value)
        except ValueError:
            return None
    return number if number is None else min(number, LONGEST)


def _time(value: object) -> int:
    """Read a time, a timestamp or unix milliseconds; 0 if it is neither."""
    if isinstance(value, Timestamp):
        return min(int(value) * 1000, LONGEST)
    found = value if isinstance(value, int) and not isinstance(value, bool) else 0
    return min(found, LONGEST)


class _Way:
    """Where the latest message of an exchange went: the next one is often its like."""

    def __init__(self, address: bytes, generation: i64, targets: list[Queue]) -> None:
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
        routed: delayed messages that some queue took.
        dropped: those that none took: no exchange, or no binding.
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
        plain = len(keys) == 1
        if plain and way is not None and way.generation == vhost.generation and way.address == waited.address:
            targets = way.targets
        else:
            routing = Routing()
            traverse(exchange, keys, properties, vhost.exchanges.get, routing)
            targets = with_histories(list(routing.queues))
            for remembering in routing.remembering:
                remembering.remember(message, properties)
            if plain and not routing.dynamic:
                self._way = _Way(waited.address, vhost.generation, targets)
        exchange.tally.routed += len(targets)
        if not targets:
            self.dropped += 1
            exchange.tally.dropped += 1
            return
        self.routed += 1
        if properties.expiration_at >= 0:
            for target in targets:
                target.expect_deadlines()
        self._enqueue(message, targets, properties.headers_start >= 0 and _is_dead_letter(properties))

    def _enqueue(self, message: Message, targets: list[Queue], letter: bool) -> None:
        """Put a message into its queues; a full one must not refuse it: its publisher was told it is safe.

        Args:
            letter: True if it is a dead letter: the queue that gave it up knows its id, and takes it back.
        """
        journal = self._broker.journal
        if any_keeping_all(targets):
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
