"""How fast is the load generator itself? It publishes into a sink and consumes from a source.

The server here is no broker: it answers the handshake, throws away what is published, and sends every
consumer the same block of deliveries over and over. What ``harebell perf`` reaches against it is the most
it can measure of a real broker.

    python -m bench.ceiling [--python PATH] [--seconds S] [--cpus SERVER,PERF]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import struct
import subprocess
import sys
from multiprocessing.connection import Connection as Pipe
from typing import cast

from pamqp import base, commands, frame

BLOCK_OCTETS = 65_536
REPLIES: dict[str, base.Frame] = {
    "Connection.StartOk": commands.Connection.Tune(2047, 131_072, 0),
    "Connection.Open": commands.Connection.OpenOk(),
    "Connection.Close": commands.Connection.CloseOk(),
    "Channel.Open": commands.Channel.OpenOk(),
    "Queue.Declare": commands.Queue.DeclareOk("q", 0, 0),
    "Queue.Bind": commands.Queue.BindOk(),
    "Queue.Delete": commands.Queue.DeleteOk(0),
    "Exchange.Declare": commands.Exchange.DeclareOk(),
    "Exchange.Delete": commands.Exchange.DeleteOk(),
    "Basic.Qos": commands.Basic.QosOk(),
    "Basic.Consume": commands.Basic.ConsumeOk("ctag-1"),
}


def deliveries(size: int) -> bytes:
    """Return a block of deliveries with bodies of ``size`` octets."""
    body = b"\x00" * size
    method = struct.pack(">HH", 60, 60) + b"\x06ctag-1" + struct.pack(">QB", 1, 0) + b"\x00" + b"\x04perf"
    header = struct.pack(">HHQH", 60, 0, size, 0)
    message = b"".join(
        struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"
        for kind, payload in ((1, method), (2, header), (3, body))
    )
    return message * (BLOCK_OCTETS // len(message))


class SinkAndSource(asyncio.Protocol):
    """Answers methods until the first publish; from then on reads nothing but the number of octets."""

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.rest = b""
        self.started = False
        self.discarding = False
        self.sending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.discarding:
            return
        data = self.rest + data
        if not self.started and data.startswith(b"AMQP"):
            self.started = True
            data = data[8:]
            self.transport.write(frame.marshal(commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"), 0))
        while len(data) >= 8:
            length = struct.unpack_from(">I", data, 3)[0] + 8
            if len(data) < length:
                break
            if data[7:11] in (b"\x00\x3c\x00\x28", b"\x00\x3c\x00\x50"):
                self.discarding = True
                return
            _, channel, method = frame.unmarshal(data[:length])
            data = data[length:]
            reply = REPLIES.get(getattr(method, "name", ""))
            if reply is not None:
                self.transport.write(frame.marshal(reply, channel))
            if isinstance(method, commands.Basic.Consume):
                self.sending = True
                self.send()
        self.rest = data

    def pause_writing(self) -> None:
        self.sending = False

    def resume_writing(self) -> None:
        self.sending = True
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.sending = False

    def send(self) -> None:
        """Write blocks until the socket has had enough."""
        if self.sending:
            self.transport.write(self.block)
            asyncio.get_running_loop().call_soon(self.send)


def serve(size: int, cpu: int | None, pipe: Pipe) -> None:
    """Run the server on ``cpu`` and send its port through ``pipe``."""
    import uvloop

    if cpu is not None:
        os.sched_setaffinity(0, {cpu})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        block = deliveries(size)
        server = await loop.create_server(lambda: SinkAndSource(block), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Future()

    uvloop.run(main())


def measure(python: str, port: int, cpu: int | None, arguments: list[str]) -> dict[str, float]:
    """Run the load generator once and return its figures."""
    command = [
        python,
        "-m",
        "harebell.perf",
        "--url",
        f"amqp://127.0.0.1:{port}/",
        "--json",
        "--interval",
        "0",
    ]
    pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
    done = subprocess.run([*pin, *command, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure publishing with and without stamps, and consuming with and without acks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has harebell")
    parser.add_argument("--seconds", default="3")
    parser.add_argument("--cpus", default="0,1", help="cores of server and load generator, or 'any'")
    given = parser.parse_args()
    server_cpu, perf_cpu = (None, None) if given.cpus == "any" else map(int, given.cpus.split(","))
    only_publish = ["--consumers", "0"]
    only_consume = ["--publishers", "0"]
    for size in (100, 1024):
        here, there = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(size, server_cpu, there), daemon=True)
        server.start()
        port = here.recv()
        for name, key, arguments in (
            ("publish", "published_per_s", only_publish),
            ("publish, while consuming", "published_per_s", ["--no-latency"]),
            ("the same, time-stamped", "published_per_s", []),
            ("consume, auto-ack", "received_per_s", only_consume),
            ("consume, ack each", "received_per_s", [*only_consume, "--ack", "each"]),
            ("consume, 5 connections", "received_per_s", [*only_consume, "--consumers", "5"]),
        ):
            common = ["--size", str(size), "--duration", given.seconds, "--warmup", "0.5"]
            figures = measure(given.python, port, perf_cpu, [*arguments, *common])
            print(f"{size:>5} octets  {name:<26}{figures[key]:>14,.0f} msg/s", flush=True)
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
