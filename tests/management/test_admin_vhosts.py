"""Virtual hosts, policies, limits and parameters over HTTP; words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.management import Api

MISSING = (404, "Object Not Found", "Not Found")
NO_VHOST = (404, "not_found", "vhost_not_found")
POLICY: dict[str, Any] = {"pattern": "^a", "definition": {"max-length": 5}}
JSON = {"Content-Type": "application/json; charset=utf-8"}


def bad(reason: object) -> tuple[int, str, object]:
    return 400, "bad_request", reason


async def test_a_virtual_host_is_made_described_and_deleted(http: Api) -> None:
    assert await http.put("/vhosts/v%2Fw", {"description": "d", "tags": "a,b"}) == 201
    assert await http.put("/vhosts/v%2Fw", {"tags": ["x"], "tracing": True}) == 204
    row = await http.get("/vhosts/v%2Fw")
    assert (row["name"], row["description"], row["tags"], row["tracing"]) == ("v/w", "", ["x"], True)
    granted = await http.get("/permissions/v%2Fw/guest")
    assert granted["configure"] == ".*", "who makes a virtual host may do everything in it"
    assert (await http.ask("DELETE", "/vhosts/v%2Fw")).status == 204
    assert (await http.ask("DELETE", "/vhosts/v%2Fw")).error == MISSING


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{bad", "not_json"),
        (b"5", "not_json"),
        ({"tracing": "maybe"}, ["not_boolean", "maybe"]),
        ({"protected_from_deletion": 1.5}, ["not_boolean", 1.5]),
        ({"default_queue_type": "nosuch"}, 'invalid queue type <<"nosuch">>'),
    ],
)
async def test_a_virtual_host_that_cannot_be_is_refused(http: Api, body: object, reason: object) -> None:
    assert (await http.ask("PUT", "/vhosts/v", body)).error == bad(reason)
    assert (await http.ask("GET", "/vhosts/v")).status == 404


async def test_a_protected_virtual_host_is_412_to_delete(http: Api) -> None:
    await http.put("/vhosts/v")
    assert (await http.ask("POST", "/vhosts/v/deletion/protection")).status == 204
    assert (await http.get("/vhosts/v"))["metadata"]["protected_from_deletion"] is True
    reply = await http.ask("DELETE", "/vhosts/v")
    assert (reply.status, reply.json["error"]) == (412, "precondition_failed")
    assert (await http.ask("DELETE", "/vhosts/v/deletion/protection")).status == 204
    assert (await http.ask("DELETE", "/vhosts/v")).status == 204
    assert (await http.ask("POST", "/vhosts/v/deletion/protection")).error == MISSING


async def test_a_virtual_host_is_started_on_its_node_only(http: Api) -> None:
    node = (await http.get("/overview"))["node"]
    assert (await http.ask("POST", f"/vhosts/%2F/start/{node}")).status == 204
    reply = await http.ask("POST", "/vhosts/%2F/start/nosuch")
    assert reply.error == bad("Request to node nosuch failed with nodedown")
    assert (await http.ask("POST", f"/vhosts/nosuch/start/{node}")).status == 400


async def test_a_policy_is_set_shown_and_cleared(http: Api) -> None:
    path = "/policies/%2F/p"
    assert await http.put(path, POLICY) == 201
    assert await http.put(path, {**POLICY, "priority": 1, "apply-to": "queues", "vhost": "other"}) == 204
    shown = {"vhost": "/", "name": "p", "apply-to": "queues", "priority": 1, **POLICY}
    assert await http.get(path) == shown
    assert await http.get("/policies") == await http.get("/policies/%2F") == [shown]
    await http.put("/queues/%2F/ab", {"durable": True})
    assert (await http.get("/queues/%2F/ab"))["policy"] == "p"
    value = {key: shown[key] for key in ("pattern", "definition", "priority", "apply-to")}
    parameter = {"value": value, "vhost": "/", "component": "policy", "name": "p"}
    assert await http.get("/parameters/policy") == [parameter]
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "[{key_missing,pattern},{key_missing,definition}]"),
        ({"pattern": "^a"}, "[{key_missing,definition}]"),
        (
            {**POLICY, "priority": "1"},
            'Validation failed\n\npriority should be a number, actually was &lt;&lt;"1"&gt;&gt;\n',
        ),
        (
            {**POLICY, "definition": {"foo": 1}},
            'Validation failed\n\n[{&lt;&lt;"foo"&gt;&gt;,1}] are not recognised policy settings\n',
        ),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_in_words_fit_for_a_page(
    http: Api, body: object, reason: str
) -> None:
    assert (await http.ask("PUT", "/policies/%2F/p", body)).error == bad(reason)


async def test_nothing_goes_into_a_virtual_host_there_is_not(http: Api) -> None:
    for path, body in (
        ("/policies/nosuch/p", POLICY),
        ("/operator-policies/nosuch/p", POLICY),
        ("/vhost-limits/nosuch/max-queues", {"value": 1}),
        ("/parameters/shovel/nosuch/p", {"value": 1}),
    ):
        assert (await http.ask("PUT", path, body, headers=JSON)).error == NO_VHOST, path
        assert (await http.ask("DELETE", path)).error == MISSING, path
    for path in ("/policies/nosuch", "/vhost-limits/nosuch", "/parameters/shovel/nosuch"):
        assert (await http.ask("GET", path)).error == MISSING, path


async def test_an_operator_policy_is_json_and_says_plainly_what_is_wrong(http: Api) -> None:
    path = "/operator-policies/%2F/o"
    assert (await http.ask("PUT", path, POLICY)).status == 415
    assert (await http.ask("PUT", path, POLICY, headers=JSON)).status == 201
    wrong = {**POLICY, "definition": {"dead-letter-exchange": "x"}}
    assert (await http.ask("PUT", path, wrong, headers=JSON)).error == bad(
        'Validation failed\n\n[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings\n'
    )
    assert (await http.get(path))["definition"] == {"max-length": 5}
    assert len(await http.get("/operator-policies/%2F")) == 1
    assert [row["component"] for row in await http.get("/parameters")] == ["operator_policy"]
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING


async def test_limits_of_a_virtual_host_are_always_204(http: Api) -> None:
    async def put(path: str, body: object, headers: dict[str, str]) -> Any:
        return await http.ask("PUT", f"/vhost-limits/{path}", body, headers=headers)

    assert await http.get("/vhost-limits") == await http.get("/vhost-limits/%2F") == []
    assert (await put("%2F/max-queues", {"value": 5}, JSON)).status == 204
    assert (await put("%2F/max-connections", {"value": -1}, JSON)).status == 204
    shown = [{"vhost": "/", "value": {"max-queues": 5, "max-connections": -1}}]
    assert await http.get("/vhost-limits") == await http.get("/vhost-limits/%2F") == shown
    assert (await put("%2F/max-queues", {"value": 5}, {"Content-Type": "text/plain"})).status == 415
    assert (await put("%2F/max-queues", {"value": "5"}, JSON)).error == bad(
        'Validation failed\n\nmax-queues should be a number, actually was <<"5">>\n'
    )
    assert (await put("%2F/max-x", {"value": 5}, JSON)).error == bad(
        'Validation failed\n\nUnrecognised terms [{<<"max-x">>,5}] in limits\n'
    )
    reply = await http.ask("GET", "/vhost-limits/%2F/max-queues")
    assert (reply.status, reply.headers["Allow"]) == (405, "PUT, DELETE, OPTIONS")
    for _ in range(2):
        assert (await http.ask("DELETE", "/vhost-limits/%2F/max-queues")).status == 204


async def test_parameters_are_set_shown_and_cleared(http: Api) -> None:
    path = "/parameters/shovel/%2F/s"
    assert await http.put(path, {"value": {"src-uri": "amqp://"}}) == 201
    assert await http.put(path, {"value": {"src-uri": "amqp://b"}, "name": "other"}) == 204
    shown = {"value": {"src-uri": "amqp://b"}, "vhost": "/", "component": "shovel", "name": "s"}
    assert await http.get(path) == shown
    for listed in ("/parameters", "/parameters/shovel", "/parameters/shovel/%2F"):
        assert await http.get(listed) == [shown]
    assert await http.get("/parameters/nosuch") == []
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("shovel/%2F/s", {}, "[{key_missing,value}]"),
        ("nosuch/%2F/s", {"value": 1}, "Validation failed\n\ncomponent nosuch not found\n"),
        ("policy/%2F/s", {"value": POLICY}, "policies may not be set using this method"),
        (
            "vhost-limits/%2F/limits",
            {"value": {"max-queues": "3"}},
            'Validation failed\n\nmax-queues should be a number, actually was &lt;&lt;"3"&gt;&gt;\n',
        ),
    ],
)
async def test_a_parameter_that_cannot_be_is_refused(http: Api, path: str, body: object, reason: str) -> None:
    assert (await http.ask("PUT", f"/parameters/{path}", body)).error == bad(reason)


async def test_global_parameters_are_set_shown_and_cleared(http: Api) -> None:
    path = "/global-parameters/g"
    assert await http.put(path, {"value": {"a": [1]}}) == 201
    assert await http.put(path, {"value": None}) == 204
    assert await http.get(path) == {"value": None, "name": "g"}
    assert {"name": "g", "value": None} in await http.get("/global-parameters")
    assert (await http.ask("PUT", path, {})).error == bad("[{key_missing,value}]")
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING
    assert (await http.ask("GET", path)).error == MISSING


async def test_what_a_single_node_has_no_use_for_answers_all_the_same(http: Api) -> None:
    node = (await http.get("/overview"))["node"]
    for method, path in (
        ("DELETE", "/reset"),
        ("DELETE", f"/reset/{node}"),
        ("POST", "/rebalance/queues"),
        ("DELETE", f"/auth/attempts/{node}"),
    ):
        assert (await http.ask(method, path)).status == 204, path
    assert (await http.ask("DELETE", "/reset/nosuch")).error == MISSING
    attempts = await http.get(f"/auth/attempts/{node}")
    assert [row["protocol"] for row in attempts] == ["http"]
    assert attempts[0]["auth_attempts"] == attempts[0]["auth_attempts_succeeded"] > 0
    assert await http.get(f"/auth/attempts/{node}/source") == []
