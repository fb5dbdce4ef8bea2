"""One request to the HTTP API, as handlers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from harebell.administration.administration import Administration
from harebell.engine.topology import Caller
from harebell.engine.vhost import Vhost
from harebell.management.errors import bad_request, not_authorised, not_found, vhost_not_found
from harebell.management.queries import Query
from harebell.management.routing import Right, Route
from harebell.ports import User

if TYPE_CHECKING:
    from harebell.statistics.statistics import Statistics

Model = TypeVar("Model", bound=BaseModel)

NO_VHOST_ACCESS = "User not authorised to access virtual host"

REASONS_SHOWN = 5
"""Mistakes in a body that are named; one is enough to mend the first."""


class Call:
    """One authenticated request.

    Args:
        admin: the node.
        statistics: shows objects.
        route: what was found.
        path: values of the path's named segments, decoded.
        query: what follows the question mark.
        headers: by name in lower case.
        body: what was sent.
        user: who asks; None only where nobody need log in.
        peer: address the request came from.

    Attributes:
        detail: what else the audit log shall say of it.
    """

    __slots__ = (
        "_user",
        "admin",
        "body",
        "detail",
        "headers",
        "path",
        "peer",
        "query",
        "route",
        "statistics",
    )

    def __init__(
        self,
        admin: Administration,
        statistics: Statistics,
        route: Route,
        path: dict[str, str],
        query: Query,
        headers: dict[str, str],
        body: bytes,
        user: User | None,
        peer: str,
    ) -> None:
        self.admin = admin
        self.statistics = statistics
        self.route = route
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self._user = user
        self.peer = peer
        self.detail: dict[str, object] = {}

    @property
    def user(self) -> User:
        """Who asks.

        Raises:
            RuntimeError: the route lets anybody in.
        """
        if self._user is None:
            raise RuntimeError(f"{self.route.path} asks for no login")
        return self._user

    def has(self, right: Right) -> bool:
        """Tell whether the user is that much."""
        return not right.value or not right.value.isdisjoint(self.user.tags)

    def require(self, right: Right, reason: str) -> None:
        """Check for more than the route asks.

        Raises:
            HttpError: 401.
        """
        if not self.has(right):
            raise not_authorised(reason)

    def vhost(self, name: str | None = None, *, watching: bool = False) -> Vhost:
        """Give the virtual host of the path (or another one), which the user must have permissions in.

        Administrators may look at all of them; what they may do there is up to their permissions.

        Args:
            name: another one than the path's.
            watching: whether the tag ``monitoring`` is enough.

        Raises:
            HttpError: 404 if there is none; 401.
        """
        wanted = self.path["vhost"] if name is None else name
        found = self.admin.broker.vhosts.get(wanted)
        if found is None:
            if self.route.method in ("PUT", "PATCH", "POST"):
                raise vhost_not_found()
            raise not_found()
        if not self.sees(wanted) and not (watching and self.has(Right.MONITORING)):
            raise not_authorised(NO_VHOST_ACCESS)
        return found

    def sees(self, vhost: str) -> bool:
        """Tell whether the user may look at a virtual host."""
        return self.has(Right.ADMINISTRATOR) or self.admin.broker.access.may_open(self.user, vhost)

    def visible_vhosts(self) -> list[Vhost]:
        """List the virtual hosts the user may look at, by name."""
        vhosts = self.admin.broker.vhosts
        return [vhosts[name] for name in sorted(vhosts) if self.sees(name)]

    def caller(self, vhost: Vhost) -> Caller:
        """Act on a virtual host as the user, through ``engine/topology.py``."""
        return Caller(self.admin.broker, vhost, self.user, 0)

    def json(self) -> object:
        """Decode the body; an empty one is an empty object.

        Raises:
            HttpError: 400.
        """
        if not self.body:
            return {}
        try:
            value: object = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise bad_request("not_json") from None
        return value

    def json_object(self) -> dict[str, object]:
        """Decode the body, which must be an object.

        Raises:
            HttpError: 400.
        """
        value = self.json()
        if not isinstance(value, dict):
            raise bad_request("not_json")
        return value

    def model(self, model: type[Model]) -> Model:
        """Decode and check the body.

        Raises:
            HttpError: 400 that says what is wrong.
        """
        try:
            return model.model_validate(self.json_object())
        except ValidationError as error:
            raise bad_request(_said(error)) from None

    async def committed(self, lsn: int) -> None:
        """Let a change take effect and wait until it is on stable storage; 0 waits for nothing."""
        self.admin.host.turn()
        if lsn:
            await self.admin.host.durable(lsn)


def _said(error: ValidationError) -> str:
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    parts = [
        f"{'.'.join(map(str, mistake['loc'])) or 'body'}: {mistake['msg']}"
        for mistake in mistakes[:REASONS_SHOWN]
    ]
    return "; ".join(parts)
