import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from harebell.perf.command import perf

PERF = [sys.executable, "-m", "harebell.perf"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PERF, *arguments], capture_output=True, text=True, timeout=50)


def the_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a failed run must print."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@contextlib.contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """Listen, answer every connection with some bytes (None: drop it), and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def serve() -> None:
            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(8)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                    await reader.read()
                writer.close()

            async with await asyncio.start_server(talk, sock=server):
                await asyncio.get_running_loop().run_in_executor(None, stop.recv, 1)

        stop, stopper = socket.socketpair()
        with stop, stopper, asyncio.Runner() as runner:
            thread = threading.Thread(target=runner.run, args=(serve(),))
            thread.start()
            try:
                yield server.getsockname()[1]
            finally:
                stopper.send(b".")
                thread.join()


def test_help_lists_the_scenarios() -> None:
    text = CliRunner().invoke(perf, ["--help"]).output
    for name in ("auto-ack", "fanout5", "persistent", "--confirm", "--queue-args"):
        assert name in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ack", "sometimes"],
        ["--url", "http://h"],
        ["--size", "-1"],
        ["--scenario", "unheard-of"],
        ["--prefetch", "5"],
        ["--scenario", "ack-multiple", "--prefetch", "10"],
        ["--queue-args", "novalue"],
        ["--consume-args", "novalue"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments: list[str]) -> None:
    result = CliRunner().invoke(perf, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert "Traceback" not in result.output


def test_nobody_listening_is_one_line_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = the_error(run("--url", f"amqp://user:secret@127.0.0.1:{port}/"))
    assert line == f"Error: cannot connect to 127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "dropped the connection at once"),
        (b"AMQP\x03\x01\x00\x00", "another version of AMQP"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no AMQP 0-9-1 frame"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\xce", "cannot be read"),
    ],
)
def test_a_server_that_is_no_broker_is_one_line(answer: bytes | None, expected: str) -> None:
    with listener(answer) as port:
        assert expected in the_error(run("--url", f"amqp://127.0.0.1:{port}/"))


def test_a_refused_login_shows_the_reply_text(broker_port: int) -> None:
    line = the_error(run("--url", f"amqp://guest:wrong-secret@127.0.0.1:{broker_port}/"))
    assert line.startswith("Error: access refused: 403 ACCESS_REFUSED")
    assert "wrong-secret" not in line


def test_a_missing_virtual_host_shows_the_reply_text(broker_port: int) -> None:
    line = the_error(run("--url", f"amqp://127.0.0.1:{broker_port}/nowhere"))
    assert line.startswith("Error: access refused: 530 NOT_ALLOWED")


def test_a_refused_declare_shows_the_reply_text(broker_url: str) -> None:
    line = the_error(run("--url", broker_url, "--queue-args", "x-max-length=-5"))
    assert line.startswith("Error: channel closed by the server: 406 PRECONDITION_FAILED")


def test_json_is_the_only_thing_on_standard_output(broker_url: str) -> None:
    done = run("--url", broker_url, "--count", "2000", "--json", "--scenario", "ack-each")
    figures = json.loads(done.stdout)
    assert (figures["published"], figures["received"], figures["ended"]) == (2000, 2000, "count")
    assert figures["options"]["ack"] == "each"


def test_progress_goes_to_standard_error(broker_url: str) -> None:
    done = run("--url", broker_url, "--duration", "0.5", "--interval", "0.2", "--rate", "500")
    assert done.returncode == 0
    assert "messages/s" in done.stdout
    assert len([line for line in done.stderr.splitlines() if "published" in line]) == 2


def test_an_interrupt_prints_the_summary_so_far_and_exits_with_130(broker_url: str) -> None:
    command = [
        *PERF,
        "--url",
        broker_url,
        "--duration",
        "60",
        "--interval",
        "0.1",
        "--rate",
        "1000",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "received" not in process.stderr.readline():
            assert process.poll() is None, "the run ended before it received anything"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    figures = json.loads(output)
    assert process.returncode == 130
    assert figures["ended"] == "interrupted"
    assert 0 < figures["received"] < 60_000
