"""Delayed messages: what waits for its time, cancelling it, routing it now (not in RabbitMQ: ``/x/...``)."""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from harebell.content.message import Message
from harebell.content.properties import parse_properties
from harebell.engine.queues.delayed import DelayedQueue
from harebell.engine.vhost import Vhost
from harebell.errors import MalformedContent
from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import bad_request, not_found
from harebell.management.routing import Route
from harebell.management.steps import Step

SHOWN: Final = 50
SHOWN_MOST: Final = 500
"""Messages shown where no limit is named, and at most."""

PREVIEW: Final = 4096
"""Octets of a body that are shown."""

FIRST: Final = (-1, 0, 0)
"""Before every place."""


class _Place(NamedTuple):
    """A message: its time, the number of its hidden queue, and its position there."""

    due: int
    queue: int
    position: int


async def list_delayed(call: Call) -> Answer:
    """List what waits, the nearest first, of exchanges one may read; ``after`` continues a list."""
    vhost = call.vhost()
    queues = _queues(call, vhost, "read")
    after = _after(call.query.get("after"))
    limit = call.query.number("limit", 0, SHOWN_MOST)
    most = SHOWN if limit is None else limit
    places: list[_Place] = []
    by_number = {int(queue.id): queue for queue in queues}
    for number, queue in by_number.items():
        behind = after[2] if number == after[1] else (1 << 62 if number < after[1] else -1)
        found = queue.store.sorted((after[0], behind), most + 1)
        places += [_Place(due, number, position) for due, position in found]
    places.sort()
    shown = places[:most]
    messages: dict[_Place, Message | None] = {}
    for number, queue in by_number.items():
        mine = [place for place in shown if place.queue == number]
        messages |= zip(mine, queue.store.read([place.position for place in mine]), strict=True)
    now = int(call.admin.broker.clock.wall)
    answer = {
        "total": sum(int(queue.ready_count()) for queue in queues),
        "items": [_shown(by_number[place.queue], place, messages[place], now) for place in shown],
        "next": "-".join(map(str, shown[-1])) if shown and len(places) > most else None,
    }
    return ok(answer)


def _queues(call: Call, vhost: Vhost, permission: str) -> list[DelayedQueue]:
    """Give the hidden queues of the exchange that is named, or of all for which one has a permission."""
    delays = vhost.delays
    found = {} if delays is None else delays.queues
    name = call.query.get("exchange")
    caller = call.caller(vhost)
    if name is not None:
        caller.require(permission, "exchange", name)
        return [found[name]] if name in found else []
    allowed = call.admin.broker.access.allowed
    return [queue for queue in found.values() if allowed(call.user, vhost.name, permission, queue.name)]


def _after(text: str | None) -> tuple[int, int, int]:
    if text is None:
        return FIRST
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        raise bad_request("after: give what an earlier answer had as 'next'")
    return int(parts[0]), int(parts[1]), int(parts[2])


def _shown(queue: DelayedQueue, place: _Place, message: Message | None, now: int) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": f"{place.queue}-{place.position}",
        "exchange": queue.name,
        "due": place.due,
        "remaining": max(0, place.due - now),
    }
    if message is None:
        return shown
    body = message.body
    try:
        payload, encoding = body[:PREVIEW].decode(), "string"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(body[:PREVIEW]).decode(), "base64"
    try:
        properties = parse_properties(message.header).as_dict()
    except MalformedContent:
        properties = {}
    shown |= {
        "routing_key": message.routing_key(),
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": len(body),
    }
    return shown


def _one(call: Call, vhost: Vhost) -> tuple[DelayedQueue, int]:
    number, _, position = call.path["id"].partition("-")
    if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in (number, position)):
        raise not_found()
    for queue in [] if vhost.delays is None else vhost.delays.queues.values():
        if queue.id == int(number):
            call.caller(vhost).require("configure", "exchange", queue.name)
            return queue, int(position)
    raise not_found()


async def cancel(call: Call) -> Answer:
    """Drop one message before its time."""
    vhost = call.vhost()
    queue, position = _one(call, vhost)
    with Step(call.admin.broker.journal) as step:
        if not queue.cancel(position):
            raise not_found()
    _note(call, vhost, "delayed.cancelled", queue, {"id": call.path["id"]})
    await call.committed(step.lsn)
    return no_content()


async def cancel_all(call: Call) -> Answer:
    """Drop all messages of an exchange, or of all exchanges that one may configure."""
    vhost = call.vhost()
    cancelled = 0
    for queue in _queues(call, vhost, "configure"):
        count = int(queue.purge())
        cancelled += count
        if count:
            _note(call, vhost, "delayed.cancelled", queue, {"messages": count})
    await call.committed(0)
    return ok({"cancelled": cancelled})


async def deliver(call: Call) -> Answer:
    """Have one message routed now."""
    vhost = call.vhost()
    queue, position = _one(call, vhost)
    if not queue.hasten(position):
        raise not_found()
    _note(call, vhost, "delayed.delivered", queue, {"id": call.path["id"]})
    call.admin.host.turn()
    return no_content()


def _note(call: Call, vhost: Vhost, action: str, queue: DelayedQueue, detail: dict[str, object]) -> None:
    call.admin.audit.record(call.user.name, call.peer, action, vhost.name, queue.name, detail)


ROUTES: Final = (
    Route("GET", "/x/delayed/{vhost}", list_delayed),
    Route("DELETE", "/x/delayed/{vhost}", cancel_all),
    Route("DELETE", "/x/delayed/{vhost}/{id}", cancel),
    Route("POST", "/x/delayed/{vhost}/{id}/deliver", deliver),
)
