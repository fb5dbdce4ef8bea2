"""Class exchange (AMQP 0-9-1 section 1.6 and RabbitMQ's exchange-to-exchange bindings)."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.method_codec import encode
from harebell.amqp.methods.caller import caller_of
from harebell.engine import topology


def clean(name: str) -> str:
    """Remove carriage returns and line feeds from a name that is declared, as RabbitMQ does."""
    return name.replace("\r", "").replace("\n", "")


def declare(connection: Connection, channel: Channel, frame: Any) -> None:
    """``exchange.declare``."""
    caller, name, lsn = caller_of(connection), clean(frame.exchange), 0
    if frame.passive:
        topology.exchange_exists(caller, name)
    else:
        lsn = topology.declare_exchange(
            caller,
            name,
            frame.exchange_type,
            frame.durable,
            frame.auto_delete,
            frame.internal,
            frame.arguments,
        )
    if not frame.nowait:
        channel.reply(encode(commands.Exchange.DeclareOk), lsn)


def delete(connection: Connection, channel: Channel, frame: Any) -> None:
    """``exchange.delete``."""
    lsn = topology.delete_exchange(caller_of(connection), frame.exchange, frame.if_unused)
    if not frame.nowait:
        channel.reply(encode(commands.Exchange.DeleteOk), lsn)


def bind(connection: Connection, channel: Channel, frame: Any) -> None:
    """``exchange.bind``."""
    lsn = topology.bind(
        caller_of(connection), frame.source, frame.destination, False, frame.routing_key, frame.arguments
    )
    if not frame.nowait:
        channel.reply(encode(commands.Exchange.BindOk), lsn)


def unbind(connection: Connection, channel: Channel, frame: Any) -> None:
    """``exchange.unbind``."""
    lsn = topology.unbind(
        caller_of(connection), frame.source, frame.destination, False, frame.routing_key, frame.arguments
    )
    if not frame.nowait:
        channel.reply(encode(commands.Exchange.UnbindOk), lsn)
