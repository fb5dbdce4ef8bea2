"""Printing deliveries as they come, for ``tail`` and ``streams read``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import click

from harebell.cli.messages import got_lines
from harebell.cli.output import emit, json_text, printable
from harebell.cli.wire_client import Delivery, WireClient

ACK_EVERY = 100


def print_deliveries(
    client: WireClient,
    count: int | None,
    bodies: bool,
    *,
    form: str = "table",
    acks: bool = False,
    silence: float | None = None,
) -> int:
    """Print what comes until there are enough messages, or silence, and return how many came.

    Args:
        count: end after this many; None for no end.
        bodies: print bodies only, a line each.
        form: ``table``, or ``json`` for one object a line.
        acks: whether deliveries must be acknowledged to get more.
        silence: seconds without a message after which it is over; None waits for ever.
    """
    came = 0
    last = None
    while count is None or came < count:
        delivery = client.next_delivery(silence)
        if delivery is None:
            break
        came += 1
        last = delivery.tag
        emit(_lines(delivery, came, bodies, form))
        if acks and came % ACK_EVERY == 0:
            client.ack(delivery.tag)
    if acks and last is not None:
        client.ack(last)
    return came


def _lines(delivery: Delivery, number: int, bodies: bool, form: str) -> Iterator[str]:
    if bodies:
        click.echo(printable(delivery.body.decode("utf-8", "backslashreplace")))
        return
    message = described(delivery)
    if form == "json":
        yield json_text(message)
        return
    offset = message["properties"].get("headers", {}).get("x-stream-offset")
    lines = list(got_lines([message]))
    title = lines[0].replace("1. ", f"{number if offset is None else offset}. ", 1)
    yield from [title, *lines[1:]]


def described(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery in the form the HTTP API gives messages."""
    try:
        payload, encoding = delivery.body.decode(), "string"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(delivery.body).decode(), "base64"
    properties = {name: _plain(value) for name, value in delivery.properties.as_dict().items()}
    return {
        "exchange": delivery.exchange,
        "routing_key": delivery.routing_key,
        "redelivered": delivery.redelivered,
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
    }


def _plain(value: Any) -> Any:
    """Return a value of a field table as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
