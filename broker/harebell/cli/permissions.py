"""``harebell permissions`` and ``harebell topic-permissions``."""

from __future__ import annotations

import click

from harebell.cli.api import Api
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, any_vhost_option, listing, vhost_option, with_api
from harebell.cli.output import say


@click.group(cls=Noun)
def permissions() -> None:
    """What users may configure, write to and read from in virtual hosts, as patterns for names."""


@permissions.command("list")
@any_vhost_option
@click.option("--user", metavar="NAME", help="Only of this user.")
@listing("vhost", "user", "configure", "write", "read")
@with_api
def list_permissions(api: Api, vhost: str | None, user: str | None, shown: Listing) -> None:
    """List permissions."""
    shown.show(_rows(api, "permissions", vhost, user))


def _rows(api: Api, kind: str, vhost: str | None, user: str | None) -> list[dict[str, object]]:
    if user is not None:
        rows = api.get("users", user, kind)
    else:
        rows = api.get("vhosts", vhost, kind) if vhost is not None else api.get(kind)
    return [row for row in rows if vhost is None or row["vhost"] == vhost]


@permissions.command("set")
@click.argument("user")
@click.argument("configure", default=".*")
@click.argument("write", default=".*")
@click.argument("read", default=".*")
@vhost_option
@with_api
def set_permissions(api: Api, user: str, configure: str, write: str, read: str, vhost: str) -> None:
    """Grant a user permissions: three patterns, '.*' for everything (default) and '' for nothing."""
    body = {"configure": configure, "write": write, "read": read}
    api.put("permissions", vhost, user, body=body)
    say(f"user {user!r} may configure {configure!r}, write {write!r}, read {read!r} in {vhost!r}")


@permissions.command("clear")
@click.argument("user")
@vhost_option
@with_api
def clear_permissions(api: Api, user: str, vhost: str) -> None:
    """Take all permissions of a user in a virtual host."""
    api.delete("permissions", vhost, user)
    say(f"user {user!r} may do nothing in {vhost!r}")


@click.group(cls=Noun)
def topic_permissions() -> None:
    """Which routing keys users may publish with, and bind, at topic exchanges."""


@topic_permissions.command("list")
@any_vhost_option
@click.option("--user", metavar="NAME", help="Only of this user.")
@listing("vhost", "user", "exchange", "write", "read")
@with_api
def list_topic_permissions(api: Api, vhost: str | None, user: str | None, shown: Listing) -> None:
    """List topic permissions."""
    shown.show(_rows(api, "topic-permissions", vhost, user))


@topic_permissions.command("set")
@click.argument("user")
@click.argument("exchange")
@click.argument("write", default=".*")
@click.argument("read", default=".*")
@vhost_option
@with_api
def set_topic_permissions(api: Api, user: str, exchange: str, write: str, read: str, vhost: str) -> None:
    """Set the patterns for routing keys of one exchange."""
    api.put("topic-permissions", vhost, user, body={"exchange": exchange, "write": write, "read": read})
    say(f"user {user!r} may write {write!r} and read {read!r} at {exchange!r} in {vhost!r}")


@topic_permissions.command("clear")
@click.argument("user")
@click.argument("exchange", required=False)
@vhost_option
@with_api
def clear_topic_permissions(api: Api, user: str, exchange: str | None, vhost: str) -> None:
    """Lift the patterns of one exchange, or of all in the virtual host."""
    path = ("topic-permissions", vhost, user)
    api.delete(*(path if exchange is None else (*path, exchange)))
    say(f"user {user!r} has no topic permissions at {exchange or 'any exchange'} in {vhost!r}")
