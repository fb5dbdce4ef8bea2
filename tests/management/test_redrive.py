"""Dead letters over HTTP: looking through them and sending them back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aiohttp import ClientSession, encode_basic_auth
from pamqp.common import FieldTable

from harebell import Broker
from harebell.management.resources import redrive as resource

Answer = tuple[int, Any]


class Api:
    """Asks a broker's HTTP API as guest."""

    def __init__(self, broker: Broker, session: ClientSession) -> None:
        self.broker = broker
        self.session = session

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Give the status and the decoded body."""
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, f"{self.broker.management_url}/api{path}", data=data
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def finished(self, number: int) -> dict[str, Any]:
        """Wait for the end of a redrive."""
        async with asyncio.timeout(10):
            while True:
                _, job = await self.ask("GET", f"/x/redrives/{number}")
                if job["state"] != "running":
                    found: dict[str, Any] = job
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with (
        Broker(management_port=0) as broker,
        ClientSession(headers={"Authorization": encode_basic_auth("guest", "guest")}) as session,
    ):
        yield Api(broker, session)


async def fail(broker: Broker, count: int, key: str = "order.new", **headers: str) -> None:
    """Have messages of the queue ``work`` rejected into the queue ``dead``."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("orders", aio_pika.ExchangeType.TOPIC, durable=True)
        await channel.declare_queue("dead", durable=True)
        arguments: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        work = await channel.declare_queue("work", durable=True, arguments=arguments)
        await work.bind(exchange, "order.*")
        for number in range(count):
            message = aio_pika.Message(f"{key} {number}".encode(), headers=dict(headers))
            await exchange.publish(message, key)
            incoming = await work.get()
            await incoming.reject()
        await broker.wait_for("dead", unacked=0)


async def test_dead_letters_are_shown_and_stay(api: Api) -> None:
    await fail(api.broker, 2, "order.new", tenant="a")
    await fail(api.broker, 1, "order.paid", tenant="b")
    status, found = await api.ask("GET", "/x/dead-letters/%2F/dead")
    assert status == 200
    assert (found["scanned"], found["matched"], found["complete"]) == (3, 3, True)
    assert found["by"] == {"reason": {"rejected": 3}, "queue": {"work": 3}, "exchange": {"orders": 3}}
    first = found["items"][0]
    assert (first["payload"], first["reason"], first["routing_keys"]) == (
        "order.new 0",
        "rejected",
        ["order.new"],
    )
    assert first["properties"]["headers"]["tenant"] == "a"
    assert api.broker.queue("dead").ready == 3


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("reason=rejected", 3),
        ("reason=expired", 0),
        ("queue=work&exchange=orders", 3),
        ("routing_key=order.paid", 1),
        ("header.tenant=a", 2),
        ("header.tenant=a&routing_key=order.paid", 0),
    ],
)
async def test_dead_letters_are_found_by_their_history_and_headers(
    api: Api, query: str, matched: int
) -> None:
    await fail(api.broker, 2, "order.new", tenant="a")
    await fail(api.broker, 1, "order.paid", tenant="b")
    _, found = await api.ask("GET", f"/x/dead-letters/%2F/dead?{query}&limit=1")
    assert found["matched"] == matched
    assert len(found["items"]) == min(1, matched)


async def test_a_dry_run_counts_and_moves_nothing(api: Api) -> None:
    await fail(api.broker, 3)
    status, job = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead", "dry_run": True})
    assert (status, job["scanned"], job["matched"], job["moved"], job["dry_run"]) == (200, 3, 3, 0, True)
    assert (job["state"], job["complete"]) == ("done", True)
    assert api.broker.queue("dead").ready == 3
    assert await api.ask("GET", "/x/redrives") == (200, [])


async def test_all_go_back_where_they_came_from(api: Api) -> None:
    await fail(api.broker, 250)
    status, job = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead"})
    assert status == 201
    done = await api.finished(job["id"])
    assert (done["state"], done["moved"], done["unroutable"], done["complete"]) == ("done", 250, 0, True)
    assert (api.broker.queue("work").ready, api.broker.queue("dead").ready) == (250, 0)
    assert [message.body for message in api.broker.peek("work", 2)] == [b"order.new 0", b"order.new 1"]


async def test_some_go_elsewhere(api: Api) -> None:
    await fail(api.broker, 2, "order.new")
    await fail(api.broker, 2, "order.paid")
    wanted = {
        "vhost": "/",
        "queue": "dead",
        "where": {"routing_key": "order.paid"},
        "to": {"exchange": "", "routing_key": "work"},
        "limit": 1,
    }
    _, job = await api.ask("POST", "/x/redrives", wanted)
    assert (await api.finished(job["id"]))["moved"] == 1
    assert [message.body for message in api.broker.peek("work")] == [b"order.paid 0"]
    assert api.broker.queue("dead").ready == 3


async def test_few_among_many_are_found_step_by_step(api: Api) -> None:
    await fail(api.broker, 1, "order.paid")
    await fail(api.broker, 1200, "order.new")
    await fail(api.broker, 1, "order.paid")
    wanted = {"vhost": "/", "queue": "dead", "where": {"routing_key": "order.paid"}}
    _, job = await api.ask("POST", "/x/redrives", wanted)
    done = await api.finished(job["id"])
    assert (done["state"], done["scanned"], done["matched"], done["moved"]) == ("done", 1202, 2, 2)
    assert (api.broker.queue("work").ready, api.broker.queue("dead").ready) == (2, 1200)


