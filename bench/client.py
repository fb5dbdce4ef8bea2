"""A client that waits for every answer: queues for a measurement, and the first delivery after a start."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

from pamqp import base, commands, frame, header
from pamqp.common import FieldTable

from bench.errors import BenchError

ANSWER_SECONDS = 60.0
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
MAX_READ = 65_536
CHANNEL = 1
FRAME_BODY = 3
R = TypeVar("R")


class Client:
    """One connection with one channel to a broker at ``port`` on this machine. Raises BenchError, OSError."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self._received = b""
        self._socket.sendall(PROTOCOL_HEADER)
        self._expect(commands.Connection.Start)
        self._send(commands.Connection.StartOk({}, "PLAIN", "\x00guest\x00guest", "en_US"), 0)
        tune = self._expect(commands.Connection.Tune)
        self._send(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self._send(commands.Connection.Open("/"), 0)
        self._expect(commands.Connection.OpenOk)
        self._call(commands.Channel.Open(), commands.Channel.OpenOk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._send(commands.Connection.Close(200, "", 0, 0), 0)
                self._expect(commands.Connection.CloseOk)
        finally:
            self._socket.close()

    def declare(self, queue: str, durable: bool, arguments: FieldTable | None = None) -> None:
        """Declare a queue."""
        declare = commands.Queue.Declare(queue=queue, durable=durable, arguments=arguments)
        self._call(declare, commands.Queue.DeclareOk)

    def message_count(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        answer = self._call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk)
        return int(answer.message_count or 0)

    def wait_for_count(self, queue: str, count: int, more: int = 0) -> None:
        """Wait for ``count`` messages, or up to ``more`` beyond, in a queue. Raises BenchError."""
        deadline = time.perf_counter() + ANSWER_SECONDS
        while not count <= (found := self.message_count(queue)) <= count + more:
            if time.perf_counter() > deadline:
                raise BenchError(f"{found:,} messages wait in {queue}, and there should be {count:,}")
            time.sleep(0.05)

    def delete(self, queue: str) -> None:
        """Delete a queue with all its messages."""
        self._call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)

    def await_delivery(self, queue: str) -> None:
        """Consume until the first message is there, body and all; nothing is acknowledged."""
        self._call(commands.Basic.Qos(0, 1, False), commands.Basic.QosOk)
        self._call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        self._expect(commands.Basic.Deliver)
        left = self._expect(header.ContentHeader).body_size
        while left > 0:
            left -= len(self._next_payload())

    def deliveries(self, queue: str, seconds: float) -> Iterator[tuple[int, bytes, bytes]]:
        """Consume with automatic acknowledgement, and yield each message that comes within some seconds.

        That is the time of its receipt (``time.perf_counter_ns``), the payload of its content header, and the
        payload of its body's first frame.
        """
        self._call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
        until = time.perf_counter() + seconds
        pieces: list[bytes] = []
        try:
            while (left := until - time.perf_counter()) > 0:
                self._socket.settimeout(left)
                taken = self._next_frame()
                pieces.append(taken[7:-1])
                if taken[0] == FRAME_BODY:
                    yield time.perf_counter_ns(), pieces[-2], pieces[-1]
                    pieces.clear()
        except TimeoutError:
            return
        finally:
            self._socket.settimeout(ANSWER_SECONDS)

    def _call(self, method: base.Frame, answer: type[R]) -> R:
        self._send(method, CHANNEL)
        return self._expect(answer)

    def _send(self, method: base.Frame, channel: int) -> None:
        self._socket.sendall(frame.marshal(method, channel))

    def _expect(self, wanted: type[R]) -> R:
        """Return the next method of a kind, over heartbeats and what the broker tells unasked."""
        while True:
            _, _, method = frame.unmarshal(self._next_frame())
            if isinstance(method, wanted):
                return method
            if isinstance(method, commands.Connection.Close | commands.Channel.Close):
                raise BenchError(f"the broker answered {method.reply_code} {method.reply_text}")

    def _next_payload(self) -> bytes:
        return self._next_frame()[7:-1]

    def _next_frame(self) -> bytes:
        while len(self._received) < 7 or len(self._received) < self._frame_octets():
            more = self._socket.recv(MAX_READ)
            if not more:
                raise BenchError("the broker closed the connection")
            self._received += more
        octets = self._frame_octets()
        taken, self._received = self._received[:octets], self._received[octets:]
        return taken

    def _frame_octets(self) -> int:
        return int(struct.unpack_from(">I", self._received, 3)[0]) + 8
