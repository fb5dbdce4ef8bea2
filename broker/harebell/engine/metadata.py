"""``apply(command)``: the one place where topology changes.

Commands reaching this module have been checked; applying one cannot fail for a reason a client caused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.arguments import MAX_PRIORITY, RETAIN, RETAIN_BYTES, SINGLE_ACTIVE_CONSUMER
from harebell.engine.commands import (
    Bind,
    ChangeAccess,
    ChangeArguments,
    ClearParameter,
    ClearPolicy,
    Command,
    CreateVhost,
    DeclareDelays,
    DeclareExchange,
    DeclareQueue,
    DeclareWindow,
    DeleteDelays,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    DeleteWindow,
    NoteFired,
    PauseQueue,
    SetParameter,
    SetPolicy,
    SetVhostDefaultQueueType,
    SetVhostLimits,
    SetVhostMetadata,
    StoreOffset,
    Unbind,
)
from harebell.engine.dead_lettering import DeadLettering
from harebell.engine.deduplicating import declare_window, delete_window
from harebell.engine.delays import Delays, declare_delays, delete_delays
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.exchanges.registry import create
from harebell.engine.policies import Policy
from harebell.engine.policy_work import refresh_exchange, refresh_queue
from harebell.engine.queues.classic import ClassicQueue
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.routing import enqueue
from harebell.engine.vhost import DEFAULT_VHOST, PREDECLARED, Vhost
from harebell.streaming import DEFAULT_SEGMENT_OCTETS, LEAST_SEGMENT_OCTETS

if TYPE_CHECKING:
    from harebell.engine.broker import Broker

PREDECLARED_NAMES = frozenset(name for name, _, _ in PREDECLARED)


SCHEDULE: Final = "schedule"
"""The component of parameters that are schedules."""

HISTORY_PREFIX: Final = "harebell.history."
"""What the names of streams begin with that retain what queues get."""


def apply(broker: Broker, command: Command) -> None:
    """Carry out a command on the broker's state."""
    match command:
        case CreateVhost():
            if command.name not in broker.vhosts:
                vhost = broker.vhosts[command.name] = Vhost(command.name, broker.access)
                vhost.delays = Delays(broker, vhost)
            return
        case DeleteVhost():
            vhost = broker.vhosts.pop(command.name)
            for queue in list(vhost.queues.values()):
                if not queue.deleted:
                    delete_queue(vhost, queue)
            for exchange in vhost.exchanges.values():
                vhost.counters.exchanges.merge(exchange.tally)
            for window in list(vhost.windows.values()):
                delete_window(vhost, window)
            if vhost.delays is not None:
                for name in list(vhost.delays.queues):
                    delete_delays(vhost, name)
            broker.counters.gone.merge(vhost.counters)
            # What its connections counted comes when they are closed.
            vhost.counters = broker.counters.gone
            broker.access.forget_vhost(command.name)
            for place in [place for place in broker.parameters if place[0] == command.name]:
                del broker.parameters[place]
            for fired in [fired for fired in broker.fired if fired[0] == command.name]:
                del broker.fired[fired]
            broker.schedules_changed = True
            broker.schemas.forget_vhost(command.name)
            return
        case SetParameter():
            broker.parameters[(command.vhost, command.component, command.name)] = command.value
            if command.component == SCHEDULE:
                broker.schedules_changed = True
            broker.schemas.set(command.vhost, command.component, command.name, command.value)
            return
        case ClearParameter():
            broker.parameters.pop((command.vhost, command.component, command.name), None)
            if command.component == SCHEDULE:
                broker.fired.pop((command.vhost, command.name), None)
                broker.schedules_changed = True
            broker.schemas.clear(command.vhost, command.component, command.name)
            return
        case NoteFired():
            broker.fired[(command.vhost, command.name)] = command.at
            return
        case ChangeAccess():
            for name in broker.access.apply(command.kind, command.change):
                # Routes were worked out with the permissions as they were.
                if name in broker.vhosts:
                    broker.vhosts[name].topology_changed()
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
            bind(broker, vhost, command)
        case Unbind():
            unbind(vhost, command)
        case SetPolicy():
            policy = Policy(
                command.name, command.pattern, command.apply_to, command.definition, command.priority
            )
            vhost.policies.set(policy, command.operator)
            vhost.policies_changed = broker.policies_changed = True
        case ClearPolicy():
            vhost.policies.clear(command.name, command.operator)
            vhost.policies_changed = broker.policies_changed = True
        case SetVhostLimits():
            vhost.set_limits(command.limits)
        case SetVhostDefaultQueueType():
            vhost.default_queue_type = command.type_name
        case SetVhostMetadata():
            vhost.metadata = command.metadata
            return
        case DeclareWindow():
            declare_window(broker, vhost, command)
        case DeleteWindow():
            delete_window(vhost, vhost.windows[(command.of_exchange, command.owner)])
        case DeclareDelays():
            declare_delays(broker, vhost, command)
            return
        case DeleteDelays():
            delete_delays(vhost, command.exchange)
            return
        case ChangeArguments():
            change_arguments(broker, vhost, command)
        case PauseQueue():
            paused = vhost.queues[command.name]
            if isinstance(paused, ClassicQueue):
                paused.pause(command.until, command.reason)
            return
        case StoreOffset():
            stream = vhost.queues.get(command.queue)
            if isinstance(stream, StreamQueue):
                stream.offsets[command.consumer] = command.offset
            return
    vhost.topology_changed()


