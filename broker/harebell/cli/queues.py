"""``harebell queues``: list, show, declare, change, delete, purge, pause, get, peek, redrive."""

from __future__ import annotations

import click

from harebell.cli.api import Api
from harebell.cli.exits import OK
from harebell.cli.messages import got_lines
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
from harebell.cli.output import Column, emit, fields, json_text, say, table, value_at

COLUMNS = (
    Column("vhost"),
    Column("name"),
    Column("type"),
    Column("state"),
    Column("messages_ready", "ready"),
    Column("messages_unacknowledged", "unacked"),
    Column("messages"),
    Column("consumers"),
    Column("message_stats.publish_details.rate", "in/s"),
    Column("message_stats.deliver_get_details.rate", "out/s"),
    Column("policy"),
)
LEASES = (
    Column("channel"),
    Column("consumer_tag"),
    Column("delivery_tag"),
    Column("age", "age in ms"),
    Column("remaining", "remaining ms"),
    Column("mode"),
    Column("renewals"),
)
GROUPS = (
    Column("key"),
    Column("tenant"),
    Column("consumer_tag"),
    Column("messages_waiting", "waiting"),
    Column("messages_unacknowledged", "unacknowledged"),
)
TYPES = click.Choice(["classic", "quorum", "stream"])


@click.group(cls=Noun)
def queues() -> None:
    """Look at queues, declare and delete them, look at their messages and move them."""


@queues.command("list")
@any_vhost_option
@click.option("--name", default="", metavar="REGEX", help="Only queues whose name it is found in.")
@listing(*COLUMNS)
@with_api
def list_queues(api: Api, vhost: str | None, name: str, shown: Listing) -> None:
    """List queues."""
    query: dict[str, str | int] = dict(shown.query)
    path = ("queues",) if vhost is None else ("queues", vhost)
    if name:
        query |= {"name": name, "use_regex": "true"}
    shown.show(all_pages(api, path, query))


def all_pages(api: Api, path: tuple[str, ...], query: dict[str, str | int]) -> list[dict[str, object]]:
    """Read a list page by page: a filter by name needs paging, and no answer is larger than 500 objects."""
    rows: list[dict[str, object]] = []
    page = pages = 1
    while page <= pages:
        answer = api.get(*path, query=query | {"page": page, "page_size": 500})
        if isinstance(answer, list):
            return answer
        rows += answer["items"]
        pages = answer["page_count"]
        page += 1
    return rows


@queues.command()
@click.argument("queue")
@vhost_option
@form_option
@with_api
def show(api: Api, queue: str, vhost: str, form: str) -> None:
    """Show one queue: its state, messages, rates, arguments and consumers."""
    found = api.get("queues", vhost, queue)
    if form == "json":
        emit([json_text(found)])
        return
    flags = [flag for flag in ("durable", "exclusive", "auto_delete") if found.get(flag)]
    pairs = [
        ("queue", found.get("name")),
        ("virtual host", found.get("vhost")),
        ("type", found.get("type")),
        ("state", found.get("state")),
        ("paused", found.get("paused")),
        ("flags", flags or None),
        ("ready", found.get("messages_ready")),
        ("unacknowledged", found.get("messages_unacknowledged")),
        ("message octets", found.get("message_bytes")),
        ("memory octets", found.get("memory")),
        ("published/s", value_at(found, "message_stats.publish_details.rate")),
        ("delivered/s", value_at(found, "message_stats.deliver_get_details.rate")),
        ("acknowledged/s", value_at(found, "message_stats.ack_details.rate")),
        ("consumers", found.get("consumers")),
        ("idle since", found.get("idle_since")),
        ("policy", found.get("policy") or None),
        ("operator policy", found.get("operator_policy") or None),
        ("effective policy", found.get("effective_policy_definition") or None),
        ("arguments", found.get("arguments") or None),
    ]
    emit(fields(pairs, ""))
    for consumer in found.get("consumer_details") or []:
        tag, name = consumer.get("consumer_tag"), value_at(consumer, "channel_details.connection_name")
        emit(fields([("consumer", f"{tag} of {name}, prefetch {consumer.get('prefetch_count')}")], ""))


@queues.command()
@click.argument("queue")
@vhost_option
@click.option("--type", "kind", type=TYPES, help="Type of queue; the virtual host's default when absent.")
@click.option("--durable/--transient", default=True, help="Survives a restart (default) or not.")
@click.option("--auto-delete", is_flag=True, help="Goes with its last consumer.")
@argument_options
@with_api
def declare(
    api: Api,
    queue: str,
    vhost: str,
    kind: str | None,
    durable: bool,
    auto_delete: bool,
    argument: tuple[str, ...],
    arguments: str | None,
) -> None:
    """Declare a queue; one that is there already must have the same arguments."""
    options = read_arguments(argument, arguments)
    if kind:
        options["x-queue-type"] = kind
    body = {"durable": durable, "auto_delete": auto_delete, "arguments": options}
    new = api.put("queues", vhost, queue, body=body)
    say(f"declared queue {queue!r}" if new else f"queue {queue!r} is there already")


