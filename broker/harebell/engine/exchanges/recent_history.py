"""The recent-history exchange: a fanout that shows its last messages to whoever binds next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from harebell.content.message import Message
from harebell.content.properties import Properties
from harebell.content.table import Table
from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Exchange
from harebell.errors import PRECONDITION_FAILED, BrokerError

LENGTH = "x-recent-history-length"
NO_STORE = "x-recent-history-no-store"
DEFAULT_LENGTH = 20
MAX_LENGTH = 10_000
"""Messages at most; the history lies in memory beside every queue's."""


class RecentHistoryExchange(Exchange):
    """Routes like a fanout and remembers the last messages, in memory only.

    Follows RabbitMQ's ``x-recent-history``: the argument ``x-recent-history-length`` says how many
    messages (20 if absent), and a message whose header ``x-recent-history-no-store`` is true is not
    remembered.
    """

    type_name = "x-recent-history"
    ignores_key = True
    dynamic = True

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        length = arguments.get(LENGTH)
        self._history: deque[Message] = deque(maxlen=length if isinstance(length, int) else DEFAULT_LENGTH)

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        length = arguments.get(LENGTH, DEFAULT_LENGTH)
        if type(length) is not int or not 0 < length <= MAX_LENGTH:
            raise BrokerError(
                PRECONDITION_FAILED, f"Invalid argument '{LENGTH}': must be between 1 and {MAX_LENGTH}"
            )

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings.values()]

    def remember(self, message: Message, properties: Properties) -> None:
        """Keep a message that was just routed, unless its headers forbid it; the oldest one makes room."""
        if properties.headers().get(NO_STORE) is not True:
            self._history.append(message)

    def history(self) -> list[Message]:
        """Give the remembered messages, oldest first: for the destination of a new binding."""
        return list(self._history)
