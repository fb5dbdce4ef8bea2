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
from harebell.engine.argument_checks import (
    Check,
    age,
    anything,
    boolean,
    header_name,
    integer,
    interval,
    key_name,
    mirrored_nodes,
    of_another_type,
    one_of,
    queue_version,
    segment_size,
    short_text,
    text,
    wire_type,
)
from harebell.errors import PRECONDITION_FAILED, BrokerError

TEN_YEARS_MS: Final = 315_360_000_000
MOST_REMEMBERED: Final = 10_000_000
FASTEST: Final = 10_000_000
CLASSIC: Final = frozenset({"classic"})
QUORUM: Final = frozenset({"quorum"})
CLASSIC_AND_QUORUM: Final = CLASSIC | QUORUM
STREAM: Final = frozenset({"stream"})
ALL_TYPES: Final = CLASSIC | QUORUM | STREAM

QUEUE_TYPE: Final = "x-queue-type"
EXPIRES: Final = "x-expires"
RETAIN: Final = "x-retain"
RETAIN_BYTES: Final = "x-retain-bytes"
MAX_AGE: Final = "x-max-age"
MAX_LENGTH_BYTES: Final = "x-max-length-bytes"
MAX_PRIORITY: Final = "x-max-priority"
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
DEAD_LETTER_ROUTING_KEY: Final = "x-dead-letter-routing-key"
SINGLE_ACTIVE_CONSUMER: Final = "x-single-active-consumer"
ALTERNATE_EXCHANGE: Final = "alternate-exchange"
"""Keys other modules look at."""

FIXED_OPTIONS: Final = ("segment_octets",)
"""What a policy sets that counts when a queue is declared."""

Preference = Callable[[object, object, str], bool]
"""Tells whether a policy's value goes before an argument's in a queue of a type."""


def lower(policy: object, argument: object, type_name: str) -> bool:
    """The lower number counts, whoever set it."""
    return isinstance(policy, int) and isinstance(argument, int) and policy < argument


def lower_timeout(policy: object, argument: object, type_name: str) -> bool:
    """The lower number counts; 0 is no timeout, and any timeout goes before none."""
    if isinstance(policy, int) and isinstance(argument, int) and (policy == 0 or argument == 0):
        return policy > argument
    return lower(policy, argument, type_name)


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

    @property
    def changes(self) -> bool:
        """Tell whether it can be changed while the queue is there: what a policy can change, mostly."""
        return bool(self.option) and self.policy is not None and self.option not in FIXED_OPTIONS


