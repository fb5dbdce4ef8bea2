"""Direct reply-to: an addressee that looks like a queue and keeps nothing for long.

A client that consumes ``amq.rabbitmq.reply-to`` gets a private name; replies published to it through the
default exchange go straight to that consumer, at most once (RabbitMQ's "Direct Reply-to").  Replies wait
only while its connection takes no more, and only so many of them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64

from harebell.content.message import OVERHEAD, Message
from harebell.engine.consumers import Consumer
from harebell.engine.queues.queue import Queue

PSEUDO_QUEUE: Final = "amq.rabbitmq.reply-to"
PREFIX: Final = "amq.rabbitmq.reply-to."

WAITING_BYTES: Final = 4 * 1024 * 1024
"""Memory that replies to one slow reader may take; more are dropped."""


def is_reply_to(name: str) -> bool:
    """Tell whether a queue name means direct reply-to."""
    return name == PSEUDO_QUEUE or name.startswith(PREFIX)


class ReplyQueue(Queue):
    """The addressee behind one channel's reply-to consumer."""

    def __init__(self, name: str) -> None:
        super().__init__(0, name, "reply-to", False, 0, False, {})
        self._consumer: Consumer | None = None
        self._waiting: deque[Message] = deque()
        self.ready_bytes: i64 = 0

    def ready_count(self) -> i64:
        """Replies that wait for the reader."""
        return len(self._waiting)

    def ready_octets(self) -> i64:
        """Memory that replies to the reader take."""
        return self.ready_bytes

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
        """Detach the consumer; replies that wait and later ones are dropped."""
        self._consumer = None
        self.drop_all()

    def unpark(self, consumer: Consumer) -> None:
        """The reader may take replies again: hand over those that waited."""
        consumer.parked = False
        waiting = self._waiting
        while waiting and consumer.eligible():
            message = waiting.popleft()
            self.ready_bytes -= message.size() + OVERHEAD
            consumer.deliver(message, 0, 0)
        consumer.parked = len(waiting) > 0

    def push(self, message: Message) -> bool:
        """Deliver at once, or when the reader reads again; drop the reply if it is gone or far behind."""
        consumer = self._consumer
        if consumer is None:
            return True
        if not self._waiting and consumer.eligible():
            consumer.deliver(message, 0, 0)
            return True
        size: i64 = message.size() + OVERHEAD
        if self.ready_bytes + size <= WAITING_BYTES:
            self.ready_bytes += size
            self._waiting.append(message)
            consumer.parked = True
        return True

    def can_deliver_now(self) -> bool:
        """Tell whether the reader can take a reply."""
        return self._consumer is not None and not self._waiting and self._consumer.eligible()

    def dispatch(self, budget: i64) -> bool:
        """Replies wait for the reader, never for a turn."""
        return False

    def drop_all(self) -> None:
        """Forget the replies that wait."""
        self._waiting.clear()
        self.ready_bytes = 0
