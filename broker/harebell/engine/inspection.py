"""Queues, exchanges, bindings and virtual hosts in the fields of RabbitMQ's HTTP API, without rates.

What each object looks like there was taken from RabbitMQ 3.10's answers; what only an Erlang process has
(``garbage_collection``, ``reductions``, ``backing_queue_status``) is left out.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_plus

from harebell.content.message import OVERHEAD
from harebell.content.properties import parse_properties
from harebell.content.table import Table, encode_table
from harebell.engine.consumers import Consumer
from harebell.engine.deadlines import NEVER
from harebell.engine.destination import Destination
from harebell.engine.effective import effective_policy
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.redeclaring import REDECLARE
from harebell.engine.vhost import PREDECLARED, Vhost
from harebell.errors import MalformedContent

INTERNAL_USER: Final = "rmq-internal"
"""Who made what comes with a virtual host, in RabbitMQ's words."""

QUEUE_MEMORY: Final = 3000
"""Octets an empty queue takes."""

PREDECLARED_NAMES: Final = frozenset(name for name, _, _ in PREDECLARED)


def queue_table(vhost: Vhost, queue: Queue, node: str) -> Table:
    """Describe a queue.

    Args:
        vhost: where it is.
        node: the node's name.
    """
    ready = int(queue.ready_count())
    # What a stream delivered is in it still; so on RabbitMQ, too.
    unacked = 0 if isinstance(queue, StreamQueue) else int(queue.unacked_count)
    # What waits for its retry is neither ready nor unacked, yet it is there.
    delayed = int(queue.delayed_count())
    table: Table = {
        "name": queue.name,
        "vhost": vhost.name,
        "type": queue.type_name,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.owner != 0,
        "arguments": queue.arguments,
        "node": node,
        "state": "running",
        "policy": queue.policy,
        "operator_policy": queue.operator_policy,
        "effective_policy_definition": policy_definition(vhost, queue),
        "consumers": int(queue.consumer_count()),
        "messages": ready + unacked + delayed,
        "messages_ready": ready,
        "messages_unacknowledged": unacked,
        "memory": memory_of(queue),
    }
    if queue.brake is not None and queue.brake.paused_until != 0:
        # A word of LavinMQ's: RabbitMQ cannot pause a queue.
        until = int(queue.brake.paused_until)
        table["state"] = "paused"
        table["paused"] = {"until": None if until == NEVER else until, "reason": queue.brake.reason}
    if isinstance(queue, StreamQueue):
        _describe_stream(table, queue, node)
    else:
        _describe_contents(table, queue, ready, unacked)
        if queue.type_name == "quorum":
            _describe_quorum(table, queue, node, delayed)
        else:
            _describe_classic(table, queue)
            if delayed > 0:
                table["messages_delayed"] = delayed
    return table


def memory_of(queue: Queue) -> int:
    """Estimate the octets of memory that a queue and its messages take; 0 for those on disk only."""
    if isinstance(queue, StreamQueue):
        return QUEUE_MEMORY
    paged = int(queue.paged_count())
    ready = int(queue.ready_count())
    octets = int(queue.ready_octets()) * (ready - paged) // max(ready, 1)
    messages = ready - paged + int(queue.unacked_count)
    return QUEUE_MEMORY + octets + int(queue.unacked_bytes) + OVERHEAD * messages


def policy_definition(vhost: Vhost, queue: Queue) -> Table:
    """Give what the queue's policy and operator policy come to."""
    if queue.policy is None and queue.operator_policy is None:
        return {}
    policy = None if queue.policy is None else vhost.policies.regular.get(queue.policy)
    operator = None if queue.operator_policy is None else vhost.policies.operator.get(queue.operator_policy)
    merged = effective_policy(policy, operator, queue.type_name)
    return {key: value.value for key, value in merged.items()}


