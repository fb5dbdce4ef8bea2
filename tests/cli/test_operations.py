"""Commands about the broker itself: status, checks, doctor, top, log level, audit, connections, stopping."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harebell.cli.api import Api
from harebell.cli.exits import Failure
from harebell.cli.top import watch
from harebell.cli.wire_client import Address, WireClient
from tests.cli.conftest import Cli
from tests.server.process import BrokerProcess, environment, eventually, running_broker


def test_status_is_a_page_for_people_and_a_document_for_programs(
    cli: Cli, http_broker: BrokerProcess
) -> None:
    text = cli.ok("status").out
    assert re.search(r"^  alarms +none$", text, re.MULTILINE)
    assert re.search(rf"^  amqp +127\.0\.0\.1:{http_broker.port}$", text, re.MULTILINE)
    assert re.search(r"\d+ connections  \d+ channels  \d+ exchanges", text)
    document = json.loads(cli.ok("overview", "-o", "json").out)
    assert document["overview"]["node"] == document["node"]["name"]


def test_health_checks_end_with_69_when_they_fail(cli: Cli, http_broker: BrokerProcess) -> None:
    assert all(line.startswith("ok") for line in cli.ok("health", "all").lines)
    for check in ("alarms", "local-alarms", "virtual-hosts", "in-service", "ready", "aliveness"):
        cli.ok("health", check)
    cli.ok("health", "port-listener", str(http_broker.port))
    cli.ok("health", "protocol-listener", "amqp")
    cli.ok("health", "certificate-expiration", "2", "weeks")
    for failing in (("port-listener", "1"), ("protocol-listener", "mqtt")):
        ended = cli("health", *failing)
        assert ended.code == 69 and "No active listener" in ended.err


def test_checks_say_nothing_when_told_to_be_quiet(cli: Cli) -> None:
    assert cli.ok("health", "alarms", "-q").out == ""


def test_doctor_names_what_to_look_at(cli: Cli, tmp_path: Path) -> None:
    ended = cli("doctor", "-D", str(tmp_path))
    assert ended.code in (0, 65), "a machine may be imperfect"
    names = [line.split()[1] for line in ended.lines]
    assert {"disk", "sync", "broker", "alarms"} <= set(names)
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"
    offline = cli("doctor", "--offline", "-D", str(tmp_path))
    assert not any(line.split()[1] == "broker" for line in offline.lines)


def test_doctor_tells_that_no_broker_answers(cli: Cli, tmp_path: Path) -> None:
    ended = cli("doctor", "-D", str(tmp_path), "--url", "http://127.0.0.1:1")
    assert ended.code == 65
    assert any(line.startswith("LOOK  broker") and "nothing listens" in line for line in ended.lines)


def test_top_prints_a_page_anywhere_and_watches_only_on_a_terminal(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "busy", "-p", vhost)
    page = cli.ok("top", "--once")
    assert any(line.split()[:2] == [vhost, "busy"] for line in page.lines)
    assert cli("top").code == 64


def test_top_fills_the_terminal_and_leaves_it_as_it_was(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    watch(api, 0.2, 1)
    shown = capsys.readouterr().out
    assert shown.startswith("\x1b[?1049h") and shown.endswith("\x1b[?1049l")
    assert shown.count("\n") < 25


def test_the_log_level_is_shown_and_changed(cli: Cli) -> None:
    assert cli.ok("log-level").out == "info\n"
    cli.ok("log-level", "debug")
    assert cli.ok("log-level").out == "debug\n"
    cli.ok("log-level", "info")
    assert cli("log-level", "loud").code == 64


def test_the_audit_log_is_listed(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "noted", "-p", vhost)
    listed = cli.ok("audit", "-n", "100", "--columns", "user,action,object", "-o", "csv")
    assert "guest,queue.created,noted" in listed.lines


def test_connections_are_listed_shown_and_closed(
    cli: Cli, api: Api, vhost: str, http_broker: BrokerProcess
) -> None:
    where = Address("127.0.0.1", http_broker.port, "guest", "guest", vhost)
    client = WireClient(where)
    client.consume(client.declare_temporary(), no_ack=True)
    eventually(lambda: api.get("vhosts", vhost, "connections"), "the connection is listed")
    (row,) = json.loads(cli.ok("connections", "list", "-p", vhost, "-o", "json").out)
    assert cli.ok("connections", "list", "-p", vhost).lines[1].startswith(row["name"])
    assert "name" in cli.ok("connections", "show", row["name"]).out
    assert len(cli.ok("channels", "list", "-p", vhost).lines) == 2
    assert cli.ok("consumers", "list", "-p", vhost).lines[1].split()[0] == vhost
    closed = cli.ok("connections", "close", "-p", vhost, "--reason", "enough")
    assert closed.out == "closed 1 connection\n"
    with pytest.raises(Failure, match="320 CONNECTION_FORCED - enough"):
        client.next_delivery(10)
    client.close()
    assert cli("connections", "close", "absent").code == 65
    assert cli("connections", "close").code == 64


def test_a_broker_is_stopped_in_good_order(cli: Cli, tmp_path: Path) -> None:
    settings = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0"}
    with running_broker(tmp_path, settings=settings) as broker:
        url = f"http://guest:guest@127.0.0.1:{broker.ports['http']}"
        wrong = subprocess.run(
            [sys.executable, "-m", "harebell", "stop", "--url", url.replace(":guest@", ":no@")],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert wrong.returncode == 77, wrong.stderr
        assert cli.ok("stop", "--url", url).out == "stopped\n"
        assert broker.wait() == 0, broker.log


def test_completion_scripts_complete(cli: Cli, url: str) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_HAREBELL_COMPLETE" in cli.ok("completion", shell).out
    found = subprocess.run(
        [sys.executable, "-m", "harebell"],
        env={
            **environment(),
            "_HAREBELL_COMPLETE": "bash_complete",
            "COMP_WORDS": "harebell queues de",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert {"plain,declare", "plain,delete"} <= set(found.stdout.split())


def test_completion_needs_a_shell_it_knows(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert cli("completion").code == 64
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "compdef" in cli.ok("completion").out


def test_a_certificate_to_try_tls_with(cli: Cli, tmp_path: Path) -> None:
    ended = cli("tls", "dev-cert", str(tmp_path / "tls"))
    if ended.code == 69:
        pytest.skip("openssl is not installed")
    assert (tmp_path / "tls/key.pem").stat().st_mode & 0o077 == 0, "nobody else may read the key"
    assert "BEGIN CERTIFICATE" in (tmp_path / "tls/cert.pem").read_text()
    assert cli("tls", "dev-cert", str(tmp_path / "tls")).code == 73


def test_what_does_not_speak_amqp_is_told(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = server.getsockname()[1]
        ended = cli("streams", "read", "s", "--amqp-url", f"amqp://127.0.0.1:{port}")
        thread.join()
    assert ended.code == 69
