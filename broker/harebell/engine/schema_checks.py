"""Holding messages against the schemas of queues and exchanges (``schemas.py``): which of them do not fit.

What becomes of those depends on where they come from: what is published may be refused
(``amqp/checking.py``), what has waited may not (``delays.py``), what is sent back stays (``redrive.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.content.message import Message
from harebell.content.properties import Properties, with_header
from harebell.engine.arguments import SCHEMA_ERROR, SCHEMA_VERSION
from harebell.engine.options import ExchangeOptions
from harebell.engine.queues.queue import Queue

if TYPE_CHECKING:
    from harebell.engine.schemas import Registry
    from harebell.engine.vhost import Vhost

MOST_ERROR: Final = 1024
"""Octets of the header that tells what is wrong."""

MOST_HEADER: Final = 120 * 1024
"""Octets of a content header to which that one is not added, for it must fit into a frame."""


def asks_for_check(queues: list[Queue]) -> bool:
    """Tell whether a message must be held against the schema of a queue."""
    for queue in queues:  # noqa: SIM110 - a generator costs more, compiled
        if queue.options.schema is not None:
            return True
    return False


def problems_of(
    vhost: Vhost, registry: Registry, properties: Properties, message: Message, queues: list[Queue]
) -> dict[Queue, str]:
    """Hold a message against the schemas of queues; give those it does not fit, and why."""
    problems: dict[Queue, str] = {}
    known: dict[tuple[str, int, int], str] = {}
    named = _named_version(properties)
    for queue in queues:
        options = queue.options
        subject = options.schema
        if subject is not None:
            key = (subject, int(options.schema_version), int(options.schema_max_octets))
            if key not in known:
                known[key] = _problem(vhost, registry, subject, key[1], key[2], named, message)
            if known[key]:
                problems[queue] = known[key]
    return problems


def problem_of_exchange(
    vhost: Vhost,
    registry: Registry,
    properties: Properties,
    message: Message,
    options: ExchangeOptions | None,
) -> str:
    """Hold a message against the schema of an exchange; empty if it fits, or if there is none."""
    if options is None or options.schema is None:
        return ""
    version, most = int(options.schema_version), int(options.schema_max_octets)
    return _problem(vhost, registry, options.schema, version, most, _named_version(properties), message)


def explained(message: Message, found: str) -> Message:
    """Make a message that says what is wrong with it.

    Raises:
        MalformedContent: its header cannot be read.
    """
    header = message.header
    if len(header) <= MOST_HEADER:
        text = found.encode("utf-8", "replace")[:MOST_ERROR].decode("utf-8", "ignore").encode()
        header = with_header(header, SCHEMA_ERROR.encode(), b"S" + len(text).to_bytes(4, "big") + text)
    told = Message(message.address, header, message.body, message.persistent)
    told.arrived = message.arrived
    return told


def _problem(
    vhost: Vhost, registry: Registry, subject: str, version: int, most: int, named: object, message: Message
) -> str:
    """Hold a message against a subject, and count it."""
    counters = vhost.counters
    counters.schema_checked += 1
    body = message.body
    if len(body) > most:
        found = f"a body of {len(body)} octets is longer than the {most} that are checked"
    else:
        found = registry.problem(subject, version, named, body)
    if found:
        counters.schema_invalid += 1
    return found


def _named_version(properties: Properties) -> object:
    """Give the version of its schema that a message names; None without one."""
    if properties.headers_start < 0 or properties.raw_headers().find(SCHEMA_VERSION.encode()) < 0:
        return None
    return properties.headers().get(SCHEMA_VERSION)
