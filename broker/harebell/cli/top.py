"""``harebell top``: what a broker does now, in a terminal, until Ctrl-C."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import USAGE, Failure
from harebell.cli.options import with_api
from harebell.cli.output import Column, bold, emit, mark, octets, table, value_at, width

SORTS = {
    "messages": "messages",
    "in": "message_stats.publish_details.rate",
    "out": "message_stats.deliver_get_details.rate",
    "unacked": "messages_unacknowledged",
}
COLUMNS = (
    Column("vhost"),
    Column("name", "queue"),
    Column("messages_ready", "ready"),
    Column("messages_unacknowledged", "unacked"),
    Column("message_stats.publish_details.rate", "in/s"),
    Column("message_stats.deliver_get_details.rate", "out/s"),
    Column("consumers"),
)
MOST = 500
"""Queues asked for at most: those with the most of what is sorted by."""

_HOME, _CLEAR_REST, _CLEAR_LINE = "\x1b[H", "\x1b[J", "\x1b[K"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.2), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many looks.")
@click.option("--sort", type=click.Choice(list(SORTS)), default="messages", show_default=True)
@click.option("--once", is_flag=True, help="Print one page, without a terminal, too.")
@with_api
def top(api: Api, interval: float, count: int | None, sort: str, once: bool) -> None:
    """Watch the busiest queues and the totals, as `top` does processes."""
    if once:
        emit(page(api, SORTS[sort], 10_000))
        return
    if not sys.stdout.isatty():
        raise Failure("this is for a terminal; --once prints one page anywhere", USAGE)
    watch(api, interval, count, SORTS[sort])


def watch(api: Api, interval: float, count: int | None, sort: str = "messages") -> None:
    """Show page after page until there were enough, or an interrupt."""
    seen = 0
    sys.stdout.write(_ENTER)
    try:
        while count is None or seen < count:
            size = shutil.get_terminal_size()
            lines = list(page(api, sort, size.lines - 1))
            text = "\n".join(_cut(line, size.columns) + _CLEAR_LINE for line in lines)
            sys.stdout.write(_HOME + text + _CLEAR_REST)
            sys.stdout.flush()
            seen += 1
            if count is None or seen < count:
                time.sleep(interval)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _cut(line: str, columns: int) -> str:
    """Cut a line to the width of the terminal; lines with colours are short."""
    if "\x1b" in line:
        return line
    while width(line) > columns:
        line = line[:-1]
    return line


def page(api: Api, sort: str, lines: int) -> Iterator[str]:
    """Yield one page.

    Args:
        sort: key to sort queues by.
        lines: how many there is room for.
    """
    overview = api.get("overview")
    node = api.get("nodes", overview["node"])
    keys = ",".join(column.key for column in COLUMNS)
    query: dict[str, str | int] = {"columns": keys, "sort": sort, "sort_reverse": "true"}
    answer = api.get("queues", query=query | {"page": 1, "page_size": MOST, "pagination": "true"})
    rows = answer["items"] if isinstance(answer, dict) else answer
    rows = sorted(rows, key=lambda row: -(value_at(row, sort) or 0))
    head = list(_head(overview, node))
    yield from head
    yield from table(rows[: max(0, lines - len(head) - 1)], COLUMNS)


def _head(overview: dict[str, Any], node: dict[str, Any]) -> Iterator[str]:
    stats, totals = overview.get("message_stats", {}), overview.get("object_totals", {})
    counts = overview.get("queue_totals", {})
    alarms = [name for name, key in (("memory", "mem_alarm"), ("disk", "disk_free_alarm")) if node.get(key)]
    yield bold(f"{overview['node']}  {overview['product_name']} {overview['product_version']}")
    yield "  ".join(
        f"{name} {value_at(stats, f'{key}_details.rate') or 0:,.0f}/s"
        for key, name in (("publish", "in"), ("deliver_get", "out"), ("ack", "acks"), ("redeliver", "again"))
    )
    yield (
        f"ready {counts.get('messages_ready', 0):,}  unacked {counts.get('messages_unacknowledged', 0):,}  "
        f"connections {totals.get('connections', 0):,}  channels {totals.get('channels', 0):,}  "
        f"queues {totals.get('queues', 0):,}  consumers {totals.get('consumers', 0):,}"
    )
    yield (
        f"memory {octets(node.get('mem_used', 0))} of {octets(node.get('mem_limit', 0))}  "
        f"disk free {octets(node.get('disk_free', 0))}  descriptors {node.get('fd_used', 0):,}"
    )
    if alarms:
        yield mark(False, f"ALARM: {', '.join(alarms)}: publishers are blocked")
    yield ""
