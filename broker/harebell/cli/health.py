"""``harebell health``: the broker's own checks; exit code 69 if one fails."""

from __future__ import annotations

import click

from harebell.cli.api import Api, ApiError
from harebell.cli.exits import UNAVAILABLE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import with_api
from harebell.cli.output import emit, mark, plain, printable, quiet, say

IN_ALL = (
    ("in-service", ("is-in-service",)),
    ("alarms", ("alarms",)),
    ("local-alarms", ("local-alarms",)),
    ("virtual-hosts", ("virtual-hosts",)),
    ("ready", ("ready-to-serve-clients",)),
)


@click.group(cls=Noun)
def health() -> None:
    """Ask a broker how it is: exit code 0 if all is well, 69 if not."""


def ask(api: Api, *check: str) -> tuple[bool, str]:
    """Make one check.

    Returns:
        Whether all is well, and what the broker says if not.
    """
    try:
        api.get("health", "checks", *check)
    except ApiError as error:
        if error.status != 503:
            raise
        told = error.answer if isinstance(error.answer, dict) else {}
        rest = {key: value for key, value in told.items() if key not in ("status", "reason")}
        more = "; ".join(f"{key}: {plain(value)}" for key, value in rest.items())
        return False, error.reason + (f" ({more})" if more else "")
    return True, ""


def _require(api: Api, well: str, *check: str) -> None:
    passed, reason = ask(api, *check)
    if not passed:
        raise Failure(reason, UNAVAILABLE)
    say(well)


@health.command("all")
@with_api
def check_all(api: Api) -> int:
    """Make every check that needs no more to be said."""
    failed = 0
    for name, check in IN_ALL:
        try:
            passed, reason = ask(api, *check)
        except ApiError as error:
            if error.status != 404:
                raise
            continue  # older RabbitMQ does not have them all
        failed += not passed
        if not quiet():
            state = mark(passed, "ok    " if passed else "FAILED")
            emit([f"{state}  {name}" + (f": {printable(reason)}" if reason else "")])
    return UNAVAILABLE if failed else 0


@health.command()
@with_api
def alarms(api: Api) -> None:
    """No alarm (memory, disk) anywhere."""
    _require(api, "no alarms", "alarms")


@health.command("local-alarms")
@with_api
def local_alarms(api: Api) -> None:
    """No alarm on this node."""
    _require(api, "no local alarms", "local-alarms")


@health.command("port-listener")
@click.argument("port", type=click.IntRange(1, 65535))
@with_api
def port_listener(api: Api, port: int) -> None:
    """The broker listens on a port."""
    _require(api, f"port {port} is listened on", "port-listener", str(port))


@health.command("protocol-listener")
@click.argument("protocol")
@with_api
def protocol_listener(api: Api, protocol: str) -> None:
    """The broker listens for a protocol: amqp, amqp/ssl, http, https, http/prometheus, https/prometheus."""
    _require(api, f"{protocol} is listened for", "protocol-listener", protocol)


@health.command("virtual-hosts")
@with_api
def virtual_hosts(api: Api) -> None:
    """All virtual hosts run."""
    _require(api, "all virtual hosts run", "virtual-hosts")


@health.command("certificate-expiration")
@click.argument("within", type=click.IntRange(1), default=4)
@click.argument("unit", type=click.Choice(("days", "weeks", "months", "years")), default="weeks")
@with_api
def certificate_expiration(api: Api, within: int, unit: str) -> None:
    """No certificate of a listener ends within some time: 4 weeks by default."""
    _require(api, f"no certificate ends within {within} {unit}", "certificate-expiration", str(within), unit)


@health.command("in-service")
@with_api
def in_service(api: Api) -> None:
    """The broker has started and does not stop; needs no login."""
    _require(api, "in service", "is-in-service")


@health.command()
@with_api
def ready(api: Api) -> None:
    """The broker takes clients; needs no login."""
    _require(api, "ready to serve clients", "ready-to-serve-clients")


@health.command()
@click.argument("vhost", default="/")
@with_api
def aliveness(api: Api, vhost: str) -> None:
    """Publish and get a message in a virtual host."""
    api.get("aliveness-test", vhost)
    say(f"a message went through {vhost!r}")
