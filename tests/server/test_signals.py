"""SIGHUP reloads what can change, SIGUSR1 tells what the node is busy with, SIGTERM drains."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pamqp import commands

from tests.server.process import BrokerProcess, command, environment, eventually, running_broker
from tests.server.wire import Wire
from tests.support.certificates import Authority


def test_sighup_takes_up_log_levels(tmp_path: Path) -> None:
    config = tmp_path / "harebell.toml"
    config.write_text('[log]\nlevel = "info"\n')
    with running_broker(tmp_path, "--config", str(config)) as broker:

        def lines(text: str) -> int:
            Wire(broker.port).close()
            return broker.log.count(text)

        eventually(lambda: lines("accepting AMQP connection"), "connections are logged")
        config.write_text('[log]\nlevels = ["connection=error"]\n')
        broker.signal(signal.SIGHUP)
        eventually(lambda: broker.log.count("reloading certificates and log levels") == 1, "it reloads")

        def silent() -> bool:
            before = broker.log.count("accepting AMQP connection")
            with Wire(broker.port) as wire:
                wire.open()
            return broker.log.count("accepting AMQP connection") == before

        eventually(silent, "the category is silent")
        config.write_text('[log]\nlevel = "nonsense"\n')
        broker.signal(signal.SIGHUP)
        eventually(lambda: "log levels stay as they are" in broker.log, "bad settings change nothing")
        assert silent()
        config.write_text("[log]\n")
        broker.signal(signal.SIGHUP)
        eventually(lambda: not silent(), "all categories follow the level again")
        broker.assert_unharmed()


def test_sighup_many_times_at_once_is_no_harm(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        # From the first moment on, when it has hardly begun to serve.
        for _ in range(50):
            broker.signal(signal.SIGHUP)
        eventually(lambda: "reloading" in broker.log, "it reloads")
        with Wire(broker.port) as wire:
            wire.open().close_politely()
        broker.assert_unharmed()


def test_closing_the_terminal_stops_a_node_that_was_started_from_it(tmp_path: Path) -> None:
    ports = tmp_path / "ports.json"
    line = command("serve", "--in-memory", "--port", "0", "--ports-file", str(ports))
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        line, cwd=tmp_path, env=environment(), stdin=terminal, stdout=-1, stderr=-3, start_new_session=True
    )
    os.close(terminal)
    try:
        eventually(ports.exists, "the node serves", 30)
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        for text in process.stdout:
            if b"reloading" in text:
                break
        os.close(controller)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_sigusr1_writes_tasks_and_connections_to_the_log(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Wire(broker.port) as opened, Wire(broker.port) as half:
        opened.open(channels=2)
        half.start()
        broker.signal(signal.SIGUSR1)
        eventually(lambda: "dump: connection" in broker.log, "connections are written")
        eventually(lambda: "open, user 'guest', vhost '/', 2 channels" in broker.log, "with what they hold")
        eventually(lambda: "before start-ok, user 'nobody'" in broker.log, "those before their login too")
        assert "dump: 2 sockets (1 not logged in), 1 connections" in broker.log
        assert "dump: task" in broker.log
        broker.assert_unharmed()


def healthy(broker: BrokerProcess) -> bool:
    url = f"http://127.0.0.1:{broker.ports['http']}/api/health/checks/is-in-service"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        assert error.code == 503
        return False


def test_while_it_drains_health_checks_fail_and_clients_are_served(tmp_path: Path) -> None:
    settings = {"DRAIN__DELAY": "2", "MANAGEMENT__ENABLED": "on"}
    with running_broker(tmp_path, settings=settings) as broker, Wire(broker.port) as client:
        client.open(channels=1)
        assert healthy(broker)
        began = time.monotonic()
        broker.signal(signal.SIGTERM)
        eventually(lambda: not healthy(broker), "the node is out of service at once")
        client.declare("still-served", exclusive=True)
        with Wire(broker.port) as late:
            late.open().close_politely()
        assert time.monotonic() - began < 2
        assert client.expect(commands.Connection.Close).reply_code == 320
        assert time.monotonic() - began > 1.9
        client.method(commands.Connection.CloseOk())
        assert broker.wait() == 0


def test_connections_are_closed_over_the_time_given(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"DRAIN__SPREAD": "1"}) as broker:
        clients = [Wire(broker.port).open(channels=1) for _ in range(10)]
        began = time.monotonic()
        broker.signal(signal.SIGTERM)
        closed = []
        for client in clients:
            assert client.expect(commands.Connection.Close).reply_code == 320
            closed.append(time.monotonic() - began)
            client.method(commands.Connection.CloseOk())
            client.close()
        assert 0.7 < max(closed) < 4
        assert broker.wait() == 0


def test_a_second_signal_ends_the_wait_at_once(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"DRAIN__DELAY": "60"}) as broker:
        broker.signal(signal.SIGTERM)
        eventually(lambda: "draining" in broker.log, "it drains")
        time.sleep(0.6)  # what comes sooner is taken for the same signal
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 1


def test_the_log_file_is_followed_where_logrotate_moves_it(tmp_path: Path) -> None:
    path, moved = tmp_path / "harebell.log", tmp_path / "harebell.log.1"
    with running_broker(tmp_path, settings={"LOG__FILE": str(path)}) as broker:
        eventually(lambda: "Server startup complete" in path.read_text(), "the file is written")
        assert "Server startup complete" not in broker.log
        os.replace(path, moved)
        Wire(broker.port).close()
        eventually(path.exists, "the file is made anew")
        assert "accepting AMQP connection" in path.read_text()
        assert "accepting AMQP connection" not in moved.read_text()
        path.unlink()
        os.mkdir(path)
        with Wire(broker.port) as wire:
            wire.open().close_politely()
        os.rmdir(path)
        Wire(broker.port).close()
        eventually(path.exists, "logging goes on once it can")


def test_a_log_file_that_cannot_be_written_is_an_error_in_the_log_and_no_reason_not_to_serve(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path, settings={"LOG__FILE": str(tmp_path / "missing" / "x.log")}) as broker:
        assert "x.log: No such file or directory: logs go to the standard output" in broker.log
        eventually(lambda: "Server startup complete" in broker.log, "it serves all the same")


def test_the_ports_file_names_every_listener(tmp_path: Path) -> None:
    settings = {"MANAGEMENT__ENABLED": "on", "METRICS__ENABLED": "on"}
    options = ["--management-port", "0", "--metrics-port", "0"]
    with running_broker(tmp_path, *options, settings=settings) as broker:
        written = json.loads((tmp_path / "ports.json").read_text())
        assert set(written) == {"amqp", "http", "metrics"}
        assert all(0 < port < 65536 for port in written.values())
        with urllib.request.urlopen(
            f"http://127.0.0.1:{broker.ports['metrics']}/metrics", timeout=5
        ) as found:
            assert found.status == 200


def test_a_node_gives_out_so_many_channels_and_no_more(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path, settings={"LIMITS__MAX_CHANNELS": "3"}) as broker,
        Wire(broker.port) as first,
        Wire(broker.port) as second,
        Wire(broker.port) as third,
    ):
        first.open(channels=2)
        second.open(channels=1)
        third.open()
        third.method(commands.Channel.Open(), 1)
        refusal = third.expect(commands.Connection.Close)
        assert refusal.reply_code == 530
        assert "has reached the maximum allowed limit of 3" in refusal.reply_text
        first.call(commands.Channel.Close(200, "", 0, 0), 2, commands.Channel.CloseOk)
        second.call(commands.Channel.Open(), 2, commands.Channel.OpenOk)


def test_https_takes_up_new_certificates_as_well(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    options = ["--tls-cert", str(authority.server()), "--tls-ca", str(authority.ca)]
    # Clients of the HTTP API log in with passwords, whatever those of AMQP have to show.
    settings = {"MANAGEMENT__ENABLED": "on", "TLS__VERIFY": "required"}
    with running_broker(tmp_path, *options, settings=settings) as broker:
        assert set(broker.ports) == {"amqp", "amqps", "http", "https"}

        def shown() -> str:
            context = authority.client_context()
            address = ("127.0.0.1", broker.ports["https"])
            with (
                socket.create_connection(address, 10) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                secured.sendall(b"GET /api/health/checks/is-in-service HTTP/1.0\r\n\r\n")
                assert secured.recv(12)[-3:] == b"200"
                subject: Any = (secured.getpeercert() or {})["subject"]
                return str(dict(pair for part in subject for pair in part)["commonName"])

        assert shown() == "127.0.0.1"
        authority.write(authority.issue("127.0.0.1", common_name="second"), "server")
        broker.signal(signal.SIGHUP)
        eventually(lambda: shown() == "second", "HTTPS shows the new certificate")
        broker.assert_unharmed()
