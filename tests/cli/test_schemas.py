"""``harebell schemas``."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from google.protobuf import descriptor_pb2

from harebell.cli.api import Api
from tests.cli.conftest import Cli

ORDER = {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": False}
WIDER = {**ORDER, "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}}


def test_schemas_are_registered_shown_tried_and_deleted(cli: Cli, vhost: str, tmp_path: Path) -> None:
    here = ("-p", vhost)
    file = tmp_path / "order.json"
    file.write_text(json.dumps(ORDER))
    registered = cli.ok("schemas", "register", "orders", str(file), *here)
    assert registered.out == "schema 'orders' version 1, id 1\n"
    assert cli.ok("schemas", "register", "orders", *here, stdin=json.dumps(WIDER)).out.startswith(
        "schema 'orders' version 2"
    )
    listed = cli.ok("schemas", "list", *here, "--columns", "name,format,latest,compatibility")
    assert listed.lines[1].split() == ["orders", "json-schema", "2", "backward"]
    assert cli.ok("schemas", "show", "orders", "1", *here, "--text").out == json.dumps(ORDER) + "\n"
    assert json.loads(cli.ok("schemas", "show", "orders", *here, "-o", "json").out)["versions"] == [1, 2]
    assert cli.ok("schemas", "check", "orders", *here, stdin='{"id": 1}').out == "valid\n"
    wrong = cli("schemas", "check", "orders", *here, stdin='{"id": "x"}')
    assert wrong.code == 65 and "is not of type" in wrong.err
    older = cli("schemas", "check", "orders", "--version", "1", *here, stdin='{"note": "x"}')
    assert older.code == 65
    cli.ok("schemas", "delete", "orders", "1", *here)
    cli.ok("schemas", "delete", "orders", *here)
    assert cli("schemas", "show", "orders", *here).code == 65


def test_what_breaks_is_told(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("schemas", "register", "orders", *here, stdin=json.dumps(WIDER))
    refused = cli("schemas", "register", "orders", *here, stdin=json.dumps(ORDER))
    assert refused.code == 65 and "/note: nothing is allowed here" in refused.err
    tried = cli("schemas", "check", "orders", "--schema", *here, stdin=json.dumps(ORDER))
    assert tried.code == 65 and "not compatible (backward): cannot read what version 1" in tried.err
    cli.ok("schemas", "compatibility", "orders", "forward", *here)
    tried = cli.ok("schemas", "check", "orders", "--schema", *here, stdin=json.dumps(ORDER))
    assert tried.out == "compatible (forward)\n"
    cli.ok("schemas", "compatibility", "orders", "default", *here)
    cli.ok("schemas", "compatibility", "none", *here)
    assert cli.ok("schemas", "check", "orders", "--schema", *here, stdin=json.dumps(ORDER)).out == (
        "compatible (none)\n"
    )
    assert cli("schemas", "compatibility", "some", *here).code == 65


def test_a_schema_in_use_goes_by_force(cli: Cli, vhost: str) -> None:
    here = ("-p", vhost)
    cli.ok("schemas", "register", "orders", *here, stdin="{}")
    cli.ok("queues", "declare", "q", *here, "-a", "x-schema=orders")
    refused = cli("schemas", "delete", "orders", *here)
    assert refused.code == 65 and "in use: queue 'q'" in refused.err
    cli.ok("schemas", "delete", "orders", *here, "--force")


def test_the_format_follows_the_suffix(cli: Cli, api: Api, vhost: str, tmp_path: Path) -> None:
    here = ("-p", vhost)
    avro = tmp_path / "order.avsc"
    avro.write_text('{"type": "record", "name": "Order", "fields": []}')
    cli.ok("schemas", "register", "a", str(avro), *here)
    assert api.get("x", "schemas", vhost, "a")["format"] == "avro"
    found = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop")
    found.message_type.add(name="Order")
    files = descriptor_pb2.FileDescriptorSet(file=[found]).SerializeToString()
    protobuf = tmp_path / "order.pb"
    protobuf.write_bytes(files)
    cli.ok("schemas", "register", "p", str(protobuf), *here, "--message", "Order")
    shown = api.get("x", "schemas", vhost, "p", "versions", "latest")
    assert (shown["format"], shown["message"]) == ("protobuf", "Order")
    assert base64.b64decode(shown["schema"]) == files
    assert cli("schemas", "register", "a", str(tmp_path / "absent"), *here).code == 64
    assert cli("schemas", "register", "a", str(protobuf), "--type", "avro", *here).code in (64, 65)
