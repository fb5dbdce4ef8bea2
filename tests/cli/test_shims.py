"""The commands of the container image that have RabbitMQ's names."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import clean_environment
from tests.server.process import BrokerProcess

FOLDER = Path(__file__).parents[2] / "config/docker"
NAMES = sorted(path.name for path in FOLDER.glob("rabbitmq*"))


@pytest.fixture
def environ(tmp_path: Path, url: str, http_broker: BrokerProcess) -> dict[str, str]:
    """An environment in which ``harebell`` is the one under test."""
    command = tmp_path / "harebell"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m harebell "$@"\n')
    command.chmod(0o755)
    more = {"PATH": f"{tmp_path}:{FOLDER}:{os.environ['PATH']}", "HAREBELL_URL": url}
    return clean_environment(tmp_path, {**more, "RABBITMQ_NODE_PORT": str(http_broker.port)})


def called(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)


def test_all_that_users_of_the_image_call_are_there() -> None:
    assert {
        "rabbitmqctl",
        "rabbitmq-diagnostics",
        "rabbitmq-plugins",
        "rabbitmq-server",
        "rabbitmqadmin",
    } <= set(NAMES)
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text()
    assert [name for name in NAMES if f"config/docker/{name} " not in dockerfile] == [], (
        "the image lacks them"
    )
    assert all((FOLDER / name).stat().st_mode & stat.S_IXUSR for name in NAMES)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("rabbitmq-diagnostics", "-q", "ping"), "Ping succeeded\n"),
        (("rabbitmq-diagnostics", "check_running", "-q"), "The broker is fully booted and running\n"),
        (("rabbitmqctl", "-q", "list_vhosts"), "name\n/\n"),
        (
            ("rabbitmq-plugins", "-q", "is_enabled", "rabbitmq_management"),
            "Plugin(s) rabbitmq_management are enabled\n",
        ),
        (("rabbitmqadmin", "-f", "tsv", "list", "vhosts", "name"), "name\n/\n"),
    ],
)
def test_they_do_what_they_are_called_for(
    environ: dict[str, str], command: tuple[str, ...], says: str
) -> None:
    ended = called(environ, *command)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert says.splitlines()[0] in ended.stdout.splitlines()


def test_they_pass_exit_codes_and_empty_arguments_on(environ: dict[str, str]) -> None:
    assert called(environ, "rabbitmqctl", "delete_user", "nobody").returncode == 67
    ended = called(environ, "rabbitmqctl", "set_permissions", "guest", "", "", "", "-p", "absent")
    assert ended.returncode == 65, ended.stderr
    assert called(environ, "rabbitmq-queues", "nonsense").returncode == 64
