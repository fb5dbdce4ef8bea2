"""The package can be built: pure, compiled, and pure after all when the compiler fails."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]

CAN_COMPILE = shutil.which(os.environ.get("CC", "cc")) is not None and any(
    (Path(sysconfig.get_path(folder)) / "Python.h").exists() for folder in ("include", "platinclude")
)


MODULE = """\
def double(number: int) -> int:
    return number * 2
"""
CALLER = """\
from harebell.fast.one import double


def quadruple(number: int) -> int:
    return double(double(number))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The real build files around a package so small that mypyc takes no time."""
    folder = tmp_path / "checkout"
    package = folder / "broker/harebell"
    (package / "fast").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        shutil.copy(PROJECT / name, folder)
    for name in ("__init__.py", "compiled.py", "py.typed"):
        shutil.copy(PROJECT / "broker/harebell" / name, package)
    source = (package / "compiled.py").read_text()
    hot = "HOT_MODULES = ('fast.one', 'fast.two', 'fast.absent')\n"
    changed = re.sub(r"^HOT_MODULES = \(.*?^\)\n", hot, source, flags=re.DOTALL | re.MULTILINE)
    assert hot in changed
    (package / "compiled.py").write_text(changed)
    (package / "fast/__init__.py").touch()
    (package / "fast/one.py").write_text(MODULE)
    (package / "fast/two.py").write_text(CALLER)
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


def build(checkout: Path, into: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Build a wheel with the tools of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HAREBELL_")}
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-build-isolation", "--no-deps"]
    command += ["--wheel-dir", str(into), "."]
    return subprocess.run(
        command, cwd=checkout, env={**kept, **environ}, capture_output=True, text=True, check=False
    )


def contents(folder: Path) -> tuple[str, set[str]]:
    """Return the name of the one wheel in a folder and the files in it."""
    (wheel,) = folder.glob("*.whl")
    return wheel.name, set(zipfile.ZipFile(wheel).namelist())


def extensions(files: set[str]) -> set[str]:
    """Return the hot modules among the files, as HOT_MODULES names them."""
    binary = [file for file in files if file.endswith(tuple(EXTENSION_SUFFIXES))]
    ours = [file.removeprefix("harebell/") for file in binary if file.startswith("harebell/")]
    return {file.partition(".")[0].replace("/", ".") for file in ours}


def said(ended: subprocess.CompletedProcess[str]) -> str:
    return " ".join((ended.stdout + ended.stderr).split())


NAMES = ("__init__", "compiled", "fast/__init__", "fast/one", "fast/two")
MODULES = {f"harebell/{name}.py" for name in NAMES}
FAST = {"fast.one", "fast.two"}


def test_a_pure_wheel_holds_every_module_and_nothing_else(checkout: Path, wheels: Path) -> None:
    ended = build(checkout, wheels, HAREBELL_PURE="1")
    assert ended.returncode == 0, ended.stderr
    name, files = contents(wheels)
    assert name.endswith("-py3-none-any.whl")
    assert {file for file in files if ".dist-info/" not in file} == MODULES | {"harebell/py.typed"}
    assert any(file.endswith("licenses/LICENSE") for file in files)


def test_without_a_working_compiler_the_wheel_is_pure_and_says_so(checkout: Path, wheels: Path) -> None:
    ended = build(checkout, wheels, CC="/bin/false")
    assert ended.returncode == 0, ended.stderr
    files = contents(wheels)[1]
    assert extensions(files) == set()
    assert not any(file.endswith(".so") for file in files)
    assert files >= MODULES
    assert "building without compiled modules" in said(ended)


def test_a_failing_compiler_is_fatal_where_compiling_is_required(checkout: Path, wheels: Path) -> None:
    ended = build(checkout, wheels, CC="/bin/false", HAREBELL_REQUIRE_COMPILED="1")
    assert ended.returncode != 0
    assert list(wheels.glob("*.whl")) == []


def test_a_module_that_mypyc_cannot_translate_leaves_all_uncompiled(checkout: Path, wheels: Path) -> None:
    (checkout / "broker/harebell/fast/two.py").write_text("wrong: int = 'text'\n")
    ended = build(checkout, wheels)
    assert ended.returncode == 0, ended.stderr
    assert extensions(contents(wheels)[1]) == set()
    assert "mypyc could not translate the hot modules" in said(ended)
    assert build(checkout, wheels / "required", HAREBELL_REQUIRE_COMPILED="1").returncode != 0


@pytest.mark.skipif(not CAN_COMPILE, reason="needs a C compiler and the headers of this Python")
def test_a_compiled_wheel_holds_the_hot_modules_of_this_build_and_runs(checkout: Path, wheels: Path) -> None:
    # What an earlier build left behind must not be packed.
    suffix = EXTENSION_SUFFIXES[0]
    leftovers = (
        checkout / f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "harebell/fast"
    )
    leftovers.mkdir(parents=True)
    for name in ("removed.py", f"removed{suffix}"):
        (leftovers / name).touch()
    ended = build(checkout, wheels, HAREBELL_REQUIRE_COMPILED="1")
    assert ended.returncode == 0, ended.stderr
    assert "HOT_MODULES names fast.absent, which has no file: left out" in said(ended)
    name, files = contents(wheels)
    assert extensions(files) == FAST
    assert f"harebell__mypyc{suffix}" in files
    assert files >= MODULES, "the sources stay in the wheel, for tracebacks"
    assert not any("removed" in file for file in files)

    zipfile.ZipFile(wheels / name).extractall(wheels / "installed")
    code = "from harebell import compiled; from harebell.fast.two import quadruple\n"
    code += "print(compiled.summary(), quadruple(5))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=wheels,
        env={**os.environ, "PYTHONPATH": str(wheels / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "compiled 20\n"
