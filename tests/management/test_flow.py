"""Pausing, leases and changing arguments over HTTP."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from tests.management.test_durability import SETTINGS, ask
from tests.server.process import running_broker
from tests.support.management import Api

Q = "/queues/%2F/q"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("prefix", ["", "/x"])
async def test_a_queue_is_paused_and_resumed(http: Api, prefix: str) -> None:
    await http.ask("PUT", Q, {"durable": True})
    assert (
        await http.ask("PUT", f"{prefix}{Q}/pause", {"for_ms": 3_600_000, "reason": "deploy"})
    ).status == 204
    shown = (await http.ask("GET", Q)).json
    assert (shown["state"], shown["paused"]["reason"]) == ("paused", "deploy")
    assert 0 <= time.time() * 1000 + 3_600_000 - shown["paused"]["until"] < 60_000
    await http.ask(
        "POST",
        "/exchanges/%2F/amq.default/publish",
        {"routing_key": "q", "payload": "x", "properties": {}, "payload_encoding": "string"},
    )
    got = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    assert (await http.ask("POST", f"{Q}/get", got)).json == []
    assert (await http.ask("PUT", f"{prefix}{Q}/resume")).status == 204
    assert (await http.ask("PUT", f"{prefix}{Q}/resume")).status == 204
    shown = (await http.ask("GET", Q)).json
    assert shown["state"] == "running" and "paused" not in shown
    assert len((await http.ask("POST", f"{Q}/get", got)).json) == 1
    audit = (await http.ask("GET", "/x/audit")).json
    rows = audit["items"] if isinstance(audit, dict) else audit
    assert {"queue.paused", "queue.resumed"} <= {row["action"] for row in rows}


async def test_what_cannot_be_paused_is_refused(http: Api) -> None:
    await http.ask("PUT", Q, {"durable": True, "arguments": {"x-queue-type": "stream"}})
    assert (await http.ask("PUT", f"{Q}/pause")).status == 400
    assert (await http.ask("PUT", "/queues/%2F/nosuch/pause")).status == 404
    for body in ({"for_ms": 0}, {"for_ms": "1"}, {"until": 5}, {"reason": "x" * 2000}):
        assert (await http.ask("PUT", f"{Q}/pause", body)).status == 400, body


async def test_pausing_takes_the_right_to_configure(http: Api) -> None:
    await http.ask("PUT", Q, {"durable": True})
    await http.add_user("reader", "management", allowed="^$")
    for path in (f"{Q}/pause", f"/x{Q}/pause", f"{Q}/resume"):
        assert (await http.ask("PUT", path, user="reader")).status == 401
    assert (await http.ask("PATCH", Q, {"arguments": {"x-max-length": 1}}, user="reader")).status == 401
    assert (await http.ask("PUT", "/x/leases/%2F/q", {"delivery_tag": 1}, user="reader")).status == 401


async def test_arguments_are_changed_in_part(http: Api) -> None:
    await http.ask("PUT", Q, {"durable": True, "arguments": {"x-max-length": 5, "x-expires": 100_000}})
    changes = {"arguments": {"x-max-length": None, "x-delivery-rate": 7}}
    assert (await http.ask("PATCH", Q, changes)).status == 204
    assert (await http.ask("GET", Q)).json["arguments"] == {"x-expires": 100_000, "x-delivery-rate": 7}
    refused = await http.ask("PATCH", Q, {"arguments": {"x-max-priority": 5}})
    assert refused.status == 400 and "x-max-priority" in refused.text
    assert (await http.ask("PATCH", Q, {})).status == 400
    assert (await http.ask("PATCH", "/queues/%2F/nosuch", changes)).status == 404
    allowed = (await http.ask("OPTIONS", Q)).headers["Allow"]
    assert "PATCH" in allowed


async def test_an_exchange_is_changed(http: Api) -> None:
    place = "/exchanges/%2F/e"
    await http.ask("PUT", place, {"type": "fanout"})
    assert (await http.ask("PATCH", place, {"arguments": {"alternate-exchange": "amq.fanout"}})).status == 204
    assert (await http.ask("GET", place)).json["arguments"] == {"alternate-exchange": "amq.fanout"}
    assert (await http.ask("PATCH", place, {"arguments": {"alternate-exchange": 5}})).status == 400
    assert (await http.ask("PATCH", "/exchanges/%2F/amq.topic", {"arguments": {"x-delay": 5}})).status == 401


async def test_a_virtual_host_says_what_becomes_of_declarations_that_differ(http: Api) -> None:
    assert (await http.ask("PUT", "/vhosts/v", {"redeclare": "update", "description": "d"})).status == 201
    await http.ask("PUT", "/permissions/v/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    shown = (await http.ask("GET", "/vhosts/v")).json
    assert shown["metadata"]["redeclare"] == "update"
    for length in (5, 6):
        assert (await http.ask("PUT", "/queues/v/q", {"arguments": {"x-max-length": length}})).status in (
            201,
            204,
        )
    assert (await http.ask("GET", "/queues/v/q")).json["arguments"] == {"x-max-length": 6}
    found = (await http.ask("GET", "/definitions")).json
    (vhost,) = [one for one in found["vhosts"] if one["name"] == "v"]
    assert vhost["metadata"]["redeclare"] == "update"
    assert (await http.ask("PUT", "/vhosts/v", {"redeclare": "strict"})).status == 204
    assert (await http.ask("PUT", "/queues/v/q", {"arguments": {"x-max-length": 7}})).status == 400
    assert (await http.ask("POST", "/definitions", {"vhosts": [vhost]}, headers=JSON)).status in (200, 204)
    assert (await http.ask("PUT", "/queues/v/q", {"arguments": {"x-max-length": 7}})).status == 204
    assert (await http.ask("PUT", "/vhosts/v", {"redeclare": "perhaps"})).status == 400


async def test_leases_are_listed_and_renewed(http: Api) -> None:
    await http.ask("PUT", Q, {"durable": True, "arguments": {"x-consumer-timeout": 600_000}})
    connection = await aio_pika.connect(http.broker.url)
    async with connection:
        tags: list[int] = []

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            tags.append(message.delivery_tag or 0)

        for _ in range(2):
            channel = await connection.channel()
            await channel.set_qos(1)
            await (await channel.get_queue("q")).consume(take, consumer_tag="worker")
        await channel.default_exchange.publish(aio_pika.Message(b"1"), "q")
        await channel.default_exchange.publish(aio_pika.Message(b"2", headers={"x-ack-timeout": 0}), "q")
        while len(tags) < 2:
            await asyncio.sleep(0.01)
        found: dict[str, Any] = (await http.ask("GET", "/x/leases/%2F/q")).json
        assert found["total"] == 2
        first, second = sorted(found["items"], key=lambda one: one["timeout"] is None)
        assert (first["timeout"], second["timeout"], second["remaining"]) == (600_000, None, None)
        assert first["consumer_tag"] == "worker" and 0 < first["remaining"] <= 600_000
        assert len((await http.ask("GET", "/x/leases/%2F/q?limit=1")).json["items"]) == 1
        which = {"consumer_tag": "worker", "delivery_tag": 1}
        ambiguous = await http.ask("PUT", "/x/leases/%2F/q", which)
        assert ambiguous.status == 409 and "name the channel" in ambiguous.text
        renewed = await http.ask("PUT", "/x/leases/%2F/q", {**which, "channel": first["channel"]})
        assert renewed.status == 200 and renewed.json["renewals"] == 1
        for wrong in ({**which, "delivery_tag": 9}, {**which, "consumer_tag": "other"}):
            assert (await http.ask("PUT", "/x/leases/%2F/q", wrong)).status == 404
        assert (await http.ask("PUT", "/x/leases/%2F/q", {"consumer_tag": "worker"})).status == 400


def test_pauses_and_changes_survive_a_kill(tmp_path: Path) -> None:
    exchange = "/exchanges/%2F/e"
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        assert ask(broker, "PUT", Q, {"durable": True})[0] == 201
        assert ask(broker, "PUT", exchange, {"type": "fanout", "durable": True})[0] == 201
        assert ask(broker, "PATCH", Q, {"arguments": {"x-max-unacked": 3}})[0] == 204
        assert ask(broker, "PATCH", exchange, {"arguments": {"x-delay": 0}})[0] == 204
        assert ask(broker, "PUT", f"/x{Q}/pause", {"reason": "why"})[0] == 204
        broker.signal(signal.SIGKILL)
        broker.wait()
    (tmp_path / "again").mkdir()
    with running_broker(tmp_path / "again", settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        shown = ask(broker, "GET", Q)[1]
        assert (shown["state"], shown["paused"]) == ("paused", {"until": None, "reason": "why"})
        assert shown["arguments"] == {"x-max-unacked": 3}
        assert ask(broker, "GET", exchange)[1]["arguments"] == {"x-delay": 0}
