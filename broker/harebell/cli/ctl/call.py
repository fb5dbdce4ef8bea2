"""One call of a rabbitmqctl command: its arguments, and how it answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from harebell.cli.api import Api
from harebell.cli.ctl.terms import csv_text, json_value, table_text
from harebell.cli.exits import USAGE, Failure

Row = Mapping[str, Any]
Handler = Callable[["Call"], int | None]


class Command(NamedTuple):
    """A command of rabbitmqctl or a companion.

    Attributes:
        handler: does it.
        usage: its positional arguments: ``<name>`` is needed, ``[<name>]`` is not, ``...`` repeats.
        switches: options of its own that take no value.
        options: options of its own that take a value.
        short: their other names, such as ``-N`` for ``--number``.
    """

    handler: Handler
    usage: str = ""
    switches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    short: Mapping[str, str] = MappingProxyType({})

    @property
    def least(self) -> int:
        """Positional arguments that are needed."""
        return sum(part.startswith("<") for part in self.usage.split())

    @property
    def most(self) -> int:
        """Positional arguments taken at most; a very large number where they repeat."""
        return 1 << 30 if "..." in self.usage else len(self.usage.split())


@dataclass
class Call:
    """What was asked for.

    Attributes:
        tool: the name it was called by.
        name: the command.
        arguments: positional ones.
        options: of the command, by their long names; switches are ``"true"``.
        vhost: ``-p``, the default one when absent.
        vhost_named: whether ``-p`` was given.
        quiet, silent: ``-q`` and ``-s``.
        formatter: ``table``, ``pretty_table``, ``csv``, ``json`` or empty.
        headers: whether tables have heads.
        timeout: seconds; 0 when absent.
    """

    tool: str
    name: str
    api: Api
    arguments: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    vhost: str = "/"
    vhost_named: bool = False
    quiet: bool = False
    silent: bool = False
    formatter: str = ""
    headers: bool = True
    timeout: float = 0.0

    @property
    def node(self) -> str:
        """The node's name, as the API tells it."""
        return str(self.api.get("overview")["node"])

    def banner(self, text: str) -> None:
        """Say what is about to be done, unless that was not wanted or the output is for programs."""
        if not self.quiet and not self.silent and self.formatter not in ("json", "csv"):
            print(text)

    def say(self, text: str) -> None:
        """Print an answer, in whatever form is asked for."""
        if self.formatter == "json":
            print(json.dumps({"result": "ok", "message": text}))
        else:
            print(text)

    def document(self, value: Any, lines: Iterable[str]) -> None:
        """Print one object: as JSON if that is asked for, else as lines."""
        if self.formatter == "json":
            print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        else:
            for line in lines:
                print(line)

    def rows(self, rows: Iterable[Row], columns: Sequence[str]) -> None:
        """Print a list in the way of rabbitmqctl: tabs between columns, or as the formatter says."""
        if self.formatter == "json":
            found = [
                json.dumps(
                    {key: json_value(row.get(key)) for key in columns},
                    ensure_ascii=False,
                    separators=(",", ":"),
                )
                for row in rows
            ]
            print("[\n" + "\n,".join(found) + ("\n]" if found else "]"))
            return
        if self.formatter == "csv":
            lines = [",".join(map(csv_text, columns))]
            lines += [",".join(csv_text(row.get(key)) for key in columns) for row in rows]
        elif self.formatter == "pretty_table":
            lines = _boxed([[table_text(row.get(key)) for key in columns] for row in rows], columns)
        else:
            # RabbitMQ says nothing of columns where there is nothing in them.
            texts = ["\t".join(table_text(row.get(key)) for key in columns) for row in rows]
            head = ["\t".join(columns)] if texts and self.headers and not self.silent else []
            lines = head + texts
        for line in lines:
            print(line)


def _boxed(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[at]) for row in [columns, *rows]) for at in range(len(columns))]
    bars = ["─" * (wide + 2) for wide in widths]
    inner = [
        "│" + "│".join(f" {text.ljust(wide)} " for text, wide in zip(row, widths, strict=True)) + "│"
        for row in [columns, *rows]
    ]
    between = f"├{'┼'.join(bars)}┤"
    lines = [f"┌{'┬'.join(bars)}┐"]
    for at, line in enumerate(inner):
        lines += [line, between if at < len(rows) else f"└{'┴'.join(bars)}┘"]
    return lines


class Refusal(Failure):
    """A command failed as rabbitmqctl's would: a text of its own after ``Error:``."""


class Invalid(Exception):
    """The command line is none; ``str()`` says why.

    Args:
        exit_code: 64 where its shape is wrong, 65 where a value is.
    """

    def __init__(self, text: str, exit_code: int = USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def report(text: str) -> None:
    """Say on the error output why a command failed."""
    print(f"Error:\n{text}", file=sys.stderr)
