"""What definitions hold, object by object: how each is checked, compared with what is there, and applied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from harebell.administration.administration import Administration
from harebell.content.table import Table, encode_table
from harebell.engine.erlang_terms import term
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.registry import create
from harebell.engine.topology import Caller
from harebell.engine.vhost import PREDECLARED
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError, MalformedContent
from harebell.ports import User

ADD: Final = "add"
CHANGE: Final = "change"
KEEP: Final = "keep"
"""It is there and differs, and cannot be changed: it stays as it is."""
SKIP: Final = "skip"
"""It cannot be made: what it needs is not there."""

IMPORTER: Final = User("definitions", frozenset())


class Difference(NamedTuple):
    """What importing one object would do.

    Attributes:
        kind: ``queue``, ``binding``, ``user``, ...
        label: the object, for people.
        action: ``add``, ``change``, ``keep`` or ``skip``.
        detail: in what it differs from what is there, or why it is passed over.
    """

    kind: str
    label: str
    action: str
    detail: str = ""


class Unrestricted(Caller):
    """Declares what definitions hold: who may import them may do so whatever the permissions say."""

    __slots__ = ()

    def require(self, permission: str, kind: str, name: str) -> None:
        """Allow it."""


@dataclass(slots=True)
class Known:
    """What will be there once the objects checked so far are imported.

    Attributes:
        admin: the node.
        users, vhosts: names from the definitions.
        exchanges: from the definitions, by virtual host and name, to check bindings with.
        queues: from the definitions.
        limits: most queues of virtual hosts, as the definitions set them; negative is no limit.
        default_types: default queue types, as the definitions set them.
        added: how many queues each virtual host gets.
    """

    admin: Administration
    users: set[str] = field(default_factory=set)
    vhosts: set[str] = field(default_factory=set)
    exchanges: dict[tuple[str, str], Exchange] = field(default_factory=dict)
    queues: set[tuple[str, str]] = field(default_factory=set)
    limits: dict[str, int] = field(default_factory=dict)
    default_types: dict[str, str] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)

    def need_vhost(self, name: str) -> None:
        """Check that there is, or will be, a virtual host.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        if name not in self.vhosts and name not in self.admin.broker.vhosts:
            raise BrokerError(PRECONDITION_FAILED, f"there is no virtual host '{name}'")

    def need_user(self, name: str) -> None:
        """Check that there is, or will be, a user.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        if name not in self.users and name not in self.admin.directory.users:
            raise BrokerError(PRECONDITION_FAILED, f"there is no user '{name}'")

    def exchange(self, vhost: str, name: str) -> Exchange | None:
        """Give an exchange that is there, or one like that which will be."""
        there = self.admin.broker.vhosts.get(vhost)
        found = None if there is None else there.exchanges.get(name)
        return found or self.exchanges.get((vhost, name)) or predeclared(name)

    def has_queue(self, vhost: str, name: str) -> bool:
        """Tell whether a queue is there or will be."""
        there = self.admin.broker.vhosts.get(vhost)
        return (there is not None and name in there.queues) or (vhost, name) in self.queues


class Entry(ABC):
    """One object of definitions.

    Attributes:
        kind: what it is.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """Name the object, for people: ``queue 'orders' in virtual host '/'``."""

    def unknown(self, known: Known) -> list[str]:
        """Name what in it is not known here, as what plugins of RabbitMQ bring: ``exchange type 'x-lvc'``."""
        return []

    def known_part(self) -> Entry | None:
        """Give what is left of it without that; None for nothing."""
        return None

    @abstractmethod
    def check(self, known: Known) -> None:
        """Check what can be checked before anything is imported, and note that the object will be there.

        Raises:
            BrokerError: it cannot be imported.
        """

    @abstractmethod
    def difference(self, known: Known) -> tuple[str, str] | None:
        """Give what importing it would do and why (see ``Difference``); None for nothing."""

    @abstractmethod
    def apply(self, admin: Administration) -> int:
        """Make what is there like it; called if that differs.  Returns the lsn to wait for.

        Raises:
            BrokerError: it cannot be made after all.
        """


def in_vhost(kind: str, name: str, vhost: str) -> str:
    """Name an object of a virtual host."""
    return f"{kind} '{name}' in virtual host '{vhost}'"


def unrestricted(admin: Administration, vhost: str) -> Unrestricted:
    """Act on a virtual host as who imports definitions.

    Raises:
        BrokerError: NOT_FOUND if it is gone.
    """
    found = admin.broker.vhosts.get(vhost)
    if found is None:
        raise BrokerError(NOT_FOUND, f"vhost '{vhost}' not found")
    return Unrestricted(admin.broker, found, IMPORTER, 0)


def changed(*pairs: tuple[str, object, object]) -> str:
    """Say which of some properties differ: name, what is there, what the definitions say."""
    return "; ".join(f"{what} is {term(now)}, not {term(then)}" for what, now, then in pairs if now != then)


def sendable(arguments: Table) -> None:
    """Check that arguments can be sent and journalled.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    try:
        encode_table(arguments)
    except (MalformedContent, UnicodeEncodeError, OverflowError) as error:
        raise BrokerError(PRECONDITION_FAILED, f"its arguments cannot be kept: {error}") from None


def predeclared(name: str) -> Exchange | None:
    """Give an exchange like the one of that name that every virtual host has."""
    return _PREDECLARED.get(name)


_PREDECLARED: Final = {
    name: create(kind, name, True, False, internal, {}) for name, kind, internal in PREDECLARED
}
