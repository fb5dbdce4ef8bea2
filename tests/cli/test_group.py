"""The command as a whole: its help, its mistakes, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from harebell import __version__
from harebell.cli.group import COMMANDS, harebell, run


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert f"  {name} " in text
        assert entry.help.split()[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "healthcheck":  # argparse ends the process after its help
        with pytest.raises(SystemExit):
            run([name, "--help"])
    else:
        assert run([name, "--help"]) == 0
    assert name in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("arguments", [[], ["queues"], ["health"]])
def test_a_group_without_a_command_shows_its_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Usage: harebell")
    assert len(lines) > 8


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from harebell.cli.group import run\n"
        "run(['--help'])\n"
        "print({'pydantic', 'structlog', 'asyncio', 'pamqp', 'uvloop'} & set(sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


def test_serving_does_not_import_what_other_commands_need() -> None:
    code = (
        "import sys, harebell.cli.serve, harebell.node\n"
        "print({'aiohttp', 'harebell.perf', 'harebell.settings.documents', 'argparse'} & set(sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n", "imports are most of the time from start to listening"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serv"], "No such command 'serv'. Did you mean 'serve'? (try 'harebell --help')"),
        (["--colour"], "--colour"),
        (["config", "shwo"], "(try 'harebell config --help')"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_64(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    error = capsys.readouterr().err
    assert error.startswith("harebell: error: ")
    assert says in error
    assert error.count("\n") == 1


def test_the_version_option_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"harebell {__version__}\n"


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(harebell, "main", interrupted)
    assert run(["version"]) == 130


def test_python_m_harebell_is_the_command(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "harebell", "version", "--json"], cwd=tmp_path, capture_output=True, check=True
    )
    assert f'"harebell": "{__version__}"'.encode() in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_that_cannot_be_written_is_one_line_and_exit_code_74() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "harebell", "config", "default"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.stderr == "harebell: error: the output cannot be written: No space left on device\n"
    assert ended.returncode == 74
