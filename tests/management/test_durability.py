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
