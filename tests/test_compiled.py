"""Which modules run compiled: asserted, so that a slow build cannot go unnoticed."""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from harebell import compiled

EXPECTED = os.environ.get("HAREBELL_EXPECT_COMPILED")


@pytest.mark.skipif(
    EXPECTED is None, reason="HAREBELL_EXPECT_COMPILED says which flavour is tested: use make test"
)
def test_the_flavour_under_test_is_the_one_intended() -> None:
    wanted = "compiled" if EXPECTED == "1" else "interpreted"
    others = {name: state for name, state in compiled.module_states().items() if state != wanted}
    assert not others, (
        f"expected every hot module {wanted}; `python -m harebell.compiled` shows what is loaded"
    )


def test_every_hot_module_exists() -> None:
    absent = [name for name, state in compiled.module_states().items() if state == "absent"]
    assert not absent, "HOT_MODULES in compiled.py names modules that do not exist"


def test_no_module_is_named_twice() -> None:
    assert len(set(compiled.HOT_MODULES)) == len(compiled.HOT_MODULES)


def test_nothing_else_is_compiled() -> None:
    root = compiled.installed_in()
    extensions = {
        ".".join(file.relative_to(root).with_name(file.name.partition(".")[0]).parts)
        for suffix in ("so", "pyd")
        for file in root.rglob(f"*.{suffix}")
    }
    assert extensions <= set(compiled.HOT_MODULES), (
        "extension modules that are not in HOT_MODULES: `make clean`"
    )


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ({"a": "compiled", "b": "compiled", "c": "absent"}, "compiled"),
        ({"a": "interpreted", "b": "absent"}, "interpreted"),
        ({"a": "compiled", "b": "interpreted", "c": "absent"}, "partly compiled (1 of 2 modules)"),
        ({"a": "absent"}, "interpreted"),
    ],
)
def test_the_summary_says_how_the_hot_path_runs(states: dict[str, str], text: str) -> None:
    assert compiled.summary(states) == text


def test_an_extension_file_counts_as_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "harebell_probe"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "slow.py").touch()
    (package / f"fast{EXTENSION_SUFFIXES[0]}").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compiled, "PACKAGE", "harebell_probe")
    states = compiled.module_states(("fast", "slow", "none", "none.deeper"))
    monkeypatch.delitem(sys.modules, "harebell_probe")
    assert states == {"fast": "compiled", "slow": "interpreted", "none": "absent", "none.deeper": "absent"}
