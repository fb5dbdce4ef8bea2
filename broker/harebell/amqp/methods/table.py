"""Which handler takes which method, and in which state a method may come at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import i64
from pamqp import commands

from harebell.amqp import closing
from harebell.amqp.channel import Channel
from harebell.amqp.connection import AWAIT_OPEN, CLOSED, CLOSING, OPEN, ColdMethods, Connection
from harebell.amqp.constants import CHANNEL_CLOSE, CHANNEL_CLOSE_OK, CLASS_CONNECTION
from harebell.amqp.handshake import Handshake
from harebell.amqp.method_codec import decode, encode
from harebell.amqp.methods import basic, channel, confirm, connection, exchange, queue, tx
from harebell.errors import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    CONNECTION_FORCED,
    INTERNAL_ERROR,
    UNEXPECTED_FRAME,
    BrokerError,
)

ChannelHandler = Callable[[Connection, Channel, Any], None]
ConnectionHandler = Callable[[Connection, Any], None]

CHANNEL_METHODS: Final[dict[int, ChannelHandler]] = {
    commands.Channel.Flow.index: channel.flow,
    commands.Channel.FlowOk.index: channel.flow_ok,
    commands.Channel.Close.index: channel.close,
    commands.Exchange.Declare.index: exchange.declare,
    commands.Exchange.Delete.index: exchange.delete,
    commands.Exchange.Bind.index: exchange.bind,
    commands.Exchange.Unbind.index: exchange.unbind,
    commands.Queue.Declare.index: queue.declare,
    commands.Queue.Bind.index: queue.bind,
    commands.Queue.Unbind.index: queue.unbind,
    commands.Queue.Purge.index: queue.purge,
    commands.Queue.Delete.index: queue.delete,
    commands.Basic.Qos.index: basic.qos,
    commands.Basic.Consume.index: basic.consume,
    commands.Basic.Cancel.index: basic.cancel,
    commands.Basic.CancelOk.index: basic.cancel_ok,
    commands.Basic.Get.index: basic.get,
    commands.Basic.Recover.index: basic.recover,
    commands.Basic.RecoverAsync.index: basic.recover_async,
    commands.Confirm.Select.index: confirm.select,
    commands.Tx.Select.index: tx.select,
    commands.Tx.Commit.index: tx.commit,
    commands.Tx.Rollback.index: tx.rollback,
}

CONNECTION_METHODS: Final[dict[int, ConnectionHandler]] = {
    commands.Connection.Close.index: connection.close,
    commands.Connection.CloseOk.index: connection.close_ok,
}

ACCESS_REQUEST: Final = 0x001E000A
ACCESS_REQUEST_OK: Final = b"\x00\x1e\x00\x0b\x00\x01"

Log = Callable[[str, Connection, str], None]
"""Called with a level, the connection and a sentence."""


class Methods(ColdMethods):
    """Routes every method that does not run per message to its handler.

    Args:
        handshake: takes the methods before ``connection.open-ok``.
        log: where sentences for the operator go.
        crash: told about exceptions nobody expected, with the connection they ended.
    """

    def __init__(
        self, handshake: Handshake, log: Log, crash: Callable[[Connection, Exception], None]
    ) -> None:
        self._handshake = handshake
        self._log = log
        self._crash = crash

    def header(self, connection: Connection, header: bytes) -> None:
        """Take the protocol header."""
        self._handshake.header(connection, header)

    def method(self, connection: Connection, number: i64, method: i64, payload: bytes) -> None:
        """Take a method frame.

        Raises:
            BrokerError: CHANNEL_ERROR, COMMAND_INVALID, UNEXPECTED_FRAME and whatever handlers raise.
        """
        if connection.phase == CLOSED:
            return
        if method >> 16 == CLASS_CONNECTION:
            self._connection_method(connection, number, method, payload)
        elif connection.phase == CLOSING:
            return
        elif connection.phase != OPEN:
            raise BrokerError(CHANNEL_ERROR, "the connection is not open yet")
        elif number == 0:
            raise BrokerError(CHANNEL_ERROR, "a channel method on channel 0")
        else:
            self._channel_method(connection, number, method, payload)

    def _connection_method(self, connection: Connection, number: int, method: int, payload: bytes) -> None:
        if number != 0:
            raise BrokerError(COMMAND_INVALID, "a connection method belongs on channel 0")
        handler = CONNECTION_METHODS.get(method)
        if handler is not None:
            handler(connection, decode(method, payload))
        elif connection.phase != CLOSING:
            self._handshake.method(connection, method, decode(method, payload))

    def _channel_method(self, connection: Connection, number: int, method: int, payload: bytes) -> None:
        opened = connection.channels.get(number)
        if opened is not None and opened.closing:
            self._while_closing(connection, opened, method)
            return
        if method == commands.Channel.Open.index:
            decode(method, payload)
            channel.open_channel(connection, number, opened)
            return
        if opened is None:
            if method != CHANNEL_CLOSE_OK:
                raise BrokerError(CHANNEL_ERROR, f"channel {number} is not open")
            return
        if not opened.expects_method():
            raise BrokerError(UNEXPECTED_FRAME, "expected content, got a method frame")
        if method == ACCESS_REQUEST:
            opened.reply(ACCESS_REQUEST_OK, 0)
            return
        handler = CHANNEL_METHODS.get(method)
        frame = decode(method, payload)
        if handler is None:
            if method == CHANNEL_CLOSE_OK:
                return
            raise BrokerError(COMMAND_INVALID, f"{frame.name} is not for clients to send")
        handler(connection, opened, frame)

    def _while_closing(self, connection: Connection, closing_channel: Channel, method: int) -> None:
        if method == CHANNEL_CLOSE_OK:
            connection.forget_channel(closing_channel.number)
        elif method == CHANNEL_CLOSE:
            connection.out.method(closing_channel.wire, encode(commands.Channel.CloseOk))
            connection.forget_channel(closing_channel.number)

    def failed(self, connection: Connection, number: i64, method: i64, error: BrokerError) -> None:
        """Turn an error into the right close, and say so in the log."""
        self._log("error" if error.row.hard else "warning", connection, f"channel {number}: {error}")
        closing.fail(connection, int(number), int(method), error)

    def crashed(self, connection: Connection, number: i64, method: i64, error: Exception) -> None:
        """Log an unexpected exception once and close with 541; the broker lives."""
        self._crash(connection, error)
        closing.close_connection(connection, int(method), BrokerError(INTERNAL_ERROR, "unexpected error"))

    def cancel_consumer(self, connection: Connection, channel: Channel, tag: str) -> None:
        """Send ``basic.cancel`` to a client that declared ``consumer_cancel_notify``."""
        if connection.capabilities.get("consumer_cancel_notify") is True and not channel.closing:
            channel.reply(encode(commands.Basic.Cancel, consumer_tag=tag, nowait=True), 0)

    def forced(self, connection: Connection, text: str) -> None:
        """Close with 320."""
        if connection.phase == OPEN or connection.phase == AWAIT_OPEN:
            closing.close_connection(connection, 0, BrokerError(CONNECTION_FORCED, text))
        else:
            connection.wants_close = True

    def set_blocked(self, connection: Connection, reason: str | None) -> None:
        """Send ``connection.blocked`` or ``unblocked`` to a client that declared the capability."""
        if connection.capabilities.get("connection.blocked") is not True or connection.phase != OPEN:
            return
        if reason is None:
            connection.out.method(0, encode(commands.Connection.Unblocked))
        else:
            connection.out.method(0, encode(commands.Connection.Blocked, reason=reason))

    def lost(self, connection: Connection) -> None:
        """The socket is gone."""
        closing.connection_lost(connection)
