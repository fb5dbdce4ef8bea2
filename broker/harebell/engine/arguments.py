"""Every ``x-`` argument of queues, exchanges and consumers: one row each.

A row names the key, the queue types that know it, how its value is checked, and whether a redeclaration
must repeat it.  Declaration checks, equivalence on redeclare and the generated reference
(``docs/arguments.md``) all read these rows.  Values are RabbitMQ's (its queue, consumer and exchange
argument tables); numbers arrive in any integer width and are compared by value.
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


class QueueArgument(NamedTuple):
    """One queue argument."""

    key: str
    types: frozenset[str]
    check: Check
    compared: bool
    help: str
    effective: bool = False


QUEUE_ARGUMENTS: Final = (
    QueueArgument("x-queue-type", ALL_TYPES, text, True, "Queue type: classic, quorum or stream.", True),
    QueueArgument("x-expires", CLASSIC_AND_QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds of disuse after which the queue is deleted.", True),
    QueueArgument("x-message-ttl", CLASSIC_AND_QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a message may wait in the queue."),
    QueueArgument("x-dead-letter-exchange", CLASSIC_AND_QUORUM, short_text, True, "Exchange that gets dead-lettered messages."),
    QueueArgument("x-dead-letter-routing-key", CLASSIC_AND_QUORUM, short_text, True, "Routing key of dead-lettered messages; the original keys if absent."),
    QueueArgument("x-dead-letter-strategy", QUORUM, one_of("at-most-once", "at-least-once"), True, "Guarantee of dead-lettering."),
    QueueArgument("x-max-length", CLASSIC_AND_QUORUM, integer(0), True, "Ready messages the queue may hold."),
    QueueArgument("x-max-length-bytes", ALL_TYPES, integer(0), True, "Bytes of ready messages the queue may hold."),
    QueueArgument("x-overflow", CLASSIC_AND_QUORUM, one_of("drop-head", "reject-publish", "reject-publish-dlx"), True, "What happens when a length limit is hit."),
    QueueArgument("x-max-priority", CLASSIC, integer(0, 255), True, "Highest message priority the queue tells apart."),
    QueueArgument("x-single-active-consumer", CLASSIC_AND_QUORUM, boolean, True, "Serve one consumer at a time.", True),
    QueueArgument("x-delivery-limit", QUORUM, integer(-1), True, "Deliveries after which a message is dead-lettered; -1 is unlimited."),
    QueueArgument("x-queue-mode", ALL_TYPES, one_of("default", "lazy"), False, "Accepted for older clients; without effect."),
    QueueArgument("x-queue-version", CLASSIC, integer(1, 2), False, "Accepted for older clients; without effect."),
    QueueArgument("x-queue-leader-locator", ALL_TYPES, one_of("client-local", "balanced"), False, "Where a replicated queue's leader starts; without effect on one node."),
    QueueArgument("x-queue-master-locator", CLASSIC, text, False, "Older name of the leader locator; without effect."),
    QueueArgument("x-max-in-memory-length", QUORUM, integer(0), False, "Accepted for older clients; without effect."),
    QueueArgument("x-max-in-memory-bytes", QUORUM, integer(0), False, "Accepted for older clients; without effect."),
    QueueArgument("x-quorum-initial-group-size", QUORUM, integer(1), False, "Replicas to start with; one node holds one copy."),
    QueueArgument("x-quorum-target-group-size", QUORUM, integer(1), False, "Replicas to aim for; one node holds one copy."),
    QueueArgument("x-consumer-timeout", QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a consumer may hold a message unanswered."),
    QueueArgument("x-max-age", STREAM, age, True, "How long a stream keeps its messages."),
    QueueArgument("x-stream-max-segment-size-bytes", STREAM, integer(1), True, "Size of a stream's segment files."),
    QueueArgument("x-stream-filter-size-bytes", STREAM, integer(16, 255), True, "Size of a stream's chunk filters."),
    QueueArgument("x-initial-cluster-size", STREAM, integer(1), False, "Replicas to start with; one node holds one copy."),
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

EXCHANGE_ARGUMENTS: Final = (
    ("alternate-exchange", "all", "Exchange that gets what this one routes nowhere."),
    ("hash-header", "x-consistent-hash", "Header to hash instead of the routing key."),
    ("hash-property", "x-consistent-hash", "Property to hash instead of the routing key."),
    ("x-hash-on", "x-consistent-hash", "Another spelling of `hash-header`."),
    ("x-recent-history-length", "x-recent-history", "Messages kept for new bindings, default 20."),
)

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
