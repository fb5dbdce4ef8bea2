"""Messages of a queue over HTTP: looking at them, deleting, moving, ending a wait."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aio_pika
import pytest
from aiohttp import ClientSession, encode_basic_auth
from pamqp.common import FieldTable

from harebell import Broker
from harebell.management.resources import messages as module
from tests.management.test_redrive import Api

Q = "/x/messages/%2F/q"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with (
        Broker(management_port=0) as broker,
        ClientSession(headers={"Authorization": encode_basic_auth("guest", "guest")}) as session,
    ):
        yield Api(broker, session)


async def furnish(broker: Broker, count: int, **arguments: Any) -> None:
    """Declare the queue ``q`` and publish messages with header ``n`` to it."""
    async with await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        named = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        await channel.declare_queue("q", durable=True, arguments=named)
    for number in range(count):
        body = b"message %d" % number
        await broker.publish("", "q", body, {"n": number, "colour": ("red", "blue")[number % 2]})


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    status, found = await api.ask("GET", f"{Q}{query}")
    assert status == 200, found
    answer: dict[str, Any] = found
    return answer


async def ignore(message: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Leave a delivery unanswered."""


def positions(found: dict[str, Any]) -> list[int]:
    return [one["position"] for one in found["items"]]


async def test_messages_are_listed_by_position_and_stay(api: Api) -> None:
    await furnish(api.broker, 3)
    found = await listed(api)
    assert (found["state"], found["scanned"], found["next"]) == ("ready", 3, None)
    assert positions(found) == [1, 2, 3]
    first = found["items"][0]
    assert first["age"] >= 0 and first["arrived"] > 1_600_000_000_000
    assert {key: first[key] for key in first if key not in ("age", "arrived")} == {
        "position": 1,
        "state": "ready",
        "redelivered": False,
        "delivery_count": 0,
        "exchange": "",
        "routing_key": "q",
        "properties": {"headers": {"n": 0, "colour": "red"}},
        "payload_bytes": 9,
        "payload": "message 0",
        "payload_encoding": "string",
    }
    queue = api.broker.queue("q")
    assert (queue.ready, queue.unacked) == (3, 0)


async def test_a_list_is_read_page_by_page_with_a_filter(api: Api) -> None:
    await furnish(api.broker, 7)
    page = await listed(api, "?limit=2&filter=" + quote("colour = 'red'"))
    assert (positions(page), page["next"]) == ([1, 3], 4)
    page = await listed(api, f"?from={page['next']}&filter=" + quote(json.dumps({"colour": "red"})))
    assert (positions(page), page["next"]) == ([5, 7], None)
    assert positions(await listed(api, "?routing_key=other")) == []
    for bad in ("filter=n+%3D", "filter=%7B", "state=lost", "from=x", "limit=0", "encoding=hex"):
        assert (await api.ask("GET", f"{Q}?{bad}"))[0] == 400, bad


async def test_an_answer_looks_through_so_many_and_says_where_to_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SCAN_MOST", 4)
    await furnish(api.broker, 6)
    page = await listed(api, "?filter=" + quote("n = 5"))
    assert (page["items"], page["scanned"], page["next"]) == ([], 4, 5)
    assert positions(await listed(api, "?from=5&filter=" + quote("n = 5"))) == [6]


async def test_bodies_are_cut_and_encoded_as_asked(api: Api) -> None:
    await furnish(api.broker, 0)
    await api.broker.publish("", "q", "grün")
    await api.broker.publish("", "q", b"\xff\x00\x01")
    text, octets = (await listed(api, "?truncate=3"))["items"]
    assert (text["payload"], text["payload_encoding"], text["payload_bytes"]) == ("gr", "string", 5)
    assert (octets["payload"], octets["payload_encoding"]) == ("/wAB", "base64")
    assert (await listed(api, "?encoding=base64"))["items"][0]["payload_encoding"] == "base64"
    status, one = await api.ask("GET", f"{Q}/1")
    assert (status, one["payload"]) == (200, "grün")
    assert (await api.ask("GET", f"{Q}/9"))[0] == 404
    assert (await api.ask("GET", f"{Q}/x"))[0] == 404


