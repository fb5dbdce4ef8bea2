"""Limits, listeners, maintenance mode and the log, in the words of RabbitMQ's tools and in our own.

The expected lines and exit codes of ``ctl`` are those of RabbitMQ 3.10.8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from harebell.cli.api import Api
from harebell.cli.exits import Failure
from harebell.cli.wire_client import Address, WireClient
from tests.cli.conftest import Cli, Ended
from tests.server.process import BrokerProcess, eventually

BAD_SHARE = (
    "Error (argument validation): Bad argument: The threshold should be a fraction between 0.0 and 1.0"
)
BAD = "Error (argument validation): Bad argument."
TOO_FEW = "Error (argument validation): not enough arguments."


def ctl(cli: Cli, *arguments: str) -> Ended:
    return cli("ctl", "--script-name", "rabbitmqctl", *arguments)


@pytest.fixture
def node(api: Api) -> Iterator[str]:
    """The broker's name; what a test changes is put back."""
    name = api.get("overview")["node"]
    limits = {what: api.get("x", what)["limit"] for what in ("memory-limit", "disk-limit")}
    yield name
    for what, limit in limits.items():
        api.put("x", what, body={"absolute": limit})
    api.post("x", "maintenance", "revive")


def test_limits_are_set_with_the_words_of_rabbitmqctl(cli: Cli, api: Api, node: str) -> None:
    done = {
        ("set_vm_memory_high_watermark", "0.4"): f"Setting memory threshold on {node} to 0.4 ...",
        ("set_vm_memory_high_watermark", "absolute", "9GB"): (
            f"Setting memory threshold on {node} to 9GB bytes ..."
        ),
        ("set_disk_free_limit", "mem_relative", "0.01"): (
            f"Setting disk free limit on {node} to 0.01 times the total RAM ..."
        ),
        ("set_disk_free_limit", "50MB"): f"Setting disk free limit on {node} to 50MB bytes ...",
    }
    for arguments, line in done.items():
        ended = ctl(cli, *arguments)
        assert (ended.code, ended.out) == (0, line + "\n"), arguments
    assert api.get("nodes", node)["mem_limit"] == 9 * 10**9
    assert api.get("nodes", node)["disk_free_limit"] == 50 * 10**6


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("set_vm_memory_high_watermark", "40"), 65, BAD_SHARE),
        (("set_vm_memory_high_watermark", "1.5"), 65, BAD_SHARE),
        (("set_vm_memory_high_watermark", "-1"), 65, BAD_SHARE),
        (("set_vm_memory_high_watermark", "nan"), 65, BAD_SHARE),
        (("set_vm_memory_high_watermark", "abc"), 65, BAD),
        (("set_vm_memory_high_watermark", "absolute", "xyz"), 65, BAD),
        (("set_vm_memory_high_watermark", "absolute"), 64, TOO_FEW),
        (("set_vm_memory_high_watermark",), 64, TOO_FEW),
        (("set_disk_free_limit", "abc"), 65, BAD),
        (("set_disk_free_limit", "mem_relative", "-1"), 65, BAD),
        (("set_disk_free_limit", "mem_relative"), 64, TOO_FEW),
        (("set_disk_free_limit", "1", "2", "3"), 64, "Error (argument validation): too many arguments."),
        (("set_disk_free_limit", "1", "2"), 64, "Error (argument validation): too many arguments."),
        (
            ("log_tail", "-N", "x"),
            64,
            "Error (argument validation): Invalid options for this command: --number : x",
        ),
        (("log_tail_stream", "-d", "x"), 65, BAD),
    ],
)
def test_what_rabbitmqctl_refuses_is_refused(
    cli: Cli, node: str, arguments: tuple[str, ...], code: int, line: str
) -> None:
    ended = ctl(cli, *arguments)
    assert (ended.code, ended.err.splitlines()[0], ended.out) == (code, line, "")


def test_a_limit_of_zero_raises_the_alarm_until_it_is_taken_back(cli: Cli, node: str) -> None:
    assert ctl(cli, "set_vm_memory_high_watermark", "0").code == 0
    assert ctl(cli, "alarms").lines[-1] == f"memory alarm on node {node}"
    assert "ALARM: publishers wait" in cli.ok("alarms", "show").out
    assert ctl(cli, "check_local_alarms").code == 69
    assert ctl(cli, "set_vm_memory_high_watermark", "absolute", "1TB").code == 0
    assert ctl(cli, "check_local_alarms").code == 0


def test_limits_are_set_with_our_own_words(cli: Cli, node: str) -> None:
    assert cli.ok("alarms", "memory", "2GiB").out.endswith("at 2.0 GiB of memory\n")
    assert cli.ok("alarms", "disk", "1GiB").out.endswith("below 1.0 GiB of free disk\n")
    found = json.loads(cli.ok("alarms", "show", "-o", "json").out)
    assert (found["memory"]["limit"], found["disk"]["limit"]) == (2**31, 2**30)
    assert cli("alarms", "memory", "much").code != 0
    cli.ok("alarms", "memory", "0.5")


