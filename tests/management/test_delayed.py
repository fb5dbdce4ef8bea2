"""Delayed messages over HTTP: what waits, cancelling it, routing it now."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aiohttp import ClientSession, encode_basic_auth

from harebell import Broker
from tests.management.test_redrive import Api

HOUR = 3_600_000


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with (
        Broker(management_port=0) as broker,
        ClientSession(headers={"Authorization": encode_basic_auth("guest", "guest")}) as session,
    ):
        yield Api(broker, session)


async def furnish(broker: Broker, *delays: int, exchange: str = "later") -> None:
    """Publish messages that wait so long to a delayed exchange that the queue ``q`` is bound to."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        made = await channel.declare_exchange(
            exchange, "x-delayed-message", durable=True, arguments={"x-delayed-type": "topic"}
        )
        queue = await channel.declare_queue("q", durable=True)
        await queue.bind(made, "#")
        for delay in delays:
            message = aio_pika.Message(str(delay).encode(), headers={"x-delay": delay}, delivery_mode=2)
            await made.publish(message, f"key.{delay}")


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    status, found = await api.ask("GET", f"/x/delayed/%2F{query}")
    assert status == 200, found
    answer: dict[str, Any] = found
    return answer


async def test_what_waits_is_listed_by_its_time(api: Api) -> None:
    assert await listed(api) == {"total": 0, "items": [], "next": None}
    before = time.time() * 1000
    await furnish(api.broker, 3 * HOUR, HOUR, 2 * HOUR)
    found = await listed(api)
    assert [one["payload"] for one in found["items"]] == [str(n * HOUR) for n in (1, 2, 3)]
    first = found["items"][0]
    assert (first["exchange"], first["routing_key"]) == ("later", f"key.{HOUR}")
    assert first["properties"]["headers"] == {"x-delay": -HOUR}
    assert before + HOUR - 1 <= first["due"] and 0 < first["remaining"] <= HOUR
    assert first["payload_bytes"] == 7 and first["payload_encoding"] == "string"


async def test_a_list_is_read_page_by_page_over_all_exchanges(api: Api) -> None:
    await furnish(api.broker, 4 * HOUR, HOUR)
    await furnish(api.broker, 3 * HOUR, 2 * HOUR, exchange="other")
    seen: list[str] = []
    after = ""
    for _ in range(5):
        found = await listed(api, f"?limit=1{after}")
        assert found["total"] == 4
        seen += [one["payload"] for one in found["items"]]
        if found["next"] is None:
            break
        after = f"&after={found['next']}"
    assert seen == [str(n * HOUR) for n in (1, 2, 3, 4)]
    only = await listed(api, "?exchange=other")
    assert [one["payload"] for one in only["items"]] == [str(2 * HOUR), str(3 * HOUR)]
    status, _ = await api.ask("GET", "/x/delayed/%2F?after=nonsense")
    assert status == 400


async def test_one_is_cancelled_and_one_delivered_now(api: Api) -> None:
    await furnish(api.broker, HOUR, 2 * HOUR, 3 * HOUR)
    first, second, third = (one["id"] for one in (await listed(api))["items"])
    assert (await api.ask("DELETE", f"/x/delayed/%2F/{first}"))[0] == 204
    assert (await api.ask("DELETE", f"/x/delayed/%2F/{first}"))[0] == 404
    assert (await api.ask("POST", f"/x/delayed/%2F/{third}/deliver"))[0] == 204
    await api.broker.wait_for("q", ready=1)
    assert [one["id"] for one in (await listed(api))["items"]] == [second]
    for wrong in ("0-1", "x", "1-", "99999999999999999999-1"):
        assert (await api.ask("DELETE", f"/x/delayed/%2F/{wrong}"))[0] == 404
    _, log = await api.ask("GET", "/x/audit")
    records: Any = log if isinstance(log, list) else log["records"]
    actions = [record["action"] for record in records]
    assert {"delayed.cancelled", "delayed.delivered"} <= set(actions)


async def test_all_of_an_exchange_are_cancelled(api: Api) -> None:
    await furnish(api.broker, HOUR, 2 * HOUR)
    await furnish(api.broker, HOUR, exchange="other")
    assert await api.ask("DELETE", "/x/delayed/%2F?exchange=later") == (200, {"cancelled": 2})
    assert (await listed(api))["total"] == 1
    assert await api.ask("DELETE", "/x/delayed/%2F") == (200, {"cancelled": 1})


async def test_gauges_tell_how_many_wait(api: Api) -> None:
    _, before = await api.ask("GET", "/overview")
    assert "messages_delayed" not in before["queue_totals"]
    await furnish(api.broker, HOUR, 2 * HOUR)
    _, exchange = await api.ask("GET", "/exchanges/%2F/later")
    _, vhost = await api.ask("GET", "/vhosts/%2F")
    _, overview = await api.ask("GET", "/overview")
    assert exchange["messages_delayed"] == vhost["messages_delayed"] == 2
    assert overview["queue_totals"]["messages_delayed"] == 2
    assert exchange["type"] == "x-delayed-message" and exchange["arguments"] == {"x-delayed-type": "topic"}


async def test_definitions_know_the_exchange_and_not_its_hidden_queue(api: Api) -> None:
    await furnish(api.broker, HOUR)
    _, found = await api.ask("GET", "/definitions")
    (exchange,) = found["exchanges"]
    assert (exchange["type"], exchange["arguments"]) == ("x-delayed-message", {"x-delayed-type": "topic"})
    assert [queue["name"] for queue in found["queues"]] == ["q"]
