"""Declaring, deleting, binding and purging, with RabbitMQ's checks in RabbitMQ's order.

Each function checks permission, names and equivalence, then commits a command.  It returns the lsn the
client's -ok waits for, so that a durable promise is on disk before it is made.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from harebell.content.table import Table
from harebell.engine.arguments import (
    ALTERNATE_EXCHANGE,
    DEAD_LETTER_EXCHANGE,
    DELAYED_TYPE,
    EXCHANGE_OPTION_ROWS,
    MAX_AGE,
    MAX_LENGTH_BYTES,
    QUEUE_ROWS,
    QUEUE_TYPE,
    RETAIN,
    RETAIN_BYTES,
    check_exchange_arguments,
    check_queue_arguments,
    inequivalent,
    queue_type,
)
from harebell.engine.broker import Broker
from harebell.engine.commands import Bind, DeclareExchange, DeclareQueue, DeleteExchange, DeleteQueue, Unbind
from harebell.engine.deduplicating import settle
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.registry import exchange_class, routing_class
from harebell.engine.exchanges.super_stream import PARTITION_ORDER, PARTITIONS, SuperStreamExchange
from harebell.engine.metadata import HISTORY_PREFIX, destination_of
from harebell.engine.queues.queue import Queue
from harebell.engine.redeclaring import redeclared_exchange, redeclared_queue, tolerated
from harebell.engine.vhost import Vhost, access_refused, topic_refused
from harebell.errors import (
    ACCESS_REFUSED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    BrokerError,
)
from harebell.ports import User

RESERVED: Final = "amq."

ALWAYS_DURABLE: Final = ("quorum", "stream")
"""Queue types that can be neither transient nor exclusive nor auto-deleted."""


class Caller(NamedTuple):
    """Who asks: the connection's broker, virtual host, user and id."""

    broker: Broker
    vhost: Vhost
    user: User
    session_id: int

    def require(self, permission: str, kind: str, name: str) -> None:
        """Check one permission.

        Raises:
            BrokerError: ACCESS_REFUSED.
        """
        if not self.broker.access.allowed(self.user, self.vhost.name, permission, name or "amq.default"):
            raise access_refused(name or "amq.default", kind, self.vhost.name, self.user)

    def done(self, action: str, name: str, lasting: bool = True) -> None:
        """Tell whoever keeps account of who did what; only what lasts is told.

        Args:
            action: as ``queue.purged``.
            name: to what.
            lasting: whether it outlives its connection and a restart.
        """
        if lasting:
            self.broker.done(self.session_id, self.user.name, action, self.vhost.name, name)

    def own(self, queue: Queue) -> Queue:
        """Check that an exclusive queue is this connection's.

        Raises:
            BrokerError: RESOURCE_LOCKED.
        """
        if queue.owner and queue.owner != self.session_id:
            raise BrokerError(
                RESOURCE_LOCKED,
                f"cannot obtain exclusive access to locked queue '{queue.name}' in vhost "
                f"'{self.vhost.name}'. It could be originally declared on another connection or the "
                "exclusive property value does not match that of the original declaration.",
            )
        return queue


def declare_exchange(
    caller: Caller,
    name: str,
    type_name: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
) -> int:
    """Declare an exchange, or check that the existing one is equivalent.

    Raises:
        BrokerError: ACCESS_REFUSED for the default exchange or a reserved new name; PRECONDITION_FAILED
            for an unknown type, bad arguments or a declaration that differs.
    """
    _not_default(name)
    exchange_class(type_name)
    caller.require("configure", "exchange", name)
    existing = caller.vhost.exchanges.get(name)
    if existing is not None:
        changed = _same_exchange(caller, existing, type_name, durable, auto_delete, internal, arguments)
        return max(changed, _declare_partitions(caller, existing))
    if name.startswith(RESERVED):
        raise BrokerError(ACCESS_REFUSED, f"exchange name '{name}' contains reserved prefix 'amq.*'")
    limit = caller.broker.limits.max_exchanges
    if limit and len(caller.vhost.exchanges) >= limit:
        raise BrokerError(
            PRECONDITION_FAILED, f"cannot declare exchange '{name}': limit of {limit} is reached"
        )
    if "alternate-exchange" in arguments:
        alternate = arguments["alternate-exchange"]
        if not isinstance(alternate, str):
            raise BrokerError(
                PRECONDITION_FAILED, f"invalid arg 'alternate-exchange' for exchange '{name}': not a string"
            )
        caller.require("read", "exchange", name)
        caller.require("write", "exchange", alternate)
    type_class = routing_class(type_name, arguments)
    type_class.check_arguments(arguments)
    check_exchange_arguments(arguments, name, caller.vhost.name)
    command = DeclareExchange(caller.vhost.name, name, type_name, durable, auto_delete, internal, arguments)
    if type_class is SuperStreamExchange:
        _check_partitions(caller, name, arguments)
    lsn = caller.broker.commit(command, durable)
    caller.done("exchange.created", name, durable)
    exchange = caller.vhost.exchanges[name]
    lsn = max(lsn, settle(caller.broker, caller.vhost, exchange))
    return max(lsn, _declare_partitions(caller, exchange))


