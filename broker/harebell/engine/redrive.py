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
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import (
    Routing,
    enqueue_again,
    traverse,
    with_histories,
)
from harebell.engine.vhost import Vhost
from harebell.errors import MalformedContent
from harebell.ports import Clock, Journal

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


def destinations(
    vhost: Vhost, queue: Queue, found: Waiting, to: Target | None, again: bool = True
) -> tuple[Message, list[Queue]] | None:
    """Make what a message is sent back as, and find the queues that would take it.

    Args:
        queue: where it is; never among those that take it.
        to: where it is to go; None for where it came from.
        again: whether it is sent back, which is counted in its header, or only moved.

    Returns:
        The message with its new address and header and its queues; None if it cannot be told or there is no
        such exchange.
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
        return message, with_histories(list(dict.fromkeys(queues)))
    exchange = vhost.exchanges.get(exchange_name)
    if exchange is None:
        return None
    try:
        properties = parse_properties(message.header)
    except MalformedContent:
        properties = Properties(message.header)
    routing = Routing()
    traverse(exchange, keys, properties, vhost.exchanges.get, routing)
    for remembering in routing.remembering:
        remembering.remember(message, properties)
    return message, with_histories([target for target in routing.queues if target is not queue])


def _counted(found: Waiting) -> bytes:
    header = found.message.header
    try:
        return with_header(header, REDRIVEN.encode(), encode_value(found.redriven + 1))
    except MalformedContent:
        return header


def redrive(
    vhost: Vhost,
    journal: Journal,
    clock: Clock,
    queue: Queue,
    batch: list[Waiting],
    to: Target | None,
    again: bool = True,
) -> dict[str, int]:
    """Send messages back, and count what came of them; it is one step in the journal.

    What no queue takes, or one refuses because it is full, stays where it is.

    Args:
        vhost, queue: where they are.
        batch: each at most once.
        to: where they are to go; None for where they came from.
        again: as for ``destinations``.

    Returns:
        How many were ``MOVED``, ``UNROUTABLE``, ``REFUSED``, or ``GONE`` because a consumer had them first.
    """
    made = {found.position: destinations(vhost, queue, found, to, again) for found in batch}
    ways = {position: way for position, way in made.items() if way is not None and way[1]}
    counts = {MOVED: 0, UNROUTABLE: len(batch) - len(ways), REFUSED: 0, GONE: 0}
    journal.begin_transaction()
    try:
        waits = queue.retry_times()
        until = {position: waits[position] for position in ways if position in waits}
        taken = queue.withdraw(sorted(ways))
        taken += [entry for entry in map(queue.withdraw_waiting, until) if entry is not None]
        counts[GONE] = len(ways) - len(taken)
        for entry in taken:
            position, original, _ = entry
            message, targets = ways[position]
            if any(target.refuses(message) for target in targets):
                counts[REFUSED] += 1
                if position in until:
                    queue.wait_again(entry, until[position])
                else:
                    queue.reinstate(entry)
                continue
            message.arrived = clock.wall
            # It may come back to a queue that knows its id.
            enqueue_again(message, targets, journal)
            queue.settle_dead(original, position)
            counts[MOVED] += 1
    finally:
        journal.end_transaction()
    return counts
