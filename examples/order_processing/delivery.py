"""Delivery: takes what was cooked to the customer."""

from __future__ import annotations

from aio_pika.abc import AbstractIncomingMessage

from examples.order_processing.orders import Order
from examples.order_processing.service import Ledger, Service, Tell
from examples.order_processing.topology import PREFIX


class PowerCut(Exception):
    """Ends a service in the middle of its work."""


class Delivery(Service):
    """Delivers orders, one at a time."""

    name = "delivery"
    queue = PREFIX + name
    prefetch = 1

    async def handle(self, kind: str, order: Order) -> str:
        """Deliver an order."""
        await self.announce("delivered", order)
        return f"brought {order.dish} to {order.customer}, order {order.number}"


class UnluckyDelivery(Delivery):
    """Loses power after it delivered an order, before it acknowledges that.

    Args:
        fatal: message id with which it happens.
    """

    def __init__(self, url: str, ledger: Ledger, tell: Tell, fatal: str) -> None:
        super().__init__(url, ledger, tell)
        self._fatal = fatal

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """Do not get that far.

        Raises:
            PowerCut: it is the message.
        """
        if message.message_id == self._fatal:
            self.tell(f"loses power: {message.message_id} is done, but not acknowledged")
            raise PowerCut
        await super().acknowledge(message)
