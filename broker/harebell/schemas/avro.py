"""Avro, by fastavro: binary datums, and the rules by which a reader's schema resolves a writer's.

A message is one datum in Avro's binary encoding, with nothing behind it.  Neither the container file format
nor single-object encoding is taken.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final, NamedTuple

import fastavro
import orjson
from fastavro._read_py import schemaless_reader as patient_reader

from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema

MOST_REASON: Final = 600
MOST_TYPES: Final = 5_000
"""Types within a schema."""

MOST_FREE: Final = 200
"""Parts of one record that are read although no octet stands for them: nulls, and records of nothing else."""

PROMOTIONS: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
"""What a reader may take a writer's type for (Avro 1.11, "Schema Resolution")."""

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
NAMED: Final = ("record", "error", "enum", "fixed")


def check(schema: Schema) -> MessageCheck:
    """Read a schema.

    Raises:
        InvalidSchema: it is none, or has an array whose items take no octets, which a message of a few octets
            could have billions of.
    """
    names = Names(schema.text)
    return AvroCheck(names.parsed, names.recursive)


def differences(reader: Schema, writer: Schema) -> list[str]:
    """List why a reader cannot resolve what a writer writes."""
    return _Resolution(Names(reader.text), Names(writer.text)).problems()


class Cost(NamedTuple):
    """What a value costs.

    Attributes:
        octets: whether it takes any.
        free: how many parts of it are read that take none.
    """

    octets: bool
    free: int


_FREE: Final = Cost(False, 1)
_ONE_OCTET: Final = Cost(True, 0)


class Names:
    """A schema that was read, and its named types.

    Args:
        text: its JSON.

    Attributes:
        parsed: as fastavro keeps it.
        recursive: True if some type contains itself.

    Raises:
        InvalidSchema: it is no schema.
    """

    def __init__(self, text: str) -> None:
        try:
            raw = orjson.loads(text)
        except orjson.JSONDecodeError:
            # A name of a primitive type may come without quotes.
            raw = text.strip()
        self.types: dict[str, Any] = {}
        _check_names(raw)
        try:
            self.parsed = fastavro.parse_schema(raw, named_schemas=self.types)
        except RecursionError:
            raise
        except Exception as error:
            # Whatever it meets in what somebody sent: it is no schema.
            raise InvalidSchema(f"it is no Avro schema: {error!s:.{MOST_REASON}}") from None
        self.recursive = False
        self._costs: dict[str, Cost] = {}
        self._looked_at: set[str] = set()
        self._count = 0
        self._look_at(self.parsed, ())

    def find(self, schema: Any) -> Any:
        """Give a named type for its name, and a schema for itself."""
        if isinstance(schema, str) and schema in self.types:
            return self.types[schema]
        return schema

    def _look_at(self, schema: Any, outer: tuple[str, ...]) -> None:
        self._count += 1
        if self._count > MOST_TYPES:
            raise InvalidSchema(f"it has more than {MOST_TYPES} types")
        schema = self.find(schema)
        if isinstance(schema, list):
            for each in schema:
                if isinstance(self.find(each), list):
                    raise InvalidSchema("it has a union right within a union")
                self._look_at(each, outer)
        elif isinstance(schema, dict):
            kind = schema["type"]
            if kind in ("record", "error"):
                self._look_at_record(schema, outer)
            elif kind == "array":
                self._look_at(schema["items"], outer)
                if not self.cost(schema["items"]).octets:
                    raise InvalidSchema("it has an array whose items may take no octets")
            elif kind == "map":
                self._look_at(schema["values"], outer)
            elif isinstance(kind, dict | list):
                self._look_at(kind, outer)

    def _look_at_record(self, schema: dict[str, Any], outer: tuple[str, ...]) -> None:
        name = schema["name"]
        if name in outer:
            self.recursive = True
        elif name not in self._looked_at:
            for field in schema["fields"]:
                self._look_at(field["type"], (*outer, name))
            self._looked_at.add(name)
            if self.cost(schema).free > MOST_FREE:
                raise InvalidSchema(f"{name} has more than {MOST_FREE} fields that take no octets")

    def cost(self, schema: Any) -> Cost:
        """Tell what a value costs at least, without what alternatives and repetitions in it may add."""
        schema = self.find(schema)
        if isinstance(schema, list):
            return _ONE_OCTET
        kind = schema["type"] if isinstance(schema, dict) else schema
        if kind == "null":
            return _FREE
        if kind == "fixed":
            return _ONE_OCTET if schema["size"] else _FREE
        if kind not in ("record", "error"):
            return self.cost(kind) if isinstance(kind, dict | list) else _ONE_OCTET
        name = schema["name"]
        if name not in self._costs:
            self._costs[name] = _FREE
            parts = [self.cost(field["type"]) for field in schema["fields"]]
            takes = any(part.octets for part in parts)
            self._costs[name] = Cost(takes, 1 + sum([part.free for part in parts]))
        return self._costs[name]


def _check_names(raw: Any) -> None:
    """Check what fastavro lets pass: names, and that records say their fields.

    Raises:
        InvalidSchema: something is wrong with them.
    """
    if isinstance(raw, list):
        for each in raw:
            _check_names(each)
    elif isinstance(raw, dict):
        kind = raw.get("type")
        if kind in NAMED and not (isinstance(raw.get("name"), str) and NAME.fullmatch(raw["name"])):
            raise InvalidSchema(f"it is no Avro schema: {raw.get('name')!r:.50} is no name of a type")
        if kind in ("record", "error"):
            fields = raw.get("fields")
            for field in fields if isinstance(fields, list) else ({},):
                name = field.get("name") if isinstance(field, dict) else None
                if not isinstance(name, str) or not NAME.fullmatch(name) or "." in name:
                    raise InvalidSchema(f"it is no Avro schema: {raw['name']:.50} has a field without a name")
                _check_names(field.get("type"))
        for key in ("type", "items", "values"):
            if isinstance(raw.get(key), dict | list):
                _check_names(raw[key])


