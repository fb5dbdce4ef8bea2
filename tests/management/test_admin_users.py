"""Users, permissions and limits over HTTP; statuses and words as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest

from tests.support.management import Api

MISSING = (404, "Object Not Found", "Not Found")
MD5 = "2lmoth8l4H0DViLaK9Fxi6l9ds8="
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


def bad(reason: object) -> tuple[int, str, object]:
    return 400, "bad_request", reason


async def test_a_user_is_made_changed_and_deleted(http: Api) -> None:
    assert await http.put("/users/u", {"password": "x", "tags": "management, policymaker"}) == 201
    assert await http.put("/users/u", {"password": "x", "tags": ["a", "b"]}) == 204
    row = await http.get("/users/u")
    assert (row["name"], row["tags"], row["limits"]) == ("u", ["a", "b"], {})
    assert (await http.ask("DELETE", "/users/u")).status == 204
    assert (await http.ask("DELETE", "/users/u")).error == MISSING
    assert (await http.ask("GET", "/users/u")).error == MISSING


async def test_a_user_put_without_a_password_loses_it(http: Api) -> None:
    await http.put("/users/u", {"password": "u", "tags": "administrator"})
    assert (await http.get("/whoami", user="u"))["name"] == "u"
    await http.put("/users/u", {"tags": "administrator"})
    assert (await http.get("/users/u"))["password_hash"] == ""
    assert (await http.ask("GET", "/whoami", user="u")).status == 401


async def test_hashes_come_and_go_as_they_are(http: Api) -> None:
    await http.put("/users/u", {"password": "u", "tags": "management"})
    row = await http.get("/users/u")
    body = {key: row[key] for key in ("password_hash", "hashing_algorithm", "tags")}
    await http.put("/users/u", {"tags": ""})
    await http.put("/users/u", body)
    assert (await http.get("/whoami", user="u"))["name"] == "u"


async def test_a_hash_without_an_algorithm_is_known_by_its_length(http: Api) -> None:
    await http.put("/users/u", {"password_hash": MD5, "tags": ""})
    row = await http.get("/users/u")
    assert (row["password_hash"], row["hashing_algorithm"]) == (MD5, "rabbit_password_hashing_md5")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "tags_not_present"),
        ({"password": "x"}, "tags_not_present"),
        ({"password": "x", "password_hash": MD5, "tags": ""}, "both_password_and_password_hash_are_provided"),
        ({"password_hash": "x", "tags": ""}, ["not_base64", "x"]),
        (b"{bad", "not_json"),
        (b"[]", "not_json"),
        ({"password": 5, "tags": ""}, "password: Input should be a valid string"),
        (
            {"password_hash": MD5, "hashing_algorithm": "nosuch", "tags": ""},
            "unknown password hashing algorithm 'nosuch'",
        ),
    ],
)
async def test_a_user_that_cannot_be_is_refused(http: Api, body: object, reason: object) -> None:
    assert (await http.ask("PUT", "/users/u", body)).error == bad(reason)


async def test_users_are_listed_by_name_and_in_pages(http: Api) -> None:
    for name in ("b", "a"):
        await http.put(f"/users/{name}", {"tags": ""})
    assert [row["name"] for row in await http.get("/users")] == ["a", "b", "guest"]
    page = await http.get("/users?page=2&page_size=2")
    assert ([row["name"] for row in page["items"]], page["total_count"]) == (["guest"], 3)
    assert [row["name"] for row in await http.get("/users/without-permissions/")] == ["a", "b"]


async def test_users_are_deleted_in_bulk_or_none_of_them(http: Api) -> None:
    for name in ("a", "b"):
        await http.put(f"/users/{name}", {"tags": ""})
    reply = await http.ask("POST", "/users/bulk-delete", {"users": ["a", "nosuch"]})
    assert reply.error == bad(["no_such_user", "nosuch"])
    assert (await http.ask("POST", "/users/bulk-delete", {})).error == bad("[{key_missing,users}]")
    assert (await http.ask("POST", "/users/bulk-delete", {"users": ["a", "b"]})).status == 204
    assert [row["name"] for row in await http.get("/users")] == ["guest"]


async def test_deleting_a_user_closes_the_connections_of_that_user(http: Api) -> None:
    await http.add_user("u", "")
    connection = await aio_pika.connect(http.broker.url.replace("guest:guest", "u:u"))
    closed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    connection.close_callbacks.add(lambda _, error: closed.set_result(error))
    assert (await http.ask("DELETE", "/users/u")).status == 204
    assert "user 'u' is deleted" in str(await closed)


async def test_permissions_are_set_shown_and_taken(http: Api) -> None:
    await http.put("/users/u", {"tags": ""})
    path = "/permissions/%2F/u"
    assert (await http.ask("GET", path)).error == MISSING
    assert await http.put(path, ALL) == 201
    assert await http.put(path, {**ALL, "read": "^x"}) == 204
    shown = {"user": "u", "vhost": "/", "configure": ".*", "write": ".*", "read": "^x"}
    assert await http.get(path) == shown
    assert await http.get("/users/u/permissions") == [shown]
    assert shown in await http.get("/vhosts/%2F/permissions")
    assert shown in await http.get("/permissions")
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("%2F/guest", {"configure": "", "write": ""}, "[{key_missing,read}]"),
        ("%2F/guest", None, "[{key_missing,configure},{key_missing,write},{key_missing,read}]"),
        ("nosuch/guest", ALL, "vhost_or_user_not_found"),
        ("%2F/nosuch", ALL, "vhost_or_user_not_found"),
        (
            "%2F/guest",
            {**ALL, "configure": "["},
            "invalid regular expression: unterminated character set at position 0",
        ),
    ],
)
async def test_permissions_that_cannot_be_are_refused(
    http: Api, path: str, body: object, reason: str
) -> None:
    assert (await http.ask("PUT", f"/permissions/{path}", body)).error == bad(reason)
    topic = body if not isinstance(body, dict) else {"exchange": "amq.topic", **body}
    if reason.startswith("vhost"):
        assert (await http.ask("PUT", f"/topic-permissions/{path}", topic)).error == bad(reason)


async def test_topic_permissions_of_a_user_come_and_go(http: Api) -> None:
    path = "/topic-permissions/%2F/guest"
    assert (await http.ask("GET", path)).error == MISSING
    assert await http.put(path, {"exchange": "amq.topic", "write": "^a", "read": "^b"}) == 201
    assert await http.put(path, {"exchange": "later", "write": "", "read": ""}) == 204
    assert [row["exchange"] for row in await http.get(path)] == ["amq.topic", "later"]
    assert await http.get(f"{path}/amq.topic") == await http.get(path)
    assert len(await http.get("/users/guest/topic-permissions")) == 2
    assert len(await http.get("/vhosts/%2F/topic-permissions")) == 2
    assert len(await http.get("/topic-permissions")) == 2
    assert (await http.ask("DELETE", f"{path}/nosuch")).status == 204
    assert (await http.ask("DELETE", f"{path}/later")).status == 204
    assert [row["exchange"] for row in await http.get(path)] == ["amq.topic"]
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("DELETE", path)).error == MISSING


async def test_limits_of_a_user_are_always_204(http: Api) -> None:
    headers = {"Content-Type": "application/json"}

    async def put(path: str, body: object) -> Any:
        return await http.ask("PUT", f"/user-limits/{path}", body, headers=headers)

    assert await http.get("/user-limits") == []
    assert (await put("guest/max-channels", {"value": 5})).status == 204
    assert (await put("guest/max-connections", {"value": -1})).status == 204
    limits = {"max-channels": 5, "max-connections": -1}
    assert await http.get("/user-limits/guest") == [{"user": "guest", "value": limits}]
    assert (await http.get("/users/guest"))["limits"] == limits
    assert (await put("guest/max-channels", {"value": "5"})).error == bad(
        'max-channels should be a number, actually was <<"5">>'
    )
    assert (await put("guest/max-x", {"value": 5})).error == bad(
        'Unrecognised terms [{<<"max-x">>,5}] in user-limits'
    )
    assert (await put("guest/max-channels", {})).error == bad("[{key_missing,value}]")
    assert (await put("nosuch/max-channels", {"value": 5})).error == bad(["no_such_user", "nosuch"])
    for _ in range(2):
        assert (await http.ask("DELETE", "/user-limits/guest/max-channels")).status == 204
    assert (await http.ask("GET", "/user-limits/nosuch")).error == MISSING
    assert (await http.ask("GET", "/user-limits/guest/max-channels")).status == 405
    assert (await http.ask("PUT", "/user-limits/guest/max-channels", {"value": 1})).status == 415


ADMINISTRATORS = (
    ("GET", "/users"),
    ("PUT", "/users/n"),
    ("DELETE", "/users/n"),
    ("POST", "/users/bulk-delete"),
    ("GET", "/permissions"),
    ("PUT", "/permissions/%2F/guest"),
    ("GET", "/topic-permissions"),
    ("GET", "/vhosts/%2F/permissions"),
    ("PUT", "/vhosts/n"),
    ("DELETE", "/vhosts/n"),
    ("GET", "/operator-policies/%2F/x"),
    ("PUT", "/operator-policies/%2F/x"),
    ("PUT", "/vhost-limits/%2F/max-queues"),
    ("PUT", "/user-limits/guest/max-channels"),
    ("GET", "/definitions"),
    ("POST", "/definitions"),
    ("GET", "/definitions/%2F"),
    ("POST", "/definitions/%2F"),
    ("DELETE", "/reset"),
    ("POST", "/rebalance/queues"),
)
POLICYMAKERS = (
    ("GET", "/policies/%2F/p", 404),
    ("PUT", "/policies/%2F/p", 400),
    ("DELETE", "/policies/%2F/p", 404),
    ("GET", "/parameters", 200),
    ("GET", "/parameters/shovel", 200),
    ("GET", "/parameters/shovel/%2F", 200),
    ("PUT", "/parameters/shovel/%2F/x", 400),
    ("GET", "/global-parameters", 200),
    ("PUT", "/global-parameters/x", 400),
)
EVERYBODY = ("/policies", "/policies/%2F", "/operator-policies/%2F", "/vhost-limits/%2F", "/user-limits")


async def test_who_may_administer_what(http: Api) -> None:
    for tag in ("management", "policymaker", "monitoring"):
        await http.add_user(tag, tag)
        for method, path in ADMINISTRATORS:
            reply = await http.ask(method, path, user=tag)
            assert reply.error == (401, "not_authorised", "Not administrator user"), (
                f"{method} {path} as {tag}"
            )
        for method, path, status in POLICYMAKERS:
            reply = await http.ask(method, path, user=tag)
            if tag == "policymaker":
                assert reply.status == status, f"{method} {path} as {tag}: {reply.text}"
            else:
                refused = (401, "not_authorised", "User not authorised to access object")
                assert reply.error == refused, f"{method} {path} as {tag}"
        for path in EVERYBODY:
            assert await http.get(path, user=tag) == []


async def test_a_policymaker_without_permissions_in_a_virtual_host_sets_nothing_there(http: Api) -> None:
    await http.add_user("p", "policymaker", "")
    refused = (401, "not_authorised", "User not authorised to access object")
    for path in ("/policies/%2F/p", "/parameters/shovel/%2F/x"):
        assert (await http.ask("PUT", path, {}, user="p")).error == refused
    refused = (401, "not_authorised", "User not authorised to access virtual host")
    assert (await http.ask("GET", "/policies/%2F", user="p")).error == refused
    assert await http.get("/policies", user="p") == []