def _check_partitions(caller: Caller, name: str, arguments: Table) -> None:
    """Check that the streams of a super stream can be declared, before anything is."""
    count = arguments.get(PARTITIONS)
    if not isinstance(count, int):
        return
    vhost = caller.vhost
    asked = {key: value for key, value in arguments.items() if key in QUEUE_ROWS}
    check_queue_arguments(asked, "stream", f"{name}-0", vhost.name)
    if len(f"{name}-{count - 1}".encode("utf-8", "surrogateescape")) > 255:
        raise BrokerError(PRECONDITION_FAILED, f"exchange name '{name}' is too long to name its partitions")
    caller.require("read", "exchange", name)
    for number in range(count):
        partition = f"{name}-{number}"
        caller.require("configure", "queue", partition)
        caller.require("write", "queue", partition)
        existing = vhost.queues.get(partition)
        if existing is not None and existing.type_name != "stream":
            raise BrokerError(
                PRECONDITION_FAILED, f"queue '{partition}' in vhost '{vhost.name}' is there and is no stream"
            )
    vhost.check_queue_limit(f"{name}-0", count)


def _declare_partitions(caller: Caller, exchange: Exchange) -> int:
    """Declare and bind the streams of a super stream, as ``rabbitmq-streams add_super_stream`` does.

    Those that are there already stay if they are streams with the same arguments.
    """
    lsn = 0
    arguments = exchange.arguments
    count = arguments.get(PARTITIONS)
    if not isinstance(exchange, SuperStreamExchange) or not isinstance(count, int):
        return 0
    asked = {key: value for key, value in arguments.items() if key in QUEUE_ROWS}
    for number in range(count):
        partition = f"{exchange.name}-{number}"
        _, declared = declare_queue(caller, partition, True, False, False, {**asked, QUEUE_TYPE: "stream"})
        bound = bind(caller, exchange.name, partition, True, str(number), {PARTITION_ORDER: number})
        lsn = max(lsn, declared, bound)
    return lsn


def _same_exchange(
    caller: Caller,
    existing: Exchange,
    type_name: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
) -> int:
    pairs: tuple[tuple[str, object, object], ...] = (
        ("type", type_name, existing.type_name),
        ("durable", durable, existing.durable),
        ("auto_delete", auto_delete, existing.auto_delete),
        ("internal", internal, existing.internal),
    )
    for what, received, current in pairs:
        if received != current:
            raise inequivalent(what, "exchange", existing.name, caller.vhost.name, received, current)
    differences: list[tuple[str, object, object]] = [
        (key, arguments.get(key), existing.arguments.get(key))
        for key in (ALTERNATE_EXCHANGE, *(row.key for row in EXCHANGE_OPTION_ROWS), DELAYED_TYPE)
        if arguments.get(key) != existing.arguments.get(key)
    ]
    if not existing.same_arguments(arguments):
        differences.append(("arguments", arguments, existing.arguments))
    return redeclared_exchange(caller, existing, differences)


def exchange_exists(caller: Caller, name: str) -> None:
    """Passive declare of an exchange: any of the three permissions is enough.

    Raises:
        BrokerError: NOT_FOUND, ACCESS_REFUSED.
    """
    _not_default(name)
    _any_permission(caller, "exchange", name)
    caller.vhost.exchange(name)


