"""Build the hot modules with mypyc; everything else about the package is in pyproject.toml.

No C compiler, no Python headers, or a failing build: the package is built without extensions and runs
interpreted. Two environment variables change that: ``HAREBELL_PURE=1`` does not try to compile,
``HAREBELL_REQUIRE_COMPILED=1`` makes a failure fatal. All hot modules are compiled, or none: they live in
one shared library.
"""

import ast
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SOURCE_ROOT = Path("broker")
PACKAGE = "harebell"
BUILDING_COMMANDS = frozenset(["bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"])


def wanted(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no")


PURE = wanted("HAREBELL_PURE")
REQUIRED = wanted("HAREBELL_REQUIRE_COMPILED")


def note(text: str) -> None:
    print(f"harebell: {text}", file=sys.stderr, flush=True)


def hot_modules() -> tuple[str, ...]:
    """Read HOT_MODULES from the source of harebell/compiled.py, without importing the package."""
    source = (ROOT / SOURCE_ROOT / PACKAGE / "compiled.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "HOT_MODULES" for target in statement.targets
        ):
            return tuple(ast.literal_eval(statement.value))
    raise SystemExit("harebell: compiled.py has no HOT_MODULES")


def hot_files() -> list[str]:
    """Return the files to compile, relative to the project; names without a file are noted and left out."""
    files = []
    for module in hot_modules():
        file = SOURCE_ROOT / PACKAGE / Path(*module.split(".")).with_suffix(".py")
        if (ROOT / file).is_file():
            files.append(str(file))
        else:
            note(f"HOT_MODULES names {module}, which has no file: left out")
    return files


def extensions() -> list[Extension]:
    """Return the extension modules; none for the steps of a build that ask for metadata only."""
    if not BUILDING_COMMANDS.intersection(sys.argv):
        return []
    if PURE:
        note("HAREBELL_PURE is set: not compiling")
        return []
    files = hot_files()
    if not files:
        return []
    try:
        from mypyc.build import mypycify

        # Types are checked by `make lint`; here mypy only feeds the compiler, so the strict settings are off.
        options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
        options += [f"--cache-dir={Path('build') / 'mypy_cache'}"]
        os.environ["MYPYPATH"] = str(SOURCE_ROOT)
        # With -O3 one file of half a million lines compiles for three minutes and runs no faster.
        found: list[Extension] = mypycify(
            [*options, *files], opt_level="2", debug_level="0", group_name=PACKAGE
        )
        if sys.platform == "linux":
            # The compiler may then inline our functions into each other: no other library replaces them.
            for extension in found:
                extension.extra_compile_args.append("-fno-semantic-interposition")
                # Else a change anywhere may move what runs for each message across cache lines: builds that
                # execute the same instructions differed by a tenth.
                extension.extra_compile_args.append("-falign-functions=64")
        return found
    except (Exception, SystemExit) as error:  # mypycify ends the process when mypy finds an error
        if REQUIRED:
            raise
        note(f"mypyc could not translate the hot modules ({error!r}): building without them")
        return []


def remove_leftovers(folder: Path, pattern: str, keep: Iterable[str] = ()) -> None:
    """Delete the files of an earlier build in this folder.

    Args:
        folder: where setuptools gathers what goes into a wheel.
        pattern: file names to delete.
        keep: files that this build writes anyway; unchanged ones need not be compiled again.
    """
    kept = {Path(file).resolve() for file in keep}
    for file in folder.rglob(pattern):
        if file.resolve() not in kept:
            file.unlink()


class BuildWithoutLeftovers(build_py):
    """Copy the modules after removing those of an earlier build, which would otherwise be packed as well."""

    def run(self) -> None:
        remove_leftovers(Path(self.build_lib), "*.py")
        super().run()


class BuildAllOrNone(build_ext):
    """Build every extension, or, when one fails, none: half of a mypyc group cannot be imported."""

    def run(self) -> None:
        if not self.inplace and not self.editable_mode:
            remove_leftovers(Path(self.build_lib), "*.so", keep=self.get_outputs())
        try:
            super().run()
        except Exception as error:
            if REQUIRED:
                raise
            for output in self.get_outputs():
                Path(output).unlink(missing_ok=True)
            self.extensions = []
            note(f"compiling failed ({error}): building without compiled modules; harebell runs interpreted")


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildAllOrNone, "build_py": BuildWithoutLeftovers})
