"""``harebell publish``, ``get``, ``tail`` and ``streams``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harebell.cli.api import Api
from harebell.cli.exits import Failure
from harebell.cli.progress import progress_text
from harebell.cli.streams import offset_argument
from tests.cli.conftest import Cli
from tests.server.process import environment, eventually


def test_a_message_comes_from_an_argument_a_file_or_the_standard_input(
    cli: Cli, vhost: str, tmp_path: Path
) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "q", *here)
    (tmp_path / "body").write_bytes(b"\xff\x00")
    cli.ok("publish", "", "q", "argument", *here)
    cli.ok("publish", "amq.default", "q", *here, "-f", str(tmp_path / "body"))
    cli.ok("publish", "", "q", *here, stdin="input")
    cli.ok("publish", "", "q", *here, "-f", "-", "--lines", stdin="first\nsecond\n")
    got = json.loads(cli.ok("get", "q", *here, "-n", "9", "-o", "json").out)
    assert [one["payload"] for one in got] == ["argument", "/wA=", "input", "first", "second"]
    assert got[1]["payload_encoding"] == "base64"


def test_octets_that_are_no_text_are_shown_as_such(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "q", "-p", vhost)
    cli.ok("publish", "", "q", "-p", vhost, stdin=b"\xff\x01")
    assert cli.ok("get", "q", "-p", vhost).lines[-1] == "  2 octets, no text  ff 01"


def test_properties_and_headers_are_given_as_pairs(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "q", "-p", vhost)
    given = ("-P", "priority=3", "-P", "content-type=text/plain", "-H", "n=1", "-H", "s=text", "--transient")
    cli.ok("publish", "", "q", "x", "-p", vhost, *given)
    (message,) = json.loads(cli.ok("get", "q", "-p", vhost, "-o", "json").out)
    assert message["properties"] == {
        "priority": 3,
        "content_type": "text/plain",
        "headers": {"n": 1, "s": "text"},
        "delivery_mode": 1,
    }
    for wrong in (("-P", "priority=high"), ("-P", "type"), ("-H", "nothing"), ("-f", "body")):
        assert cli("publish", "", "q", "x", "-p", vhost, *wrong).code == 64


def test_a_message_that_no_queue_takes_is_65(cli: Cli, vhost: str) -> None:
    ended = cli("publish", "amq.topic", "nowhere", "x", "-p", vhost)
    assert ended.code == 65
    assert "1 of 1 message went to no queue" in ended.err
    assert cli("publish", "absent", "k", "x", "-p", vhost).code in (65, 77)


def test_many_messages_are_counted(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "q", "-p", vhost)
    assert cli.ok("publish", "", "q", "x", "-p", vhost, "--repeat", "20").out == "published 20 messages\n"
    assert progress_text(500, 1000, "messages", 5.0) == (
        "[###############...............] 500 of 1,000 messages, 5 s left"
    )


def test_tail_prints_what_is_published_meanwhile(cli: Cli, api: Api, vhost: str, url: str) -> None:
    command = [
        sys.executable,
        "-m",
        "harebell",
        "tail",
        "amq.topic",
        "order.#",
        "-p",
        vhost,
        "-n",
        "2",
        "--bodies",
    ]
    environ = {**environment(), "HAREBELL_URL": url}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        try:
            eventually(lambda: api.get("consumers", vhost), "tail consumes")
            assert cli("publish", "amq.topic", "invoice.new", "other", "-p", vhost).code == 65
            cli.ok("publish", "amq.topic", "order.new", "first", "-p", vhost)
            cli.ok("publish", "amq.topic", "order.new", "\x1b[2J", "-p", vhost)
            out, _ = tail.communicate(timeout=20)
        finally:
            tail.kill()
    assert (tail.returncode, out) == (0, "first\n\\x1b[2J\n")


def test_a_stream_is_read_from_a_place_and_keeps_its_messages(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("queues", "declare", "s", *here, "--type", "stream")
    for number in range(5):
        cli.ok("publish", "", "s", f"m{number}", *here)
    assert cli.ok("streams", "read", "s", *here, "--bodies").lines == [f"m{number}" for number in range(5)]
    assert cli.ok("streams", "read", "s", *here, "--offset", "3", "--bodies").lines == ["m3", "m4"]
    first = cli.ok("streams", "read", "s", *here, "-n", "1")
    assert first.lines[0].startswith("0. (default exchange) s")
    document = json.loads(cli.ok("stream", "read", "s", *here, "-n", "1", "-o", "json").out)
    assert document["properties"]["headers"]["x-stream-offset"] == 0
    assert cli("streams", "read", "absent", *here).code == 65
    assert cli("streams", "read", "s", *here, "--offset", "soon").code == 64
    listed = cli.ok("streams", "list", *here, "--columns", "name,messages")
    assert listed.lines[1].split() == ["s", "5"]
    assert cli.ok("streams", "lag", "s", *here).lines[0].split()[:4] == [
        "vhost",
        "stream",
        "consumer",
        "offset",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("first", "first"), ("1h", "1h"), ("17", 17), ("-100", -100), ("1970-01-01T00:01:00Z", 60)],
)
def test_places_in_a_stream(text: str, value: object) -> None:
    assert offset_argument(text) == value


def test_what_is_no_place_in_a_stream_is_told() -> None:
    with pytest.raises(Failure, match="is no place in a stream"):
        offset_argument("yesterday")


def test_a_super_stream_is_made_and_goes_with_its_partitions(cli: Cli, api: Api, vhost: str) -> None:
    cli.ok("streams", "add-super", "events", "--partitions", "2", "-p", vhost, "-a", "x-max-age=1D")
    assert {one["name"] for one in api.get("queues", vhost)} == {"events-0", "events-1"}
    done = cli.ok("streams", "delete-super", "events", "-p", vhost)
    assert done.out == "deleted super stream 'events' with 2 partitions\n"
    assert api.get("queues", vhost) == []
    assert cli("streams", "delete-super", "events", "-p", vhost).code == 65


def test_an_amqp_address_may_be_named(cli: Cli, vhost: str) -> None:
    cli.ok("queues", "declare", "s", "-p", vhost, "--type", "stream")
    refused = cli("streams", "read", "s", "-p", vhost, "--amqp-url", "amqp://127.0.0.1:1")
    assert refused.code == 69 and "cannot be reached" in refused.err
    assert cli("streams", "read", "s", "-p", vhost, "--amqp-url", "http://127.0.0.1").code == 64
