"""Keywords of JSON Schema that can be compared by their values: whether one follows from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from harebell.schemas.json_schema_document import canonical, same

ALL: Final = frozenset(("null", "boolean", "number", "integer", "string", "array", "object"))
"""Types; here ``number`` is one with a fraction, beside ``integer``."""

NUMBERS: Final = frozenset(("number", "integer"))
STRINGS: Final = frozenset(("string",))
ARRAYS: Final = frozenset(("array",))
OBJECTS: Final = frozenset(("object",))

OF_TYPE: Final = {
    **dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "multipleOf"), NUMBERS),
    **dict.fromkeys(("maxLength", "minLength", "pattern"), STRINGS),
    **dict.fromkeys(("maxItems", "minItems", "uniqueItems"), ARRAYS),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "contains"), ARRAYS),
    **dict.fromkeys(("maxProperties", "minProperties", "required"), OBJECTS),
    **dict.fromkeys(("properties", "patternProperties", "additionalProperties", "propertyNames"), OBJECTS),
}
"""Keywords that mean something for values of one type only."""

Conjunction = list[dict[str, Any]]
"""Schemas that all hold for a value."""

Limit = Callable[[Conjunction, dict[str, Any], frozenset[str]], bool]
"""Tells whether a keyword of a reader follows from schemas that hold, of which values may have some types."""


def types_named(value: Any) -> frozenset[str]:
    """Give the types that ``type`` names."""
    names = frozenset([value] if isinstance(value, str) else value)
    return names | NUMBERS if "number" in names else names


def possible_types(conjunction: Conjunction) -> frozenset[str]:
    """Give the types a value may have for which schemas hold."""
    found = ALL
    for one in conjunction:
        if "type" in one:
            found &= types_named(one["type"])
        if "const" in one:
            found &= _types_of(one["const"])
        if isinstance(one.get("enum"), list):
            found &= frozenset().union(*[_types_of(each) for each in one["enum"]])
    return found


def _types_of(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset(("null",))
    if isinstance(value, bool):
        return frozenset(("boolean",))
    if isinstance(value, int):
        return frozenset(("integer",))
    if isinstance(value, float):
        return NUMBERS
    if isinstance(value, str):
        return STRINGS
    return ARRAYS if isinstance(value, list) else OBJECTS


def _type(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    return possible <= types_named(reader["type"])


def _enum(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    allowed = {canonical(each) for each in ([reader["const"]] if "const" in reader else reader["enum"])}
    for one in conjunction:
        values = [one["const"]] if "const" in one else one.get("enum")
        if isinstance(values, list) and {canonical(each) for each in values} <= allowed:
            return True
    return False


def _lower(schema: dict[str, Any]) -> list[tuple[float, bool]]:
    """List the lower limits of a schema, and whether each is excluded itself."""
    exclusive = schema.get("exclusiveMinimum")
    found: list[tuple[float, bool]] = []
    if "minimum" in schema:
        found.append((schema["minimum"], exclusive is True))
    if isinstance(exclusive, int | float) and not isinstance(exclusive, bool):
        found.append((exclusive, True))
    return found


def _upper(schema: dict[str, Any]) -> list[tuple[float, bool]]:
    exclusive = schema.get("exclusiveMaximum")
    found: list[tuple[float, bool]] = []
    if "maximum" in schema:
        found.append((schema["maximum"], exclusive is True))
    if isinstance(exclusive, int | float) and not isinstance(exclusive, bool):
        found.append((exclusive, True))
    return found


def _at_least(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    theirs = [limit for one in conjunction for limit in _lower(one)]
    return all(
        any(value > least or (value == least and (out or not excluded)) for value, out in theirs)
        for least, excluded in _lower(reader)
    )


def _at_most(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    theirs = [limit for one in conjunction for limit in _upper(one)]
    return all(
        any(value < most or (value == most and (out or not excluded)) for value, out in theirs)
        for most, excluded in _upper(reader)
    )


def _multiple(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    factor = reader["multipleOf"]
    if factor == 1 and "number" not in possible:
        return True
    for one in conjunction:
        theirs = one.get("multipleOf")
        if theirs is not None and same(theirs, factor):
            return True
        if isinstance(theirs, int) and isinstance(factor, int) and theirs % factor == 0:
            return True
    return False


def _size_at_most(key: str) -> Limit:
    def implied(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
        return any(key in one and one[key] <= reader[key] for one in conjunction)

    return implied


def _size_at_least(key: str) -> Limit:
    def implied(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
        return reader[key] <= 0 or any(key in one and one[key] >= reader[key] for one in conjunction)

    return implied


def _equal(key: str) -> Limit:
    def implied(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
        return any(key in one and same(one[key], reader[key]) for one in conjunction)

    return implied


def _unique(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    return reader["uniqueItems"] is not True or any(one.get("uniqueItems") is True for one in conjunction)


def _required(conjunction: Conjunction, reader: dict[str, Any], possible: frozenset[str]) -> bool:
    theirs = {name for one in conjunction for name in one.get("required", [])}
    return theirs.issuperset(reader["required"])


LIMITS: Final[dict[str, Limit]] = {
    "type": _type,
    "enum": _enum,
    "const": _enum,
    "minimum": _at_least,
    "exclusiveMinimum": _at_least,
    "maximum": _at_most,
    "exclusiveMaximum": _at_most,
    "multipleOf": _multiple,
    **{key: _size_at_most(key) for key in ("maxLength", "maxItems", "maxProperties")},
    **{key: _size_at_least(key) for key in ("minLength", "minItems", "minProperties")},
    "pattern": _equal("pattern"),
    "uniqueItems": _unique,
    "required": _required,
}
"""By keyword."""
