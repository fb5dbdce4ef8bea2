"""The options of a queue: what its arguments, its policy and its operator policy come to.

Options never change once made: a policy change gives a queue other ones, and queues without arguments of
their own share them.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

ABSENT: Final = -1
"""The value of a number that is not set; for the delivery limit also that there is none."""

DROP_HEAD: Final = "drop-head"
REJECT_PUBLISH: Final = "reject-publish"
REJECT_PUBLISH_DLX: Final = "reject-publish-dlx"
AT_LEAST_ONCE: Final = "at-least-once"
DISABLED: Final = "disabled"
LINEAR: Final = "linear"
EXPONENTIAL: Final = "exponential"
CONSTANT: Final = "constant"


REJECT: Final = "reject"
REFUSE: Final = "refuse"
DEAD_LETTER: Final = "dead-letter"
"""What becomes of messages that do not fit a schema."""

CHECKED_OCTETS: Final = 256 * 1024
"""Octets of the longest body that is held against a schema, unless something else is set."""


class QueueOptions:
    """What a queue goes by; numbers are -1 where nothing is set.

    Attributes:
        message_ttl: milliseconds a message may wait.
        expires: milliseconds of disuse after which the queue goes.
        max_length, max_length_bytes: ready messages, and their bytes, it may hold.
        max_priority: the highest priority it tells apart.
        delivery_limit: returns after which a message is dead-lettered.
        consumer_timeout: milliseconds a delivery may stay unanswered.
        delayed_retry_min, delayed_retry_max: milliseconds a returned message waits, first and at most.
        delayed_retry_jitter: per cent of a wait that may be left out.
        delayed_retry_attempts: deliveries after which a message that comes back is dead-lettered.
        delivery_rate, publish_rate: messages a second that leave it at most, and that may be published to it.
        max_unacked: deliveries that may be unanswered at once.
        max_age: milliseconds a stream keeps its messages.
        segment_octets: size of a stream's segments.
        deduplication_window: last messages whose ids are remembered.
        deduplication_interval: milliseconds after which an id is forgotten.
        compact_key: where the key is of whose messages a stream keeps the last; None: it keeps all.
        dead_letter_exchange: where dead letters go; ``""`` is the default exchange, None is nowhere.
        dead_letter_routing_key: their routing key; None to keep the original ones.
        dead_letter_strategy: ``at-least-once`` or ``at-most-once``.
        overflow: ``drop-head``, ``reject-publish`` or ``reject-publish-dlx``.
        deduplication_header: the header that holds the id; None is the message-id property.
        delayed_retry_backoff: ``linear``, ``exponential`` or ``constant``.
        delayed_retry_type: ``disabled``, ``all``, ``failed`` or ``returned``.
        message_uid: True to give published messages a lasting id of their own.
        single_active_consumer: True to serve one consumer at a time.
        group_header: the header whose values go to one consumer at a time each; None to look at none.
        fair_header: the header whose values have equal shares of deliveries; None to look at none.
        schema: the subject whose schema published messages must fit; None to take any.
        schema_version: the one version that counts.
        schema_mode: ``reject``, ``refuse`` or ``dead-letter``: what becomes of those that do not fit.
        schema_max_octets: the longest body that is checked; longer ones do not fit.
    """

    def __init__(self) -> None:
        self.message_ttl: i64 = ABSENT
        self.expires: i64 = ABSENT
        self.max_length: i64 = ABSENT
        self.max_length_bytes: i64 = ABSENT
        self.max_priority: i64 = ABSENT
        self.delivery_limit: i64 = ABSENT
        self.consumer_timeout: i64 = ABSENT
        self.delayed_retry_min: i64 = ABSENT
        self.delayed_retry_max: i64 = ABSENT
        self.delayed_retry_jitter: i64 = ABSENT
        self.delayed_retry_attempts: i64 = ABSENT
        self.delivery_rate: i64 = ABSENT
        self.publish_rate: i64 = ABSENT
        self.max_unacked: i64 = ABSENT
        self.max_age: i64 = ABSENT
        self.segment_octets: i64 = ABSENT
        self.deduplication_window: i64 = ABSENT
        self.deduplication_interval: i64 = ABSENT
        self.compact_key: str | None = None
        self.dead_letter_exchange: str | None = None
        self.dead_letter_routing_key: str | None = None
        self.dead_letter_strategy: str = AT_LEAST_ONCE
        self.overflow: str = DROP_HEAD
        self.deduplication_header: str | None = None
        self.delayed_retry_type: str = DISABLED
        self.delayed_retry_backoff: str = LINEAR
        self.single_active_consumer: bool = False
        self.group_header: str | None = None
        self.fair_header: str | None = None
        self.message_uid: bool = False
        self.schema: str | None = None
        self.schema_version: i64 = ABSENT
        self.schema_mode: str = REJECT
        self.schema_max_octets: i64 = CHECKED_OCTETS


class ExchangeOptions:
    """What an exchange goes by beside its type: what its arguments and its policy come to.

    An exchange for which nothing is set has none at all.  Messages published to one that has are looked at
    one by one (see ``amqp/publishing.py``).

    Attributes:
        deduplication_window, deduplication_interval, deduplication_header, message_uid: as those of a queue.
        schema, schema_version, schema_mode, schema_max_octets: as those of a queue.
        delayed: True to delay messages whose headers ask for it.
        delay: milliseconds for which others are delayed, and True for ``delayed``.
    """

    def __init__(self) -> None:
        self.delayed: bool = False
        self.delay: i64 = ABSENT
        self.deduplication_window: i64 = ABSENT
        self.deduplication_interval: i64 = ABSENT
        self.deduplication_header: str | None = None
        self.message_uid: bool = False
        self.schema: str | None = None
        self.schema_version: i64 = ABSENT
        self.schema_mode: str = REJECT
        self.schema_max_octets: i64 = CHECKED_OCTETS


NOTHING_SET: Final = QueueOptions()
"""Options of a classic queue that nobody configured."""
