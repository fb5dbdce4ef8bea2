"""A real harebell for the tests that need a broker."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

READY_SECONDS = 15.0
STOP_SECONDS = 15.0


@pytest.fixture(scope="session")
def broker_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve from memory on a free port, and give the port."""
    folder = tmp_path_factory.mktemp("broker")
    ports_file = folder / "ports.json"
    command = [sys.executable, "-m", "harebell", "serve", "--in-memory", "--bind", "127.0.0.1", "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--ports-file", str(ports_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield wait_for_port(process, ports_file, folder / "log")
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(process: subprocess.Popen[bytes], ports_file: Path, log: Path) -> int:
    """Return the AMQP port once the broker has written it."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(json.loads(ports_file.read_text())["amqp"])
        time.sleep(0.01)
    pytest.fail(f"the broker did not start; its log says:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def broker_url(broker_port: int) -> str:
    """Give the URL of the broker."""
    return f"amqp://guest:guest@127.0.0.1:{broker_port}/"
