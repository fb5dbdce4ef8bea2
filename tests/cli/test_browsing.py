"""``harebell messages``."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli


def furnish(cli: Cli, vhost: str, *arguments: str) -> tuple[str, str]:
    """Declare the queue ``q`` with three messages; give the option that names the virtual host."""
    here = ("-p", vhost)
    cli.ok("queues", "declare", "q", *here, *arguments)
    for number, colour in enumerate(("red", "blue", "red"), 1):
        cli.ok("publish", "", "q", f"message {number}", *here, "-H", f"colour={colour}")
    return here


def test_messages_are_browsed_and_shown(cli: Cli, vhost: str) -> None:
    here = furnish(cli, vhost)
    listed = cli.ok("messages", "browse", "q", *here)
    assert len(listed.lines) == 4 and listed.lines[1].split()[0] == "1" and "message 1" in listed.lines[1]
    found = json.loads(
        cli.ok("messages", "browse", "q", *here, "--filter", "colour = 'red'", "-o", "json").out
    )
    assert [one["position"] for one in found] == [1, 3]
    csv = cli.ok(
        "messages", "browse", "q", *here, "--from", "3", "-o", "csv", "--columns", "position,payload"
    )
    assert csv.lines == ["position,payload", "3,message 3"]
    assert (
        json.loads(cli.ok("messages", "browse", "q", *here, "-n", "1", "-o", "json").out)[0]["position"] == 1
    )
    shown = cli.ok("messages", "show", "q", "2", *here)
    assert "state" in shown.out and shown.lines[-1] == "  message 2"
    assert cli("messages", "show", "q", "9", *here).code == 65
    assert cli("messages", "browse", "q", *here, "--filter", "colour =").code == 65


def test_messages_are_deleted_and_moved(cli: Cli, vhost: str) -> None:
    here = furnish(cli, vhost)
    cli.ok("queues", "declare", "other", *here)
    assert cli.ok("messages", "move", "q", "2", *here, "--to-queue", "other").out == "moved message 2\n"
    assert json.loads(cli.ok("get", "other", *here, "-o", "json").out)[0]["payload"] == "message 2"
    red = ("--filter", "colour = 'red'")
    assert (
        cli.ok("messages", "delete", "q", *here, *red, "--dry-run").out
        == "2 messages of 2 would be deleted\n"
    )
    assert cli.ok("messages", "delete", "q", "1", *here).out == "deleted message 1\n"
    assert cli.ok("messages", "delete", "q", *here, *red).out == "deleted 1 message\n"
    for wrong in (("delete", "q"), ("delete", "q", "1", *red), ("move", "q", "1"), ("retry", "q")):
        assert cli("messages", *wrong, *here).code == 64, wrong


def test_waits_for_retries_are_seen_and_ended(cli: Cli, vhost: str) -> None:
    waiting = ("-a", "x-delayed-retry-type=all", "-a", "x-delayed-retry-min=3600000")
    here = furnish(cli, vhost, *waiting)
    cli.ok("get", "q", *here, "-n", "3", "--requeue")
    listed = cli.ok("messages", "browse", "q", *here, "--state", "retrying")
    assert "again in s" in listed.lines[0] and len(listed.lines) == 4
    assert cli.ok("messages", "retry", "q", "2", *here).out == "message 2 is ready\n"
    assert cli("messages", "retry", "q", "2", *here).code == 65
    assert cli.ok("messages", "retry", "q", "--all", *here).out == "2 messages ready\n"
    assert len(json.loads(cli.ok("messages", "browse", "q", *here, "-o", "json").out)) == 3
