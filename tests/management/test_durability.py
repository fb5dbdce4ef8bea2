"""What was answered with success over HTTP is there after a crash."""

from __future__ import annotations

import json
import signal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.server.process import BrokerProcess, running_broker

HEADERS = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q=", "Content-Type": "application/json"}
SETTINGS = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}


def ask(broker: BrokerProcess, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Send a request, and give status and decoded body."""
    connection = HTTPConnection("127.0.0.1", broker.ports["http"], timeout=20)
    try:
        connection.request(method, f"/api{path}", None if body is None else json.dumps(body), HEADERS)
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else None
    finally:
        connection.close()


def test_schemas_survive_a_kill(tmp_path: Path) -> None:
    path = "/x/schemas/%2F/orders"
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        for schema in ({"type": "integer"}, {"type": "number"}):
            assert ask(broker, "POST", f"{path}/versions", {"schema": schema})[0] == 201
        assert ask(broker, "DELETE", f"{path}/versions/2")[0] == 204
        assert ask(broker, "PUT", f"{path}/compatibility", {"compatibility": "full"})[0] == 204
        before = ask(broker, "GET", path)
        queue = {"durable": True, "arguments": {"x-schema": "orders"}}
        assert ask(broker, "PUT", "/queues/%2F/kept", queue)[0] == 201
        broker.signal(signal.SIGKILL)
        broker.wait()
    (tmp_path / "again").mkdir()
    with running_broker(tmp_path / "again", settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        after = ask(broker, "GET", path)
        assert after[1]["used_by"] == ["queue 'kept'"]
        assert {**after[1], "used_by": []} == before[1]
        message = {"routing_key": "kept", "properties": {}, "payload_encoding": "string"}
        publish = "/exchanges/%2F/amq.default/publish"
        assert ask(broker, "POST", publish, {**message, "payload": "5"}) == (200, {"routed": True})
        assert ask(broker, "POST", publish, {**message, "payload": "5.5"})[1]["reason"] == "rejected"
        done = ask(broker, "POST", f"{path}/versions", {"schema": {"type": "integer", "title": "again"}})
        assert (done[1]["version"], done[1]["id"]) == (3, 3), (
            "numbers of what was deleted are not given again"
        )


def test_what_was_confirmed_survives_a_kill(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        assert ask(broker, "PUT", "/queues/%2F/kept", {"durable": True})[0] == 201
        assert ask(broker, "PUT", "/exchanges/%2F/kept", {"type": "topic", "durable": True})[0] == 201
        assert ask(broker, "POST", "/bindings/%2F/e/kept/q/kept", {"routing_key": "a.#"})[0] == 201
        assert ask(broker, "PUT", "/cluster-name", {"name": "kept"})[0] == 204
        message = {
            "routing_key": "a.b",
            "properties": {"delivery_mode": 2},
            "payload": "x",
            "payload_encoding": "string",
        }
        for _ in range(3):
            assert ask(broker, "POST", "/exchanges/%2F/kept/publish", message) == (200, {"routed": True})
        wanted = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
        assert len(ask(broker, "POST", "/queues/%2F/kept/get", wanted)[1]) == 1
        assert ask(broker, "PUT", "/queues/%2F/gone", {"durable": True})[0] == 201
        assert ask(broker, "DELETE", "/queues/%2F/gone")[0] == 204
        broker.signal(signal.SIGKILL)
        broker.wait()
    (tmp_path / "again").mkdir()
    with running_broker(tmp_path / "again", settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        queues = {row["name"]: row["messages"] for row in ask(broker, "GET", "/queues")[1]}
        assert queues == {"kept": 3}
        assert ask(broker, "GET", "/bindings/%2F/e/kept/q/kept")[1][0]["routing_key"] == "a.#"
        assert ask(broker, "GET", "/cluster-name")[1] == {"name": "kept"}
        broker.assert_unharmed()


def test_what_was_deleted_moved_or_retried_survives_a_kill(tmp_path: Path) -> None:
    path = "/x/messages/%2F/kept"
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        waiting = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 3_600_000}
        assert ask(broker, "PUT", "/queues/%2F/kept", {"durable": True, "arguments": waiting})[0] == 201
        assert ask(broker, "PUT", "/queues/%2F/other", {"durable": True})[0] == 201
        publish = "/exchanges/%2F/amq.default/publish"
        for number in range(1, 10):
            message = {
                "routing_key": "kept",
                "properties": {"delivery_mode": 2, "headers": {"n": number}},
                "payload": str(number),
                "payload_encoding": "string",
            }
            assert ask(broker, "POST", publish, message) == (200, {"routed": True})
        wanted = {"count": 4, "ackmode": "reject_requeue_true", "encoding": "auto"}
        assert len(ask(broker, "POST", "/queues/%2F/kept/get", wanted)[1]) == 4
        assert ask(broker, "DELETE", f"{path}/1")[0] == 204, "it waits for its retry"
        assert ask(broker, "POST", f"{path}/2/move", {"queue": "other"})[0] == 204, "so does this"
        assert ask(broker, "POST", f"{path}/3/retry")[0] == 204
        assert ask(broker, "DELETE", f"{path}/5")[0] == 204
        assert ask(broker, "POST", f"{path}/6/move", {"queue": "other"})[0] == 204
        assert ask(broker, "DELETE", f"{path}?filter=n%20%3E%207")[1]["deleted"] == 2
        broker.signal(signal.SIGKILL)
        broker.wait()
    (tmp_path / "again").mkdir()
    with running_broker(tmp_path / "again", settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        ready = ask(broker, "GET", path)[1]["items"]
        assert [(one["position"], one["payload"]) for one in ready] == [(3, "3"), (7, "7")]
        waits = ask(broker, "GET", f"{path}?state=retrying")[1]["items"]
        assert [(one["position"], one["attempts"]) for one in waits] == [(4, 1)]
        moved = ask(broker, "GET", "/x/messages/%2F/other")[1]["items"]
        assert [one["payload"] for one in moved] == ["2", "6"]
        assert ask(broker, "GET", f"{path}/7")[1]["payload"] == "7", "what recovery found is on disk only"
        assert ask(broker, "DELETE", f"{path}?filter=n%20%3D%203")[1]["deleted"] == 1
        assert ask(broker, "POST", f"{path}/7/move", {"queue": "other"})[0] == 204
        assert ask(broker, "POST", f"{path}/4/retry")[0] == 204
        ready = ask(broker, "GET", path)[1]["items"]
        assert [(one["position"], one["delivery_count"]) for one in ready] == [(4, 1)]


def test_a_cancelled_delayed_message_is_gone_after_a_kill(tmp_path: Path) -> None:
    publish = "/exchanges/%2F/later/publish"
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        later = {"type": "x-delayed-message", "durable": True, "arguments": {"x-delayed-type": "fanout"}}
        assert ask(broker, "PUT", "/exchanges/%2F/later", later)[0] == 201
        assert ask(broker, "PUT", "/queues/%2F/q", {"durable": True})[0] == 201
        assert ask(broker, "POST", "/bindings/%2F/e/later/q/q", {})[0] == 201
        for delay in (3_600_000, 7_200_000, 0):
            message = {
                "routing_key": "q",
                "properties": {"delivery_mode": 2, "headers": {"x-delay": delay}},
                "payload": str(delay),
                "payload_encoding": "string",
            }
            assert ask(broker, "POST", publish, message)[0] == 200
        wanted = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
        assert len(ask(broker, "POST", "/queues/%2F/q/get", wanted)[1]) == 1, "what settles is written late"
        first = ask(broker, "GET", "/x/delayed/%2F")[1]["items"][0]
        assert ask(broker, "DELETE", f"/x/delayed/%2F/{first['id']}")[0] == 204
        broker.signal(signal.SIGKILL)
        broker.wait()
    (tmp_path / "again").mkdir()
    with running_broker(tmp_path / "again", settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        items = ask(broker, "GET", "/x/delayed/%2F")[1]["items"]
        assert [one["payload"] for one in items] == ["7200000"]


def test_a_transient_message_waits_for_nothing(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings=SETTINGS, data_dir=tmp_path / "data") as broker:
        assert ask(broker, "PUT", "/queues/%2F/q", {"durable": True})[0] == 201
        message = {"routing_key": "q", "payload": "x", "payload_encoding": "string"}
        publish = "/exchanges/%2F/amq.default/publish"
        assert ask(broker, "POST", publish, {**message, "properties": {"delivery_mode": 2}})[0] == 200
        wanted = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
        assert len(ask(broker, "POST", "/queues/%2F/q/get", wanted)[1]) == 1, "what settles is written late"
        assert ask(broker, "POST", publish, {**message, "properties": {}}) == (200, {"routed": True})
