"""How results look: aligned for people, plain for programs, and never in control of a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from harebell.cli import output
from harebell.cli.api import Api
from harebell.cli.output import (
    Column,
    amount,
    bold,
    cell,
    csv_lines,
    duration,
    fields,
    octets,
    plain,
    printable,
    table,
    use_colour,
    value_at,
)
from tests.cli.conftest import Cli

ROWS: list[dict[str, object]] = [
    {"name": "short", "messages": 12, "details": {"rate": 0.25}, "durable": True, "tags": ["a", "b"]},
    {"name": "much longer", "messages": 1234567, "details": {}, "durable": False, "tags": []},
    {"name": "日本", "messages": None, "durable": None},
]
COLUMNS = [
    Column("name"),
    Column("messages"),
    Column("details.rate", "rate"),
    Column("durable"),
    Column("tags"),
]


def test_a_table_is_aligned_with_numbers_at_the_right() -> None:
    assert table(ROWS, COLUMNS) == [
        "name          messages  rate  durable  tags",
        "short               12   0.2  yes      a, b",
        "much longer  1,234,567        no",
        "日本",
    ]


def test_csv_is_plain_and_quoted_where_it_must_be() -> None:
    rows = [{"a": 'say "hi", you', "b": 1234567, "c": True, "d": {"x": 1}}]
    assert csv_lines(rows, [Column(key) for key in "abcd"]) == [
        "a,b,c,d",
        '"say ""hi"", you",1234567,true,"{""x"":1}"',
    ]


def test_names_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\n\x9b\u202e") == "a\\x1b[2Jb\\n\\x9b\\u202e"
    assert "\x1b" not in "".join(table([{"name": "\x1b]0;x\x07"}], [Column("name")]))
    assert cell(["\x1b"]) == "\\x1b"
    assert fields([("name", "\r")]) == ["  name  \\r"]


def test_dotted_keys_find_nested_values_and_keys_with_dots() -> None:
    assert value_at({"a": {"b": 1}}, "a.b") == 1
    assert value_at({"a.b": 2}, "a.b") == 2
    assert value_at({"arguments": {"x.y": 3}}, "arguments.x.y") == 3
    assert value_at({"a": 1}, "a.b") is None


@pytest.mark.parametrize(
    ("value", "people", "programs"),
    [(None, "", ""), (True, "yes", "true"), (1000, "1,000", "1000"), ("t", "t", "t"), ([1], "[1]", "[1]")],
)
def test_values(value: object, people: str, programs: str) -> None:
    assert (cell(value), plain(value)) == (people, programs)


def test_sizes_and_times_are_readable() -> None:
    assert [octets(one) for one in (0, 1023, 1536, 5 << 30)] == ["0 B", "1,023 B", "1.5 KiB", "5.0 GiB"]
    assert [duration(one) for one in (0, 61, 90_000, 864_000)] == ["0 s", "1 min 1 s", "1 d 1 h", "10 d"]
    assert [amount(one, "queue") for one in (0, 1, 2000)] == ["0 queues", "1 queue", "2,000 queues"]


def test_colours_are_for_terminals_and_no_color_turns_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert bold("x") == "x"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert bold("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour()


@pytest.mark.parametrize(
    "command",
    [("status",), ("health", "all"), ("doctor",), ("top", "--once"), ("queues", "list"), ("get", "q")],
)
def test_colours_reach_the_terminal_and_names_do_not(
    cli: Cli, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    api.put("queues", "/", "q", body={})
    body = {"routing_key": "q", "payload": "\x1b[2J", "payload_encoding": "string", "properties": {}}
    api.post("exchanges", "/", "amq.default", "publish", body=body)
    monkeypatch.setattr(output, "use_colour", lambda stream=None: True)
    monkeypatch.chdir(tmp_path)
    # click takes colours out where no terminal is; here they are what is looked at.
    monkeypatch.setattr(click.utils, "should_strip_ansi", lambda *_: False)
    written = cli(*command).out
    api.delete("queues", "/", "q")
    assert "\x1b[" in written and "\x1b[2J" not in written
    assert "\\x1b[1m" not in written and "\\x1b[32m" not in written, "a colour was taken for a name"