def declare_exchange(vhost: Vhost, command: DeclareExchange) -> None:
    """Create an exchange; one of that name and type stays (recovery repeats what a snapshot holds)."""
    existing = vhost.exchanges.get(command.name)
    if existing is not None:
        if existing.type_name == command.type_name:
            return
        delete_exchange(vhost, existing)
    exchange = create(
        command.type_name,
        command.name,
        command.durable,
        command.auto_delete,
        command.internal,
        command.arguments,
    )
    refresh_exchange(vhost, exchange)
    vhost.exchanges[command.name] = exchange
    exchange.use_window(vhost.windows.get((True, exchange.name)))


def declare_queue(broker: Broker, vhost: Vhost, command: DeclareQueue) -> None:
    """Create a queue; one of that name and id stays (recovery repeats what a snapshot holds)."""
    existing = vhost.queues.get(command.name)
    if existing is not None:
        if existing.id == command.queue_id:
            return
        delete_queue(vhost, existing)
    queue = _made(broker, vhost, command)
    refresh_queue(broker, vhost, queue)
    if command.owner:
        vhost.exclusives.setdefault(command.owner, {})[command.name] = None
    vhost.queues[command.name] = queue
    if not vhost.replaying:
        vhost.counters.queues_created += 1
    _link_history(vhost, queue)
    ids = vhost.windows.get((False, queue.name))
    if ids is not None:
        queue.use_window(ids)


def change_arguments(broker: Broker, vhost: Vhost, command: ChangeArguments) -> None:
    """Give a queue or an exchange other arguments, and what follows from them."""
    if command.of_exchange:
        exchange = vhost.exchanges[command.name]
        exchange.arguments = command.arguments
        refresh_exchange(vhost, exchange)
        return
    queue = vhost.queues[command.name]
    queue.arguments = command.arguments
    refresh_queue(broker, vhost, queue)


def _link_history(vhost: Vhost, queue: Queue) -> None:
    """Let a queue that retains messages and its stream know of each other, whichever comes second."""
    owner = vhost.queues.get(queue.name.removeprefix(HISTORY_PREFIX)) if queue.keeps_all else queue
    if owner is None or not (RETAIN in owner.arguments or RETAIN_BYTES in owner.arguments):
        return
    history = vhost.queues.get(HISTORY_PREFIX + owner.name)
    if isinstance(history, StreamQueue):
        owner.history = history
        history.retains_for = owner


def _made(broker: Broker, vhost: Vhost, command: DeclareQueue) -> Queue:
    if command.type_name == "stream":
        segment = _segment_octets(vhost, command.name, command.arguments)
        return StreamQueue(
            command.queue_id,
            vhost.name,
            command.name,
            command.arguments,
            broker.streams.open(command.queue_id, segment),
            broker.dispatcher,
            broker.journal,
            broker.clock,
            broker.expiry,
            broker.dispatcher.residency.pager,
        )
    max_priority = command.arguments.get(MAX_PRIORITY)
    if vhost.dead_letters is None:
        vhost.dead_letters = DeadLettering(vhost, broker.journal, broker.clock)
    queue = ClassicQueue(
        command.queue_id,
        command.name,
        command.type_name,
        command.durable,
        command.owner,
        command.auto_delete,
        command.arguments,
        broker.dispatcher,
        broker.journal,
        broker.clock,
        vhost.dead_letters,
        broker.expiry,
        max_priority if isinstance(max_priority, int) else -1,
        command.arguments.get(SINGLE_ACTIVE_CONSUMER) is True,
    )
    queue.counts_every_return = broker.limits.count_every_return
    return queue


