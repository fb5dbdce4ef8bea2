"""Importing definitions: everything is read and checked first, then applied, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from harebell.administration.administration import Administration
from harebell.administration.definitions.access_entries import ParameterEntry
from harebell.administration.definitions.entries import ADD, CHANGE, KEEP, SKIP, Difference, Entry, Known
from harebell.administration.definitions.reading import HASHED, HASHING, PLAIN, Warnings, entries, sections
from harebell.administration.parameters import (
    KEPT,
    OPERATOR_POLICY,
    POLICY,
    VHOST_LIMITS,
)
from harebell.auth.passwords import hash_password
from harebell.errors import PRECONDITION_FAILED, BrokerError

MAX_DIFFERENCES: Final = 100_000


class Progress(NamedTuple):
    """How far an import is; each object counts twice, once checked and once applied."""

    done: int
    total: int


class Import:
    """One import.

    ::

        work = Import(admin, document)
        for progress in work.steps():
            ...                           # let others work now and then
        admin.host.turn()
        await admin.host.durable(work.lsn)

    Importing what is there already changes nothing.  Queues and exchanges that are there stay as they
    are even if they differ, as on RabbitMQ; everything else becomes what the definitions say.

    Args:
        admin: the node.
        document: the definitions, from JSON.
        vhost: import into this virtual host, whatever the objects say; None for the whole node.
        creator: user who imports, and gets all permissions in new virtual hosts; empty for nobody.
        dry_run: only find out what would change.

    Attributes:
        warnings: what was passed over.
        differences: what changes, or would.
        lsn: what to wait for, so far.
    """

    def __init__(
        self,
        admin: Administration,
        document: object,
        vhost: str | None = None,
        creator: str = "",
        dry_run: bool = False,
    ) -> None:
        self._admin = admin
        self._document = document
        self._vhost = vhost
        self._creator = creator
        self._dry_run = dry_run
        self._warnings = Warnings()
        self._done = 0
        self._total = 0
        self.differences: list[Difference] = []
        self.lsn = 0

    @property
    def warnings(self) -> list[str]:
        """What was passed over."""
        return self._warnings.texts

    def run(self) -> None:
        """Do all of it at once; for errors see :meth:`steps`."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[Progress]:
        """Check everything, then apply it, an object at a time.

        Raises:
            BrokerError: NOT_FOUND without the virtual host to import into; PRECONDITION_FAILED for an object
                that cannot be imported, named in the text.  Nothing has changed then, unless the broker did
                in between.
        """
        if self._vhost is not None and self._vhost not in self._admin.broker.vhosts:
            raise BrokerError(PRECONDITION_FAILED, "vhost_not_found")
        found = sections(self._document, self._vhost, self._warnings)
        self._total = 2 * sum(map(len, found.values()))
        known = Known(self._admin)
        read: list[Entry] = []
        for entry in entries(found, self._vhost, self._creator, self._warnings):
            self._checked(entry, known)
            read.append(entry)
            yield self._step()
        self._within_limits(known)
        for entry in read:
            self._settle(entry, known)
            yield self._step()

    def _step(self) -> Progress:
        self._done += 1
        return Progress(self._done, self._total)

    def _checked(self, entry: Entry, known: Known) -> None:
        try:
            entry.check(known)
        except BrokerError as error:
            raise _of(entry, error) from None
        if isinstance(entry, ParameterEntry) and entry.component not in (
            POLICY,
            OPERATOR_POLICY,
            VHOST_LIMITS,
            *KEPT,
        ):
            self._warnings.add(f"parameters of component '{entry.component}' are kept, and mean nothing here")

    def _within_limits(self, known: Known) -> None:
        """Check that the new queues fit, in RabbitMQ's words."""
        for name, added in known.added.items():
            vhost = self._admin.broker.vhosts.get(name)
            most = known.limits.get(name, -1 if vhost is None else int(vhost.max_queues))
            now = 0 if vhost is None else len(vhost.queues)
            if most >= 0 and now + added > most:
                raise BrokerError(
                    PRECONDITION_FAILED,
                    f'Adding {added} queue(s) to virtual host "{name}" would exceed the limit of '
                    f"{most} queue(s).\n\nThis virtual host currently has {now} queue(s) defined.\n\n"
                    "Import aborted!",
                )

    def _settle(self, entry: Entry, known: Known) -> None:
        found = entry.difference(known)
        if found is None:
            return
        action, detail = found
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(Difference(entry.kind, entry.label, action, detail))
        if action == KEEP:
            self._warnings.add(f"{entry.label} stays as it is: {detail}")
        elif action == SKIP:
            self._warnings.add(f"{entry.label} is passed over: {detail}")
        if self._dry_run or action not in (ADD, CHANGE):
            return
        try:
            self.lsn = max(self.lsn, entry.apply(self._admin))
        except BrokerError as error:
            raise _of(entry, error) from None


def _of(entry: Entry, error: BrokerError) -> BrokerError:
    """Say which object an error is about, after RabbitMQ's text."""
    return BrokerError(PRECONDITION_FAILED, f"{error.text} ({entry.label})")


def hash_passwords(admin: Administration, document: object) -> None:
    """Put hashes in the place of passwords that definitions hold in clear.

    It takes long, so not on the event loop.

    A user who has that password already keeps its hash.

    Args:
        admin: the node.
        document: the definitions, which are changed.
    """
    users = document.get("users") if isinstance(document, dict) else None
    for user in users if isinstance(users, list) else ():
        if not isinstance(user, dict) or not isinstance(user.get(PLAIN), str) or user.get(HASHED):
            continue
        password = user.pop(PLAIN).encode("utf-8", "surrogatepass")
        record = admin.directory.users.get(str(user.get("name")))
        known = None if record is None else record.password
        if known is None or not known.verify(password):
            known = hash_password(password, admin.settings.auth.password_hashing)
        user[HASHED], user[HASHING] = known.encode(), known.algorithm
