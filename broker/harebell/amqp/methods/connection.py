"""``connection.close`` from either side."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.closing import release_connection
from harebell.amqp.connection import AWAIT_HEADER, CLOSED, CLOSING, Connection
from harebell.amqp.method_codec import encode


def close(connection: Connection, frame: Any) -> None:
    """The client closes: give everything back, then answer; clients redeclare right after close-ok."""
    if connection.phase == AWAIT_HEADER:
        return
    release_connection(connection)
    connection.out.method(0, encode(commands.Connection.CloseOk))
    if connection.phase == CLOSING:
        connection.wants_close = True
    connection.phase = CLOSED
    connection.closing_since = connection.clock.now


def close_ok(connection: Connection, frame: Any) -> None:
    """The client has seen our close: the socket may go."""
    if connection.phase == CLOSING:
        connection.phase = CLOSED
        connection.wants_close = True
