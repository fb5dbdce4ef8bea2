"""Class queue (AMQP 0-9-1 section 1.7)."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.method_codec import encode
from harebell.amqp.methods.caller import caller_of
from harebell.amqp.methods.exchange import clean
from harebell.engine import topology
from harebell.engine.arguments import QUEUE_TYPE
from harebell.engine.reply_to import PSEUDO_QUEUE, is_reply_to
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError


def named(connection: Connection, channel: Channel, name: str) -> str:
    """Give the queue a name means; empty is the one declared last on this channel.

    Raises:
        BrokerError: NOT_FOUND if none was declared.
    """
    if name:
        return name
    if not channel.last_queue:
        raise BrokerError(NOT_FOUND, "no previously declared queue")
    return channel.last_queue


def not_reply_to(connection: Connection, name: str) -> None:
    """Refuse an operation that direct reply-to's pseudo-queue does not have (observed on RabbitMQ).

    Raises:
        BrokerError: NOT_FOUND.
    """
    if is_reply_to(name) and connection.vhost is not None:
        raise BrokerError(NOT_FOUND, f"no queue '{name}' in vhost '{connection.vhost.name}'")


def declare(connection: Connection, channel: Channel, frame: Any) -> None:
    """``queue.declare``; an empty name asks for one from the server."""
    caller, name, lsn = caller_of(connection), clean(frame.queue), 0
    if is_reply_to(name):
        if name != PSEUDO_QUEUE and name not in caller.vhost.reply_queues:
            not_reply_to(connection, name)
        _declare_ok(channel, frame, name, 0, 1, 0)
        return
    if frame.passive:
        found = topology.find_queue(caller, name)
    else:
        if not name:
            name = "amq.gen-" + connection.broker.new_token()
            asked = frame.arguments.get(QUEUE_TYPE)
            if asked in topology.ALWAYS_DURABLE:
                raise BrokerError(
                    PRECONDITION_FAILED, f"Cannot declare a server-named queue for type rabbit_{asked}_queue"
                )
        else:
            topology.check_queue_name(name)
        found, lsn = topology.declare_queue(
            caller, name, frame.durable, frame.exclusive, frame.auto_delete, frame.arguments
        )
    channel.last_queue = found.name
    _declare_ok(channel, frame, found.name, found.ready_count(), found.consumer_count(), lsn)


def _declare_ok(channel: Channel, frame: Any, name: str, ready: int, consumers: int, lsn: int) -> None:
    if not frame.nowait:
        payload = encode(
            commands.Queue.DeclareOk,
            queue=name,
            message_count=min(ready, 0xFFFFFFFF),
            consumer_count=min(consumers, 0xFFFFFFFF),
        )
        channel.reply(payload, lsn)


def bind(connection: Connection, channel: Channel, frame: Any) -> None:
    """``queue.bind``; with queue and key both empty, both mean the queue declared last."""
    name = named(connection, channel, frame.queue)
    not_reply_to(connection, name)
    key = name if not frame.queue and not frame.routing_key else frame.routing_key
    lsn = topology.bind(caller_of(connection), frame.exchange, name, True, key, frame.arguments)
    if not frame.nowait:
        channel.reply(encode(commands.Queue.BindOk), lsn)


def unbind(connection: Connection, channel: Channel, frame: Any) -> None:
    """``queue.unbind``."""
    name = named(connection, channel, frame.queue)
    key = name if not frame.queue and not frame.routing_key else frame.routing_key
    lsn = topology.unbind(caller_of(connection), frame.exchange, name, True, key, frame.arguments)
    channel.reply(encode(commands.Queue.UnbindOk), lsn)


def purge(connection: Connection, channel: Channel, frame: Any) -> None:
    """``queue.purge``: ready messages go, unacknowledged ones stay."""
    name = named(connection, channel, frame.queue)
    not_reply_to(connection, name)
    count = topology.purge_queue(caller_of(connection), name)
    if not frame.nowait:
        channel.reply(encode(commands.Queue.PurgeOk, message_count=min(count, 0xFFFFFFFF)), 0)


def delete(connection: Connection, channel: Channel, frame: Any) -> None:
    """``queue.delete``."""
    name = named(connection, channel, frame.queue)
    count, lsn = topology.delete_queue(caller_of(connection), name, frame.if_unused, frame.if_empty)
    if not frame.nowait:
        channel.reply(encode(commands.Queue.DeleteOk, message_count=min(count, 0xFFFFFFFF)), lsn)
