"""``harebell connections``, ``channels`` and ``consumers``."""

from __future__ import annotations

import time

import click

from harebell.cli.api import Api
from harebell.cli.exits import USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, any_vhost_option, form_option, listing, with_api
from harebell.cli.output import Column, amount, emit, fields, json_text, say
from harebell.cli.progress import Progress


@click.group(cls=Noun)
def connections() -> None:
    """Look at client connections and close them."""


@connections.command("list")
@any_vhost_option
@listing(
    "name",
    "user",
    "vhost",
    "state",
    "channels",
    Column("client_properties.product", "client"),
    Column("ssl", "tls"),
    Column("recv_oct_details.rate", "in B/s"),
    Column("send_oct_details.rate", "out B/s"),
)
@with_api
def list_connections(api: Api, vhost: str | None, shown: Listing) -> None:
    """List connections."""
    path = ("connections",) if vhost is None else ("vhosts", vhost, "connections")
    shown.show(api.get(*path, query=shown.query))


@connections.command()
@click.argument("name")
@form_option
@with_api
def show(api: Api, name: str, form: str) -> None:
    """Show one connection."""
    found = api.get("connections", name)
    if form == "json":
        emit([json_text(found)])
        return
    names = (
        "name", "user_provided_name", "user", "vhost", "state", "protocol", "auth_mechanism", "channels",
        "channel_max", "frame_max", "timeout", "ssl", "recv_oct", "send_oct", "client_properties",
    )  # fmt: skip
    emit(fields([(one, found.get(one)) for one in names], ""))


@connections.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="All connections.")
@click.option("--user", metavar="NAME", help="All connections of this user.")
@click.option("-p", "--vhost", metavar="VHOST", help="All connections to this virtual host.")
@click.option("--reason", default="", help="What the client is told.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Close no more than this many.")
@click.option(
    "--spread", type=click.FloatRange(0), default=0, metavar="SECONDS", help="Close them over this time."
)
@with_api
def close(
    api: Api,
    name: str | None,
    every: bool,
    user: str | None,
    vhost: str | None,
    reason: str,
    limit: int | None,
    spread: float,
) -> None:
    """Close one connection, or all of a user, a virtual host or the broker."""
    if (name is not None) == bool(every or user or vhost):
        raise Failure("name a connection, or which with --all, --user or --vhost", USAGE)
    if name is not None:
        close_one(api, name, reason)
        say(f"closed {name}")
        return
    count = close_connections(api, reason, user, vhost, limit=limit, spread=spread)
    say(f"closed {amount(count, 'connection')}")


def close_one(api: Api, name: str, reason: str) -> None:
    """Close a connection by its name."""
    api.delete("connections", name, headers={"X-Reason": reason} if reason else None)


def close_connections(
    api: Api,
    reason: str,
    user: str | None,
    vhost: str | None,
    *,
    limit: int | None = None,
    delay: float = 0.0,
    spread: float = 0.0,
) -> int:
    """Close connections of a user, of a virtual host, or all; return how many there were.

    Args:
        limit: close no more than this many; None for all.
        delay: seconds between two.
        spread: seconds over which all are closed, if that is longer.
    """
    rows = api.get("connections", query={"columns": "name,user,vhost"})
    chosen = [row for row in rows if user in (None, row["user"]) and vhost in (None, row["vhost"])]
    chosen = chosen[:limit]
    delay = max(delay, spread / len(chosen)) if chosen else 0.0
    began = time.monotonic()
    with Progress(len(chosen), "connections") as progress:
        for number, row in enumerate(chosen):
            time.sleep(max(0.0, began + number * delay - time.monotonic()))
            try:
                close_one(api, row["name"], reason)
            except Failure as error:
                # It went by itself meanwhile.
                if getattr(error, "status", 0) != 404:
                    raise
            progress.advance()
    return len(chosen)


@click.group(cls=Noun)
def channels() -> None:
    """Look at channels."""


@channels.command("list")
@any_vhost_option
@listing(
    "name",
    "user",
    "vhost",
    "state",
    Column("confirm", "confirms"),
    Column("prefetch_count", "prefetch"),
    Column("consumer_count", "consumers"),
    Column("messages_unacknowledged", "unacked"),
    Column("messages_unconfirmed", "unconfirmed"),
)
@with_api
def list_channels(api: Api, vhost: str | None, shown: Listing) -> None:
    """List channels."""
    path = ("channels",) if vhost is None else ("vhosts", vhost, "channels")
    shown.show(api.get(*path, query=shown.query))


@click.group(cls=Noun)
def consumers() -> None:
    """Look at consumers."""


@consumers.command("list")
@any_vhost_option
@listing(
    Column("queue.vhost", "vhost"),
    Column("queue.name", "queue"),
    Column("consumer_tag", "tag"),
    Column("channel_details.connection_name", "connection"),
    Column("ack_required", "acks"),
    Column("prefetch_count", "prefetch"),
    "active",
    "exclusive",
)
@with_api
def list_consumers(api: Api, vhost: str | None, shown: Listing) -> None:
    """List consumers."""
    shown.show(api.get(*(("consumers",) if vhost is None else ("consumers", vhost))))
