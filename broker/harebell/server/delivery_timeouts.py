"""Acknowledgement timeouts: who holds a message too long loses the channel, and others get the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harebell import logs
from harebell.amqp.channel import Channel
from harebell.amqp.closing import close_channel
from harebell.amqp.connection import OPEN, Connection
from harebell.engine.consumers import Unacked
from harebell.errors import PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.server.listener import Server
    from harebell.server.transport import ClientTransport

GUIDE = "This timeout value can be configured, see consumers doc guide to learn more"
"""The end of RabbitMQ's words, which people grep."""


def time_out_deliveries(server: Server) -> None:
    """Close every channel on which a delivery stays unanswered for longer than it may."""
    broker = server.broker
    usual = broker.limits.consumer_timeout
    own = broker.own_timeouts
    now = broker.clock.now
    for client in list(server.clients):
        connection = client.connection
        if connection is None or connection.phase != OPEN:
            continue
        for channel in list(connection.channels.values()):
            if channel.closing:
                continue
            window = channel.window
            if window.read_headers():
                own = broker.own_timeouts = True
            if own:
                if window.oldest() is None:
                    window.shortest = 0
                # A policy may have given the queue of a running consumer another timeout.
                for consumer in channel.consumers.values():
                    window.expect(consumer.queue, consumer)
            entry = window.overdue(now, usual, _silence(client, connection, now), connection.heartbeat)
            if entry is not None:
                timeout = int(window.lease_of(entry).allowed(usual))
                _close(connection, channel, entry, timeout)


def _silence(client: ClientTransport, connection: Connection, now: int) -> int:
    """Give the milliseconds for which nothing came; 0 while nothing is read, for that is no fault of his."""
    if connection.heard or client.reading_paused:
        return 0
    return max(0, now - int(connection.last_heard))


def _close(connection: Connection, channel: Channel, entry: Unacked, timeout: int) -> None:
    number = int(channel.number)
    if entry.consumer is not None:
        logs.get_logger("channel").warning(
            f"Consumer {entry.consumer.tag} on channel {number} has timed out waiting for delivery "
            f"acknowledgement. Timeout used: {timeout} ms. {GUIDE}",
            conn=f"c{connection.id}",
        )
    error = BrokerError(
        PRECONDITION_FAILED,
        f"delivery acknowledgement on channel {number} timed out. Timeout value used: {timeout} ms. {GUIDE}",
    )
    # That a client took too long does not say that its messages are at fault (RabbitMQ 4.3).
    close_channel(connection, channel, 0, error, failed=False)
