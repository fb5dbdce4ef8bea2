"""Where a published message goes.

Routing collects a *set* of queues: one copy per queue however many bindings match.  Exchange-to-exchange
bindings are followed with a worklist that visits each exchange once; an exchange that matches nothing
hands over to its alternate exchange, each at most once (RabbitMQ's rules).  An exchange that delays the
message hands on nothing: a copy waits there and goes on from there (as RabbitMQ's plugin does it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties
from harebell.engine.counters import Tally
from harebell.engine.delay import Wait, WaitingCopy, wait_of
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.queues.id_window import IdWindow
from harebell.engine.queues.queue import Queue
from harebell.errors import BrokerError
from harebell.ports import Journal

ROUTE_CACHE_LIMIT = 8192
"""Routes one cache holds before it starts over."""

ROUTE_CACHE_QUEUES = 262_144
"""Targets all routes of a virtual host may list together, for fan-outs are long."""

UNCOUNTED: Final = Tally()
"""Of a route that was not worked out yet."""


class Route:
    """The outcome of looking up one ``basic.publish``: cached by its raw arguments.

    Attributes:
        address: exchange and routing key on the wire.
        exchange: the exchange published to; None for the default exchange or on error.
        queues: the queues that take the message, unless ``dynamic``.
        durable: True if any of the queues is durable.
        journals_all: True if any of them keeps transient messages too.
        mandatory, immediate: flags of the publish.
        dynamic: routing depends on more than the key and is done per message.
        arguments: the raw arguments it was worked out from.
        generation: of the topology it was worked out from.
        counting_ids: True if a queue leaves out messages whose ids it knows.
        careful: True if messages cannot take the short path: it is dynamic, immediate, or its exchange or a
            queue has options that ask for a look at each.
        error: what to answer instead of routing; never cached.
        tally: counts what is published to the exchange.
    """

    def __init__(
        self,
        address: bytes,
        exchange_name: str,
        routing_key: str,
        exchange: Exchange | None,
        mandatory: bool,
        immediate: bool,
    ) -> None:
        self.address = address
        self.exchange_name = exchange_name
        self.routing_key = routing_key
        self.exchange = exchange
        self.queues: list[Queue] = []
        self.durable: bool = False
        self.journals_all: bool = False
        self.mandatory: bool = mandatory
        self.immediate: bool = immediate
        self.dynamic: bool = False
        self.careful: bool = immediate
        self.counting_ids: bool = False
        self.cacheable: bool = True
        self.generation: i64 = 0
        self.arguments: bytes = b""
        self.error: BrokerError | None = None
        self.tally: Tally = UNCOUNTED

    def set_queues(self, queues: list[Queue]) -> None:
        """Fix the queues of a static route; streams that retain what they get take part."""
        queues = with_histories(queues)
        self.queues = queues
        self.durable = any_durable(queues)
        self.journals_all = any_journaling_all(queues)
        for queue in queues:
            if queue.careful:
                self.careful = True
            if queue.ids is not None:
                self.counting_ids = True


def with_histories(queues: list[Queue]) -> list[Queue]:
    """Add the streams of those queues that retain what is published to them."""
    histories: list[Queue] = []
    for queue in queues:
        history = queue.history
        if history is not None and history not in queues:
            histories.append(history)
    return queues + histories if histories else queues


def any_journaling_all(queues: list[Queue]) -> bool:
    """Tell whether a transient message to these queues must be journaled like a persistent one."""
    for queue in queues:  # noqa: SIM110 - a generator costs more, compiled
        if queue.journals_all:
            return True
    return False


def any_durable(queues: list[Queue]) -> bool:
    """Tell whether a persistent message to these queues must be journaled."""
    for queue in queues:  # noqa: SIM110 - a generator costs more, compiled
        if queue.durable:
            return True
    return False


class Routing:
    """The result of one traversal.

    Attributes:
        now: unix milliseconds; negative if no exchange delays: of a message that has waited.
        queues: in order of discovery.
        dynamic: True if it depends on more than the keys, so that it must not be cached.
        remembering: exchanges that remember the message.
        waits: exchanges that delay it.
    """

    def __init__(self, now: i64 = -1) -> None:
        self.now: i64 = now
        self.queues: dict[Queue, None] = {}
        self.dynamic: bool = False
        self.remembering: list[RecentHistoryExchange] = []
        self.waits: list[Wait] = []

    def delays(self, exchange: Exchange, properties: Properties) -> bool:
        """Tell whether an exchange on the way delays the message, and note it."""
        options = exchange.options
        if self.now < 0 or options is None or not options.delayed:
            return False
        self.dynamic = True
        wait = wait_of(properties, exchange, options, self.now)
        if wait is None:
            return False
        self.waits.append(wait)
        return True


def traverse(
    exchange: Exchange,
    keys: list[str],
    properties: Properties | None,
    find_exchange: Callable[[str], Exchange | None],
    routing: Routing,
) -> None:
    """Follow bindings and alternate exchanges from ``exchange`` for each key.

    Args:
        exchange: where the message was published.
        keys: the routing key, then those of CC and BCC.
        properties: the message's properties; None while only static routing is wanted, of messages that
            ``exchange`` itself does not delay.
        find_exchange: looks up an alternate exchange by name.
        routing: takes the result; ``dynamic`` is set if any exchange met is dynamic, or may delay.
    """
    work: list[Exchange] = [exchange]
    seen: set[Exchange] = {exchange}
    while work:
        current = work.pop()
        found = False
        if properties is None:
            options = current.options
            if options is not None and options.delayed and current is not exchange:
                routing.dynamic = True
                return
        elif routing.delays(current, properties):
            continue
        if current.dynamic:
            routing.dynamic = True
            if properties is None:
                return
            if isinstance(current, RecentHistoryExchange):
                routing.remembering.append(current)
        for key in keys[:1] if current.ignores_key else keys:
            for destination in current.route(key, properties):
                found = True
                if isinstance(destination, Queue):
                    routing.queues[destination] = None
                elif isinstance(destination, Exchange) and destination not in seen:
                    seen.add(destination)
                    work.append(destination)
        if not found and current.alternate is not None:
            alternate = find_exchange(current.alternate)
            if alternate is not None and alternate not in seen:
                seen.add(alternate)
                work.append(alternate)


def enqueue(
    message: Message, queues: list[Queue], durable: bool, journal: Journal, ids: IdWindow | None = None
) -> i64:
    """Give a published message to its queues and return the lsn its confirm waits for (0: none).

    Raises nothing; a queue that refuses makes the result negative: the publisher gets a nack.  A queue that
    knows the message's id is left out, and the confirm waits for what it took before.

    Args:
        ids: those of the exchange it was published to, if that remembers them; it knows not this one.
    """
    lsn: i64 = 0
    plain: bool = ids is None
    for queue in queues:
        if not queue.plain:
            plain = False
            if queue.duplicate(message) or queue.refuses(message):
                return _enqueue_where_taken(message, queues, journal, ids)
    journaled: bool = durable and message.persistent
    if journaled:
        if not plain and ids is None and len(queues) == 1 and queues[0].keeps_all:
            return queues[0].take_alone(message)
        journal.begin_message(message)
        for queue in queues:
            if queue.durable:
                journal.enqueue(queue.id, queue.next_position)
        if not plain:
            _journal_ids(message, queues, journal, ids)
        lsn = journal.end_message()
    if not plain:
        _note_ids(message, queues, journaled, ids)
    if plain or len(queues) == 1:
        for queue in queues:
            queue.take_in(message)
    else:
        _take_in_several(message, queues)
    return lsn


def enqueue_again(message: Message, queues: list[Queue], journal: Journal) -> None:
    """Give a message that was published before to queues, whatever ids they know; none may refuse it."""
    if any_journaling_all(queues):
        message.persistent = True
    if message.persistent and any_durable(queues):
        journal.begin_message(message)
        for queue in queues:
            if queue.durable:
                journal.enqueue(queue.id, queue.next_position)
        journal.end_message()
    _take_in_several(message, queues)


def enqueue_with_copies(
    message: Message,
    queues: list[Queue],
    copies: tuple[WaitingCopy, ...],
    durable: bool,
    journal: Journal,
    ids: IdWindow | None,
) -> i64:
    """Give a published message to its queues, and its copies to where they wait: all of it in one step.

    Args:
        copies: of messages that exchanges delay.
        durable: True if any of ``queues`` is.
        ids: as for ``enqueue``.

    Returns:
        As ``enqueue``; where a queue refuses the message, its copies wait nevertheless.
    """
    if not copies:
        return enqueue(message, queues, durable, journal, ids)
    first = copies[0]
    if not queues and len(copies) == 1:
        return enqueue(first.message, [first.queue], True, journal, ids)
    lsn: i64 = 0
    end: i64 = 0
    journal.begin_transaction()
    try:
        if queues:
            lsn = enqueue(message, queues, durable, journal, ids)
            ids = None
        for copy in copies:
            enqueue(copy.message, [copy.queue], True, journal, ids)
            ids = None
    finally:
        end = journal.end_transaction()
    return lsn if lsn < 0 else max(lsn, end)


def known_already(ids: IdWindow, tally: Tally) -> i64:
    """Leave out a message whose id its exchange took lately, and return the lsn its confirm waits for."""
    tally.received += 1
    tally.duplicates += 1
    return ids.behind_all()


def _journal_ids(message: Message, queues: list[Queue], journal: Journal, ids: IdWindow | None) -> None:
    """Add to the open record which windows take the message's id."""
    for queue in queues:
        theirs = queue.ids
        if theirs is not None and theirs.journals(message):
            journal.enqueue(theirs.id, theirs.next_position)
    if ids is not None and queues and ids.journals(message):
        journal.enqueue(ids.id, ids.next_position)


