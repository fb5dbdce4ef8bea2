"""Limits of alarms, listeners, maintenance mode and the log of a running node.

`tests/cli/test_ctl_maintenance.py` does the same with the words of RabbitMQ's tools.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pytest
from pamqp import commands

from harebell import logs
from tests.server.wire import Wire, publish
from tests.support.management import Api

T = TypeVar("T")

REASON = "CONNECTION_FORCED - Node was put into maintenance mode"


async def away(function: Callable[..., T], *arguments: Any) -> T:
    """Call something that waits for the broker, whose event loop is that of the test."""
    return await asyncio.to_thread(function, *arguments)


@pytest.fixture
async def wire(http: Api) -> AsyncIterator[Wire]:
    """An open connection with a channel."""
    found = await away(Wire, http.broker.port)
    await away(partial(found.open, channels=1))
    yield found
    found.close()


async def node(http: Api) -> dict[str, Any]:
    """Show the node."""
    (found,) = await http.get("/nodes")
    assert isinstance(found, dict)
    return found


async def named(http: Api) -> dict[str, object]:
    return {"node": (await node(http))["name"]}


async def post(http: Api, path: str, body: object = None) -> int:
    return (await http.ask("POST", f"/x/maintenance{path}", body)).status


async def state(http: Api) -> Any:
    return (await http.get("/x/maintenance"))["state"]


async def until(http: Api, wanted: str) -> None:
    """Wait until the node is in a state."""
    async with asyncio.timeout(10):
        while await state(http) != wanted:
            await asyncio.sleep(0.01)


def can_connect(port: int) -> bool:
    with suppress(ConnectionError), Wire(port) as wire:
        wire.start()
        return True
    return False


async def test_suspended_listeners_let_nobody_in_and_keep_who_is_there(http: Api, wire: Wire) -> None:
    port = http.broker.port
    check = f"/health/checks/port-listener/{port}"
    for _ in range(2):
        for _ in range(2):
            assert await post(http, "/suspend-listeners", await named(http)) == 204
        assert not await away(can_connect, port)
        await away(wire.round_trip)
        assert (await http.get("/x/maintenance"))["listeners_suspended"]
        assert await state(http) == "regular"
        assert (await http.ask("GET", check)).status == 503
        for _ in range(2):
            assert await post(http, "/resume-listeners") == 204
        assert await away(can_connect, port)
        assert (await http.ask("GET", check)).status == 200


async def test_two_who_resume_at_once_do_not_disturb_each_other(http: Api) -> None:
    await post(http, "/suspend-listeners", await named(http))
    found = await asyncio.gather(*(post(http, "/resume-listeners") for _ in range(3)))
    assert found == [204] * 3
    assert await away(can_connect, http.broker.port)


async def test_an_address_that_was_taken_meanwhile_is_told(http: Api) -> None:
    await post(http, "/suspend-listeners", await named(http))
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", http.broker.port)
    reply = await http.ask("POST", "/x/maintenance/resume-listeners")
    assert reply.status == 503 and "in use" in reply.json["reason"]
    assert (await http.get("/x/maintenance"))["listeners_suspended"]
    taken.close()
    await taken.wait_closed()
    assert await post(http, "/resume-listeners") == 204
    assert await away(can_connect, http.broker.port)


async def test_draining_closes_connections_and_reviving_lets_them_back(http: Api, wire: Wire) -> None:
    assert await post(http, "/drain", await named(http)) == 204
    close = await away(wire.expect, commands.Connection.Close)
    assert (close.reply_code, close.reply_text) == (320, REASON)
    assert await state(http) == "draining", "the client has not answered"
    assert (await http.get("/x/maintenance"))["connections_left"] == 1
    wire.method(commands.Connection.CloseOk())
    await until(http, "drained")
    assert await http.get("/x/maintenance") == {
        **await named(http),
        "state": "drained",
        "listeners_suspended": True,
        "connections_at_start": 1,
        "connections_left": 0,
    }
    assert (await node(http))["being_drained"]
    assert (await http.ask("GET", "/health/checks/is-in-service")).status == 503
    assert not await away(can_connect, http.broker.port)
    assert await post(http, "/revive") == 204
    assert await state(http) == "regular"
    assert not (await node(http))["being_drained"]
    assert (await http.ask("GET", "/health/checks/is-in-service")).status == 200
    assert await away(can_connect, http.broker.port)
    assert await post(http, "/revive") == 204


async def test_connections_are_closed_over_the_time_that_is_asked_for(http: Api, wire: Wire) -> None:
    other = await away(Wire, http.broker.port)
    await away(other.open)
    await post(http, "/drain", {**await named(http), "spread": 3600})
    closed, pending = await asyncio.wait(
        [
            asyncio.create_task(away(each.expect, commands.Connection.Close), name=name)
            for name, each in (("first", wire), ("second", other))
        ],
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert (len(closed), len(pending)) == (1, 1)
    assert await state(http) == "draining"
    await post(http, "/revive")
    assert await state(http) == "regular"
    for each in (wire, other):
        each.close()
    await asyncio.gather(*pending, return_exceptions=True)


async def test_who_has_not_logged_in_is_dropped_when_the_node_drains(http: Api) -> None:
    idle = await away(Wire, http.broker.port)
    await away(idle.start)
    await post(http, "/drain", await named(http))
    await away(idle.read_until_closed)
    await until(http, "drained")


async def test_no_other_node_is_taken_out_of_service_by_mistake(http: Api) -> None:
    for path in ("/drain", "/suspend-listeners"):
        for body in ({}, {"node": "rabbit@elsewhere"}, {"node": 1}):
            assert await post(http, path, body) == 400, (path, body)
    for spread in (-1, 1e9, "x"):
        assert await post(http, "/drain", {**await named(http), "spread": spread}) == 400
    assert await state(http) == "regular"


async def test_a_memory_limit_counts_at_once_and_so_does_its_end(http: Api, wire: Wire) -> None:
    before = (await http.get("/x/memory-limit"))["limit"]
    await away(wire.declare, "jobs")
    wire.send(publish("jobs", b"x"))
    await away(wire.round_trip)
    await http.put("/x/memory-limit", {"absolute": 0})
    assert (await http.get("/x/memory-limit"))["alarm"]
    assert (await node(http))["mem_alarm"]
    assert (await away(wire.expect, commands.Connection.Blocked)).reason == "low on memory"
    await http.put("/x/memory-limit", {"absolute": "1TB"})
    await away(wire.expect, commands.Connection.Unblocked)
    found = await http.get("/x/memory-limit")
    assert (found["limit"], found["alarm"]) == (10**12, False)
    assert (await node(http))["mem_limit"] == 10**12
    await http.put("/x/memory-limit", {"fraction": 0.6})
    assert (await http.get("/x/memory-limit"))["limit"] == before, "0.6 is the default"


async def test_a_disk_limit_counts_at_once_and_so_does_its_end(http: Api, wire: Wire) -> None:
    server = http.broker._running.server
    assert server is not None
    server.free_bytes = lambda: 1000
    await away(wire.declare, "jobs")
    wire.send(publish("jobs", b"x"))
    await away(wire.round_trip)
    await http.put("/x/disk-limit", {"absolute": 1001})
    assert (await away(wire.expect, commands.Connection.Blocked)).reason == "low on disk"
    found = await http.get("/x/disk-limit")
    assert (found["limit"], found["alarm"]) == (1001, True)
    await http.put("/x/disk-limit", {"absolute": 0})
    await away(wire.expect, commands.Connection.Unblocked)
    total = (await http.get("/x/memory-limit"))["limit"] / 0.6
    await http.put("/x/disk-limit", {"mem_relative": 2})
    assert (await node(http))["disk_free_limit"] == pytest.approx(2 * total, rel=0.01)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("memory", {}),
        ("memory", {"fraction": 0.5, "absolute": 1}),
        ("memory", {"fraction": 1.1}),
        ("memory", {"fraction": -0.1}),
        ("memory", {"absolute": -1}),
        ("memory", {"absolute": "much"}),
        ("memory", {"absolute": True}),
        ("disk", {}),
        ("disk", {"fraction": 0.5}),
        ("disk", {"mem_relative": -1}),
        ("disk", {"absolute": "1 parsec"}),
        ("disk", {"absolute": 10**30}),
    ],
)
async def test_limits_that_are_none_are_refused(http: Api, path: str, body: dict[str, object]) -> None:
    before = await http.get(f"/x/{path}-limit")
    assert (await http.ask("PUT", f"/x/{path}-limit", body)).status == 400
    assert (await http.get(f"/x/{path}-limit"))["limit"] == before["limit"]


async def test_the_audit_log_says_who_did_it(http: Api) -> None:
    await http.put("/x/memory-limit", {"absolute": "1TB"})
    await http.put("/x/disk-limit", {"absolute": 0})
    await post(http, "/suspend-listeners", await named(http))
    await post(http, "/resume-listeners")
    await post(http, "/drain", {**await named(http), "spread": 1})
    await post(http, "/revive")
    actions = [each["action"] for each in await http.get("/x/audit?limit=6")]
    assert actions == [
        "node.revived",
        "node.drained",
        "listeners.resumed",
        "listeners.suspended",
        "disk_limit.changed",
        "memory_limit.changed",
    ]


async def test_the_last_lines_of_the_log_are_shown(http: Api) -> None:
    log = logs.get_logger("test")
    for text in ("first", "second", "third\nforged"):
        log.warning(text)
    found = await http.get("/x/log?lines=3")
    assert [each.split("> ")[1] for each in found["lines"]] == ["first", "second", "third\\nforged"]
    log.warning("fourth")
    later = await http.get(f"/x/log?after={found['last']}&lines=1000")
    assert [each.split("> ")[1] for each in later["lines"]] == ["fourth"]
    assert later["last"] == found["last"] + 1
    assert (await http.get(f"/x/log?after={later['last']}"))["lines"] == []
    assert len((await http.get("/x/log?after=999999999&lines=2"))["lines"]) == 2, "of another process"
    assert (await http.get("/x/log?lines=0"))["lines"] == []
    for query in ("lines=1001", "lines=x", "after=-1"):
        assert (await http.ask("GET", f"/x/log?{query}")).status == 400


async def test_only_administrators_read_the_log_and_change_limits(http: Api) -> None:
    await http.add_user("watcher", "monitoring")
    for method, path in (("GET", "/x/log"), ("PUT", "/x/memory-limit"), ("POST", "/x/maintenance/drain")):
        assert (await http.ask(method, path, {}, user="watcher")).status == 401
    assert json.loads((await http.ask("GET", "/x/maintenance", user="watcher")).text)["state"] == "regular"
