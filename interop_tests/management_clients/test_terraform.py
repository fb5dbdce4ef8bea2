"""The calls of Terraform's RabbitMQ provider (through rabbit-hole) when it creates, reads back, and destroys.

What it lives by: creating again what is there is no error, a binding is found by the ``Location`` of its
creation, what was deleted elsewhere is 404, and what was put comes back as it was put.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest

from interop_tests.management_clients.conftest import HttpApi


def path(*segments: str) -> str:
    return "/api/" + "/".join(quote(segment, safe="") for segment in segments)


def created(api: HttpApi, where: str, body: object) -> None:
    """Put something twice: Terraform does not care whether it was there."""
    for _ in range(2):
        reply = api.ask("PUT", where, body)
        assert reply.status in (201, 204), f"PUT {where}: {reply}"


def destroyed(api: HttpApi, where: str) -> None:
    """Delete something, and see that it is gone."""
    reply = api.ask("DELETE", where)
    assert reply.status == 204, f"DELETE {where}: {reply}"
    assert api.ask("GET", where).status == 404
    assert api.ask("DELETE", where).status == 404


def contains(found: object, wanted: dict[str, object]) -> bool:
    return isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items())


def test_a_vhost_lives_and_goes(api: HttpApi, vhost: str) -> None:
    name = f"{vhost}/terraform"
    wanted = {"description": "d", "tags": "a,b", "tracing": False}
    created(api, path("vhosts", name), wanted)
    shown = api.ask("GET", path("vhosts", name)).body
    assert (shown["name"], shown["description"], shown["tags"]) == (name, "d", ["a", "b"])
    destroyed(api, path("vhosts", name))


def test_a_user_with_permissions_lives_and_goes(api: HttpApi, vhost: str, user: str) -> None:
    created(api, path("users", user), {"password": "secret", "tags": "policymaker,management"})
    shown = api.ask("GET", path("users", user)).body
    assert (shown["name"], set(shown["tags"])) == (user, {"policymaker", "management"})
    granted = {"configure": "^c", "write": "", "read": ".*"}
    created(api, path("permissions", vhost, user), granted)
    assert contains(api.ask("GET", path("permissions", vhost, user)).body, granted)
    topic = {"exchange": "amq.topic", "write": "^w", "read": ".*"}
    created(api, path("topic-permissions", vhost, user), topic)
    (row,) = api.ask("GET", path("topic-permissions", vhost, user)).body
    assert contains(row, topic)
    assert api.ask("DELETE", path("topic-permissions", vhost, user)).status == 204
    destroyed(api, path("permissions", vhost, user))
    assert api.ask("GET", "/api/whoami", login=(user, "secret")).body["name"] == user
    destroyed(api, path("users", user))


def test_queues_and_exchanges_live_and_go(api: HttpApi, vhost: str) -> None:
    queue = {
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-max-length": 1000, "x-queue-type": "quorum"},
    }
    created(api, path("queues", vhost, "orders/new"), queue)
    assert contains(api.ask("GET", path("queues", vhost, "orders/new")).body, queue)
    exchange = {"type": "topic", "durable": True, "auto_delete": False, "arguments": {}}
    created(api, path("exchanges", vhost, "orders"), exchange)
    assert contains(api.ask("GET", path("exchanges", vhost, "orders")).body, exchange)
    destroyed(api, path("queues", vhost, "orders/new"))
    destroyed(api, path("exchanges", vhost, "orders"))


@pytest.mark.parametrize("key", ["a.b", "#", "", "~", "a b/c%", "ü"])
@pytest.mark.parametrize("arguments", [{}, {"x-match": "all", "n": 1}])
def test_a_binding_is_found_by_its_location(
    api: HttpApi, vhost: str, key: str, arguments: dict[str, object]
) -> None:
    created(api, path("exchanges", vhost, "x"), {"type": "headers", "durable": True})
    created(api, path("queues", vhost, "q"), {"durable": True})
    between = path("bindings", vhost, "e", "x", "q", "q")
    reply = api.ask("POST", between, {"routing_key": key, "arguments": arguments})
    assert reply.status == 201
    # The provider keeps the last segment, decoded once, as the key of the binding's properties.
    properties = unquote(reply.headers["location"].rsplit("/", 1)[1])
    (row,) = api.ask("GET", between).body
    assert row["properties_key"] == properties
    assert (row["routing_key"], row["arguments"]) == (key, arguments)
    assert api.ask("GET", f"{between}/{quote(properties, safe='')}").body == row
    destroyed(api, f"{between}/{quote(properties, safe='')}")


def test_policies_live_and_go(api: HttpApi, vhost: str) -> None:
    for kind in ("policies", "operator-policies"):
        policy = {"pattern": "^q", "priority": 5, "apply-to": "queues", "definition": {"max-length": 10}}
        created(api, path(kind, vhost, "p"), policy)
        assert contains(api.ask("GET", path(kind, vhost, "p")).body, policy)
        changed = {**policy, "definition": {"max-length": 20}}
        created(api, path(kind, vhost, "p"), changed)
        assert contains(api.ask("GET", path(kind, vhost, "p")).body, changed)
        destroyed(api, path(kind, vhost, "p"))


def test_limits_live_and_go(api: HttpApi, vhost: str, user: str) -> None:
    created(api, path("users", user), {"password": "x", "tags": ""})
    for kind, owner, limit in (("vhost-limits", vhost, "max-queues"), ("user-limits", user, "max-channels")):
        where = path(kind, owner, limit)
        created(api, where, {"value": 100})
        (row,) = api.ask("GET", path(kind, owner)).body
        assert row["value"] == {limit: 100}
        assert api.ask("DELETE", where).status == 204
