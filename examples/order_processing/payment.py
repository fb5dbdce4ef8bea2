"""Payment: charges what was ordered."""

from __future__ import annotations

from examples.order_processing.orders import Order, euros
from examples.order_processing.service import Ledger, Service, Tell
from examples.order_processing.topology import PREFIX


class Payment(Service):
    """Charges each order once, however often it hears of it.

    Attributes:
        charges: cents by number of the order; the number is what keeps the bank from charging it twice.
    """

    name = "payment"
    queue = PREFIX + name

    def __init__(self, url: str, ledger: Ledger, tell: Tell) -> None:
        super().__init__(url, ledger, tell)
        self.charges: dict[int, int] = {}

    async def handle(self, kind: str, order: Order) -> str:
        """Charge an order."""
        self.charges[order.number] = order.cents
        await self.announce("paid", order)
        return f"charged {order.customer} {euros(order.cents)} for order {order.number}"
