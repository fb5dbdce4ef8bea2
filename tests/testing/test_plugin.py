"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harebell.testing import BrokerThread
from tests.server.process import environment

TESTS = """
import socket
from urllib.parse import unquote, urlsplit

seen = []

def port_answers(url):
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as client:
        client.sendall(b"AMQP\\0\\0\\x09\\x01")
        return client.recv(1) == b"\\x01"

def test_one(amqp_url, amqp_vhost, {broker}):
    assert port_answers(amqp_url)
    assert unquote(urlsplit(amqp_url).path[1:]) == amqp_vhost
    seen.append(amqp_url)

def test_two(amqp_url, {broker}):
    assert port_answers(amqp_url)
    seen.append(amqp_url)

def test_virtual_hosts():
    assert len(set(seen)) == {hosts}, seen
"""


def run_pytest(folder: Path, *arguments: str, broker: str, hosts: int) -> str:
    """Run two tests that use the plugin and return the summary."""
    (folder / "test_it.py").write_text(TESTS.format(broker=broker, hosts=hosts))
    (folder / "pytest.ini").write_text("[pytest]\n")
    # Without other plugins, and whether or not this one is installed as an entry point.
    environ = environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "harebell.testing.plugin"]
    line += arguments
    done = subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_each_test_has_a_virtual_host_of_its_own_in_one_broker(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, broker="amqp_broker", hosts=2)
    assert "3 passed" in output, output


def test_another_broker_can_be_named(tmp_path: Path) -> None:
    with BrokerThread() as other:
        output = run_pytest(tmp_path, f"--amqp-url={other.url}", broker="request", hosts=1)
    assert "3 passed" in output, output


def test_what_looks_into_the_built_in_broker_is_skipped_with_another(tmp_path: Path) -> None:
    with BrokerThread() as other:
        output = run_pytest(tmp_path, f"--amqp-url={other.url}", broker="amqp_broker", hosts=0)
    assert "1 passed, 2 skipped" in output, output


def test_the_plugin_is_cheap_to_load() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import harebell.testing.plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert "pydantic" not in done.stdout and "harebell.embedded" not in done.stdout, done.stdout
