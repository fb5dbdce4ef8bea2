"""``harebell healthcheck``: quick, and never fooled."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harebell.cli import healthcheck
from tests.cli.running import harebell, serving


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept one connection, let ``answer`` deal with it, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_it_succeeds_against_a_running_broker_which_sees_an_orderly_close(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "text") as broker:
        ended = harebell("healthcheck", "--port", str(broker.port), folder=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == f"127.0.0.1 port {broker.port} takes AMQP connections\n"
        broker.stop()
        log = broker.output.read_text()
    assert "error]" not in log and "warning]" not in log, f"a health check must leave no complaint:\n{log}"


def test_the_port_may_come_from_the_environment_of_the_container(tmp_path: Path) -> None:
    with serving(tmp_path) as broker:
        environ = {"RABBITMQ_NODE_PORT": str(broker.port)}
        ended = harebell("healthcheck", "--quiet", folder=tmp_path, environ=environ)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_it_fails_where_nothing_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = harebell("healthcheck", "--port", str(port), folder=tmp_path)
    assert ended.returncode == 69
    assert ended.stderr == f"harebell: error: 127.0.0.1 port {port}: Connection refused\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "not with connection.start",
        ),
        (lambda connection: connection.sendall(b"AMQP\x00\x01\x00\x00"), "before connection.start|reset"),
        (lambda connection: None, "before connection.start|reset"),
        (lambda connection: connection.recv(100) and connection.recv(1), "no answer within 0.2 s"),
    ],
    ids=["speaks HTTP", "offers another version", "closes", "says nothing"],
)
def test_something_else_on_the_port_is_not_healthy(
    answer: Callable[[socket.socket], None], says: str
) -> None:
    with listening(answer) as port, pytest.raises(healthcheck.NotHealthy, match=says):
        healthcheck.check("127.0.0.1", port, timeout=0.2)


def test_wrong_arguments_are_one_line_and_exit_code_64(tmp_path: Path) -> None:
    ended = harebell("healthcheck", "--prot", "1", folder=tmp_path)
    assert ended.returncode == 64
    assert ended.stderr.startswith("harebell: error: ")
    assert len(ended.stderr.splitlines()) == 1


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; from harebell.cli import main\n"
        "try: main(['healthcheck', '--port', '1', '--timeout', '0.1'])\n"
        "except SystemExit: pass\n"
        "print({'click', 'pydantic', 'structlog', 'asyncio', 'uvloop'} & set(sys.modules))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n", "containers run it every few seconds: keep it light"


def test_its_close_is_a_valid_frame() -> None:
    from pamqp import commands, frame

    size, channel, method = frame.unmarshal(healthcheck._CLOSE_FRAME)
    assert (size, channel) == (len(healthcheck._CLOSE_FRAME), 0)
    assert isinstance(method, commands.Connection.Close)
    assert (method.reply_code, method.reply_text) == (200, "health check")
