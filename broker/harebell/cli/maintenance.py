"""``harebell drain``, ``revive``, ``listeners``, ``alarms``, ``log``: what ends with the running broker."""

from __future__ import annotations

import sys
import time

import click

from harebell.cli.api import Api
from harebell.cli.exits import TEMPORARY, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import form_option, with_api
from harebell.cli.output import amount, emit, fields, json_text, octets, say
from harebell.cli.progress import Progress

LOOK_EVERY = 0.2
"""Seconds between two looks at a broker that drains."""


@click.command()
@click.option(
    "--spread", type=click.FloatRange(0, 3600), metavar="SECONDS", help="Close connections over this time."
)
@click.option("--no-wait", is_flag=True, help="Do not wait until all are closed.")
@with_api
def drain(api: Api, spread: float | None, no_wait: bool) -> None:
    """Put a broker into maintenance mode: it accepts no clients, and connections are closed bit by bit.

    Health checks fail from the first moment, so that load balancers send clients elsewhere. Connections are
    closed over `drain.spread` unless --spread says otherwise. `harebell revive` or a restart ends it.
    """
    drain_node(api, api.get("overview")["node"], spread, not no_wait)
    say("draining" if no_wait else "drained: no client is connected")


def drain_node(api: Api, node: str, spread: float | None, wait: bool, seconds: float = 0.0) -> None:
    """Put a node into maintenance mode, and show how far it is.

    Args:
        node: its name.
        spread: seconds over which connections are closed; None for what its settings say.
        wait: whether to wait until it serves nobody.
        seconds: for how long; 0 without limit.

    Raises:
        Failure: clients are still connected when the time is over, or somebody revived it.
    """
    body: dict[str, object] = {"node": node}
    if spread is not None:
        body["spread"] = spread
    api.post("x", "maintenance", "drain", body=body)
    if not wait:
        return
    until = time.monotonic() + seconds
    found = api.get("x", "maintenance")
    done = 0
    with Progress(max(1, found["connections_at_start"]), "connections closed") as progress:
        while found["state"] == "draining":
            left = found["connections_left"]
            now = max(done, found["connections_at_start"] - left)
            progress.advance(now - done)
            done = now
            if seconds and time.monotonic() >= until:
                raise Failure(f"{amount(left, 'connection')} left; the broker goes on draining", TEMPORARY)
            time.sleep(LOOK_EVERY)
            found = api.get("x", "maintenance")
    if found["state"] != "drained":
        raise Failure("the broker was revived meanwhile", TEMPORARY)


@click.command()
@with_api
def revive(api: Api) -> None:
    """End maintenance mode: clients are accepted again."""
    api.post("x", "maintenance", "revive")
    say("clients are accepted")


@click.group(cls=Noun)
def listeners() -> None:
    """Look at what a broker listens on; close and open it for clients."""


@listeners.command("list")
@form_option
@with_api
def list_listeners(api: Api, form: str) -> None:
    """List addresses; those for clients are missing while they are suspended."""
    found = api.get("overview")["listeners"]
    if form == "json":
        emit([json_text(found)])
        return
    emit([f"{row['protocol']}\t{row['ip_address']}\t{row['port']}" for row in found])


@listeners.command()
@with_api
def suspend(api: Api) -> None:
    """Close the listeners for AMQP clients; connections and the HTTP API stay."""
    api.post("x", "maintenance", "suspend-listeners", body={"node": api.get("overview")["node"]})
    say("no client is accepted")


@listeners.command()
@with_api
def resume(api: Api) -> None:
    """Open the listeners for AMQP clients again."""
    api.post("x", "maintenance", "resume-listeners")
    say("clients are accepted")


@click.group(cls=Noun)
def alarms() -> None:
    """Look at the alarms of memory and disk, and change their limits until the broker starts anew."""


@alarms.command("show")
@form_option
@with_api
def show_alarms(api: Api, form: str) -> None:
    """Show what is used and free, the limits, and whether an alarm is up."""
    memory, disk = api.get("x", "memory-limit"), api.get("x", "disk-limit")
    if form == "json":
        emit([json_text({"memory": memory, "disk": disk})])
        return
    state = {True: "ALARM: publishers wait", False: "no alarm"}
    used = f"{octets(memory['used'])} used, limit {octets(memory['limit'])}, {state[memory['alarm']]}"
    free = f"{octets(disk['free'])} free, limit {octets(disk['limit'])}, {state[disk['alarm']]}"
    emit(fields([("memory", used), ("disk", free)], ""))


@alarms.command("memory")
@click.argument("limit")
@with_api
def limit_memory(api: Api, limit: str) -> None:
    """Block publishers when the broker takes LIMIT of memory: a share such as 0.6, or a size such as 2GiB."""
    share = _share(limit)
    if share is not None and share > 1:
        share = None
    api.put("x", "memory-limit", body={"absolute": limit} if share is None else {"fraction": share})
    say(f"publishers are blocked at {octets(api.get('x', 'memory-limit')['limit'])} of memory")


@alarms.command("disk")
@click.argument("limit")
@with_api
def limit_disk(api: Api, limit: str) -> None:
    """Block publishers when less than LIMIT of the disk is free: a size such as 2GiB; 0 for never."""
    api.put("x", "disk-limit", body={"absolute": limit})
    say(f"publishers are blocked below {octets(api.get('x', 'disk-limit')['limit'])} of free disk")


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@click.command()
@click.option(
    "-n", "--lines", type=click.IntRange(0, 1000), default=50, show_default=True, help="The last lines."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones until interrupted.")
@with_api
def log(api: Api, lines: int, follow: bool) -> None:
    """Print the last lines of a broker's log, of the up to 1,000 that it remembers."""
    from harebell.cli.ctl.maintenance import follow as followed

    for found in followed(api, float("inf") if follow else 0.0, lines):
        if found:
            emit(found)
            sys.stdout.flush()
