"""What users may read over the HTTP API: tags and permissions, path by path, as RabbitMQ 3.10.8 has it.

There are two virtual hosts with a connection of an administrator to each, and for each tag two users: one
without permissions anywhere, and one with all of them in the first virtual host and a connection to it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pika
import pytest

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually_now
from interop_tests.management_clients.conftest import HttpApi

PASSWORD = "interop"
TAGS = ("", "management", "policymaker", "monitoring", "administrator")

TABLE = {
    "- - - 1 - 1 - 6 6 6": (
        "/vhosts/{a}/connections",
        "/vhosts/{a}/channels",
    ),
    "- - 0 1 0 1 6 6 6 6": ("/consumers/{a}",),
    "- - - 8 - 8 - 8 8 8": ("/exchanges/{a}",),
    "- - - ok - ok - ok ok ok": (
        "/exchanges/{a}/e",
        "/queues/{a}/q",
        "/bindings/{a}/e/e/q/q/k",
    ),
    "- - - 1 - 1 - 1 1 1": (
        "/exchanges/{a}/e/bindings/source",
        "/bindings/{a}/e/e/q/q",
        "/policies/{a}",
        "/operator-policies/{a}",
        "/queues/{a}",
    ),
    "- - - 0 - 0 - 0 0 0": (
        "/exchanges/{a}/e/bindings/destination",
        "/bindings/{a}/e/amq.direct/e/e",
    ),
    "- - - 2 - 2 - 2 2 2": (
        "/queues/{a}/q/bindings",
        "/bindings/{a}",
    ),
    "- - - - - - - - ok ok": (
        "/vhosts/{a}",
        "/operator-policies/{a}/o",
        "/definitions/{a}",
        "/permissions/{a}/{owner}",
        "/exchanges/{b}/e",
        "/queues/{b}/q",
        "/bindings/{b}/e/e/q/q/k",
        "/vhosts/{b}",
        "/parameters/operator_policy/{b}/o",
        "/policies/{b}/p",
        "/operator-policies/{b}/o",
        "/definitions/{b}",
        "/permissions/{b}/{owner}",
        "/definitions",
        "/users/{owner}",
        "/users/{user}",
    ),
    "- - - - - - - - 7 7": ("/vhosts/{a}/permissions",),
    "- - - - - - - - 1 1": (
        "/vhosts/{a}/topic-permissions",
        "/topic-permissions/{a}/{owner}",
        "/vhosts/{b}/connections",
        "/vhosts/{b}/channels",
        "/exchanges/{b}/e/bindings/source",
        "/queues/{b}",
        "/bindings/{b}/e/e/q/q",
        "/vhosts/{b}/topic-permissions",
        "/parameters/operator_policy/{b}",
        "/parameters/vhost-limits/{b}",
        "/policies/{b}",
        "/operator-policies/{b}",
        "/topic-permissions/{b}/{owner}",
    ),
    "- - - - - 1 - - 1 1": (
        "/parameters/operator_policy/{a}",
        "/parameters/vhost-limits/{a}",
    ),
    "- - - - - 0 - - 0 0": ("/parameters/nosuch/{a}",),
    "- - - - - ok - - ok ok": (
        "/parameters/operator_policy/{a}/o",
        "/policies/{a}/p",
    ),
    "- - - 1 - 1 1 1 1 1": ("/vhost-limits/{a}",),
    "- - 0 0 0 0 1 1 1 1": ("/consumers/{b}",),
    "- - - - - - - - 8 8": ("/exchanges/{b}",),
    "- - - - - - - - 0 0": (
        "/exchanges/{b}/e/bindings/destination",
        "/bindings/{b}/e/amq.direct/e/e",
        "/parameters/nosuch/{b}",
        "/feature-flags",
    ),
    "- - - - - - - - 2 2": (
        "/queues/{b}/q/bindings",
        "/bindings/{b}",
        "/vhosts/{b}/permissions",
        "/topic-permissions",
        "/users/{owner}/permissions",
        "/users/{owner}/topic-permissions",
    ),
    "- - - - - - 1 1 1 1": (
        "/vhost-limits/{b}",
        "/connections/{a_connection}/channels",
        "/connections/{b_connection}/channels",
    ),
    "- - ? ? ? ? ? ? ? ?": (
        "/vhosts/nosuch/connections",
        "/vhosts/nosuch/channels",
        "/consumers/nosuch",
        "/exchanges/nosuch",
        "/exchanges/nosuch/e",
        "/queues/nosuch",
        "/queues/nosuch/q",
        "/bindings/nosuch",
        "/bindings/nosuch/e/e/q/q/k",
        "/policies/nosuch",
        "/operator-policies/nosuch",
        "/vhost-limits/nosuch",
        "/user-limits/nosuch",
    ),
    "- - - - - - - - ? ?": (
        "/vhosts/nosuch",
        "/vhosts/nosuch/permissions",
        "/vhosts/nosuch/topic-permissions",
        "/operator-policies/nosuch/o",
        "/permissions/nosuch/{owner}",
        "/topic-permissions/nosuch/{owner}",
        "/topic-permissions/{a}/{user}",
    ),
    "- - - - ? ? - - ? ?": (
        "/parameters/operator_policy/nosuch",
        "/parameters/vhost-limits/nosuch",
        "/parameters/nosuch/nosuch",
        "/parameters/operator_policy/nosuch/o",
        "/policies/nosuch/p",
    ),
    "- - - - - - - - 400 400": ("/definitions/nosuch",),
    "- - 0 1 0 1 7 7 7 7": (
        "/connections",
        "/channels",
        "/consumers",
        "/connections?page=1&page_size=500",
        "/channels?page=1&page_size=500",
    ),
    "- - 0 8 0 8 0 8 16 16": (
        "/exchanges",
        "/exchanges?page=1&page_size=500",
    ),
    "- - 0 1 0 1 0 1 2 2": (
        "/queues",
        "/queues?page=1&page_size=500",
        "/policies",
        "/operator-policies",
    ),
    "- - 0 2 0 2 0 2 4 4": ("/bindings",),
    "- - 0 1 0 1 2 2 2 2": (
        "/vhosts",
        "/vhost-limits",
    ),
    "- - - - - - - - 9 9": ("/permissions",),
    "- - - - - - - - 11 11": ("/users",),
    "- - - - - - - - 5 5": ("/users/without-permissions",),
    "- - - - 0 2 - - 4 4": ("/parameters",),
    "- - - - 0 1 - - 2 2": (
        "/parameters/operator_policy",
        "/parameters/vhost-limits",
    ),
    "- - - - 0 0 - - 0 0": ("/parameters/nosuch",),
    "- - - - 1 1 - - 1 1": ("/global-parameters",),
    "- - 1 1 1 1 1 1 1 1": (
        "/user-limits",
        "/user-limits/{owner}",
    ),
    "- - - - - - 0 0 0 0": ("/nodes",),
    "- - ok ok ok ok ok ok ok ok": (
        "/overview",
        "/cluster-name",
        "/whoami",
    ),
    "- - 0 0 0 0 0 0 0 0": (
        "/extensions",
        "/user-limits/{user}",
    ),
    "ok ok ok ok ok ok ok ok ok ok": ("/auth",),
    "- - - - ok ok - - ok ok": ("/global-parameters/{own}",),
    "- - - - - - ok ok ok ok": (
        "/connections/{a_connection}",
        "/channels/{a_channel}",
        "/connections/{b_connection}",
        "/channels/{b_channel}",
        "/nodes/{node}",
        "/nodes/{node}/memory",
        "/nodes/{node}/memory/relative",
    ),
    "- - - - - - - - 0 1": ("/users/{user}/permissions",),
}
"""Paths by what comes of them, for each tag in turn without and with permissions in ``a``.

