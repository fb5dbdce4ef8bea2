"""A TOML file: its keys, the lines they stand on, and what is wrong with a bad one."""

from pathlib import Path

import pytest

from harebell.settings.toml_file import read_toml


def read(tmp_path: Path, text: str) -> tuple[dict[str, tuple[object, str]], list[str]]:
    path = tmp_path / "h.toml"
    path.write_text(text, encoding="utf-8")
    layer = read_toml(path)
    strip = str(tmp_path) + "/"
    values = {key: (value, origin.replace(strip, "")) for key, (value, origin) in layer.values.items()}
    return values, [problem.replace(strip, "") for problem in layer.problems]


def test_keys_carry_the_line_they_stand_on(tmp_path: Path) -> None:
    text = "# a comment\n[server] # here\nport = 1\n\n[ log ]\n  level = 'debug'\n"
    values, problems = read(tmp_path, text)
    assert values == {"server.port": (1, "h.toml:3"), "log.level": ("debug", "h.toml:6")}
    assert problems == []


def test_dotted_keys_and_inline_tables_are_read_like_tables(tmp_path: Path) -> None:
    values, problems = read(tmp_path, 'server.port = 1\nlog = { level = "debug" }\n')
    assert values == {"server.port": (1, "h.toml:1"), "log.level": ("debug", "h.toml:2")}
    assert problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 1", "h.toml:2: unknown setting 'server.prot' (did you mean 'server.port'?)"),
        ("[sever]\nport = 1", "h.toml:2: unknown setting 'sever.port' (did you mean 'server.port'?)"),
        ("port = 1", "h.toml:1: unknown setting 'port'"),
        ("[server.tls]\nport = 1", "h.toml:1: unknown setting 'server.tls'"),
        ("[listen]\nport = 1", "h.toml:2: unknown setting 'listen.port' (did you mean 'server.port'?)"),
        ("server = 1", "h.toml:1: 'server' is a section: write [server]"),
        ("[[server]]\nport = 1", "h.toml: 'server' is a section: write [server]"),
        ("[zzz]", "h.toml:1: unknown setting 'zzz'"),
    ],
)
def test_a_key_that_does_not_exist_is_a_problem_that_names_the_nearest(
    tmp_path: Path, text: str, problem: str
) -> None:
    values, problems = read(tmp_path, text)
    assert [found.partition(" (did")[0] for found in problems] == [problem.partition(" (did")[0]]
    assert problem in problems[0]
    assert values == {}


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "[server]\nport = \n")
    assert len(problems) == 1
    assert "h.toml: is not valid TOML" in problems[0]
    assert "line 2" in problems[0]


def test_a_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_bytes(b"\xff\xfe")
    assert read_toml(path).problems == [f"{path}: is not text in UTF-8"]


def test_a_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in read_toml(tmp_path / "absent.toml").problems[0]
