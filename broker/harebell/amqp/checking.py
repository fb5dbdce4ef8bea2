"""Holding published messages against schemas, and what becomes of those that do not fit.

The schema of the exchange a message is published to comes first, then those of the queues it goes to: each
queue takes it or not.  Exchanges on the way, and dead letters, are not checked.  What an exchange delays is
held against the schemas of queues when its time has come (``engine/delays.py``).

* ``reject``: the message is not put there, and its publisher gets a nack; without confirms it is dropped.
* ``refuse``: 406 for the channel; nothing gets the message.
* ``dead-letter``: the dead-letter exchange gets it, with reason ``invalid``, and the publisher gets an ack.
  Without a dead-letter exchange it is rejected.

A transaction knows no nacks, and nothing may leave it before it is committed: there the channel is closed,
whatever the mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties
from harebell.engine.arguments import DEAD_LETTER_EXCHANGE, DEAD_LETTER_ROUTING_KEY
from harebell.engine.dead_letter import INVALID
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.options import DEAD_LETTER, REFUSE
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import Route
from harebell.engine.schema_checks import asks_for_check as queues_ask_for_check
from harebell.engine.schema_checks import explained, problem_of_exchange, problems_of
from harebell.errors import PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel
    from harebell.engine.schemas import Registry
    from harebell.engine.vhost import Vhost


def asks_for_check(route: Route, queues: list[Queue]) -> bool:
    """Tell whether a message must be held against a schema."""
    exchange = route.exchange
    if exchange is not None and exchange.options is not None and exchange.options.schema is not None:
        return True
    return queues_ask_for_check(queues)


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
    channel: Channel,
    route: Route,
    properties: Properties,
    message: Message,
    queues: list[Queue],
    waits: bool,
) -> Verdict:
    """Hold a message against the schemas of its exchange and of its queues.

    Args:
        queues: where it goes at once.
        waits: True if copies of it are to wait, whatever these queues do.

    Raises:
        BrokerError: PRECONDITION_FAILED if it does not fit, and is to be refused.
    """
    verdict = Verdict(queues)
    vhost = channel.connection.vhost
    assert vhost is not None
    registry = channel.connection.broker.schemas.of(vhost.name)
    exchange = route.exchange
    options = None if exchange is None else exchange.options
    if exchange is not None and options is not None:
        found = problem_of_exchange(vhost, registry, properties, message, options)
        if found:
            _refuse(channel, options.schema_mode, found)
            exchange.tally.received += 1
            exchange.tally.invalid += 1
            verdict.ended = True
            verdict.queues = []
            verdict.lsn = _not_for_exchange(vhost, exchange, options.schema_mode, message, found)
            return verdict
    _check_queues(channel, vhost, registry, properties, message, verdict)
    if not verdict.queues and queues and not waits:
        verdict.ended = True
        route.tally.received += 1
    return verdict


def _check_queues(
    channel: Channel,
    vhost: Vhost,
    registry: Registry,
    properties: Properties,
    message: Message,
    verdict: Verdict,
) -> None:
    problems = problems_of(vhost, registry, properties, message, verdict.queues)
    if not problems:
        return
    for queue, found in problems.items():
        _refuse(channel, queue.options.schema_mode, found)
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
            sink.dead(queue, explained(message, found), 0, INVALID)
            if verdict.lsn >= 0:
                verdict.lsn = channel.connection.journal.appended
        else:
            verdict.lsn = -1


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
    return sink.divert(explained(message, found), name, key if isinstance(key, str) else None)
