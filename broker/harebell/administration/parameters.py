"""Parameters of virtual hosts and of the node: JSON values by component and name.

What the engine keeps itself, operator policies, policies and limits of virtual hosts, shows as parameters and
can be set as such, as on RabbitMQ.  The values of other components are kept and shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from harebell.administration.administration import Administration
from harebell.administration.schedule import Schedule
from harebell.administration.vhosts import find_vhost
from harebell.content.table import Table
from harebell.engine.commands import ClearParameter, SetParameter, SetVhostLimits
from harebell.engine.metadata import SCHEDULE
from harebell.engine.policies import ALL, Policy
from harebell.engine.policy_checks import check_policy, check_vhost_limits, invalid
from harebell.engine.policy_control import clear_policy, set_policy, set_vhost_limits
from harebell.engine.vhost import Vhost
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError, MalformedContent

POLICY: Final = "policy"
OPERATOR_POLICY: Final = "operator_policy"
VHOST_LIMITS: Final = "vhost-limits"
LIMITS: Final = "limits"
"""The one name a parameter of ``vhost-limits`` has."""

KEPT: Final = ("federation", "federation-upstream", "federation-upstream-set", "shovel", SCHEDULE)
"""Components whose parameters are kept and shown."""

GLOBAL: Final = ("", "")
"""Virtual host and component of global parameters."""

DEFINITIONS_HASH: Final = "imported_definition_hash_value"
"""Global parameter that remembers which definitions were imported at start, as RabbitMQ calls it."""

MAX_NAME: Final = 255
MAX_VALUE: Final = 1024 * 1024
"""Octets of a value as JSON."""

MAX_PARAMETERS: Final = 100_000


def set_parameter(admin: Administration, vhost: str, component: str, name: str, value: object) -> int:
    """Set a parameter; who may do so is for the caller to check.

    Returns:
        The lsn to wait for, 0 if nothing changed.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host; PRECONDITION_FAILED for an unknown component, for
            policies, which are set elsewhere, and for a value that is wrong.
    """
    value = normal_value(component, value)
    check_parameter(component, name, value)
    if component not in (POLICY, OPERATOR_POLICY, VHOST_LIMITS, *KEPT):
        raise invalid(f"component {component} not found")
    return store_parameter(admin, vhost, component, name, value)


def normal_value(component: str, value: object) -> object:
    """Give a value as it is kept: RabbitMQ writes limits that are none as an empty list."""
    return {} if component == VHOST_LIMITS and value == [] else value


def check_parameter(component: str, name: str, value: object) -> None:
    """Check a parameter as far as that goes without a virtual host; any component is fine.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    if component == POLICY:
        raise BrokerError(PRECONDITION_FAILED, "policies may not be set using this method")
    if component == OPERATOR_POLICY:
        check_policy(name, *policy_fields(value), operator=True)
    elif component == VHOST_LIMITS:
        if name != LIMITS:
            raise invalid(f"the name of a parameter of {VHOST_LIMITS} is {LIMITS}")
        check_vhost_limits(value)
    else:
        _check_name(component)
        _check_name(name)
        _json(value)
        if component == SCHEDULE:
            Schedule(value)


def store_parameter(admin: Administration, vhost: str, component: str, name: str, value: object) -> int:
    """Set a parameter that was checked, of whatever component.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host; PRECONDITION_FAILED if there are too many.
    """
    found = find_vhost(admin, vhost)
    if parameter_value(admin, found, component, name) == (value,):
        return 0
    if component == OPERATOR_POLICY:
        pattern, apply_to, definition, priority = policy_fields(value)
        return set_policy(
            admin.broker,
            vhost,
            name,
            pattern,
            definition,
            priority=priority,
            apply_to=apply_to,
            operator=True,
        )
    if component == VHOST_LIMITS:
        return set_vhost_limits(admin.broker, vhost, value)
    return _store(admin, (vhost, component, name), value)


def _store(admin: Administration, place: tuple[str, str, str], value: object) -> int:
    if place not in admin.broker.parameters and len(admin.broker.parameters) >= MAX_PARAMETERS:
        raise BrokerError(PRECONDITION_FAILED, f"limit of {MAX_PARAMETERS} parameters is reached")
    return admin.broker.commit(SetParameter(*place, _json(value)), durable=True)


def policy_fields(value: object) -> tuple[object, object, object, object]:
    """Give pattern, apply-to, definition and priority of a policy in the form of a parameter."""
    fields = value if isinstance(value, dict) else {}
    return (
        fields.get("pattern"),
        fields.get("apply-to", ALL),
        fields.get("definition"),
        fields.get("priority", 0),
    )


def parameter_value(admin: Administration, vhost: Vhost, component: str, name: str) -> tuple[object] | None:
    """Give the value of a parameter, which may be null, in a tuple; None if there is no such parameter."""
    if component in (POLICY, OPERATOR_POLICY):
        policy = vhost.policies.kind(component == OPERATOR_POLICY).get(name)
        return None if policy is None else (_policy_value(policy),)
    if component == VHOST_LIMITS:
        return (dict(vhost.limits),) if vhost.limits and name == LIMITS else None
    text = admin.broker.parameters.get((vhost.name, component, name))
    return None if text is None else (orjson.loads(text),)


