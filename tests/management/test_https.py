"""The HTTP API over TLS, beside the plain port."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession, encode_basic_auth

from harebell.node import Node
from harebell.settings import Settings
from harebell.settings.tree import Management, Metrics, Server, Tls
from tests.support.certificates import Authority


async def test_the_api_is_offered_over_tls_if_a_certificate_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        tls=Tls(certificate=authority.server(), port=0),
        management=Management(port=0, tls_port=0),
        metrics=Metrics(enabled=False),
    )
    node = Node(settings)
    await node.start()
    try:
        assert node.services is not None
        ports = {listener.protocol: listener.port for listener in node.services.host.listeners()}
        assert {"amqp", "amqp/ssl", "http", "https"} <= set(ports)
        headers = {"Authorization": encode_basic_auth("guest", "guest")}
        trusting = ssl.create_default_context(cafile=authority.ca)
        url = f"https://127.0.0.1:{ports['https']}/api"
        async with ClientSession(headers=headers) as session:
            async with session.get(f"{url}/whoami", ssl=trusting) as reply:
                assert (await reply.json())["name"] == "guest"
            with pytest.raises(ClientConnectorError):
                await session.get(f"{url}/whoami")
            async with session.get(f"http://127.0.0.1:{ports['http']}/api/overview") as reply:
                overview = await reply.json()
            listeners = {listener["protocol"] for listener in overview["listeners"]}
            assert {"amqp/ssl", "https"} <= listeners
            assert [context.get("ssl") for context in overview["contexts"]].count(True) == 1
            check = f"{url}/health/checks/certificate-expiration"
            async with session.get(f"{check}/1/days", ssl=trusting) as reply:
                assert reply.status == 200
            async with session.get(f"{check}/1/years", ssl=trusting) as reply:
                assert reply.status == 503
                expired = (await reply.json())["expired"]
                assert {one["protocol"] for one in expired} == {"amqp/ssl", "https"}
    finally:
        await node.stop()


async def test_there_are_no_more_handshakes_at_once_than_connections_are_allowed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        tls=Tls(certificate=authority.server(), port=0),
        management=Management(port=0, tls_port=0, max_connections=3),
        metrics=Metrics(enabled=False),
    )
    node = Node(settings)
    await node.start()
    try:
        assert node.services is not None
        [port] = [each.port for each in node.services.host.listeners() if each.protocol == "https"]
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        async with asyncio.timeout(10):
            cut = [asyncio.create_task(reader.read()) for reader, _ in silent]
            while sum(each.done() for each in cut) < 2:
                await asyncio.sleep(0.01)
        assert sum(each.done() for each in cut) == 2, "only who is beyond the bound is cut off"
        for _, writer in silent:
            writer.close()
        await asyncio.gather(*cut, return_exceptions=True)
        trusting = ssl.create_default_context(cafile=authority.ca)
        async with ClientSession() as session, asyncio.timeout(10):
            for _ in range(8):
                url = f"https://127.0.0.1:{port}/cli"
                while True:
                    try:
                        async with session.get(url, ssl=trusting, headers={"Connection": "close"}) as reply:
                            assert reply.status == 200
                            break
                    except ClientError:  # the node may not have seen yet that the others are gone
                        await asyncio.sleep(0.01)
    finally:
        await node.stop()


async def test_a_port_that_is_taken_fails_the_start_and_frees_the_others(tmp_path: Path) -> None:
    base = Settings(
        server=Server(bind=("127.0.0.1",), port=0),
        management=Management(port=0),
        metrics=Metrics(enabled=False),
    )
    first = Node(base)
    await first.start()
    assert first.services is not None
    ports = {listener.protocol: listener.port for listener in first.services.host.listeners()}
    taken = base.model_copy(update={"management": Management(port=ports["http"])})
    second = Node(taken)
    try:
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
    finally:
        await second.stop()
        await first.stop()
    await second.start()
    await second.stop()
