"""Users, virtual hosts, permissions, parameters and policies in definitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from harebell.administration.administration import Administration
from harebell.administration.definitions.entries import ADD, CHANGE, Entry, Known, changed, in_vhost
from harebell.administration.definitions.unknown import (
    known_definition,
    known_limits,
    unknown_in_policy,
    unknown_limits,
)
from harebell.administration.parameters import (
    LIMITS,
    OPERATOR_POLICY,
    POLICY,
    VHOST_LIMITS,
    check_global_parameter,
    check_parameter,
    get_global_parameter,
    parameter_value,
    policy_fields,
    set_global_parameter,
    store_parameter,
)
from harebell.administration.users import (
    check_name,
    check_user_limits,
    put_user,
    set_permissions,
    set_topic_permissions,
    set_user_limits,
)
from harebell.administration.vhosts import (
    DESCRIPTION,
    PROTECTED,
    TAGS,
    TRACING,
    check_redeclare,
    check_vhost,
    put_vhost,
)
from harebell.auth.passwords import PasswordHash
from harebell.auth.permissions import Permissions, TopicPermissions
from harebell.content.table import Table
from harebell.engine.arguments import SUPPORTED_TYPES
from harebell.engine.policies import Policy
from harebell.engine.policy_checks import check_policy
from harebell.engine.policy_control import set_policy
from harebell.engine.redeclaring import REDECLARE, STRICT
from harebell.errors import BrokerError


@dataclass(frozen=True, slots=True)
class UserEntry(Entry):
    """A user; limits that are not given stay."""

    kind: ClassVar = "user"
    name: str
    password: PasswordHash | None
    tags: tuple[str, ...]
    limits: Table | None

    @property
    def label(self) -> str:
        return f"user '{self.name}'"

    def check(self, known: Known) -> None:
        check_name(self.name)
        check_user_limits(self.limits or {})
        known.users.add(self.name)

    def difference(self, known: Known) -> tuple[str, str] | None:
        record = known.admin.directory.users.get(self.name)
        if record is None:
            return ADD, ""
        differs = [
            changed(("password", record.password != self.password, False)) and "the password is another",
            changed(("tags", list(record.tags), list(self.tags))),
        ]
        if self.limits is not None:
            differs.append(changed(("limits", record.limits, self.limits)))
        detail = "; ".join(filter(None, differs))
        return (CHANGE, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        lsn = put_user(admin, self.name, self.password, self.tags)
        if self.limits is not None and admin.directory.users[self.name].limits != self.limits:
            lsn = max(lsn, set_user_limits(admin, self.name, self.limits))
        return lsn


@dataclass(frozen=True, slots=True)
class VhostEntry(Entry):
    """A virtual host.

    Attributes:
        creator: who imports it, and gets all permissions in it if it is new; empty for nobody.
    """

    kind: ClassVar = "vhost"
    name: str
    description: str
    tags: tuple[str, ...]
    default_queue_type: str | None
    tracing: bool | None
    protected: bool | None
    redeclare: str | None
    limits: Table | None
    creator: str

    @property
    def label(self) -> str:
        return f"virtual host '{self.name}'"

    def unknown(self, known: Known) -> list[str]:
        found = unknown_limits(self.limits)
        if self._unknown_type():
            found.append(f"queue type '{self.default_queue_type}'")
        return found

    def _unknown_type(self) -> bool:
        return self.default_queue_type not in (None, "undefined", "", *SUPPORTED_TYPES)

    def known_part(self) -> Entry | None:
        return replace(
            self,
            limits=None if self.limits is None else known_limits(self.limits),
            default_queue_type=None if self._unknown_type() else self.default_queue_type,
        )

    def check(self, known: Known) -> None:
        wanted = "undefined" if self.default_queue_type is None else self.default_queue_type
        check_vhost(self.name, self.description, self.tags, wanted)
        check_redeclare(self.redeclare)
        if self.limits is not None:
            check_parameter(VHOST_LIMITS, LIMITS, self.limits)
            _note_limit(known, self.name, self.limits)
        known.vhosts.add(self.name)
        if self.default_queue_type is not None:
            known.default_types[self.name] = self.default_queue_type.replace("undefined", "")

    def difference(self, known: Known) -> tuple[str, str] | None:
        vhost = known.admin.broker.vhosts.get(self.name)
        if vhost is None:
            return ADD, ""
        now = vhost.metadata
        pairs: list[tuple[str, object, object]] = [
            ("description", now.get(DESCRIPTION, ""), self.description),
            ("tags", now.get(TAGS, []), list(self.tags)),
        ]
        if self.default_queue_type is not None:
            wanted = self.default_queue_type.replace("undefined", "")
            pairs.append(("default queue type", vhost.default_queue_type, wanted))
        if self.tracing is not None:
            pairs.append(("tracing", now.get(TRACING, False), self.tracing))
        if self.protected is not None:
            pairs.append(("protection from deletion", now.get(PROTECTED, False), self.protected))
        if self.redeclare is not None:
            pairs.append(("redeclare", now.get(REDECLARE, STRICT), self.redeclare))
        if self.limits is not None:
            pairs.append(("limits", vhost.limits, self.limits))
        detail = changed(*pairs)
        return (CHANGE, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        lsn = put_vhost(
            admin,
            self.name,
            description=self.description,
            tags=self.tags,
            default_queue_type=self.default_queue_type,
            tracing=self.tracing,
            protected=self.protected,
            redeclare=self.redeclare,
            creator=self.creator,
        )
        if self.limits is not None:
            lsn = max(lsn, store_parameter(admin, self.name, VHOST_LIMITS, LIMITS, self.limits))
        return lsn


@dataclass(frozen=True, slots=True)
class PermissionEntry(Entry):
    """What a user may do in a virtual host."""

    kind: ClassVar = "permission"
    vhost: str
    user: str
    configure: str
    write: str
    read: str

    @property
    def label(self) -> str:
        return f"permissions of user '{self.user}' in virtual host '{self.vhost}'"

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        known.need_user(self.user)
        Permissions(self.configure, self.write, self.read)

    def difference(self, known: Known) -> tuple[str, str] | None:
        record = known.admin.directory.users.get(self.user)
        granted = None if record is None else record.permissions.get(self.vhost)
        if granted is None:
            return ADD, ""
        configure, write, read = granted.texts()
        detail = changed(
            ("configure", configure, self.configure), ("write", write, self.write), ("read", read, self.read)
        )
        return (CHANGE, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        return set_permissions(admin, self.vhost, self.user, self.configure, self.write, self.read)


@dataclass(frozen=True, slots=True)
class TopicPermissionEntry(Entry):
    """The routing keys a user may use on a topic exchange."""

    kind: ClassVar = "topic_permission"
    vhost: str
    user: str
    exchange: str
    write: str
    read: str

    @property
    def label(self) -> str:
        return (
            f"topic permissions of user '{self.user}' on exchange '{self.exchange}' "
            f"in virtual host '{self.vhost}'"
        )

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        known.need_user(self.user)
        TopicPermissions(self.write, self.read, self.user, self.vhost)

    def difference(self, known: Known) -> tuple[str, str] | None:
        record = known.admin.directory.users.get(self.user)
        granted = None if record is None else record.topic_permissions.get((self.vhost, self.exchange))
        if granted is None:
            return ADD, ""
        write, read = granted.texts()
        detail = changed(("write", write, self.write), ("read", read, self.read))
        return (CHANGE, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        return set_topic_permissions(admin, self.vhost, self.user, self.exchange, self.write, self.read)


@dataclass(frozen=True, slots=True)
class ParameterEntry(Entry):
    """A parameter of a component; operator policies and limits of virtual hosts come as such."""

    kind: ClassVar = "parameter"
    vhost: str
    component: str
    name: str
    value: object

    @property
    def label(self) -> str:
        return in_vhost(f"parameter of component '{self.component}'", self.name, self.vhost)

    def unknown(self, known: Known) -> list[str]:
        if self.component == VHOST_LIMITS:
            return unknown_limits(self.value)
        if self.component not in (OPERATOR_POLICY, POLICY):
            return []
        _, apply_to, definition, _ = policy_fields(self.value)
        return unknown_in_policy(apply_to, definition, self.component == OPERATOR_POLICY)

    def known_part(self) -> Entry | None:
        if not isinstance(self.value, dict):
            return None
        if self.component == VHOST_LIMITS:
            left = known_limits(self.value)
            return replace(self, value=left) if left else None
        _, apply_to, definition, _ = policy_fields(self.value)
        left = known_definition(apply_to, definition, self.component == OPERATOR_POLICY)
        return replace(self, value={**self.value, "definition": left}) if left else None

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        if self.component == POLICY:
            check_policy(self.name, *policy_fields(self.value), operator=False)
        else:
            check_parameter(self.component, self.name, self.value)
        if self.component == VHOST_LIMITS and isinstance(self.value, dict):
            _note_limit(known, self.vhost, self.value)

    def difference(self, known: Known) -> tuple[str, str] | None:
        vhost = known.admin.broker.vhosts.get(self.vhost)
        found = None if vhost is None else parameter_value(known.admin, vhost, self.component, self.name)
        if found is None:
            return (ADD, "") if self.value or self.component != VHOST_LIMITS else None
        return _value_change(found[0], self._complete())

    def _complete(self) -> object:
        """Give the value as it will be shown: a policy may leave out what has a default."""
        if self.component not in (OPERATOR_POLICY, POLICY):
            return self.value
        pattern, apply_to, definition, priority = policy_fields(self.value)
        return {"pattern": pattern, "definition": definition, "priority": priority, "apply-to": apply_to}

    def apply(self, admin: Administration) -> int:
        if self.component == POLICY:
            pattern, apply_to, definition, priority = policy_fields(self.value)
            return set_policy(
                admin.broker, self.vhost, self.name, pattern, definition, priority=priority, apply_to=apply_to
            )
        return store_parameter(admin, self.vhost, self.component, self.name, self.value)


@dataclass(frozen=True, slots=True)
class GlobalParameterEntry(Entry):
    """A parameter of the whole node."""

    kind: ClassVar = "global_parameter"
    name: str
    value: object

    @property
    def label(self) -> str:
        return f"global parameter '{self.name}'"

    def check(self, known: Known) -> None:
        check_global_parameter(self.name, self.value)

    def difference(self, known: Known) -> tuple[str, str] | None:
        try:
            now = get_global_parameter(known.admin, self.name)["value"]
        except BrokerError:
            return ADD, ""
        return _value_change(now, self.value)

    def apply(self, admin: Administration) -> int:
        return set_global_parameter(admin, self.name, self.value)


@dataclass(frozen=True, slots=True)
class PolicyEntry(Entry):
    """A policy."""

    kind: ClassVar = "policy"
    vhost: str
    name: str
    pattern: object
    definition: object
    priority: object
    apply_to: object

    @property
    def label(self) -> str:
        return in_vhost("policy", self.name, self.vhost)

    def unknown(self, known: Known) -> list[str]:
        return unknown_in_policy(self.apply_to, self.definition, False)

    def known_part(self) -> Entry | None:
        left = known_definition(self.apply_to, self.definition, False)
        return replace(self, definition=left) if left else None

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        check_policy(self.name, self.pattern, self.apply_to, self.definition, self.priority, False)

    def difference(self, known: Known) -> tuple[str, str] | None:
        vhost = known.admin.broker.vhosts.get(self.vhost)
        now: Policy | None = None if vhost is None else vhost.policies.regular.get(self.name)
        if now is None:
            return ADD, ""
        detail = changed(
            ("pattern", now.pattern, self.pattern),
            ("definition", now.definition, self.definition),
            ("priority", now.priority, self.priority),
            ("apply-to", now.apply_to, self.apply_to),
        )
        return (CHANGE, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        return set_policy(
            admin.broker,
            self.vhost,
            self.name,
            self.pattern,
            self.definition,
            priority=self.priority,
            apply_to=self.apply_to,
        )


def _value_change(now: object, wanted: object) -> tuple[str, str] | None:
    detail = changed(("the value", now, wanted))
    return (CHANGE, detail) if detail else None


def _note_limit(known: Known, vhost: str, limits: Table) -> None:
    most = limits.get("max-queues", -1)
    known.limits[vhost] = most if isinstance(most, int) else -1
