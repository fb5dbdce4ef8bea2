"""Definitions that a node imports when it starts, from the command line to the login."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.server.process import BrokerProcess, command, environment, running_broker

CHOSEN = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}


def whoami(broker: BrokerProcess, user: str) -> int:
    """Log in as a user whose password is his name, and give the status."""
    login = {"Authorization": f"Basic {b64encode(f'{user}:{user}'.encode()).decode()}"}
    try:
        with urlopen(Request(f"http://127.0.0.1:{broker.ports['http']}/api/whoami", headers=login)) as reply:
            return int(reply.status)
    except HTTPError as error:
        return error.code


def write(path: Path, *users: str) -> Path:
    rows = [{"name": name, "password": name, "tags": "administrator"} for name in users]
    path.write_text(json.dumps({"users": rows, "vhosts": [{"name": "shop"}]}))
    return path


@pytest.mark.parametrize(("users", "guest"), [((), 200), (("ann",), 401)])
def test_users_in_definitions_take_the_place_of_the_default_user(
    tmp_path: Path, users: tuple[str, ...], guest: int
) -> None:
    definitions = write(tmp_path / "definitions.json", *users)
    for _ in range(2):
        with running_broker(
            tmp_path, "--definitions", str(definitions), settings=CHOSEN, data_dir=tmp_path / "data"
        ) as broker:
            assert whoami(broker, "guest") == guest
            assert all(whoami(broker, user) == 200 for user in users)
            broker.assert_unharmed()


def test_definitions_that_cannot_be_imported_keep_the_node_from_starting(tmp_path: Path) -> None:
    line = command("serve", "--in-memory", "--port", "0", "--definitions", str(tmp_path / "nosuch.json"))
    ended = subprocess.run(line, env=environment(CHOSEN), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    assert "nosuch.json cannot be read: No such file or directory" in ended.stderr
