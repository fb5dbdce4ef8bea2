"""Records what the HTTP API shows of fixed objects and traffic, RabbitMQ's for the files and ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractRobustConnection
from aiohttp import ClientSession, encode_basic_auth
from yarl import URL

PREFIX: Final = "recorded"
"""What the names of all objects begin with."""

PATIENCE: Final = 90.0
"""Seconds until everything that was done must be shown: RabbitMQ looks every five."""

QUEUES: Final[dict[str, dict[str, Any]]] = {
    "classic": {"durable": True, "arguments": {"x-max-length": 1000, "x-dead-letter-exchange": ""}},
    "quorum": {"durable": True, "arguments": {"x-queue-type": "quorum"}},
    "stream": {"durable": True, "arguments": {"x-queue-type": "stream"}},
    "single": {"durable": True, "arguments": {"x-single-active-consumer": True}},
    "transient": {"durable": False},
    "exclusive": {"exclusive": True},
    "empty": {"durable": True},
    "policed": {"durable": True},
}


class Http:
    """Asks an HTTP API as guest."""

    def __init__(self, base: str, session: ClientSession) -> None:
        self._base = base
        self._session = session

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request, and give the status and what the body says."""
        url = URL(f"{self._base}/api/{path}", encoded=True)
        login = {"Authorization": encode_basic_auth("guest", "guest")}
        async with self._session.request(method, url, json=body, headers=login) as reply:
            text = await reply.text()
            return reply.status, json.loads(text) if text else None

    async def get(self, path: str) -> Any:
        """Give what a path shows."""
        status, body = await self.ask("GET", path)
        assert status == 200, f"GET {path}: {status} {body}"
        return body


SETTINGS: Final[tuple[tuple[str, object], ...]] = (
    (f"vhosts/{PREFIX}", {"description": "for the record", "tags": "one,two"}),
    (f"users/{PREFIX}", {"password": "recorded", "tags": "monitoring,management"}),
    (f"permissions/%2F/{PREFIX}", {"configure": "^c", "write": "^w", "read": ".*"}),
    (f"topic-permissions/%2F/{PREFIX}", {"exchange": "amq.topic", "write": "^w", "read": ".*"}),
    (f"vhost-limits/{PREFIX}/max-queues", {"value": 10}),
    (f"user-limits/{PREFIX}/max-channels", {"value": 20}),
    (
        f"policies/%2F/{PREFIX}",
        {
            "pattern": f"^{PREFIX}.policed$",
            "definition": {"max-length": 500, "message-ttl": 60000},
            "priority": 3,
            "apply-to": "queues",
        },
    ),
    (
        f"operator-policies/%2F/{PREFIX}",
        {"pattern": f"^{PREFIX}.policed$", "definition": {"max-length": 100}, "apply-to": "queues"},
    ),
)

LEFT_OVER: Final = (
    f"operator-policies/%2F/{PREFIX}",
    f"policies/%2F/{PREFIX}",
    f"users/{PREFIX}",
    f"vhosts/{PREFIX}",
    f"exchanges/%2F/{PREFIX}.x",
    f"exchanges/%2F/{PREFIX}.fan",
    *(f"queues/%2F/{PREFIX}.{name}" for name in QUEUES if name != "exclusive"),
)


async def clean(http: Http) -> None:
    """Delete everything."""
    for path in LEFT_OVER:
        await http.ask("DELETE", path)


