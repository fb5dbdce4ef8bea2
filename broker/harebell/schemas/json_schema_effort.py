"""How often checking one value may look at one place of it: exponential effort is refused beforehand.

A place is looked at once for each way that leads there.  ``allOf`` with two schemas that describe the same
property looks at that property twice; if such schemas contain each other, it is looked at twice as often with
each level of nesting, and a message of a few hundred octets keeps the broker busy for hours.  Since the event
loop cannot be interrupted, such schemas are refused when they are registered.

The number of ways is worked out for ``LEVELS`` levels of nesting: at each, that of a schema is the sum over
keywords that describe the same place, and the largest over properties and array positions that differ.
``propertyNames`` describes texts, which have no places below.
"""

from __future__ import annotations

from typing import Any, Final

from harebell.errors import InvalidSchema
from harebell.schemas.json_schema_document import IN_PLACE, Document

LEVELS: Final = 24
MOST_WAYS: Final = 5_000
MOST_SCHEMAS: Final = 100_000
"""Schemas within a document, each counted once for each level."""

_SAME_PLACE: Final = ("not", "if", "then", "else")
_MAPS_SAME_PLACE: Final = ("dependentSchemas", "dependencies")
_PROPERTIES: Final = ("additionalProperties", "unevaluatedProperties")
_ITEMS: Final = ("additionalItems", "unevaluatedItems", "contains")


def check_effort(document: Document) -> None:
    """Check that a schema is cheap enough to check messages with.

    Raises:
        InvalidSchema: it is not, or a reference in it leads back to its own place.
    """
    if not document.plain:
        # Where its references lead cannot be told; those that lead elsewhere are refused on compiling.
        _refuse_dynamic(document.root)
    ways = _Ways(document)
    for level in range(LEVELS):
        if ways.of(document.root, level) > MOST_WAYS:
            raise InvalidSchema("checking it may take exponential time: schemas for one place multiply")


def _refuse_dynamic(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _refuse_dynamic(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("$dynamicRef", "$recursiveRef"):
                raise InvalidSchema(f"{key} is not taken: use $ref with a pointer, such as #/$defs/name")
            if key == "$ref" and isinstance(each, str) and each != "#" and not each.startswith("#/"):
                raise InvalidSchema(f"$ref {each[:100]!r} is not taken: use a pointer, such as #/$defs/name")
            if key in ("$ref", "$id", "id") and isinstance(each, dict | list):
                _refuse_dynamic(each)
            elif key in ("$id", "id") and isinstance(each, str) and "#" in each:
                raise InvalidSchema(f"{key} {each[:100]!r} is not taken: an identifier has no fragment")
            else:
                _refuse_dynamic(each)


Step = tuple[str, object]
"""One step down: into a property or an item, by its name or number; None for any of them."""

_HERE: Final[Step] = ("", None)
_ANY_PROPERTY: Final[Step] = ("property", None)
_ANY_ITEM: Final[Step] = ("item", None)


class _Ways:
    """Counts ways, remembering what was counted."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: dict[tuple[int, int], dict[Step, int]] = {}

    def of(self, schema: Any, level: int) -> int:
        """Count the ways from a schema to the place so many levels below that has the most."""
        ways = self._by_step(schema, level, ())
        most = dict.fromkeys(("", "property", "item"), 0)
        for (kind, name), count in ways.items():
            most[kind] = max(most[kind], count if name is None else count + ways.get((kind, None), 0))
        return max(most.values())

    def _by_step(self, schema: Any, level: int, outer: tuple[int, ...]) -> dict[Step, int]:
        """Count the ways by their first step.

        Args:
            outer: schemas of the same place that led here.
        """
        if not isinstance(schema, dict):
            return {_HERE: 1} if level == 0 else {}
        key = (id(schema), level)
        if key in self._known:
            return self._known[key]
        if id(schema) in outer:
            raise InvalidSchema("a reference leads back to the place it is at")
        if len(self._known) > MOST_SCHEMAS:
            raise InvalidSchema(f"it has more than {MOST_SCHEMAS // LEVELS} schemas")
        ways: dict[Step, int] = {_HERE: 1} if level == 0 else self._below(schema, level - 1)
        for each in self._same_place(schema):
            for step, count in self._by_step(each, level, (*outer, id(schema))).items():
                ways[step] = ways.get(step, 0) + count
        self._known[key] = ways
        return ways

    def _same_place(self, schema: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        if "$ref" in schema:
            found.append(self._document.resolve(schema["$ref"]))
            if self._document.sole_reference(schema):
                return found
        for key in IN_PLACE:
            if isinstance(schema.get(key), list):
                found.extend(schema[key])
        found.extend([schema[key] for key in _SAME_PLACE if key in schema])
        for key in _MAPS_SAME_PLACE:
            if isinstance(schema.get(key), dict):
                found.extend([each for each in schema[key].values() if isinstance(each, dict)])
        return found

    def _below(self, schema: dict[str, Any], level: int) -> dict[Step, int]:
        """Count the ways from a schema through the properties and items of its place."""
        ways: dict[Step, int] = {}
        if self._document.sole_reference(schema):
            return ways

        def add(step: Step, below: Any) -> None:
            ways[step] = ways.get(step, 0) + self.of(below, level)

        for key in _PROPERTIES:
            if key in schema:
                add(_ANY_PROPERTY, schema[key])
        for key in _ITEMS:
            if key in schema:
                add(_ANY_ITEM, schema[key])
        properties = schema.get("properties")
        for name, below in properties.items() if isinstance(properties, dict) else ():
            add(("property", name), below)
        patterns = schema.get("patternProperties")
        for below in patterns.values() if isinstance(patterns, dict) else ():
            add(_ANY_PROPERTY, below)
        for key in ("prefixItems", "items"):
            items = schema.get(key)
            if isinstance(items, list):
                for number, below in enumerate(items):
                    add(("item", number), below)
            elif items is not None:
                add(_ANY_ITEM, items)
        return ways
