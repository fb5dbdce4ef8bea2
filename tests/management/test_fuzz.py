"""Anything may be sent to any route: what comes back is never an internal error."""

from __future__ import annotations

import json
import random
from typing import Any

from harebell.auth.passwords import hash_password
from harebell.engine import topology
from harebell.engine.topology import Caller
from harebell.management.resources import router
from harebell.ports import User
from tests.support.management import Api, segment

ROUNDS = 5
FUZZER = "fuzzer"
PASSWORD = hash_password(FUZZER.encode())
NAMES = [
    "/",
    "q",
    "x",
    "guest",
    "amq.direct",
    "amq.default",
    "~",
    "",
    "a/b",
    "%",
    "\x00",
    "é",
    "v",
    "0",
    "k" * 300,
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    10**40,
    "",
    "x",
    "true",
    "5",
    "\x00",
    "é" * 200,
    [],
    [1],
    [[]],
    {},
    {"x": 1},
    {"": {}},
    {"k" * 300: 1},
]
QUERIES = [
    "page=1",
    "page=2&page_size=1&sort=name&sort_reverse=true",
    "page=x",
    "page=1&name=%5B&use_regex=true",
    "columns=name,arguments.x,",
    "sort=arguments",
    "lengths_age=60&lengths_incr=5&msg_rates_age=1&msg_rates_incr=1&data_rates_age=9&data_rates_incr=2",
    "if-unused=true&if-empty=true",
    "disable_stats=true&enable_queue_totals=true",
    "%00=%FF&=&&==",
]


def path_of(route: str, chance: random.Random) -> str:
    """Fill in the named segments of a route."""
    segments = []
    for each in route.split("/")[1:]:
        if not each.startswith("{"):
            segments.append(each)
        elif each == "{vhost}" and chance.random() < 0.8:
            segments.append("%2F")
        else:
            segments.append(segment(chance.choice(NAMES)) or "%20")
    return "/" + "/".join(segments)


def body_of(model: Any, chance: random.Random) -> bytes | None:
    """Make a body: often an object with the keys of the model, sometimes anything."""
    kind = chance.random()
    if kind < 0.1:
        return None
    if kind < 0.2:
        return chance.choice([b"", b"[]", b"{", b"\xff", b"null", b"5", b'"x"', b'{"a":1,"a":2}'])
    body = {}
    for name, field in (model.model_fields if model is not None else {}).items():
        if chance.random() < 0.8:
            body[field.alias or name] = chance.choice(VALUES)
    return json.dumps(body).encode()


def restore(http: Api) -> None:
    """Bring back what requests may take away: the virtual host, its objects, and who asks."""
    node = http.broker._running
    node.broker.ensure_vhost("/")
    assert node.services is not None
    directory = node.services.admin.directory
    record = directory.users.get(FUZZER)
    if record is None or record.tags != ("administrator",):
        directory.put_user(FUZZER, PASSWORD, ("administrator",))
    directory.set_permissions(FUZZER, "/", ".*", ".*", ".*")
    caller = Caller(node.broker, node.broker.vhosts["/"], User(FUZZER, frozenset()), 0)
    if "q" not in caller.vhost.queues:
        topology.declare_queue(caller, "q", True, False, False, {})
    if "x" not in caller.vhost.exchanges:
        topology.declare_exchange(caller, "x", "topic", True, False, False, {})


async def test_no_request_ends_in_an_internal_error(http: Api) -> None:
    chance = random.Random(6)
    seen: dict[int, int] = {}
    for _ in range(ROUNDS):
        for route in router().routes:
            restore(http)
            path = path_of(route.path, chance)
            query = f"?{chance.choice(QUERIES)}" if chance.random() < 0.5 else ""
            body = None if route.method == "GET" else body_of(route.body, chance)
            reply = await http.ask(route.method, path + query, body, user=FUZZER)
            seen[reply.status] = seen.get(reply.status, 0) + 1
            assert reply.status < 500 or reply.status == 503, (
                f"{route.method} {path}{query} {body!r}: {reply.status} {reply.text}"
            )
            if reply.text and reply.headers["Content-Type"].startswith("application/json"):
                json.loads(reply.text)
    assert {200, 201, 204, 400, 404} <= set(seen), seen
    assert seen.get(401, 0) < seen[200], seen