def clear_parameter(admin: Administration, vhost: str, component: str, name: str) -> int:
    """Remove a parameter.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or parameter.
    """
    found = find_vhost(admin, vhost)
    if component in (POLICY, OPERATOR_POLICY):
        return clear_policy(admin.broker, vhost, name, operator=component == OPERATOR_POLICY)
    if parameter_value(admin, found, component, name) is None:
        raise _missing(name)
    if component == VHOST_LIMITS:
        return admin.broker.commit(SetVhostLimits(vhost, {}), durable=True)
    return admin.broker.commit(ClearParameter(vhost, component, name), durable=True)


def get_parameter(admin: Administration, vhost: str, component: str, name: str) -> Table:
    """Show one parameter.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host or parameter.
    """
    found = parameter_value(admin, find_vhost(admin, vhost), component, name)
    if found is None:
        raise _missing(name)
    return _shown(vhost, component, name, found[0])


def list_parameters(
    admin: Administration, component: str | None = None, vhost: str | None = None
) -> list[Table]:
    """List parameters by virtual host and component; policies only if they are asked for, as on RabbitMQ.

    Raises:
        BrokerError: NOT_FOUND without such a virtual host.
    """
    vhosts = admin.broker.vhosts if vhost is None else {vhost: find_vhost(admin, vhost)}
    found = [row for one in vhosts.values() for row in _of_engine(one, component)]
    for (place, kind, name), text in admin.broker.parameters.items():
        if kind and place in vhosts and component in (None, kind):
            found.append(_shown(place, kind, name, orjson.loads(text)))
    return found


def _of_engine(vhost: Vhost, component: str | None) -> Iterator[Table]:
    if vhost.limits and component in (None, VHOST_LIMITS):
        yield _shown(vhost.name, VHOST_LIMITS, LIMITS, dict(vhost.limits))
    if component in (None, OPERATOR_POLICY):
        for policy in vhost.policies.operator.all():
            yield _shown(vhost.name, OPERATOR_POLICY, policy.name, _policy_value(policy))
    if component == POLICY:
        for policy in vhost.policies.regular.all():
            yield _shown(vhost.name, POLICY, policy.name, _policy_value(policy))


def _policy_value(policy: Policy) -> Table:
    return {
        "pattern": policy.pattern,
        "definition": dict(policy.definition),
        "priority": policy.priority,
        "apply-to": policy.apply_to,
    }


def _shown(vhost: str, component: str, name: str, value: object) -> Table:
    return {"value": value, "vhost": vhost, "component": component, "name": name}


# Global parameters ------------------------------------------------------------------------------------


def set_global_parameter(admin: Administration, name: str, value: object) -> int:
    """Set a global parameter.

    Raises:
        BrokerError: PRECONDITION_FAILED for a name that is too long or a value that cannot be kept.
    """
    check_global_parameter(name, value)
    if admin.broker.parameters.get((*GLOBAL, name)) == _json(value):
        return 0
    return _store(admin, (*GLOBAL, name), value)


def check_global_parameter(name: str, value: object) -> None:
    """Check a global parameter.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    _check_name(name)
    _json(value)


def clear_global_parameter(admin: Administration, name: str) -> int:
    """Remove a global parameter.

    Raises:
        BrokerError: NOT_FOUND.
    """
    if (*GLOBAL, name) not in admin.broker.parameters:
        raise _missing(name)
    return admin.broker.commit(ClearParameter(*GLOBAL, name), durable=True)


def get_global_parameter(admin: Administration, name: str) -> Table:
    """Show one global parameter.

    Raises:
        BrokerError: NOT_FOUND.
    """
    text = admin.broker.parameters.get((*GLOBAL, name))
    if text is None:
        raise _missing(name)
    return {"value": orjson.loads(text), "name": name}


def list_global_parameters(admin: Administration) -> list[Table]:
    """List the global parameters by name."""
    found = {name: text for (*place, name), text in admin.broker.parameters.items() if tuple(place) == GLOBAL}
    return [{"name": name, "value": orjson.loads(found[name])} for name in sorted(found)]


def _missing(name: str) -> BrokerError:
    return BrokerError(NOT_FOUND, f"no parameter '{name}'")


def _check_name(name: str) -> None:
    try:
        good = 0 < len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME
    except UnicodeEncodeError:
        good = False
    if not good:
        raise invalid(f"the names of a parameter and its component have 1 to {MAX_NAME} octets")


def _json(value: object) -> str:
    """Write a value as JSON.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    try:
        text = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError, MalformedContent):
        raise invalid("the value cannot be written as JSON") from None
    if len(text) > MAX_VALUE:
        raise invalid(f"the value has more than {MAX_VALUE} octets")
    return text.decode()
