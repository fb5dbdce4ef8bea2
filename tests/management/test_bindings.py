"""Bindings over HTTP: where they can be found again, and what is refused; as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest

from tests.support.management import Api, segment

MISSING = (404, "Object Not Found", "Not Found")
KEYS = ["a.b", "", "~", "a b/ü%~", "+", "%7E", "#.*", "a?b#c", "日本", "k" * 255]


@pytest.fixture
async def bound(http: Api) -> Api:
    """An exchange and a queue."""
    await http.put("/exchanges/%2F/x", {"type": "topic"})
    await http.put("/queues/%2F/q")
    return http


def below_api(path: str, location: str) -> str:
    return urljoin(f"/api{path}", location).removeprefix("/api")


@pytest.mark.parametrize("arguments", [{}, {"x": 1}, {"t": {"a": True}, "s": "text", "l": [1, None, 1.5]}])
@pytest.mark.parametrize("key", KEYS)
async def test_the_location_of_a_new_binding_is_relative_and_leads_to_it(
    bound: Api, key: str, arguments: dict[str, object]
) -> None:
    path = "/bindings/%2F/e/x/q/q"
    wanted = {"routing_key": key, "arguments": arguments}
    reply = await bound.ask("POST", path, wanted)
    assert reply.status == 201
    location = reply.headers["Location"]
    assert location.startswith("q/")
    again = await bound.ask("POST", path, wanted)
    assert (again.status, again.headers["Location"]) == (201, location), "the same binding is no error"
    found = await bound.get(below_api(path, location))
    assert (found["routing_key"], found["arguments"]) == (key, arguments)
    assert [found] == await bound.get(path)
    properties = segment(found["properties_key"])
    assert below_api(path, location) == f"{path}/{properties}"
    assert (await bound.ask("DELETE", f"{path}/{properties}")).status == 204
    assert (await bound.ask("DELETE", f"{path}/{properties}")).error == MISSING
    assert await bound.get(path) == []


@pytest.mark.parametrize(
    ("key", "location"),
    [("k1", "q/k1"), ("", "q/~"), ("~", "q/%257E"), ("a b/ü%", "q/a%2Bb%252F%25C3%25BC%2525")],
)
async def test_locations_are_escaped_twice(bound: Api, key: str, location: str) -> None:
    reply = await bound.ask("POST", "/bindings/%2F/e/x/q/q", {"routing_key": key})
    assert reply.headers["Location"] == location


@pytest.mark.parametrize(
    ("key", "escaped"), [("a.*", "a.*"), ("a.*", "a.%252A"), ("a b", "a%20b"), ("ä:", "%C3%A4:")]
)
async def test_clients_may_escape_other_characters(bound: Api, key: str, escaped: str) -> None:
    path = "/bindings/%2F/e/x/q/q"
    await bound.ask("POST", path, {"routing_key": key})
    await bound.ask("POST", path, {"routing_key": "other"})
    assert (await bound.get(f"{path}/{escaped}"))["routing_key"] == key
    assert (await bound.ask("DELETE", f"{path}/{escaped}")).status == 204
    assert len(await bound.get(path)) == 1


async def test_bindings_that_differ_in_their_arguments_only_are_told_apart(bound: Api) -> None:
    path = "/bindings/%2F/e/x/q/q"
    for number in range(5):
        await bound.ask("POST", path, {"routing_key": "k", "arguments": {"n": number}})
    rows = await bound.get(path)
    assert len({row["properties_key"] for row in rows}) == 5
    for row in rows:
        assert await bound.get(f"{path}/{segment(row['properties_key'])}") == row


async def test_exchanges_can_be_bound_to_exchanges(bound: Api) -> None:
    reply = await bound.ask("POST", "/bindings/%2F/e/x/e/amq.direct", {"routing_key": "k"})
    assert (reply.status, reply.headers["Location"]) == (201, "amq.direct/k")
    (row,) = await bound.get("/bindings/%2F/e/x/e/amq.direct")
    assert row == {
        "source": "x",
        "vhost": "/",
        "destination": "amq.direct",
        "destination_type": "exchange",
        "routing_key": "k",
        "arguments": {},
        "properties_key": "k",
    }
    assert await bound.get("/exchanges/%2F/x/bindings/source") == [row]
    assert await bound.get("/exchanges/%2F/amq.direct/bindings/destination") == [row]
    assert (await bound.ask("DELETE", "/bindings/%2F/e/x/e/amq.direct/k")).status == 204


async def test_every_queue_has_a_binding_to_the_default_exchange(bound: Api) -> None:
    row = {
        "source": "",
        "vhost": "/",
        "destination": "q",
        "destination_type": "queue",
        "routing_key": "q",
        "arguments": {},
        "properties_key": "q",
    }
    for path in (
        "/bindings",
        "/bindings/%2F",
        "/queues/%2F/q/bindings",
        "/bindings/%2F/e/amq.default/q/q",
        "/exchanges/%2F/amq.default/bindings/source",
    ):
        assert await bound.get(path) == [row], path
    assert await bound.get("/bindings/%2F/e/amq.default/q/q/q") == row
    for method, path in (("DELETE", "/q"), ("POST", "")):
        reply = await bound.ask(method, f"/bindings/%2F/e/amq.default/q/q{path}", {})
        assert (reply.status, reply.json["error"]) == (401, "not_authorised")


async def test_bindings_of_what_is_not_there(bound: Api) -> None:
    for path in (
        "/bindings/%2F/e/nope/q/q",
        "/bindings/%2F/e/x/q/nope",
        "/exchanges/%2F/nope/bindings/source",
    ):
        assert await bound.get(path) == []
    reply = await bound.ask("POST", "/bindings/%2F/e/nope/q/q", {})
    assert reply.error == (404, "not_found", "no exchange 'nope' in vhost '/'")
    reply = await bound.ask("POST", "/bindings/%2F/e/x/q/nope", {})
    assert reply.error == (404, "not_found", "no queue 'nope' in vhost '/'")
    reply = await bound.ask("POST", "/bindings/nope/e/x/q/q", {})
    assert reply.error == (404, "not_found", "vhost_not_found")
    assert (await bound.ask("GET", "/bindings/nope")).error == MISSING
    assert (await bound.ask("GET", "/bindings/%2F/e/x/q/q/nope")).error == MISSING
    assert (await bound.ask("GET", "/exchanges/%2F/x/bindings/sideways")).error == MISSING


@pytest.mark.parametrize(
    "body",
    [{"routing_key": "k" * 256}, {"routing_key": []}, {"arguments": 5}],
)
async def test_bindings_that_cannot_be_are_bad_requests(bound: Api, body: dict[str, object]) -> None:
    reply = await bound.ask("POST", "/bindings/%2F/e/x/q/q", body)
    assert (reply.status, reply.json["error"]) == (400, "bad_request"), reply.text


async def test_binding_takes_rights_at_both_ends(bound: Api) -> None:
    await bound.add_user("ann", "management", allowed="^ann")
    await bound.put("/queues/%2F/ann-q", user="ann")
    reply = await bound.ask("POST", "/bindings/%2F/e/x/q/ann-q", {}, user="ann")
    assert (reply.status, reply.json["error"]) == (401, "not_authorised")
    await bound.put("/exchanges/%2F/ann-x", user="ann")
    assert (await bound.ask("POST", "/bindings/%2F/e/ann-x/q/ann-q", {}, user="ann")).status == 201
    assert (await bound.ask("POST", "/bindings/%2F/e/ann-x/q/q", {}, user="ann")).status == 401
