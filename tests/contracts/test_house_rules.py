"""Where things may be said: rules that keep the layers apart, too small for the import linter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import harebell
from harebell.errors import ROWS

pytestmark = pytest.mark.once

PACKAGE = Path(harebell.__file__).parent
CORE = ("amqp", "engine", "content", "auth")

ARGUMENT_KEYS = {"engine/arguments.py", "engine/redrive.py"}
ARGUMENT_KEY_FOLDERS = ("engine/exchanges/",)


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Give the modules of some folders: path below the package, and syntax tree."""
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def constants(tree: ast.Module) -> Iterator[tuple[int, object]]:
    """Give the line and value of every literal that is no docstring."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            yield node.lineno, node.value


def test_reply_codes_are_written_in_errors_only() -> None:
    codes = {row.code for row in ROWS} - {200}
    found = [
        f"{name}:{line}: {value}"
        for name, tree in sources(*CORE)
        for line, value in constants(tree)
        if type(value) is int and value in codes
    ]
    assert not found, f"take these from harebell.errors: {found}"


def test_close_methods_are_built_in_closing_only() -> None:
    found = []
    for name, tree in sources("amqp"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "encode":
                built = ast.unparse(node.args[0]) if node.args else ""
                if (
                    built in ("commands.Channel.Close", "commands.Connection.Close")
                    and name != "amqp/closing.py"
                ):
                    found.append(f"{name}:{node.lineno}: {built}")
    assert not found, f"close through harebell.amqp.closing instead: {found}"


def test_argument_keys_are_written_where_arguments_are_defined() -> None:
    found = [
        f"{name}:{line}: {value!r}"
        for name, tree in sources(*CORE)
        if name not in ARGUMENT_KEYS and not name.startswith(ARGUMENT_KEY_FOLDERS)
        for line, value in constants(tree)
        if isinstance(value, str) and value.startswith("x-") and value not in ("x-",)
    ]
    assert not found, f"take these from harebell.engine.arguments: {found}"


def test_nothing_in_the_core_is_asynchronous_or_reads_a_clock() -> None:
    found = []
    for name, tree in sources(*CORE):
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                found.append(f"{name}:{node.lineno}: async")
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                )
                found += [
                    f"{name}:{node.lineno}: {m}" for m in modules if m.split(".")[0] in ("asyncio", "time")
                ]
    assert not found, f"this belongs in harebell.server: {found}"


def test_modules_stay_small() -> None:
    lengths = {name: len((PACKAGE / name).read_text().splitlines()) for name, _ in sources(*CORE)}
    found = {name: length for name, length in lengths.items() if length > 600}
    assert not found, f"split these, at most 600 lines: {found}"
