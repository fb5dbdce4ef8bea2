"""``harebell delayed``."""

from __future__ import annotations

import json

from harebell.cli.api import Api
from tests.cli.conftest import Cli
from tests.server.process import eventually


def test_delayed_messages_are_listed_cancelled_and_delivered(cli: Cli, api: Api, vhost: str) -> None:
    here = ("-p", vhost)
    assert cli.ok("delayed", "list", *here).out == "0 messages delayed\n"
    cli.ok(
        "exchanges", "declare", "later", *here, "--type", "x-delayed-message", "-a", "x-delayed-type=fanout"
    )
    cli.ok("queues", "declare", "q", *here)
    cli.ok("bindings", "declare", "later", "q", "", *here)
    for hours in (3, 1, 2):
        cli.ok("publish", "later", "k", f"{hours} h", *here, "-H", f"x-delay={hours * 3_600_000}")
    listed = cli.ok("delayed", "list", *here, "-n", "2")
    assert listed.lines[0] == "3 messages delayed" and len(listed.lines) == 4
    found = json.loads(cli.ok("delayed", "list", *here, "--exchange", "later", "-o", "json").out)
    assert [one["payload"] for one in found] == ["1 h", "2 h", "3 h"]
    first, second, _ = (one["id"] for one in found)
    assert cli.ok("delayed", "cancel", first, *here).out == f"cancelled {first}\n"
    assert cli("delayed", "cancel", first, *here).code == 65
    assert cli.ok("delayed", "deliver", second, *here).out == f"delivered {second}\n"
    eventually(lambda: api.get("queues", vhost, "q")["messages"] == 1, "it is in the queue")
    assert json.loads(cli.ok("get", "q", *here, "-o", "json").out)[0]["payload"] == "2 h"
    assert cli.ok("delayed", "cancel", *here, "--exchange", "later").out == "cancelled 1 message\n"
    assert cli("delayed", "cancel", *here).code == 64
