"""Channels and consumers: ``/channels``, ``/consumers``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.delivery import ChannelConsumer
from harebell.amqp.inspection import channel_name, consumer_table
from harebell.engine.reply_to import ReplyQueue
from harebell.engine.vhost import Vhost
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import connection_of, connections, find_connection
from harebell.management.routing import Right, Route

Subscribed = tuple[Vhost, ChannelConsumer]


async def list_all(call: Call) -> Answer:
    """List channels: those of all connections with the tag ``monitoring``, else of one's own."""
    return await _list(call, connections(call))


async def list_of_vhost(call: Call) -> Answer:
    """List the channels of connections to a virtual host."""
    vhost = call.vhost()
    return await _list(call, [each for each in connections(call) if each.vhost is vhost])


async def list_of_connection(call: Call) -> Answer:
    """List the channels of a connection."""
    return await _list(call, [find_connection(call)], paged=False)


async def list_sessions(call: Call) -> Answer:
    """List the sessions of a connection: those of AMQP 0-9-1 have channels instead."""
    find_connection(call)
    return ok([])


async def _list(call: Call, found: list[Connection], *, paged: bool = True) -> Answer:
    ages = ages_of(call.query)
    show = call.statistics.channel

    def render(channel: Channel) -> dict[str, Any]:
        return show(channel, ages=ages)

    return await answer_list(call, _channels(found), render, key=_key, name=channel_name, paged=paged)


def _channels(found: Iterable[Connection]) -> Iterator[Channel]:
    for connection in found:
        yield from list(connection.channels.values())


def _key(channel: Channel) -> tuple[str, int]:
    return channel.connection.peer, int(channel.number)


async def show(call: Call) -> Answer:
    """Show a channel with its consumers."""
    peer, _, number = call.path["channel"].rpartition(" (")
    for channel in connection_of(call, peer).channels.values():
        if f"{channel.number})" == number:
            row = call.statistics.channel(channel, detail=True, ages=ages_of(call.query))
            return answer_object(call, row)
    raise not_found()


async def list_consumers(call: Call) -> Answer:
    """List consumers: all of them with the tag ``monitoring``, else those of one's own connections."""
    return await _list_consumers(call, list(call.admin.broker.vhosts.values()))


async def list_consumers_of_vhost(call: Call) -> Answer:
    """List the consumers in a virtual host, whatever one's permissions there, as RabbitMQ does."""
    vhost = call.admin.broker.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise not_found()
    return await _list_consumers(call, [vhost])


async def _list_consumers(call: Call, vhosts: list[Vhost]) -> Answer:
    def render(item: Subscribed) -> dict[str, Any]:
        return consumer_table(item[1], item[0].name)

    found = _consumers(vhosts) if call.has(Right.MONITORING) else _own_consumers(call, vhosts)
    return await answer_list(call, found, render, paged=False)


def _own_consumers(call: Call, vhosts: list[Vhost]) -> Iterator[Subscribed]:
    for connection in connections(call):
        vhost = connection.vhost
        if vhost is not None and vhost in vhosts:
            for channel in list(connection.channels.values()):
                for consumer in list(channel.consumers.values()):
                    if not isinstance(consumer.queue, ReplyQueue):
                        yield vhost, consumer


def _consumers(vhosts: Iterable[Vhost]) -> Iterator[Subscribed]:
    for vhost in vhosts:
        for queue in list(vhost.queues.values()):
            for consumer in [*queue.consumers(), *queue.browsers()]:
                if isinstance(consumer, ChannelConsumer):
                    yield vhost, consumer


ROUTES: Final = (
    Route("GET", "/channels", list_all),
    Route("GET", "/channels/{channel}", show),
    Route("GET", "/connections/{connection}/channels", list_of_connection),
    Route("GET", "/connections/{connection}/sessions", list_sessions),
    Route("GET", "/vhosts/{vhost}/channels", list_of_vhost),
    Route("GET", "/consumers", list_consumers),
    Route("GET", "/consumers/{vhost}", list_consumers_of_vhost),
)
