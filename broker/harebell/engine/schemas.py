"""The schemas of virtual hosts: subjects with numbered versions, and messages held against them.

Kept as parameters, so that they are in the journal and in exported definitions:

* component ``schema``, name ``<subject>/<version>``: one version, as ``{"format", "schema", "id"}`` and, for
  Protobuf, ``"message"``;
* component ``schema-subject``, name ``<subject>``: ``{"compatibility", "last_version"}``, either absent;
* component ``schema-registry``, name ``settings``: ``{"compatibility", "last_id"}`` of the virtual host.

The two numbers are those given last; they are written before something is deleted, so that no number is given
twice; a subject of which everything was deleted begins anew.  Definitions may bring anything, so what cannot
be understood is passed over here; who registers through the HTTP API is told (``administration/schemas.py``).

A message may come in the frame that Confluent's serializers write: an octet 0, then the id of its schema as
four octets.  Without such a frame and without a header that names a version, it has to fit the latest one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema, SchemaFormats

VERSION: Final = "schema"
SUBJECT: Final = "schema-subject"
REGISTRY: Final = "schema-registry"
COMPONENTS: Final = (VERSION, SUBJECT, REGISTRY)
SETTINGS: Final = "settings"

FORMATS: Final = ("json-schema", "avro", "protobuf")

NONE: Final = "none"
BACKWARD: Final = "backward"
RULES: Final = (
    NONE,
    BACKWARD,
    "backward_transitive",
    "forward",
    "forward_transitive",
    "full",
    "full_transitive",
)
"""Compatibility rules: what a new version is compared with (see ``administration/schemas.py``)."""

FRAME: Final = 5
"""Octets of a frame."""

MOST_NUMBER: Final = 2**31 - 1
"""The largest version and id."""


class SchemaVersion:
    """One version of a subject.

    Attributes:
        subject: its name.
        number: counts from 1.
        id: unique in the virtual host; the same text has the same one.
        schema: what it says.
    """

    def __init__(self, subject: str, number: int, id_: int, schema: Schema) -> None:
        self.subject = subject
        self.number = number
        self.id = id_
        self.schema = schema
        self._check: MessageCheck | None = None
        self._unusable = ""

    def problem(self, formats: SchemaFormats, body: bytes, framed: bool) -> str:
        """Say why a message does not fit; empty if it does."""
        check = self._check
        if check is None:
            if not self._unusable:
                try:
                    check = self._check = formats.check(self.schema)
                except InvalidSchema as error:
                    self._unusable = f"the schema cannot be used: {error}"
            if check is None:
                return self._unusable
        return check.problem(body, framed)


class Subject:
    """What has versions.

    Attributes:
        name: its name.
        compatibility: its rule; empty for that of the virtual host.
        last: the version number given last.
        kept: True if it has a parameter of its own, beside those of its versions.
        versions: by number, in the order of numbers.
        checked, invalid: messages held against it, and those that did not fit.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.compatibility = ""
        self.last = 0
        self.kept = False
        self.versions: dict[int, SchemaVersion] = {}
        self.checked = 0
        self.invalid = 0

    @property
    def latest(self) -> SchemaVersion | None:
        """The version with the highest number."""
        return self.versions[next(reversed(self.versions))] if self.versions else None

    def add(self, version: SchemaVersion) -> None:
        """Take a version in; in the place of one with its number."""
        self.versions[version.number] = version
        self.versions = dict(sorted(self.versions.items()))
        self.last = max(self.last, version.number)


class Registry:
    """The schemas of one virtual host.

    Attributes:
        subjects: by name.
        compatibility: rule of subjects that have none.
        last_id: the id given last.
    """

    def __init__(self, formats: Schemas) -> None:
        self.subjects: dict[str, Subject] = {}
        self.compatibility = BACKWARD
        self.last_id = 0
        self._formats = formats

    def rule(self, name: str) -> str:
        """Give the compatibility rule of a subject, which need not be there."""
        subject = self.subjects.get(name)
        return (subject.compatibility if subject is not None else "") or self.compatibility

    def problem(self, name: str, pinned: int, named: object, body: bytes) -> str:
        """Hold a message against a subject.

        Args:
            name: the subject.
            pinned: the one version that counts; negative for none.
            named: the version the message names in its header; None without one.
            body: its body.

        Returns:
            What is wrong with it; empty if it fits.
        """
        subject = self.subjects.get(name)
        if subject is None or subject.latest is None:
            return f"no schema '{name}' is registered"
        subject.checked += 1
        found = self._problem(subject, pinned, named, body)
        if found:
            subject.invalid += 1
        return found

    def try_message(self, subject: Subject, pinned: int | None, body: bytes) -> str:
        """Hold a message against a subject that nobody published."""
        return self._problem(subject, -1 if pinned is None else pinned, None, body)

    def _problem(self, subject: Subject, pinned: int, named: object, body: bytes) -> str:
        version = subject.latest if pinned < 0 else subject.versions.get(pinned)
        if named is not None:
            wanted = _number(named)
            if pinned >= 0 and wanted != pinned:
                return f"it names version {named!s:.20} of '{subject.name}', and only {pinned} is taken"
            version = subject.versions.get(wanted)
            if version is None:
                return f"schema '{subject.name}' has no version {named!s:.20}"
        if version is None:
            return f"schema '{subject.name}' has no version {pinned}"
        if len(body) < FRAME or body[0] != 0:
            return self._against(version, body, False)
        return self._framed(subject, version, pinned >= 0 or named is not None, body)

    def _framed(self, subject: Subject, version: SchemaVersion, fixed: bool, body: bytes) -> str:
        """Hold a message against a subject that begins as a frame does.

        Avro may begin so without being in one, so such a message is also looked at as it is.
        """
        number = int.from_bytes(body[1:FRAME], "big")
        if fixed:
            framed = version if version.id == number else None
        else:
            framed = None
            for each in subject.versions.values():
                if each.id == number:
                    framed = each
        if framed is None:
            found = f"its frame names schema id {number}, which is not one taken for '{subject.name}'"
        else:
            found = self._against(framed, body[FRAME:], True)
        if found and version.schema.kind == "avro" and not self._against(version, body, False):
            return ""
        return found

    def _against(self, version: SchemaVersion, body: bytes, framed: bool) -> str:
        found = version.problem(self._formats.formats, body, framed)
        return f"schema '{version.subject}' version {version.number}: {found}" if found else ""

    def by_id(self, number: int) -> list[SchemaVersion]:
        """List the versions that have an id: the same text under several subjects has one."""
        return [
            version
            for subject in self.subjects.values()
            for version in subject.versions.values()
            if version.id == number
        ]


