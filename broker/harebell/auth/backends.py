"""The directory of users: who they are, and what they may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Final

from harebell.auth import changes
from harebell.auth.attempts import LoginAttempts
from harebell.auth.password_checks import PasswordChecks
from harebell.auth.passwords import PasswordHash, hash_password, nobodys_hash
from harebell.auth.permissions import Permissions, TopicPermissions
from harebell.content.table import Table
from harebell.ports import AccessControl, Login, User

ADMINISTRATOR: Final = "administrator"
"""The tag of users who may do everything in the HTTP API."""

LOCAL: Final = "<local:"
"""What the names of local administrators begin with, and those of users do not."""

UNIX_PEER: Final = "unix"
"""What the address of a peer on a Unix socket begins with."""

WRONG_CREDENTIALS: Final = "invalid credentials"
NOT_LOOPBACK: Final = "User can only log in via localhost"
NO_CERTIFICATE: Final = "no verified certificate names the peer"
TOO_MANY: Final = "too many failed attempts: the next is looked at in {:.1f} s"

PASSWORD_MECHANISMS: Final = frozenset({"PLAIN", "AMQPLAIN", "BASIC"})
"""Those that bring a password; ``BASIC`` is HTTP's."""

MAX_CONNECTIONS: Final = "max-connections"
MAX_CHANNELS: Final = "max-channels"
USER_LIMITS: Final = (MAX_CONNECTIONS, MAX_CHANNELS)
"""The limits a user can have."""


@dataclass(slots=True)
class UserRecord:
    """One user of the directory.

    Attributes:
        name: the user name.
        tags: management tags, in the order given.
        password: its hash; None if the user cannot log in by password.
        limits: by name (``USER_LIMITS``); negative ones are none.
        permissions: by virtual host.
        topic_permissions: by virtual host and exchange.
    """

    name: str
    tags: tuple[str, ...]
    password: PasswordHash | None
    limits: dict[str, int] = field(default_factory=dict)
    permissions: dict[str, Permissions] = field(default_factory=dict)
    topic_permissions: dict[tuple[str, str], TopicPermissions] = field(default_factory=dict)


