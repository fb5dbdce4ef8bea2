"""What RabbitMQ's tools ask for now and then: resetting statistics, rebalancing queues, login attempts."""

from __future__ import annotations

from typing import Final

from harebell.administration.users import login_attempts
from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.routing import Right, Route


async def reset(call: Call) -> Answer:
    """Forget samples of statistics, which are of moments only: does nothing."""
    _node(call)
    return no_content()


async def rebalance(call: Call) -> Answer:
    """Spread queues over nodes: there is one, so this does nothing."""
    return no_content()


async def attempts(call: Call) -> Answer:
    """Tell how many logins there were, by protocol."""
    _node(call)
    return ok(login_attempts(call.admin))


async def attempts_by_source(call: Call) -> Answer:
    """Tell how many logins there were by user and address: not counted, as RabbitMQ does by default."""
    _node(call)
    return ok([])


async def forget_attempts(call: Call) -> Answer:
    """Count logins anew."""
    _node(call)
    call.admin.directory.attempts.counts.clear()
    return no_content()


def _node(call: Call) -> None:
    if call.path.get("node", call.admin.host.name) != call.admin.host.name:
        raise not_found()


_ATTEMPTS: Final = "/auth/attempts/{node}"

ROUTES: Final = (
    Route("DELETE", "/reset", reset, Right.ADMINISTRATOR),
    Route("DELETE", "/reset/{node}", reset, Right.ADMINISTRATOR),
    Route("POST", "/rebalance/queues", rebalance, Right.ADMINISTRATOR),
    Route("GET", _ATTEMPTS, attempts, Right.MONITORING),
    Route("GET", _ATTEMPTS + "/source", attempts_by_source, Right.MONITORING),
    Route("DELETE", _ATTEMPTS, forget_attempts, Right.ADMINISTRATOR),
    Route("DELETE", _ATTEMPTS + "/source", forget_attempts, Right.ADMINISTRATOR),
)
