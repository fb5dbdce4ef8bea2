"""``harebell status``: one page about a broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import address
from harebell.cli.options import form_option, with_api
from harebell.cli.output import bold, duration, emit, fields, json_text, mark, octets, value_at

Facts = dict[str, Any]


@click.command()
@form_option
@with_api
def status(api: Api, form: str) -> None:
    """Show how a broker is: what runs, what it uses, what waits in it, where it listens."""
    overview, node = facts(api)
    if form == "json":
        emit([json_text({"overview": overview, "node": node})])
        return
    emit(_page(overview, node))


def facts(api: Api) -> tuple[Facts, Facts]:
    """Return the overview and the node that answers."""
    overview = api.get("overview")
    return overview, api.get("nodes", overview["node"])


def alarms_of(node: Facts) -> list[str]:
    """Name the alarms of a node."""
    return [name for name, key in (("memory", "mem_alarm"), ("disk", "disk_free_alarm")) if node.get(key)]


def _page(overview: Facts, node: Facts) -> Iterator[str]:
    yield bold(f"{overview['product_name']} {overview['product_version']}") + f"  {overview['node']}"
    alarms = alarms_of(node)
    if alarms:
        yield mark(False, f"  ALARM: {', '.join(alarms)}: publishers are blocked")
    yield from fields(
        [
            ("cluster", overview.get("cluster_name")),
            ("up for", duration(node.get("uptime", 0) / 1000)),
            ("process", str(node.get("os_pid", ""))),
            ("alarms", None if alarms else "none"),
            ("draining", True if node.get("being_drained") else None),
            ("memory", _of(node, "mem_used", "mem_limit")),
            (
                "disk free",
                f"{octets(node.get('disk_free', 0))}, alarm below {octets(node.get('disk_free_limit', 0))}",
            ),
            ("descriptors", f"{node.get('fd_used', 0):,} of {node.get('fd_total', 0):,}"),
        ]
    )
    totals = overview.get("object_totals", {})
    yield "  ".join(
        f"{totals.get(name, 0):,} {name}"
        for name in ("connections", "channels", "exchanges", "queues", "consumers")
    )
    counts = overview.get("queue_totals", {})
    yield "  ".join(
        f"{counts.get(key, 0):,} {name}"
        for key, name in (("messages_ready", "messages ready"), ("messages_unacknowledged", "unacknowledged"))
    )
    rates = [
        f"{value_at(overview, f'message_stats.{key}_details.rate') or 0:,.0f}/s {name}"
        for key, name in (("publish", "published"), ("deliver_get", "delivered"), ("ack", "acknowledged"))
    ]
    yield "  ".join(rates)
    for one in overview.get("listeners", []):
        yield f"  {one['protocol']:16} {address(one['ip_address'], one['port'])}"


def _of(node: Facts, used: str, limit: str) -> str:
    most = node.get(limit, 0)
    share = f" ({100 * node.get(used, 0) / most:.0f} %)" if most else ""
    return f"{octets(node.get(used, 0))} of {octets(most)}{share}"
