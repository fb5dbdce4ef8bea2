"""A JSON Schema document: which draft it follows, and where its references lead."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import orjson

DRAFTS: Final = {
    "http://json-schema.org/draft-04/schema": 4,
    "http://json-schema.org/draft-06/schema": 6,
    "http://json-schema.org/draft-07/schema": 7,
    "https://json-schema.org/draft/2019-09/schema": 2019,
    "https://json-schema.org/draft/2020-12/schema": 2020,
}
LATEST: Final = 2020
"""What a document follows that does not say."""

UNKNOWN: Final = -1
"""The draft of a document that names another one."""

IN_PLACE: Final = ("allOf", "anyOf", "oneOf")
"""Keywords with a list of schemas for the same value."""


def canonical(value: Any) -> bytes:
    """Write a JSON value so that equal ones are written alike; 1 and true differ, and so do 1 and 1.0."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are written alike."""
    return canonical(one) == canonical(other)


class Document:
    """One schema document.

    Args:
        root: an object or a boolean.

    Attributes:
        draft: 4, 6, 7, 2019 or 2020; ``UNKNOWN`` for any other.
        plain: True if every reference in it is a pointer into it; where identifiers, anchors or dynamic
            references are used its parts cannot be told apart by looking at them.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        said = root.get("$schema") if isinstance(root, dict) else None
        self.draft = LATEST if said is None else DRAFTS.get(str(said).rstrip("#"), UNKNOWN)
        self.plain = _plain(root, True)

    def resolve(self, reference: Any) -> Any:
        """Give the schema a reference leads to; None if that cannot be told."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        found = self.root
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isascii() and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                return None
        return found if isinstance(found, dict | bool) else None

    def sole_reference(self, schema: dict[str, Any]) -> bool:
        """Tell whether a schema is its reference only: up to draft 7 that hides what is beside it."""
        return "$ref" in schema and self.draft in (4, 6, 7)


def _plain(value: Any, top: bool) -> bool:
    if isinstance(value, list):
        return all(_plain(each, False) for each in value)
    if not isinstance(value, dict):
        return True
    for key, each in value.items():
        if key in ("$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"):
            return False
        if key in ("$id", "id") and isinstance(each, str) and (not top or "#" in each):
            return False
        if key == "$ref" and isinstance(each, str) and not (each == "#" or each.startswith("#/")):
            return False
        if not _plain(each, False):
            return False
    return True
