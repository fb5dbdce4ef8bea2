"""A client that speaks AMQP octet by octet, so that tests can also speak it wrongly."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from pamqp import base, commands, frame

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

METHOD, HEADER, BODY, HEARTBEAT_FRAME = 1, 2, 3, 8

CAPABILITIES: dict[str, object] = {
    "authentication_failure_close": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
    "basic.nack": True,
}

MethodFrame = TypeVar("MethodFrame", bound=base.Frame)


class RawFrame(NamedTuple):
    """A frame as it came."""

    kind: int
    channel: int
    payload: bytes


class Wire:
    """One connection.

    Args:
        port: of the broker, or a connected socket.
        timeout: seconds any one read or write may take.
        host: of the broker.
    """

    def __init__(
        self, port: int | socket.socket, timeout: float = 10.0, host: str = "127.0.0.1", source: str = ""
    ) -> None:
        if isinstance(port, socket.socket):
            self.socket = port
        else:
            source_address = (source, 0) if source else None
            self.socket = socket.create_connection((host, port), timeout, source_address)
        self.socket.settimeout(timeout)
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket, without a word to the broker; a thread that reads from it sees its end."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def send(self, *data: bytes) -> None:
        """Send octets."""
        self.socket.sendall(b"".join(data))

    def method(self, method: base.Frame, channel: int = 0) -> None:
        """Send a method frame."""
        self.send(frame.marshal(method, channel))

    def call(self, method: base.Frame, channel: int, answer: type[MethodFrame]) -> MethodFrame:
        """Send a method and return its answer."""
        self.method(method, channel)
        return self.expect(answer)

    def read_octets(self, count: int) -> bytes:
        """Return exactly so many octets.

        Raises EOFError if the broker closes before.
        """
        received = self._received
        while len(received) < count:
            piece = self.socket.recv(max(65536, count - len(received)))
            if not piece:
                raise EOFError(f"the broker closed the connection; left over: {bytes(received[:200])!r}")
            received += piece
        taken = bytes(received[:count])
        del received[:count]
        return taken

    def buffered(self) -> bool:
        """Tell whether octets came that nobody asked for yet."""
        return bool(self._received)

    def read_frame(self) -> RawFrame:
        """Return the next frame, heartbeats included."""
        head = self.read_octets(7)
        size = int.from_bytes(head[3:7], "big")
        payload = self.read_octets(size + 1)
        assert payload[-1] == 0xCE, f"a frame of the broker does not end in 0xCE: {head!r}"
        return RawFrame(head[0], int.from_bytes(head[1:3], "big"), payload[:-1])

    def read_method(self) -> Any:
        """Return the next method, heartbeats passed over."""
        while True:
            found = self.read_frame()
            if found.kind != HEARTBEAT_FRAME:
                assert found.kind == METHOD, f"expected a method, got {found}"
                return decode(found)

    def expect(self, method: type[MethodFrame]) -> MethodFrame:
        """Return the next method, which must be this one."""
        found = self.read_method()
        assert isinstance(found, method), f"expected {method.name}, got {describe(found)}"
        return found

    def read_message(self, method: type[MethodFrame]) -> tuple[MethodFrame, bytes]:
        """Return a method with content and its body."""
        found = self.expect(method)
        size = int.from_bytes(self._content(HEADER).payload[4:12], "big")
        body = bytearray()
        while len(body) < size:
            body += self._content(BODY).payload
        return found, bytes(body)

    def _content(self, kind: int) -> RawFrame:
        found = self.read_frame()
        while found.kind == HEARTBEAT_FRAME:
            found = self.read_frame()
        assert found.kind == kind, f"expected a frame of kind {kind}, got {found}"
        return found

    def end(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):  # the broker may have closed already
            self.socket.shutdown(socket.SHUT_WR)

    def read_everything(self) -> bytes:
        """Return all octets up to the end of the connection, whatever they are."""
        received, self._received = self._received, bytearray()
        with suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                received += piece
        return bytes(received)

    def read_until_closed(self) -> list[RawFrame]:
        """Return all frames up to the end of the connection, however it ends, and close the socket."""
        frames = []
        try:
            while True:
                frames.append(self.read_frame())
        except TimeoutError:
            raise
        except (EOFError, OSError):
            self.close()
            return frames

    def read_until_closed_by(self, method: type[base.Frame]) -> list[Any]:
        """Return all methods up to one that ends the conversation."""
        found: list[Any] = [self.read_method()]
        while not isinstance(found[-1], method):
            found.append(self.read_method())
        return found[:-1]

    def wait_until_closed(self) -> float:
        """Return after how many seconds the broker closed the connection."""
        started = time.monotonic()
        self.read_until_closed()
        return time.monotonic() - started

    def start(self) -> commands.Connection.Start:
        """Send the protocol header and return the broker's greeting."""
        self.send(PROTOCOL_HEADER)
        return self.expect(commands.Connection.Start)

    def log_in(
        self,
        user: str = "guest",
        password: str = "guest",
        capabilities: dict[str, object] | None = None,
    ) -> None:
        """Go on up to start-ok; the answer is the caller's."""
        self.start()
        properties = {
            "product": "wire",
            "capabilities": CAPABILITIES if capabilities is None else capabilities,
        }
        response = f"\0{user}\0{password}"
        self.method(
            commands.Connection.StartOk(properties, "PLAIN", response, "en_US")  # type: ignore[arg-type]
        )

    def log_in_blindly(self, heartbeat: int = 0) -> None:
        """Send all that opens a connection without waiting for any answer."""
        properties: dict[str, Any] = {"product": "wire", "capabilities": CAPABILITIES}
        start_ok = commands.Connection.StartOk(properties, "PLAIN", "\0guest\0guest", "en_US")
        tune_ok = commands.Connection.TuneOk(2047, 131072, heartbeat)
        frames = [frame.marshal(method, 0) for method in (start_ok, tune_ok, commands.Connection.Open("/"))]
        self.send(PROTOCOL_HEADER, *frames)

    def tune(self, heartbeat: int = 0, frame_max: int = 131072, channel_max: int = 2047) -> None:
        """Go on up to tune-ok."""
        self.log_in()
        self.expect(commands.Connection.Tune)
        self.method(commands.Connection.TuneOk(channel_max, frame_max, heartbeat))

    def open(
        self,
        vhost: str = "/",
        *,
        heartbeat: int = 0,
        frame_max: int = 131072,
        channels: int = 0,
    ) -> Self:
        """Open the connection and that many channels."""
        self.tune(heartbeat, frame_max)
        self.call(commands.Connection.Open(vhost), 0, commands.Connection.OpenOk)
        for number in range(1, channels + 1):
            self.call(commands.Channel.Open(), number, commands.Channel.OpenOk)
        return self

    def close_politely(self) -> None:
        """Close as the protocol asks for."""
        self.call(commands.Connection.Close(200, "done", 0, 0), 0, commands.Connection.CloseOk)
        self.close()

    def declare(self, queue: str = "", channel: int = 1, **arguments: Any) -> commands.Queue.DeclareOk:
        """Declare a queue."""
        method = commands.Queue.Declare(queue=queue, **arguments)
        return self.call(method, channel, commands.Queue.DeclareOk)

    def round_trip(self, channel: int = 1) -> float:
        """Return how many seconds an answer takes: a declaration of a queue that is there."""
        started = time.perf_counter()
        self.declare("round-trip", channel)
        return time.perf_counter() - started


def decode(found: RawFrame) -> Any:
    """Decode a method frame."""
    raw = bytes([found.kind]) + found.channel.to_bytes(2, "big") + len(found.payload).to_bytes(4, "big")
    return frame.unmarshal(raw + found.payload + b"\xce")[2]


def describe(method: object) -> str:
    """Say what a method is and, for a close, why."""
    if isinstance(method, commands.Connection.Close | commands.Channel.Close):
        return f"{method.name} {method.reply_code} {method.reply_text!r}"
    return str(getattr(method, "name", method))


def raw_frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """Build a frame, right or wrong."""
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + end


def publish(queue: str, body: bytes, channel: int = 1, exchange: str = "", frame_max: int = 131072) -> bytes:
    """Give the frames of a message to a queue, or to an exchange with ``queue`` as its routing key."""
    method = frame.marshal(commands.Basic.Publish(exchange=exchange, routing_key=queue), channel)
    header = b"\x00\x3c\x00\x00" + len(body).to_bytes(8, "big") + b"\x00\x00"
    step = frame_max - 8
    pieces = [raw_frame(BODY, channel, body[start : start + step]) for start in range(0, len(body), step)]
    return b"".join([method, raw_frame(HEADER, channel, header), *pieces])
