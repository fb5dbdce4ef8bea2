"""Names that no other test uses, and their removal afterwards, so that a shared broker stays clean."""

from __future__ import annotations

import itertools
import secrets

import amqp

from interop_tests.broker_under_test import BrokerUnderTest

_EXCLUSIVE_OWNER_GONE_LATER = 405


class Names:
    """Hands out unique queue and exchange names and deletes what was declared under them."""

    def __init__(self) -> None:
        self._prefix = f"interop.{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._queues: list[str] = []
        self._exchanges: list[str] = []

    def unique(self, stem: str) -> str:
        """Return a name that nothing is deleted under, for tags and the like."""
        return f"{self._prefix}.{next(self._numbers)}.{stem}"

    def queue(self, stem: str = "queue") -> str:
        """Return a queue name."""
        self._queues.append(self.unique(stem))
        return self._queues[-1]

    def exchange(self, stem: str = "exchange") -> str:
        """Return an exchange name."""
        self._exchanges.append(self.unique(stem))
        return self._exchanges[-1]

    def also_queue(self, name: str) -> None:
        """Delete this queue too, whose name was made up elsewhere."""
        self._queues.append(name)

    def also_exchange(self, name: str) -> None:
        """Delete this exchange too, whose name was made up elsewhere."""
        self._exchanges.append(name)

    def delete_all(self, broker: BrokerUnderTest) -> None:
        """Delete every queue and exchange that was handed out; most tests have none left by then."""
        if not self._queues and not self._exchanges:
            return
        connection = amqp.Connection(
            host=f"{broker.host}:{broker.port}",
            userid=broker.user,
            password=broker.password,
            virtual_host=broker.virtual_host,
        )
        connection.connect()
        try:
            channel = connection.channel()
            for queue in self._queues:
                try:
                    channel.queue_delete(queue)
                except amqp.exceptions.AMQPError as error:
                    if error.reply_code != _EXCLUSIVE_OWNER_GONE_LATER:
                        raise
                    channel = connection.channel()
            for exchange in self._exchanges:
                channel.exchange_delete(exchange)
        finally:
            connection.close()
