"""Who did what (not in RabbitMQ: ``/x/audit``)."""

from __future__ import annotations

from typing import Final

from harebell.administration.audit import REMEMBERED
from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.routing import Right, Route

SHOWN: Final = 100


async def audit(call: Call) -> Answer:
    """List what was done, the latest first: by user, action and time."""
    query = call.query
    limit = query.number("limit", 0, REMEMBERED)
    records = call.admin.audit.latest(
        SHOWN if limit is None else limit,
        user=query.get("user") or "",
        action=query.get("action") or "",
        since=query.number("since", 0, 2**62) or 0,
    )
    return ok(records)


ROUTES: Final = (Route("GET", "/x/audit", audit, Right.ADMINISTRATOR),)
