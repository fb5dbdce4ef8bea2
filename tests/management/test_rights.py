"""Which tag is enough for which path; as observed on RabbitMQ 3.10.8."""

from __future__ import annotations

import pytest

from harebell.management.resources import router
from harebell.management.routing import Right
from tests.support.management import Api

TAGS = ("none", "management", "policymaker", "monitoring", "administrator")

ALLOWED = {
    "/whoami": "management policymaker monitoring administrator",
    "/overview": "management policymaker monitoring administrator",
    "/nodes": "monitoring administrator",
    "/queues": "management policymaker monitoring administrator",
    "/vhosts": "management policymaker monitoring administrator",
    "/vhosts/%2F": "administrator",
    "/exchanges/%2F": "management policymaker monitoring administrator",
    "/connections": "management policymaker monitoring administrator",
    "/users": "administrator",
    "/permissions": "administrator",
    "/policies": "management policymaker monitoring administrator",
    "/parameters": "policymaker administrator",
    "/definitions": "administrator",
    "/definitions/%2F": "administrator",
    "/health/checks/alarms": "management policymaker monitoring administrator",
    "/cluster-name": "management policymaker monitoring administrator",
    "/extensions": "management policymaker monitoring administrator",
    "/feature-flags": "administrator",
    "/global-parameters": "policymaker administrator",
    "/vhost-limits": "management policymaker monitoring administrator",
    "/user-limits": "management policymaker monitoring administrator",
    "/healthchecks/node": "management policymaker monitoring administrator",
    "/x/log-level": "monitoring administrator",
    "/x/audit": "administrator",
}


@pytest.fixture
async def tagged(http: Api) -> Api:
    """A user for every tag, all with permissions."""
    for tag in TAGS:
        await http.add_user(tag, "" if tag == "none" else tag)
    return http


async def test_the_tag_decides_what_is_shown(tagged: Api) -> None:
    for path, allowed in ALLOWED.items():
        for tag in TAGS:
            reply = await tagged.ask("GET", path, user=tag)
            expected = 200 if tag in allowed.split() else 401
            assert reply.status == expected, f"{tag} {path}: {reply.status} {reply.text}"
            if expected == 401:
                assert reply.json["error"] == "not_authorised"
                assert "WWW-Authenticate" not in reply.headers


async def test_every_route_refuses_who_is_less_than_it_asks(tagged: Api) -> None:
    for route in router().routes:
        if route.right is Right.NOBODY:
            continue
        path = route.path.replace("{vhost}", "%2F").replace("{", "no-such-").replace("}", "")
        assert (await tagged.ask(route.method, path, user="")).status == 401, route
        reply = await tagged.ask(route.method, path, {}, user="none")
        assert reply.error == (401, "not_authorised", "Not management user"), route
        for tag in TAGS[1:]:
            if tag in route.right.value:
                continue
            reply = await tagged.ask(route.method, path, {}, user=tag)
            assert reply.status == 401, f"{tag} {route.method} {route.path}: {reply.status} {reply.text}"
