"""Groups of a queue: who has which key (not in RabbitMQ: ``/x/groups``)."""

from __future__ import annotations

from typing import Final

from harebell.engine.lane_inspection import groups_of
from harebell.management.answers import Answer
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.listing import answer_list
from harebell.management.resources.places import find_queue
from harebell.management.routing import Route


async def groups(call: Call) -> Answer:
    """List the groups of a queue: key, consumer that has it, messages that wait and that it has."""
    queue = find_queue(call, call.vhost())
    if queue.options.group_header is None:
        raise not_found()
    return await answer_list(call, groups_of(queue), dict, paged=False)


ROUTES: Final = (Route("GET", "/x/groups/{vhost}/{name}", groups),)
