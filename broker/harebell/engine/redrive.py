"""Redriving dead letters: looking into a queue without taking anything, and sending messages back.

A message goes back to the exchange and with the routing keys it was first published with, which the oldest
entry of its ``x-death`` tells, or wherever it is told to go.  Its history stays; ``x-redriven`` counts how
often it was sent back.  Leaving one queue and entering the others is one step in the journal: after a crash
it is here or there, never both or neither.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harebell.content.message import Message, address
from harebell.content.properties import Properties, parse_properties, with_header
from harebell.content.table import Table, encode_value
from harebell.engine.broker import Broker
from harebell.engine.delay import WaitingCopy
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.engine.routing import (
    Routing,
    enqueue_again,
    traverse,
    with_histories,
)
from harebell.engine.schema_checks import asks_for_check, problem_of_exchange, problems_of
from harebell.engine.vhost import Vhost
from harebell.errors import MalformedContent
from harebell.paging import PageUnreadable

MOVED: Final = "moved"
UNROUTABLE: Final = "unroutable"
REFUSED: Final = "refused"
GONE: Final = "gone"

DEATHS: Final = "x-death"
REDRIVEN: Final = "x-redriven"


class Death(NamedTuple):
    """One entry of ``x-death``, as far as it could be read.

    Attributes:
        times: how often.
        reason: why; empty if it is not told.
        queue: which queue gave the message up.
        time: when it first did, unix seconds; 0 if it is not told.
        exchange, routing_keys: where the message had been published to.
    """

    times: int
    reason: str
    queue: str
    time: int
    exchange: str
    routing_keys: tuple[str, ...]


class Waiting(NamedTuple):
    """A ready message of a queue.

    Attributes:
        position: its place; stays its own as long as it is there.
        message: it itself.
        redelivered: whether it was delivered before.
        headers: its header table; empty where it cannot be read.
        deaths: its history, the latest first.
        redriven: how often it was sent back.
    """

    position: int
    message: Message
    redelivered: bool
    headers: Table
    deaths: tuple[Death, ...]
    redriven: int


class Target(NamedTuple):
    """Where messages are to go instead of where they came from."""

    exchange: str
    routing_key: str


def waiting(position: int, message: Message, redelivered: bool) -> Waiting:
    """Read what a ready message tells of itself; whatever is in its header, this raises nothing."""
    try:
        headers = parse_properties(message.header).headers()
    except MalformedContent:
        headers = {}
    redriven = headers.get(REDRIVEN)
    return Waiting(
        position,
        message,
        redelivered,
        headers,
        deaths_of(headers),
        redriven if isinstance(redriven, int) and redriven > 0 else 0,
    )


def deaths_of(headers: Table) -> tuple[Death, ...]:
    """Read ``x-death``; entries that are no tables are passed over."""
    entries = headers.get(DEATHS)
    if not isinstance(entries, list):
        return ()
    return tuple(_death(entry) for entry in entries if isinstance(entry, dict))


def _death(entry: Table) -> Death:
    count, time, keys = entry.get("count"), entry.get("time"), entry.get("routing-keys")
    stamp = getattr(time, "timestamp", None)
    seconds = int(stamp()) if callable(stamp) else time
    return Death(
        count if isinstance(count, int) else 1,
        _text(entry.get("reason")),
        _text(entry.get("queue")),
        seconds if isinstance(seconds, int) else 0,
        _text(entry.get("exchange")),
        tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else (),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def origin(deaths: tuple[Death, ...]) -> tuple[str, list[str]] | None:
    """Tell the exchange and routing keys a message was first published with; None if nothing says so."""
    for death in reversed(deaths):
        if death.routing_keys:
            return death.exchange, list(death.routing_keys)
    return None


class Way(NamedTuple):
    """Where a message is to go, and as what.

    Attributes:
        message: with its new address and header.
        queues: that would take it at once.
        copies: what would wait at exchanges that delay it.
        exchange: the one it is sent to; None for the default exchange.
        properties: its own.
    """

    message: Message
    queues: list[Queue]
    copies: tuple[WaitingCopy, ...]
    exchange: Exchange | None
    properties: Properties


def way_of(
    vhost: Vhost, queue: Queue, found: Waiting, to: Target | None, again: bool, now: int
) -> Way | None:
    """Make what a message is sent back as, and find the queues that would take it.

    Args:
        queue: where it is; never among those that take it.
        to: where it is to go; None for where it came from.
        again: whether it is sent back, which is counted in its header, or only moved.
        now: unix milliseconds.

    Returns:
        Its way; None if it cannot be told or there is no such exchange.
    """
    at = origin(found.deaths) if to is None else (to.exchange, [to.routing_key])
    if at is None:
        return None
    exchange_name, keys = at
    header = _counted(found) if again else found.message.header
    message = Message(address(exchange_name, keys[0]), header, found.message.body, found.message.persistent)
    if exchange_name == "":
        named = [vhost.queues.get(key) for key in keys]
        queues = [target for target in named if target is not None and target is not queue]
        return Way(message, with_histories(list(dict.fromkeys(queues))), (), None, _properties(message))
    exchange = vhost.exchanges.get(exchange_name)
    if exchange is None:
        return None
    properties = _properties(message)
    routing = Routing(now)
    traverse(exchange, keys, properties, vhost.exchanges.get, routing)
    for remembering in routing.remembering:
        remembering.remember(message, properties)
    queues = with_histories([target for target in routing.queues if target is not queue])
    copies: tuple[WaitingCopy, ...] = ()
    if routing.waits and vhost.delays is not None:
        copies = vhost.delays.copies(message, keys, routing.waits)
    return Way(message, queues, copies, exchange, properties)


def _properties(message: Message) -> Properties:
    try:
        return parse_properties(message.header)
    except MalformedContent:
        return Properties(message.header)


def _refused(broker: Broker, vhost: Vhost, way: Way) -> bool:
    """Tell whether a queue is full, or the message does not fit a schema on its way."""
    message = way.message
    if any(target.refuses(message) for target in way.queues):
        return True
    options = None if way.exchange is None else way.exchange.options
    if options is None and not asks_for_check(way.queues):
        return False
    registry = broker.schemas.of(vhost.name)
    return bool(
        problem_of_exchange(vhost, registry, way.properties, message, options)
        or problems_of(vhost, registry, way.properties, message, way.queues)
    )


def _withdrawn(queue: Queue, position: int) -> Entry | None:
    try:
        return queue.withdraw_waiting(position)
    except PageUnreadable:
        return None


def _counted(found: Waiting) -> bytes:
    header = found.message.header
    try:
        return with_header(header, REDRIVEN.encode(), encode_value(found.redriven + 1))
    except MalformedContent:
        return header


def redrive(
    broker: Broker,
    vhost: Vhost,
    queue: Queue,
    batch: list[Waiting],
    to: Target | None,
    again: bool = True,
) -> dict[str, int]:
    """Send messages back, and count what came of them; it is one step in the journal.

    What no queue takes stays where it is, and so does what one refuses because it is full or has a schema
    that the message does not fit.  Exchanges delay what is sent back as what is published.

    Args:
        vhost, queue: where they are.
        batch: each at most once.
        to: where they are to go; None for where they came from.
        again: as for ``way_of``.

    Returns:
        How many were ``MOVED``, ``UNROUTABLE``, ``REFUSED``, or ``GONE`` because a consumer had them first or
        the disk does not give them.
    """
    journal, now = broker.journal, int(broker.clock.wall)
    made = {found.position: way_of(vhost, queue, found, to, again, now) for found in batch}
    ways = {at: way for at, way in made.items() if way is not None and (way.queues or way.copies)}
    counts = {MOVED: 0, UNROUTABLE: len(batch) - len(ways), REFUSED: 0, GONE: 0}
    journal.begin_transaction()
    try:
        until = {position: at for position in ways if (at := int(queue.waits_until(position)))}
        taken = queue.withdraw(sorted(ways))
        taken += [entry for position in until if (entry := _withdrawn(queue, position)) is not None]
        counts[GONE] = len(ways) - len(taken)
        for entry in taken:
            position, original, _ = entry
            way = ways[position]
            if _refused(broker, vhost, way):
                counts[REFUSED] += 1
                if position in until:
                    queue.wait_again(entry, until[position])
                else:
                    queue.reinstate(entry)
                continue
            way.message.arrived = now
            # It may come back to a queue that knows its id.
            enqueue_again(way.message, way.queues, journal)
            for copy in way.copies:
                enqueue_again(copy.message, [copy.queue], journal)
            queue.settle_dead(original, position)
            counts[MOVED] += 1
    finally:
        journal.end_transaction()
    return counts