class UserDirectory(AccessControl):
    """Users, passwords and permissions held in memory; changes of a node's are journalled (``changes.py``).

    Args:
        loopback_users: names that may log in from this machine only.
        hashing: how new passwords are hashed: unknown users take as long as that.
        attempts: counts and slows down logins.

    Attributes:
        users: by name.
        passwords: verifies passwords.
    """

    def __init__(
        self,
        loopback_users: Iterable[str] = ("guest",),
        hashing: str = "sha256",
        attempts: LoginAttempts | None = None,
    ) -> None:
        self.users: dict[str, UserRecord] = {}
        self.attempts = attempts or LoginAttempts()
        self.passwords = PasswordChecks()
        self._loopback_users = frozenset(loopback_users)
        self._nobody = nobodys_hash(hashing)

    def put_user(self, name: str, password: PasswordHash | None, tags: Iterable[str] = ()) -> UserRecord:
        """Add a user, or give an existing one a new password and tags; permissions and limits stay."""
        record = self.users.get(name)
        if record is None:
            record = UserRecord(name, tuple(tags), password)
            self.users[name] = record
        else:
            record.password = password
            record.tags = tuple(tags)
        return record

    def delete_user(self, name: str) -> bool:
        """Remove a user and everything granted; sessions that last may do nothing more.  False if unknown."""
        return self.users.pop(name, None) is not None

    def set_limits(self, name: str, limits: Table) -> None:
        """Set all limits of a user.

        Raises:
            KeyError: there is no such user.
        """
        self.users[name].limits = {key: value for key, value in limits.items() if isinstance(value, int)}

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

    def clear_topic_permissions(self, name: str, vhost: str, exchange: str | None = None) -> bool:
        """Lift the restriction of keys on a topic exchange, or all in a virtual host; False if none."""
        granted = self.users[name].topic_permissions
        gone = [place for place in granted if place[0] == vhost and exchange in (None, place[1])]
        for place in gone:
            del granted[place]
        return bool(gone)

    def authenticate(self, login: Login, done: Callable[[User | None], None]) -> None:
        """Check a login; an unknown user takes as long as a wrong password.

        ``done`` is called at once if no password has to be hashed slowly, else from the event loop.
        ``login.refusal`` says why a login was refused, for the log and the HTTP API; AMQP clients are all
        told the same.
        """
        if login.mechanism not in PASSWORD_MECHANISMS:
            name = login.certificate_name if login.mechanism == "EXTERNAL" else None
            self._let_in(login, self.users.get(name) if name else None, done)
            return
        attempts = self.attempts
        pause = attempts.pause(login.username, login.peer)
        if pause > 0:
            attempts.slowed(login.protocol)
            login.refusal = TOO_MANY.format(pause)
            done(None)
            return
        record = self.users.get(login.username)
        password = None if record is None else record.password

        def verified(good: bool) -> None:
            # While the password was hashed the user may have gone, or have got another one.
            now = self.users.get(login.username)
            same = now is not None and now is record and now.password == password is not None
            if good and same and login.password:
                self._let_in(login, record, done)
                return
            attempts.failed(login.protocol, login.username, login.peer)
            login.refusal = WRONG_CREDENTIALS
            if password is not None and self._nobody.slow and not password.slow:
                # Else a quick refusal would tell which users have an imported hash, and so exist.
                self.passwords.verify(self._nobody, login.password, source, lambda _: done(None))
                return
            done(None)

        source = f"{login.username}\0{login.peer}"
        self.passwords.verify(password or self._nobody, login.password, source, verified)

    def _let_in(self, login: Login, record: UserRecord | None, done: Callable[[User | None], None]) -> None:
        """Let a user in whose identity is proven, if from this address at all."""
        if record is None:
            login.refusal = WRONG_CREDENTIALS if login.certificate_name else NO_CERTIFICATE
        elif record.name in self._loopback_users and not is_loopback(login.peer):
            login.refusal = NOT_LOOPBACK
        else:
            self.attempts.succeeded(login.protocol, record.name, login.peer)
            done(User(record.name, frozenset(record.tags)))
            return
        self.attempts.failed(login.protocol, login.username, login.peer)
        done(None)

    def renew(self, user: User, secret: bytes, done: Callable[[User | None], None]) -> None:
        """Look a connected user up anew; any secret is fine, since logins by password do not expire."""
        record = self.users.get(user.name)
        done(None if record is None else User(record.name, frozenset(record.tags)))

    def apply(self, kind: str, change: Table) -> Iterable[str]:
        return changes.apply(self, kind, change)

    def changes(self) -> Iterable[tuple[str, Table]]:
        return changes.changes_of(self)

    def forget_vhost(self, vhost: str) -> None:
        for record in self.users.values():
            record.permissions.pop(vhost, None)
            self.clear_topic_permissions(record.name, vhost)

    def limit(self, user: User, name: str) -> int:
        record = self.users.get(user.name)
        return -1 if record is None else record.limits.get(name, -1)

    def may_open(self, user: User, vhost: str) -> bool:
        if user.unlimited:
            return True
        record = self.users.get(user.name)
        return record is not None and vhost in record.permissions

    def allowed(self, user: User, vhost: str, permission: str, name: str) -> bool:
        if user.unlimited:
            return True
        record = self.users.get(user.name)
        if record is None:
            return False
        granted = record.permissions.get(vhost)
        return granted is not None and granted.allow(permission, name)

    def topic_allowed(self, user: User, vhost: str, exchange: str, permission: str, routing_key: str) -> bool:
        """Check a routing key on a topic exchange; any key is fine where none is set for the exchange."""
        if user.unlimited:
            return True
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
    directory.put_user(username, hash_password(password), (ADMINISTRATOR,))
    directory.set_permissions(username, vhost, ".*", ".*", ".*")
    return directory


def local_administrator(uid: int) -> User:
    """Make the identity of who administers the node from its machine, as who has RabbitMQ's Erlang cookie.

    It is in no directory, so nobody logs in as it, and what it may do hangs on the object, not on its name.

    Args:
        uid: the account's, for the audit log.
    """
    return User(f"{LOCAL}{uid}>", frozenset((ADMINISTRATOR,)), unlimited=True)


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