def _describe_contents(table: Table, queue: Queue, ready: int, unacked: int) -> None:
    bodies, unacked_bodies = int(queue.ready_bodies()), int(queue.unacked_bodies)
    paged, paged_bodies = int(queue.paged_count()), int(queue.paged_bodies())
    table["messages_ram"] = ready + unacked - paged
    table["messages_persistent"] = persistent = _persistent(queue, ready + unacked)
    table["message_bytes"] = bodies + unacked_bodies
    table["message_bytes_ready"] = bodies
    table["message_bytes_unacknowledged"] = unacked_bodies
    table["message_bytes_ram"] = bodies + unacked_bodies - paged_bodies
    table["message_bytes_persistent"] = (
        (bodies + unacked_bodies) * persistent // (ready + unacked) if persistent else 0
    )
    table["consumer_utilisation"] = 0
    table["consumer_capacity"] = 0
    if queue.type_name == "classic":
        table["messages_ready_ram"] = ready - paged
        table["messages_unacknowledged_ram"] = unacked
        table["messages_paged_out"] = paged
        table["message_bytes_paged_out"] = paged_bodies


def _persistent(queue: Queue, messages: int) -> int:
    """Tell how many of a queue's messages are on disk or on their way there.

    Exact while it took messages of one kind only; else in proportion to what it took.
    """
    if queue.type_name == "quorum":
        return messages
    if not queue.durable:
        return 0
    taken = int(queue.published - queue.refused)
    return messages if queue.transient == 0 else messages * int(queue.written()) // max(taken, 1)


def _describe_quorum(table: Table, queue: Queue, node: str, delayed: int) -> None:
    active = queue.active_consumer()
    table["leader"] = node
    table["members"] = [node]
    table["online"] = [node]
    table["open_files"] = {node: 0}
    table["messages_dlx"] = 0
    table["message_bytes_dlx"] = 0
    table["messages_delayed"] = delayed
    limit = int(queue.options.delivery_limit)
    table["delivery_limit"] = limit if limit >= 0 else "unlimited"
    table["single_active_consumer_ctag"] = None if active is None else active.tag


def _describe_classic(table: Table, queue: Queue) -> None:
    consumers = queue.consumers()
    active = queue.active_consumer()
    exclusive = consumers[0].tag if consumers and consumers[0].exclusive else None
    table["exclusive_consumer_tag"] = exclusive
    table["single_active_consumer_tag"] = None if active is None else active.tag
    table["head_message_timestamp"] = head_timestamp(queue)
    table["recoverable_slaves"] = None


def _describe_stream(table: Table, queue: StreamQueue, node: str) -> None:
    table["leader"] = node
    table["members"] = [node]
    table["online"] = [node]
    table["readers"] = {node: int(queue.consumer_count())}
    table["first_offset"] = int(queue.log.first)
    table["committed_offset"] = int(queue.log.next) - 1
    table["stored_bytes"] = int(queue.log.octets)


def stream_readers(queue: Queue) -> list[Table]:
    """List the readers of a stream, and how many messages each has yet to get."""
    if not isinstance(queue, StreamQueue):
        return []
    return [
        {"name": name, "offset": offset, "lag": lag, "consumers": consumers}
        for name, offset, lag, consumers in queue.readings()
    ]


def head_timestamp(queue: Queue) -> int | None:
    """Give the timestamp property of the next message; None without one, or while the message is on disk."""
    head = queue.glance()
    if head is None:
        return None
    try:
        return parse_properties(head.header).timestamp()
    except MalformedContent:
        return None


def exchange_table(vhost: Vhost, exchange: Exchange | None) -> Table:
    """Describe an exchange; None is the default one."""
    if exchange is None:
        return _exchange(vhost.name, "", "direct", True, False, False, {}, INTERNAL_USER)
    performed = INTERNAL_USER if exchange.name in PREDECLARED_NAMES else "guest"
    table = _exchange(
        vhost.name,
        exchange.name,
        exchange.type_name,
        exchange.durable,
        exchange.auto_delete,
        exchange.internal,
        exchange.arguments,
        performed,
    )
    policy = vhost.policies.regular.for_exchange(exchange.name)
    if policy is not None:
        table["policy"] = policy.name
    return table


