"""Routes of the HTTP API, and finding the one a request means.

Paths are matched as they came, before percent-decoding, so that ``%2F`` in a name is no separator; an empty
last segment (a trailing slash) is passed over, as RabbitMQ does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from harebell.management.answers import Answer

if TYPE_CHECKING:
    from harebell.management.calls import Call

Handler = Callable[["Call"], Awaitable[Answer]]


class Right(Enum):
    """What a user must be to call a route; the values are the tags that are enough.

    A virtual host that a path names is looked at by the handler (``Call.vhost``).
    """

    NOBODY = frozenset[str]()
    """Nobody need log in."""
    MANAGEMENT = frozenset({"management", "policymaker", "monitoring", "administrator"})
    POLICYMAKER = frozenset({"policymaker", "administrator"})
    MONITORING = frozenset({"monitoring", "administrator"})
    ADMINISTRATOR = frozenset({"administrator"})


REFUSALS = {
    Right.MANAGEMENT: "Not management user",
    Right.POLICYMAKER: "Not policymaker user",
    Right.MONITORING: "Not monitor user",
    Right.ADMINISTRATOR: "Not administrator user",
}
"""What is answered, with 401, to a user who is less."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        method: ``GET``, ``PUT``, ``PATCH``, ``POST`` or ``DELETE``; ``HEAD`` comes with ``GET``.
        path: below ``/api``, with names for segments: ``/queues/{vhost}/{name}``.
        handler: answers; the first line of its docstring describes the route in the API's description.
        right: what the caller must be.
        body: model of the JSON body the handler reads with ``Call.model``; None if it takes none or any.
        action: what the audit log calls it when it is done (``queue.purged``); empty: nothing.
        large: whether bodies of more than a mebibyte are taken, such as definitions and payloads.
    """

    method: str
    path: str
    handler: Handler
    right: Right = Right.MANAGEMENT
    body: type[BaseModel] | None = None
    action: str = ""
    large: bool = False


@dataclass(slots=True)
class _Node:
    """One segment of paths."""

    fixed: dict[str, _Node]
    named: _Node | None
    routes: dict[str, tuple[Route, tuple[str, ...]]]


class Router:
    """Finds routes.

    Raises:
        ValueError: two routes are the same.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node({}, None, {})
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        names: list[str] = []
        for segment in split(route.path):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.named = node.named or _Node({}, None, {})
                node = node.named
            else:
                node = node.fixed.setdefault(segment, _Node({}, None, {}))
        if route.method in node.routes:
            raise ValueError(f"{route.method} {route.path} is routed twice")
        node.routes[route.method] = (route, tuple(names))

    def find(self, path: str) -> tuple[dict[str, tuple[Route, tuple[str, ...]]], list[str]] | None:
        """Find the routes of a path by method, and the values of its named segments, in order.

        Fixed segments go before named ones.

        Args:
            path: below ``/api``, still encoded.
        """
        segments = split(path)
        if "" in segments:
            return None
        return _search(self._root, [decode_segment(segment) for segment in segments], 0, [])


def _search(
    node: _Node, segments: list[str], at: int, values: list[str]
) -> tuple[dict[str, tuple[Route, tuple[str, ...]]], list[str]] | None:
    if at == len(segments):
        return (node.routes, values) if node.routes else None
    fixed = node.fixed.get(segments[at])
    if fixed is not None:
        found = _search(fixed, segments, at + 1, values)
        if found is not None:
            return found
    if node.named is not None:
        return _search(node.named, segments, at + 1, [*values, segments[at]])
    return None


def split(path: str) -> list[str]:
    """Split a path into segments, without the trailing slash."""
    segments = path.split("/")[1:]
    if segments and segments[-1] == "":
        segments.pop()
    return segments


def decode_segment(segment: str) -> str:
    """Decode ``%XX``; octets that are no UTF-8 are kept as AMQP names keep them."""
    octets = unquote_to_bytes(segment.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")