def _segment_octets(vhost: Vhost, name: str, arguments: Table) -> int:
    """Give the size of a new stream's segments: its argument or policy says it."""
    asked = int(vhost.policies.applied(name, "stream", arguments).options.segment_octets)
    return DEFAULT_SEGMENT_OCTETS if asked <= 0 else max(LEAST_SEGMENT_OCTETS, asked)


def delete_queue(vhost: Vhost, queue: Queue) -> None:
    """Remove a queue, tell its consumers, and remove auto-delete exchanges left without a binding."""
    del vhost.queues[queue.name]
    if not vhost.replaying:
        vhost.counters.queue_gone(queue)
    vhost.expiring.pop(queue, None)
    if queue.owner:
        owned = vhost.exclusives.get(queue.owner)
        if owned is not None:
            owned.pop(queue.name, None)
            if not owned:
                del vhost.exclusives[queue.owner]
    queue.drop_all()
    if queue.ids is not None:
        delete_window(vhost, queue.ids)
    if queue.history is not None:
        delete_queue(vhost, queue.history)
    if isinstance(queue, StreamQueue) and queue.retains_for is not None:
        queue.retains_for.history = None
    for exchange in _unbind_all(vhost, queue):
        delete_exchange(vhost, exchange)
    for consumer in list(queue.consumers()):
        # A message on its way to the queue may still be pushed: it must find nobody.
        queue.remove_consumer(consumer)
        consumer.queue_gone()
    for browser in queue.browsers():
        browser.queue.remove_consumer(browser)
        browser.queue_gone()


def delete_exchange(vhost: Vhost, exchange: Exchange) -> None:
    """Remove an exchange with every binding from and to it, and the auto-delete exchanges that leaves unused.

    Clients can chain exchanges without end, so the cascade is a list of work, not a recursion.
    """
    work = [exchange]
    while work:
        current = work.pop()
        if vhost.exchanges.pop(current.name, None) is None:
            continue
        vhost.counters.exchanges.merge(current.tally)
        if current.ids is not None:
            delete_window(vhost, current.ids)
            # A transaction may still have messages that were published to it.
            current.use_window(None)
        for binding in list(current.bindings.values()):
            current.unbind(binding.destination, binding.routing_key, binding.arguments)
        work.extend(_unbind_all(vhost, current))


def bind(broker: Broker, vhost: Vhost, command: Bind) -> None:
    """Add a binding; a queue newly bound to a recent-history exchange gets the history."""
    source = vhost.exchanges[command.source]
    destination = destination_of(vhost, command.destination, command.to_queue)
    added = source.bind(Binding(source, destination, command.routing_key, command.arguments))
    if added and isinstance(source, RecentHistoryExchange) and isinstance(destination, Queue):
        for old in source.history():
            # A message of its own: the journal keeps track of where each one lies.
            message = Message(old.address, old.header, old.body, old.persistent)
            message.arrived = broker.clock.wall
            destination.expect_deadlines()
            enqueue(message, [destination], destination.durable, broker.journal)


def unbind(vhost: Vhost, command: Unbind) -> None:
    """Remove a binding, and its source if that was auto-delete and this the last binding from it."""
    source = vhost.exchanges[command.source]
    destination = destination_of(vhost, command.destination, command.to_queue)
    removed = source.unbind(destination, command.routing_key, command.arguments)
    if removed is not None and _goes_unused(vhost, source):
        delete_exchange(vhost, source)


def destination_of(vhost: Vhost, name: str, to_queue: bool) -> Destination:
    """Look up either kind of destination.

    Raises:
        BrokerError: NOT_FOUND if there is none.
    """
    return vhost.queue(name) if to_queue else vhost.exchange(name)


