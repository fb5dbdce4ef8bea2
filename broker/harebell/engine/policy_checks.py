"""What policies and limits of virtual hosts may say, refused in RabbitMQ's words.

Texts and order were observed on RabbitMQ 3.10: what is wrong with the definition, ``apply-to``, pattern and
priority comes in one error, a line each, under "Validation failed".
"""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table, encode_value
from harebell.engine.arguments import POLICY_KEYS, SUPPORTED_TYPES
from harebell.engine.erlang_terms import pairs, term
from harebell.engine.name_patterns import BadPattern, NamePattern
from harebell.engine.policies import QUEUE_KINDS
from harebell.errors import PRECONDITION_FAILED, BrokerError, MalformedContent

MAX_NAME: Final = 255
"""Octets of a policy's name."""

LARGEST: Final = 2**63 - 1

MAX_QUEUES: Final = "max-queues"
MAX_CONNECTIONS: Final = "max-connections"
VHOST_LIMITS: Final = (MAX_CONNECTIONS, MAX_QUEUES)
"""The limits a virtual host can have."""


def invalid(*reasons: str) -> BrokerError:
    """Build the refusal of a policy or a limit."""
    return BrokerError(PRECONDITION_FAILED, "Validation failed\n\n" + "\n".join(reasons) + "\n")


def check_policy(
    name: object, pattern: object, apply_to: object, definition: object, priority: object, operator: bool
) -> None:
    """Check a policy as it comes from outside; nothing about the values is known.

    Raises:
        BrokerError: PRECONDITION_FAILED with everything that is wrong.
    """
    reasons = _definition_problems(definition, operator)
    if not isinstance(apply_to, str) or apply_to not in QUEUE_KINDS:
        shown = f"'{apply_to}'" if isinstance(apply_to, str) else term(apply_to)
        kinds = ", ".join(f"'{kind}'" for kind in QUEUE_KINDS)
        reasons.append(f"apply-to {shown} unrecognised; should be one of {kinds}")
    reasons += _pattern_problems(pattern)
    if type(priority) is not int or abs(priority) > LARGEST:
        reasons.append(f"priority should be a number, actually was {term(priority)}")
    if not _fits(name):
        reasons.append(f"name should be text of at most {MAX_NAME} bytes, actually was {term(name)}")
    if reasons:
        raise invalid(*reasons)


def _fits(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return len(value.encode()) <= MAX_NAME
    except UnicodeEncodeError:
        return False


def _pattern_problems(pattern: object) -> list[str]:
    if not isinstance(pattern, str):
        return [f"pattern should be a binary but was {term(pattern)}"]
    try:
        pattern.encode()
        NamePattern(pattern)
    except (BadPattern, UnicodeEncodeError) as error:
        return [f"pattern should be regular expression but is invalid: {error}"]
    return []


def _definition_problems(definition: object, operator: bool) -> list[str]:
    if not isinstance(definition, dict):
        return [f"definition should be an object, actually was {term(definition)}"]
    if not definition:
        return ["no policy provided"]
    unknown = unknown_settings(definition, operator)
    if unknown:
        return [f"{pairs(unknown)} are not recognised policy settings"]
    for key, value in definition.items():
        known = POLICY_KEYS[key]
        try:
            good = known.check(value) is None
            # The journal has to take it: no number beyond 64 bits, no half of a surrogate pair.
            encode_value(value)
        except (UnicodeEncodeError, MalformedContent):
            good = False
        if not good:
            return [f"{term(value)} is not a valid {known.what}"]
    return []


def unknown_settings(definition: Table, operator: bool) -> Table:
    """Give what a definition holds that policies, or operator policies, cannot say."""
    unknown: Table = {}
    for key, value in definition.items():
        known = POLICY_KEYS.get(key)
        if known is None or (operator and not known.operator):
            unknown[key] = value
    return unknown


def check_vhost_limits(limits: object) -> None:
    """Check the limits of a virtual host; a negative one is no limit.

    Raises:
        BrokerError: PRECONDITION_FAILED for an unknown limit or one that is not a whole number.
    """
    if not isinstance(limits, dict):
        raise invalid(f"limits should be an object, actually was {term(limits)}")
    unknown = {key: value for key, value in limits.items() if key not in VHOST_LIMITS}
    if unknown:
        raise invalid(f"Unrecognised terms {pairs(unknown)} in limits")
    for key, value in limits.items():
        if type(value) is not int or abs(value) > LARGEST:
            raise invalid(f"{key} should be a number, actually was {term(value)}")


def check_default_queue_type(type_name: object) -> None:
    """Check the default queue type of a virtual host; empty for the node's.

    Raises:
        BrokerError: PRECONDITION_FAILED for a type this node does not offer.
    """
    if type_name != "" and type_name not in SUPPORTED_TYPES:
        raise BrokerError(PRECONDITION_FAILED, f"invalid queue type {term(type_name)}")
