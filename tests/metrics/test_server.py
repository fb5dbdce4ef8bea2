"""Paths, answers, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from pathlib import Path

import aio_pika
import aiohttp
import pytest

from harebell.engine.commands import DeclareQueue
from harebell.metrics import pacing, server
from harebell.metrics.exposition import CONTENT_TYPE
from harebell.node import Node
from harebell.settings import Settings
from harebell.settings.tree import Management, Metrics, Server, Tls
from tests.metrics.metered import metered
from tests.support.certificates import Authority


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "/metrics/per-object", "/metrics/detailed", "/metrics/memory-breakdown"],
)
async def test_every_path_answers_in_prometheus_text_format(path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    async with metered() as broker, broker.get(path, headers=plain) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == CONTENT_TYPE
        assert int(response.headers["Content-Length"]) == len(await response.read())


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/metrics", "aggregated"),
        ("/metrics/per-object", "per-object"),
        ("/metrics/detailed", "detailed"),
        ("/metrics/memory-breakdown", "memory-breakdown"),
    ],
)
async def test_every_answer_says_which_node_and_path_it_is_of(path: str, endpoint: str) -> None:
    async with metered() as broker:
        scrape = await broker.scrape(path)
        ((labels, value),) = scrape.samples("rabbitmq_identity_info")
        assert broker.node.services is not None
        assert labels["rabbitmq_node"] == broker.node.services.host.name
    assert (labels["rabbitmq_endpoint"], value) == (endpoint, 1)
    assert labels["rabbitmq_cluster"] and labels["rabbitmq_cluster_permanent_id"]
    ((versions, _),) = scrape.samples("rabbitmq_build_info")
    assert versions["rabbitmq_version"] == "3.13.7" and versions["product_name"] == "harebell"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 404), ("/nothing", 404), ("/metrics/nothing", 404), ("/healthz", 200), ("/readyz", 200)],
)
async def test_other_paths(path: str, status: int) -> None:
    async with metered() as broker, broker.get(path) as response:
        assert response.status == status


async def test_a_node_about_to_stop_is_healthy_but_not_ready() -> None:
    async with metered() as broker:
        assert broker.node.services is not None
        broker.node.services.host.stopping = True
        async with broker.get("/readyz") as response:
            assert response.status == 503
        async with broker.get("/healthz") as response:
            assert response.status == 200


async def test_queues_are_selected_by_virtual_host_and_pattern() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        for name in ("orders.new", "orders.old", "mails"):
            await channel.declare_queue(name)
        path = "/metrics/detailed?family=queue_coarse_metrics"
        name = "rabbitmq_detailed_queue_messages_ready"

        async def queues(query: str) -> list[str]:
            scrape = await broker.scrape(path + query)
            return sorted(labels["queue"] for labels, _ in scrape.samples(name))

        assert await queues("") == ["mails", "orders.new", "orders.old"]
        assert await queues("&queue=^orders") == ["orders.new", "orders.old"]
        assert await queues("&queue=new") == ["orders.new"]
        assert await queues("&vhost=/&vhost=other") == ["mails", "orders.new", "orders.old"]
        assert await queues("&vhost=other") == []


@pytest.mark.parametrize(
    "query", ["queue=(", "queue=(a%2B)%2B", "queue=.*.*.*", "queue=a&queue=b", "queue=" + "x" * 2000]
)
async def test_a_pattern_that_cannot_be_used_is_refused(query: str) -> None:
    async with metered() as broker, broker.get(f"/metrics/detailed?family=queue_metrics&{query}") as response:
        assert response.status == 400


async def test_families_that_nobody_knows_are_passed_over() -> None:
    async with metered() as broker:
        scrape = await broker.scrape("/metrics/detailed?family=nothing&family=vhost_status")
    assert scrape.value("rabbitmq_cluster_vhost_status", vhost="/") == 1


async def test_names_are_escaped() -> None:
    name = 'a "b" \\ c\nd'
    async with metered() as broker:
        engine = broker.node.broker
        queue = DeclareQueue("/", name, engine.next_queue_id(), "classic", False, 0, False, {})
        engine.commit(queue, durable=False)
        scrape = await broker.scrape("/metrics/per-object")
    assert scrape.value("rabbitmq_queue_messages", queue=name) == 0


async def test_scrapes_are_counted() -> None:
    async with metered() as broker:
        first = await broker.scrape()
        scrape = await broker.scrape()
    assert scrape.value("telemetry_scrape_size_bytes_sum", registry="default") == len(first.text.encode())
    assert scrape.value("telemetry_scrape_duration_seconds_count", registry="default") == 1


async def test_scrapes_at_once_are_answered_one_after_the_other() -> None:
    async with metered() as broker:
        scrapes = await asyncio.gather(*[broker.scrape() for _ in range(8)])
        counts = [list(scrape.samples("telemetry_scrape_size_bytes_count")) for scrape in scrapes]
    assert sorted(len(each) for each in counts) == [0, *[1] * 7]


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.2)
    async with metered() as broker:
        engine = broker.node.broker
        for number in range(6000):
            name = f"queue {number:0200}"
            queue = DeclareQueue("/", name, engine.next_queue_id(), "classic", False, 0, False, {})
            engine.commit(queue, durable=False)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", broker.port))
            client.sendall(b"GET /metrics/per-object HTTP/1.1\r\nHost: x\r\n\r\n")
            assert broker.node.services is not None
            await broker.node.services.served()
            metrics = broker.node.services._metrics
            assert metrics is not None
            async with asyncio.timeout(20):
                while not metrics.open_scrapes:
                    await asyncio.sleep(0.01)
                while metrics.open_scrapes:
                    await asyncio.sleep(0.01)
            received = await asyncio.to_thread(_read_all, client)
        head, _, body = received.partition(b"\r\n\r\n")
        promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(body) < promised, "all of it was sent after all: make the answer larger"


def _read_all(client: socket.socket) -> bytes:
    received = bytearray()
    try:
        while piece := client.recv(1 << 20):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


async def test_only_so_many_scrapes_are_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OPEN_SCRAPES", 0)
    async with metered() as broker, broker.get("/metrics") as response:
        assert response.status == 503


async def test_a_scrape_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(pacing, "LONGEST_SECONDS", 0.0)
    async with metered() as broker:
        async with broker.get("/metrics") as response:
            assert response.status == 503
        monkeypatch.undo()
        await broker.scrape()


async def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            server=Server(bind=("127.0.0.1",), port=0),
            management=Management(enabled=False),
            metrics=Metrics(port=taken.getsockname()[1]),
        )
        with pytest.raises(OSError, match="in use"):
            await Node(settings).start()


async def test_nothing_listens_once_the_node_has_stopped() -> None:
    async with metered() as broker:
        await broker.node.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", broker.port)).close()


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/metrics/detailed?family=queue_metrics"])
async def test_a_head_has_no_body_and_other_methods_are_refused(path: str) -> None:
    async with metered() as broker, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{broker.port}{path}"
        async with http.head(url) as response:
            assert response.status == 200
            assert await response.read() == b""
        async with http.post(url, data=b"x") as response:
            assert response.status == 405


async def test_no_answer_tells_what_it_was_made_with() -> None:
    async with metered() as broker:
        for path in ("/metrics", "/healthz", "/nothing", "/metrics/nothing"):
            async with broker.get(path) as response:
                assert response.headers["Server"] == "harebell"


async def test_connections_beyond_the_bound_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    async with metered() as broker:
        idle = [socket.create_connection(("127.0.0.1", broker.port)) for _ in range(2)]
        third = socket.create_connection(("127.0.0.1", broker.port))
        assert await asyncio.to_thread(_read_all, third) == b""
        for each in (*idle, third):
            each.close()


async def test_metrics_are_compressed_for_who_asks_for_it() -> None:
    async with metered() as broker, aiohttp.ClientSession(auto_decompress=False) as session:
        url = f"http://127.0.0.1:{broker.port}/metrics"
        plain = {"Accept-Encoding": "identity"}
        async with session.get(url, headers=plain) as response:
            whole = await response.read()
            assert "Content-Encoding" not in response.headers
            assert response.headers["Vary"] == "Accept-Encoding"
        for wanted in ("gzip", "deflate, gzip;q=0.5", "GZIP"):
            async with session.get(url, headers={"Accept-Encoding": wanted}) as response:
                assert response.headers["Content-Encoding"] == "gzip", wanted
                packed = await response.read()
            assert gzip.decompress(packed).startswith(whole[:200])
            assert len(packed) < len(whole) / 3
        for wanted in ("gzip;q=0", "gzip; q=0.000", "br", "*"):
            async with session.get(url, headers={"Accept-Encoding": wanted}) as response:
                assert "Content-Encoding" not in response.headers, wanted
        async with session.head(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.status == 200


async def test_metrics_are_offered_over_tls_if_a_certificate_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        tls=Tls(certificate=authority.server(), port=0),
        management=Management(enabled=False),
        metrics=Metrics(port=0, tls_port=0),
    )
    node = Node(settings)
    await node.start()
    try:
        assert node.services is not None
        ports = {listener.protocol: listener.port for listener in node.services.host.listeners()}
        trusting = ssl.create_default_context(cafile=authority.ca)
        url = f"https://127.0.0.1:{ports['https/prometheus']}/metrics"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, ssl=trusting) as response:
                assert "rabbitmq_identity_info" in await response.text()
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url)
            async with session.get(f"http://127.0.0.1:{ports['http/prometheus']}/metrics") as response:
                assert response.status == 200
        before = node.certificates.ends("https/prometheus")
        assert before is not None
        authority.server(days=300)
        assert await node.certificates.reload()
        after = node.certificates.ends("https/prometheus")
        assert after is not None and after > before
    finally:
        await node.stop()
