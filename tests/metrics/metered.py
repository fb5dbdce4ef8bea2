"""A node whose metrics are read over HTTP, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from harebell.node import Node
from harebell.settings import Settings
from harebell.settings.tree import Management, Metrics, Server

PROTOCOL = "http/prometheus"


class Scrape:
    """One answer, parsed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: dict[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(text)
        }

    def kind(self, name: str) -> str | None:
        """Give the type that is written for a metric; None if it is not there."""
        for line in self.text.splitlines():
            if line.startswith(f"# TYPE {name} "):
                return line.rsplit(" ", 1)[1]
        return None

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Give labels and values of the samples of a name."""
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name:
                    yield sample.labels, sample.value

    def value(self, name: str, **labels: str) -> float:
        """Give the value of the one sample that has these labels."""
        found = [value for each, value in self.samples(name) if labels.items() <= each.items()]
        assert len(found) == 1, f"{len(found)} samples of {name} have {labels}, expected one"
        return found[0]


class Metered:
    """A running node.

    Attributes:
        node: it.
        url: where it takes AMQP connections.
    """

    def __init__(self, node: Node, http: aiohttp.ClientSession) -> None:
        self.node = node
        self._http = http
        assert node.services is not None
        (self.port, *_) = [each.port for each in node.services.host.listeners() if each.protocol == PROTOCOL]
        self.url = f"amqp://guest:guest@127.0.0.1:{node.addresses[0][1]}/"

    def get(self, path: str, **options: Any) -> aiohttp.client._RequestContextManager:
        """Ask for a path."""
        return self._http.get(f"http://127.0.0.1:{self.port}{path}", **options)

    async def scrape(self, path: str = "/metrics") -> Scrape:
        """Ask for metrics."""
        async with self.get(path) as response:
            text = await response.text()
            assert response.status == 200, f"{path} answered {response.status}: {text[:200]}"
            return Scrape(text)


@asynccontextmanager
async def metered(data_dir: Path | None = None, *, max_labels: int = 100) -> AsyncIterator[Metered]:
    """Run a node with metrics; in memory unless it gets a folder."""
    settings = Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        management=Management(enabled=False),
        metrics=Metrics(port=0, max_labels=max_labels),
    )
    node = Node(settings, data_dir)
    await node.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Metered(node, http)
    finally:
        await node.stop()


@asynccontextmanager
async def traffic(url: str) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
    """Send messages through queues of each type, and keep the connection with its consumers open.

    20 messages to each of three queues and 20 through ``topic``, one to nowhere; of the classic queue three
    are acknowledged, three got without acknowledgement, three rejected; of the quorum queue three each are
    rejected and requeued.  Then consumers take five of each and answer none; that of the stream answers all.
    """
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("dead")
        classic = await channel.declare_queue("classic", durable=True, arguments={**dead})
        quorum = await channel.declare_queue(
            "quorum", durable=True, arguments={"x-queue-type": "quorum", **dead}
        )
        await channel.declare_queue("stream", durable=True, arguments={"x-queue-type": "stream"})
        exchange = await channel.declare_exchange("topic", "topic")
        await classic.bind(exchange, "a.#")
        persistent = aio_pika.DeliveryMode.PERSISTENT
        for number in range(20):
            body = b"x" * 10 ** (number % 6)
            for name in ("classic", "quorum", "stream"):
                message = aio_pika.Message(body, delivery_mode=persistent)
                await channel.default_exchange.publish(message, name)
            await exchange.publish(aio_pika.Message(b"x"), "a.b")
        await exchange.publish(aio_pika.Message(b"x"), "nowhere", mandatory=False)
        for _ in range(3):
            await (await classic.get()).ack()
            await classic.get(no_ack=True)
            await (await classic.get()).reject(requeue=False)
            await (await quorum.get()).reject(requeue=False)
            await (await quorum.get()).nack(requeue=True)
        empty = await channel.declare_queue("empty", exclusive=True)
        await empty.get(fail=False)
        await _consume(connection)
        yield connection


async def _consume(connection: aio_pika.abc.AbstractConnection) -> None:
    channel = await connection.channel()
    await channel.set_qos(5)
    held = 0
    answered = 0
    done = asyncio.Event()

    def check() -> None:
        if held == 10 and answered == 20:
            done.set()

    async def hold(_: AbstractIncomingMessage) -> None:
        nonlocal held
        held += 1
        check()

    async def answer(message: AbstractIncomingMessage) -> None:
        nonlocal answered
        await message.ack()
        answered += 1
        check()

    for name in ("classic", "quorum"):
        await (await channel.get_queue(name)).consume(hold)
    stream = await channel.get_queue("stream")
    await stream.consume(answer, arguments={"x-stream-offset": "first"})
    async with asyncio.timeout(10):
        await done.wait()
    # What was sent before this is done when it is answered.
    await channel.declare_queue("dead", passive=True)
