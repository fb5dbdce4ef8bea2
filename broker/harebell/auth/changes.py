"""Every change of the directory of users: its name in the journal and what it takes.

A change is a field table, so that it can be journalled and sent; it was checked by who made it, and applying
one that the journal repeats is no error.  ``changes_of`` lists what makes up a directory, for snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from harebell.auth.passwords import PasswordHash, decode_hash
from harebell.content.table import Table

if TYPE_CHECKING:
    from harebell.auth.backends import UserDirectory, UserRecord

PUT_USER: Final = "put-user"
DELETE_USER: Final = "delete-user"
SET_LIMITS: Final = "set-user-limits"
SET_PERMISSIONS: Final = "set-permissions"
CLEAR_PERMISSIONS: Final = "clear-permissions"
SET_TOPIC_PERMISSIONS: Final = "set-topic-permissions"
CLEAR_TOPIC_PERMISSIONS: Final = "clear-topic-permissions"

Change = tuple[str, Table]
"""A kind and what it takes."""


def put_user(name: str, password: PasswordHash | None, tags: tuple[str, ...]) -> Change:
    """A user comes into being, or has another password and tags; permissions and limits stay."""
    return PUT_USER, {
        "name": name,
        "algorithm": "" if password is None else password.algorithm,
        "hash": "" if password is None else password.encode(),
        "tags": list(tags),
    }


def delete_user(name: str) -> Change:
    """A user goes, with everything granted."""
    return DELETE_USER, {"name": name}


def set_limits(name: str, limits: dict[str, int]) -> Change:
    """The limits of a user are these from now on."""
    return SET_LIMITS, {"name": name, "limits": dict(limits)}


def set_permissions(name: str, vhost: str, configure: str, write: str, read: str) -> Change:
    """A user has these permissions in a virtual host."""
    return SET_PERMISSIONS, {
        "name": name,
        "vhost": vhost,
        "configure": configure,
        "write": write,
        "read": read,
    }


def clear_permissions(name: str, vhost: str) -> Change:
    """A user has no permissions in a virtual host any more."""
    return CLEAR_PERMISSIONS, {"name": name, "vhost": vhost}


def set_topic_permissions(name: str, vhost: str, exchange: str, write: str, read: str) -> Change:
    """A user may use these routing keys only on a topic exchange."""
    return SET_TOPIC_PERMISSIONS, {
        "name": name,
        "vhost": vhost,
        "exchange": exchange,
        "write": write,
        "read": read,
    }


def clear_topic_permissions(name: str, vhost: str, exchange: str | None) -> Change:
    """A user may use any routing key on a topic exchange again; None for all of a virtual host."""
    if exchange is None:
        return CLEAR_TOPIC_PERMISSIONS, {"name": name, "vhost": vhost}
    return CLEAR_TOPIC_PERMISSIONS, {"name": name, "vhost": vhost, "exchange": exchange}


def _put_user(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    encoded = change["hash"]
    password = decode_hash(encoded, change["algorithm"]) if encoded else None
    directory.put_user(change["name"], password, change["tags"])
    return []


def _delete_user(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    record = directory.users.get(change["name"])
    directory.delete_user(change["name"])
    return [] if record is None else list(record.permissions)


def _set_limits(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    directory.set_limits(change["name"], change["limits"])
    return []


def _set_permissions(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    vhost: str = change["vhost"]
    directory.set_permissions(change["name"], vhost, change["configure"], change["write"], change["read"])
    return [vhost]


def _clear_permissions(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    vhost: str = change["vhost"]
    directory.clear_permissions(change["name"], vhost)
    return [vhost]


def _set_topic_permissions(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    vhost: str = change["vhost"]
    directory.set_topic_permissions(
        change["name"], vhost, change["exchange"], change["write"], change["read"]
    )
    return [vhost]


def _clear_topic_permissions(directory: UserDirectory, change: dict[str, Any]) -> list[str]:
    vhost: str = change["vhost"]
    directory.clear_topic_permissions(change["name"], vhost, change.get("exchange"))
    return [vhost]


_APPLY: Final[dict[str, Callable[[UserDirectory, dict[str, Any]], list[str]]]] = {
    PUT_USER: _put_user,
    DELETE_USER: _delete_user,
    SET_LIMITS: _set_limits,
    SET_PERMISSIONS: _set_permissions,
    CLEAR_PERMISSIONS: _clear_permissions,
    SET_TOPIC_PERMISSIONS: _set_topic_permissions,
    CLEAR_TOPIC_PERMISSIONS: _clear_topic_permissions,
}


def apply(directory: UserDirectory, kind: str, change: Table) -> list[str]:
    """Carry out a change, and list the virtual hosts in which permissions are others now.

    Raises:
        KeyError: a kind this version does not know, or a user that is not there.
        BrokerError: PRECONDITION_FAILED for what cannot be: the journal of another version may hold it.
    """
    return _APPLY[kind](directory, dict(change))


def changes_of(directory: UserDirectory) -> Iterator[Change]:
    """List the changes that make up a directory."""
    for record in directory.users.values():
        yield from _changes_of_user(record)


def _changes_of_user(record: UserRecord) -> Iterator[Change]:
    yield put_user(record.name, record.password, record.tags)
    if record.limits:
        yield set_limits(record.name, record.limits)
    for vhost, permissions in record.permissions.items():
        yield set_permissions(record.name, vhost, *permissions.texts())
    for (vhost, exchange), granted in record.topic_permissions.items():
        yield set_topic_permissions(record.name, vhost, exchange, *granted.texts())
