"""Starting, stopping and killing the brokers that are compared."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pamqp import commands, frame

from bench.errors import BenchError
from bench.processes import listener_pid

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.002


class Broker:
    """One contestant: ``label`` for the table, started and stopped any number of times.

    ``port``, ``http_port`` and ``metrics_port`` are set while it runs, ``cpu`` is the core it is pinned to,
    None for none. ``began`` is when its process was last started, by ``time.perf_counter``.
    """

    def __init__(self, label: str, cpu: int | None) -> None:
        self.label = label
        self.cpu = cpu
        self.port = 0
        self.http_port = 0
        self.metrics_port = 0
        self.began = 0.0

    @property
    def url(self) -> str:
        """The URL for clients while it runs."""
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    def pinned(self, command: list[str]) -> list[str]:
        """Return ``command``, pinned if this broker is."""
        return command if self.cpu is None else ["taskset", "-c", str(self.cpu), *command]

    def start(self) -> float:
        """Start it and return the seconds until it answered a client. Raises BenchError."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it and wait until it is gone; nothing if it does not run."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once, without a chance to write anything, and wait until it is gone."""
        raise NotImplementedError


class Harebell(Broker):
    """harebell, run by the interpreter ``python``: durable in the folder ``data``, or in memory."""

    def __init__(self, label: str, cpu: int | None, python: str, data: Path | None = None) -> None:
        super().__init__(label, cpu)
        self.python = python
        self.data = data
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    def start(self) -> float:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="harebell-bench-"))
        ports_file = folder / "ports.json"
        where = ["--in-memory"] if self.data is None else ["--data-dir", str(self.data)]
        command = [self.python, "-m", "harebell", "serve", *where, "--bind", HOST, "--port", "0"]
        log = folder / "log"
        self.began = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.pinned([*command, "--ports-file", str(ports_file)]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        while time.perf_counter() - self.began < START_SECONDS:
            if self._process.poll() is not None:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise BenchError(f"{self.label} ended with code {self._process.returncode}: {''.join(last)}")
            with contextlib.suppress(OSError, ValueError, KeyError):
                ports = json.loads(ports_file.read_text())
                self.port = int(ports["amqp"])
                self.http_port, self.metrics_port = ports.get("http", 0), ports.get("metrics", 0)
                if answers(self.port):
                    return time.perf_counter() - self.began
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{self.label} did not answer within {START_SECONDS:g} s")

    def stop(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.stop()


class RabbitMQ(Broker):
    """The RabbitMQ of ``tools/oracle``."""

    def __init__(self, label: str, cpu: int | None, oracle: Path) -> None:
        super().__init__(label, cpu)
        self.oracle = oracle
        self._started = False
        self._starter: subprocess.Popen[str] | None = None

    @property
    def data(self) -> Path:
        """Where it keeps its data."""
        return self.oracle.resolve().parent.parent / ".oracle"

    def start(self) -> float:
        address = self._run("url").strip()
        self.port = int(address.rstrip("/").rpartition(":")[2])
        self.http_port, self.metrics_port = self.port + 10_000, self.port + 10_020
        if answers(self.port):
            raise BenchError(f"a RabbitMQ runs already on port {self.port}: `{self.oracle} stop` first")
        self.began = time.perf_counter()
        self._starter = starter = subprocess.Popen(
            self.pinned([sys.executable, str(self.oracle), "start"]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started = True
        while not answers(self.port):
            if starter.poll() not in (None, 0):
                assert starter.stderr is not None
                raise BenchError(f"RabbitMQ did not start: {starter.stderr.read().strip()}")
            if time.perf_counter() - self.began > START_SECONDS:
                raise BenchError(f"RabbitMQ did not answer within {START_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - self.began

    def stop(self) -> None:
        self._await_starter()
        if self._started:
            self._started = False
            self._run("stop")

    def kill(self) -> None:
        self._await_starter()
        if self._started:
            pid = listener_pid(self.port)
            os.kill(pid, signal.SIGKILL)
            deadline = time.perf_counter() + STOP_SECONDS
            while not has_ended(pid) and time.perf_counter() < deadline:
                time.sleep(POLL_SECONDS)
        # What is left is the pid file and the port mapper.
        self.stop()

    def _await_starter(self) -> None:
        """Wait for the script that starts the broker, which looks only now and then whether it is up."""
        if self._starter is not None:
            self._starter.communicate()
            self._starter = None

    def _run(self, command: str) -> str:
        done = subprocess.run([sys.executable, str(self.oracle), command], capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"{self.oracle} {command}: {done.stderr.strip()}")
        return done.stdout


def start_answer(port: int) -> bytes:
    """Return the frame a broker answers a protocol header with. Raises OSError."""
    with socket.create_connection((HOST, port), timeout=5) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        received = b""
        while len(received) < 7 or len(received) < struct.unpack_from(">I", received, 3)[0] + 8:
            more = client.recv(65_536)
            if not more:
                break
            received += more
        return received


def answers(port: int) -> bool:
    """Tell whether a broker at ``port`` answers a protocol header with connection.start."""
    try:
        return start_answer(port).startswith(b"\x01")
    except OSError:
        return False


def identity(port: int) -> str:
    """Return product, version and platform as the broker gives them."""
    start = frame.unmarshal(start_answer(port))[2]
    if not isinstance(start, commands.Connection.Start):
        return "unknown"
    properties = start.server_properties or {}
    return " ".join(str(properties.get(name, "")) for name in ("product", "version", "platform")).strip()


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True