QUEUE_ARGUMENTS: Final = (
    QueueArgument("x-queue-type", ALL_TYPES, text, True, "Queue type: classic, quorum or stream.", True),
    QueueArgument("x-expires", CLASSIC_AND_QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds of disuse after which the queue is deleted.", True, option="expires", policy=ByPolicy("queue expiry", lower, True)),
    QueueArgument("x-message-ttl", CLASSIC_AND_QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a message may wait in the queue.", True, option="message_ttl", policy=ByPolicy("message TTL", lower, True)),
    QueueArgument("x-dead-letter-exchange", CLASSIC_AND_QUORUM, short_text, True, "Exchange that gets dead-lettered messages.", True, option="dead_letter_exchange", policy=ByPolicy("dead letter exchange name")),
    QueueArgument("x-dead-letter-routing-key", CLASSIC_AND_QUORUM, short_text, True, "Routing key of dead-lettered messages; the original keys if absent.", True, option="dead_letter_routing_key", policy=ByPolicy("dead letter routing key")),
    QueueArgument("x-dead-letter-strategy", QUORUM, one_of("at-most-once", "at-least-once", wrong="invalid_dlx_strategy"), True, "Guarantee of dead-lettering; each move is one step of the journal, so either way at least once.", True, option="dead_letter_strategy", policy=ByPolicy("dead letter strategy")),
    QueueArgument("x-max-length", CLASSIC_AND_QUORUM, integer(0), True, "Ready messages the queue may hold.", True, option="max_length", policy=ByPolicy("maximum length", lower, True)),
    QueueArgument("x-max-length-bytes", ALL_TYPES, integer(0), True, "Bytes of ready messages the queue may hold.", True, option="max_length_bytes", policy=ByPolicy("maximum length in bytes", lower, True)),
    QueueArgument("x-overflow", CLASSIC_AND_QUORUM, one_of("drop-head", "reject-publish", "reject-publish-dlx", wrong="invalid_overflow"), True, "What happens when a length limit is hit; a quorum queue takes `reject-publish-dlx` as `drop-head`.", True, option="overflow", policy=ByPolicy("overflow value", policy_first_in_quorum, True)),
    QueueArgument("x-max-priority", CLASSIC, integer(0, 255), True, "Highest message priority the queue tells apart.", True, option="max_priority"),
    QueueArgument("x-single-active-consumer", CLASSIC_AND_QUORUM, boolean, True, "Serve one consumer at a time.", True, option="single_active_consumer"),
    QueueArgument("x-delivery-limit", QUORUM, integer(-1), True, "Returns a message survives, default 20; one more dead-letters it. -1 is unlimited.", True, option="delivery_limit", policy=ByPolicy("delivery limit", lower_limit, True)),
    QueueArgument("x-queue-mode", ALL_TYPES, one_of("default", "lazy", wrong="\"unsupported queue mode 'VALUE'\""), False, "Accepted for older clients; without effect.", policy=ByPolicy("queue-mode value", types=CLASSIC)),
    QueueArgument("x-queue-version", CLASSIC, queue_version, False, "Accepted for older clients; without effect.", policy=ByPolicy("queue-version value", types=ALL_TYPES)),
    QueueArgument("x-queue-leader-locator", ALL_TYPES, one_of("client-local", "balanced", "random", "least-leaders", wrong="invalid_queue_locator_arg"), False, "Where a replicated queue's leader starts; without effect on one node.", policy=ByPolicy("queue leader locator value", types=QUORUM | STREAM)),
    QueueArgument("x-queue-master-locator", CLASSIC, text, False, "Older name of the leader locator; without effect.", policy=ByPolicy("queue master locator")),
    QueueArgument("x-max-in-memory-length", QUORUM, integer(0), False, "Accepted for older clients; without effect.", policy=ByPolicy("maximum memory in bytes", lower, True, types=CLASSIC_AND_QUORUM)),
    QueueArgument("x-max-in-memory-bytes", QUORUM, integer(0), False, "Accepted for older clients; without effect.", policy=ByPolicy("maximum memory in bytes", lower, True, types=CLASSIC_AND_QUORUM)),
    QueueArgument("x-quorum-initial-group-size", QUORUM, integer(1), False, "Replicas to start with; one node holds one copy."),
    QueueArgument("x-quorum-target-group-size", QUORUM, integer(1), False, "Replicas to aim for; one node holds one copy.", policy=ByPolicy("target group size", lower, True, key="target-group-size", check=integer(0))),
    QueueArgument("x-consumer-timeout", CLASSIC_AND_QUORUM, integer(0, TEN_YEARS_MS), True, "Milliseconds a client may hold a message unanswered before its channel is closed; 0 is for ever.", True, option="consumer_timeout", policy=ByPolicy("consumer timeout", lower_timeout)),
    QueueArgument("x-consumer-disconnected-timeout", QUORUM, integer(0, TEN_YEARS_MS), False, "Accepted for newer clients; a lost consumer is known at once on one node.", policy=ByPolicy("consumer disconnected timeout", lower)),
    QueueArgument("x-delayed-retry-type", CLASSIC_AND_QUORUM, one_of("disabled", "all", "failed", "returned"), True, "Which returned messages wait before they are delivered again.", True, option="delayed_retry_type", policy=ByPolicy("delayed retry type")),
    QueueArgument("x-delayed-retry-min", CLASSIC_AND_QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds the first retry waits.", True, option="delayed_retry_min", policy=ByPolicy("delayed retry minimum", lower)),
    QueueArgument("x-delayed-retry-backoff", CLASSIC_AND_QUORUM, one_of("linear", "exponential", "constant"), True, "How the wait grows with each retry: by the minimum (`linear`, the default), twice as long each time (`exponential`), or not at all (`constant`).", True, option="delayed_retry_backoff", policy=ByPolicy("delayed retry backoff")),
    QueueArgument("x-delayed-retry-jitter", CLASSIC_AND_QUORUM, integer(0, 100), True, "Per cent of each wait that may be left out, so that what failed together does not come back together.", True, option="delayed_retry_jitter", policy=ByPolicy("delayed retry jitter")),
    QueueArgument("x-delayed-retry-attempts", CLASSIC_AND_QUORUM, integer(1), True, "Deliveries of a message in all; what comes back from the last one is dead-lettered with reason `delivery_limit`.", True, option="delayed_retry_attempts", policy=ByPolicy("delayed retry attempts", lower)),
    QueueArgument("x-delayed-retry-max", CLASSIC_AND_QUORUM, integer(1, TEN_YEARS_MS), True, "Milliseconds a retry waits at most.", True, option="delayed_retry_max", policy=ByPolicy("delayed retry maximum", lower)),
    QueueArgument("x-member-placement-tag", QUORUM, text, False, "Where replicas go; one node holds one copy."),
    QueueArgument("x-group-header", CLASSIC_AND_QUORUM, header_name, True, "Header by which messages are grouped: those with the same value, text or a number, go to one consumer at a time, in order.", True, option="group_header", policy=ByPolicy("group header")),
    QueueArgument("x-fair-header", CLASSIC_AND_QUORUM, header_name, True, "Header by whose values, text or a number, deliveries are shared out evenly, in turns.", True, option="fair_header", policy=ByPolicy("fair header")),
    QueueArgument("x-delivery-rate", CLASSIC_AND_QUORUM, integer(1, FASTEST), True, "Messages a second the queue delivers at most, evenly.", True, option="delivery_rate", policy=ByPolicy("delivery rate", lower, True)),
    QueueArgument("x-publish-rate", CLASSIC_AND_QUORUM, integer(1, FASTEST), True, "Messages a second that may be published to the queue: connections that publish more are read more slowly; nothing is refused.", True, option="publish_rate", policy=ByPolicy("publish rate", lower, True)),
    QueueArgument("x-max-unacked", CLASSIC_AND_QUORUM, integer(1), True, "Deliveries that may be unanswered at once, of all consumers together; the others wait in the queue.", True, option="max_unacked", policy=ByPolicy("maximum of unacknowledged deliveries", lower, True)),
    QueueArgument("x-retain", CLASSIC_AND_QUORUM, age, True, "How long what was published stays readable with `x-stream-offset`, acknowledged or not; for durable queues.", True),
    QueueArgument("x-retain-bytes", CLASSIC_AND_QUORUM, integer(0), True, "Bytes that stay readable so.", True),
    QueueArgument("x-max-age", STREAM, age, True, "How long a stream keeps its messages.", True, option="max_age", policy=ByPolicy("max age")),
    QueueArgument("x-stream-max-segment-size-bytes", STREAM, segment_size, True, "Size of a stream's segment files, default 64 MiB; counts when it is declared.", True, option="segment_octets", policy=ByPolicy("segment size", lower, check=integer(0))),
    QueueArgument("x-stream-filter-size-bytes", STREAM, integer(16, 255), True, "Accepted; filters are exact here.", policy=ByPolicy("filter size", lower)),
    QueueArgument("x-deduplication-window", ALL_TYPES, integer(1, MOST_REMEMBERED), True, "So many of the last messages are remembered by their id: one whose id was taken already is confirmed and not stored.", True, option="deduplication_window", policy=ByPolicy("de-duplication window", lower)),
    QueueArgument("x-deduplication-interval", ALL_TYPES, interval, True, "How long an id is remembered, such as `10m`, or milliseconds; without a window for the last 1,000,000 messages at most.", True, option="deduplication_interval", policy=ByPolicy("de-duplication interval")),
    QueueArgument("x-deduplication-header", ALL_TYPES, short_text, True, "Header that holds the id for these; the `message-id` property if absent.", True, option="deduplication_header", policy=ByPolicy("de-duplication header")),
    QueueArgument("x-message-uid", ALL_TYPES, boolean, True, "Give each published message without one a header `x-message-uid`, unique and ascending, that it keeps.", True, option="message_uid", policy=ByPolicy("message uid")),
    QueueArgument("x-compact-key", STREAM, key_name, True, "Keep the last message of each key: `routing-key`, `message-id`, or the name of a header with text or a number; an empty body deletes its key.", True, option="compact_key", policy=ByPolicy("compact key")),
    QueueArgument("x-schema", ALL_TYPES, short_text, True, "Subject whose schema messages must fit to be put into the queue.", True, option="schema", policy=ByPolicy("schema subject", operator=True)),
    QueueArgument("x-schema-version", ALL_TYPES, integer(1, 2**31 - 1), True, "The one version that counts; the latest, or the one a message names, if absent.", True, option="schema_version", policy=ByPolicy("schema version", operator=True)),
    QueueArgument("x-schema-mode", ALL_TYPES, one_of("reject", "refuse", "dead-letter"), True, "What becomes of messages that do not fit: a nack (`reject`, the default), the channel is closed with 406 (`refuse`), or the dead-letter exchange gets them with reason `invalid`.", True, option="schema_mode", policy=ByPolicy("schema mode", operator=True)),
    QueueArgument("x-schema-max-bytes", ALL_TYPES, integer(1, 16 * 1024 * 1024), True, "Longest body that is checked, default 256 KiB; longer ones do not fit.", True, option="schema_max_octets", policy=ByPolicy("schema maximum of bytes", lower, True)),
    QueueArgument("x-initial-cluster-size", STREAM, integer(1), False, "Replicas to start with; one node holds one copy.", policy=ByPolicy("cluster size", lower, check=integer(0))),
)  # fmt: skip

QUEUE_ROWS: Final = {row.key: row for row in QUEUE_ARGUMENTS}

CONSUMER_PRIORITY: Final = "x-priority"
CONSUMER_TIMEOUT: Final = "x-consumer-timeout"
ACK_TIMEOUT_MODE: Final = "x-ack-timeout-mode"
ACK_TIMEOUT: Final = "x-ack-timeout"
"""A header of a published message: milliseconds its deliveries may stay unanswered."""

ELAPSED: Final = "elapsed"
LIVENESS: Final = "liveness"
"""Modes: the time since the delivery counts, or only that for which nothing came from the connection."""

FILTER: Final = "x-filter"
BROWSE: Final = "x-browse"
BROWSE_FROM: Final = "x-browse-from"
POSITION: Final = "x-position"
"""Also the header of what a browser gets."""

STREAM_CONSUMER: Final = "x-stream-consumer"
STREAM_FILTER: Final = "x-stream-filter"
STREAM_MATCH_UNFILTERED: Final = "x-stream-match-unfiltered"
STREAM_OFFSET: Final = "x-stream-offset"
"""Also the header of what a stream delivers."""

STREAM_FILTER_VALUE: Final = "x-stream-filter-value"
EXPECTED_OFFSET: Final = "x-expected-offset"
"""Headers of messages published to streams: what filters go by; the offset without which it is not taken."""

MESSAGE_UID: Final = "x-message-uid"
"""The argument that asks for it, and the header of a published message that the broker gave an id."""

DELAYED_TYPE: Final = "x-delayed-type"
"""Argument of an exchange of type ``x-delayed-message``: by the rules of which type it routes."""

DELAY: Final = "x-delay"
DELIVER_AT: Final = "x-deliver-at"
"""Headers of a published message: milliseconds it is delayed, or until when; the first also an argument."""

SCHEMA: Final = "x-schema"
SCHEMA_VERSION: Final = "x-schema-version"
SCHEMA_ERROR: Final = "x-schema-error"
"""An argument, and headers: the subject; its version a message goes by; what was wrong with a dead letter."""

CONSUMER_ARGUMENTS: Final = {
    "x-priority": (CLASSIC_AND_QUORUM, "Higher is served first; any whole number, default 0."),
    "x-consumer-timeout": (
        ALL_TYPES,
        "Milliseconds this consumer may hold a message unanswered; 0 is for ever.",
    ),
    "x-ack-timeout-mode": (
        ALL_TYPES,
        "`liveness`: deliveries of this consumer do not time out while its connection shows life; `elapsed` (the default): they do.",
    ),
    "x-browse": (
        CLASSIC_AND_QUORUM,
        "True to look only: the consumer gets copies of the ready messages, which stay where they are.",
    ),
    "x-browse-from": (CLASSIC_AND_QUORUM, "Position of the first message a browser wants, default 1."),
    "x-filter": (
        CLASSIC_AND_QUORUM,
        "Which messages this consumer wants: a table of headers as in bindings of a headers exchange, or a condition such as `colour = 'red' AND properties.priority > 4`.",
    ),
    "x-single-active-consumer": (
        STREAM,
        "With `x-stream-consumer`: one consumer of that name is active, the others stand by.",
    ),
    "x-cancel-on-ha-failover": (ALL_TYPES, "Accepted for older clients; without effect."),
    "x-stream-offset": (STREAM, "Where a stream's consumer starts."),
    "x-stream-consumer": (
        STREAM,
        "Name under which the stream keeps how far this consumer acknowledged; it resumes there.",
    ),
    "x-stream-filter": (STREAM, "Filter values a stream's consumer wants."),
    "x-stream-match-unfiltered": (STREAM, "Also deliver messages without a filter value."),
}


class ExchangeArgument(NamedTuple):
    """One exchange argument.

    Attributes:
        key: the argument.
        types: the exchange types that know it, or ``all``.
        help: one sentence for the reference.
        policy: how a policy sets the same; None if none can.
        check: what values it takes, of an argument that sets an option; a type checks its own ones.
        option: the attribute of ``ExchangeOptions`` it sets; empty if there is none.
    """

    key: str
    types: str
    help: str
    policy: ByPolicy | None = None
    check: Check = anything
    option: str = ""


EXCHANGE_ARGUMENTS: Final = (
    ExchangeArgument("alternate-exchange", "all", "Exchange that gets what this one routes nowhere.", ByPolicy("alternate exchange name", key=ALTERNATE_EXCHANGE, types=ALL_TYPES, check=short_text)),
    ExchangeArgument("x-deduplication-window", "all", "So many of the last ids published to the exchange are remembered: a message whose id was taken already is confirmed and goes nowhere.", ByPolicy("de-duplication window", lower), integer(1, MOST_REMEMBERED), "deduplication_window"),
    ExchangeArgument("x-deduplication-interval", "all", "How long an id is remembered, such as `10m`, or milliseconds; without a window the last 1,000,000 at most.", ByPolicy("de-duplication interval"), interval, "deduplication_interval"),
    ExchangeArgument("x-deduplication-header", "all", "Header that holds the id for these; the `message-id` property if absent.", ByPolicy("de-duplication header"), short_text, "deduplication_header"),
    ExchangeArgument("x-message-uid", "all", "Give each message published to the exchange without one a header `x-message-uid`.", ByPolicy("message uid"), boolean, "message_uid"),
    ExchangeArgument("x-delayed", "all", "Delay messages whose header `x-delay` or `x-deliver-at` asks for it.", ByPolicy("delayed value"), boolean, "delayed"),
    ExchangeArgument("x-delay", "all", "Milliseconds that messages are delayed whose headers ask for no other time.", ByPolicy("delay", lower), integer(0), "delay"),
    ExchangeArgument("x-delayed-type", "x-delayed-message", "The exchange type by whose rules it routes when a message's time has come."),
    ExchangeArgument("hash-header", "x-consistent-hash", "Header to hash instead of the routing key."),
    ExchangeArgument("hash-property", "x-consistent-hash", "Property to hash instead of the routing key."),
    ExchangeArgument("x-hash-on", "x-consistent-hash", "Another spelling of `hash-header`."),
    ExchangeArgument("x-partitions", "x-super-stream", "Streams to declare and bind, called after the exchange and numbered from 0; arguments of streams given beside it are theirs."),
    ExchangeArgument("x-schema", "all", "Subject whose schema messages published to the exchange must fit.", ByPolicy("schema subject"), short_text, "schema"),
    ExchangeArgument("x-schema-version", "all", "The one version that counts; the latest, or the one a message names, if absent.", ByPolicy("schema version"), integer(1, 2**31 - 1), "schema_version"),
    ExchangeArgument("x-schema-mode", "all", "What becomes of messages that do not fit: `reject`, `refuse` or `dead-letter`.", ByPolicy("schema mode"), one_of("reject", "refuse", "dead-letter"), "schema_mode"),
    ExchangeArgument("x-schema-max-bytes", "all", "Longest body that is checked, default 256 KiB; longer ones do not fit.", ByPolicy("schema maximum of bytes"), integer(1, 16 * 1024 * 1024), "schema_max_octets"),
    ExchangeArgument("x-dead-letter-exchange", "all", "Exchange that gets what does not fit the schema, with mode `dead-letter`; the policy key `dead-letter-exchange` does the same."),
    ExchangeArgument("x-dead-letter-routing-key", "all", "Routing key of those; the original keys if absent."),
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
            key = by.key or exchange_argument.key.removeprefix("x-")
            if key in keys:
                # A queue's argument of the same meaning: one row describes both.
                continue
            check = by.check or (exchange_argument.check if exchange_argument.option else text)
            keys[key] = PolicyKey(
                key,
                by.types or ALL_TYPES,
                check,
                by.what,
                by.operator,
                by.before_argument,
                exchange_argument.help,
            )
    return keys


POLICY_KEYS: Final = _policy_keys()
"""Every key policy definitions may hold."""

OWN_POLICY_KEYS: Final = frozenset(
    {
        "compact-key",
        "deduplication-header",
        "deduplication-interval",
        "deduplication-window",
        "delay",
        "delayed",
        "delayed-retry-attempts",
        "delayed-retry-backoff",
        "delayed-retry-jitter",
        "delivery-rate",
        "fair-header",
        "group-header",
        "max-unacked",
        "message-uid",
        "publish-rate",
        "schema",
        "schema-max-bytes",
        "schema-mode",
        "schema-version",
    }
)
"""Those no RabbitMQ has, which refuses a policy with a key it does not know."""

SUPPORTED_TYPES: Final = ("classic", "quorum", "stream")


EXCHANGE_OPTION_ROWS: Final = tuple(row for row in EXCHANGE_ARGUMENTS if row.option)


def check_exchange_arguments(arguments: Table, name: str, vhost: str) -> None:
    """Check the arguments of an exchange that set options; those of its type are the type's to check.

    Raises:
        BrokerError: PRECONDITION_FAILED with the argument and what is wrong with it.
    """
    for row in EXCHANGE_OPTION_ROWS:
        problem = row.check(arguments[row.key]) if row.key in arguments else None
        if problem is not None:
            raise BrokerError(
                PRECONDITION_FAILED,
                f"invalid arg '{row.key}' for exchange '{name}' in vhost '{vhost}': {problem}",
            )


def queue_type(arguments: Table, default: str, name: str, vhost: str) -> str:
    """Give the queue type a declaration asks for.

    Raises:
        BrokerError: PRECONDITION_FAILED for a type this node does not offer.
    """
    asked = arguments.get(QUEUE_TYPE, default)
    if not isinstance(asked, str):
        raise _bad(QUEUE_TYPE, name, vhost, ": " + of_another_type(asked))
    if asked not in SUPPORTED_TYPES:
        raise _bad(QUEUE_TYPE, name, vhost, f": \"unsupported queue type '{asked}'\"")
    return asked


def _bad(key: str, name: str, vhost: str, problem: str) -> BrokerError:
    return BrokerError(
        PRECONDITION_FAILED, f"invalid arg '{key}' for queue '{name}' in vhost '{vhost}'{problem}"
    )


def _unknown_to(type_name: str) -> str:
    """Say that queues of a type do not have an argument, by the name RabbitMQ gives the type."""
    return f" of queue type rabbit_{type_name}_queue"


def check_queue_arguments(arguments: Table, type_name: str, name: str, vhost: str) -> None:
    """Check the arguments of a declaration that this queue type knows; unknown ones are kept and ignored.

    Raises:
        BrokerError: PRECONDITION_FAILED with the argument and what is wrong with it, as RabbitMQ says it.
    """
    for key, value in arguments.items():
        row = QUEUE_ROWS.get(key)
        if row is None:
            continue
        if type_name not in row.types:
            raise _bad(key, name, vhost, _unknown_to(type_name))
        problem = row.check(value)
        if problem is None:
            continue
        if key == DEAD_LETTER_EXCHANGE and not isinstance(value, str):
            raise BrokerError(
                PRECONDITION_FAILED,
                f"invalid type '{wire_type(value)}' for arg '{key}' in queue '{name}' in vhost '{vhost}'",
            )
        raise _bad(key, name, vhost, ": " + problem)
    if DEAD_LETTER_ROUTING_KEY in arguments and DEAD_LETTER_EXCHANGE not in arguments:
        raise _bad(DEAD_LETTER_ROUTING_KEY, name, vhost, ": routing_key_but_no_dlx_defined")


def different_arguments(current: Table, asked: Table, type_name: str) -> list[tuple[str, object, object]]:
    """List the compared arguments in which a redeclaration differs: key, asked and current value."""
    found: list[tuple[str, object, object]] = []
    for row in QUEUE_ARGUMENTS:
        if not row.compared or type_name not in row.types or row.key == QUEUE_TYPE:
            continue
        ours, theirs = current.get(row.key), asked.get(row.key)
        if ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
            found.append((row.key, theirs, ours))
    return found


_timeout_mode: Final = one_of(ELAPSED, LIVENESS)


def check_consumer_arguments(arguments: Table, type_name: str, name: str, vhost: str) -> int:
    """Check a consumer's arguments and give its priority.

    Args:
        type_name, name, vhost: of the queue.

    Raises:
        BrokerError: PRECONDITION_FAILED for an argument of another queue type, or a priority or a timeout
            that is not a whole number.
    """
    for key in arguments:
        row = CONSUMER_ARGUMENTS.get(key)
        if row is not None and type_name not in row[0]:
            raise _bad(key, name, vhost, _unknown_to(type_name))
    if CONSUMER_TIMEOUT in arguments:
        problem = QUEUE_ROWS[CONSUMER_TIMEOUT].check(arguments[CONSUMER_TIMEOUT])
        if problem is not None:
            raise _bad(CONSUMER_TIMEOUT, name, vhost, ": " + problem)
    if ACK_TIMEOUT_MODE in arguments:
        problem = _timeout_mode(arguments[ACK_TIMEOUT_MODE])
        if problem is not None:
            raise _bad(ACK_TIMEOUT_MODE, name, vhost, ": " + problem)
    priority = arguments.get(CONSUMER_PRIORITY, 0)
    if type(priority) is not int:
        raise _bad(CONSUMER_PRIORITY, name, vhost, f': "expected integer, got {wire_type(priority)}"')
    return priority


def inequivalent(
    what: str, kind: str, name: str, vhost: str, received: object, current: object
) -> BrokerError:
    """Build the 406 of a redeclaration that does not match, in RabbitMQ's words (people grep them).

    None stands for an argument that is missing; the other value is then told with its type.
    """
    if received is None:
        words = f"received none but current is {_with_type(current)}"
    elif current is None:
        words = f"received {_with_type(received)} but current is none"
    else:
        words = f"received '{_shown(received)}' but current is '{_shown(current)}'"
    return BrokerError(
        PRECONDITION_FAILED, f"inequivalent arg '{what}' for {kind} '{name}' in vhost '{vhost}': {words}"
    )


def _with_type(value: object) -> str:
    return f"the value '{_shown(value)}' of type '{wire_type(value)}'"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
