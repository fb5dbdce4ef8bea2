"""Connections, channels and consumers in the fields of RabbitMQ's HTTP API, without rates.

What each object looks like there was taken from RabbitMQ 3.10's answers; what only an Erlang process has
(``garbage_collection``, ``reductions``) is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.amqp.constants import FRAME_OVERHEAD
from harebell.content.table import Table
from harebell.engine.inspection import activity

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel
    from harebell.amqp.connection import Connection
    from harebell.amqp.delivery import ChannelConsumer

STATES: Final = (
    "starting",
    "starting",
    "securing",
    "securing",
    "tuning",
    "opening",
    "running",
    "closing",
    "closed",
)
"""RabbitMQ's word for each phase of a connection."""

UNLIMITED: Final = 1 << 30
"""Frames of this size were not negotiated: there is no limit."""

TLS_FIELDS: Final = (
    "ssl_protocol",
    "ssl_key_exchange",
    "ssl_cipher",
    "ssl_hash",
    "peer_cert_subject",
    "peer_cert_issuer",
    "peer_cert_validity",
)


def split_address(address: str) -> tuple[str, int]:
    """Take an address as it stands in a connection's name apart; a local socket has neither part."""
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else (address, 0)


def ends(connection: Connection) -> tuple[tuple[str, int], tuple[str, int]]:
    """Give the addresses of the client and of the listener."""
    theirs, _, ours = connection.peer.partition(" -> ")
    return split_address(theirs), split_address(ours)


def connection_table(connection: Connection) -> Table:
    """Describe a connection that is open."""
    (peer_host, peer_port), (host, port) = ends(connection)
    frame_max = int(connection.out.body_max) + FRAME_OVERHEAD
    name = connection.client_properties.get("connection_name")
    user = "" if connection.user is None else connection.user.name
    table: Table = {
        "name": connection.peer,
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "vhost": "" if connection.vhost is None else connection.vhost.name,
        "user": user,
        "user_who_performed_action": user,
        "state": _state(connection),
        "host": host,
        "port": port,
        "peer_host": peer_host,
        "peer_port": peer_port,
        "auth_mechanism": connection.mechanism,
        "client_properties": connection.client_properties,
        "connected_at": int(connection.connected_at),
        "channels": len(connection.channels),
        "channel_max": int(connection.channel_max),
        "frame_max": frame_max if frame_max < UNLIMITED else 0,
        "timeout": int(connection.heartbeat) // 1000,
        "ssl": connection.secure,
        "recv_oct": int(connection.received_octets),
        "recv_cnt": int(connection.received_chunks),
        "send_oct": int(connection.out.sent_octets),
        "send_cnt": int(connection.out.sent_chunks),
        "send_pend": int(connection.out.pending()),
    }
    for field in TLS_FIELDS:
        table[field] = connection.tls.get(field)
    if isinstance(name, str):
        table["user_provided_name"] = name
    return table


def _state(connection: Connection) -> str:
    if connection.blocked:
        return "blocked"
    # RabbitMQ's word for who waits without having been told.
    return "flow" if connection.slow_until != 0 else STATES[connection.phase]


def channel_name(channel: Channel) -> str:
    """Name a channel as RabbitMQ does: by its connection and number."""
    return f"{channel.connection.peer} ({int(channel.number)})"


def channel_table(channel: Channel) -> Table:
    """Describe a channel."""
    connection = channel.connection
    (peer_host, peer_port), _ = ends(connection)
    transaction = channel.transaction
    user = "" if connection.user is None else connection.user.name
    return {
        "name": channel_name(channel),
        "number": int(channel.number),
        "connection_details": {"name": connection.peer, "peer_host": peer_host, "peer_port": peer_port},
        "vhost": "" if connection.vhost is None else connection.vhost.name,
        "user": user,
        "user_who_performed_action": user,
        "state": "closing" if channel.closing else "running",
        "confirm": channel.confirms.active,
        "transactional": transaction is not None,
        "consumer_count": len(channel.consumers),
        "prefetch_count": int(channel.prefetch),
        "global_prefetch_count": int(channel.credit.limit),
        "messages_unacknowledged": len(channel.window),
        "messages_unconfirmed": int(channel.confirms.owed()) if channel.confirms.active else 0,
        "messages_uncommitted": 0 if transaction is None else len(transaction.publishes),
        "acks_uncommitted": 0 if transaction is None else len(transaction.answered()),
        "pending_raft_commands": 0,
    }


def consumer_table(consumer: ChannelConsumer, vhost: str) -> Table:
    """Describe a consumer.

    Args:
        vhost: name of its queue's virtual host.
    """
    channel = consumer.channel
    connection = channel.connection
    (peer_host, peer_port), _ = ends(connection)
    active, status = activity(consumer.queue, consumer)
    return {
        "consumer_tag": consumer.tag,
        "queue": {"name": consumer.queue.name, "vhost": vhost},
        "channel_details": {
            "name": channel_name(channel),
            "number": int(channel.number),
            "connection_name": connection.peer,
            "node": connection.broker.node_name,
            "peer_host": peer_host,
            "peer_port": peer_port,
            "user": "" if connection.user is None else connection.user.name,
        },
        "ack_required": not consumer.no_ack,
        "active": active,
        "activity_status": status,
        "exclusive": consumer.exclusive,
        "prefetch_count": int(consumer.limit),
        "arguments": consumer.arguments,
    }
