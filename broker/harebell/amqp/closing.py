"""Closing channels and connections: the only place that turns an error into a close method.

A soft error closes its channel, a hard one the connection; a soft error on channel 0 is hard
(AMQP 0-9-1 section 2.2.4 and RabbitMQ).
"""

from __future__ import annotations

from typing import Final

from pamqp import commands
from pamqp.base import Frame

from harebell.amqp.channel import Channel
from harebell.amqp.connection import CLOSED, CLOSING, Connection
from harebell.amqp.method_codec import encode
from harebell.amqp.unacked import tag_of
from harebell.engine.queues.browsing import BrowseView
from harebell.errors import FRAME_ERROR, BrokerError

REPLY_TEXT_MAX: Final = 255


def reply_text(error: BrokerError) -> str:
    """Give ``NAME - explanation``, cut to what a short string holds, without breaking a character."""
    raw = str(error).encode("utf-8", "replace")[:REPLY_TEXT_MAX]
    return raw.decode("utf-8", "ignore")


def _close_method(close: type[Frame], method: int, error: BrokerError) -> bytes:
    return encode(
        close,
        reply_code=error.row.code,
        reply_text=reply_text(error),
        class_id=method >> 16 & 0xFFFF,
        method_id=method & 0xFFFF,
    )


def close_connection(connection: Connection, method: int, error: BrokerError) -> None:
    """Send ``connection.close`` and ignore everything but its answer from now on."""
    if connection.phase >= CLOSING:
        connection.wants_close = True
        return
    release_connection(connection)
    connection.phase = CLOSING
    connection.closing_since = connection.clock.now
    connection.close_reason = str(error)
    connection.out.method(
        0,
        _close_method(commands.Connection.Close, method, error),
    )


def close_channel(
    connection: Connection, channel: Channel, method: int, error: BrokerError, failed: bool = True
) -> None:
    """Send ``channel.close`` and drop what comes on that channel until its answer.

    Args:
        failed: what its unanswered deliveries return as (see ``Queue.requeue``).
    """
    release_channel(connection, channel, failed)
    channel.closing = True
    connection.out.method(
        channel.wire,
        _close_method(commands.Channel.Close, method, error),
    )


def fail(connection: Connection, number: int, method: int, error: BrokerError) -> None:
    """Answer an error raised while a frame of channel ``number`` was handled."""
    channel = connection.channels.get(number)
    if error.row.hard or number == 0 or channel is None:
        if connection.phase == CLOSING and error.row is FRAME_ERROR:
            connection.wants_close = True
            return
        close_connection(connection, method, error)
    elif not channel.closing:
        close_channel(connection, channel, method, error)


def release_channel(connection: Connection, channel: Channel, failed: bool = True) -> None:
    """Give back what a channel holds: consumers, unanswered deliveries, the message in progress.

    Confirms that are due go out first, as RabbitMQ does it: after the close nobody may send them.
    """
    channel.abandon_content()
    channel.credit.flowing = False
    if channel.confirms.active:
        channel.confirms.emit(channel.out, channel.wire, connection.journal.durable)
        channel.confirms.active = False
    vhost = connection.vhost
    for tag in list(channel.consumers):
        consumer = channel.remove_consumer(tag)
        if consumer is not None and vhost is not None and not isinstance(consumer.queue, BrowseView):
            delete_if_abandoned(connection, consumer.queue.name)
    if channel.reply_queue is not None and vhost is not None:
        vhost.reply_queues.pop(channel.reply_queue.name, None)
        channel.reply_queue = None
    held = channel.window.take_up_to(0)
    if channel.transaction is not None:
        held = sorted(held + channel.transaction.answered(), key=tag_of)
        channel.transaction = None
    channel.put_back(held, True, failed)
    connection.awaiting.channels.pop(channel, None)


def delete_if_abandoned(connection: Connection, name: str) -> None:
    """Delete an auto-delete queue whose last consumer went."""
    vhost = connection.vhost
    queue = None if vhost is None else vhost.queues.get(name)
    if vhost is not None and queue is not None and queue.auto_delete and queue.consumer_count() == 0:
        connection.broker.delete_queue_now(vhost, name)


def release_connection(connection: Connection) -> None:
    """Give back what a connection holds; safe to call twice."""
    for channel in list(connection.channels.values()):
        if not channel.closing:
            release_channel(connection, channel)
        connection.channel_gone(channel)
    connection.channels.clear()
    connection.confirming.clear()
    awaiting = connection.awaiting.channels
    for channel in [waiting for waiting in awaiting if waiting.connection is connection]:
        del awaiting[channel]  # closed by the client, its close-ok held back
    connection.forget_channel(0)
    if connection.broker.sessions.closed(connection.id) and connection.vhost is not None:
        counters = connection.vhost.counters
        counters.received_octets += connection.received_octets
        counters.sent_octets += connection.out.sent_octets
        counters.received_chunks += connection.received_chunks
        counters.sent_chunks += connection.out.sent_chunks
        connection.broker.session_closed(connection.id, connection.vhost)


def connection_lost(connection: Connection) -> None:
    """The socket is gone, whatever was going on."""
    release_connection(connection)
    connection.phase = CLOSED
