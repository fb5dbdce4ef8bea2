"""Publishing to exchanges and getting from queues over HTTP; words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.support.management import Api

EVERY_PROPERTY: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1, "b": [1, "x"], "c": {"d": True}, "f": 1.5, "n": None},
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "6000000",
    "message_id": "m",
    "timestamp": 1,
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
    "cluster_id": "k",
}


@pytest.fixture
async def queued(http: Api) -> Api:
    """A durable queue."""
    await http.put("/queues/%2F/q", {"durable": True})
    return http


def message(
    payload: str = "hi", encoding: str = "string", key: str = "q", **properties: Any
) -> dict[str, Any]:
    return {"routing_key": key, "properties": properties, "payload": payload, "payload_encoding": encoding}


async def publish(http: Api, body: object, exchange: str = "amq.default", user: str = "guest") -> Any:
    return await http.ask("POST", f"/exchanges/%2F/{exchange}/publish", body, user=user)


async def get(http: Api, **wanted: object) -> Any:
    asked = {"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto", **wanted}
    reply = await http.ask("POST", "/queues/%2F/q/get", asked)
    assert reply.status == 200, reply.text
    return reply.json


async def test_a_published_message_is_routed_or_not(queued: Api) -> None:
    assert (await publish(queued, message())).json == {"routed": True}
    assert (await publish(queued, message(key="nope"))).json == {"routed": False}
    assert queued.broker.queue("q").ready == 1


async def test_a_message_keeps_its_properties(queued: Api) -> None:
    await publish(queued, message("/w==", "base64", **EVERY_PROPERTY))
    (shown,) = await get(queued)
    assert shown == {
        "payload_bytes": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": "q",
        "message_count": 0,
        "properties": EVERY_PROPERTY,
        "payload": "/w==",
        "payload_encoding": "base64",
    }


async def test_no_properties_are_an_empty_list(queued: Api) -> None:
    none: list[object] = [{}, []]
    for properties in none:
        await publish(queued, {**message(), "properties": properties})
    for shown in await get(queued):
        assert (shown["properties"], shown["payload"], shown["payload_encoding"]) == ([], "hi", "string")


async def test_unknown_properties_are_passed_over_and_numbers_may_be_text(queued: Api) -> None:
    await publish(queued, message(nope=1, priority="5", message_id=7))
    assert (await get(queued))[0]["properties"] == {"priority": 5, "message_id": "7"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {},
            "[{key_missing,routing_key},{key_missing,properties},{key_missing,payload},"
            "{key_missing,payload_encoding}]",
        ),
        ({"properties": {}, "routing_key": "q", "payload": "x"}, "[{key_missing,payload_encoding}]"),
        (message(encoding="zip"), ["unsupported_encoding", "zip"]),
        (message("!!", "base64"), ["not_base64", "!!"]),
        ({**message(), "payload": 5}, "payload_not_string"),
        ({**message(), "properties": 5}, "properties_not_object"),
        (message(headers=5), "headers_not_object"),
        (message(priority="x"), ["not_int", "priority"]),
        (message(priority=256), "priority is not a number from 0 to 255"),
        (message(timestamp=-1), f"timestamp is not a number from 0 to {2**64 - 1}"),
        (message(message_id=["x"]), ["not_string", "message_id"]),
        (message(message_id="x" * 256), "message_id is longer than 255 octets"),
        (message(key="x" * 256), "routing_key is longer than 255 octets"),
        (message(key=None), ["not_string", "routing_key"]),  # type: ignore[arg-type]
        (
            message(user_id="other"),
            "406 PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        ),
        (message(expiration="soon"), "406 PRECONDITION_FAILED - invalid expiration 'soon'"),
    ],
)
async def test_messages_that_cannot_be_are_bad_requests(queued: Api, body: object, reason: object) -> None:
    assert (await publish(queued, body)).error == (400, "bad_request", reason)
    assert queued.broker.queue("q").ready == 0


async def test_publishing_where_it_is_not_possible(queued: Api) -> None:
    reply = await publish(queued, message(), "nope")
    assert reply.error == (400, "bad_request", "404 NOT_FOUND - no exchange 'nope' in vhost '/'")
    reply = await publish(queued, message(), "amq.rabbitmq.trace")
    text = "403 ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'"
    assert reply.error == (400, "bad_request", text)
    reply = await queued.ask("POST", "/exchanges/nope/amq.default/publish", message())
    assert reply.error == (401, "not_authorised", "Access refused.")


async def test_a_full_queue_rejects(http: Api) -> None:
    await http.put("/queues/%2F/q", {"arguments": {"x-max-length": 1, "x-overflow": "reject-publish"}})
    assert (await publish(http, message())).json == {"routed": True}
    assert (await publish(http, message())).error == (400, "bad_request", "rejected")


async def test_payloads_may_be_as_large_as_messages(queued: Api) -> None:
    payload = base64.b64encode(bytes(3_000_000)).decode()
    assert (await publish(queued, message(payload, "base64"))).json == {"routed": True}
    (shown,) = await get(queued, truncate=10)
    assert (shown["payload_bytes"], len(shown["payload"])) == (3_000_000, 10)
    reply = await publish(queued, message("x" * 17_000_000))
    assert reply.status == 400
    assert "larger than configured max size" in reply.json["reason"]


async def fill(http: Api, count: int = 3) -> None:
    for number in range(count):
        await publish(http, message(str(number), delivery_mode=2))


@pytest.mark.parametrize("mode", ["ack_requeue_true", "reject_requeue_true"])
async def test_what_is_requeued_stays_in_order_and_is_redelivered(queued: Api, mode: str) -> None:
    await fill(queued)
    first = await get(queued, count=2, ackmode=mode)
    assert [(one["payload"], one["redelivered"]) for one in first] == [("0", False), ("1", False)]
    assert [one["message_count"] for one in first] == [2, 1]
    second = await get(queued, ackmode=mode)
    assert [(one["payload"], one["redelivered"]) for one in second] == [
        ("0", True),
        ("1", True),
        ("2", False),
    ]
    view = queued.broker.queue("q")
    assert (view.ready, view.unacked) == (3, 0)


@pytest.mark.parametrize("mode", ["ack_requeue_false", "reject_requeue_false"])
async def test_what_is_not_requeued_is_gone(queued: Api, mode: str) -> None:
    await fill(queued)
    assert [one["payload"] for one in await get(queued, count=2, ackmode=mode)] == ["0", "1"]
    view = queued.broker.queue("q")
    assert (view.ready, view.unacked) == (1, 0)


async def test_rejected_messages_are_dead_lettered(http: Api) -> None:
    await http.put("/queues/%2F/dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    await http.put("/queues/%2F/q", {"arguments": arguments})
    await fill(http)
    await get(http, ackmode="ack_requeue_false", count=1)
    await get(http, ackmode="reject_requeue_false")
    await http.broker.wait_for("dead", ready=2)


@pytest.mark.parametrize(
    ("wanted", "payloads"),
    [
        ({"count": 0}, []),
        ({"count": -1}, ["0", "1", "2"]),
        ({"count": "2"}, ["0", "1"]),
        ({"count": 1.5}, ["0"]),
        ({"count": 1, "encoding": "base64"}, ["MA=="]),
        ({"count": 1, "truncate": "0"}, [""]),
        ({"count": 1, "truncate": None}, ["0"]),
    ],
)
async def test_how_much_is_got(queued: Api, wanted: dict[str, object], payloads: list[str]) -> None:
    await fill(queued)
    assert [one["payload"] for one in await get(queued, **wanted)] == payloads


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 400),
        ({"count": 1, "requeue": True, "encoding": "auto"}, 400),
        ({"count": "x", "ackmode": "ack_requeue_true", "encoding": "auto"}, 400),
        ({"count": 1, "ackmode": "x", "encoding": "auto"}, 400),
        ({"count": 1, "ackmode": "ack_requeue_true", "encoding": "x"}, 400),
        ({"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": -5}, 400),
        ({"count": [], "ackmode": {}, "encoding": None}, 400),
        ({"count": 10**30, "ackmode": "ack_requeue_true", "encoding": "auto"}, 400),
    ],
)
async def test_bad_gets_are_bad_requests_and_take_nothing(
    queued: Api, wanted: dict[str, object], status: int
) -> None:
    await fill(queued)
    reply = await queued.ask("POST", "/queues/%2F/q/get", wanted)
    assert (reply.status, reply.json["error"]) == (status, "bad_request")
    assert all(not one["redelivered"] for one in await get(queued))


async def test_getting_from_where_it_is_not_possible(queued: Api) -> None:
    wanted = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    reply = await queued.ask("POST", "/queues/%2F/nope/get", wanted)
    assert reply.error == (404, "not_found", "NOT_FOUND - no queue 'nope' in vhost '/'")
    reply = await queued.ask("POST", "/queues/nope/q/get", wanted)
    assert reply.error == (401, "not_authorised", "Access refused.")
    await queued.put("/queues/%2F/s", {"durable": True, "arguments": {"x-queue-type": "stream"}})
    reply = await queued.ask("POST", "/queues/%2F/s/get", wanted)
    assert (reply.status, reply.json["error"]) == (400, "bad_request")


async def test_rights_in_the_virtual_host_count(queued: Api) -> None:
    await queued.add_user("ann", "management", allowed="^ann")
    wanted = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    reply = await queued.ask("POST", "/queues/%2F/q/get", wanted, user="ann")
    text = "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'ann'"
    assert reply.error == (401, "not_authorised", text)
    reply = await publish(queued, message(), "amq.direct", user="ann")
    text = "403 ACCESS_REFUSED - access to exchange 'amq.direct' in vhost '/' refused for user 'ann'"
    assert reply.error == (400, "bad_request", text)


async def test_what_is_published_over_http_is_counted(queued: Api) -> None:
    await publish(queued, message())
    await publish(queued, message(key="nope"))
    await get(queued, ackmode="ack_requeue_false")
    stats = (await queued.get("/overview"))["message_stats"]
    assert (stats["publish"], stats["return_unroutable"], stats["deliver_get"]) == (1, 1, 1) or stats[
        "publish"
    ] == 2
