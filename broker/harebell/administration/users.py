"""Users, their tags, permissions and limits: setting, clearing and listing them.

Shown as in RabbitMQ's HTTP API.  Operations that change something return the lsn their answer waits for;
whether the caller may do so is for the caller to check.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from harebell.administration.administration import Administration
from harebell.auth import changes
from harebell.auth.backends import LOCAL, USER_LIMITS, UserRecord
from harebell.auth.passwords import SHA256, PasswordHash, decode_hash
from harebell.auth.permissions import Permissions, TopicPermissions
from harebell.content.table import Table
from harebell.engine.commands import ChangeAccess
from harebell.engine.erlang_terms import pairs, term
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError

MAX_NAME: Final = 255
"""Octets of a user's name."""

LARGEST_LIMIT: Final = 2**63 - 1


def put_user(admin: Administration, name: str, password: PasswordHash | None, tags: Iterable[str]) -> int:
    """Add a user, or give an existing one another password and other tags; the rest of it stays.

    Args:
        password: None for one who cannot log in by password.
        tags: such as ``administrator``; any text is one.

    Raises:
        BrokerError: PRECONDITION_FAILED for a name or a tag that cannot be one.
    """
    tags = tuple(dict.fromkeys(tags))
    check_name(name)
    _check_text(*tags)
    return _commit(admin, changes.put_user(name, password, tags))


def check_name(name: str) -> None:
    """Check the name of a user.

    Raises:
        BrokerError: PRECONDITION_FAILED; those of local administrators would mislead who reads the audit log.
    """
    _check_text(name)
    if not 0 < len(name.encode()) <= MAX_NAME:
        raise BrokerError(PRECONDITION_FAILED, f"a user name has 1 to {MAX_NAME} bytes")
    if name.startswith(LOCAL):
        raise BrokerError(PRECONDITION_FAILED, f"a user name does not begin with '{LOCAL}'")


def read_password_hash(encoded: str, algorithm: str = SHA256) -> PasswordHash | None:
    """Read the hash of a user as the HTTP API and definitions carry it; empty for no password.

    Raises:
        BrokerError: PRECONDITION_FAILED if it cannot be one.
    """
    return decode_hash(encoded, algorithm) if encoded else None


def delete_user(admin: Administration, name: str) -> int:
    """Remove a user with everything granted, and close the connections of that user.

    Raises:
        BrokerError: NOT_FOUND.
    """
    _user(admin, name)
    lsn = _commit(admin, changes.delete_user(name))
    for session in admin.broker.sessions.of(name):
        session.close_session(f"user '{name}' is deleted")
    return lsn


def get_user(admin: Administration, name: str) -> Table:
    """Show one user.

    Raises:
        BrokerError: NOT_FOUND.
    """
    return _shown(_user(admin, name))


def list_users(admin: Administration) -> list[Table]:
    """Show all users, by name."""
    return [_shown(record) for _, record in sorted(admin.directory.users.items())]


def list_users_without_permissions(admin: Administration) -> list[Table]:
    """Show the users who may open no virtual host."""
    users = sorted(admin.directory.users.items())
    return [_shown(record) for _, record in users if not record.permissions]


def _shown(record: UserRecord) -> Table:
    password = record.password
    return {
        "name": record.name,
        "password_hash": "" if password is None else password.encode(),
        "hashing_algorithm": SHA256 if password is None else password.algorithm,
        "tags": list(record.tags),
        "limits": dict(record.limits),
    }


def set_permissions(
    admin: Administration, vhost: str, user: str, configure: str, write: str, read: str
) -> int:
    """Let a user configure, write to and read from what the three expressions match in a virtual host.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user; PRECONDITION_FAILED for what is no regular
            expression.
    """
    _check_place(admin, vhost, user)
    _check_text(configure, write, read)
    Permissions(configure, write, read)
    return _commit(admin, changes.set_permissions(user, vhost, configure, write, read))


def clear_permissions(admin: Administration, vhost: str, user: str) -> int:
    """Take a user's permissions in a virtual host; connections stay, and are refused what they ask for.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user, or if there are none.
    """
    get_permissions(admin, vhost, user)
    return _commit(admin, changes.clear_permissions(user, vhost))


def get_permissions(admin: Administration, vhost: str, user: str) -> Table:
    """Show a user's permissions in a virtual host.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user, or if there are none.
    """
    record = _check_place(admin, vhost, user)
    if vhost not in record.permissions:
        raise BrokerError(NOT_FOUND, f"user '{user}' has no permissions in vhost '{vhost}'")
    return _shown_permissions(record, vhost)


def list_permissions(admin: Administration, vhost: str | None = None, user: str | None = None) -> list[Table]:
    """List permissions, of one virtual host, one user, or all.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user.
    """
    return [
        _shown_permissions(record, place)
        for record in _users(admin, vhost, user)
        for place in record.permissions
        if vhost in (None, place)
    ]


def _shown_permissions(record: UserRecord, vhost: str) -> Table:
    configure, write, read = record.permissions[vhost].texts()
    return {"user": record.name, "vhost": vhost, "configure": configure, "write": write, "read": read}


