"""Deliveries of a queue that wait for an answer: how long they may, and granting them more time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harebell.administration.administration import Administration
from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.inspection import channel_name
from harebell.content.table import Table
from harebell.engine.arguments import ELAPSED, LIVENESS
from harebell.engine.consumers import Unacked
from harebell.engine.queues.queue import Queue
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError


@dataclass(frozen=True, slots=True)
class Held:
    """One delivery that waits for an answer, and the channel it went to."""

    channel: Channel
    entry: Unacked


def held_of(admin: Administration, queue: Queue) -> Iterator[Held]:
    """Go through the deliveries of a queue that wait for an answer."""
    for session in admin.broker.sessions:
        if not isinstance(session, Connection):
            continue
        for channel in session.channels.values():
            for entry in channel.window.entries():
                if entry.queue is queue:
                    yield Held(channel, entry)


def described(admin: Administration, held: Held) -> Table:
    """Describe a delivery; times are milliseconds."""
    entry, now = held.entry, int(admin.broker.clock.now)
    lease = held.channel.window.lease_of(entry)
    timeout = int(lease.allowed(admin.broker.limits.consumer_timeout))
    consumer = entry.consumer
    lives = consumer is not None and consumer.by_liveness
    return {
        "channel": channel_name(held.channel),
        "consumer_tag": None if consumer is None else consumer.tag,
        "delivery_tag": int(entry.tag),
        "age": max(0, now - int(entry.delivered_at)),
        "timeout": timeout or None,
        "remaining": max(0, int(lease.since) + timeout - now) if timeout else None,
        "mode": LIVENESS if lives else ELAPSED,
        "renewals": int(lease.renewals),
    }


def renew(
    admin: Administration, queue: Queue, delivery_tag: int, consumer_tag: str | None, channel: str | None
) -> Table:
    """Have the time of one delivery begin anew.

    Args:
        delivery_tag: as its client got it.
        consumer_tag: of who got it; None for any.
        channel: name of the channel it went to; None for any.

    Returns:
        The delivery, described.

    Raises:
        BrokerError: NOT_FOUND if no such delivery waits for an answer; PRECONDITION_FAILED if several do,
            since consumers on several channels may have the same tag.
    """
    found = [
        held
        for held in _with_tag(admin, queue, delivery_tag)
        if consumer_tag is None
        or (held.entry.consumer is not None and held.entry.consumer.tag == consumer_tag)
        if channel is None or channel_name(held.channel) == channel
    ]
    if not found:
        raise BrokerError(
            NOT_FOUND, f"no delivery {delivery_tag} of queue '{queue.name}' waits for an answer"
        )
    if len(found) > 1:
        raise BrokerError(
            PRECONDITION_FAILED,
            f"{len(found)} channels hold a delivery {delivery_tag} of queue '{queue.name}': name the channel",
        )
    entry = found[0].entry
    found[0].channel.window.renew(entry, admin.broker.clock.now)
    return described(admin, found[0])


def _with_tag(admin: Administration, queue: Queue, delivery_tag: int) -> Iterator[Held]:
    for session in admin.broker.sessions:
        if isinstance(session, Connection):
            for channel in session.channels.values():
                entry = channel.window.held(delivery_tag)
                if entry is not None and entry.queue is queue:
                    yield Held(channel, entry)
