"""Values in the forms of rabbitmqctl: Erlang terms in tables, typed triples in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def table_text(value: Any) -> str:
    """Write a value for a column of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return "[" + ",".join(f"{{{_quoted(str(key))},{_term(one)}}}" for key, one in value.items()) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(one if isinstance(one, str) else _term(one) for one in value) + "]"
    return str(value)


def escaped(text: str) -> str:
    """Escape what would end a line or a column, or drive a terminal."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        "\\\\"
        if one == "\\"
        else one
        if one.isprintable()
        else "".join(f"\\{octet:03o}" for octet in one.encode())
        for one in text
    )


def _quoted(text: str) -> str:
    return '"' + escaped(text).replace('"', '\\"') + '"'


def _term(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_term, value)) + "]"
    return table_text(value)


def csv_text(value: Any) -> str:
    """Write a value for a CSV file: text quoted, numbers and truth values not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    text = table_text(value)
    if isinstance(value, bool):
        return text
    return '"' + text.replace('"', '""') + '"'


def json_value(value: Any) -> Any:
    """Return a value as rabbitmqctl's JSON has it: arguments as triples of key, type and value."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return [[key, _kind(one), _inner(one)] for key, one in value.items()]
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "long"
    if isinstance(value, float):
        return "double"
    if isinstance(value, Mapping):
        return "table"
    return "array" if isinstance(value, list) else "longstr"


def _inner(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json_value(value)
    if isinstance(value, list):
        return [[_kind(one), _inner(one)] for one in value]
    return value


def json_text(value: Any) -> str:
    """Write a value as compact JSON, as policies and parameters are shown."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
