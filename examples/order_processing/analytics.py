"""Analytics: reads the whole day, whenever it likes."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from pamqp.common import FieldTable

from examples.order_processing.orders import Order, euros
from examples.order_processing.service import Ledger, StreamReader, Tell
from examples.order_processing.topology import STREAM


class Analytics(StreamReader):
    """Replays the stream from its first event; nobody else notices.

    Attributes:
        kinds: how many events of each kind.
        revenue_cents: what was paid.
    """

    name = "analytics"
    queue = STREAM
    prefetch = 100
    arguments: ClassVar[FieldTable] = {"x-stream-offset": "first"}

    def __init__(self, url: str, ledger: Ledger, tell: Tell) -> None:
        super().__init__(url, ledger, tell)
        self.kinds: Counter[str] = Counter()
        self.revenue_cents = 0

    async def handle(self, kind: str, order: Order) -> str:
        """Count an event."""
        self.kinds[kind] += 1
        if kind == "paid":
            self.revenue_cents += order.cents
        return f"event {self.offsets[-1]}: order {order.number} {kind}, revenue {euros(self.revenue_cents)}"
