"""Values as Erlang terms, the way RabbitMQ's error texts show them, for whoever looks for those."""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table

LONGEST: Final = 1000
"""Characters of a term that is shown."""


def term(value: object) -> str:
    """Show a value from JSON; a long one is cut."""
    shown = _term(value, 0)
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."


def _term(value: object, depth: int) -> str:
    if depth > 8:
        return "..."
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'<<"{quoted}">>'
    if isinstance(value, list | tuple):
        return "[" + ",".join(_term(one, depth + 1) for one in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{_term(key, depth + 1)} => {_term(one, depth + 1)}" for key, one in value.items())
        return "#{" + ",".join(pairs) + "}"
    return str(value)


def pairs(table: Table) -> str:
    """Show keys and their values, as ``[{<<"key">>,value}]``."""
    return "[" + ",".join(f"{{{term(key)},{term(value)}}}" for key, value in table.items()) + "]"