def delete_exchange(caller: Caller, name: str, if_unused: bool) -> int:
    """Delete an exchange; deleting a missing one is fine.

    Raises:
        BrokerError: ACCESS_REFUSED for the default and the pre-declared exchanges; PRECONDITION_FAILED
            if ``if_unused`` and something is bound to it.
    """
    _not_default(name)
    if name.startswith(RESERVED):
        raise BrokerError(
            ACCESS_REFUSED,
            f"deletion of system exchange '{name}' in vhost '{caller.vhost.name}' not allowed",
        )
    caller.require("configure", "exchange", name)
    exchange = caller.vhost.exchanges.get(name)
    if exchange is None:
        return 0
    if if_unused and exchange.bindings:
        raise BrokerError(PRECONDITION_FAILED, f"exchange '{name}' in vhost '{caller.vhost.name}' in use")
    caller.done("exchange.deleted", name, exchange.durable)
    return caller.broker.commit(DeleteExchange(caller.vhost.name, name), exchange.durable)


def bind(
    caller: Caller, source: str, destination: str, to_queue: bool, routing_key: str, arguments: Table
) -> int:
    """Bind a queue or an exchange to an exchange; an equal binding is fine.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, or PRECONDITION_FAILED for a key or
            arguments the exchange type does not take.
    """
    exchange = _binding_ends(caller, source, destination, to_queue, routing_key)
    if exchange is None:
        exchange = caller.vhost.exchange(source)
    end = destination_of(caller.vhost, destination, to_queue)
    if isinstance(end, Queue):
        caller.own(end)
    exchange.check_binding(routing_key, arguments)
    durable = exchange.durable and _is_durable(end)
    caller.done("binding.created", f"{source} -> {destination} ({routing_key})", durable)
    command = Bind(caller.vhost.name, source, destination, to_queue, routing_key, arguments)
    return caller.broker.commit(command, durable)


def unbind(
    caller: Caller, source: str, destination: str, to_queue: bool, routing_key: str, arguments: Table
) -> int:
    """Remove a binding; removing one that is not there is fine, and so is naming a missing queue or exchange.

    Raises:
        BrokerError: ACCESS_REFUSED, RESOURCE_LOCKED.
    """
    exchange = _binding_ends(caller, source, destination, to_queue, routing_key)
    ends = caller.vhost.queues if to_queue else caller.vhost.exchanges
    end = ends.get(destination)
    if exchange is None or end is None:
        return 0
    if isinstance(end, Queue):
        caller.own(end)
    durable = exchange.durable and _is_durable(end)
    caller.done("binding.deleted", f"{source} -> {destination} ({routing_key})", durable)
    command = Unbind(caller.vhost.name, source, destination, to_queue, routing_key, arguments)
    return caller.broker.commit(command, durable)


def _binding_ends(
    caller: Caller, source: str, destination: str, to_queue: bool, routing_key: str
) -> Exchange | None:
    if source == "" or (destination == "" and not to_queue):
        raise BrokerError(ACCESS_REFUSED, "operation not permitted on the default exchange")
    caller.require("write", "queue" if to_queue else "exchange", destination)
    caller.require("read", "exchange", source)
    exchange = caller.vhost.exchanges.get(source)
    if exchange is not None and exchange.routes_by == "topic":
        vhost = caller.vhost.name
        if not caller.broker.access.topic_allowed(caller.user, vhost, source, "read", routing_key):
            raise topic_refused(routing_key, source, vhost, caller.user)
    return exchange


def _is_durable(end: object) -> bool:
    if isinstance(end, Queue):
        return end.durable and not end.owner
    return isinstance(end, Exchange) and end.durable


