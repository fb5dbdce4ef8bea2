"""Reading definitions: JSON of RabbitMQ 3.x and 4.x or of LavinMQ into objects, forgiving where that is safe.

What a file leaves out gets the default that RabbitMQ has for it, what it holds beyond that is passed over
with a warning, and what is of the wrong kind is an error that names the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from harebell.administration.definitions.access_entries import (
    GlobalParameterEntry,
    ParameterEntry,
    PermissionEntry,
    PolicyEntry,
    TopicPermissionEntry,
    UserEntry,
    VhostEntry,
)
from harebell.administration.definitions.entries import Entry
from harebell.administration.definitions.topology_entries import BindingEntry, ExchangeEntry, QueueEntry
from harebell.administration.parameters import normal_value
from harebell.auth.passwords import MD5, SALT_SIZE, SHA256, SHA512, PasswordHash, decode_hash
from harebell.content.table import Table
from harebell.engine.erlang_terms import term
from harebell.errors import PRECONDITION_FAILED, BrokerError

Value = TypeVar("Value")

ORDER: Final = (
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
    "parameters",
    "harebell_parameters",
    "global_parameters",
    "policies",
    "harebell_policies",
    "exchanges",
    "queues",
    "bindings",
)
"""The sections, in the order in which they are imported: what is needed comes before what needs it."""

OF_ONE_VHOST: Final = frozenset(
    {"parameters", "harebell_parameters", "policies", "harebell_policies", "exchanges", "queues", "bindings"}
)
"""The sections that are imported into one virtual host."""

_ABOUT: Final = frozenset(
    {
        "default_queue_type",
        "description",
        "explanation",
        "lavinmq_version",
        "limits",
        "metadata",
        "name",
        "original_cluster_name",
        "original_vhost_name",
        "product_name",
        "product_version",
        "protected_from_deletion",
        "rabbit_version",
        "rabbitmq_definition_format",
        "rabbitmq_version",
        "redeclare",
        "tags",
        "tracing",
    }
)
"""Keys that tell of a file, and say nothing to import."""

MAX_NAME: Final = 255
MAX_WARNINGS: Final = 1000

HASHED: Final = "password_hash"
HASHING: Final = "hashing_algorithm"
PLAIN: Final = "password"

UNKNOWN_HASH: Final = "unknown password hashing"


class Warnings:
    """What is said of a file that is imported nevertheless; each thing once, and not without end."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._said: set[str] = set()

    def add(self, text: str, once_for: str = "") -> None:
        """Note a warning, unless one like it was.

        Args:
            text: what is said.
            once_for: what makes two alike, if not the text.
        """
        if len(self.texts) < MAX_WARNINGS and (once_for or text) not in self._said:
            self._said.add(once_for or text)
            self.texts.append(text)


