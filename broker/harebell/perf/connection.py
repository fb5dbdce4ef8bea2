"""One AMQP connection with channel 1 open: login, synchronous methods, heartbeats, closing."""

import asyncio
import platform
import ssl
import struct
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar, cast

from pamqp import base, commands, encode
from pamqp import frame as pamqp_frame
from pamqp.common import FieldTable
from pamqp.exceptions import PAMQPException

from harebell.perf.errors import AccessRefused, ClosedByServer, FrameError, PerfError, printable
from harebell.perf.inbound import FRAME_END, FRAME_METHOD, Inbound
from harebell.perf.url import BrokerURL

R = TypeVar("R", bound=base.Frame)

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 30.0
CLOSE_SECONDS = 3.0
FRAME_MAX = 131_072

# libuv goes on reading one socket, up to 32 times, as long as its buffer of this size comes back full: enough
# to keep every other connection waiting for milliseconds. After a full read the others have their turn.
_FULL_READ = 256_000

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
)


def _package_version() -> str:
    try:
        return version("harebell")
    except PackageNotFoundError:
        return "unknown"


class Connection(asyncio.Protocol):
    """A connection that counts and answers what arrives through its ``inbound``.

    ``on_failure`` is called once, with the reason, when the connection breaks outside of a call.
    Calls are made one at a time.
    """

    def __init__(self, inbound: Inbound, on_failure: Callable[[PerfError], None]) -> None:
        self.inbound = inbound
        self.frame_max = FRAME_MAX
        self.write_paused = False
        self.held_by_server = False
        self.times_blocked = 0
        self._on_failure = on_failure
        self._transport: asyncio.Transport | None = None
        self._failure: PerfError | None = None
        self._closing = False
        self._logging_in = True
        self._got_data = False
        self._last_read = 0
        self._reply: asyncio.Future[base.Frame] | None = None
        self._expected: type[base.Frame] = commands.Connection.Start
        self._closed = asyncio.get_running_loop().create_future()
        self._heartbeat_timer: asyncio.TimerHandle | None = None

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        self._last_read = now
        if not self._got_data:
            self._got_data = True
            if data.startswith(b"AMQP"):
                self._fail(PerfError("the server speaks another version of AMQP, not 0-9-1"))
                return
        try:
            acks = self.inbound.feed(data, now)
        except FrameError as error:
            self._fail(error)
            return
        if acks and self._transport is not None:
            self._transport.write(acks)
        if self.inbound.replies:
            replies = self.inbound.replies
            self.inbound.replies = []
            for channel, payload in replies:
                self._take_method(channel, payload)
        self.after_read()
        if len(data) >= _FULL_READ and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
        if not self._got_data:
            self._fail(PerfError("the server dropped the connection at once: is it an AMQP 0-9-1 server?"))
        elif self._logging_in:
            self._fail(PerfError("the server dropped the connection during login: wrong user or password?"))
        else:
            why = printable(str(exc)) if exc is not None else "without a reason"
            self._fail(PerfError(f"the server dropped the connection: {why}"))

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self.may_write()

    # subclasses fill these in

    def after_read(self) -> None:
        """Called after each chunk has been counted and answered."""

    def may_write(self) -> None:
        """Called when the socket, or a server that had blocked us, takes more again."""

    # calls

    async def open(self, url: BrokerURL, heartbeat: int) -> None:
        """Connect, log in, open the virtual host and channel 1.

        ``heartbeat`` is what we propose, in seconds, 0 for none. Raises PerfError.
        """
        await self._connect(url)
        start = await self._call_raw(_PROTOCOL_HEADER, commands.Connection.Start)
        if "PLAIN" not in str(start.mechanisms).split():
            offered = printable(str(start.mechanisms))
            raise PerfError(f"the server does not offer PLAIN logins, only {offered}")
        tune = await self._call_raw(self._start_ok(url), commands.Connection.Tune)
        server_max = int(tune.frame_max)
        self.frame_max = min(server_max, FRAME_MAX) if server_max >= 4096 else FRAME_MAX
        self.inbound.frame_max = self.frame_max
        server_beat = int(tune.heartbeat)
        beat = min(heartbeat, server_beat) if heartbeat and server_beat else heartbeat
        self.write(self._frame(commands.Connection.TuneOk(int(tune.channel_max), self.frame_max, beat), 0))
        payload = struct.pack(">HH", 10, 40) + encode.short_string(url.vhost) + b"\x00\x00"
        await self.call(payload, commands.Connection.OpenOk, channel=0)
        self._logging_in = False
        await self.open_channel()
        if beat:
            self._beat(beat)

    async def open_channel(self) -> None:
        """Open channel 1, at first or again after the server closed it."""
        await self.call(struct.pack(">HH", 20, 10) + b"\x00", commands.Channel.OpenOk)

    async def call(self, payload: bytes, reply: type[R], channel: int = 1) -> R:
        """Send a method and return the server's ``reply``.

        Raises ClosedByServer when the server closes the channel or connection instead, or another PerfError.
        """
        head = struct.pack(">BHI", FRAME_METHOD, channel, len(payload))
        return await self._call_raw(head + payload + bytes((FRAME_END,)), reply)

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket; nothing happens once the connection is gone."""
        if self._transport is not None and self._failure is None:
            self._transport.write(data)

    async def close(self) -> None:
        """Close politely if that is still possible, and be gone within ``CLOSE_SECONDS`` in any case."""
        self._stop_heartbeat()
        transport = self._transport
        if transport is None:
            return
        if self._failure is None and not self._closing:
            self._closing = True
            self.write(self.inbound.take_last_ack())
            self.write(self._frame(commands.Connection.Close(200, "", 0, 0), 0))
            await asyncio.wait((self._closed,), timeout=CLOSE_SECONDS)
        transport.abort()

    # the rest is ours

    async def _connect(self, url: BrokerURL) -> None:
        loop = asyncio.get_running_loop()
        context = url.tls_context()
        failed = f"cannot connect to {url.host}:{url.port}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: self, url.host, url.port, ssl=context)
        except TimeoutError as error:
            raise PerfError(f"{failed}: no answer in {CONNECT_SECONDS:g} s") from error
        except ssl.SSLError as error:
            raise PerfError(f"{failed}: TLS: {error.reason or error}") from error
        except OSError as error:
            raise PerfError(f"{failed}: {error.strerror or error}") from error

    async def _call_raw(self, data: bytes, reply: type[R]) -> R:
        if self._failure is not None:
            raise self._failure
        self._reply = asyncio.get_running_loop().create_future()
        self._expected = reply
        self.write(data)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                method = await self._reply
        except TimeoutError as error:
            raise PerfError(f"no {reply.name} from the server in {REPLY_SECONDS:g} s") from error
        finally:
            self._reply = None
        if not isinstance(method, reply):
            raise PerfError(f"the server answered {method.name} where {reply.name} was due")
        return method

    def _start_ok(self, url: BrokerURL) -> bytes:
        properties: FieldTable = {
            "product": "harebell perf",
            "version": _package_version(),
            "platform": f"Python {platform.python_version()}",
            "capabilities": dict.fromkeys(_CAPABILITIES, True),
        }
        start_ok = commands.Connection.StartOk(
            client_properties=properties,
            mechanism="PLAIN",
            response=f"\x00{url.user}\x00{url.password}",
            locale="en_US",
        )
        return self._frame(start_ok, 0)

    @staticmethod
    def _frame(method: base.Frame, channel: int) -> bytes:
        return pamqp_frame.marshal(method, channel)

    def _take_method(self, channel: int, payload: bytes) -> None:
        raw = struct.pack(">BHI", FRAME_METHOD, channel, len(payload)) + payload + bytes((FRAME_END,))
        try:
            method = pamqp_frame.unmarshal(raw)[2]
        except (PAMQPException, ValueError, LookupError, RecursionError, struct.error):
            self._fail(PerfError("the server sent a method that cannot be read"))
            return
        if isinstance(method, commands.Connection.Close):
            self.write(self._frame(commands.Connection.CloseOk(), 0))
            self._fail(self._reason_to_close(method))
        elif isinstance(method, commands.Connection.CloseOk):
            if self._transport is not None:
                self._transport.close()
        elif isinstance(method, commands.Channel.Close):
            self.write(self._frame(commands.Channel.CloseOk(), channel))
            reason = ClosedByServer("channel", int(method.reply_code or 0), str(method.reply_text))
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(reason)
            else:
                self._fail(reason)
        elif isinstance(method, commands.Basic.Cancel):
            self._fail(PerfError("the server cancelled a consumer (was its queue deleted?)"))
        elif isinstance(method, commands.Connection.Blocked):
            self.times_blocked += 1
            self._hold(True)
        elif isinstance(method, commands.Connection.Unblocked):
            self._hold(False)
        elif isinstance(method, commands.Channel.Flow):
            self.write(self._frame(commands.Channel.FlowOk(method.active), channel))
            self._hold(not method.active)
        elif isinstance(method, base.Frame) and self._reply is not None and not self._reply.done():
            self._reply.set_result(method)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _hold(self, held: bool) -> None:
        self.held_by_server = held
        if not held:
            self.may_write()

    def _reason_to_close(self, method: commands.Connection.Close) -> PerfError:
        code, text = int(method.reply_code or 0), str(method.reply_text)
        if self._logging_in and code in (402, 403, 530):
            return AccessRefused(code, text)
        return ClosedByServer("connection", code, text)

    def _fail(self, reason: PerfError) -> None:
        if self._failure is not None:
            return
        self._failure = reason
        self._stop_heartbeat()
        if self._transport is not None:
            self._transport.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(reason)
        elif not self._closing:
            self._on_failure(reason)

    def _beat(self, seconds: int) -> None:
        silent = (time.perf_counter_ns() - self._last_read) / 1e9
        if silent > 2 * seconds:
            self._fail(PerfError(f"the server was silent for {silent:.0f} s (heartbeat {seconds} s)"))
            return
        if not self.write_paused:
            self.write(_HEARTBEAT)
        self._heartbeat_timer = asyncio.get_running_loop().call_later(seconds / 2, self._beat, seconds)

    def _stop_heartbeat(self) -> None:
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
            self._heartbeat_timer = None
