"""The command line tools built on librabbitmq, the C client."""

from __future__ import annotations

import subprocess

import pytest

from interop_tests import debian
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.names import Names

SECONDS = 15


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    """Install the package, or skip these tests."""
    debian.require("amqp-tools", "amqp-publish")


class Tools:
    """Runs the tools against one broker."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(
        self, tool: str, *arguments: str, stdin: bytes = b"", fails: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a tool and check that it succeeds, or fails if that is expected."""
        command = [f"amqp-{tool}", "--url", self._url, *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, timeout=SECONDS, check=False)
        assert (result.returncode != 0) == fails, (
            f"amqp-{tool} exited with {result.returncode}: {result.stderr.decode()}"
        )
        return result


@pytest.fixture
def tools(broker: BrokerUnderTest) -> Tools:
    """The tools for the broker under test."""
    return Tools(broker.explicit_url)


def test_a_message_goes_through_a_declared_queue(tools: Tools, names: Names) -> None:
    queue = names.queue()
    assert tools.run("declare-queue", "--queue", queue).stdout.decode().strip() == queue
    tools.run("publish", "--routing-key", queue, "--body", "hello from C")
    assert tools.run("get", "--queue", queue).stdout == b"hello from C"


def test_getting_from_an_empty_queue_says_so(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    assert tools.run("get", "--queue", queue, fails=True).returncode == 2


def test_the_server_names_a_nameless_queue(tools: Tools, names: Names) -> None:
    queue = tools.run("declare-queue", "--queue", "").stdout.decode().strip()
    names.also_queue(queue)
    assert queue.startswith("amq.gen-")
    tools.run("publish", "--routing-key", queue, "--body", "x")
    assert tools.run("get", "--queue", queue).stdout == b"x"


def test_lines_become_messages_in_order(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue, "--durable")
    lines = b"".join(b"line %d\n" % number for number in range(50))
    tools.run("publish", "--routing-key", queue, "--persistent", "--line-buffered", stdin=lines)
    consumed = tools.run("consume", "--queue", queue, "--count", "50", "--prefetch-count", "5", "cat")
    assert consumed.stdout == lines


@pytest.mark.parametrize("no_ack", [True, False])
def test_a_consumer_runs_its_command_for_each_message(tools: Tools, names: Names, no_ack: bool) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    for number in range(3):
        tools.run("publish", "--routing-key", queue, "--body", str(number))
    flags = ["--no-ack"] if no_ack else []
    consumed = tools.run("consume", "--queue", queue, "--count", "3", *flags, "--", "sh", "-c", "cat; echo")
    assert consumed.stdout.split() == [b"0", b"1", b"2"]
    assert tools.run("get", "--queue", queue, fails=True).returncode == 2


def test_a_message_whose_command_fails_stays_in_the_queue(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    tools.run("publish", "--routing-key", queue, "--body", "again")
    tools.run("consume", "--queue", queue, "--count", "1", "--", "sh", "-c", "cat >/dev/null; exit 1")
    assert tools.run("get", "--queue", queue).stdout == b"again"


def test_a_large_body_passes_the_pipe(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    body = bytes(range(256)) * 8192
    tools.run("publish", "--routing-key", queue, stdin=body)
    assert tools.run("get", "--queue", queue).stdout == body


def test_properties_and_headers_are_taken(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    options = ["--content-type", "text/plain", "--content-encoding", "utf-8", "--header", "key: value"]
    tools.run("publish", "--routing-key", queue, "--reply-to", "somebody", "--body", "x", *options)
    assert tools.run("get", "--queue", queue).stdout == b"x"


def test_deleting_counts_and_minds_its_conditions(tools: Tools, names: Names) -> None:
    queue = names.queue()
    tools.run("declare-queue", "--queue", queue)
    tools.run("publish", "--routing-key", queue, "--body", "x")
    refused = tools.run("delete-queue", "--queue", queue, "--if-empty", fails=True)
    assert b"406" in refused.stderr
    assert b"PRECONDITION_FAILED" in refused.stderr
    assert tools.run("delete-queue", "--queue", queue, "--if-unused").stdout.strip() == b"1"


def test_errors_are_shown_with_their_code(tools: Tools, names: Names) -> None:
    missing = tools.run("get", "--queue", names.queue(), fails=True)
    assert b"404" in missing.stderr
    assert b"NOT_FOUND - no queue" in missing.stderr


def test_a_wrong_password_is_refused(broker: BrokerUnderTest, names: Names) -> None:
    url = broker.explicit_url.replace(f":{broker.password}@", ":wrong@")
    refused = Tools(url).run("declare-queue", "--queue", names.queue(), fails=True)
    assert b"logging in" in refused.stderr
