"""How much is logged (not in RabbitMQ: ``/x/log-level``)."""

from __future__ import annotations

from typing import Final

from harebell.management.answers import Answer, no_content, ok
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.routing import Right, Route


class Level(Body):
    """The least severe level that is logged."""

    level: str


async def show(call: Call) -> Answer:
    """Tell the least severe level that is logged."""
    return ok({"level": call.admin.host.log_level()})


async def change(call: Call) -> Answer:
    """Change it, until the node starts anew."""
    level = call.model(Level).level.lower()
    try:
        call.admin.host.set_log_level(level)
    except (KeyError, ValueError):
        raise bad_request("level must be debug, info, warning, error or critical") from None
    call.detail["level"] = level
    return no_content()


ROUTES: Final = (
    Route("GET", "/x/log-level", show, Right.MONITORING),
    Route("PUT", "/x/log-level", change, Right.ADMINISTRATOR, body=Level, action="log.level_changed"),
)