``-`` is 401, ``?`` 404, ``400`` itself, ``ok`` an object, and a number a list with so many of the
test's items.
"""


class Stage:
    """What the users look at.

    Attributes:
        own: begins the names of all of it.
        users: those who look, in the order of the table.
        places: what stands in braces in the table.
    """

    def __init__(self, broker: BrokerUnderTest, api: HttpApi, connections: ExitStack) -> None:
        self._broker = broker
        self._api = api
        self._connections = connections
        self.own = f"rights.{secrets.token_hex(4)}"
        self.owner = f"{self.own}.owner"
        self.users = [f"{self.own}.{tag or 'none'}.{rights}" for tag in TAGS for rights in ("out", "in")]
        self.places = {"a": f"{self.own}.a", "b": f"{self.own}.b", "own": self.own, "owner": self.owner}

    def put(self, path: str, body: object) -> None:
        """Put something there."""
        reply = self._api.ask("PUT", f"/api{path}", body)
        assert reply.status in (201, 204), f"PUT {path}: {reply}"

    def build(self) -> None:
        """Put everything there."""
        self.put(f"/users/{self.owner}", {"password": PASSWORD, "tags": "administrator"})
        for vhost in (self.places["a"], self.places["b"]):
            self._furnish(vhost)
        self.put(f"/user-limits/{self.owner}/max-channels", {"value": 100})
        self.put(f"/global-parameters/{self.own}", {"value": 1})
        for number, user in enumerate(self.users):
            self.put(f"/users/{user}", {"password": PASSWORD, "tags": TAGS[number // 2]})
            if number % 2:
                self.permit(self.places["a"], user)
                self._connect(self.places["a"], user)
        for vhost in ("a", "b"):
            self._connect(self.places[vhost], self.owner)
        self.places["node"] = self._api.ask("GET", "/api/nodes").body[0]["name"]
        self._await_connections()

    def permit(self, vhost: str, user: str) -> None:
        """Let a user do everything in a virtual host."""
        self.put(f"/permissions/{vhost}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})

    def _furnish(self, vhost: str) -> None:
        self.put(f"/vhosts/{vhost}", {})
        self.permit(vhost, self.owner)
        self.put(
            f"/topic-permissions/{vhost}/{self.owner}", {"exchange": "amq.topic", "write": "", "read": ""}
        )
        self.put(f"/exchanges/{vhost}/e", {"type": "direct"})
        self.put(f"/queues/{vhost}/q", {"durable": True})
        assert self._api.ask("POST", f"/api/bindings/{vhost}/e/e/q/q", {"routing_key": "k"}).status == 201
        policy = {"pattern": "^none$", "definition": {"max-length": 1}}
        self.put(f"/policies/{vhost}/p", policy)
        self.put(f"/operator-policies/{vhost}/o", policy)
        self.put(f"/vhost-limits/{vhost}/max-queues", {"value": 100})

    def _connect(self, vhost: str, user: str) -> None:
        credentials = pika.PlainCredentials(user, PASSWORD)
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(self._broker.host, self._broker.port, vhost, credentials, heartbeat=0)
        )
        self._connections.callback(connection.close)
        connection.channel().basic_consume("q", lambda *_: None)

    def _await_connections(self) -> None:
        """Wait until RabbitMQ's statistics know of the connections, and note the names of the owner's."""

        def known() -> bool:
            rows = [row for row in self._api.ask("GET", "/api/channels").body if self.own in json.dumps(row)]
            if len(rows) < 7 or not all(row.get("consumer_count") for row in rows):
                return False
            for row in rows:
                if row["user"] == self.owner:
                    place = row["vhost"].rpartition(".")[2]
                    self.places[f"{place}_channel"] = quote(row["name"], safe="")
                    self.places[f"{place}_connection"] = quote(row["connection_details"]["name"], safe="")
            return len(self._api.ask("GET", f"/api/consumers/{self.places['a']}").body) == 6

        eventually_now(known, "7 connections with a consumer each are shown")

    def look(self, path: str, user: str) -> str:
        """Look at a path of the table, and say what comes of it in the table's words."""
        place = path.format(**self.places, user=user)
        reply = self._api.ask("GET", f"/api{place}", login=(user, PASSWORD))
        if reply.status != 200:
            return {401: "-", 404: "?"}.get(reply.status, str(reply.status))
        found = reply.body["items"] if "?page=" in path else reply.body
        if not isinstance(found, list):
            return "ok"
        return str(sum(self.own in json.dumps(row) for row in found))

    def clear(self) -> None:
        """Remove everything."""
        for vhost in (self.places["a"], self.places["b"]):
            self._api.ask("DELETE", f"/api/vhosts/{vhost}")
        for user in (self.owner, *self.users):
            self._api.ask("DELETE", f"/api/users/{user}")
        self._api.ask("DELETE", f"/api/global-parameters/{self.own}")


@pytest.fixture
def stage(broker: BrokerUnderTest, api: HttpApi) -> Iterator[Stage]:
    """What is there to look at."""
    with ExitStack() as connections:
        stage = Stage(broker, api, connections)
        try:
            stage.build()
            yield stage
        finally:
            connections.close()
            stage.clear()


def test_users_read_what_rabbitmq_lets_them_read(stage: Stage) -> None:
    differing = {}
    for expected, paths in TABLE.items():
        for path in paths:
            found = " ".join([stage.look(path, user) for user in stage.users])
            if found != expected:
                differing[path] = found
    assert differing == {}
