"""What commands print: aligned tables, JSON, CSV, and sentences on the side.

Names and bodies come from clients: whatever is no printable character is shown escaped, so that nothing a
client chose can drive the terminal of who looks at it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import east_asian_width

import click

Row = Mapping[str, Any]
FORMATS = ("table", "json", "csv")
QUIET = "harebell.quiet"

_BOLD, _DIM, _RED, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        key: where the value is in an object of the API: ``name``, ``queue_totals.messages``.
        title: the head of the column; the key when empty.
    """

    key: str
    title: str = ""

    @property
    def head(self) -> str:
        """What stands above the column."""
        return self.title or self.key


def value_at(row: Any, key: str) -> Any:
    """Return the value a dotted key leads to; None where there is none.

    A key that has dots itself (``x.y`` in a table of arguments) is found, too.
    """
    if isinstance(row, Mapping):
        if key in row:
            return row[key]
        head, dot, rest = key.partition(".")
        if dot and head in row:
            return value_at(row[head], rest)
    return None


def printable(text: str) -> str:
    """Escape what is no printable character."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def cell(value: Any) -> str:
    """Write a value for people: thousands separated, yes and no, lists with commas."""
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return printable(", ".join(value))
    if isinstance(value, Mapping):
        return printable(", ".join(f"{key}={plain(one)}" for key, one in value.items()))
    return printable(plain(value))


def plain(value: Any) -> str:
    """Write a value for programs: numbers as they are, true and false, JSON for what has parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def use_colour(stream: Any = None) -> bool:
    """Say whether colours are wanted: on a terminal, unless NO_COLOR is set."""
    stream = stream or sys.stdout
    return stream is not None and bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    """Return the text, bold on a terminal."""
    return f"{_BOLD}{text}{_RESET}" if use_colour() else text


def dim(text: str) -> str:
    """Return the text, dim on a terminal."""
    return f"{_DIM}{text}{_RESET}" if use_colour() else text


def mark(well: bool, text: str) -> str:
    """Return the text, green or red on a terminal."""
    return f"{_GREEN if well else _RED}{text}{_RESET}" if use_colour() else text


def width(text: str) -> int:
    """Count the cells of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def table(rows: Iterable[Row], columns: Sequence[Column]) -> list[str]:
    """Lay rows out under the heads of their columns; numbers stand at the right.

    Args:
        rows: objects of the API.
        columns: which values to show.
    """
    values = [[value_at(row, column.key) for column in columns] for row in rows]
    cells = [[cell(value) for value in row] for row in values]
    widths = [width(column.head) for column in columns]
    for row in cells:
        for index, text in enumerate(row):
            widths[index] = max(widths[index], width(text))
    numeric = [
        any(_number(row[index]) for row in values) and all(_number(row[index], True) for row in values)
        for index in range(len(columns))
    ]
    head = _line([column.head for column in columns], widths, numeric)
    return [bold(head), *(_line(row, widths, numeric) for row in cells)]


def _number(value: Any, or_absent: bool = False) -> bool:
    if value is None or value == "":
        return or_absent
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        " " * (wide - width(text)) + text if right else text + " " * (wide - width(text))
        for text, wide, right in zip(texts, widths, numeric, strict=True)
    ]
    return "  ".join(padded).rstrip()


def csv_lines(rows: Iterable[Row], columns: Sequence[Column]) -> list[str]:
    """Write rows as comma separated values, heads first."""
    lines = [",".join(_csv(column.key) for column in columns)]
    for row in rows:
        lines.append(",".join(_csv(plain(value_at(row, column.key))) for column in columns))
    return lines


def _csv(text: str) -> str:
    if any(one in text for one in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def json_text(document: Any) -> str:
    """Write JSON as people read it."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def selected(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    """Return only the named values of an object."""
    return {column.key: value_at(row, column.key) for column in columns}


def fields(pairs: Sequence[tuple[str, Any]], indent: str = "  ") -> list[str]:
    """Lay out names and values of one object, a line each; absent values are left out."""
    shown = [(name, cell(value)) for name, value in pairs if value is not None]
    wide = max((width(name) for name, _ in shown), default=0)
    return [f"{indent}{dim(name.ljust(wide))}  {text}".rstrip() for name, text in shown]


def octets(count: float) -> str:
    """Write a size: 1.5 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def amount(count: int, noun: str) -> str:
    """Write how many there are of something: 1 message, 2,000 messages."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Write a span of time: 3 d 4 h, 12 min 5 s."""
    left = int(seconds)
    parts: list[str] = []
    for name, span in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, span)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def emit(lines: Iterable[str]) -> None:
    """Print lines."""
    text = "\n".join(lines)
    if text:
        click.echo(text)


def say(sentence: str) -> None:
    """Print what was done, unless --quiet was given."""
    if not quiet():
        click.echo(printable(sentence))


def quiet() -> bool:
    """Tell whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(QUIET))


def warn(sentence: str) -> None:
    """Print a remark on the error output."""
    click.echo(f"harebell: {printable(sentence)}", err=True)
