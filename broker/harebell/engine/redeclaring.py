"""Arguments that differ when a queue or exchange is declared again, and changing those of one that is there.

A virtual host says what becomes of a declaration whose arguments differ (its metadata ``redeclare``):
``strict`` refuses it with 406 as RabbitMQ does; ``warn`` takes it and changes nothing; ``update`` changes
those arguments that can be changed while messages are in the queue, and refuses others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.content.table import Table
from harebell.engine.arguments import (
    ALTERNATE_EXCHANGE,
    DEAD_LETTER_EXCHANGE,
    EXCHANGE_OPTION_ROWS,
    QUEUE_ROWS,
    check_exchange_arguments,
    check_queue_arguments,
    different_arguments,
    inequivalent,
)
from harebell.engine.commands import ChangeArguments
from harebell.engine.deduplicating import settle
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.queues.queue import Queue
from harebell.errors import ACCESS_REFUSED, PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.engine.topology import Caller
    from harebell.engine.vhost import Vhost

REDECLARE: Final = "redeclare"
"""The key in the metadata of virtual hosts."""

STRICT: Final = "strict"
WARN: Final = "warn"
UPDATE: Final = "update"
MODES: Final = (STRICT, WARN, UPDATE)

CHANGEABLE: Final = frozenset({ALTERNATE_EXCHANGE, *(row.key for row in EXCHANGE_OPTION_ROWS)})
"""Arguments of exchanges that can be changed."""

RESERVED: Final = "amq."

Difference = tuple[str, object, object]
"""An argument, the value asked for, and the current one; None is absent."""


def mode_of(vhost: Vhost) -> str:
    """Tell what becomes of declarations that differ."""
    mode = vhost.metadata.get(REDECLARE)
    return mode if isinstance(mode, str) and mode in MODES else STRICT


def tolerated(caller: Caller, kind: str, name: str, what: str, received: object, current: object) -> bool:
    """Tell whether a difference is passed over, as ``warn`` has it; it is counted and told then."""
    vhost = caller.vhost
    if mode_of(vhost) != WARN:
        return False
    vhost.counters.redeclared_otherwise += 1
    problem = inequivalent(what, kind, name, vhost.name, received, current)
    caller.broker.warned(f"redeclared: {problem}")
    return True


def redeclared_queue(caller: Caller, queue: Queue, asked: Table) -> int:
    """Handle the arguments of a declaration of a queue that is there.

    Returns:
        The lsn to wait for if something changed.

    Raises:
        BrokerError: PRECONDITION_FAILED in RabbitMQ's words with the first argument that differs, or that
            cannot be changed; as ``change_queue`` says.
    """
    differences = different_arguments(queue.arguments, asked, queue.type_name)
    if not differences:
        return 0
    mode = mode_of(caller.vhost)
    if mode == UPDATE:
        refused = [found for found in differences if not QUEUE_ROWS[found[0]].changes]
        if not refused:
            return change_queue(caller, queue, {key: theirs for key, theirs, _ in differences})
        differences = refused
    key, received, current = differences[0]
    if tolerated(caller, "queue", queue.name, key, received, current):
        return 0
    raise inequivalent(key, "queue", queue.name, caller.vhost.name, received, current)


def redeclared_exchange(caller: Caller, exchange: Exchange, differences: list[Difference]) -> int:
    """Handle the arguments in which a declaration of an exchange that is there differs.

    Returns, raises:
        As ``redeclared_queue``.
    """
    if not differences:
        return 0
    if mode_of(caller.vhost) == UPDATE and not exchange.name.startswith(RESERVED):
        refused = [found for found in differences if found[0] not in CHANGEABLE]
        if not refused:
            return change_exchange(caller, exchange, {key: theirs for key, theirs, _ in differences})
        differences = refused
    key, received, current = differences[0]
    if tolerated(caller, "exchange", exchange.name, key, received, current):
        return 0
    raise inequivalent(key, "exchange", exchange.name, caller.vhost.name, received, current)


def change_queue(caller: Caller, queue: Queue, changes: Table) -> int:
    """Change arguments of a queue that is there.

    Args:
        changes: new values by argument; None takes one away.

    Returns:
        The lsn to wait for; 0 if nothing changed.

    Raises:
        BrokerError: ACCESS_REFUSED, RESOURCE_LOCKED; PRECONDITION_FAILED for an argument that cannot be
            changed, or a value that cannot be.
    """
    caller.require("configure", "queue", queue.name)
    caller.own(queue)
    vhost = caller.vhost
    for key in changes:
        row = QUEUE_ROWS.get(key)
        if row is None or not row.changes or queue.type_name not in row.types:
            raise _fixed(key, "queue", queue.name, vhost)
    arguments = _merged(queue.arguments, changes)
    if arguments == queue.arguments:
        return 0
    check_queue_arguments(arguments, queue.type_name, queue.name, vhost.name)
    if isinstance(changes.get(DEAD_LETTER_EXCHANGE), str):
        caller.require("read", "queue", queue.name)
        caller.require("write", "exchange", str(changes[DEAD_LETTER_EXCHANGE]))
    lasting = queue.durable and not queue.owner
    lsn = caller.broker.commit(ChangeArguments(vhost.name, queue.name, False, arguments), lasting)
    caller.done("queue.changed", queue.name, lasting)
    return max(lsn, settle(caller.broker, vhost, queue))


def change_exchange(caller: Caller, exchange: Exchange, changes: Table) -> int:
    """Change arguments of an exchange that is there; as ``change_queue``.

    Raises:
        BrokerError: as ``change_queue``; ACCESS_REFUSED also for exchanges every virtual host has.
    """
    name = exchange.name
    vhost = caller.vhost
    if name.startswith(RESERVED):
        raise BrokerError(ACCESS_REFUSED, f"exchange '{name}' in vhost '{vhost.name}' cannot be changed")
    caller.require("configure", "exchange", name)
    for key in changes:
        if key not in CHANGEABLE:
            raise _fixed(key, "exchange", name, vhost)
    arguments = _merged(exchange.arguments, changes)
    if arguments == exchange.arguments:
        return 0
    alternate = arguments.get(ALTERNATE_EXCHANGE)
    if ALTERNATE_EXCHANGE in changes and alternate is not None:
        if not isinstance(alternate, str):
            raise BrokerError(
                PRECONDITION_FAILED, f"invalid arg '{ALTERNATE_EXCHANGE}' for exchange '{name}': not a string"
            )
        caller.require("read", "exchange", name)
        caller.require("write", "exchange", alternate)
    check_exchange_arguments(arguments, name, vhost.name)
    lsn = caller.broker.commit(ChangeArguments(vhost.name, name, True, arguments), exchange.durable)
    caller.done("exchange.changed", name, exchange.durable)
    return max(lsn, settle(caller.broker, vhost, exchange))


def _merged(arguments: Table, changes: Table) -> Table:
    merged = {**arguments, **changes}
    return {key: value for key, value in merged.items() if value is not None or key not in changes}


def _fixed(key: str, kind: str, name: str, vhost: Vhost) -> BrokerError:
    return BrokerError(
        PRECONDITION_FAILED,
        f"arg '{key}' of {kind} '{name}' in vhost '{vhost.name}' cannot be changed while the {kind} is there",
    )
