"""The example of browsing sees what its page says, and takes nothing."""

from __future__ import annotations

from examples.browse import main
from harebell import Broker


async def test_two_invoices_are_seen_and_all_stay() -> None:
    async with Broker() as broker:
        assert await main(broker.url) == ([2, 5], 5)
