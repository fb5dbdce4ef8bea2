"""Exchanges over HTTP; statuses and words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import pytest

from tests.support.management import Api

MISSING = (404, "Object Not Found", "Not Found")


async def test_an_exchange_is_declared_once_and_then_confirmed(http: Api) -> None:
    wanted = {
        "type": "topic",
        "durable": True,
        "auto_delete": False,
        "internal": True,
        "arguments": {"alternate-exchange": "amq.fanout"},
    }
    assert await http.put("/exchanges/%2F/e", wanted) == 201
    assert await http.put("/exchanges/%2F/e", wanted) == 204
    row = await http.get("/exchanges/%2F/e")
    assert {key: row[key] for key in wanted} == wanted
    assert (row["incoming"], row["outgoing"]) == ([], [])


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_exchange_is_direct_unless_it_says_otherwise(http: Api, body: bytes) -> None:
    assert (await http.ask("PUT", "/exchanges/%2F/e", body)).status == 201
    row = await http.get("/exchanges/%2F/e")
    assert (row["type"], row["durable"]) == ("direct", False)


async def test_another_declaration_of_the_same_name_is_a_bad_request(http: Api) -> None:
    await http.put("/exchanges/%2F/e", {"type": "topic"})
    reply = await http.ask("PUT", "/exchanges/%2F/e", {"type": "direct"})
    assert reply.error == (
        400,
        "bad_request",
        "inequivalent arg 'type' for exchange 'e' in vhost '/': received 'direct' but current is 'topic'",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"type": "nope"},
        {"type": 5},
        {"type": []},
        {"type": None},
        {"type": "direct", "durable": "no"},
        {"type": "direct", "arguments": {"alternate-exchange": 5}},
        {"type": "direct", "arguments": "x"},
    ],
)
async def test_exchanges_that_cannot_be_are_bad_requests(http: Api, body: dict[str, object]) -> None:
    reply = await http.ask("PUT", "/exchanges/%2F/e", body)
    assert (reply.status, reply.json["error"]) == (400, "bad_request"), reply.text
    assert (await http.ask("GET", "/exchanges/%2F/e")).status == 404


async def test_exchanges_that_are_there_anyway_stay(http: Api) -> None:
    assert await http.put("/exchanges/%2F/amq.direct", {"type": "direct", "durable": True}) == 204
    for name in ("amq.direct", "amq.default"):
        reply = await http.ask("DELETE", f"/exchanges/%2F/{name}")
        assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    for name in ("amq.default", "amq.new"):
        reply = await http.ask("PUT", f"/exchanges/%2F/{name}", {"type": "direct", "durable": True})
        assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    row = await http.get("/exchanges/%2F/amq.default")
    assert (row["name"], row["type"], row["durable"]) == ("", "direct", True)
    names = [row["name"] for row in await http.get("/exchanges/%2F")]
    assert names == [
        "",
        "amq.direct",
        "amq.fanout",
        "amq.headers",
        "amq.match",
        "amq.rabbitmq.trace",
        "amq.topic",
    ]


async def test_an_exchange_in_use_can_be_kept(http: Api) -> None:
    await http.put("/exchanges/%2F/e")
    await http.put("/queues/%2F/q")
    await http.ask("POST", "/bindings/%2F/e/e/q/q", {})
    reply = await http.ask("DELETE", "/exchanges/%2F/e?if-unused=true")
    assert reply.error == (400, "bad_request", "exchange 'e' in vhost '/' in use")
    assert (await http.ask("DELETE", "/exchanges/%2F/e")).status == 204
    assert (await http.ask("DELETE", "/exchanges/%2F/e")).error == MISSING


async def test_what_is_in_no_vhost_is_not_found(http: Api) -> None:
    for method in ("GET", "DELETE"):
        assert (await http.ask(method, "/exchanges/nope/e")).error == MISSING
    reply = await http.ask("PUT", "/exchanges/nope/e", {"type": "direct"})
    assert reply.error == (404, "not_found", "vhost_not_found")
