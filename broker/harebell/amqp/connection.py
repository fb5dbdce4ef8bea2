"""One client connection: bytes in, calls into channels and engine, frames into the outbox.

Sans-I/O: the transport calls ``receive_data``, ``receive_eof`` and ``tick`` and writes what the outbox
gathered.  What runs per message is here and in ``channel``; every other method goes to a
:class:`ColdMethods`, which holds no state of its own.

Phases, in order; only ``closing.py`` and ``handshake.py`` change them::

    AWAIT_HEADER -> AWAIT_START_OK -> AWAIT_TUNE_OK -> AWAIT_OPEN -> OPEN -> CLOSING -> CLOSED
                     (AWAIT_SECURE_OK, AWAIT_LOGIN between)
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64, mypyc_attr

from harebell.amqp.channel import Channel
from harebell.amqp.constants import (
    BASIC_ACK,
    BASIC_NACK,
    BASIC_PUBLISH,
    BASIC_REJECT,
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    FRAME_TOLERANCE,
    HANDSHAKE_FRAME_MAX,
)
from harebell.amqp.inspection import channel_table, connection_table, consumer_table
from harebell.amqp.outbox import Outbox
from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.broker import Broker
from harebell.engine.routing import Route
from harebell.engine.samples import Samples
from harebell.engine.vhost import Vhost
from harebell.errors import CHANNEL_ERROR, FRAME_ERROR, SYNTAX_ERROR, UNEXPECTED_FRAME, BrokerError
from harebell.ports import Clock, Journal, SessionHandle, User

AWAIT_HEADER: Final = 0
AWAIT_START_OK: Final = 1
AWAIT_SECURE_OK: Final = 2
AWAIT_LOGIN: Final = 3
AWAIT_TUNE_OK: Final = 4
AWAIT_OPEN: Final = 5
OPEN: Final = 6
CLOSING: Final = 7
CLOSED: Final = 8

REPLIES_AHEAD: Final = 4 * 1024 * 1024
"""Bytes of answers that may gather in one turn; the requests behind them wait until they are written."""

TAIL_PIECES: Final = 64
TAIL_PIECE_BYTES: Final = 512
"""So many pieces of a frame are joined if they are smaller on average: a piece costs more than its bytes."""

LOGIN_BACKLOG: Final = 64 * 1024
"""Bytes taken from a peer while its login is being checked."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ColdMethods:
    """What handles the methods that do not run per message; see ``methods/``."""

    def header(self, connection: Connection, header: bytes) -> None:
        """Take the eight octets of the protocol header."""
        raise NotImplementedError

    def method(self, connection: Connection, number: i64, method: i64, payload: bytes) -> None:
        """Take a method frame's payload."""
        raise NotImplementedError

    def failed(self, connection: Connection, number: i64, method: i64, error: BrokerError) -> None:
        """Turn an error into the right close."""
        raise NotImplementedError

    def crashed(self, connection: Connection, number: i64, method: i64, error: Exception) -> None:
        """Log an unexpected exception and close with 541."""
        raise NotImplementedError

    def cancel_consumer(self, connection: Connection, channel: Channel, tag: str) -> None:
        """Tell a capable client that its consumer is gone."""
        raise NotImplementedError

    def forced(self, connection: Connection, text: str) -> None:
        """Close with 320."""
        raise NotImplementedError

    def set_blocked(self, connection: Connection, reason: str | None) -> None:
        """Send ``connection.blocked``, or ``unblocked`` for None."""
        raise NotImplementedError

    def lost(self, connection: Connection) -> None:
        """The socket is gone: give everything back."""
        raise NotImplementedError


class AwaitingJournal:
    """Channels whose replies or confirms wait for the journal."""

    def __init__(self) -> None:
        self.channels: dict[Channel, None] = {}