async def test_what_clients_hold_is_listed_with_who_holds_it(api: Api) -> None:
    await furnish(api.broker, 3)
    async with await aio_pika.connect(api.broker.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue("q")
        tag = await queue.consume(ignore)
        await api.broker.wait_for("q", unacked=1)
        got = await queue.get()
        assert got is not None
        held, fetched = (await listed(api, "?state=unacked"))["items"]
        assert (held["position"], held["consumer_tag"], held["state"]) == (1, tag, "unacked")
        assert (fetched["position"], fetched["consumer_tag"]) == (2, None)
        assert held["held"] >= 0 and held["channel"].endswith("(1)")
        assert (await api.ask("GET", f"{Q}/1"))[1]["state"] == "unacked"
        assert (await api.ask("DELETE", f"{Q}/1"))[0] == 409
        assert (await api.ask("POST", f"{Q}/1/move", {"queue": "q"}))[0] == 409
        assert positions(await listed(api)) == [3]


async def fail(broker: Broker, count: int) -> None:
    """Have messages come back that then wait for a retry."""
    async with await aio_pika.connect(broker.url) as connection:
        queue = await (await connection.channel()).get_queue("q")
        for _ in range(count):
            await (await queue.get()).reject(requeue=True)
        await broker.wait_for("q", unacked=0)


async def test_what_waits_for_its_retry_is_listed_and_can_be_ready_at_once(api: Api) -> None:
    await furnish(api.broker, 3, delayed_retry_type="all", delayed_retry_min=3_600_000)
    await fail(api.broker, 2)
    for state in ("retrying", "delayed"):
        found = await listed(api, f"?state={state}")
        assert positions(found) == [1, 2]
        first = found["items"][0]
        assert (first["state"], first["attempts"], first["redelivered"]) == ("retrying", 1, True)
        assert 0 < first["retry_in"] < 3_601_000 and first["retry_at"] > first["arrived"]
    assert (await api.ask("POST", f"{Q}/1/retry"))[0] == 204
    assert (await api.ask("POST", f"{Q}/1/retry"))[0] == 404
    assert (await api.ask("POST", f"{Q}/3/retry"))[0] == 404
    assert positions(await listed(api)) == [1, 3]
    assert (await listed(api))["items"][0]["delivery_count"] == 1
    assert (await api.ask("DELETE", f"{Q}/2"))[0] == 204
    assert (await listed(api, "?state=retrying"))["items"] == []


async def test_who_fails_again_after_a_retry_at_once_waits_its_time(api: Api) -> None:
    await furnish(api.broker, 1, delayed_retry_type="all", delayed_retry_min=300)
    await fail(api.broker, 1)
    for _ in range(3):
        assert (await api.ask("POST", f"{Q}/1/retry"))[0] == 204
        await fail(api.broker, 1)
    waiting = (await listed(api, "?state=retrying"))["items"]
    assert waiting[0]["attempts"] == 4 and waiting[0]["retry_in"] > 500


async def test_one_is_deleted(api: Api) -> None:
    await furnish(api.broker, 3)
    assert (await api.ask("DELETE", f"{Q}/2"))[0] == 204
    assert (await api.ask("DELETE", f"{Q}/2"))[0] == 404
    assert positions(await listed(api)) == [1, 3]
    status, entries = await api.ask("GET", "/x/audit")
    assert status == 200
    assert any(
        entry["action"] == "message.deleted" and entry["detail"] == {"position": 2} for entry in entries
    )


async def test_some_are_deleted_by_a_filter_once_they_were_counted(api: Api) -> None:
    await furnish(api.broker, 250)
    query = "?filter=" + quote("colour = 'red'")
    status, found = await api.ask("DELETE", f"{Q}{query}&dry_run=true")
    assert (status, found) == (200, {"scanned": 250, "matched": 125, "deleted": 0, "dry_run": True})
    assert api.broker.queue("q").ready == 250
    status, found = await api.ask("DELETE", f"{Q}{query}")
    assert (status, found["deleted"], api.broker.queue("q").ready) == (200, 125, 125)
    assert all(position % 2 == 0 for position in positions(await listed(api)))
    assert (await api.ask("DELETE", Q))[0] == 400, "all of them go with a purge"


async def test_one_is_moved_to_a_queue_or_through_an_exchange(api: Api) -> None:
    await furnish(api.broker, 3)
    async with await aio_pika.connect(api.broker.url) as connection:
        channel = await connection.channel()
        other = await channel.declare_queue("other", durable=True)
        await other.bind("amq.topic", "moved.#")
        full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.declare_queue("full", durable=True, arguments=full)
    await api.broker.publish("", "full", b"first")
    assert (await api.ask("POST", f"{Q}/1/move", {"queue": "other"}))[0] == 204
    to = {"exchange": "amq.topic", "routing_key": "moved.here"}
    assert (await api.ask("POST", f"{Q}/3/move", to))[0] == 204
    first, third = api.broker.browse("other")
    assert (first.body, first.headers, first.routing_key) == (
        b"message 0",
        {"n": 0, "colour": "red"},
        "other",
    )
    assert (third.body, third.exchange, third.routing_key) == (b"message 2", "amq.topic", "moved.here")
    refusals = [
        ({"queue": "absent"}, 404),
        ({"queue": "q"}, 400),
        ({"queue": "full"}, 409),
        ({"exchange": "absent"}, 404),
        ({"exchange": "amq.topic", "routing_key": "nowhere"}, 400),
        ({}, 400),
        ({"queue": "other", "exchange": ""}, 400),
        ({"queue": "other", "unknown": 1}, 400),
    ]
    for body, status in refusals:
        assert (await api.ask("POST", f"{Q}/2/move", body))[0] == status, body
    assert (await api.ask("POST", f"{Q}/1/move", {"queue": "other"}))[0] == 404
    assert positions(await listed(api)) == [2]


async def test_what_waits_for_its_retry_is_moved_or_waits_as_before(api: Api) -> None:
    await furnish(api.broker, 1, delayed_retry_type="all", delayed_retry_min=3_600_000)
    await fail(api.broker, 1)
    async with await aio_pika.connect(api.broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("other", durable=True)
        full: FieldTable = {"x-max-length": 0, "x-overflow": "reject-publish"}
        await channel.declare_queue("full", durable=True, arguments=full)
    (before,) = (await listed(api, "?state=retrying"))["items"]
    assert (await api.ask("POST", f"{Q}/1/move", {"queue": "full"}))[0] == 409
    (after,) = (await listed(api, "?state=retrying"))["items"]
    assert after["retry_at"] == before["retry_at"]
    assert (await api.ask("POST", f"{Q}/1/move", {"queue": "other"}))[0] == 204
    assert (await listed(api, "?state=retrying"))["items"] == []
    assert api.broker.queue("other").ready == 1


async def test_who_may_not_read_may_not_look(api: Api) -> None:
    await furnish(api.broker, 1)
    await api.ask("PUT", "/users/eve", {"password": "secret", "tags": "management"})
    rights = {"configure": ".*", "write": "^$", "read": "^other$"}
    await api.ask("PUT", "/permissions/%2F/eve", rights)
    headers = {"Authorization": encode_basic_auth("eve", "secret")}
    async with ClientSession(headers=headers) as session:
        eve = Api(api.broker, session)
        assert (await eve.ask("GET", Q))[0] == 401
        assert (await eve.ask("GET", f"{Q}/1"))[0] == 401
        assert (await eve.ask("DELETE", f"{Q}/1"))[0] == 401
        assert (await eve.ask("DELETE", f"{Q}?routing_key=q"))[0] == 401
        assert (await eve.ask("POST", f"{Q}/1/retry"))[0] == 401
        rights["read"] = ".*"
        await api.ask("PUT", "/permissions/%2F/eve", rights)
        assert (await eve.ask("GET", Q))[0] == 200
        assert (await eve.ask("POST", f"{Q}/1/move", {"queue": "q"}))[0] == 401


async def test_a_stream_is_refused(api: Api) -> None:
    async with await aio_pika.connect(api.broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("q", durable=True, arguments={"x-queue-type": "stream"})
    status, answer = await api.ask("GET", Q)
    assert (status, "x-stream-offset" in answer["reason"]) == (400, True)


async def test_browsers_are_listed_but_not_counted_as_consumers(api: Api) -> None:
    await furnish(api.broker, 1)
    async with await aio_pika.connect(api.broker.url) as connection:
        queue = await (await connection.channel()).get_queue("q")
        tag = await queue.consume(ignore, no_ack=True, arguments={"x-browse": True})
        _, shown = await api.ask("GET", "/queues/%2F/q")
        assert shown["consumers"] == 0
        assert [one["consumer_tag"] for one in shown["consumer_details"]] == [tag]
        _, consumers = await api.ask("GET", "/consumers/%2F")
        assert [(one["consumer_tag"], one["arguments"]) for one in consumers] == [(tag, {"x-browse": True})]
