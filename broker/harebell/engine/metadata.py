"""``apply(command)``: the one place where topology changes.

Commands reaching this module have been checked; applying one cannot fail for a reason a client caused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harebell.engine.commands import (
    Bind,
    Command,
    CreateVhost,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    Unbind,
)
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.exchanges.registry import create
from harebell.engine.queues.classic import ClassicQueue
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost

if TYPE_CHECKING:
    from harebell.engine.broker import Broker


def apply(broker: Broker, command: Command) -> None:
    """Carry out a command on the broker's state."""
    match command:
        case CreateVhost():
            if command.name not in broker.vhosts:
                broker.vhosts[command.name] = Vhost(command.name, broker.access)
            return
        case DeleteVhost():
            vhost = broker.vhosts.pop(command.name)
            for queue in list(vhost.queues.values()):
                delete_queue(vhost, queue)
            return
    vhost = broker.vhosts[command.vhost]
    match command:
        case DeclareExchange():
            declare_exchange(vhost, command)
        case DeleteExchange():
            delete_exchange(vhost, vhost.exchanges[command.name])
        case DeclareQueue():
            declare_queue(broker, vhost, command)
        case DeleteQueue():
            delete_queue(vhost, vhost.queues[command.name])
        case Bind():
            bind(vhost, command)
        case Unbind():
            unbind(vhost, command)
    vhost.topology_changed()


def declare_exchange(vhost: Vhost, command: DeclareExchange) -> None:
    """Create an exchange."""
    exchange = create(
        command.type_name,
        command.name,
        command.durable,
        command.auto_delete,
        command.internal,
        command.arguments,
    )
    alternate = command.arguments.get("alternate-exchange")
    exchange.alternate = alternate if isinstance(alternate, str) else None
    vhost.exchanges[command.name] = exchange


def declare_queue(broker: Broker, vhost: Vhost, command: DeclareQueue) -> None:
    """Create a queue."""
    broker.last_queue_id += 1
    queue = ClassicQueue(
        broker.last_queue_id,
        command.name,
        command.type_name,
        command.durable,
        command.owner,
        command.auto_delete,
        command.arguments,
        broker.dispatcher,
        broker.journal,
        broker.clock,
        command.arguments.get("x-single-active-consumer") is True,
    )
    expires = command.arguments.get("x-expires")
    if isinstance(expires, int):
        queue.expires = expires
        queue.last_used = broker.clock.now
        vhost.expiring[queue] = None
    if command.owner:
        vhost.exclusives.setdefault(command.owner, {})[command.name] = None
    vhost.queues[command.name] = queue


def delete_queue(vhost: Vhost, queue: Queue) -> None:
    """Remove a queue, tell its consumers, and remove auto-delete exchanges left without a binding."""
    del vhost.queues[queue.name]
    vhost.expiring.pop(queue, None)
    if queue.owner:
        owned = vhost.exclusives.get(queue.owner)
        if owned is not None:
            owned.pop(queue.name, None)
            if not owned:
                del vhost.exclusives[queue.owner]
    queue.drop_all()
    _unbind_all(vhost, queue)
    for consumer in list(queue.consumers()):
        # A message on its way to the queue may still be pushed: it must find nobody.
        queue.remove_consumer(consumer)
        consumer.queue_gone()


def delete_exchange(vhost: Vhost, exchange: Exchange) -> None:
    """Remove an exchange with every binding from and to it."""
    if vhost.exchanges.pop(exchange.name, None) is None:
        return
    for binding in list(exchange.bindings.values()):
        exchange.unbind(binding.destination, binding.routing_key, binding.arguments)
    _unbind_all(vhost, exchange)


def bind(vhost: Vhost, command: Bind) -> None:
    """Add a binding; a queue newly bound to a recent-history exchange gets the history."""
    source = vhost.exchanges[command.source]
    destination = destination_of(vhost, command.destination, command.to_queue)
    added = source.bind(Binding(source, destination, command.routing_key, command.arguments))
    if added and isinstance(source, RecentHistoryExchange) and isinstance(destination, Queue):
        for message in source.history():
            destination.push(message)


def unbind(vhost: Vhost, command: Unbind) -> None:
    """Remove a binding, and its source if that was auto-delete and this the last binding from it."""
    source = vhost.exchanges[command.source]
    destination = destination_of(vhost, command.destination, command.to_queue)
    if source.unbind(destination, command.routing_key, command.arguments) is not None:
        _delete_if_unused(vhost, source)


def destination_of(vhost: Vhost, name: str, to_queue: bool) -> Destination:
    """Look up either kind of destination.

    Raises:
        BrokerError: NOT_FOUND if there is none.
    """
    return vhost.queue(name) if to_queue else vhost.exchange(name)


def _unbind_all(vhost: Vhost, destination: Destination) -> None:
    for binding in list(destination.incoming):
        source = binding.source
        source.unbind(destination, binding.routing_key, binding.arguments)
        _delete_if_unused(vhost, source)


def _delete_if_unused(vhost: Vhost, exchange: Exchange) -> None:
    if exchange.auto_delete and not exchange.bindings:
        delete_exchange(vhost, exchange)