class Connection(SessionHandle):
    """State of one connection.

    Attributes:
        id: unique on the node.
        phase: where the connection is in its life.
        vhost, user: set once opened.
        routes: the shared route cache of the user in the virtual host.
        channels: by number.
        heard, said: True if anything was received or sent since the last tick.
        has_published: True once it published; alarms block only such connections.
        blocked: True while ``connection.blocked`` is in force.
        secure: True behind TLS.
        certificate_name: the user name that the client's verified certificate stands for, or None.
        stalled: True while frames wait because the client has not read the answers to earlier ones, or is
            ahead of what a queue takes.
        slow_until: clock milliseconds until it waits for a queue's publish rate; 0 if it does not.
        wants_close: True once the socket is to be closed after the outbox is written.
        connected_at: unix milliseconds.
        received_octets, received_chunks: read so far, and in how many goes.
        samples: the recent past of its counters, once somebody looked.
        tls: what is to be shown of its TLS session, by RabbitMQ's field names (``ssl_protocol``,
            ``ssl_cipher``, ``peer_cert_subject``, ...); empty without TLS.
    """

    def __init__(
        self, broker: Broker, cold: ColdMethods, out: Outbox, awaiting: AwaitingJournal, peer: str, host: str
    ) -> None:
        self.broker = broker
        self.cold = cold
        self.out = out
        self.awaiting = awaiting
        self.peer = peer
        self.host = host
        self.journal: Journal = broker.journal
        self.clock: Clock = broker.clock
        self.max_message_size: i64 = broker.limits.max_message_size
        self.continues_death_history: bool = broker.limits.continue_death_history
        self.max_transaction_size: i64 = broker.limits.max_transaction_size
        self.id: i64 = broker.sessions.next_id()
        self.phase: i64 = AWAIT_HEADER
        self.vhost: Vhost | None = None
        self.user: User | None = None
        self.routes: dict[bytes, Route] = {}
        self.channels: dict[int, Channel] = {}
        self.confirming: list[Channel] = []
        self.client_properties: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.frame_limit: i64 = HANDSHAKE_FRAME_MAX
        self.channel_max: i64 = 0
        self.heartbeat: i64 = 0
        self.opened_at: i64 = self.clock.now
        self.connected_at: i64 = self.clock.wall
        self.received_octets: i64 = 0
        self.received_chunks: i64 = 0
        self.samples: Samples | None = None
        self.tls: dict[str, object] = {}
        self.closing_since: i64 = 0
        self.heard: bool = False
        self.said: bool = False
        self.last_heard: i64 = self.clock.now
        self.last_said: i64 = self.clock.now
        self.has_published: bool = False
        self.blocked: bool = False
        self.stalled: bool = False
        self.slow_until: i64 = 0
        self.wants_close: bool = False
        self.certificate_name: str | None = None
        self.secure: bool = False
        self.dynamic_qos: bool = False
        self.mechanism = ""
        self.close_reason = ""
        self._current: Channel | None = None
        self._method: i64 = 0
        self._number: i64 = 0
        self._offset: i64 = 0
        self._tail: list[bytes] = []
        self._tail_size: i64 = 0
        self._need: i64 = 8

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they come off the wire, in any split.

        Args:
            data: not kept beyond the call, except slices of messages and a partial frame at the end.
        """
        self.heard = True
        self.received_octets += len(data)
        self.received_chunks += 1
        if self.stalled:
            self._tail.append(data)
            self._tail_size += len(data)
            return
        if self._tail:
            self._tail.append(data)
            self._tail_size += len(data)
            if self._tail_size < self._need:
                if len(self._tail) >= TAIL_PIECES and self._tail_size < len(self._tail) * TAIL_PIECE_BYTES:
                    self._tail = [b"".join(self._tail)]
                return
            data = b"".join(self._tail)
            self._tail = []
            self._tail_size = 0
        elif len(data) < self._need and self._need > FRAME_OVERHEAD:
            self._keep(data)
            return
        self._offset = 0
        if self.phase == AWAIT_HEADER:
            if len(data) < 8:
                self._keep(data)
                return
            self._offset = 8
            self.cold.header(self, data[:8])
        self._frames(data)
        if self.confirming:
            self._emit_confirms()

    def receive_eof(self) -> None:
        """The socket is gone."""
        self.cold.lost(self)

    def resume(self) -> None:
        """Go on with bytes kept while a login was being checked or answers were not read."""
        self.stalled = False
        if self._tail:
            data = b"".join(self._tail)
            self._tail = []
            self._tail_size = 0
            self._offset = 0
            self._frames(data)
            if self.confirming:
                self._emit_confirms()

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size = len(data)

    def _frames(self, data: bytes) -> None:
        size: i64 = len(data)
        while self.phase != CLOSED and not self.wants_close and not self.stalled:
            if self.phase == AWAIT_LOGIN:
                break
            try:
                if self._scan(data):
                    break
            except BrokerError as error:
                self.cold.failed(self, self._number, self._method, error)
            except Exception as error:
                self.cold.crashed(self, self._number, self._method, error)
        offset: i64 = self._offset
        self._need = FRAME_OVERHEAD
        if self.phase == CLOSED or self.wants_close:
            return
        if offset < size:
            rest = data[offset:] if offset > 0 else data
            if len(rest) >= 7 and self.phase != AWAIT_LOGIN:
                self._need = i64(read_i32_be(rest, 3)) + FRAME_OVERHEAD
            elif self.phase == AWAIT_LOGIN and len(rest) > LOGIN_BACKLOG:
                self.wants_close = True
                return
            self._keep(rest)

    def _scan(self, data: bytes) -> bool:
        """Handle the frames of a chunk from ``_offset`` on; True when only a partial one is left."""
        offset: i64 = self._offset
        size: i64 = len(data)
        limit: i64 = self.frame_limit
        while size - offset >= 7:
            kind: i64 = data[offset]
            number: i64 = i64(read_i16_be(data, offset + 1)) & 0xFFFF
            length: i64 = i64(read_i32_be(data, offset + 3))
            self._number = number
            if length < 0 or length > limit:
                self._method = 0
                self._number = 0
                self._offset = size
                raise BrokerError(FRAME_ERROR, "frame size exceeds the negotiated maximum")
            start: i64 = offset + 7
            end: i64 = start + length
            if end >= size:
                break
            offset = end + 1
            self._offset = offset
            if data[end] != FRAME_END:
                self._method = 0
                self._number = 0
                self._offset = size
                raise BrokerError(FRAME_ERROR, "frame does not end with the frame-end octet")
            channel = self._current
            if channel is None or channel.number != number:
                channel = self.channels.get(number)
                self._current = channel
            if channel is None or channel.closing or self.phase != OPEN:
                self._frame(data, kind, number, start, end)
                if self.wants_close or self.phase == AWAIT_LOGIN:
                    return True
                limit = self.frame_limit
            elif kind == FRAME_BODY:
                self._method = BASIC_PUBLISH
                channel.add_body(data, start, end)
                if self.slow_until != 0:
                    self.stalled = True
                    return True
            elif kind == FRAME_HEADER:
                self._method = BASIC_PUBLISH
                channel.begin_content(data, start, end)
                if self.slow_until != 0:
                    self.stalled = True
                    return True
            elif kind == FRAME_METHOD and length >= 4:
                method: i64 = i64(read_i32_be(data, start))
                self._method = method
                if method == BASIC_PUBLISH:
                    # Compiled, a slice whose start lies behind its end is an error, not empty.
                    channel.begin_publish(data[start + 6 : end] if length > 6 else b"")
                elif not channel.expects_method():
                    raise BrokerError(UNEXPECTED_FRAME, "expected content, got a method frame")
                elif method == BASIC_ACK and length == 13:
                    channel.ack(read_i64_be(data, start + 4), data[start + 12] & 1 == 1)
                elif method == BASIC_REJECT and length == 13:
                    channel.nack(read_i64_be(data, start + 4), False, data[start + 12] & 1 == 1, True)
                elif method == BASIC_NACK and length == 13:
                    bits: i64 = data[start + 12]
                    channel.nack(read_i64_be(data, start + 4), bits & 1 == 1, bits & 2 == 2, False)
                else:
                    self.cold.method(self, number, method, data[start:end])
                    if self.out.pending() > REPLIES_AHEAD:
                        self.stalled = True
                    if self.wants_close or self.stalled:
                        return True
            else:
                self._frame(data, kind, number, start, end)
        return True

    def _frame(self, data: bytes, kind: i64, number: i64, start: i64, end: i64) -> None:
        """Handle a frame outside the hot path: no open channel, or no ordinary kind."""
        self._method = 0
        if kind == FRAME_METHOD:
            if end - start < 4:
                raise BrokerError(SYNTAX_ERROR, "method frame is too short")
            method: i64 = i64(read_i32_be(data, start))
            self._method = method
            self.cold.method(self, number, method, data[start:end])
        elif kind == FRAME_HEARTBEAT:
            if end != start:
                self._number = 0
                raise BrokerError(FRAME_ERROR, "a heartbeat frame carries nothing")
            if number != 0:
                self._number = 0
                raise BrokerError(UNEXPECTED_FRAME, "a heartbeat frame belongs on channel 0")
        elif kind in (FRAME_HEADER, FRAME_BODY):
            channel = self.channels.get(number)
            if self.phase == CLOSING or (channel is not None and channel.closing):
                return
            if self.phase == OPEN and number != 0:
                raise BrokerError(CHANNEL_ERROR, "content on a channel that is not open")
            self._number = 0
            raise BrokerError(UNEXPECTED_FRAME, "content where no content can be")
        else:
            self._number = 0
            raise BrokerError(FRAME_ERROR, "unknown frame type " + str(kind))

    def resolve(self, arguments: bytes) -> Route:
        """Work out a route that is not cached."""
        vhost = self.vhost
        user = self.user
        assert vhost is not None and user is not None
        return vhost.resolve(user, arguments)

    def set_frame_max(self, frame_max: i64) -> None:
        """Apply the negotiated frame size to both directions; 0 is unlimited."""
        self.out.set_frame_max(frame_max)
        if frame_max > 0:
            self.frame_limit = frame_max - FRAME_OVERHEAD + FRAME_TOLERANCE
        else:
            # Without a negotiated maximum no frame need be larger than the largest message.
            self.frame_limit = max(self.max_message_size, HANDSHAKE_FRAME_MAX)

    def _emit_confirms(self) -> None:
        durable: i64 = self.journal.durable
        confirming = self.confirming
        self.confirming = []
        for channel in confirming:
            channel.confirms.queued = False
            if not channel.closing and channel.release(durable):
                self.wait_for_journal(channel)

    def wait_for_journal(self, channel: Channel) -> None:
        """List a channel whose replies or confirms wait for the journal."""
        self.awaiting.channels[channel] = None

    def forget_channel(self, number: i64) -> None:
        """Drop a channel number; it may be opened again."""
        channel = self.channels.pop(number, None)
        if channel is not None:
            self.awaiting.channels.pop(channel, None)
            self.channel_gone(channel)
        self._current = None

    def channel_gone(self, channel: Channel) -> None:
        """Keep what a channel counted that is forgotten."""
        self.broker.counters.channels_closed += 1
        vhost = self.vhost
        if vhost is not None:
            vhost.counters.confirmed += channel.confirms.confirmed
            vhost.counters.awaited += channel.confirms.published

    def cancel_consumer(self, channel: Channel, tag: str) -> None:
        """Tell the client that a consumer is gone with its queue."""
        self.cold.cancel_consumer(self, channel, tag)

    def held_bytes(self) -> i64:
        """Bytes its channels hold outside queues."""
        total: i64 = 0
        for channel in self.channels.values():
            total += channel.held_bytes()
        return total

    def info(self) -> Table:
        """Describe the connection in the fields of RabbitMQ's HTTP API, without rates."""
        return connection_table(self)

    def channel_infos(self) -> list[Table]:
        """Describe its channels in the fields of RabbitMQ's HTTP API, without rates."""
        return [channel_table(channel) for channel in self.channels.values()]

    def consumer_infos(self) -> list[Table]:
        """Describe its consumers in the fields of RabbitMQ's HTTP API."""
        vhost = "" if self.vhost is None else self.vhost.name
        return [
            consumer_table(consumer, vhost)
            for channel in self.channels.values()
            for consumer in channel.consumers.values()
        ]

    def unacked_messages(self, segment: i64) -> list[tuple[int, int, Message, int]]:
        """List queue id, position, message and returns of unanswered deliveries recorded in a segment."""
        found: list[tuple[int, int, Message, int]] = []
        for channel in self.channels.values():
            for entry in channel.window.in_segment(segment):
                if entry.queue.keeps_all:
                    continue
                found.append((entry.queue.id, entry.position, entry.message, entry.returns))
            if channel.transaction is not None:
                for entry in channel.transaction.answered():
                    found.append((entry.queue.id, entry.position, entry.message, entry.returns))
        return found

    def writable_again(self) -> None:
        """The client reads again: let its consumers take part."""
        for channel in self.channels.values():
            channel.unpark_all()

    def close_session(self, text: str) -> None:
        """Close with 320 CONNECTION_FORCED."""
        self.cold.forced(self, text)

    def block(self, reason: str) -> None:
        """Tell a publisher that it must wait."""
        if not self.blocked:
            self.blocked = True
            self.cold.set_blocked(self, reason)

    def unblock(self) -> None:
        """Tell a publisher that it may go on."""
        if self.blocked:
            self.blocked = False
            self.cold.set_blocked(self, None)
