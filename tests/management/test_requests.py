"""What every request has in common: login, paths, methods, media types, bounds.

Statuses and bodies are those observed on RabbitMQ 3.10.8.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
from contextlib import closing

import pytest

from harebell.settings import Settings
from harebell.settings.tree import Management
from tests.support.management import Api, management_api, segment

NOT_FOUND = (404, "Object Not Found", "Not Found")


async def test_who_is_logged_in_is_told(http: Api) -> None:
    reply = await http.ask("GET", "/whoami")
    assert (reply.status, reply.json) == (200, {"name": "guest", "tags": ["administrator"]})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert "aiohttp" not in reply.headers["Server"], "versions of libraries are nobody's business"


async def test_without_a_login_there_is_a_challenge_and_no_body(http: Api) -> None:
    reply = await http.ask("GET", "/whoami", user="")
    assert (reply.status, reply.text) == (401, "")
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="RabbitMQ Management"'


@pytest.mark.parametrize("credentials", ["guest:wrong", "nobody:guest", "guest:", ":guest", ":"])
async def test_a_wrong_login_is_told_so(http: Api, credentials: str) -> None:
    header = "Basic " + base64.b64encode(credentials.encode()).decode()
    reply = await http.ask("GET", "/whoami", user="", headers={"Authorization": header})
    assert reply.error == (401, "not_authorized", "Login failed")
    assert reply.headers["WWW-Authenticate"] == 'Basic realm="RabbitMQ Management"'


@pytest.mark.parametrize("header", ["Basic !!!", "Basic Z3Vlc3Q=", "Basic", "Foo bar", "Basic é", ""])
async def test_what_is_no_login_at_all_is_a_bad_request_without_a_body(http: Api, header: str) -> None:
    reply = await http.ask("GET", "/whoami", user="", headers={"Authorization": header})
    assert (reply.status, reply.text) == (400, "")


async def test_a_user_without_a_tag_may_not_use_the_api(http: Api) -> None:
    await http.add_user("plain", "")
    reply = await http.ask("GET", "/whoami", user="plain")
    assert reply.error == (401, "not_authorised", "Not management user")
    assert "WWW-Authenticate" not in reply.headers, "a browser would ask for another password"


async def test_an_unknown_path_is_not_found_without_a_login_too(http: Api) -> None:
    assert (await http.ask("GET", "/nope")).error == NOT_FOUND
    assert (await http.ask("GET", "/nope", user="")).error == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/whoami", "HEAD, GET, OPTIONS"),
        ("PATCH", "/queues", "HEAD, GET, OPTIONS"),
        ("GET", "/queues/%2F/q/contents", "DELETE, OPTIONS"),
        ("GET", "/queues/%2F/q/get", "POST, OPTIONS"),
        ("PUT", "/bindings/%2F/e/x/q/q/key", "HEAD, GET, DELETE, OPTIONS"),
    ],
)
async def test_other_methods_are_refused_with_those_there_are(
    http: Api, method: str, path: str, allow: str
) -> None:
    for user in ("guest", ""):
        reply = await http.ask(method, path, user=user)
        assert (reply.status, reply.text, reply.headers["Allow"]) == (405, "", allow)


async def test_options_and_head_come_with_get(http: Api) -> None:
    reply = await http.ask("OPTIONS", "/whoami", user="")
    assert (reply.status, reply.headers["Allow"]) == (200, "HEAD, GET, OPTIONS")
    shown = await http.ask("GET", "/whoami")
    head = await http.ask("HEAD", "/whoami")
    assert (head.status, head.text) == (200, "")
    assert head.headers["Content-Length"] == str(len(shown.text))


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/xml, text/plain;q=0.5", 406),
        ("application/json;q=0", 406),
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/*", 200),
    ],
)
async def test_who_takes_no_json_gets_nothing(http: Api, accept: str, status: int) -> None:
    assert (await http.ask("GET", "/overview", headers={"Accept": accept})).status == status


async def test_a_trailing_slash_changes_nothing(http: Api) -> None:
    await http.put("/queues/%2F/slashed")
    assert await http.get("/queues/") == await http.get("/queues")
    assert len(await http.get("/queues/%2F/")) == 1
    assert (await http.get("/queues/%2F/slashed/"))["name"] == "slashed"
    assert (await http.ask("GET", "/queues//")).error == NOT_FOUND
    assert (await http.ask("GET", "/queues//slashed")).error == NOT_FOUND


ODD_NAMES = [
    "a/b",
    "%2F",
    "%",
    "a b",
    "a+b",
    "a?b=c&d",
    "a#b",
    "..",
    ".",
    "a;b,c",
    "ünï çødé",
    "日本語",
    "😀",
    '"quoted\\',
    "<script>",
    "tab\tand\x01control",
    "~",
    "a:b@c",
    "[x]{y}",
    "'",
    "q" * 255,
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_names_with_any_character_are_found_again(http: Api, name: str) -> None:
    path = f"/queues/%2F/{segment(name)}"
    assert await http.put(path, {"durable": True}) == 201
    assert await http.put(path, {"durable": True}) == 204
    assert (await http.get(path))["name"] == name
    assert [row["name"] for row in await http.get("/queues/%2F")] == [name]
    message = {"routing_key": name, "properties": {}, "payload": "x", "payload_encoding": "string"}
    assert (await http.ask("POST", "/exchanges/%2F/amq.default/publish", message)).json == {"routed": True}
    assert http.broker.queue(name).ready == 1
    assert (await http.ask("DELETE", path)).status == 204
    assert (await http.ask("GET", path)).error == NOT_FOUND


async def test_a_name_that_is_no_utf8_shows_and_can_be_deleted(http: Api) -> None:
    assert await http.put("/queues/%2F/a%FFb") == 201
    assert [row["name"] for row in await http.get("/queues")] == ["a\ufffdb"]
    assert (await http.ask("DELETE", "/queues/%2F/a%FFb")).status == 204


async def test_a_name_that_is_too_long_is_a_bad_request(http: Api) -> None:
    for name in ("q" * 256, "ü" * 128):
        reply = await http.ask("PUT", f"/queues/%2F/{segment(name)}", {})
        assert reply.error == (400, "bad_request", "name is longer than 255 octets")
        reply = await http.ask("PUT", f"/exchanges/%2F/{segment(name)}", {})
        assert reply.error == (400, "bad_request", "name is longer than 255 octets")


async def test_virtual_hosts_with_odd_names_are_found(http: Api) -> None:
    for name in ("a/b", "ü", "%2F", "..", "a b"):
        await http.put(f"/vhosts/{segment(name)}")
        await http.put(f"/queues/{segment(name)}/q")
        assert [row["vhost"] for row in await http.get(f"/queues/{segment(name)}")] == [name]


@pytest.mark.parametrize(
    "body", [b"garbage", b"[]", b"5", b"{", b"null", b'"x"', b"\xff", b'{"a":"\\ud800"}']
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/queues/%2F/q"),
        ("PUT", "/exchanges/%2F/x"),
        ("POST", "/bindings/%2F/e/amq.direct/q/q"),
        ("POST", "/exchanges/%2F/amq.direct/publish"),
        ("POST", "/queues/%2F/q/get"),
        ("PUT", "/cluster-name"),
    ],
)
async def test_what_is_no_json_object_is_a_bad_request(
    http: Api, method: str, path: str, body: bytes
) -> None:
    reply = await http.ask(method, path, body)
    assert reply.error == (400, "bad_request", "not_json")


async def test_json_that_nests_very_deep_is_a_bad_request(http: Api) -> None:
    body = b'{"arguments":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    assert (await http.ask("PUT", "/queues/%2F/q", body)).status == 400
    body = b'{"arguments":{"x":' + b"[" * 100 + b"]" * 100 + b"}}"
    assert (await http.ask("PUT", "/queues/%2F/q", body)).status == 400


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(http: Api) -> None:
    body = b'{"x":"' + b"x" * (1 << 20) + b'"}'
    reply = await http.ask("PUT", "/queues/%2F/q", body)
    assert (reply.status, reply.json["error"]) == (413, "bad_request")


async def test_chunked_bodies_count_too() -> None:
    settings = Settings(management=Management(max_body=4096))
    async with management_api(settings) as api:

        async def chunks() -> object:
            for _ in range(1000):
                yield b"x" * 4096

        reply = await api.session.request(
            "POST",
            f"{api.base}/api/exchanges/%2F/amq.direct/publish",
            data=chunks(),
            headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="},
        )
        assert reply.status == 413


def raw(api: Api, method: str, target: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send the head of a request and nothing more, and give status and body of the reply."""
    host, _, port = api.base.removeprefix("http://").rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.putrequest(method, target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as reply:
            return reply.status, reply.read()


async def test_without_a_login_no_body_is_read(http: Api) -> None:
    headers = {"Content-Length": "1000000000"}
    status, _ = await asyncio.to_thread(raw, http, "PUT", "/api/queues/%2F/q", headers)
    assert status == 401


async def test_a_path_may_come_with_its_host_as_for_a_proxy(http: Api) -> None:
    headers = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}
    reply = await asyncio.to_thread(raw, http, "GET", f"{http.base}/api/whoami?x=y", headers)
    assert reply == (200, b'{"name":"guest","tags":["administrator"]}')


