"""The reference of metrics: complete, and committed as it is generated."""

from pathlib import Path

from harebell.cli.metrics_reference import metrics_reference
from harebell.metrics.registry import FAMILIES

ROOT = Path(__file__).parents[2]


def test_the_committed_file_is_the_generated_one() -> None:
    committed = (ROOT / "docs/metrics.md").read_text()
    assert committed == metrics_reference(), "run `make generate` and commit docs/metrics.md"


def test_every_metric_has_its_row() -> None:
    text = metrics_reference()
    missing = [row.name for family in FAMILIES for row in family.metrics if f"{row.name}` |" not in text]
    assert not missing, f"no row for {missing}"


def test_no_metric_has_two_rows() -> None:
    names = [(family.prefix, row.name) for family in FAMILIES if family.per_object for row in family.metrics]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"a scrape would hold these twice: {twice}"
