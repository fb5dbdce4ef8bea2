"""Streams: how far their readers are (not in RabbitMQ: ``/x/streams``)."""

from __future__ import annotations

from typing import Final

from harebell.engine.inspection import stream_readers
from harebell.engine.queues.stream import StreamQueue
from harebell.management.answers import Answer
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.listing import answer_list
from harebell.management.resources.places import find_queue
from harebell.management.routing import Route


async def readers(call: Call) -> Answer:
    """List the readers of a stream: the offset each is at, and how many messages are before it."""
    queue = find_queue(call, call.vhost())
    if not isinstance(queue, StreamQueue):
        raise not_found()
    return await answer_list(call, stream_readers(queue), dict, paged=False)


ROUTES: Final = (Route("GET", "/x/streams/{vhost}/{name}/readers", readers),)