async def test_a_prefix_is_before_every_path() -> None:
    async with management_api(Settings(management=Management(path_prefix="/rabbit"))) as api:
        assert (await api.get("/whoami"))["name"] == "guest"
        for other in ("", "/rabbitry", "/rabbi"):
            api.base = api.broker.management_url.replace("/rabbit", other)
            assert (await api.ask("GET", "/whoami")).error == NOT_FOUND


async def test_pages_for_people_say_where_the_api_and_the_command_line_are(http: Api) -> None:
    for path, text in (
        ("/", "/api/overview"),
        ("/api", "harebell"),
        ("/api/", "harebell"),
        ("/cli/", "harebell"),
    ):
        async with http.session.get(http.base + path) as reply:
            assert (reply.status, reply.content_type) == (200, "text/html"), path
            assert text in await reply.text()


async def test_other_origins_may_use_the_api_only_if_the_settings_say_so(http: Api) -> None:
    origin = {"Origin": "https://ops.example"}
    assert "Access-Control-Allow-Origin" not in (await http.ask("GET", "/whoami", headers=origin)).headers
    settings = Settings(management=Management(cors_allow_origins=("https://ops.example",)))
    async with management_api(settings) as api:
        reply = await api.ask("GET", "/whoami", headers=origin)
        assert reply.headers["Access-Control-Allow-Origin"] == "https://ops.example"
        reply = await api.ask("OPTIONS", "/whoami", user="", headers=origin)
        assert "PUT" in reply.headers["Access-Control-Allow-Methods"]
        other = {"Origin": "https://evil.example"}
        assert "Access-Control-Allow-Origin" not in (await api.ask("GET", "/whoami", headers=other)).headers


async def test_too_many_fields_in_a_query_are_a_bad_request(http: Api) -> None:
    query = "&".join(f"f{number}=1" for number in range(1000))
    assert (await http.ask("GET", f"/queues?{query[:7000]}")).status == 400


async def test_what_was_done_is_in_the_audit_log(http: Api) -> None:
    await http.put("/queues/%2F/audited", {"durable": True})
    await http.ask("DELETE", "/queues/%2F/audited/contents")
    await http.ask("DELETE", "/queues/%2F/missing")
    latest = (await http.get("/x/audit"))[:2]
    assert [(row["action"], row["object"], row["user"]) for row in latest] == [
        ("queue.purged", "audited", "guest"),
        ("queue.created", "audited", "guest"),
    ]
