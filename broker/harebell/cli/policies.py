"""``harebell policies``, ``operator-policies`` and ``parameters``."""

from __future__ import annotations

import click

from harebell.cli.api import Api
from harebell.cli.exits import USAGE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import Listing, any_vhost_option, listing, read_json, vhost_option, with_api
from harebell.cli.output import Column, say

APPLY_TO = click.Choice(["all", "queues", "classic_queues", "quorum_queues", "streams", "exchanges"])


@click.group(cls=Noun)
def policies() -> None:
    """Arguments for queues and exchanges by name pattern."""


@click.group(cls=Noun)
def operator_policies() -> None:
    """Policies of who operates the broker: they win over those of who uses it."""


def _verbs(group: click.Group, kind: str, noun: str) -> None:
    """Add the verbs, which are the same for both kinds."""

    @group.command("list", help="List them.")
    @any_vhost_option
    @listing("vhost", "name", "pattern", "apply-to", "priority", "definition")
    @with_api
    def list_them(api: Api, vhost: str | None, shown: Listing) -> None:
        shown.show(api.get(*((kind,) if vhost is None else (kind, vhost))))

    @group.command("set", help=f"Set a {noun}: a pattern for names, and a JSON object of keys and values.")
    @click.argument("name")
    @click.argument("pattern")
    @click.argument("definition")
    @vhost_option
    @click.option("--apply-to", type=APPLY_TO, default="all", show_default=True, help="To what it applies.")
    @click.option("--priority", type=int, default=0, show_default=True, help="The highest that fits applies.")
    @with_api
    def set_one(
        api: Api, name: str, pattern: str, definition: str, vhost: str, apply_to: str, priority: int
    ) -> None:
        keys = read_json(definition, "the definition")
        if not isinstance(keys, dict):
            raise Failure("the definition is no JSON object", USAGE)
        body = {"pattern": pattern, "definition": keys, "apply-to": apply_to, "priority": priority}
        api.put(kind, vhost, name, body=body)
        say(f"set {noun} {name!r} in {vhost!r}")

    @group.command("clear", help=f"Remove a {noun}.")
    @click.argument("name")
    @vhost_option
    @with_api
    def clear(api: Api, name: str, vhost: str) -> None:
        api.delete(kind, vhost, name)
        say(f"removed {noun} {name!r} from {vhost!r}")


_verbs(policies, "policies", "policy")
_verbs(operator_policies, "operator-policies", "operator policy")


@click.group(cls=Noun)
def parameters() -> None:
    """Runtime parameters of components such as shovel, and global ones (--global)."""


GLOBAL = click.option("--global", "everywhere", is_flag=True, help="A global parameter: it has only a name.")


@parameters.command("list")
@any_vhost_option
@GLOBAL
@listing("vhost", "component", "name", Column("value"))
@with_api
def list_parameters(api: Api, vhost: str | None, everywhere: bool, shown: Listing) -> None:
    """List parameters."""
    rows = api.get("global-parameters" if everywhere else "parameters")
    shown.show([row for row in rows if vhost is None or row.get("vhost") == vhost])


def _path(component: str, name: str | None, vhost: str, everywhere: bool) -> tuple[str, ...]:
    if everywhere:
        if name is not None:
            raise Failure("a global parameter has no component", USAGE)
        return ("global-parameters", component)
    if name is None:
        raise Failure("name the component and the parameter, or use --global", USAGE)
    return ("parameters", component, vhost, name)


@parameters.command("set")
@click.argument("component")
@click.argument("name", required=False)
@click.option("--value", required=True, metavar="JSON", help="The value.")
@vhost_option
@GLOBAL
@with_api
def set_parameter(
    api: Api, component: str, name: str | None, value: str, vhost: str, everywhere: bool
) -> None:
    """Set a parameter: COMPONENT NAME, or NAME with --global."""
    path = _path(component, name, vhost, everywhere)
    read = read_json(value, "the value")
    body = {"name": path[-1], "value": read}
    api.put(*path, body=body if everywhere else {**body, "component": component, "vhost": vhost})
    say(f"set parameter {path[-1]!r}")


@parameters.command("clear")
@click.argument("component")
@click.argument("name", required=False)
@vhost_option
@GLOBAL
@with_api
def clear_parameter(api: Api, component: str, name: str | None, vhost: str, everywhere: bool) -> None:
    """Remove a parameter."""
    path = _path(component, name, vhost, everywhere)
    api.delete(*path)
    say(f"removed parameter {path[-1]!r}")
