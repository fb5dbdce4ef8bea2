"""From the protocol header to ``connection.open-ok`` (AMQP 0-9-1 section 2.2.4), as RabbitMQ does it.

::

    client                         broker
    protocol header ------------->
                    <------------- connection.start
    start-ok ------------------->  (secure / secure-ok for challenge mechanisms)
                    <------------- connection.tune
    tune-ok, open --------------->
                    <------------- open-ok
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pamqp import commands

from harebell.amqp.closing import close_connection, delete_if_abandoned
from harebell.amqp.connection import (
    AWAIT_LOGIN,
    AWAIT_OPEN,
    AWAIT_START_OK,
    AWAIT_TUNE_OK,
    CLOSING,
    OPEN,
    Connection,
)
from harebell.amqp.constants import FRAME_MIN, OLD_PROTOCOL_HEADER, PROTOCOL_HEADER
from harebell.amqp.method_codec import encode
from harebell.amqp.sasl import parse_response
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.reply_to import ReplyQueue
from harebell.errors import ACCESS_REFUSED, CHANNEL_ERROR, COMMAND_INVALID, NOT_ALLOWED, BrokerError
from harebell.ports import Login, User

CLIENT_PROPERTY_LIMIT: Final = 64
"""Client properties kept for inspection; more than any client sends."""


class HandshakeOptions:
    """What is offered to clients.

    Args:
        mechanisms: SASL mechanisms, in order of preference.
        frame_max: largest frame, bytes; 0 is unlimited.
        channel_max: channels per connection; 0 is unlimited.
        heartbeat: suggested heartbeat, seconds; the client's answer decides.
        max_connections: connections of the node; 0 is unlimited.
        dynamic_qos: ``on``, ``off``, or ``auto`` for clients that count on changing running consumers.
    """

    def __init__(
        self,
        mechanisms: tuple[str, ...] = ("PLAIN", "AMQPLAIN"),
        frame_max: int = 131072,
        channel_max: int = 2047,
        heartbeat: int = 60,
        max_connections: int = 0,
        dynamic_qos: str = "auto",
    ) -> None:
        self.mechanisms = mechanisms
        self.frame_max = frame_max
        self.channel_max = channel_max
        self.heartbeat = heartbeat
        self.max_connections = max_connections
        self.dynamic_qos = dynamic_qos


class Handshake:
    """Takes connections from the protocol header to the open state; holds no state of any one of them.

    Args:
        log: told what operators look for in a log: level, connection, sentence.
    """

    def __init__(self, options: HandshakeOptions, log: Callable[[str, Connection, str], None]) -> None:
        self.options = options
        self._log = log
        self._steps: dict[int, tuple[int, Callable[[Connection, Any], None]]] = {
            AWAIT_START_OK: (commands.Connection.StartOk.index, self._start_ok),
            AWAIT_TUNE_OK: (commands.Connection.TuneOk.index, self._tune_ok),
            AWAIT_OPEN: (commands.Connection.Open.index, self._open),
            OPEN: (commands.Connection.UpdateSecret.index, self._update_secret),
        }

    def header(self, connection: Connection, header: bytes) -> None:
        """Take the protocol header; anything but ours is answered with ours and a closed socket."""
        if header not in (PROTOCOL_HEADER, OLD_PROTOCOL_HEADER):
            self._log("warning", connection, what_is_it(header))
            connection.out.raw(PROTOCOL_HEADER)
            connection.wants_close = True
            return
        connection.phase = AWAIT_START_OK
        connection.out.method(
            0,
            encode(
                commands.Connection.Start,
                version_major=0,
                version_minor=9,
                server_properties=connection.broker.server_properties,
                mechanisms=" ".join(self._offered(connection)),
                locales="en_US",
            ),
        )

    def _offered(self, connection: Connection) -> list[str]:
        """List the mechanisms for a client: EXTERNAL only where a verified certificate names it."""
        named = connection.certificate_name is not None
        return [each for each in self.options.mechanisms if named or each != "EXTERNAL"]

    def method(self, connection: Connection, method: int, frame: Any) -> None:
        """Take a connection method other than close and close-ok.

        Raises:
            BrokerError: CHANNEL_ERROR if it does not belong to this phase, and what the steps raise.
        """
        step = self._steps.get(connection.phase)
        if step is None or step[0] != method:
            raise BrokerError(
                CHANNEL_ERROR, f"unexpected method {frame.name} in this state of the connection"
            )
        step[1](connection, frame)

    def _start_ok(self, connection: Connection, frame: Any) -> None:
        properties = frame.client_properties
        connection.client_properties = dict(list(properties.items())[:CLIENT_PROPERTY_LIMIT])
        capabilities = properties.get("capabilities")
        connection.capabilities = capabilities if isinstance(capabilities, dict) else {}
        mode = self.options.dynamic_qos
        connection.dynamic_qos = mode == "on" or (mode == "auto" and properties.get("product") == "py-amqp")
        connection.mechanism = frame.mechanism
        if frame.mechanism not in self._offered(connection):
            raise BrokerError(COMMAND_INVALID, f"unknown authentication mechanism '{frame.mechanism}'")
        login = parse_response(frame.mechanism, frame.response)
        login.peer = connection.host
        login.certificate_name = connection.certificate_name
        connection.phase = AWAIT_LOGIN
        connection.broker.access.authenticate(login, lambda user: self._logged_in(connection, login, user))

    def _logged_in(self, connection: Connection, login: Login, user: User | None) -> None:
        if connection.phase != AWAIT_LOGIN:
            return
        if user is None:
            self._refuse(connection, login)
        else:
            self._tune(connection, user)
        # Where checking took its time, the client may have gone on.
        connection.resume()

    def _tune(self, connection: Connection, user: User) -> None:
        connection.user = user
        connection.phase = AWAIT_TUNE_OK
        options = self.options
        connection.out.method(
            0,
            encode(
                commands.Connection.Tune,
                channel_max=options.channel_max,
                frame_max=options.frame_max,
                heartbeat=options.heartbeat,
            ),
        )

    def _refuse(self, connection: Connection, login: Login) -> None:
        """Refuse a login: with 403 to clients that understand it, else drop the socket a while later."""
        text = (
            f"Login was refused using authentication mechanism {login.mechanism}. "
            "For details see the broker logfile."
        )
        name = login.certificate_name or "" if login.mechanism == "EXTERNAL" else login.username
        sentence = f"{login.mechanism} login refused: user '{name}'"
        self._log("error", connection, f"{sentence} - {login.refusal}" if login.refusal else sentence)
        if connection.capabilities.get("authentication_failure_close") is True:
            close_connection(connection, 0, BrokerError(ACCESS_REFUSED, text))
        else:
            connection.phase = CLOSING
            connection.closing_since = connection.clock.now
            connection.close_reason = text

    def _tune_ok(self, connection: Connection, frame: Any) -> None:
        options = self.options
        if options.channel_max and not 0 < frame.channel_max <= options.channel_max:
            raise BrokerError(
                NOT_ALLOWED,
                f"negotiated channel_max = {frame.channel_max} is higher than the maximum allowed value "
                f"({options.channel_max})",
            )
        if options.frame_max and not 0 < frame.frame_max <= options.frame_max:
            raise BrokerError(
                NOT_ALLOWED,
                f"negotiated frame_max = {frame.frame_max} is higher than the maximum allowed value "
                f"({options.frame_max})",
            )
        if 0 < frame.frame_max < FRAME_MIN:
            raise BrokerError(
                NOT_ALLOWED,
                f"negotiated frame_max = {frame.frame_max} is lower than the minimum allowed value "
                f"({FRAME_MIN})",
            )
        connection.channel_max = frame.channel_max
        connection.set_frame_max(frame.frame_max)
        connection.heartbeat = frame.heartbeat * 1000
        connection.phase = AWAIT_OPEN

    def _open(self, connection: Connection, frame: Any) -> None:
        broker, user = connection.broker, connection.user
        assert user is not None
        limit = self.options.max_connections
        if limit and len(broker.sessions) >= limit:
            raise BrokerError(NOT_ALLOWED, f"connection refused: node connection limit ({limit}) is reached")
        vhost = broker.vhost(frame.virtual_host)
        # Limits before permissions: the order of RabbitMQ's answers.
        vhost.check_connection_limit(user, vhost.connections)
        _check_user_connections(connection, user)
        _check_access(connection, user, vhost.name)
        vhost.connections += 1
        connection.vhost = vhost
        connection.routes = vhost.route_cache(user)
        connection.phase = OPEN
        broker.sessions.opened(connection.id, connection, user.name)
        connection.out.method(0, encode(commands.Connection.OpenOk))
        self._log(
            "info",
            connection,
            f"connection {connection.peer}: user '{user.name}' authenticated and granted access to "
            f"vhost '{vhost.name}'",
        )

    def _update_secret(self, connection: Connection, frame: Any) -> None:
        user = connection.user
        assert user is not None

        def done(renewed: User | None) -> None:
            if connection.phase != OPEN:
                return
            method = commands.Connection.UpdateSecret.index
            if renewed is None:
                refusal = BrokerError(NOT_ALLOWED, "New secret was refused by one of the backends")
                close_connection(connection, method, refusal)
                return
            vhost = connection.vhost
            assert vhost is not None
            try:
                _check_access(connection, renewed, vhost.name)
            except BrokerError as refused:
                close_connection(connection, method, refused)
                return
            connection.user = renewed
            _cancel_unreadable(connection)
            connection.out.method(0, encode(commands.Connection.UpdateSecretOk))

        connection.broker.access.renew(user, bytes(frame.new_secret), done)


def _check_user_connections(connection: Connection, user: User) -> None:
    """Check that the user may have one more connection.

    Raises:
        BrokerError: NOT_ALLOWED in RabbitMQ's words.
    """
    broker = connection.broker
    limit = broker.access.limit(user, "max-connections")
    if 0 <= limit <= broker.sessions.count(user.name):
        raise BrokerError(
            NOT_ALLOWED,
            f"connection refused for user '{user.name}': user connection limit ({limit}) is reached",
        )


def _check_access(connection: Connection, user: User, vhost: str) -> None:
    if not connection.broker.access.may_open(user, vhost):
        raise BrokerError(NOT_ALLOWED, f"access to vhost '{vhost}' refused for user '{user.name}'")


def _cancel_unreadable(connection: Connection) -> None:
    """Cancel the consumers of queues that the user may not read any more, as RabbitMQ 4 does."""
    for channel in list(connection.channels.values()):
        for tag, consumer in list(channel.consumers.items()):
            queue = consumer.queue
            if not _may_read(connection, queue):
                channel.remove_consumer(tag)
                connection.cancel_consumer(channel, tag)
                delete_if_abandoned(connection, queue.name)


def _may_read(connection: Connection, queue: Queue) -> bool:
    vhost, user, access = connection.vhost, connection.user, connection.broker.access
    assert vhost is not None and user is not None
    if isinstance(queue, ReplyQueue):
        return True
    names = [queue.name]
    if isinstance(queue, StreamQueue) and queue.retains_for is not None:
        # What a queue retains is read by that queue's name, too.
        names.append(queue.retains_for.name)
    return any(access.allowed(user, vhost.name, "read", name) for name in names)


def what_is_it(header: bytes) -> str:
    """Say in plain words what a peer that does not speak AMQP 0-9-1 seems to speak."""
    if header[:4] == b"AMQP":
        version = ".".join(str(octet) for octet in header[4:])
        return f"client asked for AMQP version {version}; answered with 0-9-1 and closed"
    if header[:4] in (b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE"):
        return "client speaks HTTP on the AMQP port; closed"
    if header[:1] == b"\x16" and header[1:2] == b"\x03":
        return "client started TLS on the plain AMQP port; closed"
    return f"client sent a bad protocol header {header!r}; closed"