def declare_queue(
    caller: Caller, name: str, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table
) -> tuple[Queue, int]:
    """Declare a queue, or check that the existing one is equivalent; ``name`` is not empty.

    Returns:
        The queue and the lsn its declare-ok waits for.

    Raises:
        BrokerError: ACCESS_REFUSED, RESOURCE_LOCKED, or PRECONDITION_FAILED for bad arguments or a
            declaration that differs.
    """
    caller.require("configure", "queue", name)
    existing = caller.vhost.queues.get(name)
    if existing is not None:
        changed = _same_queue(caller, existing, durable, exclusive, auto_delete, arguments)
        caller.vhost.counters.queues_declared += 1
        existing.last_used = caller.broker.clock.now
        return existing, max(changed, _declare_history(caller, existing))
    default = _default_type(caller, durable, exclusive, auto_delete)
    type_name = queue_type(arguments, default, name, caller.vhost.name)
    check_queue_arguments(arguments, type_name, name, caller.vhost.name)
    if type_name != "classic" and QUEUE_TYPE not in arguments:
        # As on RabbitMQ: whoever lists or exports the queue sees its type.
        arguments = {**arguments, QUEUE_TYPE: type_name}
    if type_name in ALWAYS_DURABLE:
        _durable_flags(caller.vhost, name, durable, exclusive, auto_delete)
    _check_retention(caller.vhost, name, arguments, durable and not exclusive and not auto_delete)
    caller.vhost.check_queue_limit(name)
    limit = caller.broker.limits.max_queues
    if limit and len(caller.vhost.queues) >= limit:
        raise BrokerError(PRECONDITION_FAILED, f"cannot declare queue '{name}': limit of {limit} is reached")
    dead_letter_exchange = arguments.get(DEAD_LETTER_EXCHANGE)
    if isinstance(dead_letter_exchange, str):
        caller.require("read", "queue", name)
        caller.require("write", "exchange", dead_letter_exchange)
    command = DeclareQueue(
        caller.vhost.name,
        name,
        caller.broker.next_queue_id(),
        type_name,
        durable and not exclusive,
        caller.session_id if exclusive else 0,
        auto_delete,
        arguments,
    )
    lsn = caller.broker.commit(command, durable and not exclusive)
    caller.done("queue.created", name, durable and not exclusive)
    caller.vhost.counters.queues_declared += 1
    queue = caller.vhost.queues[name]
    lsn = max(lsn, settle(caller.broker, caller.vhost, queue))
    return queue, max(lsn, _declare_history(caller, queue))


def _check_retention(vhost: Vhost, name: str, arguments: Table, lasting: bool) -> None:
    """Check that a queue that shall retain messages lasts, and that its stream can have its name."""
    if RETAIN not in arguments and RETAIN_BYTES not in arguments:
        return
    history = vhost.queues.get(HISTORY_PREFIX + name)
    fits = len((HISTORY_PREFIX + name).encode("utf-8", "surrogateescape")) <= 255
    if not lasting or not fits or (history is not None and history.type_name != "stream"):
        raise BrokerError(
            PRECONDITION_FAILED,
            f"queue '{name}' in vhost '{vhost.name}' cannot retain messages: that takes a durable queue, "
            f"neither exclusive nor auto-delete, and a stream called '{HISTORY_PREFIX}{name}'",
        )


def _declare_history(caller: Caller, queue: Queue) -> int:
    """Declare the stream that retains what a queue gets, if it shall and has none."""
    arguments = queue.arguments
    if queue.history is not None or not (RETAIN in arguments or RETAIN_BYTES in arguments):
        return 0
    asked: Table = {QUEUE_TYPE: "stream"}
    if RETAIN in arguments:
        asked[MAX_AGE] = arguments[RETAIN]
    if RETAIN_BYTES in arguments:
        asked[MAX_LENGTH_BYTES] = arguments[RETAIN_BYTES]
    number = caller.broker.next_queue_id()
    name = HISTORY_PREFIX + queue.name
    command = DeclareQueue(caller.vhost.name, name, number, "stream", True, 0, False, asked)
    return caller.broker.commit(command, True)


def _default_type(caller: Caller, durable: bool, exclusive: bool, auto_delete: bool) -> str:
    """Give the type of a queue declared without one: the usual type is for plain durable queues."""
    if not durable or exclusive or auto_delete:
        return "classic"
    return caller.vhost.default_queue_type or caller.broker.limits.default_queue_type


