"""Holds one JSON value against another: the same names, types and presence, whatever the values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

FREE: Final = ("arguments", "client_properties", "definition", "effective_policy_definition")
"""Objects whose names are data."""

BY_NODE: Final = ("open_files", "readers", "cluster_state")
"""Objects whose names are those of nodes."""

IDENTIFYING: Final = (
    "vhost",
    "user",
    "exchange",
    "source",
    "destination",
    "routing_key",
    "component",
    "name",
    "consumer_tag",
    "protocol",
)
"""Fields that tell objects of a list apart."""


def kind(value: object) -> str:
    """Name the type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def differences(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """List how a value differs in shape from the expected one: path, then what it is.

    A whole number is fine where a broken one is expected, not the other way round.  Of lists, objects with
    the same identity are compared.
    """
    wanted, found = kind(expected), kind(actual)
    if wanted != found and (wanted, found) != ("number", "integer"):
        yield f"{path} is {found}, not {wanted}"
    elif isinstance(expected, dict) and not path.endswith(FREE):
        yield from _of_objects(expected, actual, path)
    elif isinstance(expected, list) and expected:
        yield from _of_lists(expected, actual, path)


def _of_objects(expected: dict[str, Any], actual: dict[str, Any], path: str) -> Iterator[str]:
    if path.endswith(BY_NODE):
        for wanted, found in zip(expected.values(), actual.values(), strict=False):
            yield from differences(wanted, found, f"{path}.*")
        return
    for name in sorted(expected.keys() - actual.keys()):
        yield f"{path}.{name} is missing"
    for name in sorted(actual.keys() - expected.keys()):
        yield f"{path}.{name} is new"
    for name in sorted(expected.keys() & actual.keys()):
        yield from differences(expected[name], actual[name], f"{path}.{name}")


def _of_lists(expected: list[Any], actual: list[Any], path: str) -> Iterator[str]:
    if not actual:
        yield f"{path} is empty"
        return
    if not isinstance(expected[0], dict) or not isinstance(actual[0], dict):
        yield from differences(expected[0], actual[0], f"{path}[]")
        return
    there = {identity(each): each for each in actual}
    for each in expected:
        same = there.get(identity(each)) or (actual[0] if len(expected) == 1 else None)
        if same is None:
            yield f"{path}[] has no {identity(each)}"
        else:
            yield from differences(each, same, f"{path}[]")


def identity(each: dict[str, Any]) -> str:
    """Give what tells an object from others in its list; the only connection of a record has any name."""
    if "client_properties" in each:
        return "the connection"
    if "connection_details" in each:
        return f"channel {each['number']}"
    return "/".join(str(each[name]) for name in IDENTIFYING if name in each)


def unexplained(found: Iterable[str], explained: Iterable[str], used: set[str]) -> list[str]:
    """Leave out the differences that patterns explain, and note which patterns did."""
    left = []
    for difference in sorted(set(found)):
        matching = {pattern for pattern in explained if fnmatchcase(difference, pattern)}
        used |= matching
        if not matching:
            left.append(difference)
    return left