def set_topic_permissions(
    admin: Administration, vhost: str, user: str, exchange: str, write: str, read: str
) -> int:
    """Restrict the routing keys a user publishes and binds with on a topic exchange, which may come later.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user; PRECONDITION_FAILED for what is no regular
            expression.
    """
    _check_place(admin, vhost, user)
    _check_text(exchange, write, read)
    TopicPermissions(write, read, user, vhost)
    return _commit(admin, changes.set_topic_permissions(user, vhost, exchange, write, read))


def clear_topic_permissions(admin: Administration, vhost: str, user: str, exchange: str | None = None) -> int:
    """Lift the restriction on one exchange, or all of a user's in a virtual host; a missing one is fine.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user, or if the user has none there at all.
    """
    if not list_topic_permissions(admin, vhost, user):
        raise BrokerError(NOT_FOUND, f"user '{user}' has no topic permissions in vhost '{vhost}'")
    return _commit(admin, changes.clear_topic_permissions(user, vhost, exchange))


def list_topic_permissions(
    admin: Administration, vhost: str | None = None, user: str | None = None
) -> list[Table]:
    """List topic permissions, of one virtual host, one user, or all.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or user.
    """
    listed: list[Table] = []
    for record in _users(admin, vhost, user):
        for (place, exchange), granted in record.topic_permissions.items():
            if vhost in (None, place):
                write, read = granted.texts()
                listed.append(
                    {"user": record.name, "vhost": place, "exchange": exchange, "write": write, "read": read}
                )
    return listed


def set_user_limits(admin: Administration, user: str, limits: object) -> int:
    """Set all limits of a user; those not named are lifted, and a negative one is no limit.

    Args:
        limits: ``max-connections``, ``max-channels``, both or neither.

    Raises:
        BrokerError: NOT_FOUND without such a user; PRECONDITION_FAILED, in RabbitMQ's words, otherwise.
    """
    _user(admin, user)
    known = check_user_limits(limits)
    return _commit(admin, changes.set_limits(user, known))


def check_user_limits(limits: object) -> dict[str, int]:
    """Check the limits of a user, and give them in order.

    Raises:
        BrokerError: PRECONDITION_FAILED, in RabbitMQ's words.
    """
    if not isinstance(limits, dict):
        raise BrokerError(PRECONDITION_FAILED, "user limits are an object with names and numbers")
    for name, value in limits.items():
        if name not in USER_LIMITS:
            raise BrokerError(
                PRECONDITION_FAILED, f"Unrecognised terms {pairs({name: value})} in user-limits"
            )
        if type(value) is not int or abs(value) > LARGEST_LIMIT:
            raise BrokerError(PRECONDITION_FAILED, f"{name} should be a number, actually was {term(value)}")
    return {name: limits[name] for name in sorted(limits)}


def set_user_limit(admin: Administration, user: str, name: str, value: object) -> int:
    """Set one limit of a user and leave the other; errors as for :func:`set_user_limits`."""
    return set_user_limits(admin, user, {**_user(admin, user).limits, name: value})


def clear_user_limit(admin: Administration, user: str, name: str) -> int:
    """Lift one limit of a user; one that is not set is fine.

    Raises:
        BrokerError: NOT_FOUND without such a user.
    """
    limits = _user(admin, user).limits
    if name not in limits:
        return 0
    return _commit(admin, changes.set_limits(user, {key: limits[key] for key in limits if key != name}))


def list_user_limits(admin: Administration, user: str | None = None) -> list[Table]:
    """List the limits of one user, or of all who have any.

    Raises:
        BrokerError: NOT_FOUND without such a user.
    """
    records = _users(admin, None, user)
    return [{"user": one.name, "value": dict(one.limits)} for one in records if one.limits]


def login_attempts(admin: Administration) -> list[Table]:
    """List how many logins there were, by protocol, as RabbitMQ's ``/api/auth/attempts``."""
    return [
        {
            "protocol": protocol,
            "auth_attempts": counts.succeeded + counts.failed,
            "auth_attempts_failed": counts.failed,
            "auth_attempts_succeeded": counts.succeeded,
        }
        for protocol, counts in sorted(admin.directory.attempts.counts.items())
    ]


def _commit(admin: Administration, change: changes.Change) -> int:
    return admin.broker.commit(ChangeAccess(*change), durable=True)


def _user(admin: Administration, name: str) -> UserRecord:
    found = admin.directory.users.get(name)
    if found is None:
        raise BrokerError(NOT_FOUND, f"no such user: {name}")
    return found


def _users(admin: Administration, vhost: str | None, user: str | None) -> list[UserRecord]:
    if vhost is not None:
        _check_vhost(admin, vhost)
    if user is not None:
        return [_user(admin, user)]
    return [record for _, record in sorted(admin.directory.users.items())]


def _check_place(admin: Administration, vhost: str, user: str) -> UserRecord:
    _check_vhost(admin, vhost)
    return _user(admin, user)


def _check_vhost(admin: Administration, vhost: str) -> None:
    if vhost not in admin.broker.vhosts:
        raise BrokerError(NOT_FOUND, f"vhost '{vhost}' not found")


def _check_text(*texts: object) -> None:
    """Check that what came as JSON can be written down: it may hold half of a surrogate pair."""
    for text in texts:
        try:
            if not isinstance(text, str):
                raise BrokerError(PRECONDITION_FAILED, "names, tags and expressions are text")
            text.encode()
        except UnicodeEncodeError:
            raise BrokerError(PRECONDITION_FAILED, "names, tags and expressions are Unicode text") from None
