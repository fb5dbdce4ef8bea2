"""Users: ``/users`` and what belongs to one of them."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error
from typing import Final

from pydantic import Field

from harebell.administration.definitions.reading import read_hash, split_tags
from harebell.administration.users import (
    delete_user,
    get_user,
    list_permissions,
    list_topic_permissions,
    list_users,
    list_users_without_permissions,
    put_user,
)
from harebell.auth.passwords import PasswordHash, hash_password
from harebell.content.table import Table
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.management.answers import Answer, no_content, ok, put
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.listing import answer_list, answer_object
from harebell.management.routing import Right, Route


class UserBody(Body):
    """A user; without a password or its hash nobody logs in with one."""

    tags: str | list[str | int] | None = Field(description="administrator, monitoring, policymaker, ...")
    password: str | None = None
    password_hash: str | None = Field(default=None, description="as /api/definitions and others show it")
    hashing_algorithm: str | None = None


class UsersBody(Body):
    """Names of users."""

    users: list[str]


async def users(call: Call) -> Answer:
    """List the users."""
    return await answer_list(call, list_users(call.admin), _same, name=_name)


async def without_permissions(call: Call) -> Answer:
    """List the users who may open no virtual host."""
    return await answer_list(call, list_users_without_permissions(call.admin), _same, paged=False)


async def user(call: Call) -> Answer:
    """Show a user."""
    return answer_object(call, get_user(call.admin, call.path["user"]))


async def put_one(call: Call) -> Answer:
    """Make a user, or give one another password and other tags."""
    fields = call.json_object()
    if "tags" not in fields:
        raise bad_request("tags_not_present")
    body = call.model(UserBody)
    name = call.path["user"]
    existed = name in call.admin.directory.users
    password = await _password(call, body)
    tags = split_tags(
        [str(tag) for tag in body.tags] if isinstance(body.tags, list) else body.tags or "", _bad_tags
    )
    call.detail["tags"] = list(tags)
    await call.committed(put_user(call.admin, name, password, tags))
    return put(existed)


async def _password(call: Call, body: UserBody) -> PasswordHash | None:
    if body.password is not None and body.password_hash is not None:
        raise bad_request("both_password_and_password_hash_are_provided")
    if body.password:
        octets = body.password.encode("utf-8", "surrogatepass")
        # Hashing well takes tens of milliseconds.
        return await asyncio.to_thread(hash_password, octets, call.admin.settings.auth.password_hashing)
    if not body.password_hash:
        return None
    if not body.password_hash.startswith("$"):
        try:
            b64decode(body.password_hash, validate=True)
        except (Error, ValueError):
            raise bad_request(["not_base64", body.password_hash]) from None
    return read_hash(body.password_hash, body.hashing_algorithm)


def _bad_tags(problem: str) -> BrokerError:
    return BrokerError(PRECONDITION_FAILED, problem)


async def delete_one(call: Call) -> Answer:
    """Delete a user with everything granted, and close the connections of that user."""
    await call.committed(delete_user(call.admin, call.path["user"]))
    return no_content()


async def bulk_delete(call: Call) -> Answer:
    """Delete several users; if one of them is not there nobody is deleted."""
    missing(call.json_object(), ("users",))
    body = call.model(UsersBody)
    names = list(dict.fromkeys(body.users))
    for name in names:
        if name not in call.admin.directory.users:
            raise bad_request(["no_such_user", name])
    call.detail["users"] = names
    await call.committed(max((delete_user(call.admin, name) for name in names), default=0))
    return no_content()


async def permissions(call: Call) -> Answer:
    """List what a user may do in virtual hosts."""
    return ok(list_permissions(call.admin, user=call.path["user"]))


async def topic_permissions(call: Call) -> Answer:
    """List the routing keys a user may use on topic exchanges."""
    return ok(list_topic_permissions(call.admin, user=call.path["user"]))


def _same(row: Table) -> Table:
    return row


def _name(row: Table) -> str:
    return str(row["name"])


ROUTES: Final = (
    Route("GET", "/users", users, Right.ADMINISTRATOR),
    Route("GET", "/users/without-permissions", without_permissions, Right.ADMINISTRATOR),
    Route("POST", "/users/bulk-delete", bulk_delete, Right.ADMINISTRATOR, UsersBody, "users.deleted"),
    Route("GET", "/users/{user}", user, Right.ADMINISTRATOR),
    Route("PUT", "/users/{user}", put_one, Right.ADMINISTRATOR, UserBody, "user.put"),
    Route("DELETE", "/users/{user}", delete_one, Right.ADMINISTRATOR, action="user.deleted"),
    Route("GET", "/users/{user}/permissions", permissions, Right.ADMINISTRATOR),
    Route("GET", "/users/{user}/topic-permissions", topic_permissions, Right.ADMINISTRATOR),
)
