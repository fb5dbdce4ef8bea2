"""``harebell config``: find every mistake before a start does, and show what is in force."""

import json
import tomllib
from pathlib import Path

from tests.cli.running import harebell


def test_a_usable_file_is_ok(tmp_path: Path) -> None:
    (tmp_path / "harebell.toml").write_text("[server]\nport = 5673\n")
    ended = harebell("config", "check", folder=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout == f"ok: 1 setting set; files: {tmp_path}/harebell.toml\n"


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    (tmp_path / "harebell.toml").write_text("[server]\nprot = 1\nport = -1\n[log]\nlevel = 'loud'\n")
    ended = harebell("config", "check", folder=tmp_path)
    assert ended.returncode == 78
    lines = ended.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"harebell: error: {tmp_path}/harebell.toml:") for line in lines)


def test_remarks_about_rabbitmq_conf_are_printed(tmp_path: Path) -> None:
    (tmp_path / "r.conf").write_text("heartbeat = 30\nheartbeet = 30\n")
    ended = harebell("config", "check", "--config", "r.conf", folder=tmp_path)
    assert ended.returncode == 0
    assert "warning: r.conf:2: unknown key 'heartbeet' (did you mean 'heartbeat'?): ignored" in ended.stdout


def test_show_prints_toml_that_can_be_used(tmp_path: Path) -> None:
    environ = {"HAREBELL_SERVER__PORT": "5673", "RABBITMQ_DEFAULT_PASS": "hunter2"}
    ended = harebell("config", "show", "--origin", folder=tmp_path, environ=environ)
    assert tomllib.loads(ended.stdout)["server"]["port"] == 5673
    assert "port = 5673  # HAREBELL_SERVER__PORT" in ended.stdout
    assert "hunter2" not in ended.stdout


def test_default_schema_and_reference_are_printed(tmp_path: Path) -> None:
    assert tomllib.loads(harebell("config", "default", folder=tmp_path).stdout)["server"] == {}
    assert json.loads(harebell("config", "schema", folder=tmp_path).stdout)["title"] == "harebell.toml"
    assert harebell("config", "reference", folder=tmp_path).stdout.startswith("# Settings\n")
