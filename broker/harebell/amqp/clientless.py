"""A channel without a client behind it: messages of whoever has no AMQP connection take a client's way.

So publishing through the HTTP API checks, routes, counts and confirms exactly as a client's publishing does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from librt.strings import read_i32_be

from harebell.amqp.channel import Channel
from harebell.amqp.closing import release_channel
from harebell.amqp.connection import AwaitingJournal, ColdMethods, Connection
from harebell.amqp.constants import BASIC_NACK
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.content.message import address
from harebell.engine.topology import Caller

MANDATORY: Final = b"\x01"

_ALL: Final = 2**62
"""An lsn beyond every other: the confirm is asked for at once, the caller waits for the journal itself."""


class Published(NamedTuple):
    """What became of a message.

    Attributes:
        routed: whether it reached a queue.
        refused: whether one of them refused it, as for ``x-overflow``: a client would get a nack.
        lsn: what to wait for before it counts as confirmed.
    """

    routed: bool
    refused: bool
    lsn: int


def publish(caller: Caller, exchange: str, routing_key: str, header: bytes, body: bytes) -> Published:
    """Publish one message as a mandatory one in confirm mode.

    Args:
        caller: in whose name, and where.
        exchange: its name; empty for the default exchange.
        routing_key: up to 255 octets.
        header: the content header's payload (``content/properties.py``).
        body: the octets of the message.

    Raises:
        BrokerError: what a client would be told: no such exchange, message too large, ...
    """
    outboxes = OutboxSet()
    out = Outbox(outboxes)
    connection = Connection(caller.broker, ColdMethods(), out, AwaitingJournal(), "", "")
    connection.vhost = caller.vhost
    connection.user = caller.user
    connection.routes = caller.vhost.route_cache(caller.user)
    channel = Channel(connection, 1)
    channel.confirms.active = True
    channel.begin_publish(address(exchange, routing_key) + MANDATORY)
    channel.begin_content(header, 0, len(header))
    if body:
        channel.add_body(body, 0, len(body))
    routed = not out.take()
    channel.confirms.emit(out, 1, _ALL)
    answer = b"".join(out.take())
    refused = read_i32_be(answer, 7) == BASIC_NACK
    release_channel(connection, channel)
    return Published(routed, refused, int(channel.confirms.awaited()))
