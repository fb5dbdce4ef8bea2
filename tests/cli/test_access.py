"""``harebell users``, ``permissions``, ``vhosts``, ``limits``, ``policies`` and ``parameters``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harebell.cli.api import Api
from tests.cli.conftest import Cli


@pytest.fixture
def user(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """A user without permissions, whose password is ``pw``."""
    name = f"u-{request.node.name}"[:60]
    api.put("users", name, body={"password": "pw", "tags": "management"})
    yield name
    if any(one["name"] == name for one in api.get("users")):
        api.delete("users", name)


def test_a_user_is_added_listed_and_deleted(cli: Cli) -> None:
    added = cli.ok("users", "add", "ann", "pw", "--tags", "monitoring,policymaker")
    assert added.out.startswith("added user 'ann'")
    listed = json.loads(cli.ok("users", "list", "--columns", "name,tags", "-o", "json").out)
    assert {"monitoring", "policymaker"} in [set(row["tags"]) for row in listed if row["name"] == "ann"]
    assert '"password_hash"' not in cli.ok("users", "list", "-o", "json").out
    again = cli("users", "add", "ann", "pw")
    assert (again.code, "there is a user 'ann' already" in again.err) == (65, True)
    cli.ok("users", "delete", "ann")
    assert cli("users", "delete", "ann").code == 67


@pytest.mark.parametrize("how", ["argument", "dash", "file", "input"])
def test_a_password_need_not_be_on_the_command_line(cli: Cli, user: str, tmp_path: Path, how: str) -> None:
    (tmp_path / "pw").write_text("new\n")
    given = {
        "argument": ("new",),
        "dash": ("-",),
        "file": ("--password-file", str(tmp_path / "pw")),
        "input": ("--password-file", "-"),
    }[how]
    cli.ok("users", "change-password", user, *given, stdin="new\n")
    cli.ok("users", "authenticate", user, "new")
    assert cli("users", "authenticate", user, "pw").code == 77


def test_without_a_terminal_no_password_is_asked_for(cli: Cli, user: str) -> None:
    ended = cli("users", "change-password", user)
    assert ended.code == 64 and "--password-file" in ended.err
    assert cli("users", "change-password", user, "-", stdin="").code == 64, "empty passwords let nobody in"
    assert cli("users", "change-password", user, "a", "--password-file", "b").code == 64


def test_tags_change_and_the_password_stays(cli: Cli, user: str) -> None:
    cli.ok("users", "set-tags", user, "monitoring", "policymaker")
    cli.ok("users", "authenticate", user, "pw")
    shown = json.loads(cli.ok("users", "show", user, "-o", "json").out)
    assert shown["tags"] == ["monitoring", "policymaker"] and "password_hash" not in shown
    cli.ok("users", "set-tags", user)
    ended = cli.ok("users", "authenticate", user, "pw")
    assert "can log in" in ended.out, "who may not use the API can still log in"


def test_a_cleared_password_lets_nobody_in(cli: Cli, user: str) -> None:
    cli.ok("users", "clear-password", user)
    assert cli("users", "authenticate", user, "pw").code == 77


def test_a_hash_is_as_good_as_a_password(cli: Cli, user: str) -> None:
    for method in ("sha256",):
        hashed = cli.ok("hash-password", "secret", "--method", method).out.strip()
        cli.ok("users", "change-password", user, "--password-hash", hashed)
        cli.ok("users", "authenticate", user, "secret")
    assert cli.ok("hash-password", "-", "--method", "argon2id", stdin="x\n").out.startswith("$argon2id$")


def test_limits_of_users(cli: Cli, user: str) -> None:
    cli.ok("users", "set-limit", user, "max-connections", "3")
    assert cli.ok("users", "limits", user).lines[1].split() == [user, "max-connections=3"]
    cli.ok("users", "clear-limit", user, "max-connections")
    assert cli("users", "set-limit", user, "max-queues", "3").code == 64


def test_permissions_are_set_listed_and_cleared(cli: Cli, vhost: str, user: str) -> None:
    cli.ok("permissions", "set", user, "^a", "^b", "", "-p", vhost)
    listed = cli.ok("permissions", "list", "-p", vhost, "--user", user, "-o", "csv")
    assert listed.lines[1] == f"{vhost},{user},^a,^b,"
    assert "in virtual host" in cli.ok("users", "show", user).out
    cli.ok("topic-permissions", "set", user, "amq.topic", "^w", "^r", "-p", vhost)
    topics = cli.ok("topic-permissions", "list", "-p", vhost, "-o", "csv")
    assert topics.lines[1] == f"{vhost},{user},amq.topic,^w,^r"
    cli.ok("topic-permissions", "clear", user, "-p", vhost)
    cli.ok("permissions", "clear", user, "-p", vhost)
    assert len(cli.ok("permissions", "list", "-p", vhost, "--user", user).lines) == 1
    assert cli("permissions", "set", "nobody", "-p", vhost).code in (65, 67)
    assert cli("permissions", "set", user, "(", "-p", vhost).code == 65


def test_virtual_hosts_and_their_limits(cli: Cli) -> None:
    added = cli.ok(
        "vhosts", "add", "shop", "--description", "orders", "--tags", "a,b", "--default-queue-type", "quorum"
    )
    assert added.out == "added virtual host 'shop'\n"
    shown = cli.ok("vhosts", "show", "shop")
    assert "description         orders" in shown.lines and "default_queue_type  quorum" in shown.lines
    assert json.loads(cli.ok("vhosts", "show", "shop", "-o", "json").out)["tags"] == ["a", "b"]
    assert any(line.startswith("shop") for line in cli.ok("vhosts", "list").lines)
    cli.ok("limits", "set", "max-queues", "7", "-p", "shop")
    assert cli.ok("limits", "list", "-p", "shop").lines[1].split() == ["shop", "max-queues=7"]
    cli.ok("limits", "clear", "max-queues", "-p", "shop")
    cli.ok("vhosts", "delete", "shop")
    assert cli("vhosts", "delete", "shop").code == 65


@pytest.mark.parametrize("group", ["policies", "operator-policies"])
def test_policies(cli: Cli, vhost: str, group: str) -> None:
    definition = '{"max-length": 5}'
    cli.ok(group, "set", "p", "^q", definition, "-p", vhost, "--apply-to", "queues", "--priority", "2")
    listed = cli.ok(group, "list", "-p", vhost)
    assert listed.lines[1].split() == [vhost, "p", "^q", "queues", "2", "max-length=5"]
    assert cli(group, "set", "p", "^q", "[1]", "-p", vhost).code == 64
    assert cli(group, "set", "p", "^q", "{", "-p", vhost).code == 64
    refused = cli(group, "set", "p", "^q", '{"no-such-key": 1}', "-p", vhost)
    assert refused.code == 65 and "&" not in refused.err, "RabbitMQ's reasons are written for web pages"
    cli.ok(group, "clear", "p", "-p", vhost)
    assert cli(group, "clear", "p", "-p", vhost).code == 65


def test_global_parameters(cli: Cli) -> None:
    cli.ok("parameters", "set", "--global", "colour", "--value", '{"a": 1}')
    rows = json.loads(cli.ok("parameters", "list", "--global", "--columns", "name,value", "-o", "json").out)
    assert {"name": "colour", "value": {"a": 1}} in rows
    cli.ok("parameters", "clear", "--global", "colour")
    assert cli("parameters", "clear", "--global", "colour").code == 65
    assert cli("parameters", "set", "colour", "--value", "1").code == 64
    assert cli("parameters", "set", "--global", "a", "b", "--value", "1").code == 64
