"""Client connections: ``/connections``."""

from __future__ import annotations

from typing import Any, Final

from harebell.amqp.connection import Connection
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, no_content
from harebell.management.calls import Call
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import connections, find_connection
from harebell.management.routing import Right, Route

CLOSED: Final = "Closed via management plugin"
"""What clients are told that are closed without an ``X-Reason``."""

MAX_REASON: Final = 200
"""Octets of a reason: a short string holds the words before it, too."""


async def list_all(call: Call) -> Answer:
    """List connections: all of them with the tag ``monitoring``, else one's own."""
    return await _list(call, connections(call))


async def list_of_vhost(call: Call) -> Answer:
    """List the connections to a virtual host."""
    vhost = call.vhost()
    return await _list(call, [each for each in connections(call) if each.vhost is vhost])


async def _list(call: Call, found: list[Connection]) -> Answer:
    ages = ages_of(call.query)
    show = call.statistics.connection

    def render(connection: Connection) -> dict[str, Any]:
        return show(connection, ages=ages)

    return await answer_list(call, found, render, key=_key, name=_name)


def _key(connection: Connection) -> tuple[str, str]:
    return "" if connection.vhost is None else connection.vhost.name, connection.peer


def _name(connection: Connection) -> str:
    return connection.peer


async def list_of_user(call: Call) -> Answer:
    """List the connections of a user: where they are, and nothing more."""
    found = _of_user(call)
    node = call.admin.host.name

    def render(connection: Connection) -> dict[str, Any]:
        return {
            "name": connection.peer,
            "vhost": "" if connection.vhost is None else connection.vhost.name,
            "user": "" if connection.user is None else connection.user.name,
            "node": node,
        }

    return await answer_list(call, found, render, key=_key, name=_name)


def _of_user(call: Call) -> list[Connection]:
    name = call.path["username"]
    if name != call.user.name:
        call.require(Right.MONITORING, "Not monitor user")
    sessions = call.admin.broker.sessions.of(name)
    return [session for session in sessions if isinstance(session, Connection)]


async def show(call: Call) -> Answer:
    """Show a connection."""
    connection = find_connection(call)
    return answer_object(call, call.statistics.connection(connection, ages=ages_of(call.query)))


def _reason(call: Call) -> str:
    """Give what the client is told; some clients encode the header."""
    text = call.headers.get("x-reason")
    if text is None:
        return CLOSED
    octets = text.encode("utf-8", "surrogateescape")[:MAX_REASON]
    return octets.decode("utf-8", "ignore")


async def close(call: Call) -> Answer:
    """Close a connection; the header ``X-Reason`` is what its client is told."""
    connection = find_connection(call)
    if connection.user is None or connection.user.name != call.user.name:
        call.require(Right.ADMINISTRATOR, "Not administrator user")
    reason = _reason(call)
    call.detail["reason"] = reason
    connection.close_session(reason)
    await call.committed(0)
    return no_content()


async def close_of_user(call: Call) -> Answer:
    """Close all connections of a user."""
    if call.path["username"] != call.user.name:
        call.require(Right.ADMINISTRATOR, "Not administrator user")
    reason = _reason(call)
    found = _of_user(call)
    call.detail |= {"reason": reason, "connections": len(found)}
    for connection in found:
        connection.close_session(reason)
    await call.committed(0)
    return no_content()


ROUTES: Final = (
    Route("GET", "/connections", list_all),
    Route("GET", "/connections/{connection}", show),
    Route("DELETE", "/connections/{connection}", close, action="connection.closed"),
    Route("GET", "/connections/username/{username}", list_of_user),
    Route("DELETE", "/connections/username/{username}", close_of_user, action="connection.closed"),
    Route("GET", "/vhosts/{vhost}/connections", list_of_vhost),
)
