"""Every ``x-`` argument of queues, exchanges and consumers: one row each.

A row names the key, the queue types that know it, how its value is checked, whether a redeclaration must
repeat it, which option of a queue it feeds, and its policy key with the rule by which argument, policy and
operator policy become one value.  Declaration checks, equivalence on redeclare, policies and the generated
reference (``docs/arguments.md``) all read these rows.  Values are RabbitMQ's (its queue, consumer and
exchange argument tables, its policy validators); numbers arrive in any integer width and are compared by
value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from harebell.content.table import Table
from harebell.errors import PRECONDITION_FAILED, BrokerError

TEN_YEARS_MS: Final = 315_360_000_000
CLASSIC: Final = frozenset({"classic"})
QUORUM: Final = frozenset({"quorum"})
CLASSIC_AND_QUORUM: Final = CLASSIC | QUORUM
STREAM: Final = frozenset({"stream"})
ALL_TYPES: Final = CLASSIC | QUORUM | STREAM

QUEUE_TYPE: Final = "x-queue-type"
EXPIRES: Final = "x-expires"
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
DEAD_LETTER_ROUTING_KEY: Final = "x-dead-letter-routing-key"
SINGLE_ACTIVE_CONSUMER: Final = "x-single-active-consumer"
ALTERNATE_EXCHANGE: Final = "alternate-exchange"
"""Keys other modules look at."""

Check = Callable[[object], str | None]
"""Gives None if the value is good, else what is wrong with it."""


def integer(low: int, high: int = 2**63 - 1) -> Check:
    """Check for a whole number within bounds, both included; a timestamp is none."""

    def check(value: object) -> str | None:
        if type(value) is not int:
            return f"expected a number, got {value!r}"
        if not low <= value <= high:
            return f"{value} is not between {low} and {high}"
        return None

    return check


def one_of(*allowed: str) -> Check:
    """Check for one of a few strings."""

    def check(value: object) -> str | None:
        return None if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"

    return check


def text(value: object) -> str | None:
    """Check for a string."""
    return None if isinstance(value, str) else f"expected a string, got {value!r}"


def short_text(value: object) -> str | None:
    """Check for a name: a string that fits a short string on the wire."""
    if not isinstance(value, str):
        return f"expected a string, got {value!r}"
    return None if len(value.encode("utf-8", "surrogateescape")) <= 255 else "longer than 255 bytes"


def boolean(value: object) -> str | None:
    """Check for true or false."""
    return None if isinstance(value, bool) else f"expected true or false, got {value!r}"


def age(value: object) -> str | None:
    """Check for a stream's maximum age such as ``7D``: a number and one unit of Y M D h m s."""
    if isinstance(value, str) and len(value) > 1 and value[-1] in "YMDhms" and value[:-1].isdecimal():
        return None
    return f"{value!r} is not a number followed by one of Y, M, D, h, m, s"


def anything(value: object) -> str | None:
    """Accept any value: the argument has no effect here."""
    return None


def mirrored_nodes(value: object) -> str | None:
    """Check for the parameter of classic mirroring: a number, or a list of node names."""
    if type(value) is int or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return None
    return f"expected a number or a list of names, got {value!r}"


Preference = Callable[[object, object, str], bool]
"""Tells whether a policy's value goes before an argument's in a queue of a type."""


def lower(policy: object, argument: object, type_name: str) -> bool:
    """The lower number counts, whoever set it."""
    return isinstance(policy, int) and isinstance(argument, int) and policy < argument


def lower_limit(policy: object, argument: object, type_name: str) -> bool:
    """The lower number counts; a negative one is no limit, and any limit goes before none."""
    if isinstance(policy, int) and isinstance(argument, int) and (policy < 0 or argument < 0):
        return policy > argument
    return lower(policy, argument, type_name)


def argument_first(policy: object, argument: object, type_name: str) -> bool:
    """The argument counts."""
    return False


def policy_first_in_quorum(policy: object, argument: object, type_name: str) -> bool:
    """The policy counts in quorum queues, the argument in others (observed for overflow on RabbitMQ)."""
    return type_name == "quorum"


class ByPolicy(NamedTuple):
    """How a policy sets what an argument sets.

    Attributes:
        what: what a value is called when it is refused, in RabbitMQ's words.
        before_argument: whether the policy's value goes before an argument's.
        operator: True if operator policies may set it; of two numbers the rule above decides, otherwise the
            operator's value counts.
        key: the policy key; the argument's without ``x-`` if empty.
        types: queue types a policy with this key applies to; those of the argument if None.
        check: for values in policies; the argument's if None.
    """

    what: str
    before_argument: Preference = argument_first
    operator: bool = False
    key: str = ""
    types: frozenset[str] | None = None
    check: Check | None = None


