"""``harebell queues dead-letters`` and ``redrive``: what died, and sending it back. Not in RabbitMQ."""

from __future__ import annotations

import time
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, USAGE, Failure
from harebell.cli.options import form_option, vhost_option, with_api
from harebell.cli.output import Column, amount, emit, fields, json_text, say, table
from harebell.cli.progress import Progress
from harebell.cli.queues import queues

LOOK_EVERY = 0.2
"""Seconds between two looks at a redrive that runs."""

FIELDS = ("reason", "queue", "exchange", "routing_key")

where_option = click.option(
    "--where",
    multiple=True,
    metavar="FIELD=VALUE",
    help=f"Only these: {', '.join(FIELDS)} or header.NAME; may be repeated, all must fit.",
)


def read_where(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read conditions, ``==`` as well as ``=``.

    Raises:
        Failure: there is no such field.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name, value = name.strip(), value.removeprefix("=").strip().strip("'\"")
        if not equals or not (name in FIELDS or name.startswith("header.")):
            raise Failure(f"{pair!r} is no condition: write reason=rejected or header.NAME=VALUE", USAGE)
        if name.startswith("header."):
            found.setdefault("headers", {})[name.removeprefix("header.")] = value
        else:
            found[name] = value
    return found


@queues.command("dead-letters")
@click.argument("queue")
@vhost_option
@where_option
@click.option(
    "-n", "--limit", type=click.IntRange(0, 1000), default=20, show_default=True, help="Shown at most."
)
@form_option
@with_api
def dead_letters(api: Api, queue: str, vhost: str, where: tuple[str, ...], limit: int, form: str) -> None:
    """Look through a queue of dead letters: where they died, why, how often. Nothing changes."""
    wanted = read_where(where)
    query: dict[str, str | int] = {"limit": limit}
    query |= {key: value for key, value in wanted.items() if key != "headers"}
    query |= {f"header.{name}": value for name, value in wanted.get("headers", {}).items()}
    found = api.get("x", "dead-letters", vhost, queue, query=query)
    while not found["complete"]:
        query |= {"from": found["next"], "limit": limit - len(found["items"])}
        found = _together(found, api.get("x", "dead-letters", vhost, queue, query=query))
    if form == "json":
        emit([json_text(found)])
        return
    emit([f"{found['matched']:,} of {amount(found['scanned'], 'message')} fit"])
    emit(fields([(f"by {name}", counts or None) for name, counts in found["by"].items()]))
    columns = [Column("position", "no"), Column("reason"), Column("queue"), Column("exchange")]
    columns += [
        Column("routing_keys"),
        Column("count", "times"),
        Column("payload_bytes", "octets"),
        Column("payload"),
    ]
    if found["items"]:
        emit(table([{**one, "payload": str(one["payload"])[:40]} for one in found["items"]], columns))


def _together(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Add up two parts of a search."""
    by = {
        name: {
            key: counts.get(key, 0) + before["by"][name].get(key, 0) for key in (*before["by"][name], *counts)
        }
        for name, counts in found["by"].items()
    }
    sums = {name: before[name] + found[name] for name in ("scanned", "matched", "items")}
    return {**found, **sums, "by": by}


@queues.command()
@click.argument("queue")
@vhost_option
@where_option
@click.option("--to", metavar="EXCHANGE:KEY", help="Send them here, instead of where they came from.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="PER_SECOND", help="Not faster than this."
)
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--no-wait", is_flag=True, help="Begin, and do not wait for the end.")
@form_option
@with_api
def redrive(
    api: Api,
    queue: str,
    vhost: str,
    where: tuple[str, ...],
    to: str | None,
    limit: int | None,
    rate: float | None,
    dry_run: bool,
    no_wait: bool,
    form: str,
) -> int:
    """Send dead letters back to the exchanges and with the keys they came with; Ctrl-C stops it."""
    body: dict[str, Any] = {"vhost": vhost, "queue": queue, "where": read_where(where), "dry_run": dry_run}
    if to is not None and to != "origin":
        exchange, _, key = to.partition(":")
        body["to"] = {"exchange": exchange, "routing_key": key}
    body |= {key: value for key, value in (("limit", limit), ("rate", rate)) if value is not None}
    job = api.post("x", "redrives", body=body)
    if not dry_run and not no_wait:
        job = _follow(api, job, limit or api.get("queues", vhost, queue).get("messages_ready") or 0)
    if form == "json":
        emit([json_text(job)])
    else:
        emit([_summary(job, dry_run)])
    if job.get("state") == "failed":
        raise Failure(f"the redrive failed: {job.get('error')}", DATA)
    return 0


def _follow(api: Api, job: dict[str, Any], expected: int) -> dict[str, Any]:
    """Wait until a redrive is over, with a bar; an interrupt cancels it."""
    number = str(job["id"])
    shown = 0
    with Progress(max(expected, 1), "messages") as progress:
        try:
            while job["state"] == "running":
                time.sleep(LOOK_EVERY)
                job = api.get("x", "redrives", number)
                progress.advance(job["moved"] - shown)
                shown = job["moved"]
        except KeyboardInterrupt:
            api.delete("x", "redrives", number)
            say("cancelled")
            raise
    return job


def _summary(job: dict[str, Any], dry_run: bool) -> str:
    if dry_run:
        return f"{amount(job['matched'], 'message')} would be sent back"
    left = [f"{job[name]:,} {name}" for name in ("unroutable", "refused") if job.get(name)]
    text = f"{amount(job['moved'], 'message')} sent back"
    if job["state"] == "running":
        text = f"redrive {job['id']} runs: {text} so far"
    return text + (f"; left where they were: {', '.join(left)}" if left else "")


@queues.command()
@form_option
@with_api
def redrives(api: Api, form: str) -> None:
    """List redrives that run or ran since the broker started."""
    found = api.get("x", "redrives")
    if form == "json":
        emit([json_text(found)])
        return
    columns = ("id", "vhost", "queue", "state", "moved", "unroutable", "refused", "user")
    emit(table(found, [Column(name) for name in columns]))
