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
        max_age: milliseconds a stream keeps its messages.
        segment_octets: size of a stream's segments.
        deduplication_window: last messages whose ids are remembered.
        compact_key: where the key is of whose messages a stream keeps the last; None: it keeps all.
        dead_letter_exchange: where dead letters go; ``""`` is the default exchange, None is nowhere.
        dead_letter_routing_key: their routing key; None to keep the original ones.
        dead_letter_strategy: ``at-least-once`` or ``at-most-once``.
        overflow: ``drop-head``, ``reject-publish`` or ``reject-publish-dlx``.
        deduplication_header: the header that holds the id; None is the message-id property.
        delayed_retry_type: ``disabled``, ``all``, ``failed`` or ``returned``.
        single_active_consumer: True to serve one consumer at a time.
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
        self.max_age: i64 = ABSENT
        self.segment_octets: i64 = ABSENT
        self.deduplication_window: i64 = ABSENT
        self.compact_key: str | None = None
        self.dead_letter_exchange: str | None = None
        self.dead_letter_routing_key: str | None = None
        self.dead_letter_strategy: str = AT_LEAST_ONCE
        self.overflow: str = DROP_HEAD
        self.deduplication_header: str | None = None
        self.delayed_retry_type: str = DISABLED
        self.single_active_consumer: bool = False


class ExchangeOptions:
    """What an exchange goes by beside its type: what its arguments and its policy come to.

    An exchange for which nothing is set has none at all.  Messages published to one that has are looked at
    one by one (see ``amqp/publishing.py``).
    """


NOTHING_SET: Final = QueueOptions()
"""Options of a classic queue that nobody configured."""