async def test_nothing_goes_into_an_internal_exchange(api: Api) -> None:
    await fail(api.broker, 1)
    await api.ask("PUT", "/exchanges/%2F/inner", {"type": "fanout", "internal": True})
    body = {"vhost": "/", "queue": "dead", "to": {"exchange": "inner"}}
    status, answer = await api.ask("POST", "/x/redrives", body)
    assert (status, "internal exchange 'inner'" in answer["reason"]) == (401, True)


async def test_a_rate_is_kept_and_a_redrive_can_be_ended(api: Api) -> None:
    await fail(api.broker, 50)
    _, job = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead", "rate": 5})
    assert job["state"] == "running"
    status, _ = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead"})
    assert status == 400, "one at a time"
    await api.broker.wait_for("work", ready=2)
    assert (await api.ask("DELETE", f"/x/redrives/{job['id']}"))[0] == 204
    done = await api.finished(job["id"])
    assert done["state"] == "cancelled"
    assert 2 <= done["moved"] < 50
    assert api.broker.queue("dead").ready == 50 - done["moved"]


async def test_a_message_that_fails_at_once_does_not_go_round(api: Api) -> None:
    """What dies again while a redrive runs is left for the next one."""
    await fail(api.broker, 3)
    connection = await aio_pika.connect(api.broker.url)
    async with connection:
        channel = await connection.channel()
        work = await channel.get_queue("work")

        async def reject(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await message.reject()

        await work.consume(reject)
        _, job = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead"})
        assert (await api.finished(job["id"]))["moved"] == 3
        await api.broker.wait_for("dead", ready=3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"vhost": "/", "queue": "dead", "rate": 0}, 400),
        ({"vhost": "/", "queue": "dead", "rate": "NaN"}, 400),
        ({"vhost": "/", "queue": "dead", "limit": 0}, 400),
        ({"vhost": "/", "queue": "dead", "where": {"colour": "red"}}, 400),
        ({"vhost": "/", "queue": "dead", "to": {"exchange": "nowhere"}}, 404),
        ({"vhost": "/", "queue": "missing"}, 404),
        ({"vhost": "missing", "queue": "dead"}, 404),
        ([1], 400),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(api: Api, body: object, status: int) -> None:
    await fail(api.broker, 1)
    got, answer = await api.ask("POST", "/x/redrives", body)
    assert (got, bool(answer["reason"])) == (status, True)


@pytest.mark.parametrize("number", ["0", "7", "x", "-1", "9" * 30])
async def test_an_unknown_redrive_is_not_found(api: Api, number: str) -> None:
    assert (await api.ask("GET", f"/x/redrives/{number}"))[0] == 404


async def test_who_redrove_a_queue_is_in_the_audit_log(api: Api) -> None:
    await fail(api.broker, 1)
    _, job = await api.ask("POST", "/x/redrives", {"vhost": "/", "queue": "dead"})
    await api.finished(job["id"])
    _, records = await api.ask("GET", "/x/audit?action=queue.")
    assert [(record["user"], record["action"], record["object"]) for record in records] == [
        ("guest", "queue.redriven", "dead"),
        ("guest", "queue.created", "work"),
        ("guest", "queue.created", "dead"),
    ]
    assert "127.0.0.1:" in records[1]["peer"]


async def test_a_search_goes_on_behind_what_one_answer_looks_through(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "SCAN_MOST", 2)
    await fail(api.broker, 5)
    status, found = await api.ask("GET", "/x/dead-letters/%2F/dead")
    assert (status, found["scanned"], found["complete"], found["next"]) == (200, 2, False, 3)
    seen = [one["position"] for one in found["items"]]
    while found["next"] is not None:
        _, found = await api.ask("GET", f"/x/dead-letters/%2F/dead?from={found['next']}")
        seen += [one["position"] for one in found["items"]]
    assert (seen, found["complete"]) == ([1, 2, 3, 4, 5], True)
    assert (await api.ask("GET", "/x/dead-letters/%2F/dead?from=x"))[0] == 400


async def test_a_filtered_redrive_finds_what_lies_behind_very_many(api: Api) -> None:
    async with await aio_pika.connect(api.broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("dead", durable=True, arguments={"x-max-priority": 3})
        await channel.declare_queue("other", durable=True)
        for _ in range(12_000):
            await api.broker.publish("", "dead", b"x", {"tenant": "a"}, priority=1)
        wanted = aio_pika.Message(b"wanted", headers={"tenant": "b"})
        await channel.default_exchange.publish(wanted, "dead")
    where = {"headers": {"tenant": "b"}}
    to = {"exchange": "", "routing_key": "other"}
    body = {"vhost": "/", "queue": "dead", "where": where, "to": to}
    _, counted = await api.ask("POST", "/x/redrives", {**body, "dry_run": True})
    assert (counted["scanned"], counted["matched"], counted["complete"]) == (12_001, 1, True)
    _, job = await api.ask("POST", "/x/redrives", body)
    done = await api.finished(job["id"])
    assert (done["state"], done["scanned"], done["moved"], done["complete"]) == ("done", 12_001, 1, True)
    assert [found.body for found in api.broker.peek("other", 2)] == [b"wanted"]
