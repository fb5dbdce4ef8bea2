"""``harebell queues``, ``exchanges`` and ``bindings``."""

from __future__ import annotations

import json

from harebell.cli.api import Api
from tests.cli.conftest import Cli
from tests.server.process import eventually


def test_a_queue_is_declared_listed_shown_and_deleted(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    declared = cli.ok("queues", "declare", "jobs", *here, "-a", "x-max-length=1000", "--type", "quorum")
    assert declared.out == "declared queue 'jobs'\n"
    again = cli.ok(
        "queues", "declare", "jobs", *here, "--arguments", '{"x-max-length": 1000}', "--type", "quorum"
    )
    assert again.out == "queue 'jobs' is there already\n"
    listed = cli.ok("queues", "list", *here, "--columns", "name,type,messages,arguments.x-max-length")
    assert listed.lines == [
        "name  type    messages  arguments.x-max-length",
        "jobs  quorum         0                   1,000",
    ]
    shown = cli.ok("queues", "show", "jobs", *here)
    assert "arguments       x-max-length=1000, x-queue-type=quorum" in shown.lines
    assert json.loads(cli.ok("queues", "show", "jobs", *here, "-o", "json").out)["durable"] is True
    assert cli.ok("queues", "delete", "jobs", *here, "-q").out == ""
    assert cli("queues", "delete", "jobs", *here).code == 65


def test_another_kind_of_queue_of_the_same_name_is_refused(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "jobs", "-p", vhost)
    ended = cli("queues", "declare", "jobs", "-p", vhost, "--transient")
    assert ended.code == 65
    assert "inequivalent arg 'durable' for queue 'jobs'" in ended.err


def test_lists_are_sorted_filtered_and_machine_readable(cli: Cli, api: Api, vhost: str) -> None:
    for name, count in (("a", 2), ("b", 0), ("ab", 1)):
        cli.ok("queues", "declare", name, "-p", vhost)
        if count:
            cli.ok("publish", "", name, "x", "-p", vhost, "--repeat", str(count))
    eventually(lambda: api.get("queues", vhost, "a")["messages"] == 2, "the queue has its messages")
    csv = cli.ok(
        "queues", "list", "-p", vhost, "--columns", "name,messages", "--sort", "messages", "-o", "csv"
    )
    assert csv.out == "name,messages\nb,0\nab,1\na,2\n"
    backwards = cli.ok("queues", "list", "-p", vhost, "--sort", "ready", "--reverse", "-o", "json")
    assert [row["name"] for row in json.loads(backwards.out)] == ["a", "ab", "b"]
    chosen = cli.ok("queues", "list", "-p", vhost, "--name", "^a", "--columns", "name", "-o", "json")
    assert json.loads(chosen.out) == [{"name": "a"}, {"name": "ab"}]


def test_the_head_of_the_table_is_as_documented(cli: Cli, vhost: str) -> None:
    listed = cli.ok("queues", "list", "-p", vhost)
    heads = ["vhost", "name", "type", "state", "ready", "unacked", "messages", "consumers"]
    assert listed.lines[0].split() == [*heads, "in/s", "out/s", "policy"]


def test_peeking_leaves_messages_and_getting_takes_them(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "q", *here)
    cli.ok("publish", "", "q", "one\ntwo", *here, "-H", "number=1", "-P", "type=order")
    peeked = cli.ok("queues", "peek", "q", *here)
    assert (peeked.lines[0], peeked.lines[4:]) == ("1. (default exchange) q", ["  one", "  two"])
    assert sorted(peeked.lines[1:4]) == ["  delivery_mode  2", "  header number  1", "  type           order"]
    got = json.loads(cli.ok("queues", "get", "q", *here, "-o", "json").out)
    assert (got[0]["payload"], got[0]["redelivered"]) == ("one\ntwo", True)
    assert cli.ok("queues", "get", "q", *here).out == "queue 'q' is empty\n"
    cli.ok("publish", "", "q", "x", *here)
    cli.ok("queues", "purge", "q", *here)
    assert cli.ok("queues", "get", "q", *here).out == "queue 'q' is empty\n"


def test_a_queue_with_messages_is_kept_if_only_an_empty_one_may_go(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "q", "-p", vhost)
    cli.ok("publish", "", "q", "x", "-p", vhost)
    assert cli("queues", "delete", "q", "-p", vhost, "--if-empty").code == 65
    cli.ok("queues", "delete", "q", "-p", vhost)


def test_dead_letters_are_looked_through_and_sent_back(cli: Cli, api: Api, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "dead", *here)
    cli.ok("queues", "declare", "saved", *here)
    options = (
        "-a",
        "x-dead-letter-exchange=",
        "-a",
        "x-dead-letter-routing-key=dead",
        "-a",
        "x-message-ttl=1",
    )
    cli.ok("queues", "declare", "work", *here, *options)
    cli.ok("publish", "", "work", "fail", *here, "-H", "kind=a", "--repeat", "3")
    eventually(lambda: api.get("queues", vhost, "dead")["messages"] == 3, "the messages are dead-lettered")
    looked = cli.ok("queues", "dead-letters", "dead", *here, "--where", "header.kind==a")
    assert looked.lines[0] == "3 of 3 messages fit"
    dry = cli.ok("queues", "redrive", "dead", *here, "--where", "reason=expired", "--dry-run")
    assert dry.out == "3 messages would be sent back\n"
    sent = cli.ok("queues", "redrive", "dead", *here, "--to", ":saved", "--limit", "2")
    assert sent.out == "2 messages sent back\n"
    eventually(lambda: api.get("queues", vhost, "saved")["messages"] == 2, "the messages have moved")
    assert any("done" in line for line in cli.ok("queues", "redrives").lines)
    wrong = cli("queues", "redrive", "dead", *here, "--where", "colour=red")
    assert wrong.code == 64 and "is no condition" in wrong.err
    assert cli("queues", "redrive", "absent", *here, "--dry-run").code == 65


def test_exchanges_and_bindings(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    assert cli.ok("exchanges", "declare", "x", *here, "--type", "topic").out == "declared exchange 'x'\n"
    cli.ok("queues", "declare", "q", *here)
    assert cli.ok("bindings", "declare", "x", "q", "a.#", *here).out == "bound 'q' to 'x' with 'a.#'\n"
    listed = cli.ok("bindings", "list", *here, "--source", "x")
    assert listed.lines[1].split() == [vhost, "x", "a.#", "q", "queue"]
    assert "  a.# -> queue q" in cli.ok("exchanges", "show", "x", *here).lines
    json.loads(cli.ok("exchanges", "show", "x", *here, "-o", "json").out)
    assert cli("exchanges", "delete", "x", *here, "--if-unused").code == 65
    missing = cli("bindings", "delete", "x", "q", "b.#", *here)
    assert missing.code == 65 and "'q' is not bound to 'x' with 'b.#'" in missing.err
    cli.ok("bindings", "delete", "x", "q", "a.#", *here)
    cli.ok("exchanges", "delete", "x", *here)
    assert cli("exchanges", "show", "x", *here).code == 65
    assert any("amq.topic" in line for line in cli.ok("exchanges", "list", *here).lines)


def test_bindings_of_one_key_are_told_apart(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "q", *here)
    for value in ("1", "2"):
        cli.ok("bindings", "declare", "amq.headers", "q", *here, "-a", f"k={value}")
    ended = cli("bindings", "delete", "amq.headers", "q", *here)
    assert ended.code == 64 and "--properties-key" in ended.err
    key = ended.err.split(": ")[-1].split(", ")[0].strip()
    cli.ok("bindings", "delete", "amq.headers", "q", *here, "--properties-key", key)
    assert len(cli.ok("bindings", "list", *here, "--source", "amq.headers").lines) == 2


def test_a_wrong_verb_and_a_wrong_argument_are_explained(cli: Cli) -> None:
    ended = cli("queues", "lst")
    assert (ended.code, "Did you mean 'list'?" in ended.err) == (64, True)
    ended = cli("queues", "declare", "q", "-a", "novalue")
    assert (ended.code, "is not KEY=VALUE" in ended.err) == (64, True)


def test_more_queues_than_fit_a_page_are_all_listed(cli: Cli, vhost: str) -> None:
    rows = [
        {"name": f"q{number:03}", "durable": True, "auto_delete": False, "arguments": {}}
        for number in range(501)
    ]
    imported = cli.ok("definitions", "import", "-p", vhost, stdin=json.dumps({"queues": rows}))
    assert imported.out == "imported 501 objects\n"
    listed = cli.ok("queues", "list", "-p", vhost, "--columns", "name", "-o", "csv")
    assert listed.lines == ["name", *(row["name"] for row in rows)]


def test_names_need_not_be_utf_8(cli: Cli, vhost: str) -> None:
    name = b"\xff-\xe4".decode("utf-8", "surrogateescape")
    cli.ok("queues", "declare", name, "-p", vhost)
    cli.ok("queues", "show", name, "-p", vhost)
    cli.ok("queues", "delete", name, "-p", vhost)
