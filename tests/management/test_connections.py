"""Connections and channels over HTTP; words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aiormq.abc import FieldTable

from tests.support.management import Api, segment

MISSING = (404, "Object Not Found", "Not Found")


@pytest.fixture
async def connection(http: Api) -> AsyncIterator[AbstractConnection]:
    """A client of guest's with one channel."""
    properties: FieldTable = {"connection_name": "ü/name"}
    async with await aio_pika.connect(http.broker.url, client_properties=properties) as connection:
        await connection.channel()
        yield connection


async def only(http: Api, path: str = "/connections", user: str = "guest") -> Any:
    (row,) = await http.get(path, user=user)
    return row


@pytest.mark.usefixtures("connection")
async def test_a_connection_shows_by_its_name(http: Api) -> None:
    row = await only(http)
    assert (row["user"], row["vhost"], row["state"], row["channels"]) == ("guest", "/", "running", 1)
    assert (row["user_provided_name"], row["protocol"]) == ("ü/name", "AMQP 0-9-1")
    assert row["name"] == f"127.0.0.1:{row['peer_port']} -> 127.0.0.1:{http.broker.port}"
    again = await http.get(f"/connections/{segment(row['name'])}")
    assert again["name"] == row["name"]
    assert (await only(http, "/vhosts/%2F/connections"))["name"] == row["name"]
    assert await only(http, "/connections/username/guest") == {
        "name": row["name"],
        "vhost": "/",
        "user": "guest",
        "node": row["node"],
    }
    assert await http.get("/connections/username/nobody") == []


@pytest.mark.usefixtures("connection")
async def test_a_channel_shows_by_its_name(http: Api) -> None:
    name = (await only(http))["name"]
    row = await only(http, "/channels")
    assert (row["name"], row["number"], row["connection_details"]["name"]) == (f"{name} (1)", 1, name)
    shown = await http.get(f"/channels/{segment(row['name'])}")
    assert (shown["name"], shown["consumer_details"]) == (row["name"], [])
    assert (await only(http, f"/connections/{segment(name)}/channels"))["name"] == row["name"]
    assert (await only(http, "/vhosts/%2F/channels"))["name"] == row["name"]


async def test_what_is_not_there_is_not_found(http: Api) -> None:
    for method, path in (
        ("GET", "/connections/nope"),
        ("DELETE", "/connections/nope"),
        ("GET", "/connections/nope/channels"),
        ("GET", "/channels/nope"),
        ("GET", "/vhosts/nope/connections"),
        ("GET", "/vhosts/nope/channels"),
    ):
        assert (await http.ask(method, path)).error == MISSING


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-Reason": "be gone"}, "be gone"),
        ({}, "Closed via management plugin"),
        ({"X-Reason": "r" * 999}, "r" * 200),
    ],
)
async def test_a_connection_is_closed_with_a_reason(
    http: Api, connection: AbstractConnection, headers: dict[str, str], text: str
) -> None:
    closed = asyncio.get_running_loop().create_future()
    connection.close_callbacks.add(lambda _, error: None if closed.done() else closed.set_result(error))
    name = segment((await only(http))["name"])
    assert (await http.ask("DELETE", f"/connections/{name}", headers=headers)).status == 204
    async with asyncio.timeout(5):
        error = await closed
        assert f"CONNECTION_FORCED - {text}" in str(error)
        while await http.get("/connections"):
            await asyncio.sleep(0.01)
    assert (await http.ask("DELETE", f"/connections/{name}")).error == MISSING


@pytest.mark.usefixtures("connection")
async def test_all_connections_of_a_user_are_closed(http: Api) -> None:
    assert (await http.ask("DELETE", "/connections/username/nobody")).status == 204
    assert len(await http.get("/connections")) == 1
    assert (await http.ask("DELETE", "/connections/username/guest")).status == 204
    async with asyncio.timeout(5):
        while await http.get("/connections"):
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("connection")
async def test_without_the_monitoring_tag_one_sees_and_closes_ones_own_only(http: Api) -> None:
    await http.add_user("ann", "management")
    await http.add_user("moni", "monitoring")
    name = segment((await only(http))["name"])
    assert await http.get("/connections", user="ann") == []
    assert await http.get("/channels", user="ann") == []
    reply = await http.ask("GET", f"/connections/{name}", user="ann")
    assert reply.error == (401, "not_authorised", "User not authorised to access object")
    reply = await http.ask("GET", "/connections/username/guest", user="ann")
    assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    assert len(await http.get("/connections", user="moni")) == 1
    for user, path in (("moni", f"/connections/{name}"), ("moni", "/connections/username/guest")):
        reply = await http.ask("DELETE", path, user=user)
        assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    async with await aio_pika.connect(http.broker.url.replace("guest:guest", "ann:ann")) as own:
        await own.channel()
        mine = await only(http, user="ann")
        assert mine["user"] == "ann"
        assert (await http.ask("DELETE", f"/connections/{segment(mine['name'])}", user="ann")).status == 204
