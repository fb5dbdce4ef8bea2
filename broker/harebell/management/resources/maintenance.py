"""What is done to a node now and then: resetting statistics, rebalancing queues, login attempts; and closing
listeners and draining, which is not in RabbitMQ's API but in its tools (``/x/maintenance``).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Final

from pydantic import Field

from harebell.administration.maintenance import Maintenance
from harebell.administration.users import login_attempts
from harebell.management.answers import Answer, no_content, ok
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request, not_found
from harebell.management.routing import Right, Route

LONGEST_SPREAD: Final = 3600.0


class Named(Body):
    """Which node is meant, so that no wrong one is taken out of service."""

    node: str


class Drain(Named):
    """How to drain it: seconds over which connections are closed, those of ``drain.spread`` by default."""

    spread: Annotated[float, Field(ge=0, le=LONGEST_SPREAD)] | None = None


def of_node(call: Call) -> Maintenance:
    """Give what maintains the node.

    Raises:
        HttpError: 503 where nothing does.
    """
    found = call.admin.host.maintenance
    if found is None:
        raise HttpError(503, "not_available", "this node cannot be maintained")
    return found


async def status(call: Call) -> Answer:
    """Tell whether the node is in maintenance mode, and how many connections are still to be closed."""
    found = of_node(call).status()
    return ok(
        {
            "node": call.admin.host.name,
            "state": found.state,
            "listeners_suspended": found.suspended,
            "connections_at_start": found.connections_at_start,
            "connections_left": found.connections_left,
        }
    )


async def drain(call: Call) -> Answer:
    """Put the node into maintenance mode: it accepts no clients, and connections are closed bit by bit."""
    asked = call.model(Drain)
    _meant(call, asked.node)
    spread = call.admin.settings.drain.spread if asked.spread is None else asked.spread
    of_node(call).drain(spread)
    call.detail["spread"] = spread
    return no_content()


async def revive(call: Call) -> Answer:
    """End maintenance mode: clients are accepted again."""
    await _opening(of_node(call).revive())
    return no_content()


async def suspend(call: Call) -> Answer:
    """Close the listeners for AMQP clients; connections and the HTTP API stay."""
    _meant(call, call.model(Named).node)
    of_node(call).suspend()
    return no_content()


async def resume(call: Call) -> Answer:
    """Open the listeners for AMQP clients again."""
    await _opening(of_node(call).resume())
    return no_content()


async def _opening(work: Awaitable[None]) -> None:
    try:
        await work
    except OSError as error:
        raise HttpError(503, "not_available", f"clients cannot be listened for: {error}") from None


def _meant(call: Call, name: str) -> None:
    if name != call.admin.host.name:
        raise bad_request("node must be the name of this node")


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
_MODE: Final = "/x/maintenance"

ROUTES: Final = (
    Route("DELETE", "/reset", reset, Right.ADMINISTRATOR),
    Route("DELETE", "/reset/{node}", reset, Right.ADMINISTRATOR),
    Route("POST", "/rebalance/queues", rebalance, Right.ADMINISTRATOR),
    Route("GET", _ATTEMPTS, attempts, Right.MONITORING),
    Route("GET", _ATTEMPTS + "/source", attempts_by_source, Right.MONITORING),
    Route("DELETE", _ATTEMPTS, forget_attempts, Right.ADMINISTRATOR),
    Route("DELETE", _ATTEMPTS + "/source", forget_attempts, Right.ADMINISTRATOR),
    Route("GET", _MODE, status, Right.MONITORING),
    Route("POST", f"{_MODE}/drain", drain, Right.ADMINISTRATOR, body=Drain, action="node.drained"),
    Route("POST", f"{_MODE}/revive", revive, Right.ADMINISTRATOR, action="node.revived"),
    Route(
        "POST",
        f"{_MODE}/suspend-listeners",
        suspend,
        Right.ADMINISTRATOR,
        body=Named,
        action="listeners.suspended",
    ),
    Route("POST", f"{_MODE}/resume-listeners", resume, Right.ADMINISTRATOR, action="listeners.resumed"),
)
