"""Whether everything valid by one JSON Schema is valid by another, as far as that can be told soundly.

What is asked is inclusion: the *writer*'s messages must all be valid for the *reader*.  The answer may be
"no" although it is "yes", never the other way round.  What is looked at, keyword by keyword of the reader:

* ``type``, ``enum``, ``const``, and numeric, length and size limits, ``multipleOf``, ``pattern`` (the same),
  ``uniqueItems``, ``required``;
* ``properties``, ``patternProperties`` (the same patterns), ``additionalProperties``, ``propertyNames``;
* ``items``, ``prefixItems``, ``additionalItems``, ``contains``;
* ``allOf``, ``anyOf``, ``oneOf`` (the same, or alternatives of different types), ``$ref`` into the document.

Annotations are passed over (``title``, ``description``, ``default``, ``examples``, ``format``, ...), and so
are keywords that JSON Schema does not have.  Any other keyword of the reader must be in the writer, too, and
be the same.

A writer is a list of schemas that all hold for a value; so each keyword of the reader has to follow from one
of them.  Where it does not, the writer is split by its alternatives (``anyOf``, ``oneOf``, several types),
and each has to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from harebell.errors import InvalidSchema
from harebell.schemas.json_schema_document import UNKNOWN, Document, canonical, same
from harebell.schemas.json_schema_limits import LIMITS, OF_TYPE, Conjunction, possible_types

MOST_STEPS: Final = 5_000
"""Comparisons of schemas; what takes more is taken for different."""

MOST_PROBLEMS: Final = 20
MOST_ALTERNATIVES: Final = 32

STRICT: Final = frozenset(
    (
        "not",
        "if",
        "then",
        "else",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "minContains",
        "maxContains",
        "contentEncoding",
        "contentMediaType",
    )
)
"""Keywords that have to be the same."""

SINCE: Final = {
    "const": 6,
    "contains": 6,
    "propertyNames": 6,
    "if": 7,
    "then": 7,
    "else": 7,
    "dependentRequired": 2019,
    "dependentSchemas": 2019,
    "minContains": 2019,
    "maxContains": 2019,
    "prefixItems": 2020,
}
"""The draft that brought a keyword: earlier ones pass it over."""

ITEMS: Final = ("items", "prefixItems", "additionalItems")
ANNOTATIONS: Final = (
    "title",
    "description",
    "default",
    "examples",
    "$comment",
    "format",
    "$schema",
    "$id",
    "id",
)

Valid = Callable[[Any, Any], bool]


class Inclusion:
    """One comparison.

    Args:
        reader, writer: the documents.
        valid: holds a value against a schema that refers to nothing outside of itself.
    """

    def __init__(self, reader: Document, writer: Document, valid: Valid) -> None:
        self._reader = reader
        self._writer = writer
        self._valid = valid
        self._steps = 0
        self._same_definitions = all(
            same(_part(reader, name), _part(writer, name)) for name in ("$defs", "definitions")
        )
        self._assumed: dict[tuple[frozenset[bytes], bytes], None] = {}
        self._keys: dict[int, tuple[Any, bytes]] = {}

    def problems(self) -> list[str]:
        """List why not everything the writer writes is valid for the reader; empty if it is."""
        reader, writer = self._reader, self._writer
        if same(reader.root, writer.root):
            return []
        if reader.draft != writer.draft or reader.draft == UNKNOWN:
            return ["they follow different drafts of JSON Schema"]
        if not reader.plain or not writer.plain:
            return ["one of them uses identifiers or anchors within, and they are not the same"]
        try:
            return self._compare([writer.root], reader.root, "")[:MOST_PROBLEMS]
        except _TooMuch:
            return ["they are too complex to be compared"]

    def _compare(self, writers: list[Any], reader: Any, path: str) -> list[str]:
        """List where not every value that is valid by all of the writers is valid by the reader."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _TooMuch
        if reader is True or reader == {} or any(self._alike(each, reader) for each in writers):
            return []
        conjunction = self._conjunction(writers)
        if conjunction is None:
            return []
        if reader is False:
            return [_at(path, "nothing is allowed here")] if possible_types(conjunction) else []
        pair = (frozenset([self._key(each) for each in conjunction]), self._key(reader))
        if pair in self._assumed:
            # Values are finite and no reference leads back to its own place: a level was descended since.
            return []
        self._assumed[pair] = None
        found = self._by_values(conjunction, reader, path)
        if found is None:
            found = self._by_keywords(conjunction, reader, path)
            if found and self._split(conjunction, reader, path):
                found = []
        if found:
            # What was shown since rests on what turned out wrong.
            while self._assumed.popitem()[0] != pair:
                pass
        return found

    def _key(self, schema: Any) -> bytes:
        known = self._keys.get(id(schema))
        if known is None:
            # Kept together with its schema, so that the identity stays taken.
            known = self._keys[id(schema)] = (schema, canonical(schema))
        return known[1]

    def _alike(self, writer: Any, reader: Any) -> bool:
        """Tell whether two schemas say the same."""
        if not same(_bare(writer), _bare(reader)):
            return False
        return (self._same_definitions and not _refers_elsewhere(reader)) or not _refers(reader)

    def _conjunction(self, writers: list[Any]) -> Conjunction | None:
        """Take references and ``allOf`` apart: schemas that all hold; None if no value is valid."""
        found: Conjunction = []
        work = list(reversed(writers))
        while work:
            schema = work.pop()
            if schema is False:
                return None
            if not isinstance(schema, dict):
                continue
            if "$ref" in schema:
                work.append(self._writer.resolve(schema["$ref"]))
                if self._writer.sole_reference(schema):
                    continue
            if isinstance(schema.get("allOf"), list):
                work.extend(reversed(schema["allOf"]))
            draft = self._writer.draft
            kept = {
                key: value
                for key, value in schema.items()
                if key not in ("$ref", "allOf", *ANNOTATIONS) and SINCE.get(key, 0) <= draft
            }
            if kept:
                found.append(kept)
        return found

    def _by_values(self, conjunction: Conjunction, reader: Any, path: str) -> list[str] | None:
        """Compare a writer that has few values; None if it has many, or they cannot be looked at alone."""
        values = _values(conjunction)
        root = self._reader.root
        if values is None or not isinstance(root, dict) or _refers_elsewhere(reader):
            return None
        parts = {key: root[key] for key in ("$schema", "$defs", "definitions") if key in root}
        own = reader is not root and ("$defs" in reader or "definitions" in reader)
        if own or _refers_elsewhere(parts):
            return None
        try:
            bad = [value for value in values if not self._valid({**parts, **reader}, value)]
        except InvalidSchema:
            return None
        return [_at(path, f"the value {value!r:.60} is not allowed") for value in bad]

    def _by_keywords(self, conjunction: Conjunction, reader: Any, path: str) -> list[str]:
        """Let each keyword of the reader follow from some schema of the writer."""
        found: list[str] = []
        possible = possible_types(conjunction)
        if "$ref" in reader:
            target = self._reader.resolve(reader["$ref"])
            if target is None:
                found.append(_at(path, "$ref cannot be followed"))
            else:
                found += self._compare(list(conjunction), target, path)
            if self._reader.sole_reference(reader):
                return found
        for key, value in reader.items():
            needs = OF_TYPE.get(key)
            if needs is not None and possible.isdisjoint(needs):
                continue
            limit = LIMITS.get(key)
            if limit is not None:
                if not limit(conjunction, reader, possible):
                    found.append(_at(path, f"{key} {value!r:.80} is narrower than it was"))
            elif key == "allOf":
                for each in value:
                    found += self._compare(list(conjunction), each, path)
            elif key in ("anyOf", "oneOf"):
                found += self._alternatives(conjunction, key, value, path)
            elif key in ("properties", "patternProperties", "additionalProperties", "propertyNames"):
                found += self._object(conjunction, reader, key, path)
            elif key == "items" or (key in ITEMS and "items" not in reader):
                found += self._array(conjunction, reader, path)
            elif key == "contains":
                found += self._contains(conjunction, reader, path)
            elif key in STRICT and not self._in_all_respects(conjunction, reader, key):
                found.append(_at(path, f"{key} is not the same"))
            elif key in ("unevaluatedProperties", "unevaluatedItems") and value is not True:
                found.append(_at(path, f"{key} cannot be compared"))
            if len(found) > MOST_PROBLEMS:
                break
        return found

    def _in_all_respects(self, conjunction: Conjunction, reader: Any, key: str) -> bool:
        keys = next((group for group in _GROUPS if key in group), (key,))
        part = {each: reader[each] for each in keys if each in reader}
        return any(
            self._alike({each: one[each] for each in keys if each in one}, part) for one in conjunction
        )

    def _alternatives(self, conjunction: Conjunction, key: str, branches: list[Any], path: str) -> list[str]:
        if self._in_all_respects(conjunction, {key: branches}, key):
            return []
        if key == "oneOf" and not self._disjoint(branches):
            return [_at(path, "oneOf is not the same, and its alternatives may overlap")]
        first: list[str] = []
        for branch in branches:
            found = self._compare(list(conjunction), branch, path)
            if not found:
                return []
            first = first or found
        if len(branches) == 1:
            return first
        return [_at(path, f"no alternative of {key} takes everything")]

    def _disjoint(self, branches: list[Any]) -> bool:
        """Tell whether no value is valid by two schemas of the reader."""
        parts = [self._flat(branch) for branch in branches]
        return all(
            possible_types(one).isdisjoint(possible_types(other)) or _tagged_apart(one, other)
            for at, one in enumerate(parts)
            for other in parts[:at]
        )

    def _flat(self, schema: Any) -> Conjunction:
        """Give what a schema of the reader says, without what it refers to unless that is all it does."""
        for _ in range(MOST_ALTERNATIVES):
            if isinstance(schema, dict) and "$ref" in schema:
                schema = self._reader.resolve(schema["$ref"])
        if not isinstance(schema, dict):
            return []
        draft = self._reader.draft
        return [{key: value for key, value in schema.items() if SINCE.get(key, 0) <= draft}]

    def _object(self, conjunction: Conjunction, reader: Any, key: str, path: str) -> list[str]:
        found: list[str] = []
        if key == "properties":
            for name, each in reader[key].items():
                found += self._compare(_of_property(conjunction, name), each, f"{path}/{name}")
        elif key == "patternProperties":
            for pattern, each in reader[key].items():
                theirs = [
                    one["patternProperties"][pattern] for one in conjunction if pattern in _patterns(one)
                ]
                found += self._compare(theirs, each, f"{path}/{pattern}")
        elif key == "propertyNames":
            theirs = [one[key] for one in conjunction if key in one]
            found += self._compare([*theirs, {"type": "string"}], reader[key], f"{path} names")
        elif reader[key] is not True:
            return self._additional(conjunction, reader, path)
        return found

    def _additional(self, conjunction: Conjunction, reader: Any, path: str) -> list[str]:
        """Compare what the reader takes as properties that it does not name; one schema must provide it."""
        first: list[str] = []
        ours = reader["additionalProperties"]
        for one in [*conjunction, {}]:
            named = one.get("properties")
            found: list[str] = []
            for name in named if isinstance(named, dict) else ():
                if name not in reader.get("properties", {}):
                    found += self._compare(_of_property(conjunction, name), ours, f"{path}/{name}")
            for pattern, each in _patterns(one).items():
                if pattern not in _patterns(reader):
                    found += self._compare([each], ours, f"{path}/{pattern}")
            found += self._compare([one.get("additionalProperties", True)], ours, f"{path}/*")
            if not found:
                return []
            first = first or found
        return first

    def _array(self, conjunction: Conjunction, reader: Any, path: str) -> list[str]:
        draft = self._reader.draft
        ours, rest = _layout(reader, draft)
        theirs = [_layout(one, draft) for one in conjunction]
        longest = max([len(ours), *[len(prefix) for prefix, _ in theirs]])
        found: list[str] = []
        for number in range(longest):
            writers = [prefix[number] if number < len(prefix) else more for prefix, more in theirs]
            wanted = ours[number] if number < len(ours) else rest
            found += self._compare(writers, wanted, f"{path}/{number}")
        return found + self._compare([more for _, more in theirs], rest, f"{path}/*")

    def _contains(self, conjunction: Conjunction, reader: Any, path: str) -> list[str]:
        if self._in_all_respects(conjunction, reader, "contains"):
            return []
        if "minContains" not in reader and "maxContains" not in reader:
            for one in conjunction:
                has = "contains" in one and "minContains" not in one
                if has and not self._compare([one["contains"]], reader["contains"], path):
                    return []
        return [_at(path, "contains is not the same")]

    def _split(self, conjunction: Conjunction, reader: Any, path: str) -> bool:
        """Tell whether each alternative of the writer does for itself."""
        for at, one in enumerate(conjunction):
            for key in ("anyOf", "oneOf"):
                branches = one.get(key)
                if isinstance(branches, list) and len(branches) <= MOST_ALTERNATIVES:
                    others = conjunction[:at] + conjunction[at + 1 :]
                    others.append({name: value for name, value in one.items() if name != key})
                    return not any(self._compare([*others, each], reader, path) for each in branches)
        kinds = sorted({"number" if each == "integer" else each for each in possible_types(conjunction)})
        if len(kinds) > 1:
            return not any(self._compare([*conjunction, {"type": each}], reader, path) for each in kinds)
        return False