class AvroCheck(MessageCheck):
    """Reads messages.

    Args:
        schema: as fastavro keeps it.
        recursive: True if messages may be nested to any depth: the interpreter's own limit on calls then
            guards the stack, which compiled code does not.
    """

    def __init__(self, schema: Any, recursive: bool) -> None:
        self._schema = schema
        self._read: Any = patient_reader if recursive else fastavro.schemaless_reader

    def problem(self, body: bytes, framed: bool) -> str:
        stream = BytesIO(body)
        try:
            self._read(stream, self._schema)
        except RecursionError:
            return "it is nested too deeply"
        except EOFError:
            return "it ends within a value"
        except Exception as error:
            # The reader meets any octets there can be, and says so in many ways.
            return f"it is no datum of the schema: {type(error).__name__} {error!s:.{MOST_REASON}}"
        left = len(body) - stream.tell()
        return f"there are {left} octets behind the value" if left else ""


class _Resolution:
    """One comparison of a reader with a writer."""

    def __init__(self, reader: Names, writer: Names) -> None:
        self._reader = reader
        self._writer = writer
        self._seen: set[tuple[str, str]] = set()
        self._steps = 0

    def problems(self) -> list[str]:
        return self._compare(self._reader.parsed, self._writer.parsed, "")[:20]

    def _compare(self, reader: Any, writer: Any, path: str) -> list[str]:
        self._steps += 1
        if self._steps > MOST_TYPES:
            return [_at(path, "they are too complex to be compared")]
        reader, writer = self._reader.find(reader), self._writer.find(writer)
        if isinstance(writer, list):
            return [problem for each in writer for problem in self._compare(reader, each, path)]
        if isinstance(reader, list):
            return self._some_branch(reader, writer, path)
        ours, theirs = _kind(reader), _kind(writer)
        if isinstance(ours, dict | list) or isinstance(theirs, dict | list):
            inner = ours if isinstance(ours, dict | list) else reader
            return self._compare(inner, theirs if isinstance(theirs, dict | list) else writer, path)
        if ours != theirs:
            if ours in PROMOTIONS.get(theirs, ()):
                return []
            return [_at(path, f"{theirs} cannot be read as {ours}")]
        if ours in NAMED:
            return self._named(ours, reader, writer, path)
        if ours == "array":
            return self._compare(reader["items"], writer["items"], f"{path}/*")
        if ours == "map":
            return self._compare(reader["values"], writer["values"], f"{path}/*")
        return _decimals(reader, writer, path)

    def _some_branch(self, reader: list[Any], writer: Any, path: str) -> list[str]:
        first: list[str] = []
        for branch in reader:
            found = self._compare(branch, writer, path)
            if not found:
                return []
            if _kind(self._reader.find(branch)) == _kind(writer):
                first = first or found
        return first or [_at(path, f"{_kind(writer)} is in the union no more")]

    def _named(self, kind: str, reader: Any, writer: Any, path: str) -> list[str]:
        ours, theirs = reader["name"], writer["name"]
        aliases = {_last(each) for each in reader.get("aliases", [])}
        if _last(ours) != _last(theirs) and _last(theirs) not in aliases:
            return [_at(path, f"{kind} {theirs} is called {ours} now, and has no alias")]
        if kind == "fixed":
            same = reader["size"] == writer["size"]
            return _decimals(reader, writer, path) if same else [_at(path, f"the size of {ours} is another")]
        if kind == "enum":
            gone = [each for each in writer["symbols"] if each not in reader["symbols"]]
            if not gone or "default" in reader:
                return []
            return [_at(path, f"{ours} has no symbol {', '.join(gone[:5])}, and no default")]
        if (ours, theirs) in self._seen:
            return []
        self._seen.add((ours, theirs))
        return self._fields(reader, writer, path)

    def _fields(self, reader: Any, writer: Any, path: str) -> list[str]:
        theirs = {field["name"]: field for field in writer["fields"]}
        found: list[str] = []
        for field in reader["fields"]:
            name = field["name"]
            names = [each for each in (name, *field.get("aliases", [])) if each in theirs]
            if names:
                found += self._compare(field["type"], theirs[names[0]]["type"], f"{path}/{name}")
            elif "default" not in field:
                found.append(_at(f"{path}/{name}", "it is new, and has no default"))
        return found


def _kind(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) else schema


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _decimals(reader: Any, writer: Any, path: str) -> list[str]:
    """Compare logical types as far as the value depends on them: the scale of decimals."""
    ours = reader if isinstance(reader, dict) else {}
    theirs = writer if isinstance(writer, dict) else {}
    if "decimal" in (ours.get("logicalType"), theirs.get("logicalType")):
        keys = ("logicalType", "precision", "scale")
        if [ours.get(key) for key in keys] != [theirs.get(key) for key in keys]:
            return [_at(path, "the decimal has another precision or scale")]
    return []


def _at(path: str, text: str) -> str:
    return f"{path[:200] or '/'}: {text}"
