"""From a connection to the engine's idea of who asks."""

from __future__ import annotations

from harebell.amqp.connection import Connection
from harebell.engine.topology import Caller


def caller_of(connection: Connection) -> Caller:
    """Give the caller an open connection stands for."""
    vhost, user = connection.vhost, connection.user
    assert vhost is not None and user is not None
    return Caller(connection.broker, vhost, user, connection.id)