class Schemas:
    """The schemas of a node.

    Attributes:
        formats: reads them; whoever builds the broker says what does.
    """

    def __init__(self) -> None:
        self.formats: SchemaFormats = NoFormats()
        self._registries: dict[str, Registry] = {}

    def of(self, vhost: str) -> Registry:
        """Give the schemas of a virtual host; none are kept of one that has none."""
        found = self._registries.get(vhost)
        return Registry(self) if found is None else found

    def forget_vhost(self, vhost: str) -> None:
        """A virtual host is deleted."""
        self._registries.pop(vhost, None)

    def set(self, vhost: str, component: str, name: str, text: str) -> None:
        """Follow a parameter that is set; those of other components are passed over."""
        if component not in COMPONENTS:
            return
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        fields: dict[str, object] = value if isinstance(value, dict) else {}
        registry = self._registries.setdefault(vhost, Registry(self))
        if component == VERSION:
            version = read_version(name, fields)
            if version is not None:
                _subject(registry, version.subject).add(version)
                registry.last_id = max(registry.last_id, version.id)
        elif component == SUBJECT:
            subject = _subject(registry, name)
            subject.compatibility = _rule(fields)
            subject.kept = True
            subject.last = max(subject.last, _number(fields.get("last_version")))
        elif name == SETTINGS:
            registry.compatibility = _rule(fields) or BACKWARD
            registry.last_id = max(registry.last_id, _number(fields.get("last_id")))

    def clear(self, vhost: str, component: str, name: str) -> None:
        """Follow a parameter that is removed."""
        registry = self._registries.get(vhost)
        if registry is None or component not in COMPONENTS:
            return
        if component == VERSION:
            subject_name, _, number = name.rpartition("/")
            subject = registry.subjects.get(subject_name)
            if subject is not None:
                subject.versions.pop(_number(number), None)
                if not subject.versions and not subject.kept:
                    del registry.subjects[subject_name]
        elif component == SUBJECT:
            subject = registry.subjects.get(name)
            if subject is not None:
                subject.compatibility = ""
                subject.kept = False
                if not subject.versions:
                    del registry.subjects[name]
        elif name == SETTINGS:
            registry.compatibility = BACKWARD

    def all(self) -> Iterator[tuple[str, Registry]]:
        """Go through the virtual hosts that have schemas."""
        yield from self._registries.items()


class NoFormats(SchemaFormats):
    """Of a broker that nobody gave any."""

    def check(self, schema: Schema) -> MessageCheck:
        raise InvalidSchema("this broker reads no schemas")

    def differences(self, reader: Schema, writer: Schema) -> list[str]:
        raise InvalidSchema("this broker reads no schemas")


def read_version(name: str, fields: dict[str, object]) -> SchemaVersion | None:
    """Read a version from its parameter; None if it is none.

    Args:
        name: of the parameter.
        fields: its value.
    """
    subject, _, digits = name.rpartition("/")
    number, id_ = _number(digits), _number(fields.get("id"))
    kind, text, message = fields.get("format"), fields.get("schema"), fields.get("message", "")
    if not isinstance(kind, str) or not isinstance(text, str) or not isinstance(message, str):
        return None
    if not subject or number < 1 or id_ < 1 or kind not in FORMATS:
        return None
    return SchemaVersion(subject, number, id_, Schema(kind, text, message))


def _subject(registry: Registry, name: str) -> Subject:
    return registry.subjects.setdefault(name, Subject(name))


def _rule(fields: dict[str, object]) -> str:
    rule = fields.get("compatibility")
    return rule if isinstance(rule, str) and rule in RULES else ""


def _number(value: object) -> int:
    """Read a version or an id, a number or digits; 0 if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 10:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_NUMBER:
        return value
    return 0
