"""Virtual hosts, to be looked at: ``/vhosts``."""

from __future__ import annotations

from typing import Any, Final

from harebell.engine.vhost import Vhost
from harebell.management.ages import ages_of
from harebell.management.answers import Answer
from harebell.management.calls import Call
from harebell.management.listing import answer_list, answer_object
from harebell.management.routing import Right, Route


async def list_all(call: Call) -> Answer:
    """List virtual hosts: all of them with the tag ``monitoring``, else those one has permissions in."""
    ages = ages_of(call.query)
    show = call.statistics.vhost
    every = call.has(Right.MONITORING)
    found = list(call.admin.broker.vhosts.values()) if every else call.visible_vhosts()

    def render(vhost: Vhost) -> dict[str, Any]:
        return show(vhost, ages)

    return await answer_list(
        call, found, render, key=lambda vhost: (vhost.name,), name=lambda vhost: vhost.name
    )


async def show_one(call: Call) -> Answer:
    """Show a virtual host."""
    return answer_object(call, call.statistics.vhost(call.vhost(), ages_of(call.query)))


ROUTES: Final = (
    Route("GET", "/vhosts", list_all),
    Route("GET", "/vhosts/{vhost}", show_one, Right.ADMINISTRATOR),
)
