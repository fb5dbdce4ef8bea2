"""Importing definitions: everything is read and checked first, then applied, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from harebell.administration.administration import Administration
from harebell.administration.definitions.access_entries import ParameterEntry
from harebell.administration.definitions.entries import ADD, CHANGE, KEEP, SKIP, Difference, Entry, Known
from harebell.administration.definitions.reading import HASHED, HASHING, PLAIN, Warnings, entries, sections
from harebell.administration.definitions.unknown import Unknown
from harebell.administration.parameters import (
    KEPT,
    OPERATOR_POLICY,
    POLICY,
    VHOST_LIMITS,
)
from harebell.auth.passwords import hash_password
from harebell.engine.schemas import COMPONENTS as SCHEMAS
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
        skip_unknown: leave out what is not known here (see ``unknown.py``), which is an error otherwise.

    Attributes:
        warnings: what was passed over.
        skipped: what was left out because it is not known here, in words.
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
        skip_unknown: bool = False,
    ) -> None:
        self._admin = admin
        self._document = document
        self._vhost = vhost
        self._creator = creator
        self._dry_run = dry_run
        self._skip_unknown = skip_unknown
        self._unknown = Unknown()
        self._warnings = Warnings()
        self._done = 0
        self._total = 0
        self.differences: list[Difference] = []
        self.lsn = 0

    @property
    def warnings(self) -> list[str]:
        """What was passed over."""
        return self._warnings.texts

    @property
    def skipped(self) -> list[str]:
        """What was left out because it is not known here."""
        return self._unknown.named if self._skip_unknown else []

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
            checked = self._checked(entry, known)
            if checked is not None:
                read.append(checked)
            yield self._step()
        if self._unknown.count and not self._skip_unknown:
            raise self._unknown.refusal()
        self._within_limits(known)
        for entry in read:
            self._settle(entry, known)
            yield self._step()

    def _step(self) -> Progress:
        self._done += 1
        return Progress(self._done, self._total)

    def _checked(self, entry: Entry, known: Known) -> Entry | None:
        """Check an object, and give what of it is imported."""
        unknown = entry.unknown(known)
        if unknown:
            if not self._skip_unknown:
                # What is left of it and the others are looked at, too: one refusal names all there are.
                self._unknown.add(_said_of(entry, known))
            left = self._without(entry, ", ".join(unknown))
            if left is None:
                return None
            entry = left
        try:
            entry.check(known)
        except BrokerError as error:
            raise _of(entry, error) from None
        self._warn_of(entry)
        return entry

    def _without(self, entry: Entry, unknown: str) -> Entry | None:
        left = entry.known_part()
        if not self._skip_unknown:
            return left
        how = "is left out" if left is None else "is imported without it"
        self._unknown.add(f"{entry.label} {how}: {unknown} not known here")
        if left is None and len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(Difference(entry.kind, entry.label, SKIP, f"{unknown} not known here"))
        return left

    def _warn_of(self, entry: Entry) -> None:
        if isinstance(entry, ParameterEntry) and entry.component not in (
            POLICY,
            OPERATOR_POLICY,
            VHOST_LIMITS,
            *KEPT,
            *SCHEMAS,
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


def _said_of(entry: Entry, known: Known) -> str:
    """Say what is wrong with an object that has something unknown, in RabbitMQ's words."""
    try:
        entry.check(known)
    except BrokerError as error:
        return _of(entry, error).text
    return f"{', '.join(entry.unknown(known))} not known here ({entry.label})"


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