class _TooMuch(Exception):
    """A comparison takes too long."""


_GROUPS: Final = (("if", "then", "else"), ("contains", "minContains", "maxContains"))


def _part(document: Document, name: str) -> Any:
    return document.root.get(name) if isinstance(document.root, dict) else None


def _at(path: str, text: str) -> str:
    return f"{path[:200] or '/'}: {text}"


def _bare(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    return {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def _refers(value: Any) -> bool:
    """Tell whether there is a reference somewhere in it."""
    if isinstance(value, dict):
        return "$ref" in value or any(_refers(each) for each in value.values())
    return isinstance(value, list) and any(_refers(each) for each in value)


def _refers_elsewhere(value: Any) -> bool:
    """Tell whether there is a reference in it that does not lead to a definition."""
    if isinstance(value, list):
        return any(_refers_elsewhere(each) for each in value)
    if not isinstance(value, dict):
        return False
    to = value.get("$ref", "#/$defs/")
    here = isinstance(to, str) and not to.startswith(("#/$defs/", "#/definitions/"))
    return here or any(_refers_elsewhere(each) for each in value.values())


def _values(conjunction: Conjunction) -> list[Any] | None:
    """List the values of a writer that has an enumeration; None if it has none."""
    lists = [[one["const"]] for one in conjunction if "const" in one]
    lists += [one["enum"] for one in conjunction if isinstance(one.get("enum"), list)]
    return min(lists, key=len) if lists else None


def _patterns(schema: Any) -> dict[str, Any]:
    found = schema.get("patternProperties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


def _of_property(conjunction: Conjunction, name: str) -> list[Any]:
    """List the schemas that hold for a property; patterns, which may match it or not, say nothing."""
    found: list[Any] = []
    for one in conjunction:
        properties = one.get("properties")
        if isinstance(properties, dict) and name in properties:
            found.append(properties[name])
        elif not _patterns(one):
            found.append(one.get("additionalProperties", True))
    return found


def _layout(schema: dict[str, Any], draft: int) -> tuple[list[Any], Any]:
    """Give the schemas of an array's first items, and that of all others."""
    items = schema.get("items", True)
    if draft >= 2020:
        prefix = schema.get("prefixItems", [])
        return (prefix if isinstance(prefix, list) else []), items
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    return [], items


def _tagged_apart(one: Conjunction, other: Conjunction) -> bool:
    """Tell whether two kinds of objects differ in the value of a property that both must have."""
    if not one or not other:
        return False
    mine, theirs = one[0], other[0]
    if mine.get("type") != "object" or theirs.get("type") != "object":
        return False
    for name in mine.get("required", []):
        if name in theirs.get("required", []):
            ours, others = _tags(mine, name), _tags(theirs, name)
            if ours and others and {canonical(each) for each in ours}.isdisjoint(map(canonical, others)):
                return True
    return False


def _tags(schema: dict[str, Any], name: str) -> list[Any] | None:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, dict) else None
    return _values([found]) if isinstance(found, dict) and "$ref" not in found else None
