"""What the services tell each other: events about orders."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from aio_pika import DeliveryMode, Message

KINDS = ("placed", "paid", "cooked", "delivered")
"""What happens to an order, in this sequence."""


@dataclass(frozen=True)
class Order:
    """What a customer ordered, and for how many cents."""

    number: int
    customer: str
    dish: str
    cents: int

    @classmethod
    def parse(cls, body: bytes) -> Order:
        """Read the body of an event.

        Raises:
            ValueError, TypeError, KeyError: it is no order.
        """
        fields = json.loads(body)
        return cls(int(fields["number"]), str(fields["customer"]), str(fields["dish"]), int(fields["cents"]))


def event_id(kind: str, order: Order) -> str:
    """Give the message id of an event: the same whenever the same thing is told again."""
    return f"order-{order.number}-{kind}"


def event(kind: str, order: Order) -> Message:
    """Build the message that tells of an order."""
    return Message(
        json.dumps(asdict(order)).encode(),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=event_id(kind, order),
        type=kind,
    )


def euros(cents: int) -> str:
    """Write an amount."""
    return f"{cents / 100:.2f} EUR"
