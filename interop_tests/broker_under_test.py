"""The broker that the clients talk to: one given by URL, or harebell started for the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import amqp

from interop_tests.deadlines import eventually_now

MANAGEMENT_OFFSET = 10_000
"""RabbitMQ's HTTP API listens on the AMQP port plus this, unless it is told otherwise."""

READY_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class BrokerUnderTest:
    """Where the broker listens, as whom to log in, and what it says it is."""

    url: str
    server_properties: dict[str, object] = field(repr=False)
    management_url: str

    @classmethod
    def at(cls, url: str, management_url: str | None = None) -> BrokerUnderTest:
        """Connect once to learn the server properties.

        Without a URL of the HTTP API it is on the same host, at the AMQP port plus 10000.
        Raises OSError or amqp.AMQPError if no broker answers at that URL.
        """
        parts = urlsplit(url)
        probe = amqp.Connection(
            host=f"{parts.hostname}:{parts.port or 5672}",
            userid=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/",
            connect_timeout=10,
        )
        probe.connect()
        properties = dict(probe.server_properties)
        probe.close()
        port = (parts.port or 5672) + MANAGEMENT_OFFSET
        return cls(url, properties, management_url or f"http://{parts.hostname}:{port}")

    @property
    def host(self) -> str:
        """The host name or address."""
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """The AMQP port."""
        return urlsplit(self.url).port or 5672

    @property
    def user(self) -> str:
        """The user name to log in with."""
        return unquote(urlsplit(self.url).username or "guest")

    @property
    def password(self) -> str:
        """The password to log in with."""
        return unquote(urlsplit(self.url).password or "guest")

    @property
    def virtual_host(self) -> str:
        """The virtual host; an empty path means "/"."""
        return unquote(urlsplit(self.url).path[1:]) or "/"

    @property
    def explicit_url(self) -> str:
        """The URL with the virtual host spelt out, for clients that take an empty path as an empty name."""
        host = urlsplit(self.url).netloc
        return f"amqp://{host}/{self.virtual_host.replace('/', '%2F')}"

    @property
    def is_rabbitmq(self) -> bool:
        """Whether this is the oracle: only RabbitMQ runs on Erlang."""
        return str(self.server_properties.get("platform", "")).startswith("Erlang")

    def url_at(self, port: int) -> str:
        """Return the URL with another port on this machine, for a proxy in between."""
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{port}/{self.virtual_host.replace('/', '%2F')}"


@contextmanager
def harebell_process(folder: Path) -> Iterator[tuple[str, str]]:
    """Run `harebell serve` in memory on free ports and yield the URLs of AMQP and of the HTTP API.

    Raises AssertionError if it does not start, does not exit with 0 on SIGTERM, or logged a traceback.
    """
    with harebell_ports(folder) as ports:
        yield f"amqp://guest:guest@127.0.0.1:{ports['amqp']}/", f"http://127.0.0.1:{ports['http']}"


@contextmanager
def harebell_ports(
    folder: Path, *options: str, settings: Mapping[str, str] | None = None
) -> Iterator[dict[str, int]]:
    """Run `harebell serve` in memory with further options and settings, and yield its ports by protocol.

    Raises AssertionError as `harebell_process`.
    """
    ports_file, log_file = folder / "ports.json", folder / "harebell.log"
    command = [sys.executable, "-m", "harebell", "serve", "--in-memory", "--bind", "127.0.0.1"]
    command += ["--port", "0", "--ports-file", str(ports_file), *options]
    environment = {**os.environ, **(settings or {})}
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def ready() -> bool:
        assert process.poll() is None, (
            f"harebell ended with code {process.returncode} before it was ready:\n"
            f"{log_file.read_text(errors='replace')}"
        )
        return ports_file.exists() and ports_file.stat().st_size > 0

    try:
        eventually_now(ready, "harebell writes its ports file", seconds=READY_SECONDS)
        ports: dict[str, int] = json.loads(ports_file.read_text())
        yield ports
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            exit_code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"harebell did not stop within {STOP_SECONDS} s of SIGTERM") from None
    log_text = log_file.read_text(errors="replace")
    assert exit_code == 0, f"harebell exited with {exit_code} after SIGTERM:\n{log_text[-4000:]}"
    assert "Traceback" not in log_text, f"harebell logged a traceback:\n{log_text[-8000:]}"