class Traffic:
    """Everything that happens over AMQP, once."""

    def __init__(self, connection: AbstractRobustConnection) -> None:
        self._connection = connection
        self._channels: list[AbstractChannel] = []
        self._received: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def _channel(self, confirms: bool = False) -> AbstractChannel:
        channel = await self._connection.channel(publisher_confirms=confirms, on_return_raises=False)
        self._channels.append(channel)
        return channel

    async def run(self) -> None:
        """Declare, publish, consume and get."""
        first = await self._channel()
        exchange = await first.declare_exchange(
            f"{PREFIX}.x", "topic", durable=True, arguments={"alternate-exchange": f"{PREFIX}.nowhere"}
        )
        fan = await first.declare_exchange(f"{PREFIX}.fan", "fanout", auto_delete=True)
        queues = {
            name: await first.declare_queue(f"{PREFIX}.{name}", **options) for name, options in QUEUES.items()
        }
        for name in ("classic", "quorum", "stream", "single"):
            await queues[name].bind(exchange, name)
        await queues["classic"].bind(exchange, "with arguments", arguments={"a": 1, "b": "z"})
        await fan.bind(exchange, "fan")
        await self._publish(first, exchange)
        await self._consume(queues)

    async def _publish(self, first: AbstractChannel, exchange: aio_pika.abc.AbstractExchange) -> None:
        confirming = await self._channel(confirms=True)
        confirmed = await confirming.get_exchange(exchange.name)
        message = aio_pika.Message(b"x" * 50, delivery_mode=2, timestamp=1_700_000_000)
        for key in ("classic", "quorum", "stream", "single", "with arguments"):
            for _ in range(20):
                await confirmed.publish(message, key)
        await confirmed.publish(message, "no such key", mandatory=True)
        await exchange.publish(message, "no such key", mandatory=False)
        for _ in range(20):
            await first.default_exchange.publish(aio_pika.Message(b"y"), f"{PREFIX}.transient")

    async def _consume(self, queues: dict[str, aio_pika.abc.AbstractQueue]) -> None:
        acking = await self._channel()
        await acking.set_qos(5)
        classic = await acking.get_queue(queues["classic"].name)
        await classic.consume(self._received.put, consumer_tag="acking", arguments={"x-priority": 3})
        for number in range(12):
            received = await self._received.get()
            if number == 3:
                await received.nack(requeue=True)
            elif number < 7:
                await received.ack()
        automatic = await self._channel()
        quorum = await automatic.get_queue(queues["quorum"].name)
        await quorum.consume(self._ignore, no_ack=True, consumer_tag="automatic")
        single = await self._channel()
        one = await single.get_queue(queues["single"].name)
        await one.consume(self._ignore, consumer_tag="served")
        await one.consume(self._ignore, consumer_tag="waiting")
        streaming = await self._channel()
        await streaming.set_qos(10)
        stream = await streaming.get_queue(queues["stream"].name)
        await stream.consume(self._ignore, consumer_tag="reader", arguments={"x-stream-offset": "first"})
        getting = await self._channel()
        transient = await getting.get_queue(queues["transient"].name)
        for no_ack in (True, False):
            await transient.get(no_ack=no_ack)
        await (await getting.get_queue(queues["empty"].name)).get(fail=False)

    async def _ignore(self, message: AbstractIncomingMessage) -> None:
        """Leave a message unanswered."""


NAMING: Final = (
    "name",
    "user",
    "vhost",
    "source",
    "destination",
    "queue",
    "connection_details",
    "consumer_tag",
)
"""Fields that tell whose an object is."""


def own(value: Any) -> Any:
    """Leave out of lists what others have on a shared broker."""
    if isinstance(value, dict):
        return {key: own(each) for key, each in value.items()}
    if isinstance(value, list):
        return [own(each) for each in value if not isinstance(each, dict) or _is_own(each)]
    return value


def _is_own(each: dict[str, Any]) -> bool:
    """Tell whether an object is of this record, or one that every broker has."""
    if "client_properties" in each:
        return bool(each["client_properties"].get("connection_name") == PREFIX)
    if PREFIX in json.dumps([each.get(name) for name in NAMING]) or each.get("name") in ("guest", "/"):
        return True
    if "vhost" not in each:
        described = any(field in each for field in ("durable", "limits", "tags", "routing_key"))
        return not described and each.keys() != {"name"}
    return each["vhost"] == "/" and (each.get("user") == "guest" or each.get("name") in ("", "amq.direct"))


async def _shown(http: Http) -> str:
    """Wait until all of the traffic is shown, and give the name of its connection."""

    async def stats(path: str) -> dict[str, Any]:
        found: dict[str, Any] = (await http.get(path)).get("message_stats", {})
        return found

    async def complete() -> str:
        connections = [
            each
            for each in await http.get("connections")
            if each.get("client_properties", {}).get("connection_name") == PREFIX
        ]
        if not connections or connections[0].get("channels") != 7:
            return ""
        queues = [await http.get(f"queues/%2F/{PREFIX}.{name}") for name in QUEUES]
        consumers = own(await http.get("consumers"))
        if not all({"messages", "memory"} <= queue.keys() for queue in queues) or not all(
            isinstance(consumer["channel_details"], dict) for consumer in consumers
        ):
            return ""
        classic = await stats(f"queues/%2F/{PREFIX}.classic")
        quorum = await stats(f"queues/%2F/{PREFIX}.quorum")
        stream = await stats(f"queues/%2F/{PREFIX}.stream")
        transient = await stats(f"queues/%2F/{PREFIX}.transient")
        exchange = await stats(f"exchanges/%2F/{PREFIX}.x")
        channels = await http.get(f"connections/{quote(connections[0]['name'], safe='')}/channels")
        done = (
            classic.get("ack", 0) >= 6
            and quorum.get("deliver_no_ack", 0) >= 20
            and stream.get("deliver", 0) >= 10
            and transient.get("get", 0) >= 1
            and exchange.get("publish_in", 0) >= 102
            and sum("message_stats" in channel and "idle_since" in channel for channel in channels) >= 7
            and "idle_since" in await http.get(f"queues/%2F/{PREFIX}.classic")
        )
        return str(connections[0]["name"]) if done else ""

    async with asyncio.timeout(PATIENCE):
        while not (name := await complete()):
            await asyncio.sleep(0.1)
    return name


