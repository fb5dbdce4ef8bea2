"""Health checks, the node and the overview; as observed on RabbitMQ 3.10.8 and documented for 3.13."""

from __future__ import annotations

import pytest

from harebell.engine.alarms import MEMORY
from harebell.settings import Settings
from harebell.settings.tree import Limits
from tests.support.management import Api, management_api, segment

MISSING = (404, "Object Not Found", "Not Found")

OPEN = (
    "is-in-service",
    "ready-to-serve-clients",
    "reached-target-cluster-size",
    "below-node-connection-limit",
)
FINE = (
    "alarms",
    "local-alarms",
    "virtual-hosts",
    "node-is-quorum-critical",
    "node-is-mirror-sync-critical",
    "metadata-store/initialized",
    "metadata-store/initialized/with-data",
    "certificate-expiration/1/days",
    "certificate-expiration/12/months",
    "protocol-listener/amqp",
    "protocol-listener/AMQP091",
    "protocol-listener/http",
    "quorum-queues-without-elected-leaders/all-vhosts",
    "quorum-queues-without-elected-leaders/vhost/%2F/pattern/.*",
)


@pytest.mark.parametrize("check", OPEN)
async def test_probes_need_no_login(http: Api, check: str) -> None:
    reply = await http.ask("GET", f"/health/checks/{check}", user="")
    assert (reply.status, reply.json["status"]) == (200, "ok")


@pytest.mark.parametrize("check", FINE)
async def test_other_checks_need_one(http: Api, check: str) -> None:
    assert (await http.ask("GET", f"/health/checks/{check}", user="")).status == 401
    assert (await http.get(f"/health/checks/{check}"))["status"] == "ok"


async def test_alarms_fail_the_check(http: Api) -> None:
    broker = http.broker._running.broker
    broker.alarms.update(MEMORY, True)
    for check in ("alarms", "local-alarms"):
        reply = await http.ask("GET", f"/health/checks/{check}")
        assert (reply.status, reply.json["status"]) == (503, "failed")
        assert reply.json["alarms"][0]["resource"] == "memory"
    message = {"routing_key": "q", "properties": {}, "payload": "x", "payload_encoding": "string"}
    reply = await http.ask("POST", "/exchanges/%2F/amq.default/publish", message)
    assert reply.error == (503, "service_unavailable", "publishers are blocked: low on memory")
    broker.alarms.update(MEMORY, False)
    assert (await http.get("/health/checks/alarms"))["status"] == "ok"


async def test_listeners_are_looked_for_by_port_and_protocol(http: Api) -> None:
    port = http.broker.port
    assert await http.get(f"/health/checks/port-listener/{port}") == {"status": "ok", "port": port}
    reply = await http.ask("GET", "/health/checks/port-listener/1")
    assert reply.status == 503
    assert (reply.json["reason"], reply.json["missing"]) == ("No active listener", 1)
    assert port in reply.json["ports"]
    reply = await http.ask("GET", "/health/checks/protocol-listener/mqtt")
    assert (reply.status, reply.json["missing"]) == (503, "mqtt")
    assert "amqp" in reply.json["protocols"]


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("port-listener/x", "Invalid port"),
        ("certificate-expiration/x/days", "Invalid expiration value."),
        (
            "certificate-expiration/1/eons",
            "Time unit not recognised. Supported units: days, weeks, months, years.",
        ),
    ],
)
async def test_checks_that_make_no_sense_are_bad_requests(http: Api, check: str, reason: str) -> None:
    assert (await http.ask("GET", f"/health/checks/{check}")).error == (400, "bad_request", reason)


async def test_the_connection_limit_of_the_node_fails_its_check() -> None:
    async with management_api(Settings(limits=Limits(max_connections=1))) as api:
        reader, writer = await api.broker.connect_memory()
        del reader
        writer.close()
        assert (await api.ask("GET", "/health/checks/below-node-connection-limit", user="")).status == 200


async def test_a_message_goes_through_a_queue_to_test_a_virtual_host(http: Api) -> None:
    assert await http.get("/aliveness-test/%2F") == {"status": "ok"}
    assert await http.get("/aliveness-test/%2F") == {"status": "ok"}
    assert http.broker.queue("aliveness-test").ready == 0
    assert (await http.ask("GET", "/aliveness-test/nope")).error == MISSING
    await http.add_user("ann", "management", allowed="^ann")
    reply = await http.ask("GET", "/aliveness-test/%2F", user="ann")
    text = "ACCESS_REFUSED - access to queue 'aliveness-test' in vhost '/' refused for user 'ann'"
    assert reply.error == (401, "not_authorised", text)


