"""Holding published messages against schemas, and what becomes of those that do not fit.

The schema of the exchange a message is published to comes first, then those of the queues it goes to: each
queue takes it or not.  Exchanges on the way, and dead letters, are not checked.

* ``reject``: the message is not put there, and its publisher gets a nack; without confirms it is dropped.
* ``refuse``: 406 for the channel; nothing gets the message.
* ``dead-letter``: the dead-letter exchange gets it, with reason ``invalid``, and the publisher gets an ack.
  Without a dead-letter exchange it is rejected.

A transaction knows no nacks, and nothing may leave it before it is committed: there the channel is closed,
whatever the mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties, with_header
from harebell.engine.arguments import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_ROUTING_KEY,
    SCHEMA_ERROR,
    SCHEMA_VERSION,
)
from harebell.engine.dead_letter import INVALID
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.options import DEAD_LETTER, REFUSE
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import Route
from harebell.errors import PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel
    from harebell.engine.schemas import Registry
    from harebell.engine.vhost import Vhost

MOST_ERROR: Final = 1024
"""Octets of the header that tells what is wrong."""

MOST_HEADER: Final = 120 * 1024
"""Octets of a content header to which that one is not added, for it must fit into a frame."""


def asks_for_check(route: Route, queues: list[Queue]) -> bool:
    """Tell whether a message must be held against a schema."""
    exchange = route.exchange
    if exchange is not None and exchange.options is not None and exchange.options.schema is not None:
        return True
    for queue in queues:  # noqa: SIM110 - a generator costs more, compiled
        if queue.options.schema is not None:
            return True
    return False


class Verdict:
    """What is left to do with a message.

    Attributes:
        queues: that take it.
        ended: True if it goes no further: the exchange, or every queue, does not take it.
        lsn: what its confirm waits for beside its queues; negative if the publisher gets a nack.
    """

    def __init__(self, queues: list[Queue]) -> None:
        self.queues = queues
        self.ended: bool = False
        self.lsn: i64 = 0

    def confirmed(self, lsn: i64) -> i64:
        """Give what the confirm waits for in all.

        Args:
            lsn: of the queues.
        """
        if self.lsn < 0 or lsn < 0:
            return -1
        return max(self.lsn, lsn)


def check(
    channel: Channel, route: Route, properties: Properties, message: Message, queues: list[Queue]
) -> Verdict:
    """Hold a message against the schemas of its exchange and of its queues.

    Args:
        queues: where it goes.

    Raises:
        BrokerError: PRECONDITION_FAILED if it does not fit, and is to be refused.
    """
    verdict = Verdict(queues)
    vhost = channel.connection.vhost
    assert vhost is not None
    registry = channel.connection.broker.schemas.of(vhost.name)
    named = _named_version(properties)
    exchange = route.exchange
    if exchange is not None and exchange.options is not None and exchange.options.schema is not None:
        options = exchange.options
        subject, version = exchange.options.schema, int(options.schema_version)
        found = _problem(vhost, registry, subject, version, int(options.schema_max_octets), named, message)
        if found:
            _refuse(channel, options.schema_mode, found)
            exchange.tally.received += 1
            exchange.tally.invalid += 1
            verdict.ended = True
            verdict.queues = []
            verdict.lsn = _not_for_exchange(vhost, exchange, options.schema_mode, message, found)
            return verdict
    _check_queues(channel, vhost, registry, named, message, verdict)
    if not verdict.queues and queues:
        verdict.ended = True
        route.tally.received += 1
    return verdict


def _check_queues(
    channel: Channel, vhost: Vhost, registry: Registry, named: object, message: Message, verdict: Verdict
) -> None:
    problems: dict[Queue, str] = {}
    known: dict[tuple[str, int, int], str] = {}
    for queue in verdict.queues:
        options = queue.options
        subject = options.schema
        if subject is not None:
            key = (subject, int(options.schema_version), int(options.schema_max_octets))
            if key not in known:
                known[key] = _problem(vhost, registry, *key, named, message)
            if known[key]:
                _refuse(channel, options.schema_mode, known[key])
                problems[queue] = known[key]
    if not problems:
        return
    histories = [queue.history for queue in problems if queue.history is not None]
    verdict.queues = [queue for queue in verdict.queues if queue not in problems and queue not in histories]
    for queue, found in problems.items():
        queue.invalid += 1
        sink = queue.dead_letters
        if (
            queue.options.schema_mode == DEAD_LETTER
            and queue.options.dead_letter_exchange is not None
            and sink is not None
        ):
            queue.count_death(INVALID)
            sink.dead(queue, _explained(message, found), 0, INVALID)
            if verdict.lsn >= 0:
                verdict.lsn = channel.connection.journal.appended
        else:
            verdict.lsn = -1


def _problem(
    vhost: Vhost, registry: Registry, subject: str, version: int, most: int, named: object, message: Message
) -> str:
    """Hold a message against a subject, and count it."""
    counters = vhost.counters
    counters.schema_checked += 1
    body = message.body
    if len(body) > most:
        found = f"a body of {len(body)} octets is longer than the {most} that are checked"
    else:
        found = registry.problem(subject, version, named, body)
    if found:
        counters.schema_invalid += 1
    return found


def _refuse(channel: Channel, mode: str, found: str) -> None:
    if mode == REFUSE or channel.transaction is not None:
        raise BrokerError(PRECONDITION_FAILED, "message is not valid: " + found)


def _not_for_exchange(vhost: Vhost, exchange: Exchange, mode: str, message: Message, found: str) -> i64:
    """Dead-letter a message that an exchange does not take; -1 if it is rejected."""
    if mode != DEAD_LETTER:
        return -1
    policy = vhost.policies.regular.for_exchange(exchange.name)
    definition = {} if policy is None else policy.definition
    name = exchange.arguments.get(DEAD_LETTER_EXCHANGE)
    key = exchange.arguments.get(DEAD_LETTER_ROUTING_KEY)
    if not isinstance(name, str):
        name = definition.get(DEAD_LETTER_EXCHANGE.removeprefix("x-"))
    if not isinstance(key, str):
        key = definition.get(DEAD_LETTER_ROUTING_KEY.removeprefix("x-"))
    sink = vhost.dead_letters
    if not isinstance(name, str) or sink is None:
        return -1
    return sink.divert(_explained(message, found), name, key if isinstance(key, str) else None)


def _explained(message: Message, found: str) -> Message:
    """Make a message that says what is wrong with it."""
    header = message.header
    if len(header) <= MOST_HEADER:
        text = found.encode("utf-8", "replace")[:MOST_ERROR].decode("utf-8", "ignore").encode()
        header = with_header(header, SCHEMA_ERROR.encode(), b"S" + len(text).to_bytes(4, "big") + text)
    explained = Message(message.address, header, message.body, message.persistent)
    explained.arrived = message.arrived
    return explained


def _named_version(properties: Properties) -> object:
    """Give the version of its schema that a message names; None without one."""
    if properties.headers_start < 0 or SCHEMA_VERSION.encode() not in properties.raw_headers():
        return None
    return properties.headers().get(SCHEMA_VERSION)
