"""What a queue or exchange goes by: arguments, policy and operator policy made one.

For each key, operator policy and policy are merged first, then the argument joins in; ``arguments.py`` says
for each which value counts.  So on RabbitMQ: of numbers the lowest, of names the argument's, but the policy's
overflow in quorum queues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from harebell.content.table import Table
from harebell.engine.argument_checks import interval_ms, interval_of
from harebell.engine.arguments import (
    ALTERNATE_EXCHANGE,
    EXCHANGE_OPTION_ROWS,
    POLICY_KEYS,
    QUEUE_ARGUMENTS,
    QueueArgument,
)
from harebell.engine.options import DROP_HEAD, REJECT_PUBLISH_DLX, ExchangeOptions, QueueOptions

if TYPE_CHECKING:
    from harebell.engine.policies import Policy

QUORUM_DELIVERY_LIMIT: Final = 20
"""Deliveries a quorum queue allows unless it is told otherwise (RabbitMQ 4.x)."""

ARGUMENT: Final = "argument"
POLICY: Final = "policy"
OPERATOR_POLICY: Final = "operator policy"
DEFAULT: Final = "default"
"""Where an effective value comes from."""

INTERVAL: Final = "deduplication_interval"

OPTION_NAMES: Final = tuple(row.option for row in QUEUE_ARGUMENTS if row.option)
"""Every attribute of :class:`QueueOptions`."""

_KEYS: Final = {row: _key for row in QUEUE_ARGUMENTS for _key in [row.key.removeprefix("x-")]}
_OPTION_ROWS: Final = tuple(row for row in QUEUE_ARGUMENTS if row.option)
_OPTION_ARGUMENTS: Final = frozenset(row.key for row in _OPTION_ROWS)


class EffectiveValue(NamedTuple):
    """One value a queue or exchange goes by.

    Attributes:
        key: the key, as policies spell it.
        value: what counts.
        origin: ``argument``, ``policy``, ``operator policy`` or ``default``.
        name: of the policy it comes from, else empty.
    """

    key: str
    value: object
    origin: str
    name: str


def same_options(options: QueueOptions, others: QueueOptions) -> bool:
    """Tell whether every option has the same value in both."""
    return options is others or all(getattr(options, name) == getattr(others, name) for name in OPTION_NAMES)


def has_options(arguments: Table) -> bool:
    """Tell whether some argument of a queue sets an option."""
    return any(key in _OPTION_ARGUMENTS for key in arguments)


def effective_policy(
    policy: Policy | None, operator: Policy | None, type_name: str
) -> dict[str, EffectiveValue]:
    """Merge a policy with an operator policy: the value of every key either of them sets, and whose it is."""
    found: dict[str, EffectiveValue] = {}
    if policy is not None:
        for key, value in policy.definition.items():
            found[key] = EffectiveValue(key, value, POLICY, policy.name)
    if operator is not None:
        for key, value in operator.definition.items():
            theirs = found.get(key)
            if theirs is None or _operator_first(key, value, theirs.value, type_name):
                found[key] = EffectiveValue(key, value, OPERATOR_POLICY, operator.name)
    return found


def _operator_first(key: str, value: object, theirs: object, type_name: str) -> bool:
    if isinstance(value, int) and isinstance(theirs, int):
        return POLICY_KEYS[key].before(value, theirs, type_name)
    return True


def effective_values(
    type_name: str, arguments: Table, policy: Policy | None, operator: Policy | None
) -> list[EffectiveValue]:
    """List every option a queue has a value for, and where each comes from.

    Args:
        type_name: the queue's type.
        arguments: as declared, already checked.
        policy, operator: those that apply to it.
    """
    merged = effective_policy(policy, operator, type_name)
    values: list[EffectiveValue] = []
    for row in _OPTION_ROWS:
        found = _effective(row, arguments, merged, type_name)
        if found is not None:
            values.append(found)
        elif row.option == "delivery_limit" and type_name == "quorum":
            values.append(EffectiveValue(_KEYS[row], QUORUM_DELIVERY_LIMIT, DEFAULT, ""))
    return values


def _effective(
    row: QueueArgument, arguments: Table, merged: Mapping[str, EffectiveValue], type_name: str
) -> EffectiveValue | None:
    if type_name not in row.types:
        return None
    key = _KEYS[row]
    by = row.policy
    theirs = None if by is None else merged.get(by.key or key)
    ours = arguments.get(row.key)
    if row.key not in arguments:
        return theirs
    if by is not None and theirs is not None and by.before_argument(theirs.value, ours, type_name):
        return theirs
    return EffectiveValue(key, ours, ARGUMENT, "")


def effective_options(
    type_name: str, arguments: Table, policy: Policy | None, operator: Policy | None
) -> QueueOptions:
    """Work out the options of a queue; arguments as for :func:`effective_values`."""
    options = QueueOptions()
    values = {value.key: value.value for value in effective_values(type_name, arguments, policy, operator)}
    for row in _OPTION_ROWS:
        if _KEYS[row] in values:
            value = values[_KEYS[row]]
            if row.option == "max_age":
                value = interval_ms(str(value))
            elif row.option == INTERVAL:
                value = interval_of(value)
            setattr(options, row.option, value)
    if type_name == "quorum" and options.overflow == REJECT_PUBLISH_DLX:
        # Quorum queues take it and go by the default (observed on RabbitMQ).
        options.overflow = DROP_HEAD
    return options


def effective_exchange_values(arguments: Table, policy: Policy | None) -> list[EffectiveValue]:
    """List every option an exchange has a value for: its argument's, else its policy's."""
    values: list[EffectiveValue] = []
    for row in EXCHANGE_OPTION_ROWS:
        key = row.key.removeprefix("x-")
        if row.key in arguments:
            values.append(EffectiveValue(key, arguments[row.key], ARGUMENT, ""))
        elif policy is not None and row.policy is not None and (row.policy.key or key) in policy.definition:
            values.append(EffectiveValue(key, policy.definition[row.policy.key or key], POLICY, policy.name))
    return values


def effective_exchange_options(values: list[EffectiveValue], delayed: bool = False) -> ExchangeOptions | None:
    """Work out the options of an exchange; None if nothing is set.

    Args:
        values: what it has values for.
        delayed: True if its type says that it delays messages, whatever else is set.
    """
    if not values and not delayed:
        return None
    options = ExchangeOptions()
    rows = {row.key.removeprefix("x-"): row for row in EXCHANGE_OPTION_ROWS}
    for value in values:
        row = rows[value.key]
        setattr(options, row.option, interval_of(value.value) if row.option == INTERVAL else value.value)
    options.delayed = options.delayed or delayed or options.delay > 0
    return options


def effective_alternate(arguments: Table, policy: Policy | None) -> EffectiveValue | None:
    """Give the alternate exchange an exchange goes by, or None: its argument's, else its policy's."""
    argument = arguments.get(ALTERNATE_EXCHANGE)
    if isinstance(argument, str):
        return EffectiveValue(ALTERNATE_EXCHANGE, argument, ARGUMENT, "")
    named = None if policy is None else policy.definition.get(ALTERNATE_EXCHANGE)
    if policy is not None and isinstance(named, str):
        return EffectiveValue(ALTERNATE_EXCHANGE, named, POLICY, policy.name)
    return None
