"""Schemas over HTTP: registering, trying, rules, and the shape Confluent's clients know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.management import Api

ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}},
    "required": ["id"],
    "additionalProperties": False,
}
WIDER = {**ORDER, "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}}
NARROWER = {**ORDER, "properties": {"id": {"type": "integer", "minimum": 1}}}
RECORD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}]}
RECORD_2 = {**RECORD, "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": "string"}]}

JSON = {"Content-Type": "application/json"}
BASE = "/x/schemas/%2F"
REGISTRY = "/x/schema-registry/%2F"


@pytest.fixture
async def http(http: Api) -> Api:
    """The API without schemas of other tests."""
    for row in await http.get(BASE):
        await http.ask("DELETE", f"{BASE}/{row['name']}?force=true")
    await http.ask("PUT", "/x/schema-compatibility/%2F", {"compatibility": "backward"})
    return http


async def register(http: Api, schema: object, subject: str = "orders", **more: Any) -> tuple[int, Any]:
    reply = await http.ask("POST", f"{BASE}/{subject}/versions", {"schema": schema, **more})
    return reply.status, reply.json


async def test_versions_are_counted_and_keep_their_text(http: Api) -> None:
    text = json.dumps(ORDER, indent=2)
    status, first = await register(http, text)
    assert (status, first["version"], first["schema"], first["format"]) == (201, 1, text, "json-schema")
    status, second = await register(http, WIDER)
    assert (status, second["version"]) == (201, 2)
    assert second["id"] > first["id"]
    assert [row["version"] for row in await http.get(f"{BASE}/orders/versions")] == [1, 2]
    assert await http.get(f"{BASE}/orders/versions/latest") == second
    assert await http.get(f"{BASE}/orders/versions/1") == first
    (row,) = await http.get(BASE)
    assert (row["name"], row["latest"], row["versions"]) == ("orders", 2, [1, 2])
    assert row["compatibility"] == "backward"
    assert (await http.get("/x/schemas"))[0]["vhost"] == "/"


async def test_the_same_schema_is_not_registered_twice(http: Api) -> None:
    _, first = await register(http, ORDER)
    assert await register(http, json.dumps(ORDER, indent=4, sort_keys=True)) == (200, first)
    _, elsewhere = await register(http, ORDER, "others")
    assert (elsewhere["version"], elsewhere["id"]) == (1, first["id"])


async def test_what_breaks_is_told(http: Api) -> None:
    await register(http, ORDER)
    status, said = await register(http, NARROWER)
    assert (status, said["error"]) == (409, "incompatible_schema")
    assert said["reason"] == ["cannot read what version 1 wrote: /id: minimum 1 is narrower than it was"]
    reply = await http.ask("POST", f"{BASE}/orders/check-schema", {"schema": NARROWER})
    assert reply.json["compatible"] is False and reply.json["problems"] == said["reason"]
    reply = await http.ask("POST", f"{BASE}/orders/check-schema", {"schema": WIDER})
    assert reply.json == {"valid": True, "compatible": True, "compatibility": "backward", "problems": []}
    assert len(await http.get(f"{BASE}/orders/versions")) == 1, "trying registers nothing"


@pytest.mark.parametrize(
    ("rule", "wider", "narrower"),
    [
        ("none", 201, 201),
        ("backward", 201, 409),
        ("forward", 409, 201),
        ("full", 409, 409),
        ("backward_transitive", 201, 409),
        ("forward_transitive", 409, 201),
        ("full_transitive", 409, 409),
    ],
)
async def test_the_rule_decides(http: Api, rule: str, wider: int, narrower: int) -> None:
    await http.put(f"{BASE}/orders/compatibility", {"compatibility": rule})
    for schema, expected in ((WIDER, wider), (NARROWER, narrower)):
        await http.ask("DELETE", f"{BASE}/orders")
        await http.put(f"{BASE}/orders/compatibility", {"compatibility": rule})
        await register(http, ORDER)
        status, said = await register(http, schema)
        assert status == expected, said


async def test_a_transitive_rule_looks_at_all_versions(http: Api) -> None:
    anything: dict[str, object] = {}
    for rule, expected in (("forward", 201), ("forward_transitive", 409)):
        await http.put(f"{BASE}/{rule}/compatibility", {"compatibility": "none"})
        await register(http, ORDER, rule)
        await register(http, anything, rule)
        await http.put(f"{BASE}/{rule}/compatibility", {"compatibility": rule})
        status, said = await register(http, {"type": "object"}, rule)
        assert status == expected, said


async def test_a_rule_is_the_subjects_or_the_virtual_hosts(http: Api) -> None:
    await http.put("/x/schema-compatibility/%2F", {"compatibility": "none"})
    assert await http.get("/x/schema-compatibility/%2F") == {"compatibility": "none"}
    await register(http, ORDER)
    assert (await http.get(f"{BASE}/orders"))["compatibility"] == "none"
    await http.put(f"{BASE}/orders/compatibility", {"compatibility": "full"})
    assert (await http.get(f"{BASE}/orders"))["own_compatibility"] == "full"
    assert (await http.ask("DELETE", f"{BASE}/orders/compatibility")).status == 204
    assert (await http.get(f"{BASE}/orders"))["compatibility"] == "none"
    assert (await http.ask("PUT", f"{BASE}/orders/compatibility", {"compatibility": "some"})).status == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schema": 5},
        {"schema": "{"},
        {"schema": {"type": "strin"}},
        {"schema": "{}", "format": "xml"},
        {"schema": {"type": "record"}, "format": "avro"},
        {"schema": "x", "format": "protobuf"},
        {"schema": {}, "format": "protobuf"},
        {"schema": '{"title": "' + "x" * 600_000 + '"}'},
    ],
)
async def test_what_is_no_schema_is_refused(http: Api, body: object) -> None:
    reply = await http.ask("POST", f"{BASE}/orders/versions", body)
    assert reply.status == 400, reply.text
    assert await http.get(BASE) == []


async def test_names_are_bounded(http: Api) -> None:
    assert (await register(http, {}, "x" * 201))[0] == 400
    assert (await register(http, {}, "x" * 200))[0] == 201
    assert (await register(http, {}, "a%2Fb"))[0] == 201
    assert (await http.get(f"{BASE}/a%2Fb"))["name"] == "a/b"


async def test_messages_can_be_tried(http: Api) -> None:
    await register(http, ORDER)
    path = f"{BASE}/orders/check-message"
    assert (await http.ask("POST", path, {"payload": '{"id": 1}'})).json == {"valid": True, "error": None}
    reply = await http.ask("POST", path, {"payload": '{"id": "x"}'})
    assert reply.json["valid"] is False and "is not of type" in reply.json["error"]
    reply = await http.ask("POST", path, {"payload": "e30=", "payload_encoding": "base64", "version": 1})
    assert reply.json["valid"] is False
    wrong: tuple[dict[str, str], ...] = (
        {"payload": "?", "payload_encoding": "base64"},
        {"payload": "", "payload_encoding": "x"},
        {},
    )
    for body in wrong:
        assert (await http.ask("POST", path, body)).status == 400


async def test_a_schema_in_use_is_deleted_by_force_only(http: Api) -> None:
    await register(http, ORDER)
    await register(http, WIDER)
    await http.put("/queues/%2F/bound", {"arguments": {"x-schema": "orders"}})
    await http.put("/policies/%2F/checked", {"pattern": "^none$", "definition": {"schema": "orders"}})
    assert (await http.get(f"{BASE}/orders"))["used_by"] == ["queue 'bound'", "policy 'checked'"]
    reply = await http.ask("DELETE", f"{BASE}/orders")
    assert reply.status == 400 and "in use: queue 'bound', policy 'checked'" in reply.text
    assert (await http.ask("DELETE", f"{BASE}/orders/versions/1")).status == 204
    assert (await http.ask("DELETE", f"{BASE}/orders/versions/latest")).status == 400
    assert (await http.ask("DELETE", f"{BASE}/orders?force=true")).status == 204
    assert (await http.ask("GET", f"{BASE}/orders")).status == 404
    await http.ask("DELETE", "/queues/%2F/bound")
    await http.ask("DELETE", "/policies/%2F/checked")


async def test_numbers_are_not_given_twice(http: Api) -> None:
    _, first = await register(http, ORDER)
    _, second = await register(http, WIDER)
    await http.ask("DELETE", f"{BASE}/orders/versions/2")
    _, third = await register(http, {**WIDER, "title": "again"})
    assert third["version"] == 3
    assert third["id"] > second["id"] > first["id"]
    await http.ask("DELETE", f"{BASE}/orders")
    _, anew = await register(http, {"type": "integer"})
    assert anew["version"] == 1 and anew["id"] > third["id"]


async def test_who_may_do_what(http: Api) -> None:
    await register(http, ORDER)
    await http.add_user("reader", "management")
    await http.add_user("maker", "policymaker")
    body = {"schema": WIDER}
    for user, expected in (("reader", 401), ("maker", 201)):
        assert (await http.ask("GET", BASE, user=user)).status == 200
        assert (await http.ask("POST", f"{BASE}/orders/check-schema", body, user=user)).status == 200
        assert (await http.ask("POST", f"{BASE}/orders/versions", body, user=user)).status == expected
        reply = await http.ask("POST", f"{REGISTRY}/subjects/orders/versions", {"schema": '"int"'}, user=user)
        assert (reply.status == 401) == (user == "reader")
    assert (await http.ask("DELETE", f"{BASE}/orders", user="reader")).status == 401


async def test_they_travel_with_definitions(http: Api) -> None:
    _, first = await register(http, ORDER)
    await http.put(f"{BASE}/orders/compatibility", {"compatibility": "full"})
    await http.ask("DELETE", f"{BASE}/orders/versions/1?force=true")
    await register(http, ORDER)
    await http.put(f"{BASE}/orders/compatibility", {"compatibility": "full"})
    definitions = await http.get("/definitions/%2F")
    assert not [each for each in definitions["parameters"] if each["component"].startswith("schema")]
    parameters = definitions["harebell_parameters"]
    assert {each["component"] for each in parameters} == {"schema", "schema-subject", "schema-registry"}
    before = await http.get(f"{BASE}/orders/versions")
    await http.ask("DELETE", f"{BASE}/orders?force=true")
    both = {"parameters": [], "harebell_parameters": parameters}
    reply = await http.ask("POST", "/definitions/%2F", both, headers=JSON)
    assert reply.status < 300, reply.text
    assert await http.get(f"{BASE}/orders/versions") == before
    assert (await http.get(f"{BASE}/orders"))["compatibility"] == "full"
    assert before[0]["id"] > first["id"]


async def test_definitions_with_bad_schemas_do_no_harm(http: Api) -> None:
    rows = [
        {"vhost": "/", "component": "schema", "name": name, "value": value}
        for name, value in (
            ("bad", {"format": "json-schema", "schema": "{}", "id": 1}),
            ("bad/0", {"format": "json-schema", "schema": "{}", "id": 1}),
            ("bad/1", "text"),
            ("bad/2", {"format": "xml", "schema": "{}", "id": 1}),
            ("odd/1", {"format": "json-schema", "schema": "{", "id": 900}),
        )
    ]
    assert (await http.ask("POST", "/definitions", {"parameters": rows}, headers=JSON)).status < 300
    assert [row["name"] for row in await http.get(BASE)] == ["odd"]
    reply = await http.ask("POST", f"{BASE}/odd/check-message", {"payload": "{}"})
    assert "the schema cannot be used" in reply.json["error"]
    for row in rows:
        await http.ask("DELETE", f"/parameters/schema/%2F/{str(row['name']).replace('/', '%2F')}")
    assert await http.get(BASE) == []


async def test_confluent_clients_register_and_look_up(http: Api) -> None:
    reply = await http.ask("POST", f"{REGISTRY}/subjects/o-value/versions", {"schema": json.dumps(RECORD)})
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"].startswith("application/vnd.schemaregistry.v1+json")
    number = reply.json["id"]
    assert await http.get(f"{REGISTRY}/subjects") == ["o-value"]
    assert await http.get(f"{REGISTRY}/subjects/o-value/versions") == [1]
    version = {"subject": "o-value", "version": 1, "id": number, "schema": json.dumps(RECORD)}
    assert await http.get(f"{REGISTRY}/subjects/o-value/versions/latest") == version
    reply = await http.ask("POST", f"{REGISTRY}/subjects/o-value", {"schema": json.dumps(RECORD)})
    assert reply.json == version
    assert await http.get(f"{REGISTRY}/schemas/ids/{number}") == {"schema": json.dumps(RECORD)}
    versions = await http.get(f"{REGISTRY}/schemas/ids/{number}/versions")
    assert versions == [{"subject": "o-value", "version": 1}]
    assert sorted(await http.get(f"{REGISTRY}/schemas/types")) == ["AVRO", "JSON", "PROTOBUF"]
    body = {"schema": json.dumps(RECORD_2)}
    reply = await http.ask(
        "POST", f"{REGISTRY}/compatibility/subjects/o-value/versions/latest?verbose=true", body
    )
    assert reply.json["is_compatible"] is False and "has no default" in reply.json["messages"][0]
    reply = await http.ask("POST", f"{REGISTRY}/subjects/o-value/versions", body)
    assert (reply.status, reply.json["error_code"]) == (409, 409)
    reply = await http.ask("PUT", f"{REGISTRY}/config/o-value", {"compatibility": "NONE"})
    assert reply.json == {"compatibility": "NONE"}
    assert await http.get(f"{REGISTRY}/config/o-value") == {"compatibilityLevel": "NONE"}
    assert await http.get(f"{REGISTRY}/config") == {"compatibilityLevel": "BACKWARD"}
    reply = await http.ask("POST", f"{REGISTRY}/subjects/o-value/versions", body)
    assert reply.json["id"] > number
    assert (await http.ask("DELETE", f"{REGISTRY}/subjects/o-value/versions/1")).json == 1
    assert (await http.ask("DELETE", f"{REGISTRY}/subjects/o-value")).json == [2]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/subjects/none/versions", None, 40401),
        ("GET", "/subjects/there/versions/9", None, 40402),
        ("GET", "/schemas/ids/999999", None, 40403),
        ("POST", "/subjects/there", {"schema": '"string"'}, 40403),
        ("POST", "/subjects/there/versions", {"schema": "{"}, 42201),
        ("POST", "/subjects/there/versions", {"schema": "{}", "schemaType": "XML"}, 42201),
        ("POST", "/subjects/there/versions", {"schema": '"int"', "references": [{"name": "a"}]}, 42201),
        ("PUT", "/config", {"compatibility": "SOME"}, 42203),
        ("PUT", "/config/there", {}, 42203),
    ],
)
async def test_errors_have_the_codes_of_confluents_registry(
    http: Api, method: str, path: str, body: object, code: int
) -> None:
    await http.ask("POST", f"{REGISTRY}/subjects/there/versions", {"schema": '"int"'})
    reply = await http.ask(method, REGISTRY + path, body)
    assert (reply.status, reply.json["error_code"]) == (int(str(code)[:3]), code), reply.text


async def test_json_schema_and_protobuf_have_their_types(http: Api) -> None:
    body = {"schema": json.dumps(ORDER), "schemaType": "JSON"}
    reply = await http.ask("POST", f"{REGISTRY}/subjects/j/versions", body)
    assert await http.get(f"{REGISTRY}/schemas/ids/{reply.json['id']}") == {**body}
