"""The example of rates and bounds keeps to both."""

from __future__ import annotations

from examples.flow import main
from harebell import Broker


async def test_ten_workers_are_given_no_more_than_the_service_takes() -> None:
    async with Broker() as broker:
        took, most = await main(broker.url)
    assert took >= 0.9, f"24 messages at 20 a second, four of them at once, took {took:.2f} s"
    assert 1 <= most <= 3
