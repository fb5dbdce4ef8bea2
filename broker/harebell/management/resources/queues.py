"""Queues: ``/queues``."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from harebell.engine import topology
from harebell.engine.queues.queue import Queue
from harebell.engine.redeclaring import change_queue
from harebell.engine.vhost import Vhost
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, no_content, put
from harebell.management.bodies import Arguments, Body, Bool, Changes, check_name, missing
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import find_queue
from harebell.management.routing import Route

ACTIONS: Final = ("sync", "cancel_sync")

DECLARED: Final = ("arguments", "auto_delete", "durable", "exclusive", "name", "node", "type", "vhost")
TOTALS: Final = ("messages", "messages_ready", "messages_unacknowledged", "state")
"""Fields of queues with ``disable_stats``, and what ``enable_queue_totals`` adds."""

Listed = tuple[Vhost, Queue]


class Declaration(Body):
    """A queue to be declared."""

    durable: Bool = False
    auto_delete: Bool = False
    arguments: Arguments = Field(default_factory=dict)


class Action(Body):
    """Something to be done with a mirrored queue; there are none here, so nothing is."""

    action: str


async def list_all(call: Call) -> Answer:
    """List the queues of all virtual hosts one may see."""
    return await _list(call, call.visible_vhosts(), detail=False)


async def list_of_vhost(call: Call) -> Answer:
    """List the queues of a virtual host."""
    return await _list(call, [call.vhost()], detail=False)


async def list_detailed(call: Call) -> Answer:
    """List the queues of all virtual hosts one may see, each with everything that is known of it."""
    return await _list(call, call.visible_vhosts(), detail=True)


async def _list(call: Call, vhosts: list[Vhost], detail: bool) -> Answer:
    ages = ages_of(call.query)
    items = ((vhost, queue) for vhost in vhosts for queue in list(vhost.queues.values()))
    show = call.statistics.queue
    kept = _kept(call)

    def render(item: Listed) -> dict[str, Any]:
        row = show(item[0], item[1], detail=detail, ages=ages)
        return row if kept is None else {name: row[name] for name in kept if name in row}

    return await answer_list(call, items, render, key=_key, name=lambda item: item[1].name)


def _kept(call: Call) -> tuple[str, ...] | None:
    """Give the fields that are left when a client wants no statistics; None is all."""
    if not call.query.flag("disable_stats"):
        return None
    return DECLARED + TOTALS if call.query.flag("enable_queue_totals") else DECLARED


def _key(item: Listed) -> tuple[str, str]:
    return item[0].name, item[1].name


async def show(call: Call) -> Answer:
    """Show a queue with its consumers and rates."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    return answer_object(call, call.statistics.queue(vhost, queue, detail=True, ages=ages_of(call.query)))


async def declare(call: Call) -> Answer:
    """Declare a queue: 201 if it is new, 204 if it was there like that."""
    vhost = call.vhost()
    name = check_name(call.path["name"])
    wanted = call.model(Declaration)
    topology.check_queue_name(name)
    existed = name in vhost.queues
    caller = call.caller(vhost)
    _, lsn = topology.declare_queue(
        caller, name, wanted.durable, False, wanted.auto_delete, dict(wanted.arguments)
    )
    await call.committed(lsn)
    return put(existed)


async def change(call: Call) -> Answer:
    """Change arguments of a queue that is there; ``null`` takes one away, others stay."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    changes = dict(call.model(Changes).arguments)
    lsn = change_queue(call.caller(vhost), queue, changes)
    call.detail["arguments"] = changes
    await call.committed(lsn)
    return no_content()


async def delete(call: Call) -> Answer:
    """Delete a queue; with ``if-empty`` and ``if-unused`` only one that is."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    if_unused, if_empty = call.query.flag("if-unused"), call.query.flag("if-empty")
    count, lsn = topology.delete_queue(call.caller(vhost), queue.name, if_unused, if_empty)
    call.detail["messages"] = count
    await call.committed(lsn)
    return no_content()


async def purge(call: Call) -> Answer:
    """Remove the messages of a queue that are not with consumers."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    call.detail["messages"] = topology.purge_queue(call.caller(vhost), queue.name)
    await call.committed(0)
    return no_content()


async def act(call: Call) -> Answer:
    """Do nothing, successfully: there are no mirrored queues to be synchronised."""
    vhost = call.vhost()
    find_queue(call, vhost)
    asked = call.json_object()
    missing(asked, ("action",))
    if asked["action"] not in ACTIONS:
        raise bad_request(["unknown", asked["action"]])
    return no_content()


ROUTES: Final = (
    Route("GET", "/queues", list_all),
    Route("GET", "/queues/detailed", list_detailed),
    Route("GET", "/queues/{vhost}", list_of_vhost),
    Route("GET", "/queues/{vhost}/{name}", show),
    Route("PUT", "/queues/{vhost}/{name}", declare, body=Declaration, action="queue.created"),
    Route("PATCH", "/queues/{vhost}/{name}", change, body=Changes, action="queue.changed"),
    Route("DELETE", "/queues/{vhost}/{name}", delete, action="queue.deleted"),
    Route("DELETE", "/queues/{vhost}/{name}/contents", purge, action="queue.purged"),
    Route("POST", "/queues/{vhost}/{name}/actions", act, body=Action),
)
