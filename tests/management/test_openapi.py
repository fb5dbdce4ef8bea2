"""The API's description of itself: nothing is missing in it, and answers hold what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import jsonschema_rs
import pytest

from harebell.management.answer_schemas import ANSWERS, LISTS, OBJECTS, PAGED
from harebell.management.openapi import document
from harebell.management.resources import MODULES
from harebell.management.routing import Right, Route
from tests.support.management import Api, segment

ROUTES = tuple(route for module in MODULES for route in module.ROUTES)

pytestmark = pytest.mark.once


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Give the operations by method and path below ``/api``."""
    return {
        (method.upper(), path.removeprefix("/api")): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_route_is_described_and_nothing_else(http: Api) -> None:
    reply = await http.ask("GET", "/openapi.json", user="")
    assert reply.status == 200
    found = operations(reply.json)
    assert set(found) == {(route.method, route.path) for route in ROUTES}
    assert reply.json == document(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_says_what_it_does_and_what_it_takes(route: Route) -> None:
    operation = operations(document([route]))[(route.method, route.path)]
    assert operation["summary"].endswith("."), "the first line of a handler's docstring is its summary"
    named = [part["name"] for part in operation["parameters"] if part.get("in") == "path"]
    assert named == [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    assert ("requestBody" in operation) == (route.body is not None)
    assert (operation.get("security") == []) == (route.right is Right.NOBODY)


def test_no_operation_is_called_like_another() -> None:
    names = [operation["operationId"] for operation in operations(document(ROUTES)).values()]
    assert len(names) == len(set(names))


def test_every_answer_that_is_described_is_one_of_a_route() -> None:
    gets = {route.path for route in ROUTES if route.method == "GET"}
    described = {**PAGED, **LISTS, **OBJECTS}
    assert set(described) <= gets, "these paths are described, but there is no route"
    assert set(described.values()) | {"Health"} == set(ANSWERS)


def test_references_lead_somewhere() -> None:
    described = document(ROUTES)

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                found: Any = described
                for part in reference.removeprefix("#/").split("/"):
                    assert part in found, f"{reference} leads nowhere"
                    found = found[part]
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(described)


async def ignore(_: object) -> None:
    """Take a delivery."""


@asynccontextmanager
async def populated(http: Api) -> AsyncIterator[dict[str, str]]:
    """Make one of everything, and give the names of path segments."""
    json = {"Content-Type": "application/json"}
    await http.put("/users/u", {"password": "u", "tags": "monitoring"})
    await http.put("/topic-permissions/%2F/guest", {"exchange": "amq.topic", "write": ".*", "read": ".*"})
    await http.ask("PUT", "/user-limits/guest/max-channels", {"value": 50}, headers=json)
    await http.ask("PUT", "/vhost-limits/%2F/max-queues", {"value": 50}, headers=json)
    policy = {"pattern": "^q", "definition": {"max-length": 50}}
    await http.put("/policies/%2F/name", policy)
    await http.ask("PUT", "/operator-policies/%2F/name", policy, headers=json)
    await http.put("/parameters/shovel/%2F/name", {"value": 1})
    await http.put("/global-parameters/name", {"value": None})
    connection = await aio_pika.connect(http.broker.url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("name", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue("name", durable=True)
        await queue.bind(exchange, "key")
        other = await channel.declare_exchange("other", aio_pika.ExchangeType.FANOUT)
        await other.bind(exchange, "key")
        await exchange.bind("amq.topic", "key")
        await queue.consume(ignore)
        await exchange.publish(aio_pika.Message(b"m"), "key")
        async with asyncio.timeout(10):
            while not (rows := await http.get("/channels")):
                await asyncio.sleep(0.01)
        yield {
            "vhost": "%2F",
            "name": "name",
            "queue": "name",
            "source": "name",
            "destination": "other",
            "properties": "key",
            "user": "guest",
            "exchange": "amq.topic",
            "component": "shovel",
            "channel": segment(rows[0]["name"]),
            "connection": segment(rows[0]["connection_details"]["name"]),
            "node": segment((await http.get("/overview"))["node"]),
        }


async def test_answers_hold_what_the_description_says(http: Api) -> None:
    described = document(ROUTES)
    async with populated(http) as names:
        for path in [*PAGED, *LISTS, *OBJECTS]:
            found = await http.get(path.format(**names))
            schema = operations(described)[("GET", path)]["responses"]["200"]["content"]["application/json"]
            root = {"components": described["components"], **schema["schema"]}
            if isinstance(found, list) and not path.startswith("/users/without-permissions"):
                assert found, f"GET {path} shows nothing: make an object of this kind in populated()"
            check(path, found, root)
        for path in PAGED:
            page = await http.get(path.format(**names) + "?page=1")
            schema = operations(described)[("GET", path)]["responses"]["200"]["content"]["application/json"]
            check(path, page, {"components": described["components"], **schema["schema"]})


def check(path: str, found: object, schema: dict[str, Any]) -> None:
    """Check an answer against its description."""
    for error in jsonschema_rs.validator_for(schema).iter_errors(found):
        where = "/".join(map(str, error.instance_path))
        pytest.fail(f"GET {path}: {where}: {error.message[:500]}")


STRICT = {
    "Overview": "cluster_name node erlang_version erlang_full_version rabbitmq_version product_name "
    "product_version statistics_db_event_queue churn_rates queue_totals object_totals message_stats "
    "listeners",
    "Node": "name uptime run_queue processors os_pid fd_total proc_total mem_limit mem_alarm disk_free_limit "
    "disk_free_alarm rates_mode enabled_plugins being_drained",
    "Connection": "name node protocol user connected_at client_properties",
    "Consumer": "consumer_tag active ack_required prefetch_count exclusive arguments queue",
    "Channel": "number name connection_details vhost state consumer_count confirm prefetch_count "
    "messages_unacknowledged messages_unconfirmed",
    "Queue": "name vhost type durable auto_delete exclusive arguments",
    "User": "name tags password_hash",
    "FeatureFlag": "name state desc doc_url stability provided_by",
    "Exchange": "name vhost type durable auto_delete internal arguments",
    "Binding": "source vhost destination destination_type routing_key arguments properties_key",
    "Policy": "vhost name pattern apply-to definition priority",
    "Permission": "user vhost configure write read",
    "Vhost": "name description tags metadata",
}
"""Fields without which rabbitmqadmin of RabbitMQ 4 refuses an answer."""


@pytest.mark.parametrize("name", STRICT)
def test_what_strict_clients_need_is_promised(name: str) -> None:
    assert set(STRICT[name].split()) <= set(ANSWERS[name]["required"])