class QueueArgument(NamedTuple):
    """One queue argument.

    Attributes:
        key: the argument.
        types: the queue types that take it.
        check: what values it takes.
        compared: True if a redeclaration must repeat it.
        help: one sentence for the reference.
        effective: True if it does something in this version.
        option: the attribute of ``QueueOptions`` it sets; empty if there is none.
        policy: how a policy sets the same; None if none can.
    """

    key: str
    types: frozenset[str]
    check: Check
    compared: bool
    help: str
    effective: bool = False
    option: str = ""
    policy: ByPolicy | None = None


QUEUE_ARGUMENTS: Final = (
    QueueArgument("x-queue-type", ALL_TYPES, text, True, "Queue type: classic, quorum or stream.", True),
    QueueArgument("x-expires", CLASSIC_AND_QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds of disuse after which the queue is deleted.", True, option="expires", policy=ByPolicy("queue expiry", lower, True)),
    QueueArgument("x-message-ttl", CLASSIC_AND_QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a message may wait in the queue.", option="message_ttl", policy=ByPolicy("message TTL", lower, True)),
    QueueArgument("x-dead-letter-exchange", CLASSIC_AND_QUORUM, short_text, True, "Exchange that gets dead-lettered messages.", option="dead_letter_exchange", policy=ByPolicy("dead letter exchange name")),
    QueueArgument("x-dead-letter-routing-key", CLASSIC_AND_QUORUM, short_text, True, "Routing key of dead-lettered messages; the original keys if absent.", option="dead_letter_routing_key", policy=ByPolicy("dead letter routing key")),
    QueueArgument("x-dead-letter-strategy", QUORUM, one_of("at-most-once", "at-least-once"), True, "Guarantee of dead-lettering.", option="dead_letter_strategy", policy=ByPolicy("dead letter strategy")),
    QueueArgument("x-max-length", CLASSIC_AND_QUORUM, integer(0), True, "Ready messages the queue may hold.", option="max_length", policy=ByPolicy("maximum length", lower, True)),
    QueueArgument("x-max-length-bytes", ALL_TYPES, integer(0), True, "Bytes of ready messages the queue may hold.", option="max_length_bytes", policy=ByPolicy("maximum length in bytes", lower, True)),
    QueueArgument("x-overflow", CLASSIC_AND_QUORUM, one_of("drop-head", "reject-publish", "reject-publish-dlx"), True, "What happens when a length limit is hit.", option="overflow", policy=ByPolicy("overflow value", policy_first_in_quorum, True)),
    QueueArgument("x-max-priority", CLASSIC, integer(0, 255), True, "Highest message priority the queue tells apart.", option="max_priority"),
    QueueArgument("x-single-active-consumer", CLASSIC_AND_QUORUM, boolean, True, "Serve one consumer at a time.", True, option="single_active_consumer"),
    QueueArgument("x-delivery-limit", QUORUM, integer(-1), True, "Deliveries after which a message is dead-lettered; -1 is unlimited.", option="delivery_limit", policy=ByPolicy("delivery limit", lower_limit, True)),
    QueueArgument("x-queue-mode", ALL_TYPES, one_of("default", "lazy"), False, "Accepted for older clients; without effect.", policy=ByPolicy("queue-mode value", types=CLASSIC)),
    QueueArgument("x-queue-version", CLASSIC, integer(1, 2), False, "Accepted for older clients; without effect.", policy=ByPolicy("queue-version value", types=ALL_TYPES)),
    QueueArgument("x-queue-leader-locator", ALL_TYPES, one_of("client-local", "balanced"), False, "Where a replicated queue's leader starts; without effect on one node.", policy=ByPolicy("queue leader locator value", types=QUORUM | STREAM, check=one_of("client-local", "balanced", "random", "least-leaders"))),
    QueueArgument("x-queue-master-locator", CLASSIC, text, False, "Older name of the leader locator; without effect.", policy=ByPolicy("queue master locator")),
    QueueArgument("x-max-in-memory-length", QUORUM, integer(0), False, "Accepted for older clients; without effect.", policy=ByPolicy("maximum memory in bytes", lower, True, types=CLASSIC_AND_QUORUM)),
    QueueArgument("x-max-in-memory-bytes", QUORUM, integer(0), False, "Accepted for older clients; without effect.", policy=ByPolicy("maximum memory in bytes", lower, True, types=CLASSIC_AND_QUORUM)),
    QueueArgument("x-quorum-initial-group-size", QUORUM, integer(1), False, "Replicas to start with; one node holds one copy."),
    QueueArgument("x-quorum-target-group-size", QUORUM, integer(1), False, "Replicas to aim for; one node holds one copy.", policy=ByPolicy("target group size", lower, True, key="target-group-size", check=integer(0))),
    QueueArgument("x-consumer-timeout", CLASSIC_AND_QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a consumer may hold a message unanswered.", option="consumer_timeout", policy=ByPolicy("consumer timeout", lower)),
    QueueArgument("x-consumer-disconnected-timeout", QUORUM, integer(0, TEN_YEARS_MS), False, "Accepted for newer clients; a lost consumer is known at once on one node.", policy=ByPolicy("consumer disconnected timeout", lower)),
    QueueArgument("x-delayed-retry-type", QUORUM, one_of("disabled", "all", "failed", "returned"), True, "Which returned messages wait before they are delivered again.", option="delayed_retry_type", policy=ByPolicy("delayed retry type")),
    QueueArgument("x-delayed-retry-min", QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds the first retry waits.", option="delayed_retry_min", policy=ByPolicy("delayed retry minimum", lower)),
    QueueArgument("x-delayed-retry-max", QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds a retry waits at most.", option="delayed_retry_max", policy=ByPolicy("delayed retry maximum", lower)),
    QueueArgument("x-member-placement-tag", QUORUM, text, False, "Where replicas go; one node holds one copy."),
    QueueArgument("x-max-age", STREAM, age, True, "How long a stream keeps its messages.", policy=ByPolicy("max age")),
    QueueArgument("x-stream-max-segment-size-bytes", STREAM, integer(1), True, "Size of a stream's segment files.", policy=ByPolicy("segment size", lower, check=integer(0))),
    QueueArgument("x-stream-filter-size-bytes", STREAM, integer(16, 255), True, "Size of a stream's chunk filters.", policy=ByPolicy("filter size", lower)),
    QueueArgument("x-initial-cluster-size", STREAM, integer(1), False, "Replicas to start with; one node holds one copy.", policy=ByPolicy("cluster size", lower, check=integer(0))),
)  # fmt: skip

QUEUE_ROWS: Final = {row.key: row for row in QUEUE_ARGUMENTS}

CONSUMER_ARGUMENTS: Final = {
    "x-priority": (CLASSIC_AND_QUORUM, "Higher is served first; any whole number, default 0."),
    "x-consumer-timeout": (QUORUM, "Milliseconds this consumer may hold a message unanswered."),
    "x-cancel-on-ha-failover": (ALL_TYPES, "Accepted for older clients; without effect."),
    "x-stream-offset": (STREAM, "Where a stream's consumer starts."),
    "x-stream-filter": (STREAM, "Filter values a stream's consumer wants."),
    "x-stream-match-unfiltered": (STREAM, "Also deliver messages without a filter value."),
}


class ExchangeArgument(NamedTuple):
    """One exchange argument: its key, the exchange types that know it, and what a policy does to it."""

    key: str
    types: str
    help: str
    policy: ByPolicy | None = None


EXCHANGE_ARGUMENTS: Final = (
    ExchangeArgument("alternate-exchange", "all", "Exchange that gets what this one routes nowhere.", ByPolicy("alternate exchange name", key=ALTERNATE_EXCHANGE, types=ALL_TYPES, check=short_text)),
    ExchangeArgument("hash-header", "x-consistent-hash", "Header to hash instead of the routing key."),
    ExchangeArgument("hash-property", "x-consistent-hash", "Property to hash instead of the routing key."),
    ExchangeArgument("x-hash-on", "x-consistent-hash", "Another spelling of `hash-header`."),
    ExchangeArgument("x-recent-history-length", "x-recent-history", "Messages kept for new bindings, default 20."),
)  # fmt: skip


class PolicyKey(NamedTuple):
    """One key of policy definitions.

    Attributes:
        key: as definitions spell it.
        types: queue types a policy with this key applies to; one foreign key keeps the whole policy away.
        check: what values it takes.
        what: what a value is called when it is refused.
        operator: True if operator policies may set it.
        before: whether the first of two values goes before the second.
        help: what it does.
    """

    key: str
    types: frozenset[str]
    check: Check
    what: str
    operator: bool
    before: Preference
    help: str


POLICY_ONLY: Final = (
    PolicyKey("ha-mode", CLASSIC, one_of("all", "exactly", "nodes"), "ha-mode value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("ha-params", CLASSIC, mirrored_nodes, "ha-params value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("ha-sync-mode", CLASSIC, one_of("manual", "automatic"), "ha-sync-mode value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("ha-sync-batch-size", CLASSIC, integer(1), "ha-sync-batch-size value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("ha-promote-on-shutdown", CLASSIC, one_of("when-synced", "always"), "ha-promote-on-shutdown value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("ha-promote-on-failure", CLASSIC, one_of("when-synced", "always"), "ha-promote-on-failure value", False, argument_first, "Accepted for older definitions; one node holds one copy."),
    PolicyKey("federation-upstream", ALL_TYPES, text, "federation upstream name", False, argument_first, "Accepted; federation is not in this version."),
    PolicyKey("federation-upstream-set", ALL_TYPES, text, "federation upstream set", False, argument_first, "Accepted; federation is not in this version."),
)  # fmt: skip


def _policy_keys() -> dict[str, PolicyKey]:
    keys = {row.key: row for row in POLICY_ONLY}
    for argument in QUEUE_ARGUMENTS:
        by = argument.policy
        if by is not None:
            key = by.key or argument.key.removeprefix("x-")
            check, types = by.check or argument.check, by.types or argument.types
            keys[key] = PolicyKey(key, types, check, by.what, by.operator, by.before_argument, argument.help)
    for exchange_argument in EXCHANGE_ARGUMENTS:
        by = exchange_argument.policy
        if by is not None:
            keys[by.key] = PolicyKey(
                by.key,
                by.types or ALL_TYPES,
                by.check or text,
                by.what,
                by.operator,
                by.before_argument,
                exchange_argument.help,
            )
    return keys


POLICY_KEYS: Final = _policy_keys()
"""Every key policy definitions may hold."""

SUPPORTED_TYPES: Final = ("classic", "quorum")


def queue_type(arguments: Table, default: str, name: str) -> str:
    """Give the queue type a declaration asks for.

    Raises:
        BrokerError: PRECONDITION_FAILED for a type this node does not offer.
    """
    asked = arguments.get("x-queue-type", default)
    if asked not in SUPPORTED_TYPES:
        raise BrokerError(
            PRECONDITION_FAILED,
            f"invalid arg 'x-queue-type' for queue '{name}': {asked!r} is not one of "
            f"{', '.join(SUPPORTED_TYPES)}",
        )
    return str(asked)


def check_queue_arguments(arguments: Table, type_name: str, name: str, vhost: str) -> None:
    """Check the arguments of a declaration that this queue type knows; unknown ones are kept and ignored.

    Raises:
        BrokerError: PRECONDITION_FAILED with the argument and what is wrong with it.
    """
    for key, value in arguments.items():
        row = QUEUE_ROWS.get(key)
        if row is None:
            continue
        if type_name not in row.types:
            problem: str | None = f"not supported by {type_name} queues"
        else:
            problem = row.check(value)
        if problem is not None:
            raise BrokerError(
                PRECONDITION_FAILED, f"invalid arg '{key}' for queue '{name}' in vhost '{vhost}': {problem}"
            )
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise BrokerError(
            PRECONDITION_FAILED,
            f"invalid arg 'x-dead-letter-routing-key' for queue '{name}' in vhost '{vhost}': "
            "routing_key_but_no_dlx_defined",
        )
    if type_name == "quorum" and arguments.get("x-overflow") == "reject-publish-dlx":
        raise BrokerError(
            PRECONDITION_FAILED,
            f"invalid arg 'x-overflow' for queue '{name}' in vhost '{vhost}': "
            "reject-publish-dlx is not supported by quorum queues",
        )


def different_argument(current: Table, asked: Table, type_name: str) -> tuple[str, object, object] | None:
    """Give the first compared argument in which a redeclaration differs: key, asked and current value."""
    for row in QUEUE_ARGUMENTS:
        if not row.compared or type_name not in row.types or row.key == "x-queue-type":
            continue
        ours, theirs = current.get(row.key), asked.get(row.key)
        if ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
            return row.key, theirs, ours
    return None


def consumer_priority(arguments: Table, type_name: str) -> int:
    """Check a consumer's arguments and give its priority.

    Raises:
        BrokerError: PRECONDITION_FAILED for an argument of another queue type or a priority that is
            not a whole number.
    """
    for key in arguments:
        row = CONSUMER_ARGUMENTS.get(key)
        if row is not None and type_name not in row[0]:
            raise BrokerError(PRECONDITION_FAILED, f"invalid arg '{key}' for consumer of a {type_name} queue")
    priority = arguments.get("x-priority", 0)
    if type(priority) is not int:
        raise BrokerError(
            PRECONDITION_FAILED, f"invalid arg 'x-priority' for consumer: expected a number, got {priority!r}"
        )
    return priority


def inequivalent(
    what: str, kind: str, name: str, vhost: str, received: object, current: object
) -> BrokerError:
    """Build the 406 of a redeclaration that does not match, in RabbitMQ's words (people grep them)."""
    return BrokerError(
        PRECONDITION_FAILED,
        f"inequivalent arg '{what}' for {kind} '{name}' in vhost '{vhost}': "
        f"received {_shown(received)} but current is {_shown(current)}",
    )


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    if isinstance(value, int):
        return f"the value '{value}' of type 'long'"
    if isinstance(value, str):
        return f"'{value}'"
    return repr(value)