def _note_ids(message: Message, queues: list[Queue], journaled: bool, ids: IdWindow | None) -> None:
    """Have the windows remember the message."""
    for queue in queues:
        theirs = queue.ids
        if theirs is not None:
            theirs.take(message, journaled)
    if ids is not None and queues:
        ids.take(message, journaled)


def _take_in_several(message: Message, queues: list[Queue]) -> None:
    """Put a message into queues some of which may give up another one for it.

    That one may be routed to the next of these queues, and must not take the position there that the journal
    just promised to the message.
    """
    sink = None
    for queue in queues:
        if queue.dead_letters is not None:
            sink = queue.dead_letters
    if sink is not None:
        sink.hold()
    try:
        for queue in queues:
            queue.take_in(message)
    finally:
        if sink is not None:
            sink.release()


def _enqueue_where_taken(
    message: Message, queues: list[Queue], journal: Journal, ids: IdWindow | None
) -> i64:
    """Enqueue in those queues that neither know nor refuse it; the publisher gets a nack if one refuses.

    A queue is asked first whether it knows the message: what it took once it must not refuse when the
    publisher tries again.  The exchange does not remember what was refused: it must come again.
    """
    lsn: i64 = 0
    taking: list[Queue] = []
    refusing: list[Queue] = []
    for queue in queues:
        if queue.duplicate(message):
            queue.duplicates += 1
            lsn = max(lsn, queue.behind_all())
        elif queue.refuses(message):
            refusing.append(queue)
        else:
            taking.append(queue)
    if taking:
        if refusing:
            ids = None
        lsn = max(lsn, enqueue(message, taking, any_durable(taking), journal, ids))
    for queue in refusing:
        queue.refuse(message)
    return -1 if refusing else lsn