def _exchange(
    vhost: str,
    name: str,
    type_name: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    arguments: Table,
    user: str,
) -> Table:
    return {
        "name": name,
        "vhost": vhost,
        "type": type_name,
        "durable": durable,
        "auto_delete": auto_delete,
        "internal": internal,
        "arguments": arguments,
        "user_who_performed_action": user,
    }


def binding_table(vhost: Vhost, binding: Binding) -> Table:
    """Describe a binding."""
    return _binding(
        vhost.name,
        binding.source.name,
        binding.destination.name,
        binding.destination.is_queue,
        binding.routing_key,
        binding.arguments,
    )


def default_binding_table(vhost: Vhost, queue: str) -> Table:
    """Describe the binding every queue has to the default exchange."""
    return _binding(vhost.name, "", queue, True, queue, {})


def _binding(
    vhost: str, source: str, destination: str, to_queue: bool, routing_key: str, arguments: Table
) -> Table:
    return {
        "source": source,
        "vhost": vhost,
        "destination": destination,
        "destination_type": "queue" if to_queue else "exchange",
        "routing_key": routing_key,
        "arguments": arguments,
        "properties_key": properties_key(routing_key, arguments),
    }


def properties_key(routing_key: str, arguments: Table) -> str:
    """Name a binding among those between the same two ends, as it stands in paths of the HTTP API.

    As on RabbitMQ: the key, quoted, then a hash of the arguments if there are any; ``~`` for neither.  The
    hash is one of our own: RabbitMQ's depends on how Erlang keeps terms.
    """
    quoted = quote_plus(routing_key.encode("utf-8", "surrogateescape"), safe="").replace("~", "%7E")
    if arguments:
        number = zlib.crc32(encode_table(dict(sorted(arguments.items()))))
        return quoted + "~" + urlsafe_b64encode(number.to_bytes(4, "big")).rstrip(b"=").decode()
    return quoted or "~"


def bindings_from(vhost: Vhost, exchange: Exchange | None) -> Iterator[Table]:
    """Describe the bindings from an exchange; None is the default one."""
    if exchange is None:
        for name in list(vhost.queues):
            yield default_binding_table(vhost, name)
        return
    for binding in list(exchange.bindings.values()):
        yield binding_table(vhost, binding)


def bindings_to(vhost: Vhost, destination: Destination) -> Iterator[Table]:
    """Describe the bindings to a queue or an exchange, that of a queue to the default exchange included."""
    if destination.is_queue:
        yield default_binding_table(vhost, destination.name)
    for binding in list(destination.incoming):
        yield binding_table(vhost, binding)


def bindings_of(vhost: Vhost) -> Iterator[Table]:
    """Describe all bindings of a virtual host."""
    yield from bindings_from(vhost, None)
    for exchange in list(vhost.exchanges.values()):
        yield from bindings_from(vhost, exchange)


def vhost_table(vhost: Vhost, node: str) -> Table:
    """Describe a virtual host, without what is counted in it."""
    description = vhost.metadata.get("description", "")
    tags = vhost.metadata.get("tags", [])
    metadata: Table = {"description": description, "tags": tags}
    if vhost.default_queue_type:
        metadata["default_queue_type"] = vhost.default_queue_type
    if vhost.metadata.get("protected_from_deletion") is True:
        metadata["protected_from_deletion"] = True
    if REDECLARE in vhost.metadata:
        metadata[REDECLARE] = vhost.metadata[REDECLARE]
    return {
        "name": vhost.name,
        "description": description,
        "tags": tags,
        "metadata": metadata,
        "default_queue_type": vhost.default_queue_type or "undefined",
        "tracing": vhost.metadata.get("tracing", False),
        "cluster_state": {node: "running"},
    }


def activity(queue: Queue, consumer: Consumer) -> tuple[bool, str]:
    """Tell whether a consumer is served, and RabbitMQ's word for that."""
    active = queue.active_consumer()
    if active is None:
        return True, "up"
    return (True, "single_active") if active is consumer else (False, "waiting")
