"""``harebell publish`` and ``harebell get``, and how messages are shown."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from harebell.cli.api import Api
from harebell.cli.exits import DATA, USAGE, Failure
from harebell.cli.options import form_option, read_scalar, vhost_option, with_api
from harebell.cli.output import amount, bold, dim, fields, printable, say, warn
from harebell.cli.progress import Progress

NUMBERS = ("delivery_mode", "priority", "timestamp")
MAX_LINE = 1 << 24
"""Octets of one line that is a message."""


def got_lines(messages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write messages as the API gives them, for people: where from, properties, the body."""
    for number, message in enumerate(messages, 1):
        where = f"{message.get('exchange') or '(default exchange)'} {message.get('routing_key', '')}"
        more = message.get("message_count")
        remarks = ["redelivered"] * bool(message.get("redelivered"))
        remarks += [f"{more:,} more"] if more else []
        yield bold(f"{number}. {printable(where)}") + dim(f"  {', '.join(remarks)}" if remarks else "")
        properties = message.get("properties") or {}
        pairs = [(name, value) for name, value in properties.items() if name != "headers"]
        pairs += [(f"header {name}", value) for name, value in (properties.get("headers") or {}).items()]
        yield from fields(pairs)
        yield from body_lines(message)


def body_lines(message: Mapping[str, Any]) -> Iterator[str]:
    """Write a body: text line by line, anything else as its size and its first octets."""
    payload = str(message.get("payload", ""))
    if message.get("payload_encoding") == "base64":
        octets = base64.b64decode(payload)
        yield f"  {dim(f'{len(octets):,} octets, no text')}  {octets[:32].hex(' ')}"
        return
    for line in payload.split("\n"):
        yield "  " + printable(line)


@click.command()
@click.argument("queue")
@vhost_option
@click.option("-n", "--count", type=click.IntRange(1), default=1, show_default=True, help="Messages at most.")
@click.option("--requeue", is_flag=True, help="Put them back, as `queues peek` does.")
@form_option
@with_api
def get(api: Api, queue: str, vhost: str, count: int, requeue: bool, form: str) -> int:
    """Take messages out of a queue and print them: they are gone, unless --requeue is given."""
    from harebell.cli.queues import print_messages

    mode = "reject_requeue_true" if requeue else "ack_requeue_false"
    return print_messages(api, queue, vhost, count, mode, form)


@click.command()
@click.argument("exchange")
@click.argument("routing_key")
@click.argument("body", required=False)
@vhost_option
@click.option("-f", "--file", metavar="FILE", help="Read the body from a file; - is the standard input.")
@click.option("--lines", is_flag=True, help="Each line of the file is a message.")
@click.option("-H", "--header", multiple=True, metavar="KEY=VALUE", help="A header of the message.")
@click.option(
    "-P",
    "--property",
    "properties",
    multiple=True,
    metavar="NAME=VALUE",
    help="A property, such as type=order.",
)
@click.option("--transient", is_flag=True, help="Do not keep the message over a restart.")
@click.option("--repeat", type=click.IntRange(1), default=1, metavar="N", help="Publish it this often.")
@with_api
def publish(
    api: Api,
    exchange: str,
    routing_key: str,
    body: str | None,
    vhost: str,
    file: str | None,
    lines: bool,
    header: tuple[str, ...],
    properties: tuple[str, ...],
    transient: bool,
    repeat: int,
) -> int:
    """Publish to an exchange ('' or amq.default is the default one); exit code 65 if no queue takes it.

    The body is the last argument, a file, or the standard input. Messages are persistent and confirmed.
    """
    described = describe(header, properties, transient)
    bodies = list(read_bodies(body, file, lines))
    routed = sent = 0
    with Progress(len(bodies) * repeat, "messages") as progress:
        for _ in range(repeat):
            for octets in bodies:
                routed += publish_one(api, vhost, exchange, routing_key, octets, described)
                sent += 1
                progress.advance()
    if routed == sent:
        say(f"published {amount(sent, 'message')}")
        return 0
    raise Failure(
        f"{sent - routed:,} of {amount(sent, 'message')} went to no queue: nothing is bound to {exchange!r} "
        f"with routing key {routing_key!r}",
        DATA,
    )


def publish_one(
    api: Api, vhost: str, exchange: str, routing_key: str, octets: bytes, properties: Mapping[str, Any]
) -> bool:
    """Publish a message; tell whether a queue took it."""
    try:
        payload, encoding = octets.decode(), "string"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(octets).decode(), "base64"
    message = {
        "routing_key": routing_key,
        "payload": payload,
        "payload_encoding": encoding,
        "properties": properties,
    }
    answer = api.post("exchanges", vhost, exchange or "amq.default", "publish", body=message)
    return bool(answer["routed"])


def describe(header: Iterable[str], properties: Iterable[str], transient: bool) -> dict[str, Any]:
    """Make the properties of a message from options.

    Raises:
        Failure: one has no ``=``, or a number is none.
    """
    found: dict[str, Any] = {"delivery_mode": 1 if transient else 2}
    for pair in properties:
        name, equals, text = pair.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise Failure(f"{pair!r} is not NAME=VALUE", USAGE)
        if name in NUMBERS and not text.isdigit():
            raise Failure(f"the property {name} is a number, not {text!r}", USAGE)
        found[name] = int(text) if name in NUMBERS else text
    headers = {}
    for pair in header:
        key, equals, text = pair.partition("=")
        if not equals:
            raise Failure(f"{pair!r} is not KEY=VALUE", USAGE)
        headers[key] = read_scalar(text)
    if headers:
        found["headers"] = headers
    return found


def read_bodies(body: str | None, file: str | None, lines: bool) -> Iterator[bytes]:
    """Yield the bodies to publish.

    Raises:
        Failure: two sources were named, or the file cannot be read.
    """
    if body is not None and file is not None:
        raise Failure("name a body or a file, not both", USAGE)
    if body is not None:
        yield body.encode()
        return
    try:
        data = sys.stdin.buffer.read() if file in (None, "-") else Path(str(file)).read_bytes()
    except OSError as error:
        raise Failure(f"the body cannot be read: {error}", USAGE) from None
    if lines:
        yield from (line for line in data.splitlines() if len(line) <= MAX_LINE)
    else:
        yield data


@click.command()
@click.argument("exchange")
@click.argument("routing_key", default="#")
@vhost_option
@click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="End after this many messages.")
@click.option("--bodies", is_flag=True, help="Print the bodies only, a line each.")
@click.option("--amqp-url", metavar="URL", help="AMQP address, when it is not the one the HTTP API names.")
@with_api
def tail(
    api: Api,
    exchange: str,
    routing_key: str,
    vhost: str,
    count: int | None,
    bodies: bool,
    amqp_url: str | None,
) -> int:
    """Print what is published to an exchange from now on, until Ctrl-C.

    A queue of its own is bound to the exchange for as long as that takes; a routing key may be a pattern
    where the exchange is a topic.
    """
    from harebell.cli.reading import print_deliveries
    from harebell.cli.wire_client import connect

    with connect(api, vhost, amqp_url) as client:
        queue = client.declare_temporary()
        client.bind(queue, exchange, routing_key)
        warn(f"bound to {exchange!r} with {routing_key!r}; Ctrl-C ends it")
        client.consume(queue, no_ack=True)
        print_deliveries(client, count, bodies)
    return 0
