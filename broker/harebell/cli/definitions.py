"""``harebell definitions``: export, import, and what an import would change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import CANNOT_CREATE, DATA, USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import connection_options, open_api, quiet_option, with_api
from harebell.cli.output import amount, emit, json_text, mark, printable, say, warn
from harebell.cli.progress import Progress

DIFFERENT = 1
PART = 1000
"""Objects in one request of a large import."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("vhost", "user"),
    "topic_permissions": ("vhost", "user", "exchange"),
    "parameters": ("vhost", "component", "name"),
    "global_parameters": ("name",),
    "policies": ("vhost", "name"),
    "operator_policies": ("vhost", "name"),
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key", "arguments"),
}
"""Sections of a file of definitions, in the order of an import, and what names an object in each."""

Definitions = dict[str, Any]


@click.group(cls=Noun)
def definitions() -> None:
    """Users, virtual hosts, permissions, policies, queues, exchanges and bindings as JSON, as RabbitMQ's."""


@definitions.command("export")
@click.argument("file", default="-")
@click.option("-p", "--vhost", metavar="VHOST", help="Only of this virtual host.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read them off the data directory of a broker that does not run.",
)
@quiet_option
@connection_options
def export(file: str, vhost: str | None, data_dir: Path | None) -> None:
    """Write definitions to a file, or the standard output; they hold hashes of passwords."""
    if data_dir is not None:
        from harebell.cli.offline import read_definitions

        found = read_definitions(data_dir, vhost)
    else:
        api = open_api(120.0)
        found = api.get(*(("definitions",) if vhost is None else ("definitions", vhost)))
        api.close()
    write(file, found)
    if file != "-":
        say(f"exported {amount(count(found), 'object')} to {file}")


def write(file: str, found: Definitions) -> None:
    """Write definitions; a file can be read by its owner only, for the hashes in it.

    Raises:
        Failure: it cannot be written.
    """
    text = json_text(found) + "\n"
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        path = Path(file)
        if not path.exists():
            path.touch(mode=0o600)
        path.write_text(text)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", CANNOT_CREATE) from None


def read(file: str) -> Definitions:
    """Read a file of definitions, - for the standard input.

    Raises:
        Failure: it cannot be read, or is none.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"the definitions cannot be read from {file}: {error}", USAGE) from None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Failure(f"{file} is no JSON: {error}", DATA) from None
    if not isinstance(found, dict):
        raise Failure(f"{file} holds no definitions: it is no JSON object", DATA)
    for section in KEYS:
        rows = found.get(section) or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Failure(f"{file} holds no definitions: {section} is no list of objects", DATA)
    return found


def count(found: Definitions) -> int:
    """Count the objects of definitions."""
    return sum(len(found.get(section) or []) for section in KEYS)


@definitions.command("import")
@click.argument("file", default="-")
@click.option("-p", "--vhost", metavar="VHOST", help="Into this virtual host, what came from another one.")
@click.option("--skip-if-unchanged", is_flag=True, help="Do nothing when all of it is there as it is.")
@click.option(
    "--skip-unknown",
    is_flag=True,
    help="Leave out what is not known here, as of plugins, and say what it is.",
)
@with_api
def import_definitions(
    api: Api, file: str, vhost: str | None, skip_if_unchanged: bool, skip_unknown: bool
) -> None:
    """Read definitions from a file, or the standard input; what is there already is changed or kept."""
    found = read(file)
    if skip_if_unchanged:
        now = api.get(*(("definitions",) if vhost is None else ("definitions", vhost)))
        if not any(change.startswith(("+", "~")) for change in changes(now, found)):
            say("nothing to import")
            return
    skipped = load(api, found, vhost, skip_unknown)
    for sentence in skipped:
        warn(printable(sentence))
    unknown = f", with warnings: {len(skipped)}" if skipped else ""
    say(f"imported {amount(count(found), 'object')}{unknown}")


def load(api: Api, found: Definitions, vhost: str | None, skip_unknown: bool = False) -> list[str]:
    """Import definitions: small ones in one request, large ones part by part, with a bar.

    Args:
        skip_unknown: whether to leave out what the broker does not know, which it refuses otherwise.

    Returns:
        What the broker left out, or warns of, if asked to.
    """
    api.timeout = max(api.timeout, 300.0)
    query = {"unknown": "skip"} if skip_unknown else None
    said: list[str] = []
    path = ("definitions",) if vhost is None else ("definitions", vhost)
    parts = list(_parts(found))
    with Progress(count(found), "objects") as progress:
        for part in parts:
            answer = api.post(*path, body=part, query=query)
            if isinstance(answer, dict):  # RabbitMQ knows no such thing, and answers nothing
                said += [*answer.get("skipped", ()), *answer.get("warnings", ())]
            progress.advance(count(part))
    return said


def _parts(found: Definitions) -> Iterator[Definitions]:
    """Cut large definitions up; whoever is named by others comes before them."""
    if count(found) <= 5 * PART:
        yield found
        return
    rest = {key: value for key, value in found.items() if key not in KEYS}
    for section in KEYS:
        rows = found.get(section) or []
        for at in range(0, len(rows), PART):
            yield {**rest, section: rows[at : at + PART]}


@definitions.command()
@click.argument("file", default="-")
@click.option("-p", "--vhost", metavar="VHOST", help="Compare with this virtual host.")
@with_api
def diff(api: Api, file: str, vhost: str | None) -> int:
    """Show what an import of a file would change; exit code 1 if anything differs.

    + is in the file only, ~ differs, - is in the broker only, which an import leaves alone.
    """
    now = api.get(*(("definitions",) if vhost is None else ("definitions", vhost)))
    found = list(changes(now, read(file)))
    emit(mark(not line.startswith("-"), line) for line in found)
    if not found:
        say("no difference")
    return DIFFERENT if found else 0


def changes(now: Definitions, then: Definitions) -> Iterator[str]:
    """Yield a line for each object that is in one of two definitions only, or is different."""
    for section, keys in KEYS.items():
        if section not in then:
            continue
        old = {_name(row, keys): row for row in now.get(section) or []}
        new = {_name(row, keys): row for row in then[section] or []}
        for name, row in new.items():
            if name not in old:
                yield f"+ {section} {_shown(name)}"
            elif (fields := _different(old[name], row)) != "":
                yield f"~ {section} {_shown(name)}: {fields}"
        for name in old:
            if name not in new:
                yield f"- {section} {_shown(name)}"


def _name(row: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        value if isinstance(value := row.get(key, ""), str) else json.dumps(value, sort_keys=True)
        for key in keys
    )


def _shown(name: tuple[str, ...]) -> str:
    return printable(" ".join(part or "''" for part in name if part != "{}"))


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name the fields that differ, with their values unless they are secret."""
    found = []
    for key in new:
        before, after = _plain(old.get(key)), _plain(new[key])
        if before == after:
            continue
        secret = "password" in key or "hash" in key
        found.append(key if secret else f"{key} {json.dumps(before)} -> {json.dumps(after)}")
    return printable("; ".join(found))


def _plain(value: Any) -> Any:
    """Make lists of tags and comma strings of tags the same."""
    if value in ([], {}):
        return ""
    if isinstance(value, str) and "," in value:
        return sorted(value.split(","))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return sorted(value) if len(value) != 1 else value[0]
    return value
