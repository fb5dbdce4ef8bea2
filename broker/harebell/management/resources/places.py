"""What paths name: exchanges, queues, connections."""

from __future__ import annotations

from typing import Final

from harebell.amqp.connection import Connection
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.routing import Right

DEFAULT_EXCHANGE: Final = "amq.default"
"""What paths call the default exchange."""

NO_OBJECT_ACCESS: Final = "User not authorised to access object"


def exchange_name(call: Call, segment: str = "name") -> str:
    """Give the name of the exchange that a segment of the path names."""
    name = call.path[segment]
    return "" if name == DEFAULT_EXCHANGE else name


def find_exchange(call: Call, vhost: Vhost, segment: str = "name") -> Exchange:
    """Find an exchange; the default one is none that can be found.

    Raises:
        HttpError: 404.
    """
    found = vhost.exchanges.get(exchange_name(call, segment))
    if found is None:
        raise not_found()
    return found


def find_queue(call: Call, vhost: Vhost) -> Queue:
    """Find a queue.

    Raises:
        HttpError: 404.
    """
    found = vhost.queues.get(call.path["name"])
    if found is None:
        raise not_found()
    return found


def connections(call: Call) -> list[Connection]:
    """List the open connections the user may see: all of them with ``monitoring``, else his own."""
    sessions = call.admin.broker.sessions
    found = list(sessions) if call.has(Right.MONITORING) else sessions.of(call.user.name)
    return [session for session in found if isinstance(session, Connection)]


def find_connection(call: Call) -> Connection:
    """Find a connection by name.

    Raises:
        HttpError: 404; 401 if it is someone else's and the user may see his own only.
    """
    return connection_of(call, call.path["connection"])


def connection_of(call: Call, name: str) -> Connection:
    """Find a connection by the name given.

    Raises:
        HttpError: as ``find_connection`` says.
    """
    for session in call.admin.broker.sessions:
        if isinstance(session, Connection) and session.peer == name:
            if session.user is None or session.user.name != call.user.name:
                call.require(Right.MONITORING, NO_OBJECT_ACCESS)
            return session
    raise not_found()
