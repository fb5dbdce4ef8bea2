"""``harebell queues`` pause, resume, leases, groups and set-argument, and ``vhosts set-redeclare``."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli


def shown(cli: Cli, vhost: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(cli.ok("queues", "show", "q", "-p", vhost, "-o", "json").out)
    return found


def test_a_queue_is_paused_resumed_and_changed(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "q", *here, "-a", "x-max-length=5")
    assert (
        cli.ok("queues", "pause", "q", *here, "--for", "600", "--reason", "deploy").out
        == "paused queue 'q'\n"
    )
    assert shown(cli, vhost)["state"] == "paused"
    assert "deploy" in cli.ok("queues", "show", "q", *here).out
    assert cli.ok("queues", "resume", "q", *here).out == "resumed queue 'q'\n"
    assert shown(cli, vhost)["state"] == "running"
    cli.ok("queues", "set-argument", "q", "x-max-length=null", "x-max-unacked=2", *here)
    assert shown(cli, vhost)["arguments"] == {"x-max-unacked": 2}
    assert cli("queues", "set-argument", "q", "x-max-priority=2", *here).code != 0
    cli.ok("exchanges", "declare", "e", *here)
    cli.ok("exchanges", "set-argument", "e", "alternate-exchange=amq.fanout", *here)
    assert "amq.fanout" in cli.ok("exchanges", "show", "e", *here).out
    assert json.loads(cli.ok("queues", "leases", "q", *here, "-o", "json").out) == []
    assert cli("queues", "renew-lease", "q", "1", *here, "--consumer-tag", "t").code == 65


def test_groups_are_listed_with_who_has_them(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "g", *here, "-a", "x-group-header=customer")
    cli.ok("publish", "", "g", "hello", *here, "-H", "customer=ann")
    (group,) = json.loads(cli.ok("queues", "groups", "g", *here, "-o", "json").out)
    assert (group["key"], group["messages_waiting"]) == ("ann", 1)
    assert "ann" in cli.ok("queues", "groups", "g", *here).out
    cli.ok("queues", "declare", "plain", *here)
    assert cli("queues", "groups", "plain", *here).code == 65


def test_a_virtual_host_is_told_what_becomes_of_declarations_that_differ(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("vhosts", "set-redeclare", vhost, "update")
    cli.ok("queues", "declare", "r", *here, "-a", "x-max-length=5")
    cli.ok("queues", "declare", "r", *here, "-a", "x-max-length=6")
    cli.ok("vhosts", "set-redeclare", vhost, "strict")
    assert cli("queues", "declare", "r", *here, "-a", "x-max-length=7").code != 0
    assert cli("vhosts", "set-redeclare", "nosuch", "warn").code == 65
