"""What a client of either HTTP server cannot make the node keep, whether it may log in or not."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from harebell import http_listening
from harebell.http_listening import BoundedServer, Handler, serve_on
from harebell.listening import listen

ANSWER = "x" * 1000
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def at_once(_: web.BaseRequest) -> web.StreamResponse:
    """Leave the sending to aiohttp."""
    return web.Response(text=ANSWER)


async def piece_by_piece(request: web.BaseRequest) -> web.StreamResponse:
    """Send the answer oneself."""
    response = web.StreamResponse()
    response.content_length = len(ANSWER)
    await response.prepare(request)
    await response.write(ANSWER.encode())
    await response.write_eof()
    return response


@asynccontextmanager
async def serving(answer: Handler, most: int) -> AsyncIterator[tuple[BoundedServer, tuple[str, int]]]:
    """Serve on a free port."""
    server = BoundedServer(answer, most)
    runner = web.ServerRunner(server, handle_signals=False)
    await runner.setup()
    try:
        listening = await listen([("127.0.0.1", 0)], 10, "test")
        await serve_on(runner, listening.sockets)
        yield server, listening.addresses[0]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("answer", [at_once, piece_by_piece])
async def test_answers_that_a_client_does_not_read_are_few_and_it_is_dropped(
    monkeypatch: pytest.MonkeyPatch, answer: Handler
) -> None:
    monkeypatch.setattr(http_listening, "ROOM_SECONDS", 0.3)
    async with serving(answer, 10) as (server, address):
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, address)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                async with asyncio.timeout(20):
                    while True:
                        await loop.sock_sendall(client, REQUEST * 1000)
        # What the sockets' own buffers hold is megabytes at most.
        assert 10 < server.requests_count < 20_000, f"{server.requests_count} answers were made"


async def test_dropping_connections_beyond_the_bound_is_no_error() -> None:
    loop = asyncio.get_running_loop()
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    async with serving(at_once, 2) as (server, (host, port)):
        opened = [await asyncio.open_connection(host, port) for _ in range(6)]
        async with asyncio.timeout(10):
            while len(server.connections) != 2:
                await asyncio.sleep(0.01)
            for reader, _ in opened[2:]:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
        for _, writer in opened:
            writer.close()
    # A task that failed is reported when it is collected.
    gc.collect()
    assert not errors, "each connection that is dropped would be a traceback in the log"
