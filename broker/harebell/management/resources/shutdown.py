"""Stopping the node (not in RabbitMQ: ``/x/shutdown``)."""

from __future__ import annotations

import asyncio
from typing import Final

from harebell.management.answers import Answer, no_content
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.routing import Right, Route

ANSWER_SECONDS: Final = 0.1
"""How long the answer has to reach who asked, before what carries it is closed."""


class Shutdown(Body):
    """Which node is meant, so that no wrong one is stopped."""

    node: str


async def shut_down(call: Call) -> Answer:
    """Begin an orderly shutdown, as SIGTERM does; the body repeats the name of the node."""
    if call.model(Shutdown).node != call.admin.host.name:
        raise bad_request("node must be the name of this node")
    asyncio.get_running_loop().call_later(ANSWER_SECONDS, call.admin.host.stop)
    return no_content()


ROUTES: Final = (
    Route("POST", "/x/shutdown", shut_down, Right.ADMINISTRATOR, body=Shutdown, action="node.stopped"),
)
