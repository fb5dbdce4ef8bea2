"""Registering schemas, and what rules how they may change.

A rule says what a new version is compared with: the latest one, or with ``_transitive`` all there are; and
how:

* ``backward``: who goes by the new version can read what was written by the old one;
* ``forward``: who goes by the old version can read what is written by the new one;
* ``full``: both; ``none``: nothing is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson

from harebell.administration.administration import Administration
from harebell.administration.parameters import check_parameter, clear_parameter, store_parameter
from harebell.engine.arguments import SCHEMA
from harebell.engine.policy_checks import invalid
from harebell.engine.schemas import (
    FORMATS,
    MOST_NUMBER,
    REGISTRY,
    RULES,
    SETTINGS,
    SUBJECT,
    VERSION,
    Registry,
    SchemaVersion,
    Subject,
)
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.ports import Schema

MOST_NAME: Final = 200
"""Octets of a subject's name."""

MOST_VERSIONS: Final = 1_000
"""Versions of one subject that are there."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration.

    Attributes:
        version: the one that is there now.
        created: False if it was there already.
        lsn: what to wait for.
    """

    version: SchemaVersion
    created: bool
    lsn: int


def schemas_of(admin: Administration, vhost: Vhost) -> Registry:
    """Give the schemas of a virtual host."""
    return admin.broker.schemas.of(vhost.name)


def find_subject(admin: Administration, vhost: Vhost, name: str) -> Subject:
    """Look up a subject that has versions.

    Raises:
        BrokerError: NOT_FOUND.
    """
    found = schemas_of(admin, vhost).subjects.get(name)
    if found is None or not found.versions:
        raise BrokerError(NOT_FOUND, f"no schema '{name}' in vhost '{vhost.name}'")
    return found


def find_version(admin: Administration, vhost: Vhost, name: str, number: str) -> SchemaVersion:
    """Look up a version by its number, or the one that is ``latest``.

    Raises:
        BrokerError: NOT_FOUND.
    """
    subject = find_subject(admin, vhost, name)
    digits = number.isascii() and number.isdecimal() and len(number) <= 10
    found = subject.latest if number == "latest" else subject.versions.get(int(number) if digits else 0)
    if found is None:
        raise BrokerError(NOT_FOUND, f"schema '{name}' has no version {number}")
    return found


def check_schema(admin: Administration, schema: Schema) -> None:
    """Check that a schema can be used.

    Raises:
        InvalidSchema: it cannot.
        BrokerError: PRECONDITION_FAILED for a format that there is not.
    """
    if schema.kind not in FORMATS:
        raise invalid(f"format {schema.kind!r:.50} is none of {', '.join(FORMATS)}")
    admin.broker.schemas.formats.check(schema)


def known_version(subject: Subject | None, schema: Schema) -> SchemaVersion | None:
    """Give the version of a subject that says the same, if there is one."""
    if subject is not None:
        for version in reversed(subject.versions.values()):
            if _same(version.schema, schema):
                return version
    return None


def _same(one: Schema, other: Schema) -> bool:
    if (one.kind, one.message) != (other.kind, other.message):
        return False
    return one.text == other.text or (one.kind != "protobuf" and _canonical(one) == _canonical(other))


