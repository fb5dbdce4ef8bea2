"""The reference of commands: complete, and committed as it is generated."""

from __future__ import annotations

from pathlib import Path

from harebell.cli.ctl.main import names
from harebell.cli.group import COMMANDS
from harebell.cli.reference import cli_reference

ROOT = Path(__file__).parents[2]


def test_the_committed_file_is_the_generated_one() -> None:
    committed = (ROOT / "docs/cli.md").read_text()
    assert committed == cli_reference(), "run `harebell config cli > docs/cli.md` and commit it"


def test_every_command_is_in_it() -> None:
    text = cli_reference()
    absent = [name for name in COMMANDS if f"### {name}" not in text and f"`harebell {name}`" not in text]
    assert not absent
    missing = [name for name in names("rabbitmqctl") if f"| {name} |" not in text and f" {name}" not in text]
    assert not missing
