"""``harebell serve`` as a process of its own, as a supervisor or a container would run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import harebell

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0


class BrokerProcess:
    """A running broker.

    Args:
        process: as started.
        log_file: where its output goes.
        ports_file: where it writes its ports.

    Attributes:
        ports: what it listens on, by protocol; ``port`` is the one of plain AMQP.
    """

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path, ports_file: Path) -> None:
        self.process = process
        self.log_file = log_file
        self._ports_file = ports_file
        self._wait_until_ready()
        self.ports: dict[str, int] = json.loads(ports_file.read_text())
        self.port = self.ports.get("amqp", 0)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"the broker ended before it was ready:\n{self.log}"
            return self._ports_file.exists()

        eventually(ready, "the broker writes its ports file", READY_SECONDS)

    @property
    def url(self) -> str:
        """The AMQP URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def log(self) -> str:
        """All it has written so far."""
        return self.log_file.read_text(errors="replace")

    def resident_bytes(self) -> int:
        """Its resident memory."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(seconds)

    def assert_unharmed(self) -> None:
        """Check that it lives and logged nothing that only a defect can bring about."""
        assert self.process.poll() is None, (
            f"the broker died with {self.process.returncode}:\n{self.log[-4000:]}"
        )
        log = self.log
        found = re.search(r"Traceback|unexpected error|INTERNAL_ERROR", log)
        assert found is None, f"a defect showed in the log:\n{log[max(0, found.start() - 2000) :][:6000]}"


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that is to import the same copy of harebell as this one.

    Args:
        settings: such as ``{"SERVER__BACKLOG": "5"}``; clients that do not answer delay a stop by a second.
    """
    found = {
        key: value for key, value in os.environ.items() if not key.startswith(("HAREBELL_", "RABBITMQ_"))
    }
    paths = [str(Path(harebell.__file__).parent.parent), found.get("PYTHONPATH", "")]
    found["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    chosen = {"SERVER__SHUTDOWN_TIMEOUT": "1", "MANAGEMENT__ENABLED": "off", "METRICS__ENABLED": "off"}
    chosen |= dict(settings or {})
    return found | {f"HAREBELL_{key}": value for key, value in chosen.items()}


def command(*arguments: str) -> list[str]:
    """The command line of ``harebell``, run by this Python."""
    return [sys.executable, "-m", "harebell", *arguments]


@contextmanager
def running_broker(
    folder: Path,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    data_dir: Path | None = None,
) -> Iterator[BrokerProcess]:
    """Run a broker on a free port of 127.0.0.1 and end it afterwards.

    Args:
        folder: for its log and its ports file.
        data_dir: for durable state; in memory when absent.
        arguments: more options of ``harebell serve``.
        settings: such as ``{"SERVER__BACKLOG": "5"}``.
    """
    log_file, ports_file = folder / "broker.log", folder / "ports.json"
    ports_file.unlink(missing_ok=True)
    line = command("serve", "--bind", "127.0.0.1", "--port", "0", "--log-format", "text")
    line += ["--in-memory"] if data_dir is None else ["--data-dir", str(data_dir)]
    line += ["--ports-file", str(ports_file), *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            line, cwd=folder, env=environment(settings), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield BrokerProcess(process, log_file, ports_file)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the broker did not stop in {STOP_SECONDS} s after SIGTERM") from None


def eventually(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until a condition holds.

    Raises AssertionError saying what did not come about.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"this did not come about in {seconds} s: {what}"
        time.sleep(0.01)
