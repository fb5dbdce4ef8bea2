"""The restaurant: prints a ticket for the kitchen, and cooks."""

from __future__ import annotations

from examples.order_processing.orders import Order
from examples.order_processing.service import Ledger, Service, Tell
from examples.order_processing.topology import PREFIX


class Restaurant(Service):
    """Cooks what was paid.

    Args:
        encoding: of the kitchen's tickets. The first version says ASCII, and so has a bug.
    """

    name = "restaurant"
    queue = PREFIX + name

    def __init__(self, url: str, ledger: Ledger, tell: Tell, encoding: str = "ascii") -> None:
        super().__init__(url, ledger, tell)
        self._encoding = encoding

    async def handle(self, kind: str, order: Order) -> str:
        """Cook an order."""
        self._print_ticket(f"{order.number}: {order.dish}".encode(self._encoding))
        await self.announce("cooked", order)
        return f"cooked {order.dish} for order {order.number}"

    def _print_ticket(self, ticket: bytes) -> None:
        """Here would be a printer."""
