"""Setting, clearing and listing policies and the limits of virtual hosts.

For embedded use and the HTTP API, whose JSON the listings already resemble; who may do so is for the caller
to check.  Each change is checked, committed, and returns the lsn its answer waits for.
"""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table
from harebell.engine.broker import Broker
from harebell.engine.commands import ClearPolicy, SetPolicy, SetVhostDefaultQueueType, SetVhostLimits
from harebell.engine.effective import (
    EffectiveValue,
    effective_alternate,
    effective_policy,
    effective_values,
)
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.policies import ALL, Policy
from harebell.engine.policy_checks import (
    check_default_queue_type,
    check_policy,
    check_vhost_limits,
    invalid,
)
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, BrokerError

MAX_POLICIES: Final = 1000
"""Policies, and operator policies, of one virtual host: every queue is matched against them."""


def set_policy(
    broker: Broker,
    vhost: str,
    name: str,
    pattern: object,
    definition: object,
    *,
    priority: object = 0,
    apply_to: object = ALL,
    operator: bool = False,
) -> int:
    """Add a policy, or replace the one of that name; existing queues and exchanges follow within moments.

    Args:
        vhost: the virtual host.
        name: unique among its policies, or its operator policies.
        pattern: regular expression on names.
        definition: value by policy key.
        priority: of all that match, the policy with the highest applies.
        apply_to: what kinds of objects.
        operator: True for an operator policy.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host; PRECONDITION_FAILED with all that is wrong.
    """
    found = _vhost(broker, vhost)
    check_policy(name, pattern, apply_to, definition, priority, operator)
    known = found.policies.kind(operator)
    if known.get(name) is None and len(known) >= MAX_POLICIES:
        raise invalid(f"limit of {MAX_POLICIES} policies in vhost '{vhost}' is reached")
    assert isinstance(pattern, str) and isinstance(apply_to, str)
    assert isinstance(definition, dict) and isinstance(priority, int)
    command = SetPolicy(vhost, name, pattern, apply_to, dict(definition), priority, operator)
    return broker.commit(command, durable=True)


def clear_policy(broker: Broker, vhost: str, name: str, *, operator: bool = False) -> int:
    """Remove a policy.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or policy.
    """
    if _vhost(broker, vhost).policies.kind(operator).get(name) is None:
        raise BrokerError(NOT_FOUND, f"no policy '{name}' in vhost '{vhost}'")
    return broker.commit(ClearPolicy(vhost, name, operator), durable=True)


def list_policies(broker: Broker, vhost: str | None = None, *, operator: bool = False) -> list[Table]:
    """List the policies of one virtual host, or of all, in the order in which they are tried.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host.
    """
    vhosts = list(broker.vhosts.values()) if vhost is None else [_vhost(broker, vhost)]
    return [_listed(one.name, policy) for one in vhosts for policy in one.policies.kind(operator).all()]


def get_policy(broker: Broker, vhost: str, name: str, *, operator: bool = False) -> Table:
    """Show one policy.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or policy.
    """
    policy = _vhost(broker, vhost).policies.kind(operator).get(name)
    if policy is None:
        raise BrokerError(NOT_FOUND, f"no policy '{name}' in vhost '{vhost}'")
    return _listed(vhost, policy)


def _listed(vhost: str, policy: Policy) -> Table:
    return {
        "vhost": vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def queue_policies(vhost: Vhost, queue: Queue) -> Table:
    """Show the policies of a queue as the HTTP API does: their names, and what they come to together."""
    applied = vhost.policies.applied(queue.name, queue.type_name, queue.arguments)
    merged = effective_policy(applied.policy, applied.operator, queue.type_name)
    return {
        "policy": None if applied.policy is None else applied.policy.name,
        "operator_policy": None if applied.operator is None else applied.operator.name,
        "effective_policy_definition": {key: merged[key].value for key in sorted(merged)},
    }


def explain_queue(vhost: Vhost, queue: Queue) -> list[EffectiveValue]:
    """List what a queue goes by, and for each value whether argument, policy or default set it."""
    applied = vhost.policies.applied(queue.name, queue.type_name, queue.arguments)
    return effective_values(queue.type_name, queue.arguments, applied.policy, applied.operator)


def exchange_policy(vhost: Vhost, exchange: Exchange) -> str | None:
    """Give the name of the policy that applies to an exchange."""
    policy = vhost.policies.regular.for_exchange(exchange.name)
    return None if policy is None else policy.name


def explain_exchange(vhost: Vhost, exchange: Exchange) -> list[EffectiveValue]:
    """List what an exchange goes by, and what set it."""
    policy = vhost.policies.regular.for_exchange(exchange.name)
    found = effective_alternate(exchange.arguments, policy)
    return [] if found is None else [found]


def set_vhost_limits(broker: Broker, vhost: str, limits: object) -> int:
    """Set all limits of a virtual host; those not named are lifted, and a negative one is no limit.

    Args:
        limits: ``max-queues``, ``max-connections``, both or neither.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host; PRECONDITION_FAILED for anything else.
    """
    _vhost(broker, vhost)
    check_vhost_limits(limits)
    assert isinstance(limits, dict)
    return broker.commit(SetVhostLimits(vhost, dict(limits)), durable=True)


def set_vhost_limit(broker: Broker, vhost: str, name: str, value: object) -> int:
    """Set one limit of a virtual host and leave the other; errors as for :func:`set_vhost_limits`."""
    return set_vhost_limits(broker, vhost, {**_vhost(broker, vhost).limits, name: value})


def clear_vhost_limit(broker: Broker, vhost: str, name: str) -> int:
    """Lift one limit of a virtual host; one that is not set is fine.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host.
    """
    limits = _vhost(broker, vhost).limits
    if name not in limits:
        return 0
    left = {key: value for key, value in limits.items() if key != name}
    return broker.commit(SetVhostLimits(vhost, left), durable=True)


def list_vhost_limits(broker: Broker, vhost: str | None = None) -> list[Table]:
    """List the limits of one virtual host, or of all that have any.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host.
    """
    vhosts = list(broker.vhosts.values()) if vhost is None else [_vhost(broker, vhost)]
    return [{"vhost": one.name, "value": dict(one.limits)} for one in vhosts if one.limits]


def set_default_queue_type(broker: Broker, vhost: str, type_name: str) -> int:
    """Set the type of queues that a virtual host's clients declare without one; empty for the node's default.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host; PRECONDITION_FAILED for an unknown type.
    """
    _vhost(broker, vhost)
    check_default_queue_type(type_name)
    return broker.commit(SetVhostDefaultQueueType(vhost, type_name), durable=True)


def _vhost(broker: Broker, name: str) -> Vhost:
    found = broker.vhosts.get(name)
    if found is None:
        raise BrokerError(NOT_FOUND, f"vhost '{name}' not found")
    return found
