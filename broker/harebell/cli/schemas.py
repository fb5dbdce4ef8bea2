"""``harebell schemas``: what messages have to look like, in versions. Not in RabbitMQ."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, any_vhost_option, form_option, listing, vhost_option, with_api
from harebell.cli.output import Column, emit, fields, json_text, say

FORMATS = click.Choice(("json-schema", "avro", "protobuf"))
RULES = click.Choice(
    (
        "none",
        "backward",
        "backward_transitive",
        "forward",
        "forward_transitive",
        "full",
        "full_transitive",
        "default",
    )
)
SUFFIXES = {".avsc": "avro", ".pb": "protobuf", ".desc": "protobuf", ".protoset": "protobuf"}

format_option = click.option(
    "--type", "kind", type=FORMATS, help="Format; by the file's suffix, else json-schema."
)
message_option = click.option("--message", metavar="TYPE", help="Message type of Protobuf; else the first.")


@click.group(cls=Noun)
def schemas() -> None:
    """Register schemas, try messages, set how schemas may change."""


@schemas.command("list")
@any_vhost_option
@listing(
    "vhost", "name", "format", "latest", Column("versions"), "compatibility", Column("checked"), "invalid"
)
@with_api
def list_schemas(api: Api, vhost: str | None, shown: Listing) -> None:
    """List schemas."""
    shown.show(api.get("x", "schemas", *(() if vhost is None else (vhost,))))


@schemas.command()
@click.argument("subject")
@click.argument("version", required=False)
@vhost_option
@click.option("--text", is_flag=True, help="Print the schema only.")
@form_option
@with_api
def show(api: Api, subject: str, version: str | None, vhost: str, text: bool, form: str) -> None:
    """Show a schema and what goes by it; with VERSION, a number or latest, that version."""
    if version is None and not text:
        found = api.get("x", "schemas", vhost, subject)
    else:
        found = api.get("x", "schemas", vhost, subject, "versions", version or "latest")
    if text:
        emit([found["schema"]])
    elif form == "json":
        emit([json_text(found)])
    else:
        emit(fields(list(found.items())))


def read_schema(path: str, kind: str | None, message: str | None) -> dict[str, Any]:
    """Read a schema from a file, ``-`` for the standard input, for the body of a request.

    Raises:
        Failure: the file cannot be read, or is no text although its format is.
    """
    try:
        octets = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", USAGE) from None
    kind = kind or SUFFIXES.get(Path(path).suffix, "json-schema")
    try:
        text = octets.decode()
        if kind == "protobuf":
            base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        if kind != "protobuf":
            raise Failure(f"{path} is no text in UTF-8", USAGE) from None
        text = base64.b64encode(octets).decode()
    return {"schema": text, "format": kind, **({} if message is None else {"message": message})}


@schemas.command()
@click.argument("subject")
@click.argument("file", default="-")
@vhost_option
@format_option
@message_option
@form_option
@with_api
def register(
    api: Api, subject: str, file: str, vhost: str, kind: str | None, message: str | None, form: str
) -> None:
    """Register a version of a schema from FILE, or the standard input."""
    body = read_schema(file, kind, message)
    found = api.post("x", "schemas", vhost, subject, "versions", body=body)
    if form == "json":
        emit([json_text(found)])
    else:
        say(f"schema {subject!r} version {found['version']}, id {found['id']}")


@schemas.command()
@click.argument("subject")
@click.argument("file", default="-")
@vhost_option
@click.option("--schema", "as_schema", is_flag=True, help="FILE is a new version, not a message.")
@click.option("--version", type=click.IntRange(1), help="Hold a message against this version.")
@format_option
@message_option
@with_api
def check(
    api: Api,
    subject: str,
    file: str,
    vhost: str,
    as_schema: bool,
    version: int | None,
    kind: str | None,
    message: str | None,
) -> None:
    """Tell whether the message in FILE fits, or with --schema whether a version could be registered."""
    if as_schema:
        body = read_schema(file, kind, message)
        found = api.post("x", "schemas", vhost, subject, "check-schema", body=body)
        if found["problems"]:
            raise Failure(f"not compatible ({found['compatibility']}): {'; '.join(found['problems'])}", DATA)
        say(f"compatible ({found['compatibility']})")
        return
    try:
        octets = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", USAGE) from None
    payload = {"payload": base64.b64encode(octets).decode(), "payload_encoding": "base64"}
    tried = {**payload, **({} if version is None else {"version": version})}
    found = api.post("x", "schemas", vhost, subject, "check-message", body=tried)
    if not found["valid"]:
        raise Failure(f"not valid: {found['error']}", DATA)
    say("valid")


@schemas.command()
@click.argument("subject")
@click.argument("version", required=False)
@vhost_option
@click.option("--force", is_flag=True, help="Also if something goes by it, to which nothing fits then.")
@with_api
def delete(api: Api, subject: str, version: str | None, vhost: str, force: bool) -> None:
    """Delete a schema, or one VERSION of it."""
    path = ("x", "schemas", vhost, subject, *(() if version is None else ("versions", version)))
    api.delete(*path, query={"force": "true"} if force else {})
    say(f"deleted schema {subject!r}" + ("" if version is None else f" version {version}"))


@schemas.command()
@click.argument("subject_or_rule")
@click.argument("rule", required=False, type=RULES)
@vhost_option
@with_api
def compatibility(api: Api, subject_or_rule: str, rule: str | None, vhost: str) -> None:
    """Set how a schema may change: SUBJECT RULE, or RULE for those that have none of their own.

    With the rule `default` a subject goes by that of its virtual host again.
    """
    if rule is None:
        api.put("x", "schema-compatibility", vhost, body={"compatibility": subject_or_rule})
        say(f"set compatibility of {vhost!r} to {subject_or_rule}")
    elif rule == "default":
        api.delete("x", "schemas", vhost, subject_or_rule, "compatibility")
        say(f"schema {subject_or_rule!r} goes by the rule of {vhost!r}")
    else:
        api.put("x", "schemas", vhost, subject_or_rule, "compatibility", body={"compatibility": rule})
        say(f"set compatibility of schema {subject_or_rule!r} to {rule}")
