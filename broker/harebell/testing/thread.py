"""The embedded broker in a thread and event loop of its own, for code that blocks: pika, Celery, Django."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from harebell.embedded import LOOPBACK, Broker, QueuedMessage, QueueView
from harebell.engine.vhost import DEFAULT_VHOST
from harebell.settings import Settings

Result = TypeVar("Result")

CALL_SECONDS: Final = 30.0
"""How long ``call`` waits by default; nothing a broker does takes that long."""


class BrokerThread:
    """A broker for programs and tests that have no event loop.

    ::

        with BrokerThread() as broker:
            connection = pika.BlockingConnection(pika.URLParameters(broker.url))
            ...
            broker.wait_for("jobs", ready=3)

    Args:
        port: port to listen on; 0 takes a free one, None opens none.
        host: address to listen on.
        settings: everything else.

    Attributes:
        broker: the embedded broker; its coroutines are for ``call``.
    """

    def __init__(
        self, *, port: int | None = 0, host: str = LOOPBACK, settings: Settings | None = None
    ) -> None:
        self.broker = Broker(port=port, host=host, settings=settings)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread and wait until the broker serves; ``with`` does it.

        Raises:
            OSError: the port is taken.
            RuntimeError: it is already started.
        """
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("this broker is already started")
            ready = threading.Event()
            failures: list[BaseException] = []
            thread = threading.Thread(target=self._run, args=(ready, failures), name="harebell", daemon=True)
            thread.start()
            ready.wait()
            if failures:
                thread.join()
                raise failures[0]
            self._thread = thread

    def stop(self) -> None:
        """Stop the broker and end its thread; safe to call twice, and from several threads."""
        with self._lock:
            thread, self._thread = self._thread, None
            loop, stopping = self._loop, self._stopping
            if thread is None or loop is None or stopping is None:
                return
            loop.call_soon_threadsafe(stopping.set)
            thread.join()
            self._loop = self._stopping = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def call(self, coroutine: Coroutine[Any, Any, Result], timeout: float | None = CALL_SECONDS) -> Result:
        """Run a coroutine in the broker's loop and return its result.

        Args:
            coroutine: such as ``broker.broker.publish(...)``.
            timeout: seconds to wait for it; None waits for ever.

        Raises:
            RuntimeError: the broker is not started, or this is its own thread.
            TimeoutError: it took too long; it is cancelled then.
        """
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or thread is threading.current_thread():
            coroutine.close()
            where = "is not started" if thread is None else "cannot be called from its own thread"
            raise RuntimeError(f"this broker {where}")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(timeout)
        finally:
            future.cancel()

    @property
    def port(self) -> int:
        """The port listened on."""
        return self.broker.port

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host, with user and password."""
        return self.broker.url

    def get_connection_url(self, vhost: str = DEFAULT_VHOST) -> str:
        """Return the AMQP URL of a virtual host, with user and password."""
        return self.broker.get_connection_url(vhost)

    def queue(self, name: str, vhost: str = DEFAULT_VHOST) -> QueueView:
        """Look at a queue; see ``Broker.queue``."""
        return self.broker.queue(name, vhost)

    def peek(self, name: str, count: int = 1, vhost: str = DEFAULT_VHOST) -> list[QueuedMessage]:
        """Read messages without consuming them; see ``Broker.peek``."""

        async def peek() -> list[QueuedMessage]:
            return self.broker.peek(name, count, vhost)

        return self.call(peek())

    def publish(self, exchange: str, routing_key: str, body: bytes | str, **properties: Any) -> bool:
        """Publish a message; see ``Broker.publish``."""
        return self.call(self.broker.publish(exchange, routing_key, body, **properties))

    def wait_for(
        self,
        name: str,
        *,
        ready: int | None = None,
        unacked: int | None = None,
        consumers: int | None = None,
        timeout: float = 5.0,
        vhost: str = DEFAULT_VHOST,
    ) -> None:
        """Wait for the numbers of a queue; see ``Broker.wait_for``."""
        waiting = self.broker.wait_for(
            name, ready=ready, unacked=unacked, consumers=consumers, timeout=timeout, vhost=vhost
        )
        self.call(waiting, timeout=timeout + CALL_SECONDS)

    def create_vhost(self, name: str) -> None:
        """Add a virtual host; see ``Broker.create_vhost``."""

        async def create() -> None:
            self.broker.create_vhost(name)

        self.call(create())

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host; see ``Broker.delete_vhost``."""

        async def delete() -> None:
            self.broker.delete_vhost(name)

        self.call(delete())

    def _run(self, ready: threading.Event, failures: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self.broker:
            ready.set()
            await self._stopping.wait()
