"""``harebell log-level``, ``stop`` and ``audit``: about a running broker itself."""

from __future__ import annotations

import time

import click

from harebell.cli.api import Api, ApiError
from harebell.cli.exits import TEMPORARY, Failure
from harebell.cli.options import Listing, listing, with_api
from harebell.cli.output import Column, say

LEVELS = click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False)
LOOK_EVERY = 0.1
"""Seconds between two looks at a broker that stops."""


@click.command("log-level")
@click.argument("level", type=LEVELS, required=False)
@with_api
def log_level(api: Api, level: str | None) -> None:
    """Show the least severe level that is logged, or change it until the broker starts anew."""
    if level is None:
        click.echo(api.get("x", "log-level")["level"])
        return
    api.put("x", "log-level", body={"level": level})
    say(f"logging from {level} on")


@click.command()
@click.option("--no-wait", is_flag=True, help="Do not wait until it has stopped.")
@with_api
def stop(api: Api, no_wait: bool) -> None:
    """Stop a broker in good order: confirms are sent, connections closed, what is owed is written."""
    begin_shutdown(api)
    if not no_wait and not wait_until_gone(api, 120.0):
        raise Failure("the broker still stops", TEMPORARY)
    say("stopping" if no_wait else "stopped")


def begin_shutdown(api: Api) -> None:
    """Have the broker that answers stop; it is named, so that no other one is stopped by mistake."""
    api.post("x", "shutdown", body={"node": api.get("overview")["node"]})


def wait_until_gone(api: Api, seconds: float) -> bool:
    """Wait until nothing answers at the API's address any more.

    Returns:
        False if something still does when the time is over.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            api.close()
            api.get("health", "checks", "is-in-service")
        except ApiError:
            pass
        except Failure:
            return True
        time.sleep(LOOK_EVERY)
    return False


@click.command()
@click.option(
    "-n", "--count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The latest."
)
@click.option("--user", default="", metavar="NAME", help="Only of this user.")
@click.option("--action", default="", metavar="ACTION", help="Only this action, such as queue.deleted.")
@listing(Column("number", "no"), "when", "user", "peer", "action", "vhost", "object", "detail")
@with_api
def audit(api: Api, count: int, user: str, action: str, shown: Listing) -> None:
    """List who did what over the HTTP API, the latest first."""
    query: dict[str, str | int] = {"limit": count}
    query |= {key: value for key, value in (("user", user), ("action", action)) if value}
    rows = api.get("x", "audit", query=query)
    for row in rows:
        moment = time.gmtime(row["time"] / 1000)
        row["when"] = time.strftime("%Y-%m-%d %H:%M:%S", moment)
    shown.show(rows)