@queues.command()
@click.argument("queue")
@vhost_option
@click.option("--if-empty", is_flag=True, help="Only without messages.")
@click.option("--if-unused", is_flag=True, help="Only without consumers.")
@with_api
def delete(api: Api, queue: str, vhost: str, if_empty: bool, if_unused: bool) -> None:
    """Delete a queue and its messages."""
    query = {"if-empty": "true"} if if_empty else {}
    query |= {"if-unused": "true"} if if_unused else {}
    api.delete("queues", vhost, queue, query=query)
    say(f"deleted queue {queue!r}")


@queues.command()
@click.argument("queue")
@vhost_option
@with_api
def purge(api: Api, queue: str, vhost: str) -> None:
    """Remove the messages that are ready in a queue."""
    api.delete("queues", vhost, queue, "contents")
    say(f"purged queue {queue!r}")


@queues.command("set-argument")
@click.argument("queue")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True)
@vhost_option
@with_api
def set_argument(api: Api, queue: str, pairs: tuple[str, ...], vhost: str) -> None:
    """Change arguments of a queue that is there; KEY=null takes one away."""
    api.patch("queues", vhost, queue, body={"arguments": read_arguments(pairs, None)})
    say(f"changed queue {queue!r}")


@queues.command()
@click.argument("queue")
@vhost_option
@click.option("--for", "seconds", type=click.FloatRange(0.001), help="Seconds; until `resume` when absent.")
@click.option("--reason", default="", help="For who wonders why.")
@with_api
def pause(api: Api, queue: str, vhost: str, seconds: float | None, reason: str) -> None:
    """Have a queue take messages and deliver none."""
    body = {"for_ms": None if seconds is None else max(1, int(seconds * 1000)), "reason": reason}
    api.put("x", "queues", vhost, queue, "pause", body=body)
    say(f"paused queue {queue!r}")


@queues.command()
@click.argument("queue")
@vhost_option
@with_api
def resume(api: Api, queue: str, vhost: str) -> None:
    """Have a paused queue deliver again."""
    api.put("x", "queues", vhost, queue, "resume", body={})
    say(f"resumed queue {queue!r}")


@queues.command()
@click.argument("queue")
@vhost_option
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Shown at most."
)
@form_option
@with_api
def leases(api: Api, queue: str, vhost: str, limit: int, form: str) -> None:
    """List deliveries that wait for an answer, and how long they may."""
    found = api.get("x", "leases", vhost, queue, query={"limit": limit})
    emit([json_text(found["items"])] if form == "json" else table(found["items"], LEASES))


@queues.command()
@click.argument("queue")
@vhost_option
@form_option
@with_api
def groups(api: Api, queue: str, vhost: str, form: str) -> None:
    """List the groups of a queue with `x-group-header`, and who has which."""
    found = api.get("x", "groups", vhost, queue)
    emit([json_text(found)] if form == "json" else table(found, GROUPS))


@queues.command("renew-lease")
@click.argument("queue")
@click.argument("delivery_tag", type=click.IntRange(1))
@vhost_option
@click.option("--consumer-tag", help="Of the consumer that got it.")
@click.option("--channel", help="Name of the channel it went to, as `leases` lists it.")
@with_api
def renew_lease(
    api: Api, queue: str, delivery_tag: int, vhost: str, consumer_tag: str | None, channel: str | None
) -> None:
    """Have the acknowledgement timeout of a delivery begin anew."""
    body = {"delivery_tag": delivery_tag, "consumer_tag": consumer_tag, "channel": channel}
    api.put("x", "leases", vhost, queue, body=body)
    say(f"renewed delivery {delivery_tag}")


@queues.command()
@click.argument("queue")
@vhost_option
@click.option("-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="Messages at most.")
@form_option
@with_api
def get(api: Api, queue: str, vhost: str, count: int, form: str) -> int:
    """Take messages out of a queue and print them: they are gone."""
    return print_messages(api, queue, vhost, count, "ack_requeue_false", form)


@queues.command()
@click.argument("queue")
@vhost_option
@click.option("-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="Messages at most.")
@form_option
@with_api
def peek(api: Api, queue: str, vhost: str, count: int, form: str) -> int:
    """Print the first messages of a queue and put them back, marked as redelivered."""
    return print_messages(api, queue, vhost, count, "reject_requeue_true", form)


def print_messages(api: Api, queue: str, vhost: str, count: int, ackmode: str, form: str) -> int:
    """Get messages and print them.

    Args:
        ackmode: what becomes of them, as the API names it.
        form: ``table`` or ``json``.
    """
    body = {"count": count, "ackmode": ackmode, "encoding": "auto"}
    found = api.post("queues", vhost, queue, "get", body=body)
    if form == "json":
        emit([json_text(found)])
    elif found:
        emit(got_lines(found))
    else:
        say(f"queue {queue!r} is empty")
    return OK
