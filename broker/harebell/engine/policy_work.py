"""Policies at work: queues and exchanges take over what applies to them.

A new queue or exchange does so at once.  When a policy changes, all objects of the virtual host have to be
looked at; ``step`` does so in chunks, between which the broker serves its clients.  A change that comes
while work is left starts no new round: what has been looked at since is right already, and one more round
over all follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harebell.engine.deduplicating import settle
from harebell.engine.effective import (
    effective_alternate,
    effective_exchange_options,
    effective_exchange_values,
    same_options,
)
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost

if TYPE_CHECKING:
    from harebell.engine.broker import Broker

STEP_BUDGET: Final = 6_000
"""Effort of one step, in matches of a pattern: one or two milliseconds."""

OBJECT_EFFORT: Final = 32
"""What looking at an object takes beside the matches."""


def refresh_queue(broker: Broker, vhost: Vhost, queue: Queue) -> None:
    """Give a queue the options its arguments and the policies come to now."""
    policy, operator, options = vhost.policies.applied(queue.name, queue.type_name, queue.arguments)
    queue.policy = None if policy is None else policy.name
    queue.operator_policy = None if operator is None else operator.name
    if not same_options(queue.options, options):
        careful = queue.careful
        queue.apply_options(options)
        if queue.careful != careful:
            # Routes say how closely messages are looked at.
            vhost.topology_changed()
        if options.consumer_timeout >= 0:
            broker.own_timeouts = True
    expires = max(int(options.expires), 0)
    if expires != queue.expires:
        queue.expires = expires
        # A queue long unused gets the whole time once more, as on RabbitMQ.
        queue.last_used = broker.clock.now
        if expires:
            vhost.expiring[queue] = None
        else:
            vhost.expiring.pop(queue, None)


def refresh_exchange(vhost: Vhost, exchange: Exchange) -> bool:
    """Give an exchange what its arguments and the policies come to now; True if routes follow from it."""
    policy = vhost.policies.regular.for_exchange(exchange.name)
    found = effective_alternate(exchange.arguments, policy)
    alternate = None if found is None else str(found.value)
    effective = effective_exchange_values(exchange.own_arguments(), policy)
    values = [(value.key, value.value) for value in effective]
    missing = exchange.delays_always and exchange.options is None
    changed = missing or alternate != exchange.alternate or values != exchange.option_values
    exchange.alternate = alternate
    if changed:
        exchange.option_values = values
        exchange.options = effective_exchange_options(effective, exchange.delays_always)
    return changed


def pending(broker: Broker) -> bool:
    """Tell whether some object has yet to follow a change of policies."""
    return any(vhost.policies_changed or vhost.policy_work for vhost in broker.vhosts.values())


def step(broker: Broker, budget: int = STEP_BUDGET, enough: Callable[[], bool] | None = None) -> bool:
    """Let some objects follow the changes of policies.

    Args:
        budget: effort to spend.
        enough: asked after each object; True ends the step, for patterns that take longer than usual.

    Returns:
        True if some are left: call again soon.
    """
    for vhost in list(broker.vhosts.values()):
        if budget <= 0:
            break
        if vhost.policies_changed or vhost.policy_work:
            budget = _work(broker, vhost, budget, enough)
    return pending(broker)


def finish(broker: Broker) -> None:
    """Let every object follow at once: after recovery, before clients are served."""
    while step(broker):
        pass


def _work(broker: Broker, vhost: Vhost, budget: int, enough: Callable[[], bool] | None) -> int:
    effort = OBJECT_EFFORT + len(vhost.policies.regular) + len(vhost.policies.operator)
    rerouted = False
    while budget > 0:
        if not vhost.policy_work:
            if not vhost.policies_changed:
                break
            vhost.policies_changed = False
            vhost.policy_work = [*vhost.queues.values(), *vhost.exchanges.values()]
        budget -= effort
        found = vhost.policy_work.pop()
        if isinstance(found, Queue):
            if not found.deleted:
                refresh_queue(broker, vhost, found)
                settle(broker, vhost, found)
        elif isinstance(found, Exchange) and vhost.exchanges.get(found.name) is found:
            rerouted = refresh_exchange(vhost, found) or rerouted
            settle(broker, vhost, found)
        if enough is not None and enough():
            budget = 0
    if rerouted:
        vhost.topology_changed()
    return budget