class Fields:
    """One object of a file.

    Args:
        section: where it is.
        number: its place there, from 0.
        values: its JSON.
        vhost: where it is imported, whatever it says; None if it says so itself.
        warnings: gets what is not understood.

    Raises:
        BrokerError: PRECONDITION_FAILED if it is no object.
    """

    def __init__(
        self, section: str, number: int, values: object, vhost: str | None, warnings: Warnings
    ) -> None:
        self.section = section
        self.where = f"{section}[{number}]"
        self.warnings = warnings
        if not isinstance(values, dict):
            raise self.wrong(f"should be an object, actually was {term(values)}")
        self.values: Table = values
        self._vhost = vhost
        self._taken: set[str] = {"vhost"}

    def wrong(self, problem: str) -> BrokerError:
        """Build the refusal of this object."""
        name = self.values.get("name") if hasattr(self, "values") else None
        shown = f" ({term(name)})" if isinstance(name, str) else ""
        return BrokerError(PRECONDITION_FAILED, f"{self.where}{shown} {problem}")

    def vhost(self) -> str:
        """Give the virtual host it belongs to."""
        if self._vhost is not None:
            return self._vhost
        value = self.values.get("vhost")
        if value is None:
            raise self.wrong("names no virtual host: import these definitions into one")
        return self._name("vhost", value)

    def name(self, key: str, default: str | None = None) -> str:
        """Give a name, of at most 255 octets."""
        return self._name(key, self._get(key, str, "text", default))

    def _name(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong(f"{key} should be text, actually was {term(value)}")
        try:
            octets = len(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise self.wrong(f"{key} cannot be written in UTF-8") from None
        if octets > MAX_NAME:
            raise self.wrong(f"{key} is longer than {MAX_NAME} octets")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Give a text."""
        return self._get(key, str, "text", default)

    def flag(self, key: str, default: bool) -> bool:
        """Give true or false."""
        return self._get(key, bool, "true or false", default)

    def optional(self, key: str, kind: type[Value], shown: str) -> Value | None:
        """Give a value that may be missing, or null."""
        if self.values.get(key) is None:
            self._taken.add(key)
            return None
        return self._get(key, kind, shown, None)

    def any(self, key: str, *default: object) -> object:
        """Give a value of any kind."""
        self._taken.add(key)
        if key not in self.values and not default:
            raise self.wrong(f"has no {key}")
        return self.values.get(key, *default)

    def table(self, key: str) -> Table:
        """Give an object; nothing, null and ``[]``, as RabbitMQ writes it at times, are an empty one."""
        value = self.any(key, {})
        if value is None or value == []:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(f"{key} should be an object, actually was {term(value)}")
        return value

    def tags(self, key: str = "tags") -> tuple[str, ...]:
        """Give tags: a list, or text with commas as RabbitMQ before 3.9 and LavinMQ write it."""
        value = self.any(key, ())
        return split_tags(value, self.wrong)

    def limits(self, key: str = "limits") -> Table | None:
        """Give limits: an object, or a list of names and values; None if there are none given."""
        value = self.any(key, None)
        if value is None or value == []:
            return None
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value):
            return {str(one["name"]): one.get("value") for one in value}
        raise self.wrong(f"{key} should be an object, actually was {term(value)}")

    def _get(self, key: str, kind: type[Value], shown: str, default: Value | None) -> Value:
        self._taken.add(key)
        value = self.values.get(key, default)
        if value is None and default is None:
            raise self.wrong(f"has no {key}")
        if value is None:
            assert default is not None
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(f"{key} should be {shown}, actually was {term(value)}")
        return value

    def done(self, *passed_over: str) -> None:
        """Warn of what was not asked for; of each key once."""
        for key in self.values:
            if key not in self._taken and key not in passed_over:
                self.warnings.add(
                    f"{self.where} has {term(key)}, which is not known here and passed over",
                    f"{self.section} {key}",
                )


def split_tags(value: object, wrong: Callable[[str], BrokerError]) -> tuple[str, ...]:
    """Read tags: a list, or text with commas between them.

    Args:
        value: from JSON.
        wrong: builds the error for anything else.
    """
    if isinstance(value, str):
        value = [tag.strip() for tag in value.split(",")]
    if not isinstance(value, list | tuple) or not all(isinstance(tag, str) for tag in value):
        raise wrong(f"tags should be a list of texts, actually were {term(value)}")
    return tuple(dict.fromkeys(tag for tag in value if tag))


def _user(fields: Fields, creator: str) -> Entry:
    name = fields.name("name")
    tags = fields.tags()
    entry = UserEntry(name, _password(fields, name), tags, fields.limits())
    if not name:
        raise fields.wrong("has an empty name")
    fields.done()
    return entry


def _password(fields: Fields, name: str) -> PasswordHash | None:
    """Read a user's password hash; a user without one cannot log in by password."""
    hashed = fields.optional(HASHED, str, "text")
    algorithm = fields.optional(HASHING, str, "text")
    if fields.optional(PLAIN, str, "text") is not None:
        raise fields.wrong("has a password that was not hashed")
    if not hashed:
        return None
    try:
        return read_hash(hashed, algorithm)
    except BrokerError as error:
        if UNKNOWN_HASH not in error.text:
            raise fields.wrong(f"cannot be imported: {error.text}") from None
        fields.warnings.add(f"user '{name}' gets no password: {error.text}; it must be set anew")
        return None


def read_hash(encoded: str, algorithm: str | None) -> PasswordHash:
    """Read a password hash.

    Args:
        encoded: as definitions and the HTTP API carry it.
        algorithm: its name; None if it is not said, as before RabbitMQ 3.6: the length tells it then.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    if algorithm is None:
        octets = len(encoded.rstrip("=")) * 3 // 4
        algorithm = {SALT_SIZE + 16: MD5, SALT_SIZE + 64: SHA512}.get(octets, SHA256)
    return decode_hash(encoded, algorithm)


def _vhost(fields: Fields, creator: str) -> Entry:
    about = fields.table("metadata")
    for key in (
        "description",
        "tags",
        "default_queue_type",
        "tracing",
        "protected_from_deletion",
        "redeclare",
    ):
        if fields.values.get(key) is None and about.get(key) is not None:
            fields.values[key] = about[key]
    entry = VhostEntry(
        fields.name("name"),
        fields.optional("description", str, "text") or "",
        fields.tags(),
        fields.optional("default_queue_type", str, "text"),
        fields.optional("tracing", bool, "true or false"),
        fields.optional("protected_from_deletion", bool, "true or false"),
        fields.optional("redeclare", str, "text"),
        fields.limits(),
        creator,
    )
    fields.done("cluster_state", "dir")
    return entry


def _permission(fields: Fields, creator: str) -> Entry:
    entry = PermissionEntry(
        fields.vhost(),
        fields.name("user"),
        fields.text("configure"),
        fields.text("write"),
        fields.text("read"),
    )
    fields.done()
    return entry


def _topic_permission(fields: Fields, creator: str) -> Entry:
    entry = TopicPermissionEntry(
        fields.vhost(),
        fields.name("user"),
        fields.name("exchange"),
        fields.text("write"),
        fields.text("read"),
    )
    fields.done()
    return entry


def _parameter(fields: Fields, creator: str) -> Entry:
    component = fields.name("component")
    value = normal_value(component, fields.any("value"))
    entry = ParameterEntry(fields.vhost(), component, fields.name("name"), value)
    fields.done()
    return entry


def _global_parameter(fields: Fields, creator: str) -> Entry:
    entry = GlobalParameterEntry(fields.name("name"), fields.any("value"))
    fields.done("component")
    return entry


def _policy(fields: Fields, creator: str) -> Entry:
    entry = PolicyEntry(
        fields.vhost(),
        fields.name("name"),
        fields.any("pattern"),
        fields.any("definition"),
        fields.any("priority", 0),
        fields.any("apply-to", "all"),
    )
    fields.done()
    return entry


def _exchange(fields: Fields, creator: str) -> Entry:
    entry = ExchangeEntry(
        fields.vhost(),
        fields.name("name"),
        fields.text("type", "direct"),
        fields.flag("durable", True),
        fields.flag("auto_delete", False),
        fields.flag("internal", False),
        fields.table("arguments"),
    )
    fields.done("policy", "user_who_performed_action")
    return entry


def _queue(fields: Fields, creator: str) -> Entry:
    type_name = fields.optional("type", str, "text") or ""
    entry = QueueEntry(
        fields.vhost(),
        fields.name("name"),
        type_name.removeprefix("rabbit_").removesuffix("_queue"),
        fields.flag("durable", True),
        fields.flag("auto_delete", False),
        fields.table("arguments"),
    )
    if fields.any("exclusive", False) is True:
        raise fields.wrong("is exclusive: it belongs to a connection and cannot be imported")
    fields.done("policy")
    return entry


def _binding(fields: Fields, creator: str) -> Entry:
    kind = fields.text("destination_type", "queue")
    if kind not in ("queue", "exchange"):
        raise fields.wrong(f"destination_type should be queue or exchange, actually was {term(kind)}")
    entry = BindingEntry(
        fields.vhost(),
        fields.name("source"),
        fields.name("destination"),
        kind == "queue",
        fields.name("routing_key", ""),
        fields.table("arguments"),
    )
    fields.done("properties_key")
    return entry


_READERS: Final[Mapping[str, Callable[[Fields, str], Entry]]] = {
    "users": _user,
    "vhosts": _vhost,
    "permissions": _permission,
    "topic_permissions": _topic_permission,
    "parameters": _parameter,
    "harebell_parameters": _parameter,
    "global_parameters": _global_parameter,
    "policies": _policy,
    "harebell_policies": _policy,
    "exchanges": _exchange,
    "queues": _queue,
    "bindings": _binding,
}


def sections(document: object, vhost: str | None, warnings: Warnings) -> dict[str, list[object]]:
    """Find the sections of a file that are imported, in order.

    Args:
        document: from JSON.
        vhost: the one virtual host to import into; None for the whole node.
        warnings: gets what is passed over.

    Raises:
        BrokerError: PRECONDITION_FAILED if this is no definitions at all.
    """
    if not isinstance(document, dict):
        raise BrokerError(PRECONDITION_FAILED, "definitions should be an object in JSON")
    found: dict[str, list[object]] = {}
    for section in ORDER:
        rows = document.get(section)
        if rows is None:
            continue
        if not isinstance(rows, list):
            raise BrokerError(PRECONDITION_FAILED, f"{section} should be a list, actually was {term(rows)}")
        if vhost is not None and section not in OF_ONE_VHOST:
            if rows:
                warnings.add(f"{section} are passed over: they belong to no single virtual host")
            continue
        found[section] = rows
    for key in document:
        if key not in ORDER and key not in _ABOUT:
            warnings.add(f"{term(key)} is not known here and passed over")
    return found


def entries(
    found: Mapping[str, list[object]], vhost: str | None, creator: str, warnings: Warnings
) -> Iterator[Entry]:
    """Read the objects one by one.

    Args:
        found: what ``sections`` gave.
        vhost: the one virtual host to import into; None for the whole node.
        creator: who imports; empty for the node itself.
        warnings: gets what is passed over.

    Raises:
        BrokerError: PRECONDITION_FAILED for one that is wrong in itself.
    """
    for section, rows in found.items():
        read = _READERS[section]
        for number, row in enumerate(rows):
            yield read(Fields(section, number, row, vhost, warnings), creator)