def _canonical(schema: Schema) -> bytes:
    """Give the text without what does not matter in JSON: spaces and the order of keys."""
    try:
        return orjson.dumps(orjson.loads(schema.text), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return schema.text.encode("utf-8", "surrogatepass")


def compared_with(registry: Registry, name: str) -> list[SchemaVersion]:
    """List the versions that a new one of a subject is compared with, the latest first."""
    subject = registry.subjects.get(name)
    if subject is None or registry.rule(name) == "none":
        return []
    versions = list(reversed(subject.versions.values()))
    return versions if registry.rule(name).endswith("_transitive") else versions[:1]


def incompatibilities(
    admin: Administration, rule: str, schema: Schema, versions: list[SchemaVersion]
) -> Iterator[list[str]]:
    """Compare a schema with versions, one at a time, and give what breaks.

    Raises:
        InvalidSchema: one of them cannot be read.
    """
    formats = admin.broker.schemas.formats
    for version in versions:
        found: list[str] = []
        if not rule.startswith("forward"):
            broken = formats.differences(schema, version.schema)
            found += [f"cannot read what version {version.number} wrote: {each}" for each in broken]
        if not rule.startswith("backward"):
            broken = formats.differences(version.schema, schema)
            found += [f"version {version.number} cannot read what it writes: {each}" for each in broken]
        yield found


def register(admin: Administration, vhost: Vhost, name: str, schema: Schema) -> Registered:
    """Keep a new version, which was checked and compared; one that says the same stays as it is.

    Raises:
        BrokerError: PRECONDITION_FAILED for a bad name, a schema that is too large, or too many of them.
    """
    registry = schemas_of(admin, vhost)
    subject = registry.subjects.get(name)
    known = known_version(subject, schema)
    if known is not None:
        return Registered(known, False, 0)
    octets = len(name.encode("utf-8", "surrogateescape"))
    if not 0 < octets <= MOST_NAME or any(ord(each) < 32 for each in name):
        raise invalid(f"the name of a schema has 1 to {MOST_NAME} octets, and no control characters")
    if subject is not None and len(subject.versions) >= MOST_VERSIONS:
        raise BrokerError(PRECONDITION_FAILED, f"schema '{name}' has {MOST_VERSIONS} versions: delete some")
    number = 1 if subject is None else subject.last + 1
    id_ = _id_of(registry, schema)
    if max(number, id_) > MOST_NUMBER:
        raise BrokerError(PRECONDITION_FAILED, "there are no more numbers")
    value = {"format": schema.kind, "schema": schema.text, "id": id_}
    if schema.message:
        value["message"] = schema.message
    lsn = _store(admin, vhost, VERSION, f"{name}/{number}", value)
    return Registered(schemas_of(admin, vhost).subjects[name].versions[number], True, lsn)


def _id_of(registry: Registry, schema: Schema) -> int:
    for subject in registry.subjects.values():
        known = known_version(subject, schema)
        if known is not None:
            return known.id
    return registry.last_id + 1


def _store(admin: Administration, vhost: Vhost, component: str, name: str, value: object) -> int:
    check_parameter(component, name, value)
    return store_parameter(admin, vhost.name, component, name, value)


def set_rule(admin: Administration, vhost: Vhost, name: str, rule: str) -> int:
    """Set the compatibility rule of a subject, which need not have versions yet, or of a virtual host.

    Args:
        name: the subject; empty for the rule of those that have none.
        rule: empty to go by that of the virtual host.

    Returns:
        The lsn to wait for.

    Raises:
        BrokerError: PRECONDITION_FAILED for a rule that there is not.
    """
    if rule not in RULES and not (name and rule == ""):
        raise invalid(f"compatibility {rule!r:.50} is none of {', '.join(RULES)}")
    registry = schemas_of(admin, vhost)
    if not name:
        return _store(admin, vhost, REGISTRY, SETTINGS, _settings(registry, rule))
    subject = registry.subjects.get(name)
    if subject is None and not rule:
        return 0
    return _store(admin, vhost, SUBJECT, name, _of_subject(subject, rule))


def _settings(registry: Registry, rule: str) -> dict[str, object]:
    return {"compatibility": rule, "last_id": registry.last_id}


def _of_subject(subject: Subject | None, rule: str) -> dict[str, object]:
    value: dict[str, object] = {"last_version": 0 if subject is None else subject.last}
    return {**value, "compatibility": rule} if rule else value


def users_of(vhost: Vhost, name: str) -> list[str]:
    """List what goes by a subject: queues, exchanges and policies, such as ``queue 'orders'``."""
    found = [f"queue '{each.name}'" for each in vhost.queues.values() if each.options.schema == name]
    for exchange in vhost.exchanges.values():
        if exchange.options is not None and exchange.options.schema == name:
            found.append(f"exchange '{exchange.name}'")
    key = SCHEMA.removeprefix("x-")
    for operator in (False, True):
        for policy in vhost.policies.kind(operator).all():
            if policy.definition.get(key) == name:
                found.append(f"{'operator ' if operator else ''}policy '{policy.name}'")
    return found


def delete_versions(admin: Administration, vhost: Vhost, name: str, numbers: list[int], force: bool) -> int:
    """Delete versions of a subject; with the last of them it goes itself, and its numbers begin anew.

    Args:
        force: True to let it go although something goes by it, to which nothing can be published then.

    Returns:
        The lsn to wait for.

    Raises:
        BrokerError: PRECONDITION_FAILED if something goes by the subject.
    """
    subject = find_subject(admin, vhost, name)
    whole = set(numbers) >= set(subject.versions)
    users = users_of(vhost, name) if whole and not force else []
    if users:
        raise BrokerError(PRECONDITION_FAILED, f"schema '{name}' is in use: {', '.join(users[:10])}")
    registry = schemas_of(admin, vhost)
    place = vhost.name
    # The numbers given last go first: a crash in between must not have one given twice.
    lsn = _store(admin, vhost, REGISTRY, SETTINGS, _settings(registry, registry.compatibility))
    if not whole:
        lsn = max(lsn, _store(admin, vhost, SUBJECT, name, _of_subject(subject, subject.compatibility)))
    for number in numbers:
        lsn = max(lsn, clear_parameter(admin, place, VERSION, f"{name}/{number}"))
    if whole and (place, SUBJECT, name) in admin.broker.parameters:
        lsn = max(lsn, clear_parameter(admin, place, SUBJECT, name))
    return lsn
