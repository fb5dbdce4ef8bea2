"""Limits of virtual hosts and of users: ``/vhost-limits`` and ``/user-limits``."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from harebell.administration.users import clear_user_limit, list_user_limits, set_user_limit
from harebell.engine.policy_control import clear_vhost_limit, list_vhost_limits, set_vhost_limit
from harebell.management.answers import Answer, no_content
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.listing import answer_list
from harebell.management.resources.policies import need_json
from harebell.management.routing import Right, Route


class LimitBody(Body):
    """One limit; a negative one is none."""

    value: Any = Field(description="a whole number")


async def vhost_limits(call: Call) -> Answer:
    """List the limits of virtual hosts: of all with the tag ``monitoring``, else of those one may see."""
    if "vhost" in call.path:
        vhosts = [call.vhost(watching=True)]
    elif call.has(Right.MONITORING):
        vhosts = list(call.admin.broker.vhosts.values())
    else:
        vhosts = call.visible_vhosts()
    found = [row for vhost in vhosts for row in list_vhost_limits(call.admin.broker, vhost.name)]
    return await answer_list(call, found, lambda row: row, paged=False)


async def put_vhost_limit(call: Call) -> Answer:
    """Set a limit of a virtual host: ``max-queues`` or ``max-connections``."""
    vhost = call.vhost()
    value = _value(call)
    await call.committed(set_vhost_limit(call.admin.broker, vhost.name, call.path["limit"], value))
    return no_content()


def _value(call: Call) -> object:
    need_json(call)
    fields = call.json_object()
    missing(fields, ("value",))
    call.detail["value"] = fields["value"]
    return fields["value"]


async def delete_vhost_limit(call: Call) -> Answer:
    """Lift a limit of a virtual host; one that is not set is fine."""
    vhost = call.vhost()
    await call.committed(clear_vhost_limit(call.admin.broker, vhost.name, call.path["limit"]))
    return no_content()


async def user_limits(call: Call) -> Answer:
    """List the limits of users."""
    found = list_user_limits(call.admin, call.path.get("user"))
    return await answer_list(call, found, lambda row: row, paged=False)


async def put_user_limit(call: Call) -> Answer:
    """Set a limit of a user: ``max-connections`` or ``max-channels``."""
    value = _value(call)
    name = call.path["user"]
    if name not in call.admin.directory.users:
        raise bad_request(["no_such_user", name])
    await call.committed(set_user_limit(call.admin, name, call.path["limit"], value))
    return no_content()


async def delete_user_limit(call: Call) -> Answer:
    """Lift a limit of a user; one that is not set is fine."""
    await call.committed(clear_user_limit(call.admin, call.path["user"], call.path["limit"]))
    return no_content()


_OF_VHOST: Final = "/vhost-limits/{vhost}/{limit}"
_OF_USER: Final = "/user-limits/{user}/{limit}"
_ALL: Final = Right.ADMINISTRATOR

ROUTES: Final = (
    Route("GET", "/vhost-limits", vhost_limits),
    Route("GET", "/vhost-limits/{vhost}", vhost_limits),
    Route("PUT", _OF_VHOST, put_vhost_limit, _ALL, LimitBody, "vhost.limits.set"),
    Route("DELETE", _OF_VHOST, delete_vhost_limit, _ALL, action="vhost.limits.cleared"),
    Route("GET", "/user-limits", user_limits),
    Route("GET", "/user-limits/{user}", user_limits),
    Route("PUT", _OF_USER, put_user_limit, _ALL, LimitBody, "user.limits.set"),
    Route("DELETE", _OF_USER, delete_user_limit, _ALL, action="user.limits.cleared"),
)
