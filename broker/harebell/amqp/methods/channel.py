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
    channel = Channel(connection, number)
    connection.channels[number] = channel
    connection.out.method(channel.wire, encode(commands.Channel.OpenOk))


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
