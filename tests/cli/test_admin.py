"""``harebell admin``: command lines of rabbitmqadmin, v1 and v2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harebell.cli.api import Api
from tests.cli.conftest import Cli, Ended


@pytest.fixture
def admin(cli: Cli, vhost: str) -> Admin:
    return Admin(cli, vhost)


class Admin:
    """Runs rabbitmqadmin's commands in a virtual host."""

    def __init__(self, cli: Cli, vhost: str) -> None:
        self.cli, self.vhost = cli, vhost

    def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        return self.cli("admin", "-V", self.vhost, *arguments, stdin=stdin)


def test_v1_declares_lists_and_deletes(admin: Admin, api: Api) -> None:
    vhost = admin.vhost
    declared = admin("declare", "queue", "name=q", "durable=false", 'arguments={"x-max-length":3}')
    assert (declared.code, declared.out) == (0, "queue declared\n")
    found = api.get("queues", vhost, "q")
    assert (found["durable"], found["arguments"]) == (False, {"x-max-length": 3})
    assert admin("declare", "exchange", "name=x", "type=topic").code == 0
    assert admin("declare", "binding", "source=x", "destination=q", "routing_key=a.#").code == 0
    assert admin("-f", "tsv", "list", "queues", "name", "durable").out == "name\tdurable\nq\tfalse\n"
    assert admin("-f", "bash", "list", "queues").out == "q\n"
    assert json.loads(admin("-f", "raw_json", "list", "bindings").out)[-1]["routing_key"] == "a.#"
    assert admin("-q", "delete", "binding", "source=x", "destination=q", "routing_key=a.#").out == ""
    assert admin("delete", "exchange", "name=x").code == 0
    assert admin("delete", "queue", "name=q").out == "queue deleted\n"
    assert admin("delete", "queue", "name=q").code == 1
    assert admin("list", "queues").out == "No items\n"


def test_v2_says_the_same_otherwise(admin: Admin, api: Api) -> None:
    assert admin("queues", "declare", "--name", "q", "--type", "quorum", "--durable", "true").code == 0
    assert api.get("queues", admin.vhost, "q")["type"] == "quorum"
    assert admin("declare", "queue", "--name=r", "--queue-type=classic").code == 0
    listed = admin("queues", "list", "--columns", "name,type")
    assert [line.split() for line in listed.lines] == [["name", "type"], ["q", "quorum"], ["r", "classic"]]
    assert admin("queues", "purge", "--name", "q").code == 0
    assert admin("queues", "delete", "--name", "q").code == 0
    assert admin("queues", "delete", "--name", "q", "--idempotently").code == 0
    assert admin("publish", "message", "--routing-key", "r", "--payload", "x").out == "Message published\n"
    assert "x" in admin("get", "messages", "--queue", "r").out
    assert admin("health_check", "local_alarms").code == 0
    assert admin("health_check", "port_listener", "--port", "1").code == 1
    assert admin("passwords", "salt_and_hash", "secret").code == 0


def test_messages_are_published_and_got(admin: Admin) -> None:
    admin("declare", "queue", "name=q")
    assert (
        admin("publish", "routing_key=q", "payload=hello", "exchange=amq.default").out
        == "Message published\n"
    )
    assert admin("publish", "routing_key=q", stdin="from stdin").code == 0
    lost = admin("publish", "routing_key=nowhere", "payload=x")
    assert lost.out == "Message published but NOT routed\n"
    got = json.loads(admin("-f", "pretty_json", "get", "queue=q", "count=2", "ackmode=ack_requeue_false").out)
    assert [one["payload"] for one in got] == ["hello", "from stdin"]


def test_users_permissions_and_policies(admin: Admin, api: Api) -> None:
    vhost = admin.vhost
    assert admin("declare", "user", "name=carl", "password=pw", "tags=monitoring").code == 0
    assert (
        admin(
            "declare", "permission", f"vhost={vhost}", "user=carl", "configure=", "write=.*", "read=.*"
        ).code
        == 0
    )
    assert api.get("permissions", vhost, "carl")["configure"] == ""
    policy = ("name=p", "pattern=^q", 'definition={"max-length":5}', "apply-to=queues", "priority=3")
    assert admin("declare", "policy", *policy).code == 0
    assert api.get("policies", vhost, "p")["priority"] == 3
    assert admin("declare", "vhost_limit", f"vhost={vhost}", "name=max-queues", "value=9").code == 0
    assert admin("declare", "user", "--name", "dora", "--password", "secret", "--tags", "").code == 0
    api.login_as("dora", "secret")
    for name in ("carl", "dora"):
        assert admin("delete", "user", f"name={name}").code == 0


def test_definitions_and_the_overview(admin: Admin, tmp_path: Path) -> None:
    file = str(tmp_path / "d.json")
    assert admin("export", file).code == 0
    assert admin("import", file).code == 0
    assert "rabbitmq_version" in admin("show", "overview").lines[0]


def test_where_the_broker_is_may_be_told_in_its_way(cli: Cli, api: Api) -> None:
    at = ("-H", "127.0.0.1", "-P", str(api.port), "-u", "guest", "-p")
    assert cli("admin", *at, "guest", "list", "users").code == 0
    wrong = cli("admin", *at, "no", "list", "users")
    assert wrong.code == 1 and wrong.err.startswith("*** ")


@pytest.mark.parametrize(
    "line",
    [("list", "nonsense"), ("frobnicate",), ("declare", "queue"), ("declare", "exchange", "name=x"), ()],
)
def test_a_wrong_line_is_64(admin: Admin, line: tuple[str, ...]) -> None:
    assert admin(*line).code == 64
