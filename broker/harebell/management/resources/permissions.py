"""What users may do in virtual hosts: ``/permissions`` and ``/topic-permissions``."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from harebell.administration.users import (
    clear_permissions,
    clear_topic_permissions,
    get_permissions,
    list_permissions,
    list_topic_permissions,
    set_permissions,
    set_topic_permissions,
)
from harebell.errors import NOT_FOUND, BrokerError
from harebell.management.answers import Answer, no_content, put
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.errors import bad_request, not_found
from harebell.management.listing import answer_list, answer_object
from harebell.management.routing import Right, Route


class PermissionsBody(Body):
    """Regular expressions on names of exchanges and queues; an empty one matches nothing."""

    configure: str
    write: str
    read: str


class TopicPermissionsBody(Body):
    """Regular expressions on routing keys."""

    exchange: str = Field(max_length=255, description="a topic exchange")
    write: str
    read: str


async def permissions(call: Call) -> Answer:
    """List what users may do in virtual hosts."""
    return await answer_list(call, list_permissions(call.admin), lambda row: row, paged=False)


async def permissions_in_vhost(call: Call) -> Answer:
    """List what users may do in one virtual host."""
    found = list_permissions(call.admin, call.path["vhost"])
    return await answer_list(call, found, lambda row: row, paged=False)


async def permission(call: Call) -> Answer:
    """Show what a user may do in a virtual host."""
    return answer_object(call, get_permissions(call.admin, call.path["vhost"], call.path["user"]))


async def put_permission(call: Call) -> Answer:
    """Set what a user may do in a virtual host."""
    missing(call.json_object(), ("configure", "write", "read"))
    body = call.model(PermissionsBody)
    vhost, user = call.path["vhost"], call.path["user"]
    record = call.admin.directory.users.get(user)
    existed = record is not None and vhost in record.permissions
    call.detail.update(body.model_dump())
    try:
        lsn = set_permissions(call.admin, vhost, user, body.configure, body.write, body.read)
    except BrokerError as error:
        raise _refused(error) from None
    await call.committed(lsn)
    return put(existed)


def _refused(error: BrokerError) -> Exception:
    """Give what RabbitMQ answers where the virtual host or the user is missing."""
    return bad_request("vhost_or_user_not_found") if error.row is NOT_FOUND else error


async def delete_permission(call: Call) -> Answer:
    """Take a user's permissions in a virtual host."""
    await call.committed(clear_permissions(call.admin, call.path["vhost"], call.path["user"]))
    return no_content()


async def topic_permissions(call: Call) -> Answer:
    """List the routing keys users may use on topic exchanges."""
    return await answer_list(call, list_topic_permissions(call.admin), lambda row: row, paged=False)


async def topic_permissions_in_vhost(call: Call) -> Answer:
    """List the routing keys users may use on the topic exchanges of one virtual host."""
    found = list_topic_permissions(call.admin, call.path["vhost"])
    return await answer_list(call, found, lambda row: row, paged=False)


async def topic_permissions_of_user(call: Call) -> Answer:
    """List the routing keys a user may use on topic exchanges of a virtual host: on all, as RabbitMQ."""
    found = list_topic_permissions(call.admin, call.path["vhost"], call.path["user"])
    if not found:
        raise not_found()
    return await answer_list(call, found, lambda row: row, paged=False)


async def put_topic_permission(call: Call) -> Answer:
    """Set the routing keys a user may use on a topic exchange, which may come later."""
    missing(call.json_object(), ("exchange", "write", "read"))
    body = call.model(TopicPermissionsBody)
    vhost, user = call.path["vhost"], call.path["user"]
    record = call.admin.directory.users.get(user)
    existed = record is not None and any(place[0] == vhost for place in record.topic_permissions)
    call.detail.update(body.model_dump())
    try:
        lsn = set_topic_permissions(call.admin, vhost, user, body.exchange, body.write, body.read)
    except BrokerError as error:
        raise _refused(error) from None
    await call.committed(lsn)
    return put(existed)


async def delete_topic_permissions(call: Call) -> Answer:
    """Let a user use any routing key on all topic exchanges of a virtual host, or on one."""
    exchange = call.path.get("exchange")
    await call.committed(clear_topic_permissions(call.admin, call.path["vhost"], call.path["user"], exchange))
    return no_content()


_PERMISSION: Final = "/permissions/{vhost}/{user}"
_TOPIC: Final = "/topic-permissions/{vhost}/{user}"
_ONE_TOPIC: Final = _TOPIC + "/{exchange}"
_ALL: Final = Right.ADMINISTRATOR

ROUTES: Final = (
    Route("GET", "/permissions", permissions, _ALL),
    Route("GET", "/vhosts/{vhost}/permissions", permissions_in_vhost, _ALL),
    Route("GET", _PERMISSION, permission, _ALL),
    Route("PUT", _PERMISSION, put_permission, _ALL, PermissionsBody, "permission.created"),
    Route("DELETE", _PERMISSION, delete_permission, _ALL, action="permission.deleted"),
    Route("GET", "/topic-permissions", topic_permissions, _ALL),
    Route("GET", "/vhosts/{vhost}/topic-permissions", topic_permissions_in_vhost, _ALL),
    Route("GET", _TOPIC, topic_permissions_of_user, _ALL),
    Route("PUT", _TOPIC, put_topic_permission, _ALL, TopicPermissionsBody, "topic.permission.created"),
    Route("DELETE", _TOPIC, delete_topic_permissions, _ALL, action="topic.permission.deleted"),
    Route("GET", _ONE_TOPIC, topic_permissions_of_user, _ALL),
    Route("PUT", _ONE_TOPIC, put_topic_permission, _ALL, TopicPermissionsBody, "topic.permission.created"),
    Route("DELETE", _ONE_TOPIC, delete_topic_permissions, _ALL, action="topic.permission.deleted"),
)
