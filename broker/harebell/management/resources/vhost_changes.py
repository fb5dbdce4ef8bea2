"""Virtual hosts: creating, describing, protecting and deleting them."""

from __future__ import annotations

from typing import Final

from harebell.administration.definitions.reading import split_tags
from harebell.administration.vhosts import delete_vhost, find_vhost, protect_vhost, protected, put_vhost
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.management.answers import Answer, no_content, put
from harebell.management.bodies import Body, Bool
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request
from harebell.management.routing import Right, Route


class VhostBody(Body):
    """A virtual host; a description and tags that are left out are taken away."""

    description: str | int | float | None = None
    tags: str | list[str] | None = None
    default_queue_type: str | None = None
    tracing: Bool | None = None
    protected_from_deletion: Bool | None = None
    redeclare: str | None = None


async def put_one(call: Call) -> Answer:
    """Make a virtual host, or describe one anew."""
    fields = call.json_object()
    for flag in ("tracing", "protected_from_deletion"):
        if fields.get(flag) not in (None, True, False, "true", "false"):
            raise bad_request(["not_boolean", fields[flag]])
    body = call.model(VhostBody)
    name = call.path["vhost"]
    existed = name in call.admin.broker.vhosts
    lsn = put_vhost(
        call.admin,
        name,
        description="" if body.description is None else str(body.description),
        tags=split_tags(body.tags or "", _bad_tags),
        default_queue_type=body.default_queue_type,
        tracing=body.tracing,
        protected=body.protected_from_deletion,
        redeclare=body.redeclare,
        creator=call.user.name,
    )
    await call.committed(lsn)
    return put(existed)


def _bad_tags(problem: str) -> BrokerError:
    return BrokerError(PRECONDITION_FAILED, problem)


async def delete_one(call: Call) -> Answer:
    """Delete a virtual host with everything in it, and close the connections to it."""
    name = call.path["vhost"]
    if protected(find_vhost(call.admin, name)):
        raise HttpError(
            412,
            "precondition_failed",
            f"Refusing to delete virtual host '{name}' because it is protected from deletion",
        )
    await call.committed(delete_vhost(call.admin, name))
    return no_content()


async def protect(call: Call) -> Answer:
    """Protect a virtual host from deletion."""
    await call.committed(protect_vhost(call.admin, call.path["vhost"], True))
    return no_content()


async def unprotect(call: Call) -> Answer:
    """Let a virtual host be deleted again."""
    await call.committed(protect_vhost(call.admin, call.path["vhost"], False))
    return no_content()


async def start(call: Call) -> Answer:
    """Start a virtual host on a node: it runs already."""
    node, name = call.path["node"], call.path["vhost"]
    if node != call.admin.host.name:
        raise bad_request(f"Request to node {node} failed with nodedown")
    if name not in call.admin.broker.vhosts:
        raise bad_request(f'Request to node {node} failed with {{no_such_vhost,<<"{name}">>}}')
    return no_content()


_ALL: Final = Right.ADMINISTRATOR
_PROTECTION: Final = "/vhosts/{vhost}/deletion/protection"

ROUTES: Final = (
    Route("PUT", "/vhosts/{vhost}", put_one, _ALL, VhostBody, "vhost.put"),
    Route("DELETE", "/vhosts/{vhost}", delete_one, _ALL, action="vhost.deleted"),
    Route("POST", _PROTECTION, protect, _ALL, action="vhost.protected"),
    Route("DELETE", _PROTECTION, unprotect, _ALL, action="vhost.unprotected"),
    Route("POST", "/vhosts/{vhost}/start/{node}", start, _ALL),
)
