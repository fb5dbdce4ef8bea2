"""``harebell delayed``: messages that wait for their time. Not in RabbitMQ."""

from __future__ import annotations

from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import form_option, vhost_option, with_api
from harebell.cli.output import Column, amount, emit, json_text, say, table

PAGE = 500
"""Messages that one answer holds at most."""

COLUMNS = [
    Column("id"),
    Column("exchange"),
    Column("routing_key"),
    Column("seconds", "in seconds"),
    Column("payload_bytes", "octets"),
    Column("payload"),
]


@click.group(cls=Noun)
def delayed() -> None:
    """Look at messages that are delayed, cancel them or have them routed now."""


@delayed.command("list")
@vhost_option
@click.option("--exchange", help="Only those that this exchange delays.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Shown at most.")
@form_option
@with_api
def list_delayed(api: Api, vhost: str, exchange: str | None, limit: int, form: str) -> None:
    """List delayed messages, the nearest first."""
    items: list[dict[str, Any]] = []
    query: dict[str, str | int] = {} if exchange is None else {"exchange": exchange}
    total = 0
    while len(items) < limit:
        found = api.get("x", "delayed", vhost, query={**query, "limit": min(PAGE, limit - len(items))})
        total = found["total"]
        items += found["items"]
        if found["next"] is None:
            break
        query["after"] = found["next"]
    if form == "json":
        emit([json_text(items)])
        return
    emit([f"{amount(total, 'message')} delayed"])
    if items:
        rows = [
            {**one, "seconds": f"{one['remaining'] / 1000:.1f}", "payload": str(one.get("payload", ""))[:40]}
            for one in items
        ]
        emit(table(rows, COLUMNS))


@delayed.command()
@click.argument("message", metavar="ID", required=False)
@vhost_option
@click.option("--exchange", help="All messages that this exchange delays, instead of one.")
@with_api
def cancel(api: Api, message: str | None, vhost: str, exchange: str | None) -> None:
    """Drop a delayed message before its time, by its id in the list."""
    if (message is None) == (exchange is None):
        raise Failure("give either the ID of a message or --exchange", USAGE)
    if exchange is not None:
        found = api.call("DELETE", ("x", "delayed", vhost), query={"exchange": exchange})
        say(f"cancelled {amount(found['cancelled'], 'message')}")
        return
    api.delete("x", "delayed", vhost, str(message))
    say(f"cancelled {message}")


@delayed.command()
@click.argument("message", metavar="ID")
@vhost_option
@with_api
def deliver(api: Api, message: str, vhost: str) -> None:
    """Have a delayed message routed now, by its id in the list."""
    api.post("x", "delayed", vhost, message, "deliver")
    say(f"delivered {message}")