def test_listeners_are_suspended_and_resumed(cli: Cli, node: str, http_broker: BrokerProcess) -> None:
    port = str(http_broker.port)
    assert ctl(cli, "suspend_listeners").out == (
        f"Will suspend client connection listeners on node {node}. "
        "The node will no longer accept client connections!\n"
    )
    assert ctl(cli, "check_port_listener", port).code == 69
    assert "protocol: amqp" not in ctl(cli, "listeners").out
    assert ctl(cli, "resume_listeners").out == (
        f"Will resume client connection listeners on node {node}. "
        "The node will now accept client connections\n"
    )
    assert ctl(cli, "check_port_listener", port).code == 0
    assert "no client" in cli.ok("listeners", "suspend").out
    assert "amqp\t" not in cli.ok("listeners", "list").out
    cli.ok("listeners", "resume")
    assert f"amqp\t127.0.0.1\t{port}" in cli.ok("listeners", "list").lines


def test_a_node_is_drained_and_revived(cli: Cli, api: Api, node: str, http_broker: BrokerProcess) -> None:
    client = WireClient(Address("127.0.0.1", http_broker.port, "guest", "guest", "/"))
    assert ctl(cli, "drain", "--no-wait").out == (
        f"Will put node {node} into maintenance mode. The node will no longer serve any client traffic!\n"
    )
    with pytest.raises(Failure, match="Node was put into maintenance mode"):
        client.next_delivery(10)
    client.close()
    assert ctl(cli, "drain").code == 0, "twice is fine"
    assert "Is under maintenance?: true" in ctl(cli, "status").lines
    assert f"Node: {node}, status: under maintenance" in ctl(cli, "cluster_status").lines
    assert cli("health", "in-service").code != 0
    assert ctl(cli, "revive").out.startswith(f"Will put node {node} back into regular operating mode.")
    assert "Is under maintenance?: false" in ctl(cli, "status").lines
    assert cli.ok("drain", "--spread", "0.1").out == "drained: no client is connected\n"
    cli.ok("revive")
    assert api.get("x", "maintenance")["state"] == "regular"
    assert ctl(cli, "stop_app").out == f"Stopping rabbit application on node {node} ...\n"
    assert api.get("x", "maintenance")["state"] == "drained"
    assert ctl(cli, "start_app").out == f"Starting node {node} ...\n"
    assert api.get("x", "maintenance")["state"] == "regular"


def test_the_last_lines_of_the_log_are_printed(cli: Cli, node: str) -> None:
    ctl(cli, "set_disk_free_limit", "1MB")
    tail = ctl(cli, "log_tail", "-N", "1")
    assert tail.lines[0] == f"Last 1 log lines on node {node} ..."
    assert tail.lines[1].endswith("disk free limit set to 1000000 bytes, until the node starts anew")
    assert ctl(cli, "log_tail", "-N", "0").lines == [f"Last 0 log lines on node {node} ..."]
    (row,) = json.loads(ctl(cli, "log_tail", "--number", "1", "--formatter", "json").out)
    assert row == {"message": tail.lines[1]}
    assert cli.ok("log", "-n", "1").lines == tail.lines[1:]
    stream = ctl(cli, "log_tail_stream", "-d", "0.1")
    assert stream.lines == [f"Streaming logs from node {node} for 0.1 seconds ..."]


def test_so_many_connections_are_closed_and_no_more(
    cli: Cli, api: Api, vhost: str, http_broker: BrokerProcess
) -> None:
    clients = [WireClient(Address("127.0.0.1", http_broker.port, "guest", "guest", vhost)) for _ in range(4)]
    eventually(lambda: len(api.get("vhosts", vhost, "connections")) == 4, "the connections are listed")
    some = ctl(
        cli, "close_all_connections", "-p", vhost, "--limit", "2", "--per-connection-delay", "1", "enough"
    )
    assert some.lines == [
        f"Closing 2 connections in vhost {vhost}, reason: enough...",
        "Closed 2 connections",
    ]
    eventually(lambda: len(api.get("vhosts", vhost, "connections")) == 2, "two connections are left")
    cli.ok("connections", "close", "-p", vhost, "--limit", "1", "--spread", "0.01")
    eventually(lambda: len(api.get("vhosts", vhost, "connections")) == 1, "one connection is left")
    assert ctl(cli, "close_all_connections", "-p", vhost, "--limit", "x", "enough").code == 64
    rest = ctl(cli, "close_all_connections", "-p", vhost, "--spread", "0", "enough")
    assert rest.lines[-1] == "Closed 1 connections"
    for client in clients:
        client.close()
