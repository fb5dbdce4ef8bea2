"""Class channel: open, flow, close (AMQP 0-9-1 section 1.5)."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.closing import release_channel
from harebell.amqp.connection import Connection
from harebell.amqp.method_codec import encode
from harebell.errors import CHANNEL_ERROR, NOT_ALLOWED, BrokerError


def open_channel(connection: Connection, number: int, opened: Channel | None) -> None:
    """Open a channel.

    Raises:
        BrokerError: CHANNEL_ERROR if it is open, NOT_ALLOWED if there are as many as were negotiated
            (RabbitMQ counts channels, whatever their numbers).
    """
    if opened is not None:
        raise BrokerError(CHANNEL_ERROR, f"second 'channel.open' seen on channel {number}")
    if connection.channel_max and len(connection.channels) >= connection.channel_max:
        raise BrokerError(
            NOT_ALLOWED,
            f"number of channels opened ({len(connection.channels)}) has reached the "
            f"negotiated channel_max ({connection.channel_max})",
        )
    _check_user_channels(connection)
    _check_node_channels(connection)
    channel = Channel(connection, number)
    connection.channels[number] = channel
    connection.broker.counters.channels_opened += 1
    connection.out.method(channel.wire, encode(commands.Channel.OpenOk))


def _check_user_channels(connection: Connection) -> None:
    """Check that the user may have one more channel, on whichever connection."""
    broker, user = connection.broker, connection.user
    assert user is not None
    limit = broker.access.limit(user, "max-channels")
    if limit < 0:
        return
    # Counted only for users with a limit: nobody else pays for keeping count.
    opened = sum(len(each.channels) for each in broker.sessions.of(user.name) if isinstance(each, Connection))
    if opened >= limit:
        raise BrokerError(
            NOT_ALLOWED,
            f"number of channels opened for user '{user.name}' has reached the maximum allowed user limit "
            f"of ({limit})",
        )


def _check_node_channels(connection: Connection) -> None:
    """Check that the node may have one more channel, as RabbitMQ's ``channel_max_per_node`` has it.

    Raises:
        BrokerError: NOT_ALLOWED in RabbitMQ's words.
    """
    broker = connection.broker
    limit = broker.limits.max_channels
    if limit and broker.counters.channels_opened - broker.counters.channels_closed >= limit:
        raise BrokerError(
            NOT_ALLOWED,
            f"number of channels opened on node '{broker.server_properties.get('cluster_name', '')}' has "
            f"reached the maximum allowed limit of {limit}",
        )


def flow(connection: Connection, channel: Channel, frame: Any) -> None:
    """Pause or resume deliveries to the channel's consumers, as the client asks."""
    channel.flow_active = bool(frame.active)
    channel.update_flow()
    channel.reply(encode(commands.Channel.FlowOk, active=frame.active), 0)


def flow_ok(connection: Connection, channel: Channel, frame: Any) -> None:
    """An answer to a question this broker never asks."""


def close(connection: Connection, channel: Channel, frame: Any) -> None:
    """The client closes the channel: consumers go, unanswered deliveries return to their queues."""
    release_channel(connection, channel)
    connection.forget_channel(channel.number)
    channel.reply(encode(commands.Channel.CloseOk), 0)
