"""Sums over connections and their channels, for as many as there are."""

from __future__ import annotations

from collections.abc import Iterable

from mypy_extensions import i64

from harebell.amqp.connection import Connection
from harebell.engine.vhost import Vhost
from harebell.ports import SessionHandle


class SessionTotals:
    """What the open connections of one virtual host counted.

    Attributes:
        connections, channels, consumers: how many there are.
        publishers: channels that published.
        confirmed: messages confirmed.
        awaited: messages published on channels in confirm mode.
        received_octets, sent_octets: to and from clients.
    """

    def __init__(self) -> None:
        self.connections: i64 = 0
        self.channels: i64 = 0
        self.consumers: i64 = 0
        self.publishers: i64 = 0
        self.confirmed: i64 = 0
        self.awaited: i64 = 0
        self.received_octets: i64 = 0
        self.sent_octets: i64 = 0

    def add(self, connection: Connection) -> None:
        """Add one connection."""
        self.connections += 1
        self.received_octets += connection.received_octets
        self.sent_octets += connection.out.sent_octets
        for channel in connection.channels.values():
            confirms = channel.confirms
            self.channels += 1
            self.consumers += len(channel.consumers)
            if channel.published > 0:
                self.publishers += 1
            self.confirmed += confirms.confirmed
            self.awaited += confirms.published

    def merge(self, other: SessionTotals) -> None:
        """Add other sums."""
        self.connections += other.connections
        self.channels += other.channels
        self.consumers += other.consumers
        self.publishers += other.publishers
        self.confirmed += other.confirmed
        self.awaited += other.awaited
        self.received_octets += other.received_octets
        self.sent_octets += other.sent_octets


def sum_sessions(sessions: Iterable[SessionHandle], only: Vhost | None = None) -> dict[str, SessionTotals]:
    """Sum up connections by the name of their virtual host.

    Args:
        only: a virtual host to pass over all others.
    """
    totals: dict[str, SessionTotals] = {}
    for session in sessions:
        if isinstance(session, Connection):
            vhost = session.vhost
            if vhost is None or (only is not None and vhost is not only):
                continue
            name = vhost.name
            found = totals.get(name)
            if found is None:
                found = totals[name] = SessionTotals()
            found.add(session)
    return totals
