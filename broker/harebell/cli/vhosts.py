"""``harebell vhosts`` and ``harebell limits``."""

from __future__ import annotations

import sys
from typing import Any

import click

from harebell.cli.api import Api, ApiError
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, any_vhost_option, form_option, listing, vhost_option, with_api
from harebell.cli.output import Column, emit, fields, json_text, say

LIMITS = click.Choice(["max-connections", "max-queues"])


@click.group(cls=Noun)
def vhosts() -> None:
    """Look at virtual hosts, add and delete them."""


@vhosts.command("list")
@listing("name", "description", "tags", "default_queue_type", "messages", "tracing")
@with_api
def list_vhosts(api: Api, shown: Listing) -> None:
    """List virtual hosts."""
    shown.show(api.get("vhosts", query=shown.query))


@vhosts.command()
@click.argument("vhost")
@form_option
@with_api
def show(api: Api, vhost: str, form: str) -> None:
    """Show one virtual host."""
    found = api.get("vhosts", vhost)
    if form == "json":
        emit([json_text(found)])
        return
    names = ("name", "description", "tags", "default_queue_type", "messages", "messages_ready", "tracing")
    emit(fields([(name, found.get(name)) for name in names], ""))


@vhosts.command()
@click.argument("vhost")
@click.option("--description", default="", help="What it is for.")
@click.option("--tags", default="", metavar="A,B", help="Words to find it by.")
@click.option("--default-queue-type", help="Type of queues declared without one.")
@click.option("--tracing", is_flag=True, help="Copy every message to the exchange amq.rabbitmq.trace.")
@with_api
def add(
    api: Api, vhost: str, description: str, tags: str, default_queue_type: str | None, tracing: bool
) -> None:
    """Add a virtual host, or change what describes one."""
    new = put_vhost(api, vhost, vhost_body(description, tags, default_queue_type, tracing))
    say(f"added virtual host {vhost!r}" if new else f"virtual host {vhost!r} is there already")


@vhosts.command("set-redeclare")
@click.argument("vhost")
@click.argument("mode", type=click.Choice(["strict", "warn", "update"]))
@with_api
def set_redeclare(api: Api, vhost: str, mode: str) -> None:
    """Say what becomes of declarations whose arguments differ from what is there."""
    api.put("vhosts", vhost, body={**described(api.get("vhosts", vhost)), "redeclare": mode})
    say(f"declarations that differ in {vhost!r}: {mode}")


def vhost_body(description: str, tags: str, queue_type: str | None, tracing: bool = False) -> dict[str, Any]:
    """Return the body of a request that adds a virtual host; what was not named is not in it."""
    body: dict[str, Any] = {}
    if description:
        body["description"] = description
    if tags:
        body["tags"] = tags
    if queue_type:
        body["default_queue_type"] = queue_type
    if tracing:
        body["tracing"] = True
    return body


def put_vhost(api: Api, vhost: str, body: dict[str, Any]) -> bool:
    """Add a virtual host, or change what describes one and keep the rest.

    Returns:
        Whether it is new.
    """
    try:
        now = api.get("vhosts", vhost)
    except ApiError as error:
        if error.status != 404:
            raise
        return api.put("vhosts", vhost, body=body)
    if body:
        api.put("vhosts", vhost, body={**described(now), **body})
    return False


def described(now: dict[str, Any]) -> dict[str, Any]:
    """Return what describes a virtual host, in the form in which it is set."""
    kept = {key: now[key] for key in ("description", "tags", "default_queue_type", "tracing") if now.get(key)}
    if kept.get("default_queue_type") == "undefined":
        del kept["default_queue_type"]
    if isinstance(kept.get("tags"), list):
        kept["tags"] = ",".join(kept["tags"])
    return kept


@vhosts.command()
@click.argument("vhost")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_api
def delete(api: Api, vhost: str, yes: bool) -> None:
    """Delete a virtual host with all that is in it; asks first, on a terminal."""
    if not yes and sys.stdin.isatty():
        click.confirm(
            f"Delete virtual host {vhost!r} with all its queues and messages?", abort=True, err=True
        )
    api.delete("vhosts", vhost)
    say(f"deleted virtual host {vhost!r}")


@click.group(cls=Noun)
def limits() -> None:
    """Limit the connections and queues of virtual hosts; `users set-limit` limits users."""


@limits.command("list")
@any_vhost_option
@listing("vhost", Column("value", "limits"))
@with_api
def list_limits(api: Api, vhost: str | None, shown: Listing) -> None:
    """List limits."""
    shown.show(api.get(*(("vhost-limits",) if vhost is None else ("vhost-limits", vhost))))


@limits.command("set")
@click.argument("limit", type=LIMITS)
@click.argument("value", type=click.IntRange(-1))
@vhost_option
@with_api
def set_limit(api: Api, limit: str, value: int, vhost: str) -> None:
    """Limit a virtual host; -1 is no limit."""
    api.put("vhost-limits", vhost, limit, body={"value": value})
    say(f"virtual host {vhost!r} has {limit} {value}")


@limits.command("clear")
@click.argument("limit", type=LIMITS)
@vhost_option
@with_api
def clear_limit(api: Api, limit: str, vhost: str) -> None:
    """Lift a limit."""
    api.delete("vhost-limits", vhost, limit)
    say(f"virtual host {vhost!r} has no {limit}")
