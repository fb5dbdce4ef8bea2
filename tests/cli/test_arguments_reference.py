"""The reference of arguments: complete, and committed as it is generated."""

from pathlib import Path

from harebell.cli.arguments_reference import arguments_reference
from harebell.engine.arguments import CONSUMER_ARGUMENTS, EXCHANGE_ARGUMENTS, POLICY_KEYS, QUEUE_ROWS

ROOT = Path(__file__).parents[2]


def test_the_committed_file_is_the_generated_one() -> None:
    committed = (ROOT / "docs/arguments.md").read_text()
    assert committed == arguments_reference(), "run `make generate` and commit docs/arguments.md"


def test_every_argument_has_its_row() -> None:
    text = arguments_reference()
    keys = [*QUEUE_ROWS, *CONSUMER_ARGUMENTS, *(row.key for row in EXCHANGE_ARGUMENTS), *POLICY_KEYS]
    missing = [key for key in keys if f"| `{key}` |" not in text]
    assert not missing, f"no row for {missing}"
