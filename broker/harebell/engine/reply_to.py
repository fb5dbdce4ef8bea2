"""Direct reply-to: an addressee that looks like a queue and stores nothing.

A client that consumes ``amq.rabbitmq.reply-to`` gets a private name; replies published to it through the
default exchange go straight to that consumer, at most once (RabbitMQ's "Direct Reply-to").
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.consumers import Consumer
from harebell.engine.queues.queue import Queue

PSEUDO_QUEUE: Final = "amq.rabbitmq.reply-to"
PREFIX: Final = "amq.rabbitmq.reply-to."


def is_reply_to(name: str) -> bool:
    """Tell whether a queue name means direct reply-to."""
    return name == PSEUDO_QUEUE or name.startswith(PREFIX)


class ReplyQueue(Queue):
    """The addressee behind one channel's reply-to consumer."""

    def __init__(self, name: str) -> None:
        super().__init__(0, name, "reply-to", False, 0, False, {})
        self._consumer: Consumer | None = None

    def ready_count(self) -> i64:
        """Nothing is ever stored."""
        return 0

    def consumer_count(self) -> i64:
        """The one consumer."""
        return 0 if self._consumer is None else 1

    def consumers(self) -> list[Consumer]:
        """The one consumer."""
        return [] if self._consumer is None else [self._consumer]

    def add_consumer(self, consumer: Consumer) -> None:
        """Attach the consumer that asked for this name."""
        self._consumer = consumer

    def remove_consumer(self, consumer: Consumer) -> None:
        """Detach the consumer; later replies are dropped."""
        self._consumer = None

    def unpark(self, consumer: Consumer) -> None:
        """Nothing waits here."""

    def push(self, message: Message) -> bool:
        """Deliver at once, or drop the reply if its reader is gone or does not read."""
        consumer = self._consumer
        if consumer is not None and consumer.eligible():
            consumer.deliver(message, 0, False)
        return True

    def can_deliver_now(self) -> bool:
        """Tell whether the reader can take a reply."""
        return self._consumer is not None and self._consumer.eligible()

    def dispatch(self, budget: i64) -> bool:
        """Nothing waits here."""
        return False

    def drop_all(self) -> None:
        """Nothing is stored."""