async def test_the_node_shows_by_its_name(http: Api) -> None:
    name = (await http.get("/overview"))["node"]
    (row,) = await http.get("/nodes")
    assert row["name"] == name
    path = f"/nodes/{segment(name)}"
    assert (await http.get(path))["running"] is True
    memory = (await http.get(f"{path}/memory"))["memory"]
    assert memory["total"]["rss"] > 0
    relative = (await http.get(f"{path}/memory/relative"))["memory"]
    assert relative["total"] == 100
    assert await http.get(f"/healthchecks/node/{segment(name)}") == {"status": "ok"}
    for path in ("/nodes/no@such", "/nodes/no@such/memory", "/healthchecks/node/no@such"):
        assert (await http.ask("GET", path)).error == MISSING


async def test_the_cluster_can_be_named(http: Api) -> None:
    before = (await http.get("/cluster-name"))["name"]
    assert before.startswith("rabbit@")
    assert (await http.ask("PUT", "/cluster-name", {"name": "prod ü"})).status == 204
    assert await http.get("/cluster-name") == {"name": "prod ü"}
    assert (await http.get("/overview"))["cluster_name"] == "prod ü"
    reply = await http.ask("PUT", "/cluster-name", {})
    assert reply.error == (400, "bad_request", "[{key_missing,name}]")
    assert (await http.ask("PUT", "/cluster-name", {"name": 5})).status == 400
    await http.add_user("ann", "management")
    assert (await http.ask("PUT", "/cluster-name", {"name": "x"}, user="ann")).status == 401


async def test_the_overview_counts_what_one_may_see(http: Api) -> None:
    await http.put("/vhosts/v")
    await http.put("/queues/v/q")
    await http.put("/queues/%2F/q")
    await http.add_user("ann", "management", vhost="v")
    everything = await http.get("/overview")
    own = await http.get("/overview", user="ann")
    assert everything["object_totals"]["queues"] == 2
    assert (own["object_totals"]["queues"], own["object_totals"]["exchanges"]) == (1, 7)
    assert set(everything) == set(own)
    assert {listener["protocol"] for listener in everything["listeners"]} >= {"amqp", "http"}


async def test_flags_that_clients_look_for_are_enabled(http: Api) -> None:
    flags = {row["name"]: row["state"] for row in await http.get("/feature-flags")}
    assert (flags["stream_queue"], flags["quorum_queue"]) == ("enabled", "enabled")
    assert (await http.ask("PUT", "/feature-flags/stream_queue/enable", {})).status == 204
    assert (await http.ask("PUT", "/feature-flags/nope/enable", {})).status == 400


async def test_what_there_is_none_of_is_an_empty_list(http: Api) -> None:
    for path in (
        "/deprecated-features",
        "/deprecated-features/used",
        "/shovels",
        "/stream/connections",
        "/traces",
    ):
        assert await http.get(path) == []
    assert await http.get("/shovels/%2F") == []
    assert (await http.ask("GET", "/shovels/nope")).error == MISSING


async def test_the_log_level_can_be_changed(http: Api) -> None:
    before = (await http.get("/x/log-level"))["level"]
    try:
        assert (await http.ask("PUT", "/x/log-level", {"level": "error"})).status == 204
        assert await http.get("/x/log-level") == {"level": "error"}
        assert (await http.ask("PUT", "/x/log-level", {"level": "loud"})).status == 400
        assert (await http.ask("PUT", "/x/log-level", {})).status == 400
    finally:
        await http.ask("PUT", "/x/log-level", {"level": before})


async def test_a_form_logs_in_as_the_web_pages_do(http: Api) -> None:
    reply = await http.ask("POST", "/login", b"username=guest&password=guest", user="")
    assert (reply.status, reply.json) == (200, "ok")
    assert reply.headers["Set-Cookie"].startswith("auth=Z3Vlc3Q6Z3Vlc3Q%3D")
    for form in (b"username=guest&password=bad", b"", b"\xff"):
        reply = await http.ask("POST", "/login", form, user="")
        assert reply.error == (401, "not_authorized", "Login failed")


async def test_passwords_are_hashed_as_rabbitmq_does(http: Api) -> None:
    hashed = (await http.get("/auth/hash_password/s%2Fecret"))["ok"]
    await http.put("/users/ann", {"password_hash": hashed, "tags": "management"})
    headers = {"Authorization": "Basic YW5uOnMvZWNyZXQ="}
    assert (await http.ask("GET", "/whoami", user="", headers=headers)).status == 200
