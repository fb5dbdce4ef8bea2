"""Notification: keeps customers informed, late if need be."""

from __future__ import annotations

from typing import ClassVar

from pamqp.common import FieldTable

from examples.order_processing.orders import Order
from examples.order_processing.service import StreamReader
from examples.order_processing.topology import STREAM

SENTENCES = {
    "placed": "we have your order {number}",
    "paid": "order {number} is paid",
    "cooked": "order {number} is on its way",
    "delivered": "enjoy order {number}, {dish}",
}


class Notification(StreamReader):
    """Follows the stream under a name.

    The broker keeps how far the name has acknowledged, so a service that was down goes on where it was. The
    first time it begins with what comes next.
    """

    name = "notification"
    queue = STREAM
    arguments: ClassVar[FieldTable] = {"x-stream-consumer": name}

    async def handle(self, kind: str, order: Order) -> str:
        """Write to a customer."""
        sentence = SENTENCES[kind].format(number=order.number, dish=order.dish)
        return f"to {order.customer}: {sentence} (event {self.offsets[-1]})"
