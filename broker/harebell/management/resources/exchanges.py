"""Exchanges: ``/exchanges``."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from harebell.engine import topology
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.redeclaring import change_exchange
from harebell.engine.vhost import Vhost
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, no_content, put
from harebell.management.bodies import Arguments, Body, Bool, Changes, ShortText, check_name
from harebell.management.calls import Call
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import exchange_name, find_exchange
from harebell.management.routing import Route

Listed = tuple[Vhost, Exchange | None]
"""A virtual host and an exchange of it; None is the default exchange."""


class Declaration(Body):
    """An exchange to be declared."""

    type: ShortText = "direct"
    durable: Bool = False
    auto_delete: Bool = False
    internal: Bool = False
    arguments: Arguments = Field(default_factory=dict)


async def list_all(call: Call) -> Answer:
    """List the exchanges of all virtual hosts one may see."""
    return await _list(call, call.visible_vhosts())


async def list_of_vhost(call: Call) -> Answer:
    """List the exchanges of a virtual host."""
    return await _list(call, [call.vhost()])


async def _list(call: Call, vhosts: list[Vhost]) -> Answer:
    ages = ages_of(call.query)
    items: list[Listed] = []
    for vhost in vhosts:
        items.append((vhost, None))
        items += [(vhost, exchange) for exchange in vhost.exchanges.values()]
    show = call.statistics.exchange

    def render(item: Listed) -> dict[str, Any]:
        return show(item[0], item[1], ages=ages)

    return await answer_list(call, items, render, key=_key, name=_name)


def _name(item: Listed) -> str:
    return "" if item[1] is None else item[1].name


def _key(item: Listed) -> tuple[str, str]:
    return item[0].name, _name(item)


async def show(call: Call) -> Answer:
    """Show an exchange with what comes in and goes out."""
    vhost = call.vhost()
    exchange = find_exchange(call, vhost) if exchange_name(call) else None
    return answer_object(
        call, call.statistics.exchange(vhost, exchange, detail=True, ages=ages_of(call.query))
    )


async def declare(call: Call) -> Answer:
    """Declare an exchange: 201 if it is new, 204 if it was there like that."""
    vhost = call.vhost()
    name = check_name(exchange_name(call))
    wanted = call.model(Declaration)
    existed = name in vhost.exchanges
    lsn = topology.declare_exchange(
        call.caller(vhost),
        name,
        wanted.type,
        wanted.durable,
        wanted.auto_delete,
        wanted.internal,
        dict(wanted.arguments),
    )
    await call.committed(lsn)
    return put(existed)


async def change(call: Call) -> Answer:
    """Change arguments of an exchange that is there; ``null`` takes one away, others stay."""
    vhost = call.vhost()
    exchange = find_exchange(call, vhost)
    changes = dict(call.model(Changes).arguments)
    lsn = change_exchange(call.caller(vhost), exchange, changes)
    call.detail["arguments"] = changes
    await call.committed(lsn)
    return no_content()


async def delete(call: Call) -> Answer:
    """Delete an exchange; with ``if-unused`` only one that nothing is bound to."""
    vhost = call.vhost()
    name = exchange_name(call)
    if name:
        find_exchange(call, vhost)
    lsn = topology.delete_exchange(call.caller(vhost), name, call.query.flag("if-unused"))
    await call.committed(lsn)
    return no_content()


ROUTES: Final = (
    Route("GET", "/exchanges", list_all),
    Route("GET", "/exchanges/{vhost}", list_of_vhost),
    Route("GET", "/exchanges/{vhost}/{name}", show),
    Route("PUT", "/exchanges/{vhost}/{name}", declare, body=Declaration, action="exchange.created"),
    Route("PATCH", "/exchanges/{vhost}/{name}", change, body=Changes, action="exchange.changed"),
    Route("DELETE", "/exchanges/{vhost}/{name}", delete, action="exchange.deleted"),
)
