"""Class confirm: publisher confirms (a RabbitMQ extension)."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.method_codec import encode
from harebell.errors import PRECONDITION_FAILED, BrokerError


def select(connection: Connection, channel: Channel, frame: Any) -> None:
    """``confirm.select``.

    Raises:
        BrokerError: PRECONDITION_FAILED on a transactional channel.
    """
    if channel.transaction is not None:
        raise BrokerError(PRECONDITION_FAILED, "cannot switch from tx to confirm mode")
    channel.confirms.active = True
    if not frame.nowait:
        channel.reply(encode(commands.Confirm.SelectOk), 0)
