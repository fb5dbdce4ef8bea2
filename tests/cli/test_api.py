"""The client of the HTTP API: whatever goes wrong is one clear sentence and an exit code."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harebell.cli.api import Api, ApiError, default_url
from harebell.cli.exits import Failure
from tests.cli.conftest import Cli


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """Answer one connection with some octets; with None, not at all until the block ends."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    over.wait(20)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


def failure(url: str, timeout: float = 5.0) -> Failure:
    api = Api(url, timeout)
    with pytest.raises(Failure) as caught:
        api.get("overview")
    api.close()
    return caught.value


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = failure(f"http://127.0.0.1:{port}")
    assert found.exit_code == 69
    assert f"nothing listens at http://127.0.0.1:{port}: is the broker running" in str(found)


def test_no_answer_in_time() -> None:
    with answering(None) as port:
        found = failure(f"http://127.0.0.1:{port}", 0.2)
    assert (found.exit_code, str(found)) == (75, f"http://127.0.0.1:{port} did not answer within 0.2 s")


def test_an_unknown_host() -> None:
    found = failure("http://no-such-host.invalid")
    assert (found.exit_code, str(found)) == (69, "there is no host named 'no-such-host.invalid'")


def test_what_answers_is_no_broker() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as port:
        found = failure(f"http://127.0.0.1:{port}")
    assert found.exit_code == 69 and "is no broker's HTTP API" in str(found)
    with answering(b"AMQP\x00\x00\x09\x01") as port:
        found = failure(f"http://127.0.0.1:{port}")
    assert found.exit_code == 69 and "does not speak HTTP" in str(found)


def test_a_wrong_password_is_77_and_is_not_repeated(url: str) -> None:
    found = failure(url.replace("guest:guest", "guest:hunter2"))
    assert found.exit_code == 77
    assert "refuses the login of 'guest'" in str(found)
    assert "hunter2" not in str(found)


def test_a_missing_right_is_77(api: Api) -> None:
    api.put("users", "watcher", body={"password": "pw", "tags": "management"})
    less = api.login_as("watcher", "pw")
    with pytest.raises(ApiError) as caught:
        less.get("users")
    less.close()
    api.delete("users", "watcher")
    assert caught.value.exit_code == 77
    assert "'watcher' may not do this: " in str(caught.value)


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        (("queues", "/", "absent"), 65, "there is no queue 'absent' in virtual host '/'"),
        (("queues", "absent"), 65, "there is no virtual host 'absent'"),
        (("users", "absent"), 67, "there is no user 'absent'"),
        (("connections", "absent"), 65, "there is no connection 'absent'"),
        (("absent",), 65, "this broker does not offer absent"),
    ],
)
def test_what_is_missing_is_named(api: Api, path: tuple[str, ...], code: int, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        api.get(*path)
    assert (caught.value.exit_code, str(caught.value)) == (code, says)


def test_a_connection_the_server_closed_meanwhile_is_opened_anew(api: Api) -> None:
    api.get("whoami")
    assert api._connection is not None and api._connection.sock is not None
    api._connection.sock.shutdown(socket.SHUT_RDWR)
    assert api.get("whoami")["name"] == "guest"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "localhost:15672"])
def test_what_is_no_url_is_64(cli: Cli, url: str) -> None:
    ended = cli("status", "--url", url)
    assert ended.code == 64
    assert ended.err.startswith("harebell: error: the URL of the HTTP API")


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://guest:guest@127.0.0.1:15672"),
        ({"HAREBELL_URL": "http://a:b@c:1"}, "http://a:b@c:1"),
        ({"HAREBELL_MANAGEMENT__PORT": "8080"}, "http://guest:guest@127.0.0.1:8080"),
        (
            {"RABBITMQ_DEFAULT_USER": "ad min", "RABBITMQ_DEFAULT_PASS": "p@ss"},
            "http://ad%20min:p%40ss@127.0.0.1:15672",
        ),
    ],
)
def test_where_the_broker_is_comes_from_the_environment(environ: dict[str, str], url: str) -> None:
    assert default_url(environ) == url


def test_the_password_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    environ = {"RABBITMQ_DEFAULT_PASS_FILE": str(tmp_path / "secret")}
    assert default_url(environ) == "http://guest:hunter2@127.0.0.1:15672"


def test_a_login_may_be_given_beside_the_url(cli: Cli, api: Api, tmp_path: Path) -> None:
    api.put("users", "other", body={"password": "pw", "tags": "administrator"})
    (tmp_path / "pw").write_text("pw\n")
    given = ("--login", "other", "--login-password-file")
    cli.ok("users", "list", *given, str(tmp_path / "pw"))
    cli.ok("users", "list", *given, "-", stdin="pw\n")
    assert cli("users", "list", *given, "-", stdin="no\n").code == 77
    assert cli("users", "list", *given, str(tmp_path / "absent")).code == 64
    api.delete("users", "other")


def test_options_about_the_broker_may_stand_before_the_command(cli: Cli, url: str) -> None:
    cli.ok("--url", url, "--timeout", "5", "queues", "list", "--url", url)
    assert cli("--url", "http://127.0.0.1:1", "queues", "list").code == 69
    assert cli.ok("-q", "health", "alarms").out == ""


@pytest.fixture
def https(tmp_path: Path, cli: Cli) -> Iterator[tuple[str, Path]]:
    """A server that answers over TLS with a certificate nobody knows, and that certificate."""
    if cli("tls", "dev-cert", str(tmp_path)).code == 69:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"level":"info"}')

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}", tmp_path / "cert.pem"
        over.set()
        thread.join()


def test_certificates_are_checked_unless_told_otherwise(cli: Cli, https: tuple[str, Path]) -> None:
    url, certificate = https
    refused = cli("log-level", "--url", url)
    assert refused.code == 69 and "is not trusted" in refused.err
    assert cli.ok("log-level", "--url", url, "--ca", str(certificate)).out == "info\n"
    assert cli.ok("log-level", "--url", url, "--insecure").out == "info\n"
