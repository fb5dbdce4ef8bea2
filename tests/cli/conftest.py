"""A broker with its HTTP API, and the command run in this process against it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harebell.cli.api import Api
from harebell.cli.group import run
from tests.server.process import BrokerProcess, running_broker


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The output, line by line."""
        return self.out.splitlines()


class Cli:
    """Runs commands; every one must leave at most one line of error, and no traceback."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Ended:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        self._capsys.readouterr()
        code = run(list(arguments))
        written = self._capsys.readouterr()
        return Ended(code, written.out, written.err)

    def ok(self, *arguments: str, stdin: str | bytes = "") -> Ended:
        """Run a command that must succeed."""
        ended = self(*arguments, stdin=stdin)
        assert ended.code == 0, f"harebell {' '.join(arguments)}: {ended.err or ended.out}"
        return ended


@pytest.fixture(scope="session")
def http_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker with its HTTP API, shared by all tests of commands: use names of your own."""
    folder = tmp_path_factory.mktemp("broker")
    settings = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "MANAGEMENT__SAMPLE_INTERVAL": "100"}
    with running_broker(folder, settings=settings) as broker:
        yield broker
        broker.assert_unharmed()


@pytest.fixture
def url(http_broker: BrokerProcess) -> str:
    """Where its HTTP API is."""
    return f"http://guest:guest@127.0.0.1:{http_broker.ports['http']}"


@pytest.fixture
def api(url: str) -> Iterator[Api]:
    """A client of the HTTP API."""
    client = Api(url)
    yield client
    client.close()


@pytest.fixture
def cli(
    url: str,
    http_broker: BrokerProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """The command, told where the broker is by the environment."""
    for name in ("NO_COLOR", "HAREBELL_VHOST", "RABBITMQ_NODE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HAREBELL_URL", url)
    monkeypatch.setenv("HAREBELL_SERVER__PORT", str(http_broker.port))
    return Cli(capsys, monkeypatch)


@pytest.fixture
def vhost(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """A virtual host for one test, in which guest may do everything."""
    name = f"v-{request.node.name}"[:120]
    api.put("vhosts", name, body={})
    api.put("permissions", name, "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    yield name
    api.delete("vhosts", name)
