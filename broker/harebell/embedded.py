"""harebell inside a program: a broker in the running event loop, in memory, on a free port or on none.

::

    async with Broker() as broker:
        connection = await aio_pika.connect(broker.url)
        ...
        await broker.wait_for("jobs", ready=3)

It changes nothing outside itself: no signal handlers, no logging set-up, no collector settings.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypedDict, Unpack
from urllib.parse import quote

from harebell.amqp import clientless
from harebell.amqp.connection import Connection
from harebell.auth.backends import UserDirectory
from harebell.content.message import Message
from harebell.content.properties import build_header, parse_properties
from harebell.content.table import Table
from harebell.engine import policy_control, policy_work
from harebell.engine.commands import CreateVhost, DeleteVhost
from harebell.engine.filters import BadFilter, make_filter
from harebell.engine.queues.cursor import Reading
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.topology import Caller
from harebell.engine.vhost import DEFAULT_VHOST, Vhost
from harebell.errors import PRECONDITION_FAILED, BrokerError, MalformedContent
from harebell.node import Node
from harebell.paging import FLAGGED
from harebell.ports import User
from harebell.server.clock import set_clock
from harebell.server.listener import Server
from harebell.server.transport import ClientTransport
from harebell.settings import Settings

LOOPBACK: Final = "127.0.0.1"
BROWSED_AT_ONCE: Final = 100
SHUTDOWN_SECONDS: Final = 1.0
"""How long clients that do not answer can delay a stop, unless settings are given."""


class PropertyArguments(TypedDict, total=False):
    """Message properties that ``Broker.publish`` takes by name."""

    content_type: str
    content_encoding: str
    delivery_mode: int
    priority: int
    correlation_id: str
    reply_to: str
    expiration: str
    message_id: str
    timestamp: int
    type: str
    user_id: str
    app_id: str


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message as ``Broker.peek`` or ``Broker.browse`` found it.

    Attributes:
        body: the body.
        properties: every property that is present, by its name with underscores; ``headers`` apart.
        headers: the header table.
        exchange, routing_key: where it was published to.
        redelivered: whether it was delivered before.
        position: its place in the queue; 0 if ``peek`` found it.
    """

    body: bytes
    properties: Table
    headers: Table
    exchange: str
    routing_key: str
    redelivered: bool
    position: int = 0


