"""The example of schedules does what its page says."""

from __future__ import annotations

from examples.schedules import main
from harebell import Broker


async def test_the_broker_publishes_by_itself() -> None:
    async with Broker(management_port=0) as broker:
        assert await main(broker.url, broker.management_url) == ["tick", "tick"]