def _durable_flags(vhost: Vhost, name: str, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    wrong_flags = (("exclusive-owner", exclusive), ("non-durable", not durable), ("auto-delete", auto_delete))
    for flag, wrong in wrong_flags:
        if wrong:
            raise BrokerError(
                PRECONDITION_FAILED,
                f"invalid property '{flag}' for queue '{name}' in vhost '{vhost.name}'",
            )


def _same_queue(
    caller: Caller, existing: Queue, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table
) -> int:
    caller.own(existing)
    if exclusive != bool(existing.owner):
        raise BrokerError(
            RESOURCE_LOCKED,
            f"cannot obtain exclusive access to locked queue '{existing.name}' in vhost "
            f"'{caller.vhost.name}'. It could be originally declared on another connection or the "
            "exclusive property value does not match that of the original declaration.",
        )
    vhost = caller.vhost.name
    if not exclusive and durable != existing.durable:
        raise inequivalent("durable", "queue", existing.name, vhost, durable, existing.durable)
    if auto_delete != existing.auto_delete:
        raise inequivalent("auto_delete", "queue", existing.name, vhost, auto_delete, existing.auto_delete)
    default = _default_type(caller, durable, exclusive, auto_delete)
    asked_type = arguments.get(QUEUE_TYPE)
    if existing.type_name not in ((asked_type,) if asked_type is not None else ("classic", default)):
        current_type = existing.arguments.get(QUEUE_TYPE)
        if not tolerated(caller, "queue", existing.name, QUEUE_TYPE, asked_type, current_type):
            raise inequivalent(QUEUE_TYPE, "queue", existing.name, vhost, asked_type, current_type)
        return 0
    return redeclared_queue(caller, existing, arguments)


def find_queue(caller: Caller, name: str) -> Queue:
    """Passive declare of a queue: any of the three permissions is enough; puts expiry off, as on RabbitMQ.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED.
    """
    _any_permission(caller, "queue", name)
    queue = caller.own(caller.vhost.queue(name))
    queue.last_used = caller.broker.clock.now
    return queue


def delete_queue(caller: Caller, name: str, if_unused: bool, if_empty: bool) -> tuple[int, int]:
    """Delete a queue; deleting a missing one is fine.  Streams ignore conditions (observed on RabbitMQ).

    Returns:
        The number of ready messages that went with it, and the lsn the delete-ok waits for.

    Raises:
        BrokerError: ACCESS_REFUSED, RESOURCE_LOCKED, PRECONDITION_FAILED if it is in use or not empty,
            NOT_IMPLEMENTED for either condition on a quorum queue.
    """
    caller.require("configure", "queue", name)
    queue = caller.vhost.queues.get(name)
    if queue is None:
        return 0, 0
    caller.own(queue)
    if queue.type_name == "quorum" and (if_unused or if_empty):
        flag = "if-unused" if if_unused else "if-empty"
        raise BrokerError(
            NOT_IMPLEMENTED,
            f"cannot delete queue '{name}' in vhost '{caller.vhost.name}'. queue.delete operations with "
            f"{flag} flag set are not supported by quorum queues",
        )
    ignored = queue.type_name == "stream"
    if if_unused and queue.consumer_count() and not ignored:
        raise BrokerError(PRECONDITION_FAILED, f"queue '{name}' in vhost '{caller.vhost.name}' in use")
    count = int(queue.ready_count())
    if if_empty and (count or queue.delayed_count()) and not ignored:
        raise BrokerError(PRECONDITION_FAILED, f"queue '{name}' in vhost '{caller.vhost.name}' not empty")
    caller.done("queue.deleted", name, queue.durable)
    return count, caller.broker.commit(DeleteQueue(caller.vhost.name, name), queue.durable)


def purge_queue(caller: Caller, name: str) -> int:
    """Remove the ready messages of a queue and return how many there were.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED.
    """
    caller.require("read", "queue", name)
    queue = caller.own(caller.vhost.queue(name))
    caller.done("queue.purged", name, queue.durable)
    return int(queue.purge())


def readable_queue(caller: Caller, name: str) -> Queue:
    """Look up a queue to consume or get from.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED.
    """
    caller.require("read", "queue", name)
    return caller.own(caller.vhost.queue(name))


def check_queue_name(name: str) -> None:
    """Refuse a name of ours in a client's declaration, even if the queue exists (observed on RabbitMQ).

    Raises:
        BrokerError: ACCESS_REFUSED.
    """
    if name.startswith(RESERVED):
        raise BrokerError(ACCESS_REFUSED, f"queue name '{name}' contains reserved prefix 'amq.*'")


def _not_default(name: str) -> None:
    if name == "":
        raise BrokerError(ACCESS_REFUSED, "operation not permitted on the default exchange")


def _any_permission(caller: Caller, kind: str, name: str) -> None:
    for permission in ("configure", "write", "read"):
        if caller.broker.access.allowed(caller.user, caller.vhost.name, permission, name or "amq.default"):
            return
    raise access_refused(name or "amq.default", kind, caller.vhost.name, caller.user)
