"""Bindings: ``/bindings``, and those of queues and exchanges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus

from pydantic import Field

from harebell.content.table import Table
from harebell.engine import topology
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.inspection import binding_table, default_binding_table, properties_key
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, BrokerError
from harebell.management.answers import Answer, created, no_content
from harebell.management.bodies import Arguments, Body, ShortText
from harebell.management.calls import Call
from harebell.management.errors import HttpError, not_found
from harebell.management.listing import answer_list, answer_object
from harebell.management.resources.places import exchange_name
from harebell.management.routing import Route


class Wanted(Body):
    """A binding to be made."""

    routing_key: ShortText = ""
    arguments: Arguments = Field(default_factory=dict)


class Listed(NamedTuple):
    """One binding: an explicit one, or that of a queue to the default exchange."""

    vhost: Vhost
    binding: Binding | None
    destination: Destination

    @property
    def source(self) -> str:
        """Name of the exchange it comes from."""
        return "" if self.binding is None else self.binding.source.name

    @property
    def routing_key(self) -> str:
        """Its key."""
        return self.destination.name if self.binding is None else self.binding.routing_key

    @property
    def arguments(self) -> Table:
        """Its arguments."""
        return {} if self.binding is None else self.binding.arguments

    def table(self) -> Table:
        """Describe it."""
        if self.binding is None:
            return default_binding_table(self.vhost, self.destination.name)
        return binding_table(self.vhost, self.binding)


async def list_all(call: Call) -> Answer:
    """List the bindings of all virtual hosts one may see."""
    return await _answer(call, _of_vhosts(call.visible_vhosts()))


async def list_of_vhost(call: Call) -> Answer:
    """List the bindings of a virtual host."""
    return await _answer(call, _of_vhosts([call.vhost()]))


async def list_of_queue(call: Call) -> Answer:
    """List the bindings that lead to a queue."""
    vhost = call.vhost()
    queue = vhost.queues.get(call.path["name"])
    return await _answer(call, [] if queue is None else _to(vhost, queue))


async def list_from(call: Call) -> Answer:
    """List the bindings of which an exchange is the source."""
    vhost = call.vhost()
    name = exchange_name(call)
    if not name:
        return await _answer(call, _from(vhost, None))
    exchange = vhost.exchanges.get(name)
    return await _answer(call, [] if exchange is None else _from(vhost, exchange))


async def list_to(call: Call) -> Answer:
    """List the bindings that lead to an exchange."""
    vhost = call.vhost()
    exchange = vhost.exchanges.get(exchange_name(call))
    return await _answer(call, [] if exchange is None else _to(vhost, exchange))


async def list_between(call: Call) -> Answer:
    """List the bindings from an exchange to a queue or an exchange."""
    return await _answer(call, _between(call, call.vhost()))


async def _answer(call: Call, items: Iterable[Listed]) -> Answer:
    return await answer_list(call, items, Listed.table, key=_key, paged=False)


def _key(item: Listed) -> tuple[str, ...]:
    return item.vhost.name, item.source, item.destination.name, item.routing_key


def _of_vhosts(vhosts: list[Vhost]) -> Iterator[Listed]:
    for vhost in vhosts:
        yield from _from(vhost, None)
        for exchange in list(vhost.exchanges.values()):
            yield from _from(vhost, exchange)


def _from(vhost: Vhost, exchange: Exchange | None) -> Iterator[Listed]:
    """Go through the bindings from an exchange, which may change meanwhile; None is the default one."""
    if exchange is None:
        for queue in list(vhost.queues.values()):
            yield Listed(vhost, None, queue)
        return
    for binding in list(exchange.bindings.values()):
        yield Listed(vhost, binding, binding.destination)


def _to(vhost: Vhost, destination: Destination) -> Iterator[Listed]:
    if destination.is_queue:
        yield Listed(vhost, None, destination)
    for binding in list(destination.incoming):
        yield Listed(vhost, binding, destination)


def _end(call: Call, vhost: Vhost) -> Destination | None:
    """Give the queue or exchange a path leads to."""
    if "queue" in call.path:
        return vhost.queues.get(call.path["queue"])
    return vhost.exchanges.get(exchange_name(call, "destination"))


def _between(call: Call, vhost: Vhost) -> Iterator[Listed]:
    end = _end(call, vhost)
    if end is None:
        return
    source = exchange_name(call, "source")
    for item in _to(vhost, end):
        if item.source == source:
            yield item


def _find(call: Call, vhost: Vhost) -> Listed:
    """Find the binding with a key of properties, as ``Location`` and the lists give it.

    Raises:
        HttpError: 404.
    """
    wanted = call.path["properties"]
    found = None
    for item in _between(call, vhost):
        own = properties_key(item.routing_key, item.arguments)
        if own == wanted:
            return item
        if wanted != "~" and _is_meant(wanted, item, own):
            found = item
    if found is None:
        raise not_found()
    return found


def _is_meant(wanted: str, item: Listed, own: str) -> bool:
    """Tell whether a key that a client put together means a binding: many escape other characters."""
    key, digest = wanted, ""
    if item.arguments:
        key, _, digest = wanted.rpartition("~")
        if digest != own.rpartition("~")[2]:
            return False
    return unquote_plus(key, errors="surrogateescape") == item.routing_key


async def show(call: Call) -> Answer:
    """Show one binding."""
    return answer_object(call, _find(call, call.vhost()).table())


async def bind(call: Call) -> Answer:
    """Bind; ``Location`` says, relative to the path, where the binding can be seen and deleted."""
    vhost = call.vhost()
    wanted = call.model(Wanted)
    to_queue = "queue" in call.path
    name = call.path["queue"] if to_queue else exchange_name(call, "destination")
    source = exchange_name(call, "source")
    arguments = dict(wanted.arguments)
    try:
        lsn = topology.bind(call.caller(vhost), source, name, to_queue, wanted.routing_key, arguments)
    except BrokerError as error:
        if error.row is NOT_FOUND:
            raise HttpError(404, "not_found", error.text) from None
        raise
    key = properties_key(wanted.routing_key, arguments)
    call.detail["properties_key"] = key
    await call.committed(lsn)
    return created(f"{quote(name, safe='', errors='surrogateescape')}/{quote(key, safe='')}")


async def unbind(call: Call) -> Answer:
    """Remove a binding."""
    vhost = call.vhost()
    to_queue = "queue" in call.path
    item = _find(call, vhost)
    lsn = topology.unbind(
        call.caller(vhost), item.source, item.destination.name, to_queue, item.routing_key, item.arguments
    )
    await call.committed(lsn)
    return no_content()


_TO_QUEUE: Final = "/bindings/{vhost}/e/{source}/q/{queue}"
_TO_EXCHANGE: Final = "/bindings/{vhost}/e/{source}/e/{destination}"

ROUTES: Final = (
    Route("GET", "/bindings", list_all),
    Route("GET", "/bindings/{vhost}", list_of_vhost),
    Route("GET", "/queues/{vhost}/{name}/bindings", list_of_queue),
    Route("GET", "/exchanges/{vhost}/{name}/bindings/source", list_from),
    Route("GET", "/exchanges/{vhost}/{name}/bindings/destination", list_to),
    Route("GET", _TO_QUEUE, list_between),
    Route("POST", _TO_QUEUE, bind, body=Wanted, action="binding.created"),
    Route("GET", _TO_QUEUE + "/{properties}", show),
    Route("DELETE", _TO_QUEUE + "/{properties}", unbind, action="binding.deleted"),
    Route("GET", _TO_EXCHANGE, list_between),
    Route("POST", _TO_EXCHANGE, bind, body=Wanted, action="binding.created"),
    Route("GET", _TO_EXCHANGE + "/{properties}", show),
    Route("DELETE", _TO_EXCHANGE + "/{properties}", unbind, action="binding.deleted"),
)
