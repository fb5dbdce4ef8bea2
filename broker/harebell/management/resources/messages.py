"""Messages of a queue, one by one: looking, deleting, moving, ending a wait (not in RabbitMQ: ``/x/...``).

A message is named by its position, which stays its own as long as it is in the queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

from harebell.amqp.connection import Connection
from harebell.amqp.inspection import channel_name
from harebell.content.message import Message
from harebell.engine import topology
from harebell.engine.consumers import Unacked
from harebell.engine.filters import BadFilter, Filter, make_filter
from harebell.engine.queues.queue import Queue
from harebell.engine.redrive import GONE, MOVED, UNROUTABLE, Target, redrive, waiting
from harebell.engine.vhost import Vhost
from harebell.errors import ACCESS_REFUSED, BrokerError
from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request, not_found
from harebell.management.pacing import Pace
from harebell.management.resources.looking import LAST_POSITION, PREVIEW, Style, busy, readable
from harebell.management.routing import Route
from harebell.management.steps import Step
from harebell.paging import FLAGGED, RETURN, PageUnreadable

SHOWN: Final = 50
SHOWN_MOST: Final = 500
"""Messages shown where no limit is named, and at most."""

SCAN_MOST: Final = 10_000
OCTETS_MOST: Final = 16 * 1024 * 1024
"""Messages looked through for one answer, and octets of what it shows; ``next`` is where to go on."""

SLICE: Final = 100
"""Messages looked up at once."""

READY: Final = "ready"
UNACKED: Final = "unacked"
RETRYING: Final = "retrying"
STATES: Final = {READY: READY, UNACKED: UNACKED, RETRYING: RETRYING, "delayed": RETRYING}
"""By what a call says; the management API counts what waits for its retry as ``messages_delayed``."""


class MoveBody(BaseModel):
    """Where a message is to go: to a queue, or through an exchange."""

    model_config = ConfigDict(extra="forbid")

    queue: str | None = Field(default=None, min_length=1, max_length=255)
    exchange: str | None = Field(default=None, max_length=255)
    routing_key: str = Field(default="", max_length=255)


class Found(NamedTuple):
    """A message, wherever it is.

    Attributes:
        until: unix milliseconds until when it waits for its retry; 0 if it does not.
        held: what a client has to answer; None if it is nobody's.
        channel: where that is.
    """

    position: int
    message: Message
    returns: int
    until: int = 0
    held: Unacked | None = None
    channel: str = ""

    @property
    def state(self) -> str:
        """One of the states."""
        if self.held is not None:
            return UNACKED
        return RETRYING if self.until else READY


class Wanted:
    """Which messages a call means.

    Raises:
        HttpError: 400 if its filter cannot be read.
    """

    def __init__(self, call: Call) -> None:
        text = call.query.get("filter")
        self.filter: Filter | None = None if text is None else _filter(text)
        self.routing_key = call.query.get("routing_key")

    def __bool__(self) -> bool:
        return self.filter is not None or self.routing_key is not None

    def fits(self, message: Message) -> bool:
        """Tell whether a message is meant; one that cannot be read fits no filter."""
        if self.routing_key is not None and message.routing_key() != self.routing_key:
            return False
        return self.filter is None or self.filter.wants(message)


def _filter(text: str) -> Filter:
    asked: object = text
    if text.lstrip().startswith("{"):
        try:
            asked = orjson.loads(text.encode("utf-8", "surrogateescape"))
        except orjson.JSONDecodeError:
            raise bad_request("filter: a table that is no JSON") from None
    try:
        return make_filter(asked)
    except BadFilter as problem:
        raise bad_request(f"filter: {problem}") from None


def _queue(call: Call) -> tuple[Vhost, Queue]:
    """Find the queue, which the user must be allowed to read."""
    vhost = call.vhost()
    queue = topology.readable_queue(call.caller(vhost), call.path["queue"])
    if queue.keeps_all:
        raise bad_request(f"queue '{queue.name}' is a stream: it is read with x-stream-offset")
    return vhost, queue


def _ready(queue: Queue, position: int) -> Iterator[Found]:
    while entries := queue.browse_from(position, SLICE):
        for at, message, returns in entries:
            if not queue.is_over(message, at):
                yield Found(at, message, returns)
        position = entries[-1][0] + 1


def _retrying(queue: Queue, position: int) -> Iterator[Found]:
    while entries := queue.browse_waiting(position, SLICE):
        for entry in entries:
            yield Found(*entry)
        position = entries[-1][0] + 1


def _unacked(call: Call, queue: Queue, position: int) -> Iterator[Found]:
    found: list[Found] = []
    for session in call.admin.broker.sessions:
        if not isinstance(session, Connection):
            continue
        for channel in session.channels.values():
            held = channel.window.entries()
            if channel.transaction is not None:
                held = held + channel.transaction.answered()
            name = channel_name(channel) if held else ""
            found += [
                Found(int(entry.position), entry.message, int(entry.returns), 0, entry, name)
                for entry in held
                if entry.queue is queue and entry.position >= position
            ]
    found.sort(key=lambda each: each.position)
    yield from found


def _all(call: Call, queue: Queue, state: str, position: int) -> Iterator[Found]:
    if state == READY:
        return _ready(queue, position)
    return _retrying(queue, position) if state == RETRYING else _unacked(call, queue, position)


async def browse(call: Call) -> Answer:
    """List messages of a queue by position, which stay as they are; ``next`` is where to go on."""
    _, queue = _queue(call)
    state = STATES.get(call.query.get("state") or READY)
    if state is None:
        raise bad_request(f"state is one of {', '.join(STATES)}")
    begins = call.query.number("from", 0, LAST_POSITION)
    limit = call.query.number("limit", 1, SHOWN_MOST) or SHOWN
    wanted, style = Wanted(call), Style(call, PREVIEW)
    items: list[dict[str, object]] = []
    scanned = octets = 0
    follows: int | None = None
    pace = Pace()
    for found in readable(_all(call, queue, state, 1 if begins is None else begins)):
        if len(items) >= limit or scanned >= SCAN_MOST or octets >= OCTETS_MOST:
            follows = found.position
            break
        if pace.due():
            await pace.rest()
        scanned += 1
        if wanted.fits(found.message):
            items.append(_shown(call, found, style))
            octets += style.octets(found.message)
    return ok({"state": state, "scanned": scanned, "items": items, "next": follows})


def _shown(call: Call, found: Found, style: Style) -> dict[str, object]:
    clock = call.admin.broker.clock
    shown = style.shown(found.position, found.message, found.returns, int(clock.wall))
    shown["state"] = found.state
    if found.until:
        shown["attempts"] = found.returns // RETURN
        shown["retry_at"] = found.until
        shown["retry_in"] = max(0, found.until - int(clock.wall))
    held = found.held
    if held is not None:
        shown["consumer_tag"] = None if held.consumer is None else held.consumer.tag
        shown["channel"] = found.channel
        shown["delivery_tag"] = int(held.tag)
        shown["held"] = max(0, int(clock.now - held.delivered_at))
    return shown


def _position(call: Call) -> int:
    text = call.path["position"]
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise not_found()
    return int(text)


def _find(call: Call, queue: Queue) -> Found:
    """Find the message of the path.

    Raises:
        HttpError: 404 if it is nowhere; 503 if the disk cannot be read.
    """
    position = _position(call)
    try:
        entries = queue.browse_from(position, 1)
        waiting_ones = queue.browse_waiting(position, 1)
    except PageUnreadable:
        raise busy() from None
    if entries and entries[0][0] == position:
        return Found(*entries[0])
    if waiting_ones and waiting_ones[0][0] == position:
        return Found(*waiting_ones[0])
    for found in _unacked(call, queue, position):
        if found.position == position:
            return found
    raise not_found()


async def show(call: Call) -> Answer:
    """Show one message, whoever has it, with its whole body."""
    _, queue = _queue(call)
    return ok(_shown(call, _find(call, queue), Style(call, None)))


def _free(call: Call, queue: Queue) -> Found:
    """Find the message of the path, which nobody may hold."""
    found = _find(call, queue)
    if found.held is not None:
        raise HttpError(409, "conflict", "a client holds this message and has not answered it")
    return found


async def delete(call: Call) -> Answer:
    """Delete one message that nobody holds."""
    vhost, queue = _queue(call)
    found = _free(call, queue)
    with Step(call.admin.broker.journal) as step:
        taken = queue.withdraw([found.position])
        try:
            entry = taken[0] if taken else queue.withdraw_waiting(found.position)
        except PageUnreadable:
            raise busy() from None
        if entry is None:
            raise busy()
        queue.settle_dead(entry[1], entry[0])
    _note(call, vhost, "message.deleted", queue, {"position": found.position})
    await call.committed(step.lsn)
    return no_content()


async def delete_some(call: Call) -> Answer:
    """Delete ready messages that fit a filter; ``dry_run=true`` only counts them."""
    vhost, queue = _queue(call)
    wanted = Wanted(call)
    if not wanted:
        raise bad_request("say which messages with filter or routing_key; all of them go with a purge")
    dry = call.query.flag("dry_run")
    before = int(queue.next_position)
    position = 1
    scanned = matched = deleted = 0
    lsn = 0
    pace = Pace()
    while not queue.deleted:
        try:
            entries = queue.browse_from(position, SLICE)
        except PageUnreadable:
            raise busy() from None
        entries = [entry for entry in entries if entry[0] < before]
        if not entries:
            break
        position = entries[-1][0] + 1
        scanned += len(entries)
        meant = [entry[0] for entry in entries if wanted.fits(entry[1])]
        matched += len(meant)
        if meant and not dry:
            with Step(call.admin.broker.journal) as step:
                taken = queue.withdraw(meant)
                for at, message, _ in taken:
                    queue.settle_dead(message, at)
            deleted += len(taken)
            lsn = step.lsn or lsn
        if pace.due():
            await pace.rest()
    if deleted:
        detail = {"messages": deleted, "filter": call.query.text}
        _note(call, vhost, "message.deleted", queue, detail)
        await call.committed(lsn)
    return ok({"scanned": scanned, "matched": matched, "deleted": deleted, "dry_run": dry})


async def move(call: Call) -> Answer:
    """Move one message that nobody holds to another queue, or through an exchange."""
    body = call.model(MoveBody)
    if (body.queue is None) == (body.exchange is None):
        raise bad_request("name either a queue or an exchange")
    vhost, queue = _queue(call)
    to = Target("", body.queue) if body.queue is not None else Target(body.exchange or "", body.routing_key)
    _may_publish(call, vhost, to)
    found = _free(call, queue)
    broker = call.admin.broker
    batch = [waiting(found.position, found.message, found.returns & FLAGGED != 0)]
    with Step(call.admin.broker.journal) as step:
        counts = redrive(broker, vhost, queue, batch, to, again=False)
    if not counts[MOVED]:
        if counts[GONE]:
            raise busy()
        if counts[UNROUTABLE]:
            raise bad_request("no other queue would get it", "unroutable")
        raise HttpError(409, "conflict", "a queue that would get it is full, or it does not fit a schema")
    detail = {"position": found.position, "exchange": to.exchange, "routing_key": to.routing_key}
    _note(call, vhost, "message.moved", queue, detail)
    await call.committed(step.lsn)
    return no_content()


def _may_publish(call: Call, vhost: Vhost, to: Target) -> None:
    """Check what publishing there would.

    Raises:
        BrokerError: ACCESS_REFUSED, NOT_FOUND.
    """
    call.caller(vhost).require("write", "exchange", to.exchange)
    if to.exchange == "":
        vhost.queue(to.routing_key)
        return
    exchange = vhost.exchange(to.exchange)
    if exchange.internal:
        raise BrokerError(
            ACCESS_REFUSED, f"cannot publish to internal exchange '{to.exchange}' in vhost '{vhost.name}'"
        )
    access = call.admin.broker.access
    if exchange.type_name == "topic" and not access.topic_allowed(
        call.user, vhost.name, to.exchange, "write", to.routing_key
    ):
        raise BrokerError(
            ACCESS_REFUSED, f"write access to topic '{to.routing_key}' in exchange '{to.exchange}' refused"
        )


async def retry(call: Call) -> Answer:
    """End the wait of a message that waits for its retry: it is ready at once."""
    vhost, queue = _queue(call)
    position = _position(call)
    with Step(call.admin.broker.journal) as step:
        try:
            found = queue.retry_now(position)
        except PageUnreadable:
            raise busy() from None
        if not found:
            raise not_found()
    _note(call, vhost, "message.retried", queue, {"position": position})
    await call.committed(step.lsn)
    return no_content()


def _note(call: Call, vhost: Vhost, action: str, queue: Queue, detail: dict[str, object]) -> None:
    call.admin.audit.record(call.user.name, call.peer, action, vhost.name, queue.name, detail)


ROUTES: Final = (
    Route("GET", "/x/messages/{vhost}/{queue}", browse),
    Route("DELETE", "/x/messages/{vhost}/{queue}", delete_some),
    Route("GET", "/x/messages/{vhost}/{queue}/{position}", show),
    Route("DELETE", "/x/messages/{vhost}/{queue}/{position}", delete),
    Route("POST", "/x/messages/{vhost}/{queue}/{position}/move", move, body=MoveBody),
    Route("POST", "/x/messages/{vhost}/{queue}/{position}/retry", retry),
)
