"""A server that is no broker and sends every reader the same block of a stream's events over and over."""

from __future__ import annotations

import asyncio
import os
import struct
from multiprocessing.connection import Connection as Pipe

from pamqp import encode

from bench.ceiling import BLOCK_OCTETS, SinkAndSource
from harebell.perf.inbound import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, ORDERED_KEY
from harebell.perf.messages import frame

OFFSET = 1 << 40
"""Large, so that it is encoded in eight octets, as brokers do with every offset."""
HEADERS_AND_DELIVERY_MODE = 0x3000


def events(queue: str, size: int) -> bytes:
    """Return a block of deliveries from a stream, with bodies of ``size`` octets, at least 16."""
    method = struct.pack(">HH", 60, 60) + b"\x06ctag-1" + struct.pack(">QB", 1, 0) + b"\x00"
    properties = encode.field_table({"x-stream-offset": OFFSET}) + b"\x02"
    header = struct.pack(">HHQH", 60, 0, size, HEADERS_AND_DELIVERY_MODE) + properties
    body = struct.pack(">iqi", ORDERED_KEY, 1, 0).ljust(size, b"\x00")
    message = b"".join(
        (
            frame(FRAME_METHOD, method + encode.short_string(queue)),
            frame(FRAME_HEADER, header),
            frame(FRAME_BODY, body),
        )
    )
    return message * (BLOCK_OCTETS // len(message) + 1)


def serve(queue: str, size: int, cpu: int | None, pipe: Pipe) -> None:
    """Run the server on core ``cpu``, None for any, and send its port through ``pipe``."""
    import uvloop

    if cpu is not None:
        os.sched_setaffinity(0, {cpu})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        block = events(queue, size)
        server = await loop.create_server(lambda: SinkAndSource(block), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Future()

    uvloop.run(main())
