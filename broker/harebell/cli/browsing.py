"""``harebell messages``: looking at the messages of a queue and acting on one of them. Not in RabbitMQ."""

from __future__ import annotations

from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, USAGE, Failure
from harebell.cli.messages import got_lines
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, form_option, listing, vhost_option, with_api
from harebell.cli.output import Column, amount, emit, fields, json_text, say

PAGE = 500
"""Messages that one answer holds at most."""

PREVIEW = 200
"""Octets of a body in a list."""

STATES = ("ready", "unacked", "retrying")

filter_option = click.option(
    "--filter",
    "condition",
    metavar="CONDITION",
    help="Only these: a condition such as \"colour = 'red'\", or a JSON table of headers.",
)
key_option = click.option("--routing-key", metavar="KEY", help="Only those published with this key.")


@click.group(cls=Noun)
def messages() -> None:
    """Look at the messages of a queue; delete, move or retry one of them."""


def _query(condition: str | None, routing_key: str | None) -> dict[str, str | int]:
    pairs = (("filter", condition), ("routing_key", routing_key))
    return {name: value for name, value in pairs if value is not None}


@messages.command()
@click.argument("queue")
@vhost_option
@click.option("--from", "begins", type=click.IntRange(0), default=1, metavar="POSITION", help="Begin here.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Shown at most.")
@click.option(
    "--state", type=click.Choice(STATES), default="ready", show_default=True, help="Where they are."
)
@filter_option
@key_option
@listing(
    "position",
    "redelivered",
    Column("delivery_count", "came back"),
    Column("age_seconds", "age in s"),
    "exchange",
    "routing_key",
    Column("payload_bytes", "octets"),
    "payload",
)
@with_api
def browse(
    api: Api,
    queue: str,
    vhost: str,
    begins: int,
    limit: int,
    state: str,
    condition: str | None,
    routing_key: str | None,
    shown: Listing,
) -> None:
    """List messages of a queue by position. They stay where they are, as they are."""
    query: dict[str, str | int] = {"state": state, "from": begins, **_query(condition, routing_key)}
    if shown.form != "json":
        query["truncate"] = PREVIEW
    items: list[dict[str, Any]] = []
    while len(items) < limit:
        found = api.get(
            "x", "messages", vhost, queue, query={**query, "limit": min(PAGE, limit - len(items))}
        )
        items += found["items"]
        if found["next"] is None:
            break
        query["from"] = found["next"]
    for one in items:
        one["age_seconds"] = round(one["age"] / 1000, 1)
        if "retry_in" in one:
            one["retry_seconds"] = round(one["retry_in"] / 1000, 1)
        if "held" in one:
            one["held_seconds"] = round(one["held"] / 1000, 1)
    if not shown.chosen and state != "ready":
        extra = (
            (Column("attempts"), Column("retry_seconds", "again in s"))
            if state == "retrying"
            else (Column("consumer_tag"), Column("held_seconds", "held for s"))
        )
        shown = shown._replace(columns=(*shown.columns[:1], *extra, *shown.columns[3:]))
    shown.show(items)


@messages.command()
@click.argument("queue")
@click.argument("position", type=click.IntRange(0))
@vhost_option
@form_option
@with_api
def show(api: Api, queue: str, position: int, vhost: str, form: str) -> None:
    """Show one message with its whole body, whoever has it."""
    found = api.get("x", "messages", vhost, queue, str(position))
    if form == "json":
        emit([json_text(found)])
        return
    names = ("position", "state", "delivery_count", "arrived", "retry_at", "consumer_tag", "channel", "held")
    emit(fields([(name, found.get(name)) for name in names], ""))
    emit(got_lines([found]))


@messages.command()
@click.argument("queue")
@click.argument("position", type=click.IntRange(0), required=False)
@vhost_option
@filter_option
@key_option
@click.option("--dry-run", is_flag=True, help="Only count those that fit.")
@with_api
def delete(
    api: Api,
    queue: str,
    position: int | None,
    vhost: str,
    condition: str | None,
    routing_key: str | None,
    dry_run: bool,
) -> None:
    """Delete one message by its position, or the ready ones that fit --filter and --routing-key."""
    query = _query(condition, routing_key)
    if (position is None) == (not query) or (position is not None and dry_run):
        raise Failure("give either the POSITION of a message, or --filter or --routing-key", USAGE)
    if position is not None:
        api.delete("x", "messages", vhost, queue, str(position))
        say(f"deleted message {position}")
        return
    if dry_run:
        query["dry_run"] = "true"
    found = api.call("DELETE", ("x", "messages", vhost, queue), query=query)
    if dry_run:
        say(f"{amount(found['matched'], 'message')} of {found['scanned']:,} would be deleted")
    else:
        say(f"deleted {amount(found['deleted'], 'message')}")


@messages.command()
@click.argument("queue")
@click.argument("position", type=click.IntRange(0))
@vhost_option
@click.option("--to-queue", metavar="QUEUE", help="Put it into this queue.")
@click.option("--to", metavar="EXCHANGE:KEY", help="Publish it to this exchange with this routing key.")
@with_api
def move(api: Api, queue: str, position: int, vhost: str, to_queue: str | None, to: str | None) -> None:
    """Move one message to another queue, or through an exchange, in one step."""
    if (to is None) == (to_queue is None):
        raise Failure("give either --to-queue or --to", USAGE)
    exchange, _, key = (to or "").partition(":")
    body = {"exchange": exchange, "routing_key": key} if to_queue is None else {"queue": to_queue}
    api.post("x", "messages", vhost, queue, str(position), "move", body=body)
    say(f"moved message {position}")


@messages.command()
@click.argument("queue")
@click.argument("position", type=click.IntRange(0), required=False)
@vhost_option
@click.option("--all", "everything", is_flag=True, help="All that wait now.")
@with_api
def retry(api: Api, queue: str, position: int | None, vhost: str, everything: bool) -> None:
    """End the wait of a message that waits for its retry."""
    if (position is None) != everything:
        raise Failure("give either the POSITION of a message or --all", USAGE)
    if position is not None:
        api.post("x", "messages", vhost, queue, str(position), "retry")
        say(f"message {position} is ready")
        return
    query: dict[str, str | int] = {"state": "retrying", "limit": PAGE, "truncate": 0}
    positions: list[int] = []
    while True:
        found = api.get("x", "messages", vhost, queue, query=query)
        positions += [one["position"] for one in found["items"]]
        if found["next"] is None:
            break
        query["from"] = found["next"]
    ended = 0
    for one in positions:
        try:
            api.post("x", "messages", vhost, queue, str(one), "retry")
            ended += 1
        except Failure as failure:
            if failure.exit_code != DATA:
                raise
    say(f"{amount(ended, 'message')} ready")
