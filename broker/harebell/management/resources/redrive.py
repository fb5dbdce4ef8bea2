"""Dead letters: looking through them, and sending them back at a rate (not in RabbitMQ: ``/x/...``)."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from harebell.administration.redrive import Redrive, Where, look_through
from harebell.content.properties import parse_properties
from harebell.engine import topology
from harebell.engine.redrive import Target, Waiting
from harebell.errors import MalformedContent
from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.pacing import Pace
from harebell.management.resources.looking import LAST_POSITION, readable
from harebell.management.routing import Right, Route

SHOWN: Final = 50
SHOWN_MOST: Final = 1000
"""Dead letters shown where no limit is named, and at most."""

SCAN_MOST: Final = 10_000
"""Messages looked through for one answer of a search."""

PREVIEW: Final = 4096
"""Octets of a body that are shown."""

HEADER: Final = "header."
"""What fields of a query begin with that name a header."""


class WhereBody(BaseModel):
    """Which dead letters are meant."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)


class TargetBody(BaseModel):
    """Where they are to go."""

    model_config = ConfigDict(extra="forbid")

    exchange: str = Field(default="", max_length=255)
    routing_key: str = Field(default="", max_length=255)


class RedriveBody(BaseModel):
    """A redrive that is wanted."""

    model_config = ConfigDict(extra="forbid")

    vhost: str
    queue: str
    where: WhereBody = WhereBody()
    to: TargetBody | None = None
    limit: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, gt=0, le=1_000_000, allow_inf_nan=False)
    dry_run: bool = False


async def dead_letters(call: Call) -> Answer:
    """Look through dead letters by where they died and why; ``next`` is where to go on; nothing changes."""
    vhost = call.vhost()
    queue = topology.readable_queue(call.caller(vhost), call.path["queue"])
    where = Where(
        call.query.get("reason"),
        call.query.get("queue"),
        call.query.get("exchange"),
        call.query.get("routing_key"),
        {name.removeprefix(HEADER): value for name, value in call.query.items() if name.startswith(HEADER)},
    )
    limit = _limit(call)
    by: dict[str, Counter[str]] = {"reason": Counter(), "queue": Counter(), "exchange": Counter()}
    items: list[dict[str, object]] = []
    scanned = matched = 0
    begins = call.query.number("from", 0, LAST_POSITION)
    follows: int | None = None
    pace = Pace()
    for found in readable(look_through(queue, 1 if begins is None else begins)):
        if scanned >= SCAN_MOST:
            follows = found.position
            break
        if pace.due():
            await pace.rest()
        scanned += 1
        if not where.fits(found):
            continue
        matched += 1
        if found.deaths:
            latest = found.deaths[0]
            by["reason"][latest.reason] += 1
            by["queue"][latest.queue] += 1
            by["exchange"][latest.exchange] += 1
        if len(items) < limit:
            items.append(_shown(found))
    answer = {
        "scanned": scanned,
        "matched": matched,
        "complete": follows is None,
        "next": follows,
        "by": by,
        "items": items,
    }
    return ok(answer)


def _limit(call: Call) -> int:
    limit = call.query.number("limit", 0, SHOWN_MOST)
    return SHOWN if limit is None else limit


def _shown(found: Waiting) -> dict[str, object]:
    body = found.message.body
    try:
        payload, encoding = body[:PREVIEW].decode(), "string"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(body[:PREVIEW]).decode(), "base64"
    try:
        properties = parse_properties(found.message.header).as_dict()
    except MalformedContent:
        properties = {}
    latest = found.deaths[0] if found.deaths else None
    return {
        "position": found.position,
        "reason": None if latest is None else latest.reason,
        "queue": None if latest is None else latest.queue,
        "exchange": found.message.exchange() if latest is None else latest.exchange,
        "routing_keys": [found.message.routing_key()] if latest is None else list(latest.routing_keys),
        "time": 0 if latest is None else latest.time,
        "count": 0 if latest is None else latest.times,
        "redelivered": found.redelivered,
        "redriven": found.redriven,
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": len(body),
    }


async def begin(call: Call) -> Answer:
    """Send dead letters back to where they came from, or elsewhere; a dry run only counts them."""
    wanted = call.model(RedriveBody)
    vhost = call.vhost(wanted.vhost)
    queue = topology.readable_queue(call.caller(vhost), wanted.queue)
    where = Where(**wanted.where.model_dump())
    to = None if wanted.to is None else Target(wanted.to.exchange, wanted.to.routing_key)
    if to is not None:
        call.caller(vhost).require("write", "exchange", to.exchange)
    admin = call.admin
    job = admin.redrives.begin(
        admin, vhost, queue, where, to, call.user, limit=wanted.limit, rate=wanted.rate, dry=wanted.dry_run
    )
    if wanted.dry_run:
        pace = Pace()
        for _ in readable(job.counting(admin)):
            if pace.due():
                await pace.rest()
    answer = ok(described(job))
    if not wanted.dry_run:
        detail = {
            "job": job.number,
            "where": wanted.where.model_dump(),
            "to": None if to is None else list(to),
        }
        admin.audit.record(call.user.name, call.peer, "queue.redriven", vhost.name, queue.name, detail)
        answer.status, answer.headers = 201, {"Location": f"redrives/{job.number}"}
    return answer


def described(job: Redrive) -> dict[str, object]:
    """Show a job."""
    return {
        "id": job.number,
        "vhost": job.vhost.name,
        "queue": job.queue.name,
        "state": job.state,
        "dry_run": job.number == 0,
        "where": {
            "reason": job.where.reason,
            "queue": job.where.queue,
            "exchange": job.where.exchange,
            "routing_key": job.where.routing_key,
            "headers": job.where.headers,
        },
        "to": None if job.to is None else job.to._asdict(),
        "limit": job.limit,
        "rate": job.rate,
        "scanned": job.scanned,
        "matched": job.matched,
        "moved": job.moved,
        "unroutable": job.unroutable,
        "refused": job.refused,
        "complete": job.complete,
        "started_by": job.user.name,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error": job.error,
    }


async def redrives(call: Call) -> Answer:
    """List the redrives of the virtual hosts one may see, the latest first."""
    visible = {vhost.name for vhost in call.visible_vhosts()}
    return ok([described(job) for job in call.admin.redrives.all() if job.vhost.name in visible])


def _job(call: Call) -> Redrive:
    number = call.path["id"]
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise not_found()
    job = call.admin.redrives.get(int(number))
    if not call.admin.broker.access.may_open(call.user, job.vhost.name):
        raise not_found()
    return job


async def show(call: Call) -> Answer:
    """Show how far a redrive is."""
    return ok(described(_job(call)))


async def cancel(call: Call) -> Answer:
    """End a redrive; what was sent back stays there."""
    job = _job(call)
    if job.user.name != call.user.name:
        call.require(Right.ADMINISTRATOR, "Only who began a redrive, or an administrator, may end it")
    job.cancel(call.admin)
    call.admin.audit.record(
        call.user.name, call.peer, "redrive.cancelled", job.vhost.name, job.queue.name, {"job": job.number}
    )
    return no_content()


ROUTES: Final = (
    Route("GET", "/x/dead-letters/{vhost}/{queue}", dead_letters),
    Route("GET", "/x/redrives", redrives),
    Route("POST", "/x/redrives", begin, body=RedriveBody),
    Route("GET", "/x/redrives/{id}", show),
    Route("DELETE", "/x/redrives/{id}", cancel),
)
