"""A TCP proxy whose connections a test can cut: the network failure that clients must survive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

CHUNK = 65_536


class TcpProxy:
    """Forwards a free local port to the broker until told to cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._replies_flow = asyncio.Event()
        self._replies_flow.set()
        self.accepted = 0
        """How many connections came through so far."""

    @property
    def port(self) -> int:
        """The local port to connect to."""
        assert self._server is not None, "the proxy is used before it is entered"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Drop every connection at once, without a goodbye to either side."""
        for writer in list(self._writers):
            writer.transport.abort()

    def hold_replies(self) -> None:
        """Stop reading what the broker sends, like a client that hangs."""
        self._replies_flow.clear()

    def release_replies(self) -> None:
        """Read on."""
        self._replies_flow.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, upstream_writer}
        always = asyncio.Event()
        always.set()
        await asyncio.gather(
            self._copy(reader, upstream_writer, always),
            self._copy(upstream_reader, writer, self._replies_flow),
        )
        self._writers -= {writer, upstream_writer}

    @staticmethod
    async def _copy(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_flow: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await may_flow.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextmanager
def tcp_proxy_in_a_thread(host: str, port: int) -> Iterator[ThreadedTcpProxy]:
    """Run a proxy on an event loop of its own, for clients that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tcp-proxy")
    thread.start()
    proxy = TcpProxy(host, port)
    try:
        asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result()
        yield ThreadedTcpProxy(proxy, loop)
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class ThreadedTcpProxy:
    """The handle to a proxy that runs in another thread."""

    def __init__(self, proxy: TcpProxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop

    @property
    def port(self) -> int:
        """The local port to connect to."""
        return self._proxy.port

    @property
    def accepted(self) -> int:
        """How many connections came through so far."""
        return self._proxy.accepted

    def cut(self) -> None:
        """Drop every connection at once."""
        self._loop.call_soon_threadsafe(self._proxy.cut)
