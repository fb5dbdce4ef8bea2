"""Commands on the machine of the broker need no password of who runs it, whatever the users are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harebell.cli.api import default_api
from harebell.cli.local_socket import NAME, default_data_dir
from harebell.management.local_socket import SOCKET
from tests.cli.conftest import Cli
from tests.server.process import BrokerProcess, environment, running_broker

SETTINGS = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[BrokerProcess, Path]]:
    """A broker whose only user is nobody's default, and its data directory."""
    folder = Path(tempfile.mkdtemp(prefix="hb"))
    settings = {**SETTINGS, "AUTH__DEFAULT_USER": "ops", "AUTH__DEFAULT_PASS": "not guessed"}
    with running_broker(folder, settings=settings, data_dir=folder / "data") as process:
        yield process, folder / "data"
        process.assert_unharmed()
    shutil.rmtree(folder)


@pytest.fixture
def here(broker: tuple[BrokerProcess, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command where that broker is the one of this machine."""
    process, data = broker
    monkeypatch.delenv("HAREBELL_URL")
    monkeypatch.setenv("HAREBELL_STORAGE__DATA_DIR", str(data))
    monkeypatch.setenv("HAREBELL_MANAGEMENT__PORT", str(process.ports["http"]))
    return cli


def test_server_and_commands_agree_on_the_name() -> None:
    assert NAME == SOCKET


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "list"),
        ("ctl", "list_users"),
        ("ctl", "-q", "status"),
        ("admin", "list", "users"),
        ("status",),
    ],
)
def test_commands_need_no_password(here: Cli, arguments: tuple[str, ...]) -> None:
    here.ok(*arguments)


def test_the_first_user_can_be_made_when_there_is_none(here: Cli) -> None:
    assert "ops" in here.ok("ctl", "list_users").out
    here.ok("ctl", "delete_user", "ops")
    assert "ops" not in here.ok("ctl", "list_users").out
    here.ok("ctl", "add_user", "ops", "not guessed")
    here.ok("ctl", "set_user_tags", "ops", "administrator")
    here.ok("ctl", "set_permissions", "-p", "/", "ops", ".*", ".*", ".*")


def test_passwords_can_still_be_tried(here: Cli) -> None:
    here.ok("users", "authenticate", "ops", "not guessed")
    assert here("users", "authenticate", "ops", "wrong").code == 77
    here.ok("ctl", "authenticate_user", "ops", "not guessed")
    assert here("ctl", "authenticate_user", "ops", "wrong").code != 0


def test_doctor_does_not_claim_that_guest_has_its_known_password(here: Cli, tmp_path: Path) -> None:
    ended = here("doctor", "-D", str(tmp_path))
    assert any(line.startswith("ok    broker") for line in ended.lines)
    assert "known password" not in ended.out


def test_a_named_socket_is_used(
    broker: tuple[BrokerProcess, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"unix:{broker[1] / SOCKET}"
    assert "ops" in cli.ok("users", "list", "--url", url).out
    monkeypatch.setenv("HAREBELL_URL", f"unix://{broker[1] / SOCKET}")
    assert "ops" in cli.ok("ctl", "list_users").out


def test_a_named_socket_that_is_not_there_is_one_line(cli: Cli, tmp_path: Path) -> None:
    ended = cli("users", "list", "--url", f"unix:{tmp_path / SOCKET}")
    assert ended.code == 69
    assert ended.err.count("\n") == 1 and str(tmp_path / SOCKET) in ended.err


def test_who_names_a_login_logs_in(here: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    ended = here("users", "list", "--login", "ops", "--login-password-file", str(secret))
    assert ended.code == 77 and "refuses the login of 'ops'" in ended.err
    assert here("admin", "-u", "ops", "-p", "wrong", "list", "users").code != 0


def test_who_names_a_broker_gets_that_one(here: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "guest" in here.ok("users", "list", "--url", url).out
    monkeypatch.setenv("HAREBELL_URL", url)
    assert "guest" in here.ok("ctl", "list_users").out


# Without the socket: HTTP, with a login ----------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the socket is looked for."""
    folder = Path(tempfile.mkdtemp(prefix="hb"))
    yield folder / SOCKET
    shutil.rmtree(folder)


def used(place: Path) -> Path | None:
    return default_api({"HAREBELL_STORAGE__DATA_DIR": str(place.parent)}, 5).local


def test_without_a_socket_it_is_http(here: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREBELL_STORAGE__DATA_DIR", str(place.parent))
    monkeypatch.setenv("HAREBELL_AUTH__DEFAULT_USER", "ops")
    monkeypatch.setenv("HAREBELL_AUTH__DEFAULT_PASS", "not guessed")
    here.ok("users", "list")
    assert used(place) is None


def test_a_socket_left_by_a_crash_is_passed_over(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place))
    assert used(place) is None


def test_what_is_no_socket_is_passed_over(place: Path) -> None:
    place.write_text("")
    assert used(place) is None


def test_a_link_is_not_followed(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.with_name("other")))
        listening.listen()
        place.symlink_to(place.with_name("other"))
        assert used(place) is None
        place.unlink()
        place.with_name("other").rename(place)
        assert used(place) == place


def test_the_socket_of_another_account_gets_no_secrets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert used(place) is None


# Where it is looked for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"HAREBELL_STORAGE__DATA_DIR": "/a", "RABBITMQ_MNESIA_DIR": "/b"}, "/a"),
        ({"RABBITMQ_MNESIA_DIR": "/b", "RABBITMQ_MNESIA_BASE": "/c"}, "/b"),
        ({"RABBITMQ_MNESIA_BASE": "/c", "STATE_DIRECTORY": "/d"}, "/c"),
        ({"HAREBELL_CONFIG": "named.toml", "HAREBELL_DEFAULTS": "defaults.toml"}, "/named"),
        ({"HAREBELL_CONFIG": "other.toml", "HAREBELL_DEFAULTS": "defaults.toml"}, "/defaults"),
        ({"HAREBELL_CONFIG": "named.toml", "HAREBELL_STORAGE__DATA_DIR": "/a"}, "/a"),
        ({"HAREBELL_CONFIG": "broken.toml", "STATE_DIRECTORY": "/d"}, "/d"),
        ({"HAREBELL_CONFIG": "missing.toml", "STATE_DIRECTORY": "/d"}, "/d"),
        ({"STATE_DIRECTORY": "/d"}, "/d"),
    ],
)
def test_the_data_directory_is_that_of_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("named.toml").write_text('[storage]\ndata_dir = "/named"\n')
    Path("defaults.toml").write_text('[storage]\ndata_dir = "/defaults"\n')
    Path("other.toml").write_text('# data_dir = "/no"\n[server]\nport = 1\n')
    Path("broken.toml").write_text('data_dir = "\n')
    assert default_data_dir({"HOME": str(tmp_path), **environ}) == Path(found)


def test_the_settings_are_not_imported_to_find_it(broker: tuple[BrokerProcess, Path]) -> None:
    program = (
        "import sys\n"
        "from harebell.cli.ctl.main import run\n"
        "assert run(['list_users', '-q']) == 0\n"
        "assert 'pydantic' not in sys.modules, 'the commands start five times as slowly with it'\n"
    )
    environ = environment({"STORAGE__DATA_DIR": str(broker[1])})
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ops" in done.stdout
