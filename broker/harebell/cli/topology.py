"""``harebell exchanges`` and ``harebell bindings``."""

from __future__ import annotations

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import (
    Listing,
    any_vhost_option,
    argument_options,
    form_option,
    listing,
    read_arguments,
    vhost_option,
    with_api,
)
from harebell.cli.output import Column, emit, fields, json_text, say, value_at


@click.group(cls=Noun)
def exchanges() -> None:
    """Look at exchanges, declare and delete them."""


@exchanges.command("list")
@any_vhost_option
@listing(
    "vhost",
    "name",
    "type",
    "durable",
    "auto_delete",
    "internal",
    Column("message_stats.publish_in_details.rate", "in/s"),
    Column("message_stats.publish_out_details.rate", "out/s"),
    "policy",
)
@with_api
def list_exchanges(api: Api, vhost: str | None, shown: Listing) -> None:
    """List exchanges; the one without a name is the default exchange."""
    path = ("exchanges",) if vhost is None else ("exchanges", vhost)
    shown.show(api.get(*path, query=shown.query))


@exchanges.command()
@click.argument("exchange")
@vhost_option
@form_option
@with_api
def show(api: Api, exchange: str, vhost: str, form: str) -> None:
    """Show one exchange and where it sends messages."""
    found = api.get("exchanges", vhost, exchange or "amq.default")
    bound = api.get("exchanges", vhost, exchange or "amq.default", "bindings", "source")
    if form == "json":
        emit([json_text({**found, "bindings": bound})])
        return
    flags = [flag for flag in ("durable", "auto_delete", "internal") if found.get(flag)]
    pairs = [
        ("exchange", found.get("name")),
        ("virtual host", found.get("vhost")),
        ("type", found.get("type")),
        ("flags", flags or None),
        ("arguments", found.get("arguments") or None),
        ("policy", found.get("policy") or None),
        ("in/s", value_at(found, "message_stats.publish_in_details.rate")),
        ("out/s", value_at(found, "message_stats.publish_out_details.rate")),
        ("bindings", len(bound)),
    ]
    emit(fields(pairs, ""))
    emit(f"  {one['routing_key']} -> {one['destination_type']} {one['destination']}" for one in bound)


@exchanges.command()
@click.argument("exchange")
@vhost_option
@click.option("--type", "kind", default="direct", show_default=True, help="Type of exchange.")
@click.option("--durable/--transient", default=True, help="Survives a restart (default) or not.")
@click.option("--auto-delete", is_flag=True, help="Goes with its last binding.")
@click.option("--internal", is_flag=True, help="Takes messages from other exchanges only.")
@argument_options
@with_api
def declare(
    api: Api,
    exchange: str,
    vhost: str,
    kind: str,
    durable: bool,
    auto_delete: bool,
    internal: bool,
    argument: tuple[str, ...],
    arguments: str | None,
) -> None:
    """Declare an exchange; one that is there already must be the same."""
    body = {
        "type": kind,
        "durable": durable,
        "auto_delete": auto_delete,
        "internal": internal,
        "arguments": read_arguments(argument, arguments),
    }
    new = api.put("exchanges", vhost, exchange, body=body)
    say(f"declared exchange {exchange!r}" if new else f"exchange {exchange!r} is there already")


@exchanges.command("set-argument")
@click.argument("exchange")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@vhost_option
@with_api
def set_argument(api: Api, exchange: str, pairs: tuple[str, ...], vhost: str) -> None:
    """Change arguments of an exchange that is there; KEY=null takes one away."""
    api.patch("exchanges", vhost, exchange, body={"arguments": read_arguments(pairs, None)})
    say(f"changed exchange {exchange!r}")


@exchanges.command()
@click.argument("exchange")
@vhost_option
@click.option("--if-unused", is_flag=True, help="Only without bindings.")
@with_api
def delete(api: Api, exchange: str, vhost: str, if_unused: bool) -> None:
    """Delete an exchange and its bindings."""
    api.delete("exchanges", vhost, exchange, query={"if-unused": "true"} if if_unused else None)
    say(f"deleted exchange {exchange!r}")


@click.group(cls=Noun)
def bindings() -> None:
    """Look at bindings, make and remove them."""


@bindings.command("list")
@any_vhost_option
@click.option("--source", metavar="EXCHANGE", help="Only of this exchange.")
@click.option("--destination", metavar="NAME", help="Only to this queue or exchange.")
@listing("vhost", "source", "routing_key", "destination", "destination_type", "arguments")
@with_api
def list_bindings(
    api: Api, vhost: str | None, source: str | None, destination: str | None, shown: Listing
) -> None:
    """List bindings."""
    path = ("bindings",) if vhost is None else ("bindings", vhost)
    rows = api.get(*path)
    if source is not None:
        rows = [row for row in rows if row["source"] == source]
    if destination is not None:
        rows = [row for row in rows if row["destination"] == destination]
    shown.show(rows)


def _path(vhost: str, source: str, destination: str, to_exchange: bool) -> tuple[str, ...]:
    return ("bindings", vhost, "e", source, "e" if to_exchange else "q", destination)


@bindings.command("declare")
@click.argument("source")
@click.argument("destination")
@click.argument("routing_key", default="")
@vhost_option
@click.option("--to-exchange", is_flag=True, help="The destination is an exchange, not a queue.")
@argument_options
@with_api
def declare_binding(
    api: Api,
    source: str,
    destination: str,
    routing_key: str,
    vhost: str,
    to_exchange: bool,
    argument: tuple[str, ...],
    arguments: str | None,
) -> None:
    """Bind a queue, or another exchange, to an exchange."""
    body = {"routing_key": routing_key, "arguments": read_arguments(argument, arguments)}
    api.post(*_path(vhost, source, destination, to_exchange), body=body)
    say(f"bound {destination!r} to {source!r} with {routing_key!r}")


@bindings.command("delete")
@click.argument("source")
@click.argument("destination")
@click.argument("routing_key", default="")
@vhost_option
@click.option("--to-exchange", is_flag=True, help="The destination is an exchange, not a queue.")
@click.option("--properties-key", metavar="KEY", help="Which one, where several have the same routing key.")
@with_api
def delete_binding(
    api: Api,
    source: str,
    destination: str,
    routing_key: str,
    vhost: str,
    to_exchange: bool,
    properties_key: str | None,
) -> None:
    """Remove a binding."""
    path = _path(vhost, source, destination, to_exchange)
    keys = [
        one["properties_key"]
        for one in api.get(*path)
        if (one["properties_key"] == properties_key if properties_key else one["routing_key"] == routing_key)
    ]
    if not keys:
        raise Failure(f"{destination!r} is not bound to {source!r} with {routing_key!r}", DATA)
    if len(keys) > 1:
        raise Failure(f"there are several: name one with --properties-key: {', '.join(keys)}", USAGE)
    api.delete(*path, keys[0])
    say(f"removed the binding of {destination!r} to {source!r} with {routing_key!r}")
