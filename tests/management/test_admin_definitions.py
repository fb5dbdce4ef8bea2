"""Definitions over HTTP: whole and by virtual host, as JSON and as a form, dry and in slices."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.management import Api, Reply

JSON = {"Content-Type": "application/json"}
BOUNDARY = "----WebKitFormBoundaryX"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def queue(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}, **fields}


async def post(http: Api, document: object, path: str = "/definitions") -> Reply:
    return await http.ask("POST", path, document, headers=JSON)


def form(content: bytes, field: str = "file") -> bytes:
    """Write a form with one file, as browsers do."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="d.json"\r\n'
    return (
        head.encode()
        + b"Content-Type: application/json\r\n\r\n"
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


async def test_definitions_go_in_and_come_out(http: Api) -> None:
    document = {
        "vhosts": [{"name": "v"}],
        "users": [{"name": "u", "password": "u", "tags": "administrator"}],
        "queues": [queue("q"), queue("q", vhost="v")],
        "bindings": [
            {"source": "amq.topic", "vhost": "v", "destination": "q", "destination_type": "queue"},
            {"source": "nosuch", "vhost": "v", "destination": "q", "destination_type": "queue"},
        ],
    }
    reply = await post(http, document)
    assert (reply.status, reply.text) == (204, "")
    out = await http.get("/definitions")
    assert [(row["name"], row["vhost"]) for row in out["queues"]] == [("q", "/"), ("q", "v")]
    assert [row["source"] for row in out["bindings"]] == ["amq.topic"]
    assert (await http.get("/whoami", user="u"))["name"] == "u"
    assert {"user": "guest", "vhost": "v", "configure": ".*", "write": ".*", "read": ".*"} in out[
        "permissions"
    ]
    assert (await post(http, out)).status == 204
    assert await http.get("/definitions") == out


async def test_an_export_can_be_downloaded_by_name(http: Api) -> None:
    reply = await http.ask("GET", "/definitions?download=x.json")
    assert reply.headers["Content-Disposition"] == "attachment; filename=x.json"
    reply = await http.ask("GET", "/definitions?download=x%0d%0ay")
    assert "Content-Disposition" not in reply.headers


async def test_one_virtual_host_comes_out_and_goes_into_another(http: Api) -> None:
    await post(http, {"queues": [queue("q")], "exchanges": [{"name": "e", "vhost": "/", "type": "fanout"}]})
    out = await http.get("/definitions/%2F")
    assert "users" not in out and "vhost" not in out["queues"][0]
    await http.put("/vhosts/v")
    assert (await post(http, out, "/definitions/v")).status == 204
    assert [row["name"] for row in await http.get("/queues/v")] == ["q"]
    assert (await post(http, {}, "/definitions/nosuch")).error == (404, "not_found", "vhost_not_found")
    refused = (400, "bad_request", "vhost_not_found")
    assert (await http.ask("GET", "/definitions/nosuch")).error == refused


async def test_a_form_with_a_file_is_taken(http: Api) -> None:
    content = json.dumps({"queues": [queue("q")]}).encode()
    assert (await http.ask("POST", "/definitions", form(content), headers=FORM)).status == 204
    assert (await http.get("/queues/%2F/q"))["durable"] is True
    for body in (form(content, "other"), form(b"{bad"), b"no form at all"):
        reply = await http.ask("POST", "/definitions", body, headers=FORM)
        assert reply.error == (400, "bad_request", "failed_to_parse_json")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
async def test_another_type_of_body_is_415(http: Api, headers: dict[str, str]) -> None:
    assert (await http.ask("POST", "/definitions", {}, headers=headers)).status == 415


@pytest.mark.parametrize("body", [b"{bad", b"[]", b"5", b""])
async def test_what_is_no_json_object_is_refused(http: Api, body: bytes) -> None:
    reply = await http.ask("POST", "/definitions", body, headers=JSON)
    assert reply.error == (400, "bad_request", "failed_to_parse_json")


async def test_an_error_names_the_object_and_nothing_is_imported(http: Api) -> None:
    wrong = queue("wrong", arguments={"x-max-length": "a"})
    reply = await post(http, {"vhosts": [{"name": "v"}], "queues": [queue("q"), wrong]})
    assert reply.status == 400
    assert "invalid arg 'x-max-length' for queue 'wrong'" in reply.json["reason"]
    assert await http.get("/queues") == []
    assert len(await http.get("/vhosts")) == 1


async def test_what_is_not_known_here_is_left_out_on_request_and_named(http: Api) -> None:
    rows = [
        {"name": "e", "vhost": "/", "type": "x-lvc"},
        {"name": "f", "vhost": "/", "type": "fanout"},
    ]
    reply = await post(http, {"exchanges": rows})
    assert reply.status == 400
    assert "unknown=skip" in reply.json["reason"], "the refusal should tell the way out"
    reply = await post(http, {"exchanges": rows}, "/definitions?unknown=skip")
    skipped = ["exchange 'e' in virtual host '/' is left out: exchange type 'x-lvc' not known here"]
    assert (reply.status, reply.json) == (200, {"warnings": [], "skipped": skipped})
    assert (await http.get("/exchanges/%2F/f"))["type"] == "fanout"


async def test_a_dry_run_shows_what_would_change_and_why(http: Api) -> None:
    await post(http, {"queues": [queue("q")]})
    document = {"queues": [queue("q", durable=False), queue("r")], "colours": []}
    reply = await post(http, document, "/definitions?dry_run=true")
    assert reply.status == 200
    assert reply.json == {
        "differences": [
            {
                "kind": "queue",
                "label": "queue 'q' in virtual host '/'",
                "action": "keep",
                "detail": "durable is true, not false",
            },
            {"kind": "queue", "label": "queue 'r' in virtual host '/'", "action": "add", "detail": ""},
        ],
        "warnings": [
            '<<"colours">> is not known here and passed over',
            "queue 'q' in virtual host '/' stays as it is: durable is true, not false",
        ],
        "skipped": [],
    }
    assert [row["name"] for row in await http.get("/queues")] == ["q"]


async def test_others_are_served_while_many_objects_are_imported(http: Api) -> None:
    document = json.dumps({"queues": [queue(f"q{number:05}") for number in range(10_000)]}).encode()
    work = asyncio.ensure_future(http.ask("POST", "/definitions", document, headers=JSON))
    served = 0
    while not work.done():
        await http.get("/whoami")
        served += 1
    assert (await work).status == 204
    assert served > 20, f"{served} requests were answered during an import of 10,000 queues"
    out: Any = await http.get("/definitions")
    assert len(out["queues"]) == 10_000


async def test_the_audit_log_tells_of_an_import_but_no_passwords(http: Api) -> None:
    await post(http, {"users": [{"name": "u", "password": "secret-word", "tags": ""}]})
    await http.put("/users/w", {"password": "secret-word", "tags": ""})
    reply = await http.ask("GET", "/x/audit")
    assert "definitions.imported" in reply.text
    assert "secret-word" not in reply.text