def _paths(connection: str, node: str) -> dict[str, str]:
    """Give the path of each resource by the name of its file."""
    conn = quote(connection, safe="")
    fixed = [
        "overview",
        "nodes",
        "cluster-name",
        "whoami",
        "extensions",
        "connections",
        "channels",
        "consumers",
        "consumers/%2F",
        "exchanges",
        "exchanges/%2F",
        "queues",
        "queues/%2F",
        "bindings",
        "bindings/%2F",
        "vhosts",
        "vhosts/%2F",
        "users",
        "permissions",
        "topic-permissions",
        "policies",
        "operator-policies",
        "vhost-limits",
        "user-limits",
        "global-parameters",
        "definitions",
        "definitions/%2F",
        "aliveness-test/%2F",
        "health/checks/alarms",
        "health/checks/local-alarms",
        "health/checks/virtual-hosts",
        "feature-flags",
    ]
    paths = {path.replace("%2F", "default").replace("/", "."): path for path in fixed}
    paths["node"] = f"nodes/{node}"
    paths["connection"] = f"connections/{conn}"
    paths["connection.channels"] = f"connections/{conn}/channels"
    for number in range(1, 8):
        paths[f"channel.{number}"] = f"channels/{quote(f'{connection} ({number})', safe='')}"
    for name in QUEUES:
        paths[f"queue.{name}"] = f"queues/%2F/{PREFIX}.{name}"
    paths["queue.classic.bindings"] = f"queues/%2F/{PREFIX}.classic/bindings"
    paths["queue.with_samples"] = (
        f"queues/%2F/{PREFIX}.classic?lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5"
    )
    paths["queues.page"] = f"queues?page=1&page_size=2&name={PREFIX}"
    paths["exchange"] = f"exchanges/%2F/{PREFIX}.x"
    paths["exchange.bindings.source"] = f"exchanges/%2F/{PREFIX}.x/bindings/source"
    paths["exchange.bindings.destination"] = f"exchanges/%2F/{PREFIX}.fan/bindings/destination"
    paths["bindings.between"] = f"bindings/%2F/e/{PREFIX}.x/q/{PREFIX}.classic"
    paths["vhost"] = f"vhosts/{PREFIX}"
    paths["vhost.permissions"] = "vhosts/%2F/permissions"
    paths["user"] = f"users/{PREFIX}"
    paths["user.permissions"] = f"users/{PREFIX}/permissions"
    paths["user.topic-permissions"] = f"users/{PREFIX}/topic-permissions"
    paths["permission"] = f"permissions/%2F/{PREFIX}"
    paths["policy"] = f"policies/%2F/{PREFIX}"
    return paths


@asynccontextmanager
async def _busy(amqp: str, http: Http) -> AsyncIterator[None]:
    """Have everything there while it is recorded."""
    await clean(http)
    for path, body in SETTINGS:
        status, answer = await http.ask("PUT", path, body)
        assert status in (201, 204), f"PUT {path}: {status} {answer}"
    async with AsyncExitStack() as stack:
        stack.push_async_callback(clean, http)
        connection = await aio_pika.connect(amqp, client_properties={"connection_name": PREFIX})
        stack.push_async_callback(connection.close)
        await Traffic(connection).run()  # type: ignore[arg-type]
        yield


async def record(amqp: str, api: str) -> dict[str, Any]:
    """Record a broker.

    Args:
        amqp: its URL.
        api: base of its HTTP API, without ``/api``.

    Returns:
        What each resource shows, by name.
    """
    async with ClientSession() as session:
        http = Http(api, session)
        async with _busy(amqp, http):
            connection = await _shown(http)
            node = (await http.get("overview"))["node"]
            return {name: own(await http.get(path)) for name, path in _paths(connection, node).items()}
