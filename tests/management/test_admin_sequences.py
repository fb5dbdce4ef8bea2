"""Sequences of calls as tools make them: Terraform's provider, and definitions across a restart."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.server.process import BrokerProcess, running_broker
from tests.support.management import Api, segment

JSON = {"Content-Type": "application/json"}

RESOURCES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/vhosts/shop", {}),
    ("/users/ann", {"password": "secret", "tags": "management,policymaker"}),
    ("/permissions/shop/ann", {"configure": ".*", "write": ".*", "read": ".*"}),
    ("/topic-permissions/shop/ann", {"exchange": "amq.topic", "write": "^a", "read": ".*"}),
    (
        "/policies/shop/short",
        {"pattern": "^s", "definition": {"max-length": 5}, "priority": 1, "apply-to": "queues"},
    ),
    (
        "/operator-policies/shop/short",
        {"pattern": "^s", "definition": {"max-length": 9}, "priority": 1, "apply-to": "queues"},
    ),
    ("/exchanges/shop/orders", {"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}),
    ("/queues/shop/small", {"durable": True, "auto_delete": False, "arguments": {"x-max-priority": 3}}),
    ("/parameters/shovel/shop/move", {"value": {"src-uri": "amqp://", "src-queue": "small"}}),
)
"""What a plan creates, in order; the paths are those of a later read and delete."""


async def test_a_plan_is_applied_read_back_applied_again_and_destroyed(http: Api) -> None:
    for path, body in RESOURCES:
        assert (await http.ask("PUT", path, body, headers=JSON)).status == 201, path
    for limit in ("max-queues", "max-connections"):
        path = f"/vhost-limits/shop/{limit}"
        assert (await http.ask("PUT", path, {"value": 10}, headers=JSON)).status == 204
    path = "/bindings/shop/e/orders/q/small"
    reply = await http.ask("POST", path, {"routing_key": "a.#", "arguments": {"x": 1}}, headers=JSON)
    assert reply.status == 201
    found = await http.get(path)
    assert [f"small/{segment(row['properties_key'])}" for row in found] == [reply.headers["Location"]]
    for path, body in RESOURCES:
        row = await http.get(path)
        row = row[0] if isinstance(row, list) else row
        kept = {name: value for name, value in body.items() if name not in ("password", "tags")}
        assert {name: row[name] for name in kept} == kept
        assert (await http.ask("PUT", path, body, headers=JSON)).status == 204, f"{path}: applied again"
    binding = f"/bindings/shop/e/orders/q/small/{segment(found[0]['properties_key'])}"
    assert (await http.ask("DELETE", binding)).status == 204
    for path, _ in reversed(RESOURCES):
        assert (await http.ask("DELETE", path)).status == 204, path
    for path, _ in RESOURCES:
        assert (await http.ask("GET", path)).status == 404, path


def ask(broker: BrokerProcess, method: str, path: str, body: object = None) -> Any:
    """Send a request and give the decoded body, if there is one."""
    login = {"Authorization": f"Basic {b64encode(b'guest:guest').decode()}"}
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{broker.ports['http']}/api{path}"
    try:
        with urlopen(Request(url, data, {**JSON, **login}, method=method)) as reply:
            text = reply.read()
    except HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None
    return json.loads(text) if text else None


def test_what_was_imported_is_there_after_a_restart(tmp_path: Path) -> None:
    chosen = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}
    files = Path(__file__).parents[1] / "administration" / "definitions"
    with running_broker(tmp_path, settings=chosen, data_dir=tmp_path / "data") as broker:
        for name in ("rabbitmq-3.10.json", "rabbitmq-4.1.json", "lavinmq-2.json"):
            ask(broker, "POST", "/definitions", json.loads((files / name).read_text()))
        ask(broker, "PUT", "/parameters/shovel/shop/s", {"value": {"a": [1]}})
        ask(broker, "PUT", "/vhosts/gone")
        ask(broker, "DELETE", "/vhosts/gone")
        before = ask(broker, "GET", "/definitions")
    with running_broker(tmp_path, settings=chosen, data_dir=tmp_path / "data") as broker:
        assert ask(broker, "GET", "/definitions") == before
        broker.assert_unharmed()
