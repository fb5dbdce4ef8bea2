"""The last lines of the log (not in RabbitMQ: ``/x/log``; its tools have ``log_tail``)."""

from __future__ import annotations

from typing import Final

from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.routing import Right, Route

LINES: Final = 50
MOST_LINES: Final = 1000
LAST_NUMBER: Final = 2**62


async def show(call: Call) -> Answer:
    """Give the last lines, and the number of the last one; ``after`` leaves out those up to a number."""
    query = call.query
    lines = query.number("lines", 0, MOST_LINES)
    after = query.number("after", 0, LAST_NUMBER) or 0
    last, found = call.admin.host.log_lines(after, LINES if lines is None else lines)
    return ok({"last": last, "lines": found})


ROUTES: Final = (Route("GET", "/x/log", show, Right.ADMINISTRATOR),)
