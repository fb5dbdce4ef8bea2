"""Taking messages out of a queue for somebody to look at: ``/queues/{vhost}/{name}/get``."""

from __future__ import annotations

import base64
from typing import Any, Final, NamedTuple

from harebell.content.message import Message
from harebell.content.properties import parse_properties
from harebell.engine import topology
from harebell.engine.arguments import SINGLE_ACTIVE_CONSUMER
from harebell.engine.consumers import Unacked
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, RESOURCE_LOCKED, BrokerError, MalformedContent
from harebell.management.answers import Answer, encode
from harebell.management.bodies import Body, Int, missing
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request, not_authorised
from harebell.management.pacing import Pace
from harebell.management.routing import Route
from harebell.paging import FLAGGED

REQUIRED: Final = ("ackmode", "count", "encoding")

ACK_REQUEUE: Final = "ack_requeue_true"
REJECT_REQUEUE: Final = "reject_requeue_true"
ACK: Final = "ack_requeue_false"
REJECT: Final = "reject_requeue_false"
ACK_MODES: Final = (ACK_REQUEUE, REJECT_REQUEUE, ACK, REJECT)

MOST_MESSAGES: Final = 5000
MOST_OCTETS: Final = 64 * 1024 * 1024
"""Messages, and octets of their bodies, in one answer; what is behind them is left in the queue."""


class Wanted(Body):
    """What is to be taken, and what becomes of it."""

    count: Int
    ackmode: str
    encoding: str
    truncate: Int | None = None


async def get(call: Call) -> Answer:
    """Take messages from the head of a queue; what becomes of them is up to ``ackmode``."""
    if call.path["vhost"] not in call.admin.broker.vhosts:
        raise not_authorised("Access refused.")
    vhost = call.vhost()
    missing(call.json_object(), REQUIRED)
    wanted = call.model(Wanted)
    if wanted.ackmode not in ACK_MODES:
        raise bad_request(f"Unsupported ackmode. Please use one of {', '.join(ACK_MODES)}.")
    if wanted.encoding not in ("auto", "base64"):
        raise bad_request("Unsupported encoding. Please use auto or base64.")
    if wanted.truncate is not None and wanted.truncate < 0:
        raise bad_request("truncate is negative")
    queue = _gettable(call, vhost)
    call.detail["ackmode"] = wanted.ackmode
    rows = await _rows(queue, wanted, call.admin.broker.clock.now)
    call.detail["messages"] = len(rows)
    await call.committed(0)
    return Answer(200, [b"[", b",".join(rows), b"]"])


def _gettable(call: Call, vhost: Vhost) -> Queue:
    """Find the queue and check what ``basic.get`` checks.

    Raises:
        HttpError: as RabbitMQ answers.
    """
    try:
        queue = topology.readable_queue(call.caller(vhost), call.path["name"])
        if queue.type_name == "quorum" and queue.arguments.get(SINGLE_ACTIVE_CONSUMER) is True:
            raise BrokerError(
                RESOURCE_LOCKED,
                f"cannot obtain access to locked queue '{queue.name}' in vhost '{vhost.name}'. "
                "basic.get operations are not supported by quorum queues with single active consumer",
            )
        queue.refuse_return()
    except BrokerError as error:
        if error.row is NOT_FOUND:
            raise HttpError(404, "not_found", str(error)) from None
        if error.row.http_status == 401:
            raise
        raise bad_request(f"{error.row.code} {error}") from None
    return queue


class Taken(NamedTuple):
    """A message that was taken out, and how many were left behind it."""

    message: Message
    redelivered: bool
    left: int


async def _rows(queue: Queue, wanted: Wanted, now: int) -> list[bytes]:
    """Take messages, and encode them in slices."""
    rows: list[bytes] = []
    pace = Pace()
    for taken in _take(queue, wanted, now):
        rows.append(encode(_shown(taken, wanted)))
        if pace.due():
            await pace.rest()
    return rows


def _take(queue: Queue, wanted: Wanted, now: int) -> list[Taken]:
    """Take messages out, and let go of them or put them back before anybody else gets his turn.

    Who copies the journal's records forward looks for messages in queues and with clients, and would not find
    what is kept here.
    """
    most = MOST_MESSAGES if wanted.count < 0 else min(wanted.count, MOST_MESSAGES)
    entries: list[Unacked] = []
    found: list[Taken] = []
    octets = 0
    while len(found) < most and octets < MOST_OCTETS:
        entry = queue.get(wanted.ackmode == ACK, 0, now)
        if entry is None:
            break
        if wanted.ackmode != ACK:
            entries.append(entry)
        found.append(Taken(entry.message, entry.returns & FLAGGED != 0, int(queue.ready_count())))
        octets += len(entry.message.body)
    for entry in entries:
        if wanted.ackmode == REJECT:
            queue.reject(entry)
        else:
            queue.requeue(entry, wanted.ackmode == REJECT_REQUEUE)
    return found


def _shown(taken: Taken, wanted: Wanted) -> dict[str, Any]:
    message = taken.message
    body = message.body
    shown = body if wanted.truncate is None else body[: wanted.truncate]
    payload, encoding = "", "base64"
    if wanted.encoding == "auto":
        try:
            payload, encoding = shown.decode(), "string"
        except UnicodeDecodeError:
            encoding = "base64"
    if encoding == "base64":
        payload = base64.b64encode(shown).decode()
    try:
        properties: object = parse_properties(message.header).as_dict() or []
    except MalformedContent:
        properties = []
    return {
        "payload_bytes": len(body),
        "redelivered": taken.redelivered,
        "exchange": message.exchange(),
        "routing_key": message.routing_key(),
        "message_count": taken.left,
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
    }


ROUTES: Final = (Route("POST", "/queues/{vhost}/{name}/get", get, body=Wanted, action="queue.got"),)