class QueueView:
    """A queue of an embedded broker; its numbers are those of the moment they are read."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    @property
    def name(self) -> str:
        """Its name."""
        return self._queue.name

    @property
    def ready(self) -> int:
        """Messages that wait for a consumer."""
        return int(self._queue.ready_count())

    @property
    def unacked(self) -> int:
        """Messages delivered and not yet acknowledged."""
        return int(self._queue.unacked_count)

    @property
    def consumers(self) -> int:
        """Consumers subscribed."""
        return int(self._queue.consumer_count())

    def __repr__(self) -> str:
        return f"<queue {self.name!r}: ready={self.ready} unacked={self.unacked} consumers={self.consumers}>"


class Broker:
    """A broker in the running event loop, in memory.

    Args:
        port: port to listen on; 0 takes a free one, None opens no port at all (see ``connect_memory``).
        host: address to listen on.
        management_port: port of the HTTP API; 0 takes a free one, None has none.
        settings: everything else; addresses and storage in it are not used. Defaults in the code apply
            when absent, nothing is read from files or the environment.
    """

    def __init__(
        self,
        *,
        port: int | None = 0,
        host: str = LOOPBACK,
        management_port: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.settings = _for_embedding(settings, host, port, management_port)
        self._node: Node | None = None

    async def start(self) -> None:
        """Start serving; ``async with`` does it. A broker that was stopped starts empty.

        Raises:
            OSError: the port is taken.
            RuntimeError: it is already started.
        """
        if self._node is not None:
            raise RuntimeError("this broker is already started")
        node = Node(self.settings)
        await node.start()
        self._node = node

    async def stop(self) -> None:
        """Close every connection and forget everything; safe to call twice."""
        node, self._node = self._node, None
        if node is not None:
            await node.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port listened on.

        Raises:
            RuntimeError: it is not started, or has no port.
        """
        addresses = self._running.addresses
        if not addresses:
            raise RuntimeError("this broker has no port; use connect_memory(), or Broker(port=0)")
        return addresses[0][1]

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host, with user and password."""
        return self.get_connection_url()

    def get_connection_url(self, vhost: str = DEFAULT_VHOST) -> str:
        """Return the AMQP URL of a virtual host, with user and password.

        Raises:
            RuntimeError: the broker is not started, or has no port.
        """
        auth = self.settings.auth
        login = f"{quote(auth.default_user, safe='')}:{quote(auth.default_pass.get_secret_value(), safe='')}"
        host, port = self._running.addresses[0] if self._running.addresses else ("", self.port)
        shown = f"[{host}]" if ":" in host else host
        return f"amqp://{login}@{shown}:{port}/{quote(vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """The URL of the HTTP API, without a path.

        Raises:
            RuntimeError: it is not started, or was started without ``management_port``.
        """
        services = self._running.services
        for listener in [] if services is None else services.host.listening:
            if listener.protocol == "http":
                host = f"[{listener.host}]" if ":" in listener.host else listener.host
                return f"http://{host}:{listener.port}{self.settings.management.path_prefix}"
        raise RuntimeError("this broker has no HTTP API; use Broker(management_port=0)")

    async def connect_memory(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection without a port: the streams of a client about to send its protocol header."""
        server = self._server
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        await server.loop.connect_accepted_socket(lambda: ClientTransport(server), ours)
        if theirs.family == getattr(socket, "AF_UNIX", None):
            return await asyncio.open_unix_connection(sock=theirs)
        return await asyncio.open_connection(sock=theirs)

    def create_vhost(self, name: str) -> None:
        """Add a virtual host in which the default user may do everything; an existing one stays."""
        node = self._running
        node.broker.commit(CreateVhost(name), durable=True)
        access = node.broker.access
        if isinstance(access, UserDirectory):
            access.set_permissions(self.settings.auth.default_user, name, ".*", ".*", ".*")

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with its queues, and close the connections to it with 320.

        Raises:
            BrokerError: there is none of that name.
        """
        node, server = self._running, self._server
        vhost = self._vhost(name)
        for session in node.broker.sessions:
            if isinstance(session, Connection) and session.vhost is vhost:
                session.close_session(f"vhost '{name}' is deleted")
        node.broker.commit(DeleteVhost(name), durable=True)
        access = node.broker.access
        if isinstance(access, UserDirectory):
            access.clear_permissions(self.settings.auth.default_user, name)
        server.turn.run()

    def set_policy(
        self,
        name: str,
        pattern: str,
        definition: Mapping[str, object],
        *,
        priority: int = 0,
        apply_to: str = "all",
        operator: bool = False,
        vhost: str = DEFAULT_VHOST,
    ) -> None:
        """Set a policy, as ``rabbitmqctl set_policy`` does; queues and exchanges follow before this returns.

        Args:
            name: one of that name is replaced.
            pattern: regular expression, searched for in the names of queues and exchanges.
            definition: keys and values as RabbitMQ's, such as ``{"max-length": 1000}``.
            priority: of the policies that match, the one with the highest applies.
            apply_to: ``all``, ``queues``, ``classic_queues``, ``quorum_queues`` or ``exchanges``.
            operator: True for an operator policy, which overrides.

        Raises:
            BrokerError: something is wrong with it, in RabbitMQ's words.
        """
        broker = self._running.broker
        policy_control.set_policy(
            broker,
            vhost,
            name,
            pattern,
            dict(definition),
            priority=priority,
            apply_to=apply_to,
            operator=operator,
        )
        policy_work.finish(broker)
        self._server.turn.run()

    def clear_policy(self, name: str, *, operator: bool = False, vhost: str = DEFAULT_VHOST) -> None:
        """Remove a policy; queues and exchanges follow before this returns.

        Raises:
            BrokerError: there is none of that name.
        """
        broker = self._running.broker
        policy_control.clear_policy(broker, vhost, name, operator=operator)
        policy_work.finish(broker)
        self._server.turn.run()

    def queue(self, name: str, vhost: str = DEFAULT_VHOST) -> QueueView:
        """Look at a queue.

        Raises:
            BrokerError: there is no such queue or virtual host.
        """
        return QueueView(self._vhost(vhost).queue(name))

    def peek(self, name: str, count: int = 1, vhost: str = DEFAULT_VHOST) -> list[QueuedMessage]:
        """Read the first ready messages of a queue without changing anything about them.

        Raises:
            BrokerError: there is no such queue or virtual host.
        """
        found = self._vhost(vhost).queue(name).peek(max(0, count))
        return [_queued_message(message, redelivered) for message, redelivered in found]

    def browse(
        self,
        name: str,
        *,
        start: int = 1,
        limit: int = 100,
        where: str | Table | None = None,
        vhost: str = DEFAULT_VHOST,
    ) -> list[QueuedMessage]:
        """Read ready messages of a queue by position without changing anything about them.

        Args:
            name: the queue.
            start: position of the first; to go on, one more than that of the last message given.
            limit: messages given at most.
            where: which of them, as consumers say it with ``x-filter``: a condition, or a table of headers.
            vhost: the virtual host.

        Raises:
            BrokerError: there is no such queue or virtual host, it is a stream, or ``where`` cannot be read.
        """
        queue = self._vhost(vhost).queue(name)
        if isinstance(queue, StreamQueue):
            raise BrokerError(PRECONDITION_FAILED, f"queue '{name}' is a stream: it is read by offset")
        try:
            wanted = None if where is None else make_filter(where)
        except BadFilter as problem:
            raise BrokerError(PRECONDITION_FAILED, f"where: {problem}") from None
        found: list[QueuedMessage] = []
        while len(found) < limit and (entries := queue.browse_from(start, BROWSED_AT_ONCE)):
            start = entries[-1][0] + 1
            for position, message, returns in entries:
                if queue.is_over(message, position) or len(found) >= limit:
                    continue
                if wanted is None or wanted.matches(parse_properties(message.header)):
                    found.append(_queued_message(message, returns & FLAGGED != 0, position))
        return found

    def readings(self, name: str, vhost: str = DEFAULT_VHOST) -> list[Reading]:
        """List how far the readers of a stream are, and how much is before them.

        Raises:
            BrokerError: there is no such queue or virtual host, or it is no stream.
        """
        found = self._vhost(vhost).queue(name)
        if not isinstance(found, StreamQueue):
            raise BrokerError(PRECONDITION_FAILED, f"queue '{name}' is no stream")
        return found.readings()

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        headers: Table | None = None,
        *,
        vhost: str = DEFAULT_VHOST,
        **properties: Unpack[PropertyArguments],
    ) -> bool:
        """Publish a message as a client would.

        Args:
            exchange: its name; empty for the default exchange.
            routing_key: up to 255 bytes.
            body: octets, or text to be sent as UTF-8.
            headers: the header table.
            vhost: the virtual host.
            properties: any other property by its name with underscores.

        Returns:
            Whether it reached a queue.

        Raises:
            BrokerError: what a client would be told: no such exchange, message too large, ...
        """
        node = self._running
        user = User(self.settings.auth.default_user, frozenset())
        caller = Caller(node.broker, self._vhost(vhost), user, 0)
        raw = body.encode() if isinstance(body, str) else body
        try:
            header = build_header(len(raw), headers=headers, **properties)
        except MalformedContent as error:
            raise BrokerError(PRECONDITION_FAILED, str(error)) from error
        set_clock(node.broker.clock)
        published = clientless.publish(caller, exchange, routing_key, header, raw)
        self._server.turn.run()
        return published.routed

    async def wait_for(
        self,
        name: str,
        *,
        ready: int | None = None,
        unacked: int | None = None,
        consumers: int | None = None,
        timeout: float = 5.0,
        vhost: str = DEFAULT_VHOST,
    ) -> None:
        """Wait until a queue exists and its numbers are exactly those given.

        The broker looks after every turn of its own, so a state that lasts is never missed.

        Args:
            name: the queue.
            ready, unacked, consumers: what to wait for; None is whatever it is.
            timeout: seconds.
            vhost: the virtual host.

        Raises:
            TimeoutError: it did not come to that; the message says how it is instead.
        """
        wanted = {"ready": ready, "unacked": unacked, "consumers": consumers}
        goal = {what: number for what, number in wanted.items() if number is not None}
        broker = self._running.broker
        reached = asyncio.get_running_loop().create_future()

        def look() -> None:
            vhost_now = broker.vhosts.get(vhost)
            queue = None if vhost_now is None else vhost_now.queues.get(name)
            if queue is None or reached.done():
                return
            view = QueueView(queue)
            if all(getattr(view, what) == number for what, number in goal.items()):
                reached.set_result(None)

        look()
        with self._watching(look):
            try:
                async with asyncio.timeout(timeout):
                    await reached
            except TimeoutError:
                asked = ", ".join(f"{what}={number}" for what, number in goal.items()) or "its declaration"
                raise TimeoutError(
                    f"queue {name!r} did not come to {asked} in {timeout} s: {self._state(name, vhost)}"
                ) from None

    @contextmanager
    def _watching(self, watcher: Callable[[], None]) -> Iterator[None]:
        watchers = self._server.turn.watchers
        watchers[watcher] = None
        try:
            yield
        finally:
            watchers.pop(watcher, None)

    def _state(self, name: str, vhost: str) -> str:
        try:
            return repr(self.queue(name, vhost))
        except BrokerError as error:
            return str(error)

    def _vhost(self, name: str) -> Vhost:
        return self._running.broker.vhost(name)

    @property
    def _running(self) -> Node:
        if self._node is None:
            raise RuntimeError("this broker is not started: use 'async with Broker() as broker'")
        return self._node

    @property
    def _server(self) -> Server:
        server = self._running.server
        assert server is not None
        return server


def _for_embedding(
    settings: Settings | None, host: str, port: int | None, management_port: int | None
) -> Settings:
    base = settings or Settings()
    server: dict[str, object] = {"bind": () if port is None else (f"[{host}]" if ":" in host else host,)}
    server["port"] = port or 0
    if settings is None:
        server["shutdown_timeout"] = SHUTDOWN_SECONDS
    management = {"enabled": management_port is not None, "port": management_port or 0, "bind": (host,)}
    return base.model_copy(
        update={
            "server": base.server.model_copy(update=server),
            "management": base.management.model_copy(update=management),
            "metrics": base.metrics.model_copy(update={"enabled": False}),
        }
    )


def _queued_message(message: Message, redelivered: bool, position: int = 0) -> QueuedMessage:
    properties = parse_properties(message.header).as_dict()
    headers = properties.pop("headers", {})
    assert isinstance(headers, dict)
    return QueuedMessage(
        message.body, properties, headers, message.exchange(), message.routing_key(), redelivered, position
    )
