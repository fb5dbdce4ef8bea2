"""A small AMQP 0-9-1 client that blocks: enough to read a queue or a stream from the command line.

One connection, channel 1, one method at a time; deliveries that come meanwhile are kept. What the server
sends is bounded by the frame size that was agreed on and by :data:`MAX_BODY`.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from harebell.cli.api import Api
from harebell.cli.exits import DATA, NOT_PERMITTED, TEMPORARY, UNAVAILABLE, USAGE, Failure, address
from harebell.content.properties import Properties, parse_properties
from harebell.content.table import encode_table
from harebell.errors import MalformedContent

FRAME_MAX = 131_072
MAX_BODY = 1 << 29
SECONDS = 30.0

START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = ((10, one) for one in (10, 11, 30, 31, 40, 41))
CLOSE, CLOSE_OK = (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_OPEN_OK, CHANNEL_CLOSE = (20, 10), (20, 11), (20, 40)
DECLARE, DECLARE_OK, BIND, BIND_OK = (50, 10), (50, 11), (50, 20), (50, 21)
QOS, QOS_OK, CONSUME, CONSUME_OK, CANCEL = (60, 10), (60, 11), (60, 20), (60, 21), (60, 30)
DELIVER, ACK = (60, 60), (60, 80)

Id = tuple[int, int]


class Address(NamedTuple):
    """Where a broker takes AMQP connections, and whose."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that came.

    Attributes:
        tag: to acknowledge it by.
        exchange, routing_key: where it was published.
        properties: parsed.
        body: as octets.
    """

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes


def connect(api: Api, vhost: str, url: str | None) -> WireClient:
    """Open a connection to the broker whose API is given.

    Args:
        vhost: virtual host.
        url: AMQP address; when absent, the one the API names, with the API's login.

    Raises:
        Failure: there is none, or it refuses.
    """
    return WireClient(_named(url, vhost) if url else _listed(api, vhost))


def _named(url: str, vhost: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Failure(f"the AMQP URL cannot be used: {error}", USAGE) from None
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise Failure("an AMQP URL begins with amqp:// or amqps://", USAGE)
    tls = parts.scheme == "amqps"
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    named = unquote(parts.path[1:])
    return Address(parts.hostname, port or (5671 if tls else 5672), user, password, named or vhost, tls)


def _listed(api: Api, vhost: str) -> Address:
    listeners = api.get("overview")["listeners"]
    ports = [one["port"] for one in listeners if one["protocol"] == "amqp"]
    if not ports:
        raise Failure("the broker has no plain AMQP listener: name one with --amqp-url", UNAVAILABLE)
    host = api.host
    return Address(host, ports[0], api.user, api.password, vhost)


class WireClient:
    """A connection with channel 1 open.

    Args:
        where: the address and login.

    Raises:
        Failure: the broker does not answer, or refuses.
    """

    def __init__(self, where: Address) -> None:
        self._where = where
        self._deliveries: deque[Delivery] = deque()
        self._frame_max = FRAME_MAX
        self._socket = self._reach()
        try:
            self._log_in()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> WireClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye, if the broker still listens, and close."""
        try:
            self._socket.settimeout(2.0)
            self._send(0, CLOSE, struct.pack(">HBHH", 200, 0, 0, 0))
            while self._frame()[1][:4] != struct.pack(">HH", *CLOSE_OK):
                pass
        except (OSError, Failure):
            pass
        finally:
            self._socket.close()

    def declare_temporary(self) -> str:
        """Declare a queue of this connection alone, and return its name."""
        payload = struct.pack(">HB", 0, 0) + b"\x0c" + encode_table({"x-max-length": 100_000})
        return _short(self._call(DECLARE, payload, DECLARE_OK), 0)[0]

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue to an exchange."""
        payload = (
            b"\x00\x00" + _text(queue) + _text(exchange) + _text(routing_key) + b"\x00" + encode_table({})
        )
        self._call(BIND, payload, BIND_OK)

    def prefetch(self, count: int) -> None:
        """Bound what may be unacknowledged."""
        self._call(QOS, struct.pack(">IHB", 0, count, 0), QOS_OK)

    def consume(self, queue: str, *, no_ack: bool, arguments: dict[str, object] | None = None) -> None:
        """Begin to take deliveries."""
        flags = bytes([2 if no_ack else 0])
        payload = b"\x00\x00" + _text(queue) + b"\x00" + flags + encode_table(arguments or {})
        self._call(CONSUME, payload, CONSUME_OK)

    def ack(self, tag: int) -> None:
        """Acknowledge everything up to a delivery."""
        self._send(1, ACK, struct.pack(">QB", tag, 1))

    def next_delivery(self, timeout: float | None = None) -> Delivery | None:
        """Wait for a message.

        Args:
            timeout: seconds of silence after which None is returned; None waits for ever.
        """
        while not self._deliveries:
            self._socket.settimeout(timeout)
            try:
                kind, payload = self._frame()
            except TimeoutError:
                return None
            finally:
                self._socket.settimeout(SECONDS)
            self._take(kind, payload)
        return self._deliveries.popleft()

    def _reach(self) -> socket.socket:
        where = self._where
        name = address(where.host, where.port)
        try:
            found = socket.create_connection((where.host, where.port), SECONDS)
            if where.tls:
                return ssl.create_default_context().wrap_socket(found, server_hostname=where.host)
            return found
        except TimeoutError:
            raise Failure(f"{name} did not answer within {SECONDS:g} s", TEMPORARY) from None
        except OSError as error:
            raise Failure(f"{name} cannot be reached: {error.strerror or error}", UNAVAILABLE) from None

    def _log_in(self) -> None:
        where = self._where
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._wait(START)
        capabilities = {"authentication_failure_close": True, "consumer_cancel_notify": True}
        properties: dict[str, object] = {
            "product": "harebell",
            "connection_name": "harebell cli",
            "capabilities": capabilities,
        }
        response = f"\x00{where.user}\x00{where.password}".encode()
        login = encode_table(properties) + _text("PLAIN")
        login += struct.pack(">I", len(response)) + response + _text("en_US")
        tune = self._call(START_OK, login, TUNE, channel=0)
        offered = struct.unpack_from(">HIH", tune)[1]
        self._frame_max = min(offered or FRAME_MAX, FRAME_MAX)
        # No heartbeats: this client blocks while it waits.
        self._send(0, TUNE_OK, struct.pack(">HIH", 1, self._frame_max, 0))
        self._call(OPEN, _text(where.vhost) + b"\x00\x00", OPEN_OK, channel=0)
        self._call(CHANNEL_OPEN, b"\x00", CHANNEL_OPEN_OK)

    def _call(self, method: Id, payload: bytes, reply: Id, channel: int = 1) -> bytes:
        self._send(channel, method, payload)
        return self._wait(reply)

    def _send(self, channel: int, method: Id, payload: bytes) -> None:
        data = struct.pack(">HH", *method) + payload
        try:
            self._socket.sendall(struct.pack(">BHI", 1, channel, len(data)) + data + b"\xce")
        except OSError as error:
            raise Failure(f"the connection broke: {error.strerror or error}", UNAVAILABLE) from None

    def _wait(self, method: Id) -> bytes:
        while True:
            try:
                kind, payload = self._frame()
            except TimeoutError:
                raise Failure(f"the broker did not answer within {SECONDS:g} s", TEMPORARY) from None
            if kind == 1 and struct.unpack_from(">HH", payload) == method:
                return payload[4:]
            self._take(kind, payload)

    def _take(self, kind: int, payload: bytes) -> None:
        """Deal with a frame nobody waited for: a delivery, a close, a heartbeat."""
        if kind != 1:
            return
        method = struct.unpack_from(">HH", payload)
        if method == DELIVER:
            self._deliveries.append(self._content(payload))
        elif method in (CLOSE, CHANNEL_CLOSE):
            code = struct.unpack_from(">H", payload, 4)[0]
            text = _short(payload, 6)[0]
            exit_code = NOT_PERMITTED if code == 403 else DATA if code in (404, 405, 406) else UNAVAILABLE
            raise Failure(f"the broker refuses: {code} {text}", exit_code)
        elif method == CANCEL:
            raise Failure("the queue is gone", DATA)

    def _content(self, payload: bytes) -> Delivery:
        at = _short(payload, 4)[1]
        tag, redelivered = struct.unpack_from(">QB", payload, at)
        exchange, at = _short(payload, at + 9)
        routing_key = _short(payload, at)[0]
        header = self._content_frame(2)
        size = struct.unpack_from(">Q", header, 4)[0]
        if size > MAX_BODY:
            raise Failure(f"a message of {size:,} octets came, which is too much here", DATA)
        parts = []
        while size > 0:
            parts.append(self._content_frame(3))
            size -= len(parts[-1])
        try:
            properties = parse_properties(header)
        except MalformedContent as error:
            raise Failure(f"a message came whose properties cannot be read: {error}", DATA) from None
        return Delivery(tag, bool(redelivered), exchange, routing_key, properties, b"".join(parts))

    def _content_frame(self, wanted: int) -> bytes:
        while True:
            self._socket.settimeout(SECONDS)
            try:
                kind, payload = self._frame()
            except TimeoutError:
                raise Failure("half a message came, and then nothing", TEMPORARY) from None
            if kind == wanted:
                return payload
            if kind == 1:
                raise Failure("the broker sent something else in the midst of a message", UNAVAILABLE)

    def _frame(self) -> tuple[int, bytes]:
        kind, _, size = struct.unpack(">BHI", self._receive(7, first=True))
        if kind == 0x41 or size > self._frame_max:
            raise Failure("what answers does not speak AMQP 0-9-1", UNAVAILABLE)
        data = self._receive(size + 1)
        return kind, data[:-1]

    def _receive(self, count: int, first: bool = False) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._socket.recv(min(count - len(data), 1 << 18))
            except TimeoutError:
                # Silence between frames is no fault; within one it is.
                if first and not data:
                    raise
                raise Failure("the broker fell silent within a frame", TEMPORARY) from None
            except OSError as error:
                raise Failure(f"the connection broke: {error.strerror or error}", UNAVAILABLE) from None
            if not part:
                raise Failure("the broker closed the connection: wrong user or password?", UNAVAILABLE)
            data += part
            if first and data:
                self._socket.settimeout(SECONDS)
        return bytes(data)


def _text(value: str) -> bytes:
    data = os.fsencode(value)
    if len(data) > 255:
        raise Failure(f"a name is longer than 255 octets: {value[:40]!r}...", USAGE)
    return bytes([len(data)]) + data


def _short(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode("utf-8", "replace"), end
