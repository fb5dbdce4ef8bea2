"""What a transactional channel holds back until ``tx.commit`` (AMQP 0-9-1 section 1.9)."""

from __future__ import annotations

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.engine.consumers import Unacked
from harebell.engine.delay import WaitingCopy
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import Route


class Publish:
    """A publish held until commit: routed when it was published, and counted then, as RabbitMQ does.

    Attributes:
        copies: those that wait, at exchanges that delay the message.
    """

    def __init__(
        self,
        message: Message,
        queues: list[Queue],
        copies: tuple[WaitingCopy, ...],
        durable: bool,
        route: Route,
    ) -> None:
        self.message = message
        self.queues = queues
        self.copies = copies
        self.durable: bool = durable
        self.route = route


class Transaction:
    """Publishes, acks, rejects and requeues of one channel since the last commit or rollback.

    Attributes:
        octets: header and body octets of the publishes.
        lsn: what its publishes wait for beside the transaction's own record: of one that is known already,
            nothing is in that.
        requeues: deliveries to return, and whether each failed (see ``Queue.requeue``).
    """

    def __init__(self) -> None:
        self.octets: i64 = 0
        self.lsn: i64 = 0
        self.publishes: list[Publish] = []
        self.acks: list[Unacked] = []
        self.rejects: list[Unacked] = []
        self.requeues: list[tuple[Unacked, bool]] = []

    def answered(self) -> list[Unacked]:
        """List the deliveries answered within the transaction."""
        return self.acks + self.rejects + [entry for entry, _ in self.requeues]
