"""Acknowledgement timeouts: who holds a message too long loses the channel, and others get the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harebell import logs
from harebell.amqp.channel import Channel
from harebell.amqp.closing import close_channel
from harebell.amqp.connection import OPEN, Connection
from harebell.engine.consumers import Unacked, acknowledgement_timeout
from harebell.errors import PRECONDITION_FAILED, BrokerError

if TYPE_CHECKING:
    from harebell.server.listener import Server

GUIDE = "This timeout value can be configured, see consumers doc guide to learn more"
"""The end of RabbitMQ's words, which people grep."""


def time_out_deliveries(server: Server) -> None:
    """Close every channel on which a delivery stays unanswered for longer than it may."""
    broker = server.broker
    usual = broker.limits.consumer_timeout
    own = broker.own_timeouts
    if not usual and not own:
        return
    now = broker.clock.now
    for client in list(server.clients):
        connection = client.connection
        if connection is None or connection.phase != OPEN:
            continue
        for channel in list(connection.channels.values()):
            if channel.closing:
                continue
            window = channel.window
            if own:
                if window.oldest() is None:
                    window.shortest = 0
                # A policy may have given the queue of a running consumer another timeout.
                for consumer in channel.consumers.values():
                    window.expect(consumer.queue, consumer)
            entry = window.overdue(now, usual)
            if entry is not None:
                timeout = int(acknowledgement_timeout(entry.queue, entry.consumer, usual))
                _close(connection, channel, entry, timeout)


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
