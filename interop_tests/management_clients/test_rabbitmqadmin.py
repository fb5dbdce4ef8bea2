"""RabbitMQ's own ``rabbitmqadmin``, the Python program of its Debian package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from interop_tests.broker_under_test import BrokerUnderTest

SECONDS = 60
PLACE = "lib/rabbitmq_server-*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin"


def program() -> Path:
    """Find the program, or skip these tests."""
    found = sorted(Path("/usr/lib/rabbitmq").glob(PLACE))
    if not found:
        pytest.skip("rabbitmqadmin is missing; the Debian package rabbitmq-server has it")
    return found[-1]


class Admin:
    """Runs the program against one virtual host."""

    def __init__(self, broker: BrokerUnderTest, vhost: str) -> None:
        parts = urlsplit(broker.management_url)
        self._command = [
            sys.executable, str(program()), "--host", str(parts.hostname), "--port", str(parts.port),
            "--username", broker.user, "--password", broker.password, "--vhost", vhost,
        ]  # fmt: skip

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run a subcommand, which must succeed unless it is to fail, and give what it prints."""
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def table(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a subcommand that shows a list."""
        found: list[dict[str, Any]] = json.loads(self.run("--format", "raw_json", *arguments))
        return found


@pytest.fixture
def admin(broker: BrokerUnderTest, vhost: str) -> Admin:
    """The program, in a virtual host of its own."""
    return Admin(broker, vhost)


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def own(rows: list[dict[str, Any]], vhost: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["vhost"] == vhost]


def test_objects_are_declared_shown_and_deleted(admin: Admin) -> None:
    assert "exchange declared" in admin.run("declare", "exchange", "name=x", "type=topic", "durable=true")
    assert "queue declared" in admin.run(
        "declare", "queue", "name=q", "durable=true", 'arguments={"x-max-length":5}'
    )
    assert "queue declared" in admin.run("declare", "queue", "name=qq", "queue_type=quorum")
    assert "binding declared" in admin.run(
        "declare", "binding", "source=x", "destination=q", "destination_type=queue", "routing_key=a.#"
    )
    assert names(admin.table("list", "queues", "name", "arguments")) == ["q", "qq"]
    assert "x" in names(admin.table("list", "exchanges"))
    assert [row["routing_key"] for row in admin.table("list", "bindings") if row["source"] == "x"] == ["a.#"]
    assert "a.#" in admin.run("list", "bindings")
    assert "binding deleted" in admin.run(
        "delete", "binding", "source=x", "destination_type=queue", "destination=q", "properties_key=a.%23"
    )
    assert "queue deleted" in admin.run("delete", "queue", "name=q")
    assert "exchange deleted" in admin.run("delete", "exchange", "name=x")
    assert names(admin.table("list", "queues")) == ["qq"]


def test_messages_are_published_got_and_purged(admin: Admin) -> None:
    admin.run("declare", "queue", "name=q")
    for number in range(3):
        assert "Message published" in admin.run("publish", "routing_key=q", f"payload=message {number}")
    assert "Message published but NOT routed" in admin.run("publish", "routing_key=nope", "payload=x")
    (got,) = admin.table("get", "queue=q", "ackmode=ack_requeue_false")
    assert (got["payload"], got["message_count"]) == ("message 0", 2)
    assert "message 1" in admin.run("get", "queue=q")
    assert "queue purged" in admin.run("purge", "queue", "name=q")
    assert "No items" in admin.run("get", "queue=q")


def test_the_cluster_is_shown(admin: Admin, broker: BrokerUnderTest) -> None:
    (overview,) = admin.table("show", "overview")
    assert overview["node"] in names(admin.table("list", "nodes"))
    assert broker.user in names(admin.table("list", "users"))
    for what in ("connections", "channels", "consumers", "permissions", "parameters", "policies", "vhosts"):
        admin.run("list", what)
    assert "rabbitmq_version" in admin.run("show", "overview")


def test_policies_and_limits(admin: Admin, vhost: str) -> None:
    admin.run("declare", "policy", "name=p", "pattern=^q", 'definition={"max-length":7}', "apply-to=queues")
    admin.run(
        "declare", "operator_policy", "name=o", "pattern=^q", 'definition={"max-length":5}', "apply-to=queues"
    )
    admin.run("declare", "vhost_limit", f"vhost={vhost}", "name=max-queues", "value=100")
    assert [row["definition"] for row in own(admin.table("list", "policies"), vhost)] == [{"max-length": 7}]
    assert names(own(admin.table("list", "operator_policies"), vhost)) == ["o"]
    assert {"vhost": vhost, "value": {"max-queues": 100}} in admin.table("list", "vhost_limits")
    admin.run("delete", "policy", "name=p")
    admin.run("delete", "operator_policy", "name=o")
    admin.run("delete", "vhost_limit", f"vhost={vhost}", "name=max-queues")
    assert own(admin.table("list", "policies"), vhost) == []


def test_users_and_permissions(admin: Admin, vhost: str, user: str) -> None:
    admin.run("declare", "user", f"name={user}", "password=secret", "tags=management")
    admin.run(
        "declare", "permission", f"vhost={vhost}", f"user={user}", "configure=.*", "write=.*", "read=^q"
    )
    granted = {"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": "^q"}
    assert granted in admin.table("list", "permissions")
    admin.run("delete", "permission", f"vhost={vhost}", f"user={user}")
    admin.run("delete", "user", f"name={user}")
    assert "Not found" in admin.run("delete", "user", f"name={user}", fails=True)


def test_definitions_are_exported_and_imported(admin: Admin, tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    admin.run("declare", "queue", "name=q", "durable=true")
    admin.run("export", str(file))
    assert names(json.loads(file.read_text())["queues"]) == ["q"]
    admin.run("delete", "queue", "name=q")
    assert "Uploaded definitions" in admin.run("import", str(file))
    assert names(admin.table("list", "queues")) == ["q"]
    file.write_text("{")
    admin.run("import", str(file), fails=True)
