"""``harebell streams``: read a stream, see how far its readers are behind, make partitioned ones."""

from __future__ import annotations

import re

import click

from harebell.cli.api import Api
from harebell.cli.exits import USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import (
    Listing,
    any_vhost_option,
    argument_options,
    listing,
    read_arguments,
    vhost_option,
    with_api,
)
from harebell.cli.output import Column, amount, say

SILENCE = 1.0
"""Seconds without a message after which all of a stream that is not followed has been read."""

INTERVAL = re.compile(r"[0-9]+[YMDhms]")


@click.group(cls=Noun)
def streams() -> None:
    """Read streams, look at their readers, declare partitioned ones."""


@streams.command("list")
@any_vhost_option
@listing(
    "vhost",
    "name",
    "messages",
    "consumers",
    Column("message_bytes", "octets"),
    Column("message_stats.publish_details.rate", "in/s"),
    "policy",
)
@with_api
def list_streams(api: Api, vhost: str | None, shown: Listing) -> None:
    """List streams."""
    path = ("queues",) if vhost is None else ("queues", vhost)
    shown.show([row for row in api.get(*path) if row.get("type") == "stream"])


@streams.command()
@click.argument("stream")
@vhost_option
@click.option(
    "--offset",
    default="first",
    show_default=True,
    metavar="WHERE",
    help="first, last, next, an offset, -100, a time (2026-11-23T10:00:00Z) or an interval (1h).",
)
@click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="End after this many messages.")
@click.option("--follow", is_flag=True, help="Go on with what is published from then on, until Ctrl-C.")
@click.option("--bodies", is_flag=True, help="Print the bodies only, a line each.")
@click.option("--filter", "filters", multiple=True, metavar="VALUE", help="Only with this filter value.")
@click.option("-o", "--format", "form", type=click.Choice(("table", "json")), default="table")
@click.option("--amqp-url", metavar="URL", help="AMQP address, when it is not the one the HTTP API names.")
@with_api
def read(
    api: Api,
    stream: str,
    vhost: str,
    offset: str,
    count: int | None,
    follow: bool,
    bodies: bool,
    filters: tuple[str, ...],
    form: str,
    amqp_url: str | None,
) -> None:
    """Print the messages of a stream from a place on; the stream keeps them."""
    from harebell.cli.reading import print_deliveries
    from harebell.cli.wire_client import connect

    arguments: dict[str, object] = {"x-stream-offset": offset_argument(offset)}
    if filters:
        arguments["x-stream-filter"] = list(filters)
    with connect(api, vhost, amqp_url) as client:
        client.prefetch(1000)
        client.consume(stream, no_ack=False, arguments=arguments)
        silence = None if follow else SILENCE
        print_deliveries(client, count, bodies, form=form, acks=True, silence=silence)


def offset_argument(text: str) -> object:
    """Return the argument x-stream-offset for what a user wrote.

    Raises:
        Failure: it is none of the forms there are.
    """
    from datetime import UTC, datetime

    from harebell.content.table import Timestamp

    if text in ("first", "last", "next") or INTERVAL.fullmatch(text):
        return text
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f"{text!r} is no place in a stream: first, last, next, a number, a time or an interval", USAGE
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Timestamp(int(moment.timestamp()))


@streams.command()
@click.argument("stream", required=False)
@any_vhost_option
@listing("vhost", "stream", Column("name", "consumer"), "offset", "lag", "consumers")
@with_api
def lag(api: Api, stream: str | None, vhost: str | None, shown: Listing) -> None:
    """Show the readers of a stream, or of all: where each is, and how many messages it has yet to get."""
    if stream is not None:
        found = [(vhost or "/", stream)]
    else:
        path = ("queues",) if vhost is None else ("queues", vhost)
        rows = api.get(*path, query={"columns": "vhost,name,type"})
        found = [(row["vhost"], row["name"]) for row in rows if row.get("type") == "stream"]
    shown.show(
        [
            {"vhost": where, "stream": name, **reader}
            for where, name in found
            for reader in api.get("x", "streams", where, name, "readers")
        ]
    )


@streams.command("add-super")
@click.argument("name")
@vhost_option
@click.option("--partitions", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many.")
@argument_options
@with_api
def add_super(
    api: Api, name: str, vhost: str, partitions: int, argument: tuple[str, ...], arguments: str | None
) -> None:
    """Declare a stream in partitions, NAME-0 and so on, behind an exchange that routes by hash of the key."""
    declare_super(api, vhost, name, partitions, read_arguments(argument, arguments))
    say(f"declared super stream {name!r} with {amount(partitions, 'partition')}")


def declare_super(api: Api, vhost: str, name: str, partitions: int, arguments: dict[str, object]) -> None:
    """Declare the exchange of a super stream; the broker declares its partitions."""
    given = {**arguments, "x-partitions": partitions}
    api.put("exchanges", vhost, name, body={"type": "x-super-stream", "durable": True, "arguments": given})


@streams.command("delete-super")
@click.argument("name")
@vhost_option
@with_api
def delete_super(api: Api, name: str, vhost: str) -> None:
    """Delete a stream in partitions and all it holds."""
    count = drop_super(api, vhost, name)
    say(f"deleted super stream {name!r} with {amount(count, 'partition')}")


def drop_super(api: Api, vhost: str, name: str) -> int:
    """Delete a super stream's exchange and partitions; return how many there were."""
    bound = api.get("exchanges", vhost, name, "bindings", "source")
    queues = {one["destination"] for one in bound if one["destination_type"] == "queue"}
    partitions = sorted(one for one in queues if re.fullmatch(re.escape(name) + r"-[0-9]+", one))
    api.delete("exchanges", vhost, name)
    for partition in partitions:
        api.delete("queues", vhost, partition)
    return len(partitions)