def _unbind_all(vhost: Vhost, destination: Destination) -> list[Exchange]:
    """Remove every binding to a destination and give the exchanges that go with it."""
    unused: list[Exchange] = []
    for binding in list(destination.incoming):
        source = binding.source
        source.unbind(destination, binding.routing_key, binding.arguments)
        if _goes_unused(vhost, source):
            unused.append(source)
    return unused


def _goes_unused(vhost: Vhost, exchange: Exchange) -> bool:
    """Tell whether an exchange that lost a binding goes with it; a durable one is noted for the journal."""
    if not exchange.auto_delete or exchange.bindings or vhost.replaying:
        return False
    if exchange.durable:
        vhost.auto_deleted.append(exchange.name)
    return True


def snapshot(broker: Broker) -> list[Command]:
    """List the commands that make up all durable metadata."""
    commands: list[Command] = []
    for (place, component, name), value in broker.parameters.items():
        commands.append(SetParameter(place, component, name, value))
    commands.extend(NoteFired(place, name, at) for (place, name), at in broker.fired.items())
    if DEFAULT_VHOST not in broker.vhosts:
        # Every broker begins with it.
        commands.append(DeleteVhost(DEFAULT_VHOST))
    for vhost in broker.vhosts.values():
        commands.append(CreateVhost(vhost.name))
        commands.extend(_settings(vhost))
        bindings: list[Command] = []
        for exchange in vhost.exchanges.values():
            if not exchange.durable:
                continue
            if exchange.name not in PREDECLARED_NAMES:
                commands.append(_declared_exchange(vhost, exchange))
            bindings.extend(_durable_bindings(vhost, exchange))
        for queue in vhost.queues.values():
            if queue.durable:
                commands.append(_declared_queue(vhost, queue))
                brake = queue.brake
                if brake is not None and brake.paused_until != 0:
                    commands.append(PauseQueue(vhost.name, queue.name, int(brake.paused_until), brake.reason))
            if isinstance(queue, StreamQueue):
                commands.extend(
                    StoreOffset(vhost.name, queue.name, name, offset)
                    for name, offset in queue.offsets.items()
                )
        commands.extend(
            DeclareWindow(
                vhost.name,
                window.owner_name,
                window.of_exchange,
                window.id,
                True,
                window.known.header,
                window.salt.hex(),
            )
            for window in vhost.windows.values()
            if window.durable
        )
        if vhost.delays is not None:
            for delayed in vhost.delays.queues.values():
                commands.append(DeclareDelays(vhost.name, delayed.name, int(delayed.id)))
        commands.extend(bindings)
    commands.extend(ChangeAccess(kind, change) for kind, change in broker.access.changes())
    return commands


def _settings(vhost: Vhost) -> list[Command]:
    """List what is set for a virtual host as a whole; before its queues, so that they find it."""
    commands: list[Command] = []
    if vhost.default_queue_type:
        commands.append(SetVhostDefaultQueueType(vhost.name, vhost.default_queue_type))
    if vhost.limits:
        commands.append(SetVhostLimits(vhost.name, vhost.limits))
    if vhost.metadata:
        commands.append(SetVhostMetadata(vhost.name, vhost.metadata))
    for operator in (False, True):
        for policy in vhost.policies.kind(operator).all():
            commands.append(SetPolicy(vhost.name, *policy, operator))
    return commands


def _declared_exchange(vhost: Vhost, exchange: Exchange) -> Command:
    return DeclareExchange(
        vhost.name,
        exchange.name,
        exchange.type_name,
        True,
        exchange.auto_delete,
        exchange.internal,
        exchange.arguments,
    )


def _declared_queue(vhost: Vhost, queue: Queue) -> Command:
    return DeclareQueue(
        vhost.name, queue.name, queue.id, queue.type_name, True, 0, queue.auto_delete, queue.arguments
    )


def _durable_bindings(vhost: Vhost, exchange: Exchange) -> list[Command]:
    found: list[Command] = []
    for binding in exchange.bindings.values():
        end = binding.destination
        if isinstance(end, Queue | Exchange) and end.durable:
            found.append(
                Bind(
                    vhost.name,
                    exchange.name,
                    end.name,
                    isinstance(end, Queue),
                    binding.routing_key,
                    binding.arguments,
                )
            )
    return found
