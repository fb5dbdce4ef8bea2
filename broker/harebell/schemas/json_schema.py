"""JSON Schema, by jsonschema-rs: drafts 4 to 2020-12.

What a schema must not do to a broker is refused here:

* nothing is fetched: a ``$ref`` leads somewhere within the document;
* regular expressions are those that take linear time, so neither look-around nor back-references;
* a schema whose checking could take exponential time is refused (``json_schema_effort.py``).

``format`` is an annotation and checks nothing, as in JSON Schema since 2019-09.
"""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs
import orjson

from harebell.errors import InvalidSchema
from harebell.ports import MessageCheck, Schema
from harebell.schemas.json_schema_document import Document
from harebell.schemas.json_schema_effort import check_effort
from harebell.schemas.json_schema_inclusion import Inclusion

PATTERN_OCTETS: Final = 1024 * 1024
"""Memory of one compiled regular expression."""

MOST_PATH: Final = 200
MOST_REASON: Final = 600
"""Characters shown of where and what is wrong."""


def check(schema: Schema) -> MessageCheck:
    """Compile a schema.

    Raises:
        InvalidSchema: see above.
    """
    document = parse(schema)
    check_effort(document)
    return JsonCheck(_validator(document.root))


def differences(reader: Schema, writer: Schema) -> list[str]:
    """List why what is valid by one schema may not be by another."""

    def valid(subschema: Any, value: Any) -> bool:
        return bool(_validator(subschema).is_valid(value))

    check(reader)
    check(writer)
    return Inclusion(parse(reader), parse(writer), valid).problems()


def parse(schema: Schema) -> Document:
    """Read a schema's text.

    Raises:
        InvalidSchema: it is no JSON, or neither an object nor a boolean.
    """
    try:
        root = orjson.loads(schema.text)
    except orjson.JSONDecodeError as error:
        raise InvalidSchema(f"it is no JSON: {error}") from None
    if not isinstance(root, dict | bool):
        raise InvalidSchema("it is neither a JSON object nor true or false")
    return Document(root)


def _validator(root: Any) -> Any:
    options = jsonschema_rs.RegexOptions(size_limit=PATTERN_OCTETS, dfa_size_limit=PATTERN_OCTETS)
    try:
        return jsonschema_rs.validator_for(
            root, validate_formats=False, pattern_options=options, offline=True
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        said = getattr(error, "message", "") or str(error)
        raise InvalidSchema(f"it is no JSON Schema: {said[:MOST_REASON]}") from None


class JsonCheck(MessageCheck):
    """Holds JSON texts against a compiled schema.

    Args:
        validator: of jsonschema-rs.
    """

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def problem(self, body: bytes, framed: bool) -> str:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return f"no JSON: {error}"
        try:
            if self._validator.is_valid(value):
                return ""
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            path = "".join(f"/{part}" for part in error.instance_path)
            where = f" at {path[:MOST_PATH]}" if path else ""
            return f"{error.message[:MOST_REASON]}{where}"
        except ValueError as error:
            return f"it cannot be checked: {error!s:.600}"
        return ""
