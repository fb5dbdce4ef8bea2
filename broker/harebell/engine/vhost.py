"""A virtual host: its exchanges and queues, and the routes worked out from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.counters import VhostCounters
from harebell.engine.delay import Wait
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.exchanges.registry import create
from harebell.engine.policies import Policies
from harebell.engine.queues.queue import DeadLetterSink, Queue
from harebell.engine.routing import (
    ROUTE_CACHE_LIMIT,
    ROUTE_CACHE_QUEUES,
    Route,
    Routing,
    traverse,
    with_histories,
)
from harebell.errors import ACCESS_REFUSED, NOT_ALLOWED, NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.ports import AccessControl, User

if TYPE_CHECKING:
    from harebell.engine.delays import Delays
    from harebell.engine.queues.id_window import IdWindow
    from harebell.engine.reply_to import ReplyQueue

DEFAULT_VHOST: Final = "/"
"""The one every broker begins with."""

PREDECLARED = (
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.topic", "topic", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
)
"""Durable exchanges every virtual host has beside the default one: name, type, internal."""


class Vhost:
    """The exchanges and queues of one virtual host.

    Attributes:
        name: its name.
        exchanges, queues: by name; the default exchange is not among the exchanges.
        windows: of ids, by their owner: True and the name of an exchange, False and that of a queue.
        delays: the delayed messages; always there in a broker.
        exclusives: names of exclusive queues by the id of the connection that owns them.
        expiring: queues that go when they are not used.
        dead_letters: moves what queues give up; made with the first queue.
        policies: what gives queues and exchanges options by their name.
        policies_changed: True if no object has followed the latest change of a policy yet.
        policy_work: objects that have yet to follow an earlier one.
        limits: as set, by name; ``max_queues`` and ``max_connections`` are the same, -1 where there is none.
        connections: how many are open.
        default_queue_type: type of queues declared without one; empty for the node's default.
        reply_queues: direct reply-to addressees by their pseudo-queue name.
        auto_deleted: durable exchanges that went with their last binding; the journal is to be told.
        counters: what is counted beside the queues and exchanges that are there.
        replaying: True while recovery repeats commands, which say themselves what goes.
    """

    def __init__(self, name: str, access: AccessControl) -> None:
        self.name = name
        self.access = access
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.windows: dict[tuple[bool, str], IdWindow] = {}
        self.delays: Delays | None = None
        self.exclusives: dict[int, dict[str, None]] = {}
        self.expiring: dict[Queue, None] = {}
        self.reply_queues: dict[str, ReplyQueue] = {}
        self.auto_deleted: list[str] = []
        self.replaying: bool = False
        self.counters = VhostCounters()
        self.dead_letters: DeadLetterSink | None = None
        self.policies = Policies()
        self.policies_changed: bool = False
        self.policy_work: list[Destination] = []
        self.limits: Table = {}
        self.metadata: Table = {}
        self.max_queues: i64 = -1
        self.max_connections: i64 = -1
        self.connections: int = 0
        self.default_queue_type: str = ""
        self.generation: i64 = 1
        self._cached_queues: i64 = 0
        self._caches: dict[str, dict[bytes, Route]] = {}
        for exchange_name, type_name, internal in PREDECLARED:
            self.exchanges[exchange_name] = create(type_name, exchange_name, True, False, internal, {})

    def exchange(self, name: str) -> Exchange:
        """Look up an exchange.

        Raises:
            BrokerError: NOT_FOUND if there is none.
        """
        found = self.exchanges.get(name)
        if found is None:
            raise BrokerError(NOT_FOUND, f"no exchange '{name}' in vhost '{self.name}'")
        return found

    def queue(self, name: str) -> Queue:
        """Look up a queue.

        Raises:
            BrokerError: NOT_FOUND if there is none.
        """
        found = self.queues.get(name)
        if found is None:
            raise BrokerError(NOT_FOUND, f"no queue '{name}' in vhost '{self.name}'")
        return found

    def set_limits(self, limits: Table) -> None:
        """Take new limits in place of the old; they hold for what comes, not for what is there."""
        self.limits = limits
        self.max_queues = _limit(limits, "max-queues")
        self.max_connections = _limit(limits, "max-connections")

    def check_queue_limit(self, name: str, count: int = 1) -> None:
        """Check that so many more queues may be declared.

        Raises:
            BrokerError: PRECONDITION_FAILED in RabbitMQ's words.
        """
        if self.max_queues >= 0 and len(self.queues) + count > self.max_queues:
            raise BrokerError(
                PRECONDITION_FAILED,
                f"cannot declare queue '{name}': queue limit in vhost '{self.name}' "
                f"({self.max_queues}) is reached",
            )

    def check_connection_limit(self, user: User, connections: int) -> None:
        """Check that one more connection may be opened.

        Args:
            user: who opens it.
            connections: how many are open.

        Raises:
            BrokerError: NOT_ALLOWED in RabbitMQ's words.
        """
        if self.max_connections >= 0 and connections >= self.max_connections:
            raise BrokerError(
                NOT_ALLOWED,
                f"access to vhost '{self.name}' refused for user '{user.name}': "
                f"connection limit ({self.max_connections}) is reached",
            )

    def route_cache(self, user: User) -> dict[bytes, Route]:
        """Give the routes shared by the user's connections; permissions differ between users.

        Those who may do everything share what is kept under the name that no user can have.
        """
        return self._caches.setdefault("" if user.unlimited else user.name, {})

    def topology_changed(self) -> None:
        """Forget every cached route: an exchange, queue, binding or permission changed."""
        self.generation += 1
        self._clear_caches()

    def _clear_caches(self) -> None:
        self._cached_queues = 0
        for cache in self._caches.values():
            cache.clear()

    def resolve(self, user: User, arguments: bytes) -> Route:
        """Work out the route of a ``basic.publish`` and cache it.

        Args:
            user: who publishes.
            arguments: the method's arguments without the reserved short: exchange and routing key as
                short strings, then the flag octet; bounds already checked.

        Returns:
            The route; its ``error`` is set if publishing is refused.
        """
        split = 1 + arguments[0]
        address = arguments[:-1]
        exchange_name = arguments[1:split].decode("utf-8", "surrogateescape")
        key = arguments[split + 1 : -1].decode("utf-8", "surrogateescape")
        flags = arguments[-1]
        route = Route(address, exchange_name, key, None, bool(flags & 1), bool(flags & 2))
        route.arguments = arguments
        route.generation = self.generation
        route.tally = self.counters.default
        try:
            self._resolve(user, route)
        except BrokerError as error:
            route.error = error
            return route
        cache = self.route_cache(user)
        if route.cacheable:
            self._cached_queues += len(route.queues)
            if len(cache) >= ROUTE_CACHE_LIMIT or self._cached_queues >= ROUTE_CACHE_QUEUES:
                self._clear_caches()
            cache[arguments] = route
        return route

    def _resolve(self, user: User, route: Route) -> None:
        name, key = route.exchange_name, route.routing_key
        if not self.access.allowed(user, self.name, "write", name or "amq.default"):
            raise access_refused(name or "amq.default", "exchange", self.name, user)
        if name == "":
            self._resolve_default(route, key)
            return
        exchange = self.exchange(name)
        if exchange.internal:
            raise BrokerError(
                ACCESS_REFUSED, f"cannot publish to internal exchange '{name}' in vhost '{self.name}'"
            )
        if exchange.routes_by == "topic" and not self.access.topic_allowed(
            user, self.name, name, "write", key
        ):
            raise topic_refused(key, name, self.name, user)
        route.exchange = exchange
        route.tally = exchange.tally
        routing = Routing()
        traverse(exchange, [key], None, self.exchanges.get, routing)
        route.dynamic = routing.dynamic
        if routing.dynamic or exchange.options is not None:
            route.careful = True
        if not routing.dynamic:
            route.set_queues(list(routing.queues))

    def _resolve_default(self, route: Route, key: str) -> None:
        reply_queue = self.reply_queues.get(key)
        if reply_queue is not None or key.startswith("amq.rabbitmq.reply-to."):
            route.cacheable = False
            route.set_queues([] if reply_queue is None else [reply_queue])
            return
        queue = self.queues.get(key)
        route.set_queues([] if queue is None else [queue])

    def check_keys(self, user: User, exchange: Exchange, keys: list[str]) -> None:
        """Check the keys that a message is published with.

        Raises:
            BrokerError: ACCESS_REFUSED if topic permissions forbid one.
        """
        if exchange.routes_by == "topic":
            for key in keys:
                if not self.access.topic_allowed(user, self.name, exchange.name, "write", key):
                    raise topic_refused(key, exchange.name, self.name, user)

    def route_content(
        self, user: User, route: Route, properties: Properties, keys: list[str], now: i64
    ) -> tuple[list[Queue], list[RecentHistoryExchange], list[Wait]]:
        """Route one message that needs a look at its content: CC, BCC, a dynamic exchange, or a delay.

        Args:
            keys: the routing key and those of CC and BCC.
            now: unix milliseconds.

        Returns:
            The queues, the exchanges that remember the message, and those that delay it.

        Raises:
            BrokerError: ACCESS_REFUSED if topic permissions forbid one of the keys.
        """
        exchange = route.exchange
        if exchange is None:
            found: dict[Queue, None] = {}
            for key in keys:
                queue = self.reply_queues.get(key) or self.queues.get(key)
                if queue is not None:
                    found[queue] = None
            return with_histories(list(found)), [], []
        self.check_keys(user, exchange, keys)
        routing = Routing(now)
        traverse(exchange, keys, properties, self.exchanges.get, routing)
        return with_histories(list(routing.queues)), routing.remembering, routing.waits


def _limit(limits: Table, name: str) -> i64:
    value = limits.get(name)
    return value if isinstance(value, int) else -1


def access_refused(name: str, kind: str, vhost: str, user: User) -> BrokerError:
    """Build the 403 of a missing permission, in RabbitMQ's words."""
    return BrokerError(
        ACCESS_REFUSED, f"access to {kind} '{name}' in vhost '{vhost}' refused for user '{user.name}'"
    )


def topic_refused(key: str, exchange: str, vhost: str, user: User) -> BrokerError:
    """Build the 403 of a missing topic permission, in RabbitMQ's words."""
    return BrokerError(
        ACCESS_REFUSED,
        f"access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for user '{user.name}'",
    )
