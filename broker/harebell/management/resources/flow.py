"""Pausing queues as LavinMQ does, and deliveries that wait for an answer (not in RabbitMQ: ``/x/...``)."""

from __future__ import annotations

from itertools import islice
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from harebell.administration.leases import described, held_of, renew
from harebell.engine.pausing import pause_queue, resume_queue
from harebell.engine.queues.queue import Queue
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import HttpError
from harebell.management.resources.places import find_queue
from harebell.management.routing import Route

SHOWN: Final = 500
SHOWN_MOST: Final = 10_000
"""Deliveries shown where no limit is named, and at most."""

LARGEST: Final = 2**63 - 1


class PauseBody(BaseModel):
    """A pause; without ``for_ms`` until it is resumed."""

    model_config = ConfigDict(extra="forbid")

    for_ms: int | None = Field(default=None, ge=1, le=LARGEST, strict=True)
    reason: str = Field(default="", max_length=1024)


class RenewalBody(BaseModel):
    """Which delivery gets more time: its tag, and whose it is."""

    model_config = ConfigDict(extra="forbid")

    delivery_tag: int = Field(ge=1, le=LARGEST, strict=True)
    consumer_tag: str | None = Field(default=None, max_length=255)
    channel: str | None = Field(default=None, max_length=1024)


async def pause(call: Call) -> Answer:
    """Have a queue take messages and deliver none, until a time or until it is resumed."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    wanted = call.model(PauseBody)
    lsn = pause_queue(call.caller(vhost), queue.name, wanted.for_ms, wanted.reason)
    call.detail |= {"for_ms": wanted.for_ms, "reason": wanted.reason}
    await call.committed(lsn)
    return no_content()


async def resume(call: Call) -> Answer:
    """Have a paused queue deliver again."""
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    await call.committed(resume_queue(call.caller(vhost), queue.name))
    return no_content()


def _readable(call: Call) -> Queue:
    vhost = call.vhost()
    queue = find_queue(call, vhost)
    call.caller(vhost).require("read", "queue", queue.name)
    return queue


async def list_leases(call: Call) -> Answer:
    """List the deliveries of a queue that wait for an answer, and how long they may."""
    queue = _readable(call)
    limit = call.query.number("limit", 0, SHOWN_MOST)
    found = islice(held_of(call.admin, queue), SHOWN if limit is None else limit)
    return ok({"total": int(queue.unacked_count), "items": [described(call.admin, held) for held in found]})


async def renew_lease(call: Call) -> Answer:
    """Have the acknowledgement timeout of one delivery begin anew."""
    queue = _readable(call)
    wanted = call.model(RenewalBody)
    try:
        answer = renew(call.admin, queue, wanted.delivery_tag, wanted.consumer_tag, wanted.channel)
    except BrokerError as error:
        if error.row is PRECONDITION_FAILED:
            raise HttpError(409, "conflict", str(error)) from None
        raise HttpError(404, "not_found", str(error)) from None
    return ok(answer)


def _pausing(prefix: str) -> tuple[Route, ...]:
    place = f"{prefix}/queues/{{vhost}}/{{name}}"
    return (
        Route("PUT", f"{place}/pause", pause, body=PauseBody, action="queue.paused"),
        Route("PUT", f"{place}/resume", resume, action="queue.resumed"),
    )


ROUTES: Final = (
    *_pausing(""),
    *_pausing("/x"),
    Route("GET", "/x/leases/{vhost}/{name}", list_leases),
    Route("PUT", "/x/leases/{vhost}/{name}", renew_lease, body=RenewalBody),
)
