"""Deliveries whose acknowledgement timeout is their own: their message says it, or it was renewed."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.properties import parse_properties
from harebell.content.scanning import FLAGS_AT
from harebell.engine.arguments import ACK_TIMEOUT
from harebell.engine.consumers import Unacked, acknowledgement_timeout
from harebell.engine.options import ABSENT
from harebell.errors import MalformedContent

HAS_HEADERS: Final = 0x20
"""In the first octet of a content header's property flags."""

_KEY: Final = bytes([len(ACK_TIMEOUT)]) + ACK_TIMEOUT.encode()

NO_LIFE: Final = 1 << 62
"""Milliseconds of silence of a connection of which nothing is known."""


class Lease:
    """What is special about one delivery.

    Attributes:
        entry: the delivery.
        timeout: milliseconds its message says; 0 is for ever, -1 if it says nothing.
        since: clock milliseconds from which the time counts.
        renewals: how often it was renewed.
    """

    def __init__(self, entry: Unacked, timeout: i64) -> None:
        self.entry = entry
        self.timeout: i64 = timeout
        self.since: i64 = entry.delivered_at
        self.renewals: i64 = 0

    def allowed(self, usual: i64) -> i64:
        """Give the milliseconds it may stay unanswered; 0 is for ever."""
        if self.timeout >= 0:
            return self.timeout
        return acknowledgement_timeout(self.entry.queue, self.entry.consumer, usual)


def own_timeout(entry: Unacked) -> i64:
    """Give the milliseconds that a message's header says; -1 if it says nothing that can be understood."""
    header = entry.message.header
    if len(header) <= FLAGS_AT or header[FLAGS_AT] & HAS_HEADERS == 0 or header.find(_KEY) < 0:
        return ABSENT
    try:
        value = parse_properties(header).headers().get(ACK_TIMEOUT)
    except MalformedContent:
        return ABSENT
    if type(value) is not int or value < 0:
        return ABSENT
    return min(value, NO_LIFE)


def shows_life(entry: Unacked, timeout: i64, silent: i64, beat: i64) -> bool:
    """Tell whether a delivery may go on because its consumer goes by the life of its connection.

    Args:
        timeout: milliseconds it may stay unanswered.
        silent: milliseconds for which nothing came.
        beat: milliseconds between heartbeats; 0 without.
    """
    consumer = entry.consumer
    if consumer is None or not consumer.by_liveness:
        return False
    return silent <= (2 * beat if beat > 0 else timeout)
