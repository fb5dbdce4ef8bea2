"""The local socket: whoever runs the broker needs no password there, and nobody else gains anything."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harebell import Broker
from harebell.auth import changes
from harebell.auth.backends import UserDirectory, local_administrator
from harebell.auth.passwords import hash_password
from harebell.cli.api import Api, ApiError
from harebell.cli.exits import Failure
from harebell.cli.wire_client import Address, WireClient
from harebell.management import local_socket
from harebell.management.local_socket import LONGEST, SOCKET, LocalSocket, local_user
from harebell.ports import Login, User
from tests.server.process import BrokerProcess, eventually, running_broker
from tests.support.logins import checked

OTHER = 65534
NAME = local_administrator(os.geteuid()).name

SETTINGS = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}

ASK = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(10)
try:
    connection.connect("management.sock")
    connection.sendall(b"GET /api/overview HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(len(connection.recv(100)))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name, since that of a socket may not be long."""
    made = Path(tempfile.mkdtemp(prefix="hb"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[BrokerProcess]:
    """A broker with a data directory."""
    with running_broker(folder, settings=SETTINGS, data_dir=folder / "data") as process:
        yield process
        process.assert_unharmed()


@pytest.fixture
def path(broker: BrokerProcess, folder: Path) -> Path:
    """Its socket."""
    return folder / "data" / SOCKET


@pytest.fixture
def local(path: Path) -> Iterator[Api]:
    """A client on the socket that names no user."""
    client = Api(f"unix:{path}")
    yield client
    client.close()


def refusal(api: Api, *path: str) -> ApiError:
    """Ask for something that must be refused, with a client that is not used any more."""
    with pytest.raises(ApiError) as caught:
        api.get(*path)
    api.close()
    return caught.value


def over_tcp(broker: BrokerProcess, user: str, password: str) -> Api:
    return Api(f"http://127.0.0.1:{broker.ports['http']}", login=(user, password))


# Who it is ---------------------------------------------------------------------------------------------


def test_who_names_nobody_is_an_administrator(local: Api) -> None:
    assert local.get("whoami") == {"name": NAME, "tags": ["administrator"]}
    assert "node" in local.get("overview")


def test_the_administrator_may_do_everything_in_every_virtual_host(local: Api) -> None:
    local.put("vhosts", "strange", body={})
    assert local.get("vhosts", "strange", "permissions") == [], "it is no user to whom anything is granted"
    local.put("queues", "strange", "q", body={"durable": True})
    message = {"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"}
    published = local.post("exchanges", "strange", "amq.default", "publish", body=message)
    assert published == {"routed": True}
    wanted = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    (got,) = local.post("queues", "strange", "q", "get", body=wanted)
    assert got["payload"] == "x"
    local.delete("vhosts", "strange")


def test_the_audit_log_names_the_account(local: Api) -> None:
    local.put("users", "audited", body={"password": "x", "tags": ""})
    latest = local.get("x", "audit")[0]
    assert (latest["user"], latest["peer"], latest["action"]) == (
        f"<local:{os.geteuid()}>",
        "unix",
        "user.put",
    )


def test_no_user_need_exist(folder: Path) -> None:
    data = folder / "empty"
    with running_broker(folder, settings=SETTINGS, data_dir=data) as broker:
        local = Api(f"unix:{data / SOCKET}")
        local.delete("users", "guest")
        assert local.get("users") == []
        assert refusal(over_tcp(broker, "guest", "guest"), "whoami").status == 401
        local.close()


def test_who_names_a_user_is_that_user(local: Api) -> None:
    local.put("users", "lesser", body={"password": "secret", "tags": "management"})
    lesser = local.login_as("lesser", "secret")
    assert lesser.get("whoami") == {"name": "lesser", "tags": ["management"]}
    assert refusal(lesser, "users").status == 401
    assert refusal(local.login_as("lesser", "wrong"), "whoami").status == 401


# Nobody else -------------------------------------------------------------------------------------------


def test_only_the_account_of_the_broker_may_connect(path: Path) -> None:
    found = path.lstat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.geteuid()


def asked_by(uid: int, folder: Path) -> str:
    """Ask as another account, and give the number of octets answered, or the error."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another account")
    folder.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", ASK, str(uid)], cwd=folder, capture_output=True, text=True, check=True
        )
    finally:
        folder.chmod(0o750)
    return done.stdout.strip()


def test_other_accounts_may_not_open_the_socket(path: Path) -> None:
    assert asked_by(OTHER, path.parent) == "PermissionError"


def test_other_accounts_get_no_answer_whatever_the_permissions_are(broker: BrokerProcess, path: Path) -> None:
    path.chmod(0o666)
    try:
        answered = asked_by(OTHER, path.parent)
        assert answered in ("0", "ConnectionResetError", "BrokenPipeError"), "nobody else is to be answered"
        line = f"local administration refused to the account with uid {OTHER}"
        eventually(lambda: line in broker.log, "the refusal is logged")
        assert asked_by(0, path.parent) == "100"
    finally:
        path.chmod(0o600)


async def test_a_connection_of_another_account_is_no_administrators(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with other:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=one)
        found = local_user(transport)
        assert found is not None and found.unlimited and found.name == NAME
        monkeypatch.setattr(local_socket, "ROOT", OTHER - 1)
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)
        assert local_user(transport) is None
        transport.close()


# Over TCP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "guest", NAME])
def test_the_administrator_cannot_log_in_over_tcp(broker: BrokerProcess, password: str) -> None:
    assert refusal(over_tcp(broker, NAME, password), "whoami").status == 401
    with pytest.raises(Failure), WireClient(Address("127.0.0.1", broker.port, NAME, password, "/")):
        pass


def test_who_names_nobody_over_tcp_is_asked_for_a_login(broker: BrokerProcess) -> None:
    with socket.create_connection(("127.0.0.1", broker.ports["http"])) as connection:
        connection.sendall(b"GET /api/whoami HTTP/1.0\r\n\r\n")
        assert b" 401 " in connection.recv(100)


def test_no_login_names_the_administrator_on_the_socket_either(local: Api) -> None:
    assert refusal(local.login_as(NAME, ""), "whoami").status == 401


# Users with such a name --------------------------------------------------------------------------------


def test_no_user_can_be_called_like_it(local: Api) -> None:
    with pytest.raises(ApiError) as caught:
        local.put("users", NAME, body={"password": "x", "tags": "administrator"})
    assert "does not begin with '<local:'" in caught.value.reason
    user = {"name": "<local:4711>", "password_hash": "", "tags": "administrator"}
    with pytest.raises(ApiError) as caught:
        local.post("definitions", body={"users": [user]})
    assert "does not begin with '<local:'" in caught.value.reason
    assert not [user for user in local.get("users") if user["name"].startswith("<local:")]


def test_a_user_from_elsewhere_with_such_a_name_gains_nothing() -> None:
    directory = UserDirectory(())
    directory.apply(*changes.put_user(NAME, hash_password(b"x", "sha256"), ()))
    user = checked(directory, Login("PLAIN", NAME, b"x")).user
    assert user is not None and not user.unlimited and not user.tags
    assert not directory.may_open(user, "/")
    assert not directory.allowed(user, "/", "read", "q")


async def test_such_a_user_shares_no_routes_with_the_administrator() -> None:
    async with Broker() as broker:
        vhost = broker._vhost("/")
        theirs = vhost.route_cache(User(NAME, frozenset()))
        assert vhost.route_cache(local_administrator(os.geteuid())) is not theirs


# The file ----------------------------------------------------------------------------------------------


@pytest.fixture
def place(folder: Path) -> Iterator[Path]:
    """Where a socket may be made."""
    made = Path(tempfile.mkdtemp(dir=folder))
    yield made / SOCKET
    shutil.rmtree(made)


@contextmanager
def opened(path: Path) -> Iterator[LocalSocket]:
    """Have a socket."""
    made = LocalSocket(path)
    made.open()
    try:
        yield made
    finally:
        made.close()


def test_the_socket_is_there_while_it_serves_and_nothing_else_is_left(place: Path) -> None:
    with opened(place):
        assert [each.name for each in place.parent.iterdir()] == [SOCKET]
    assert list(place.parent.iterdir()) == []


def test_others_may_not_connect_at_any_moment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[tuple[int, int]] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        modes.append((stat.S_IMODE(self.parent.stat().st_mode), stat.S_IMODE(self.stat().st_mode)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    before = os.umask(0)
    try:
        with opened(place):
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert modes == [(0o700, 0o600)], "it is made where nobody else may look, and moved when it is safe"


def test_the_socket_of_a_broker_that_crashed_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place))
    with opened(place), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
    assert not place.exists()


def test_a_broker_starts_again_after_a_crash(folder: Path) -> None:
    data = folder / "crashed"
    with running_broker(folder, settings=SETTINGS, data_dir=data) as broker:
        broker.signal(signal.SIGKILL)
        broker.wait()
    assert (data / SOCKET).is_socket()
    with running_broker(folder, settings=SETTINGS, data_dir=data):
        local = Api(f"unix:{data / SOCKET}")
        assert local.get("whoami")["name"] == NAME
        local.close()
    assert not (data / SOCKET).exists()


def test_a_file_in_its_place_stays(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    place.write_text("precious")
    with opened(place):
        pass
    assert place.read_text() == "precious"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"no local administration on {place}: what is there is no socket, and stays as it is"
    ]


@pytest.mark.parametrize("kind", ["file", "socket", "nothing"])
def test_a_link_in_its_place_is_neither_followed_nor_removed(place: Path, kind: str) -> None:
    target = place.with_name("target")
    with socket.socket(socket.AF_UNIX) as other:
        if kind == "file":
            target.write_text("precious")
        elif kind == "socket":
            other.bind(str(target))
        place.symlink_to(target)
        with opened(place):
            assert place.is_symlink()
    assert place.readlink() == target
    assert target.exists() == (kind != "nothing")
    assert kind != "file" or target.read_text() == "precious"


def test_what_took_its_place_stays_when_it_stops(place: Path) -> None:
    with opened(place):
        place.unlink()
        place.write_text("precious")
    assert place.read_text() == "precious"


def test_a_path_that_is_too_long_is_one_line(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = place.parent / ("d" * (LONGEST + 1 - len(os.fsencode(place)) - 1))
    deep.mkdir()
    path = deep / SOCKET
    assert len(os.fsencode(path)) == LONGEST + 1
    with opened(path):
        assert list(deep.iterdir()) == []
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == f"no local administration on {path}: the path has more than {LONGEST} bytes"


def test_a_path_that_just_fits_serves(place: Path) -> None:
    deep = place.parent / ("d" * (LONGEST - len(os.fsencode(place)) - 1))
    deep.mkdir()
    with opened(deep / SOCKET), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(deep / SOCKET))


# Settings ----------------------------------------------------------------------------------------------


def test_it_can_be_switched_off(folder: Path) -> None:
    data = folder / "off"
    settings = {**SETTINGS, "MANAGEMENT__LOCAL_SOCKET": "off"}
    with running_broker(folder, settings=settings, data_dir=data):
        assert not (data / SOCKET).exists()


def test_a_prefix_need_not_be_named_on_it(folder: Path) -> None:
    data = folder / "prefixed"
    settings = {**SETTINGS, "MANAGEMENT__PATH_PREFIX": "/rabbit"}
    with running_broker(folder, settings=settings, data_dir=data) as broker:
        local = Api(f"unix:{data / SOCKET}")
        assert local.get("whoami")["name"] == NAME
        local.close()
        login = b64encode(b"guest:guest")
        with socket.create_connection(("127.0.0.1", broker.ports["http"])) as connection:
            connection.sendall(b"GET /api/whoami HTTP/1.0\r\nAuthorization: Basic " + login + b"\r\n\r\n")
            assert b" 404 " in connection.recv(100)
