"""The directory of users: who they are, and what they may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Final

from harebell.auth.passwords import PasswordHash, hash_password
from harebell.auth.permissions import Permissions, TopicPermissions
from harebell.content.table import Table
from harebell.ports import AccessControl, Login, User

UNIX_PEER: Final = "unix"
"""What the address of a peer on a Unix socket begins with."""

WRONG_CREDENTIALS: Final = "wrong user name or password"
NOT_LOOPBACK: Final = "User can only log in via localhost"
NO_CERTIFICATE: Final = "no verified certificate names the peer"

PASSWORD_MECHANISMS: Final = frozenset({"PLAIN", "AMQPLAIN"})


@dataclass(slots=True)
class UserRecord:
    """One user of the directory.

    Attributes:
        name: the user name.
        tags: management tags.
        password: its hash; None if the user cannot log in by password.
        permissions: by virtual host.
        topic_permissions: by virtual host and exchange.
    """

    name: str
    tags: frozenset[str]
    password: PasswordHash | None
    permissions: dict[str, Permissions] = field(default_factory=dict)
    topic_permissions: dict[tuple[str, str], TopicPermissions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoginOutcome:
    """The result of an attempt to log in.

    Attributes:
        user: who logged in; None if refused.
        reason: why it was refused, for the log and the HTTP API; AMQP clients are all told the same.
    """

    user: User | None
    reason: str = ""


class UserDirectory(AccessControl):
    """Users, passwords and permissions held in memory.

    Args:
        loopback_users: names that may log in from this machine only.
    """

    def __init__(self, loopback_users: Iterable[str] = ("guest",)) -> None:
        self.users: dict[str, UserRecord] = {}
        self._loopback_users = frozenset(loopback_users)
        self._nobody = hash_password(b"")

    def put_user(self, name: str, password: PasswordHash | None, tags: Iterable[str] = ()) -> UserRecord:
        """Add a user, or give an existing one a new password and tags; permissions stay."""
        record = self.users.get(name)
        if record is None:
            record = UserRecord(name, frozenset(tags), password)
            self.users[name] = record
        else:
            record.password = password
            record.tags = frozenset(tags)
        return record

    def delete_user(self, name: str) -> bool:
        """Remove a user and everything granted; sessions that last may do nothing more.  False if unknown."""
        return self.users.pop(name, None) is not None

    def set_permissions(self, name: str, vhost: str, configure: str, write: str, read: str) -> None:
        """Grant permissions in a virtual host.

        Raises:
            KeyError: there is no such user.
            BrokerError: PRECONDITION_FAILED if one is not a regular expression.
        """
        self.users[name].permissions[vhost] = Permissions(configure, write, read)

    def clear_permissions(self, name: str, vhost: str) -> bool:
        """Take a user's permissions in a virtual host; False if there were none."""
        return self.users[name].permissions.pop(vhost, None) is not None

    def set_topic_permissions(self, name: str, vhost: str, exchange: str, write: str, read: str) -> None:
        """Restrict routing keys on a topic exchange.

        Raises:
            KeyError: there is no such user.
            BrokerError: PRECONDITION_FAILED if one is not a regular expression.
        """
        granted = TopicPermissions(write, read, name, vhost)
        self.users[name].topic_permissions[(vhost, exchange)] = granted

    def clear_topic_permissions(self, name: str, vhost: str, exchange: str) -> bool:
        """Lift the restriction of routing keys on a topic exchange; False if there was none."""
        return self.users[name].topic_permissions.pop((vhost, exchange), None) is not None

    def check(self, login: Login) -> LoginOutcome:
        """Check a login; an unknown user takes as long as a wrong password."""
        if login.mechanism in PASSWORD_MECHANISMS:
            record = self.users.get(login.username)
            known = record is not None and record.password is not None
            password = record.password if record is not None and record.password is not None else self._nobody
            if not password.verify(login.password) or not known or not login.password:
                return LoginOutcome(None, WRONG_CREDENTIALS)
        elif login.mechanism == "EXTERNAL" and login.certificate_name:
            record = self.users.get(login.certificate_name)
        else:
            return LoginOutcome(None, NO_CERTIFICATE)
        if record is None:
            return LoginOutcome(None, WRONG_CREDENTIALS)
        if record.name in self._loopback_users and not is_loopback(login.peer):
            return LoginOutcome(None, NOT_LOOPBACK)
        return LoginOutcome(User(record.name, record.tags))

    def authenticate(self, login: Login, done: Callable[[User | None], None]) -> None:
        done(self.check(login).user)

    def apply(self, kind: str, change: Table) -> None:
        raise NotImplementedError

    def changes(self) -> Iterable[tuple[str, Table]]:
        return ()

    def forget_vhost(self, vhost: str) -> None:
        for record in self.users.values():
            record.permissions.pop(vhost, None)

    def may_open(self, user: User, vhost: str) -> bool:
        record = self.users.get(user.name)
        return record is not None and vhost in record.permissions

    def allowed(self, user: User, vhost: str, permission: str, name: str) -> bool:
        record = self.users.get(user.name)
        if record is None:
            return False
        granted = record.permissions.get(vhost)
        return granted is not None and granted.allow(permission, name)

    def topic_allowed(self, user: User, vhost: str, exchange: str, permission: str, routing_key: str) -> bool:
        """Check a routing key on a topic exchange; any key is fine where none is set for the exchange."""
        record = self.users.get(user.name)
        if record is None:
            return False
        granted = record.topic_permissions.get((vhost, exchange))
        return granted is None or granted.allow(permission, routing_key)


def default_directory(
    username: str = "guest",
    password: bytes = b"guest",
    vhost: str = "/",
    loopback_users: Iterable[str] = ("guest",),
) -> UserDirectory:
    """Make a directory with one administrator who may do everything in one virtual host."""
    directory = UserDirectory(loopback_users)
    directory.put_user(username, hash_password(password), ("administrator",))
    directory.set_permissions(username, vhost, ".*", ".*", ".*")
    return directory


def is_loopback(peer: str) -> bool:
    """Tell whether a peer's address is one of this machine: 127.0.0.0/8, ::1, or a Unix socket.

    It is the peer's address that counts, never the listener's: behind a proxy on another machine nobody
    is local.

    Args:
        peer: an IP address as text, or ``unix`` with or without a path after a colon.
    """
    if peer == UNIX_PEER or peer.startswith(UNIX_PEER + ":"):
        return True
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
